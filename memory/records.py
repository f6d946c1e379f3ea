"""Records that the store takes and returns: frozen copies of rows."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

Role = Literal["user", "assistant"]
MessageStatus = Literal["complete", "interrupted", "failed"]
Feedback = Literal["like", "dislike"]
FeedbackReason = Literal["not_right", "not_complete", "did_not_follow", "unsafe", "other"]
FileKind = Literal["image", "document", "audio"]
# What an owner lets the operator do: read conversations in which they rate answers; put what they
# write, and its answers, into traces.
ConsentKind = Literal["ratings", "traces"]
TitleOrigin = Literal["message", "model", "user"]
Section = Literal["recent", "arranged", "archived"]
ConversationStatus = Literal["active", "inactive", "ended"]
MAX_COMMENT_CHARS = 2_000  # of a rating's comment


@dataclass(frozen=True, slots=True)
class ToolRecord:
    """One tool call of an answer, with its result; `link` was shown to the user with it.

    `account` is the opaque id of the account that it used, `account_label` what it was called.
    """

    id: str
    name: str
    arguments: dict[str, Any]
    result: str
    ok: bool
    duration_ms: int
    link: str | None = None
    account: str | None = None
    account_label: str | None = None


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """A source that an answer cites."""

    url: str
    title: str


@dataclass(frozen=True, slots=True)
class PictureRecord:
    """A picture of an answer: the owner's file with this id."""

    file_id: str
    name: str


@dataclass(frozen=True, slots=True)
class AnswerDetails:
    """What an answer has beside its text, its thoughts and its tool calls.

    Attributes:
        thinking_ms: How long the model thought.
        sources: What the answer cites, in the order of the numbers.
        pictures: Its pictures.
        cached_tokens: Those of the input tokens that the model's server had cached.
        reasoning_tokens: Those of the output tokens that were thoughts.
        switched_from: The id of the model that failed before another one answered.
        note: A sentence for the owner, such as why a picture was not kept.
        receipt: What the model saw, as `memory.receipts` seals it.
    """

    thinking_ms: int = 0
    sources: tuple[SourceRecord, ...] = ()
    pictures: tuple[PictureRecord, ...] = ()
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    switched_from: str | None = None
    note: str | None = None
    receipt: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """One message of the tree of messages of its conversation.

    `seq` counts up within the conversation. `parent_seq` is the message before it, 0 for a first
    message; messages of one role with the same parent are versions of one message. `superseded`
    says that the message is not on the path that is shown.

    An answer that is still being written has the status `interrupted`, so that it is true without
    any further write when the process dies. `cost_micros` are millionths of a dollar. With
    `tokens_estimated` the model's server had not reported all of the tokens. `thinking` is what
    the model thought, which is not part of the answer; `finish_reason` is how the model's server
    said that the answer ended. `feedback_reason` and `feedback_comment` are its owner's own: why
    they rated it as they did.
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
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_micros: int | None = None
    tokens_estimated: bool = False
    thinking: str | None = None
    finish_reason: str | None = None
    parent_seq: int = 0
    superseded: bool = False
    feedback_reason: FeedbackReason | None = None
    feedback_comment: str | None = None
    details: AnswerDetails = field(default_factory=AnswerDetails)


@dataclass(frozen=True, slots=True)
class RatingExplanation:
    """Why an owner rates an answer as they do: a fixed word, and words of their own."""

    reason: FeedbackReason | None = None
    comment: str | None = None


@dataclass(frozen=True, slots=True)
class MessageLink:
    """A message without its content: which one it follows."""

    seq: int
    role: Role
    parent_seq: int


@dataclass(frozen=True, slots=True)
class Usage:
    """The tokens and the cost of some answers; `cost_micros` is None where none had a price."""

    tokens: int
    cost_micros: int | None


@dataclass(frozen=True, slots=True)
class ContextMessage:
    """A message in the context window of a model."""

    seq: int
    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file that a user uploaded, without its bytes.

    It belongs to the user's message at `seq` of a conversation, or to none yet. `text` is what a
    model reads of it: extracted or transcribed, and None for an image. `kept_bytes` are those of
    the file, of the text and of the picture made for models together. `notes` are codes of what was
    cut, left out or guessed of it.
    """

    file_id: str
    conversation_id: str | None
    seq: int | None
    name: str
    media_type: str
    kind: FileKind
    size_bytes: int
    kept_bytes: int
    text: str | None
    created_at: datetime
    notes: str | None = None


@dataclass(frozen=True, slots=True)
class SearchHit:
    """A conversation that a search found: by its title (`seq` is None), or by a message.

    `snippet` is the part of the message where the words stand.
    """

    conversation_id: str
    title: str
    seq: int | None
    snippet: str
    last_activity_at: datetime
    is_archived: bool = False
    is_pinned: bool = False
    folder: str | None = None


@dataclass(frozen=True, slots=True)
class Conversation:
    """One conversation of one owner. `message_count` counts the messages of the shown path.

    Its owner may pin it, put it into a `folder` and archive it.
    """

    conversation_id: str
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
    external_id: str | None = None
    is_pinned: bool = False
    is_archived: bool = False
    folder: str | None = None

    @property
    def position(self) -> tuple[datetime, str]:
        """Its position in the list of conversations: the next page begins after it."""
        return (self.last_activity_at, self.conversation_id)


