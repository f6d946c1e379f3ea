"""What the store hands out: frozen copies of rows, without a way back to the database."""

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

Role = Literal["user", "assistant"]
MessageStatus = Literal["complete", "interrupted", "failed"]
Feedback = Literal["like", "dislike"]
ConversationStatus = Literal["active", "inactive", "ended"]


@dataclass(frozen=True, slots=True)
class ToolRecord:
    """One tool call of an answer, with what came back."""

    id: str
    name: str
    arguments: dict[str, Any]
    result: str
    ok: bool
    duration_ms: int


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """One message. `seq` counts up within its conversation, with gaps where one was superseded.

    An answer that is still being written has the status `interrupted`, so that it is true without
    any further write when the process dies.
    """

    seq: int
    role: Role
    content: str
    tool_calls: tuple[ToolRecord, ...]
    status: MessageStatus
    model_used: str | None
    tokens_used: int | None
    latency_ms: int | None
    created_at: datetime
    turn_id: str
    error_id: str | None
    feedback: Feedback | None


@dataclass(frozen=True, slots=True)
class Said:
    """A message as the model is to see it."""

    seq: int
    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Found:
    """A conversation that a search found: by its title (`seq` is None), or by a message.

    `snippet` is the part of the message where the words stand.
    """

    session_id: str
    title: str
    seq: int | None
    snippet: str
    last_activity_at: datetime


@dataclass(frozen=True, slots=True)
class Conversation:
    """One conversation of one owner. `message_count` leaves out superseded messages."""

    session_id: str
    agent_id: str
    title: str
    website_domain: str | None
    ip_address: str | None
    channel: str
    context_data: dict[str, Any] | None
    summary: str | None
    message_count: int
    status: ConversationStatus
    started_at: datetime
    last_activity_at: datetime
    ended_at: datetime | None

    @property
    def position(self) -> tuple[datetime, str]:
        """Where it stands in the list of conversations: what the next page begins after."""
        return (self.last_activity_at, self.session_id)


@dataclass(frozen=True, slots=True)
class TurnTicket:
    """The right to write one answer.

    `fresh` is False when the key was seen before: the turn then belongs to an earlier request,
    and the model must not be asked again. `window` is what the model is to see, oldest first:
    only a fresh ticket has it, and only where a budget for it was given. `summary` covers
    the messages up to the place `summarised`, which stand before the window.
    """

    turn_id: str
    session_id: str
    user_seq: int
    answer_seq: int
    fresh: bool
    window: tuple[Said, ...] = ()
    summary: str | None = None
    summarised: int = 0


def new_conversation_id() -> str:
    """An id that nobody can guess (128 random bits, URL-safe)."""
    return secrets.token_urlsafe(16)


def utcnow() -> datetime:
    """The time, with its zone."""
    return datetime.now(UTC)
