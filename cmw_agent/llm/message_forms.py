"""Rewrites a request's messages for endpoints whose templates take only simple ones.

Messages are dicts as they go to the endpoint; each function returns a new list and changes none of
its argument's messages.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import orjson

Message = dict[str, Any]

SYSTEM_ROLES = ("system", "developer")
LEFT_OUT = "(Something was attached here that this model cannot read.)"
EARLIER = "(The conversation began earlier.)"


def decoded(messages: Iterable[Any]) -> list[Message]:
    """Return messages some of which may be encoded already."""
    decoded_messages: list[Message] = orjson.loads(orjson.dumps(list(messages)))
    return decoded_messages


def has_calls(messages: Sequence[Message]) -> bool:
    """Return whether a message calls a tool or holds a tool's result."""
    return any(m.get("tool_calls") or m.get("role") in ("tool", "function") for m in messages)


def has_parts(messages: Sequence[Message]) -> bool:
    """Return whether a message's content is a list of parts."""
    return any(isinstance(message.get("content"), list) for message in messages)


def has_repeats(messages: Sequence[Message]) -> bool:
    """Return whether `alternating` would change the messages."""
    return alternating(messages) != list(messages)


def with_text_calls(messages: Sequence[Message]) -> list[Message]:
    """Return the messages with tools' calls and results as text."""
    names: dict[str, str] = {}
    rewritten: list[Message] = []
    for message in messages:
        if message.get("role") in ("tool", "function"):
            name = message.get("name") or names.get(str(message.get("tool_call_id"))) or "a tool"
            text = f"Result of {name}:\n{_text(message.get('content'))}"
            rewritten.append({"role": "user", "content": text})
        elif calls := message.get("tool_calls"):
            names |= {str(call.get("id")): _function(call)[0] for call in calls}
            texts = ["I call {} with {}".format(*_function(call)) for call in calls]
            text = "\n\n".join(filter(None, [_text(message.get("content")), *texts]))
            rewritten.append({"role": "assistant", "content": text})
        else:
            rewritten.append(message)
    return alternating(rewritten) if has_calls(messages) else rewritten


def with_text_parts(messages: Sequence[Message]) -> list[Message]:
    """Return the messages with text only: a note stands for each picture or other part."""
    return [
        {**message, "content": _text(message["content"], note=LEFT_OUT)}
        if isinstance(message.get("content"), list)
        else message
        for message in messages
    ]


def without_system(messages: Sequence[Message]) -> list[Message]:
    """Return the messages with the system messages' text in front of the first user message."""
    system = [message for message in messages if message.get("role") in SYSTEM_ROLES]
    others = [message for message in messages if message.get("role") not in SYSTEM_ROLES]
    text = "\n\n".join(filter(None, (_text(message.get("content")) for message in system)))
    if not text:
        return others
    first = {"role": "user", "content": text}
    for index, message in enumerate(others):
        if message.get("role") == "user":
            joined = {**message, "content": _joined(text, message.get("content"))}
            return [*others[:index], joined, *others[index + 1 :]]
    return [first, *others]


def alternating(messages: Sequence[Message]) -> list[Message]:
    """Return the messages with those of one role in a row as one, and a user's message first."""
    merged: list[Message] = []
    for message in messages:
        last = merged[-1] if merged else None
        if last is not None and _may_join(last, message):
            content = _joined(last.get("content"), message.get("content"))
            merged[-1] = {**message, "content": content}
        else:
            merged.append(message)
    start = next((n for n, m in enumerate(merged) if m.get("role") not in SYSTEM_ROLES), None)
    if start is not None and merged[start].get("role") == "assistant":
        merged.insert(start, {"role": "user", "content": EARLIER})
    return merged


def _may_join(last: Message, message: Message) -> bool:
    role = message.get("role")
    if role != last.get("role") or role in ("tool", "function"):
        return False
    return not last.get("tool_calls")


def _joined(first: object, second: object) -> Any:
    if isinstance(first, list) or isinstance(second, list):
        return [*_parts(first), *_parts(second)]
    return "\n\n".join(filter(None, (_text(first), _text(second))))


def _parts(content: object) -> list[Any]:
    if isinstance(content, list):
        return content
    return [{"type": "text", "text": content}] if content else []


def _text(content: object, note: str = "") -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = (part if isinstance(part, dict) else {"text": str(part)} for part in content)
    return "\n\n".join(filter(None, (str(part.get("text") or note) for part in parts)))


def _function(call: Message) -> tuple[str, str]:
    function = call.get("function") or {}
    return str(function.get("name") or "a tool"), str(function.get("arguments") or "{}")