@dataclass(frozen=True, slots=True)
class Arrangement:
    """A change of where a conversation stands in its owner's list; None changes nothing.

    Attributes:
        is_pinned: Whether it stands above the others.
        is_archived: Whether it stands in the archive alone.
        folder: The name of its folder; an empty one takes it out of its folder.
    """

    is_pinned: bool | None = None
    is_archived: bool | None = None
    folder: str | None = None


@dataclass(frozen=True, slots=True)
class ContextState:
    """The part of a conversation that a caller has in memory already.

    Attributes:
        seq: The last message of it, which is an answer.
        summarized_through_seq: The last message that its summary covers; 0 without a summary.
        conversation_created_at: Tells the conversation from a deleted one of the same id.
    """

    seq: int
    summarized_through_seq: int
    conversation_created_at: datetime | None


@dataclass(frozen=True, slots=True)
class ConversationOrigin:
    """Where a conversation comes from. It is written once, when the conversation is created.

    Attributes:
        agent_id: The agent that answers.
        channel: The channel through which the owner came.
        website_domain: The site that shows the widget.
        ip_address: The client's network address.
        context: JSON values that the conversation stores beside its messages.
        tenant_id: The tenant that may list the conversation.
        external_id: The id under which the tenant knows it.
    """

    agent_id: str = "assistant"
    channel: str = "web"
    website_domain: str | None = None
    ip_address: str | None = None
    context: dict[str, Any] | None = None
    tenant_id: str | None = None
    external_id: str | None = None


@dataclass(frozen=True, slots=True)
class NewTurn:
    """A user's message and what is needed to begin its turn.

    Attributes:
        conversation_id: The conversation, which is the owner's own or does not exist yet.
        text: The message; empty where it is of files alone.
        key: The idempotency key: it names the request within the conversation.
        origin: Describes the conversation if it has to be created; without it, a conversation
            that does not exist is an error. An existing conversation keeps its own.
        model: The model that is to answer, as it is stored with the answer.
        budget: The size of the ticket's context window in tokens; no window without it.
        known: What the caller has of the conversation; the ticket then brings only the rest.
        files: Ids of at most 10 of the owner's files that belong to no message yet.
    """

    conversation_id: str
    text: str
    key: str
    origin: ConversationOrigin | None = None
    model: str | None = None
    budget: int | None = None
    known: ContextState | None = None
    files: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class StoredQuestion:
    """A tool call that waits for its owner's decision; `until` is in seconds since the epoch.

    `account` is what the account is called with which it will be made, where it is named.
    """

    approval_id: str
    call_id: str
    name: str
    arguments: dict[str, Any]
    until: float
    account: str | None = None


@dataclass(frozen=True, slots=True)
class StoredDecision:
    """An owner's decision about a call: "approved" or "denied".

    Without `arguments` the call has those that were shown; with `always` the tool may run in this
    conversation without being asked for again.
    """

    approval_id: str
    answer: str
    arguments: dict[str, Any] | None = None
    always: bool = False


@dataclass(frozen=True, slots=True)
class TurnSignals:
    """Signals of other processes to the one that runs a turn.

    Attributes:
        is_watched: A page elsewhere reads the stored part of the answer.
        is_stop_requested: The owner wants the turn to stop.
        decisions: What the owner has decided about the calls of this turn.
    """

    is_watched: bool
    is_stop_requested: bool
    decisions: tuple[StoredDecision, ...] = ()


@dataclass(frozen=True, slots=True)
class RunningAnswer:
    """An answer that some process is writing.

    Attributes:
        user_seq: The seq of its question.
        answer: What is stored of it.
        questions: Its tool calls that wait for their owner's decision.
    """

    user_seq: int
    answer: StoredMessage
    questions: tuple[StoredQuestion, ...] = ()


@dataclass(frozen=True, slots=True)
class TurnTicket:
    """The right to write one answer.

    Attributes:
        turn_id: The turn's id.
        conversation_id: The turn's conversation.
        user_seq: The seq of the user's message.
        answer_seq: The seq of the answer.
        parent_seq: The message before the user's, 0 for none; None where the ticket is not fresh.
        fresh: False when the idempotency key was used before: the turn then belongs to an
            earlier request, and the model must not be asked again.
        window: What the model is to see, oldest first; only a fresh ticket has it, and only
            where a budget was given.
        summary: The summary of the messages before the window. With `follows` it is there
            only where it is not the one that the caller has.
        summarized_through_seq: The last message that the summary covers.
        follows: The window holds only what comes after the caller's `known` state.
        has_files: Whether any message of the conversation may have files.
        agent_id: The conversation's agent.
        context: The conversation's stored context.
        conversation_created_at: When the conversation was created.
        has_title: Whether the conversation has a title other than its first message.
    """

    turn_id: str
    conversation_id: str
    user_seq: int
    answer_seq: int
    fresh: bool
    window: tuple[ContextMessage, ...] = ()
    summary: str | None = None
    summarized_through_seq: int = 0
    follows: bool = False
    has_files: bool = False
    agent_id: str = ""
    context: dict[str, Any] = field(default_factory=dict)
    conversation_created_at: datetime | None = None
    has_title: bool = True
    parent_seq: int | None = None


@dataclass(frozen=True, slots=True)
class SavedPrompt:
    """A text that its owner puts into the message box again, and its name."""

    prompt_id: str
    name: str
    text: str
    created_at: datetime
    updated_at: datetime


def new_conversation_id() -> str:
    """Return a new unguessable id (128 random bits, URL-safe)."""
    return secrets.token_urlsafe(16)


def utcnow() -> datetime:
    """Return the current time, in UTC."""
    return datetime.now(UTC)
