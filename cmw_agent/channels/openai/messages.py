"""Converts the messages of a chat completion request to the model's, and rejects unsupported ones."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cmw_agent.channels.openai.models import ChatMessage, ContentPart
from cmw_agent.core.errors import InvalidMessageError
from cmw_agent.core.sanitize import large_integers_as_text, sanitize_json
from cmw_agent.language import wording
from cmw_agent.llm.chat_model import HistoryMessage

INSTRUCTING = ("system", "developer")
MAX_DEPTH = 100  # levels of a schema or of a call's fields
MAX_URL = 8_000  # characters of a picture's address
PICTURE = re.compile(r"data:image/(png|jpe?g|gif|webp);base64,[A-Za-z0-9+/]", re.IGNORECASE)
ROLES = wording("The role of each message must be system, developer, user, assistant or tool.")
EMPTY = wording(
    "There is no message to answer: one of the user's, the assistant's or a tool's must have a content."
)
PARTS = wording("The type of each content part must be text, image_url or input_audio.")
PICTURES = wording(
    "A picture must be an https:// address, or a data: URL with a PNG, JPEG, GIF or WebP in base64."
)
USERS_ONLY = wording("Only a user's message may hold a picture or a recording.")
RECORDINGS = wording("An input_audio part needs its data in base64 and its format.")
CALLS = wording(
    "Each call of an assistant's message needs an id and a function with a name and arguments."
)
ORPHAN = wording(
    "Each tool message must have the tool_call_id of a call in an assistant's message before it."
)


def cleaned(value: Any) -> Any:
    """Return a JSON value of a caller's without what cannot be encoded for the model's server."""
    return large_integers_as_text(sanitize_json(value, MAX_DEPTH))


def split_messages(messages: Sequence[ChatMessage]) -> tuple[list[HistoryMessage], str]:
    """Return the conversation and the caller's instructions.

    Messages without any content are left out.

    Raises:
        InvalidMessageError: A message is not what a model can be shown, or none is left.
    """
    conversation: list[HistoryMessage] = []
    instructions: list[str] = []
    call_ids: set[str] = set()
    for message in messages:
        if message.role in INSTRUCTING:
            instructions.append(text_of(message.content))
        elif (made := _history_message(message, call_ids)) is not None:
            conversation.append(made)
    if not conversation:
        raise InvalidMessageError(EMPTY)
    return conversation, "\n\n".join(filter(None, instructions))


def text_of(content: str | Sequence[ContentPart] | None) -> str:
    """Return the text of a content that may hold nothing else.

    Raises:
        InvalidMessageError: It holds a picture or a recording.
    """
    if not isinstance(content, str | None):
        if any(part.text is None and part.refusal is None for part in content):
            raise InvalidMessageError(USERS_ONLY)
        content = "".join(part.text or part.refusal or "" for part in content)
    return str(sanitize_json(content or ""))


def _history_message(message: ChatMessage, call_ids: set[str]) -> HistoryMessage | None:
    """Return a message as the model sees it; None where it is empty.

    Args:
        message: The message.
        call_ids: Ids of the calls so far; those of this message are added.
    """
    match message.role:
        case "user":
            fields = {"name": cleaned(message.name)} if message.name else {}
            content = _user_content(message.content)
            return HistoryMessage("user", content, fields) if content else None
        case "assistant":
            return _assistant_message(message, call_ids)
        case "tool":
            if message.tool_call_id not in call_ids:
                raise InvalidMessageError(ORPHAN)
            call_id = {"tool_call_id": message.tool_call_id}
            return HistoryMessage("tool", text_of(message.content), call_id)
    raise InvalidMessageError(ROLES)


def _assistant_message(message: ChatMessage, call_ids: set[str]) -> HistoryMessage | None:
    text = text_of(message.content)
    if not message.tool_calls:
        return HistoryMessage("assistant", text) if text else None
    calls = [_call(call) for call in message.tool_calls]
    call_ids.update(call["id"] for call in calls)
    return HistoryMessage("assistant", text, {"tool_calls": calls})


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    """Return a call with all its fields: some servers want their own back."""
    call_id, function = call.get("id"), call.get("function")
    if not isinstance(function, Mapping) or not isinstance(call_id, str) or not call_id:
        raise InvalidMessageError(CALLS)
    name, arguments = function.get("name"), function.get("arguments")
    if not isinstance(name, str) or not name or not isinstance(arguments, str):
        raise InvalidMessageError(CALLS)
    return {**cleaned(dict(call)), "id": call_id, "type": "function"}


def _user_content(content: str | Sequence[ContentPart] | None) -> str | list[dict[str, Any]]:
    if isinstance(content, str | None) or all(part.type == "text" for part in content):
        return text_of(content)
    return list(_parts(content))


def _parts(content: Iterable[ContentPart]) -> Iterable[dict[str, Any]]:
    for part in content:
        match part.type:
            case "text":
                if part.text and not part.text.isspace():
                    yield {"type": "text", "text": sanitize_json(part.text)}
            case "image_url":
                yield {"type": "image_url", "image_url": _picture(part.image_url)}
            case "input_audio":
                yield {"type": "input_audio", "input_audio": _recording(part.input_audio)}
            case _:
                raise InvalidMessageError(PARTS)


def _picture(picture: Mapping[str, Any] | str | None) -> dict[str, Any]:
    fields = picture if isinstance(picture, Mapping) else {"url": picture}
    url, detail = fields.get("url"), fields.get("detail")
    if not isinstance(url, str) or not _is_picture(url):
        raise InvalidMessageError(PICTURES)
    return {"url": url} | ({"detail": detail} if detail in ("auto", "low", "high") else {})


def _is_picture(url: str) -> bool:
    if url.startswith("https://"):  # it is the model's server that opens it, never this app
        return url.isascii() and url.isprintable() and " " not in url and len(url) <= MAX_URL
    return url.isascii() and PICTURE.match(url) is not None


def _recording(recording: Mapping[str, Any] | None) -> dict[str, Any]:
    fields = recording or {}
    data, form = fields.get("data"), fields.get("format")
    if not isinstance(data, str) or not data.isascii() or not isinstance(form, str):
        raise InvalidMessageError(RECORDINGS)
    return {"data": data, "format": cleaned(form)}
