"""Reads one conversation of any source: finds the reader by the shape of the JSON, checks the size."""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from cmw_agent.conversations.importing import chatgpt, claude, open_webui, own, values
from cmw_agent.conversations.importing.records import (
    ImportedConversation,
    ImportedMessage,
    ImportLimits,
    Note,
    Source,
    UnreadableError,
)


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads the conversations of one source."""

    is_conversation: Callable[[dict[str, Any]], bool]
    read: Callable[[dict[str, Any]], ImportedConversation]


READERS: Mapping[Source, Reader] = MappingProxyType(
    {
        "chatgpt": Reader(chatgpt.is_conversation, chatgpt.read),
        "claude": Reader(claude.is_conversation, claude.read),
        "open_webui": Reader(open_webui.is_conversation, open_webui.read),
        "own": Reader(own.is_conversation, own.read),
    }
)


def parse(data: bytes | None) -> dict[str, Any]:
    """Return a JSON object; None is one that was too large. Raises UnreadableError."""
    if data is None:
        raise UnreadableError("large")
    try:
        value = json.loads(data.decode(errors="replace"))
    except RecursionError:
        raise UnreadableError("deep") from None
    except ValueError:  # also for a number of thousands of digits
        raise UnreadableError("broken") from None
    if not isinstance(value, dict):
        raise UnreadableError("shape")
    return value


def title_of(value: dict[str, Any]) -> str:
    """Return the title of a conversation of any source, by which the result names a refused one."""
    return values.name(value.get("title")) or values.name(value.get("name")) or ""


def source_of(value: dict[str, Any]) -> Source:
    """Return where a conversation comes from. Raises UnreadableError."""
    for source, reader in READERS.items():
        if reader.is_conversation(value):
            return source
    raise UnreadableError("shape")


def read(source: Source, value: dict[str, Any], limits: ImportLimits) -> ImportedConversation:
    """Return a conversation that the app can store. Raises UnreadableError."""
    try:
        conversation = READERS[source].read(value)
    except RecursionError:
        raise UnreadableError("deep") from None
    if not conversation.messages:
        raise UnreadableError("empty")
    if len(conversation.messages) > limits.messages:
        raise UnreadableError("many")
    for message in conversation.messages:
        _check(message, limits)
    notes: Counter[Note] = Counter(conversation.notes)
    notes["versions"] += sum(not message.is_shown for message in conversation.messages)
    return replace(conversation, notes={kind: count for kind, count in notes.items() if count})


def _check(message: ImportedMessage, limits: ImportLimits) -> None:
    max_chars = limits.message_chars if message.role == "user" else limits.answer_chars
    if max(len(message.text), len(message.thinking or "")) > max_chars:
        raise UnreadableError("long" if message.role == "user" else "long_answer")
