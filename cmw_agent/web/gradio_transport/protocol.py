"""What the server of the page's events writes: Gradio's ``sse_v3``, one server-sent event each.

The types are those of ``gradio/server_messages.py``, the edits those of ``gradio.utils.diff``.
"""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import orjson

from cmw_agent.core.errors import UserError

UNCHANGED = MappingProxyType({"__type__": "update"})  # an output that stays as it is
SHOWN_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Notice:
    """Something to tell the user beside what an event returns: a toast on the page."""

    text: str
    title: str
    level: Literal["info", "warning"] = "warning"


def encoded(message: dict[str, Any]) -> bytes:
    """Return a message as a server-sent event."""
    return b"data: " + orjson.dumps(message, default=dict) + b"\n\n"


def generating(event: str, data: list[Any]) -> bytes:
    """Return what an event gives on its way: all outputs at first, then the `edits` of each."""
    return encoded(
        {
            "msg": "process_generating",
            "event_id": event,
            "output": {"data": data, "is_generating": True},
            "success": True,
            "time_limit": None,
        }
    )


def completed(event: str, output: dict[str, Any], *, success: bool = True) -> bytes:
    """Return the last message of an event."""
    return encoded(
        {
            "msg": "process_completed",
            "event_id": event,
            "output": {"is_generating": False, **output} if success else output,
            "success": success,
            "title": output.get("title"),
        }
    )


def failed(event: str, error: UserError) -> bytes:
    """Return the last message of an event that has failed, in the user's words."""
    output = {"error": str(error), "duration": SHOWN_SECONDS, "visible": True, "title": "Sorry"}
    return completed(event, output, success=False)


def toast(event: str, notice: Notice) -> bytes:
    """Return what shows a notice."""
    return encoded(
        {
            "msg": "log",
            "event_id": event,
            "log": notice.text,
            "level": notice.level,
            "duration": SHOWN_SECONDS,
            "visible": True,
            "title": notice.title,
        }
    )


def edits(old: Any, new: Any) -> list[list[Any]]:
    """Return Gradio's edits, ``[action, path, value]``, that turn `old` into `new`.

    A list of messages is compared message by message and by identity first, because an
    update reuses the messages that it does not change; a message's text that has grown
    becomes an ``append``.
    """
    if old is new or old == new:
        return []
    if isinstance(old, str) and isinstance(new, str) and new.startswith(old):
        return [["append", [], new[len(old) :]]]
    if not (isinstance(old, list) and isinstance(new, list)):
        return [["replace", [], new]]
    common = min(len(old), len(new))
    found = [
        _edit(place, old[place], new[place])
        for place in range(common)
        if old[place] is not new[place] and old[place] != new[place]
    ]
    found += [["add", [place], new[place]] for place in range(common, len(new))]
    found += [["delete", [place], None] for place in range(len(old) - 1, common - 1, -1)]
    return found


def _edit(place: int, old: dict[str, Any], new: dict[str, Any]) -> list[Any]:
    try:
        before, after = old["content"][0]["text"], new["content"][0]["text"]
    except (KeyError, IndexError, TypeError):
        return ["replace", [place], new]
    same = old["metadata"] == new["metadata"] and old["role"] == new["role"]
    if same and len(new["content"]) == len(old["content"]) == 1 and after.startswith(before):
        return ["append", [place, "content", 0, "text"], after[len(before) :]]
    return ["replace", [place], new]
