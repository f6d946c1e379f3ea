"""Prepares the arguments of connected tools, and reads their results and errors."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cmw_agent.core.sanitize import sanitize_json
from cmw_agent.tools.composio.catalog import ConnectedTool
from cmw_agent.tools.composio.client import ComposioError

MAX_RESULT = 20_000  # characters of a tool's result
# Names of arguments that would choose a user or credentials. They are removed unless the tool
# itself has a parameter of that name.
RESERVED = frozenset(
    {
        "user_id",
        "entity_id",
        "connected_account_id",
        "custom_auth_params",
        "custom_connection_data",
    }
)
NOT_CONNECTED = re.compile(r"ConnectedAccount_?NotFound|No_?Active_?Connection", re.IGNORECASE)
MAYBE_NOT_CONNECTED = re.compile(
    r"\b(no|not|without|missing|inactive|expired)\b.{0,60}\bconnect(ed|ion)|"
    r"\bconnect(ed account|ion)s?\b.{0,60}\b(no|not|missing|inactive|expired)\b",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class ToolOutcome:
    """The result of a tool call, as text for the model; `ok` is False if it failed."""

    text: str
    ok: bool


class NotConnectedError(Exception):
    """The user has no active account of `toolkit` and should be offered a link."""

    def __init__(self, toolkit: str) -> None:
        super().__init__(toolkit)
        self.toolkit = toolkit


def permitted_arguments(tool: ConnectedTool, arguments: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the arguments to send, without reserved names; None if JSON cannot carry them."""
    declared = tool.schema["function"]["parameters"].get("properties", {})
    permitted = {
        name: value for name, value in arguments.items() if name not in RESERVED or name in declared
    }
    # A call must not run with other arguments than those that the user was shown.
    return permitted if sanitize_json(permitted) == permitted else None


def result_text(answer: object) -> str:
    """Return the data of a successful tool call as text.

    Args:
        answer: JSON value of Composio's answer.

    Raises:
        ComposioError: The answer is malformed or says that the tool failed.
    """
    if not isinstance(answer, dict):
        raise ComposioError("malformed")
    if answer.get("successful") is not True:
        raise ComposioError(
            "unsuccessful", message=as_text(answer.get("error") or answer.get("data"))
        )
    return as_text(answer.get("data"))


def as_text(value: object) -> str:
    """Return a JSON value as text of at most `MAX_RESULT` characters."""
    value = sanitize_json(value)
    if not isinstance(value, str):
        value = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return value if len(value) <= MAX_RESULT else value[: MAX_RESULT - 7] + " […cut]"
