"""Neutral records of conversations from export files of any source.

The worker process makes them and the app reads them again from JSON. Messages refer to each other by
their index, and no id of a file becomes one here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from memory.records import Feedback, FeedbackReason, MessageStatus, Role

Source = Literal["own", "chatgpt", "claude", "open_webui"]
SOURCE_NAMES: Mapping[Source, str] = MappingProxyType(
    {"own": "this app", "chatgpt": "ChatGPT", "claude": "Claude", "open_webui": "Open WebUI"}
)
# What the reader left out or changed, as the user reads it, with how many.
Note = Literal["system", "versions", "characters", "tools", "parents"]


class UnreadableError(Exception):
    """A conversation is not imported; the argument is a key of `report.REASONS`."""


@dataclass(frozen=True, slots=True)
class FileReference:
    """A file of a message: its path in the archive, None where it is in none, and its name."""

    path: str | None
    name: str


@dataclass(frozen=True, slots=True)
class AnswerExtras:
    """What this app's own exports hold of an answer beside its text."""

    status: MessageStatus = "complete"
    tool_calls: tuple[Mapping[str, Any], ...] = ()
    sources: tuple[Mapping[str, str], ...] = ()
    feedback: Feedback | None = None
    feedback_reason: FeedbackReason | None = None
    feedback_comment: str | None = None
    finish_reason: str | None = None
    note: str | None = None
    switched_from: str | None = None
    thinking_ms: int = 0


@dataclass(frozen=True, slots=True)
class ImportedMessage:
    """One message of a conversation, which is a tree of messages.

    Attributes:
        index: Its number; messages come in this order, each after its parent.
        parent: The index of the message before it; None for a first one.
        is_shown: Whether it is on the path that the source showed last.
        role: Whose it is.
        text: Its text.
        at: When it was written, in Unix seconds; None where the file does not say.
        thinking: What the model thought.
        model: The name of the model, as the source has it.
        files: Its files.
        files_from: The index of the version before it whose files it has; it has none of its own then.
        extras: What else is known of an answer.
    """

    index: int
    parent: int | None
    is_shown: bool
    role: Role
    text: str
    at: float | None = None
    thinking: str | None = None
    model: str | None = None
    files: tuple[FileReference, ...] = ()
    files_from: int | None = None
    extras: AnswerExtras | None = None


@dataclass(frozen=True, slots=True)
class ImportedConversation:
    """A conversation of an export file.

    Attributes:
        title: Its title; empty where the file has none.
        created_at: When it began, in Unix seconds.
        updated_at: When it was last used, in Unix seconds.
        messages: The tree of its messages, parents first.
        source_id: Its id at its source, by which nothing but a repetition of the import is recognised.
        agent: The id of the agent, in this app's own exports.
        is_pinned: Whether it stands above the others in the list.
        is_archived: Whether it is in the archive.
        folder: The name of its folder.
        notes: How many things of each kind the reader left out or changed.
    """

    title: str
    created_at: float | None
    updated_at: float | None
    messages: tuple[ImportedMessage, ...]
    source_id: str | None = None
    agent: str | None = None
    is_pinned: bool = False
    is_archived: bool = False
    folder: str | None = None
    notes: Mapping[Note, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ImportLimits:
    """The largest conversation that is imported.

    Attributes:
        message_chars: Characters of a user's message.
        answer_chars: Characters of an answer, and of its thoughts.
        messages: Messages of a conversation, in all versions.
        conversation_bytes: Bytes of a conversation's JSON.
        total_bytes: Bytes of all that is read of a file, unpacked.
    """

    message_chars: int
    answer_chars: int
    messages: int
    conversation_bytes: int
    total_bytes: int
