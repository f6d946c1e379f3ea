"""The description of a REST chat: a TOML file that says how to send a message and what else there is."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cmw_agent.proof.storm.errors import TargetError

Method = Literal["GET", "POST", "PUT", "PATCH"]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Request(_Table):
    """One request; ``{message}``, ``{session}``, ``{key}``, ``{name}`` and ``{file}`` are filled in.

    Attributes:
        method: The HTTP method.
        path: Below the target's address.
        headers: Header fields.
        body: The JSON body; its strings may have the same names in braces.
        result: Where the response has the id that is made, such as ``session.id``.
    """

    method: Method = "POST"
    path: str = Field(pattern="^/")
    headers: dict[str, str] = Field(default_factory=dict)
    body: dict[str, Any] | None = None
    result: str | None = None


class Description(_Table):
    """A chat that speaks REST.

    Attributes:
        message: Sends ``{message}`` in ``{session}``; an event stream is read as one.
        begin: Makes a session, whose id `result` finds; people choose ids themselves without it.
        upload: Sends the file ``{name}`` as its body; `result` finds its id, ``{file}``.
        look_back: Fetch a person's own chats.
        borrow: What strangers try with ``{session}`` and ``{file}`` of others.
    """

    message: Request
    begin: Request | None = None
    upload: Request | None = None
    look_back: list[Request] = Field(default_factory=list)
    borrow: list[Request] = Field(default_factory=list)


def read_description(path: Path) -> Description:
    """Read a description. Raises TargetError with the line, or the name of what is wrong."""
    try:
        return Description.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError) as error:
        raise TargetError(f"{path} cannot be read ({type(error).__name__})") from error
    except tomllib.TOMLDecodeError as error:
        raise TargetError(f"{path}: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise TargetError(f"{path}: {field}: {first['msg']}") from error


def filled(template: Any, values: Mapping[str, str]) -> Any:
    """Return a template's value with the names in braces filled in."""
    if isinstance(template, str):
        for name, value in values.items():
            template = template.replace(f"{{{name}}}", value)
        return template
    if isinstance(template, dict):
        return {key: filled(value, values) for key, value in template.items()}
    if isinstance(template, list):
        return [filled(value, values) for value in template]
    return template


def value_at(value: Any, path: str) -> str:
    """Return the text that a response has at a path such as ``session.id``. Raises TargetError."""
    for step in path.split("."):
        try:
            value = value[int(step)] if isinstance(value, list) else value[step]
        except (LookupError, TypeError, ValueError):
            raise TargetError(f"the target's response has no {path!r}") from None
    return str(value)
