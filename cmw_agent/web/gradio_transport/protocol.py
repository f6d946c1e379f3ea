"""Builds the messages of Gradio's wire protocol ``sse_v3``, one server-sent event each.

The types are those of ``gradio/server_messages.py``, the edits those of ``gradio.utils.diff``;
``tests/unit/test_gradio_contract.py`` compares each with the installed Gradio.
"""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import orjson

from cmw_agent.core.errors import UserError
from cmw_agent.language import Language

UNCHANGED = MappingProxyType({"__type__": "update"})  # an output that stays as it is
SHOWN_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Notice:
    """A toast that the page shows beside what an event returns."""

    text: str
    title: str
    level: Literal["info", "warning"] = "warning"


def encoded(message: dict[str, Any]) -> bytes:
    """Return a message as a server-sent event."""
    return b"data: " + orjson.dumps(message, default=dict) + b"\n\n"


def starting(event: str) -> bytes:
    """Return the first message of an event."""
    return encoded({"msg": "process_starts", "event_id": event, "eta": None})


def generating(event: str, data: list[Any]) -> bytes:
    """Return an intermediate result of an event.

    Args:
        event: The event's id.
        data: For each output its value, the first time; its `edits` from then on.
    """
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


def failed(event: str, error: UserError, language: Language) -> bytes:
    """Return the last message of an event that has failed, with the error's sentence."""
    title, text = language.gettext("Sorry"), error.text(language)
    output = {"error": text, "duration": SHOWN_SECONDS, "visible": True, "title": title}
    return completed(event, output, success=False)


def toast(event: str, notice: Notice) -> bytes:
    """Return the message that makes the page show a notice."""
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


def heartbeat() -> bytes:
    """Return the message that shows that a stream lives."""
    return encoded({"msg": "heartbeat", "event_id": None})


def closing() -> bytes:
    """Return the last message of a stream."""
    return encoded({"msg": "close_stream", "event_id": None})


def edits(old: Any, new: Any) -> list[list[Any]]:
    """Return Gradio's edits, ``[action, path, value]``, that turn `old` into `new`.

    A list of messages is compared message by message and by identity first, because an
    update reuses the messages that it does not change; a message's text that has grown
    becomes an ``append``, and a step that ends keeps the text that was sent.
    """
    if old is new or old == new:
        return []
    if isinstance(old, str) and isinstance(new, str) and new.startswith(old):
        return [["append", [], new[len(old) :]]]
    if not (isinstance(old, list) and isinstance(new, list)):
        return [["replace", [], new]]
    common = min(len(old), len(new))
    changes: list[list[Any]] = []
    for index in range(common):
        if old[index] is not new[index] and old[index] != new[index]:
            changes += _edits_of_message(index, old[index], new[index])
    changes += [["add", [index], new[index]] for index in range(common, len(new))]
    changes += [["delete", [index], None] for index in range(len(old) - 1, common - 1, -1)]
    return changes


def _edits_of_message(index: int, old: dict[str, Any], new: dict[str, Any]) -> list[list[Any]]:
    try:
        before, after = old["content"][0]["text"], new["content"][0]["text"]
        same = old["role"] == new["role"] and old["options"] == new["options"]
        was, metadata = old["metadata"], new["metadata"]
    except (KeyError, IndexError, TypeError):
        return [["replace", [index], new]]
    grew = len(new["content"]) == len(old["content"]) == 1 and after.startswith(before)
    if not (same and grew):
        return [["replace", [index], new]]
    changes = [["replace", [index, "metadata"], metadata]] if was != metadata else []
    if len(after) > len(before):
        changes.append(["append", [index, "content", 0, "text"], after[len(before) :]])
    return changes
