"""Makes the JSON bodies that Composio's API sends; all functions are pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

NOT_CONNECTED = "No connected account found for user for toolkit"
WHEN = "2026-01-01T00:00:00.000Z"
TOKENS = {"access_token": "at-double", "redirectUrl": "https://op.example/authorize"}
LOGO = "https://logos.composio.dev/api/one"


@dataclass(slots=True)
class Account:
    """One connected account; a disabled one runs no tools although its status is active.

    `email` is what the provider says of it, where it says something.
    """

    id: str
    user_id: str
    toolkit: str
    status: str = "ACTIVE"
    disabled: bool = False
    email: str | None = None


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool of a toolkit."""

    slug: str
    description: str
    properties: Mapping[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    no_auth: bool = False
    deprecated: bool = False


def text_field(description: str) -> dict[str, Any]:
    return {"type": "string", "description": description, "examples": ["one", "two"]}


def asana_tools() -> list[Tool]:
    """Return tools that read and change the user's task list."""
    name = {"name": text_field("Name of the task.")}
    return [
        Tool("ASANA_GET_TASKS", "Lists the tasks.", tags=("readOnlyHint", "important")),
        Tool("ASANA_CREATE_TASK", "Creates a task.", name, ("createHint",)),
        Tool("ASANA_DELETE_TASK", "Deletes a task.", name, ("destructiveHint", "important")),
    ]


def many_tools(toolkit: str, count: int, *, no_auth: bool = False) -> list[Tool]:
    """Return `count` tools with schemas of a usual size."""
    fields = {f"field_{n}": text_field(f"What field number {n} is for.") for n in range(8)}
    options = {"type": "array", "items": {"type": "string"}, "default": []}
    return [
        Tool(
            f"{toolkit.upper()}_ACTION_{number}",
            f"Does the thing number {number} of {toolkit} with all of its fields.",
            {**fields, "options": options},
            ("readOnlyHint",) if number % 2 else (),
            no_auth,
        )
        for number in range(count)
    ]


def tool_body(tool: Tool, toolkit: str) -> dict[str, Any]:
    return {
        "slug": tool.slug,
        "name": tool.slug.replace("_", " ").capitalize(),
        "description": tool.description,
        "human_description": tool.description,
        "toolkit": {"slug": toolkit, "name": toolkit.capitalize(), "logo": LOGO},
        "input_parameters": {
            "type": "object",
            "title": "Request",
            "properties": dict(tool.properties),
            "required": list(tool.properties)[:1],
        },
        "output_parameters": {"type": "object", "properties": {"data": {"type": "object"}}},
        "tags": list(tool.tags),
        "scopes": [],
        "no_auth": tool.no_auth,
        "version": "20260101_00",
        "available_versions": ["20260101_00"],
        "is_deprecated": tool.deprecated,
        "deprecated": {
            "available_versions": ["20260101_00"],
            "displayName": tool.slug,
            "is_deprecated": tool.deprecated,
            "toolkit": {"logo": LOGO},
            "version": "20260101_00",
        },
    }


def page_body(items: Sequence[object], total: int, cursor: str | None) -> dict[str, Any]:
    return {
        "items": list(items),
        "current_page": 1,
        "total_pages": 1 if cursor is None else 2,
        "total_items": total,
        "next_cursor": cursor,
    }


def account_body(account: Account, owner: str) -> dict[str, Any]:
    config = {
        "id": "ac_1",
        "auth_scheme": "OAUTH2",
        "is_composio_managed": True,
        "is_disabled": False,
    }
    return {
        "id": account.id,
        "user_id": owner,
        "status": account.status,
        "is_disabled": account.disabled,
        "toolkit": {"slug": account.toolkit},
        "auth_config": config,
        "created_at": WHEN,
        "updated_at": WHEN,
        "data": {"email": account.email} if account.email is not None else {},
        "state": {"authScheme": "OAUTH2", "val": {"status": account.status, **TOKENS}},
    }


def config_item(config_id: str, toolkit: str) -> dict[str, Any]:
    return {
        "id": config_id,
        "uuid": config_id,
        "name": toolkit,
        "status": "ENABLED",
        "type": "default",
        "auth_scheme": "OAUTH2",
        "is_composio_managed": True,
        "no_of_connections": 0,
        "created_at": WHEN,
        "tool_access_config": {},
        "toolkit": {"slug": toolkit, "logo": LOGO},
    }


def auth_config_body(config_id: str, toolkit: str) -> dict[str, Any]:
    config = {"id": config_id, "auth_scheme": "OAUTH2", "is_composio_managed": True}
    return {"toolkit": {"slug": toolkit}, "auth_config": config}


def error_body(status: int, message: str, slug: str, code: int) -> dict[str, Any]:
    return {"error": {"message": message, "slug": slug, "code": code, "status": status}}
