"""Reshapes the messages of a request for models that know less than a chat completion offers."""

from collections.abc import Sequence
from typing import Any

import orjson

Message = dict[str, Any]
SYSTEM_ROLES = ("system", "developer")
NO_PICTURE = "[A picture that this model cannot see.]"
PICTURES = ("image_url", "input_image", "image")


def decoded(messages: Sequence[Any]) -> list[Message]:
    """Return messages as dicts, also those that are encoded already."""
    return [
        message if isinstance(message, dict) else orjson.loads(orjson.dumps(message))
        for message in messages
    ]


def text_of(content: Any) -> str:
    """Return the text of a message's content, which is a text or a list of parts."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = (part.get("text") for part in parts if isinstance(part, dict))
    return "\n\n".join(text for text in texts if isinstance(text, str) and text)


def without_system(messages: Sequence[Message]) -> list[Message]:
    """Return messages with the system's text at the start of the first user message."""
    system = [text_of(m.get("content")) for m in messages if m.get("role") in SYSTEM_ROLES]
    rest = [dict(m) for m in messages if m.get("role") not in SYSTEM_ROLES]
    text = "\n\n".join(filter(None, system))
    if not text:
        return rest
    first = next((m for m in rest if m.get("role") == "user"), None)
    if first is None:
        return [{"role": "user", "content": text}, *rest]
    content = first.get("content")
    if isinstance(content, list):
        first["content"] = [{"type": "text", "text": text}, *content]
    else:
        first["content"] = f"{text}\n\n{content or ''}"
    return rest


def without_pictures(messages: Sequence[Message]) -> list[Message]:
    """Return messages with a note in the place of each picture, and their content as text."""
    return [
        {**message, "content": _as_text(message["content"])}
        if isinstance(message.get("content"), list)
        else message
        for message in messages
    ]


def _as_text(parts: list[Any]) -> Any:
    noted = [
        {"type": "text", "text": NO_PICTURE}
        if isinstance(part, dict) and part.get("type") in PICTURES
        else part
        for part in parts
    ]
    is_text = all(isinstance(part, dict) and part.get("type") == "text" for part in noted)
    return text_of(noted) if is_text else noted
