"""What the REST interface takes and gives, as its description shows it."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from cmw_agent.config.model_profiles import Effort
from cmw_agent.identity.channel_principals import EXTERNAL_ID
from memory.records import MAX_COMMENT_CHARS, Feedback, FeedbackReason

MAX_METADATA = 16
SESSION_PATTERN = f"^{EXTERNAL_ID.pattern}$"

SessionId = Annotated[
    str,
    StringConstraints(pattern=SESSION_PATTERN),
    Field(
        description="Names a session of this key at this agent; yours to choose.",
        examples=["session_1"],
    ),
]
ShortText = Annotated[str, StringConstraints(max_length=512, pattern=r"^[^\u0000]*$")]
Metadata = Annotated[
    dict[
        Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[^\u0000]*$")],
        ShortText | bool | int | float | None,
    ],
    Field(
        max_length=MAX_METADATA,
        description="Kept with the conversation for you; no model sees it.",
        examples=[{"source": "shop"}],
    ),
]


class _Taken(BaseModel):
    """Unknown fields are refused, so that a misspelt one does not pass unnoticed."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


Include = Literal["thinking"]


class MessageRequest(_Taken):
    """A message to an agent."""

    message: str = Field(min_length=1, examples=["My name is Alice"])
    session_id: SessionId | None = Field(
        default=None,
        description="The session it belongs to; a new one is made where it is left out.",
    )
    metadata: Metadata = Field(default_factory=dict)
    include: list[Include] = Field(
        default_factory=list,
        max_length=8,
        description="What the answer is to bring beside its text: `thinking`, the model's thoughts.",
    )
    model: ShortText | None = Field(
        default=None,
        description="The model that answers from now on in this conversation; one that is not "
        "there is passed over.",
        examples=["gpt-4o-mini"],
    )
    effort: Effort | None = Field(
        default=None,
        description="How much the model thinks from now on, where it has a choice.",
    )


class EditRequest(_Taken):
    """Another text for a message."""

    message: str = Field(min_length=1, examples=["My name is Alicia"])
    include: list[Include] = Field(
        default_factory=list,
        max_length=8,
        description="As with a message.",
    )


class RatingRequest(_Taken):
    """What a user thinks of an answer, and why."""

    rating: Feedback | None = Field(description="null takes a rating back.", examples=["dislike"])
    reason: FeedbackReason | None = Field(
        default=None, description="Of a dislike alone.", examples=["not_complete"]
    )
    comment: Annotated[
        str | None, StringConstraints(max_length=MAX_COMMENT_CHARS, pattern=r"^[^\u0000]*$")
    ] = Field(default=None, description="Not with null as the rating.")


class ToolDone(BaseModel):
    """A tool that the agent has used for an answer."""

    call: str
    name: str
    ok: bool
    seconds: float
    link: str | None = Field(default=None, description="An address that the user is to open.")


FinishReason = Literal["stop", "length", "content_filter", "error", "missing"]
FINISH_REASON = (
    "How the model's server said that the answer ended; `missing` where it did not say, null where "
    "no model answered or its answer broke off."
)


class SourceItem(BaseModel):
    """A source that an answer cites."""

    url: str = Field(description="Empty where the model gave no address of the web.")
    title: str


class PictureItem(BaseModel):
    """A picture of an answer."""

    id: str
    name: str
    url: str | None = Field(default=None, description="Where this key gets it.")


class FileItem(BaseModel):
    """A file that a user attached to a message."""

    id: str
    name: str
    media_type: str
    size: int = Field(description="In bytes.")
    url: str = Field(description="Where this key gets it.")
    note: str | None = Field(
        default=None, description="What was cut, left out or guessed when it was read."
    )


class AnswerMetadata(BaseModel):
    """What is said of an answer beside its text."""

    status: Literal["complete", "interrupted"]
    tokens: int | None
    tools: list[ToolDone]
    finish_reason: FinishReason | None = Field(default=None, description=FINISH_REASON)
    notice: str | None = Field(default=None, description="Why the answer was cut short.")
    error_id: str | None = Field(default=None, description="Ties the notice to a line of the log.")
    sources: list[SourceItem] = Field(
        default_factory=list, description="In the order of their numbers."
    )
    pictures: list[PictureItem] = Field(default_factory=list)
    model: str | None = Field(
        default=None, description="The model that answered, where the one that was asked failed."
    )
    thinking: str | None = Field(default=None, description="The model's thoughts, on request.")


class AnswerResponse(BaseModel):
    """An agent's answer."""

    response: str = Field(
        examples=["Hello, Alice! I will remember your name in this conversation."]
    )
    session_id: str = Field(examples=["session_1"])
    metadata: AnswerMetadata


class NewSession(_Taken):
    """A session to come."""

    session_id: SessionId | None = Field(
        default=None, description="An id of your own; one is made where it is left out."
    )


class SessionCreated(BaseModel):
    """A session that may be written to; it is stored with its first message."""

    session_id: str
    agent_id: str


class SessionItem(BaseModel):
    """A conversation of a session, without its messages."""

    session_id: str
    conversation_id: str
    agent_id: str
    title: str
    status: Literal["active", "inactive", "ended"]
    message_count: int
    metadata: dict[str, Any]
    started_at: str
    last_activity_at: str
    pinned: bool = False
    archived: bool = False
    folder: str | None = None


class SessionChange(_Taken):
    """Changes of a conversation; a field that is absent or null changes nothing."""

    title: ShortText | None = Field(default=None, description="Cut to 60 characters.")
    pinned: bool | None = None
    archived: bool | None = None
    folder: ShortText | None = Field(
        default=None, description="Cut to 60 characters; an empty one takes it out of its folder."
    )


class SessionList(BaseModel):
    """Conversations, newest activity first."""

    sessions: list[SessionItem]
    next: str | None = Field(description="What to send as `before` for the next page, if any.")


class ToolResponse(BaseModel):
    """A tool call of an answer."""

    name: str
    arguments: dict[str, Any]
    result: str
    ok: bool


class MessageResponse(BaseModel):
    """A stored message."""

    seq: int
    role: Literal["user", "assistant"]
    content: str
    status: Literal["complete", "interrupted", "failed"]
    created_at: str
    model: str | None
    tokens: int | None
    tools: list[ToolResponse]
    finish_reason: FinishReason | None = Field(default=None, description=FINISH_REASON)
    notice: str | None = Field(default=None, description="What is said below the answer.")
    sources: list[SourceItem] = Field(default_factory=list)
    pictures: list[PictureItem] = Field(default_factory=list)
    files: list[FileItem] = Field(default_factory=list, description="Those that a user attached.")
    thinking: str | None = Field(default=None, description="The model's thoughts, on request.")
    thinking_seconds: float | None = None
    rating: Feedback | None = Field(default=None, description="What the user thinks of it.")
    rating_reason: FeedbackReason | None = None
    rating_comment: str | None = None
    parent: int | None = Field(default=None, description="The message that it follows, if any.")
    versions: list[int] = Field(
        default_factory=list,
        description="The seqs of all its versions, oldest first, where it has several. Not with "
        "`versions=all`: versions of a message have its parent.",
    )
    shown: bool = Field(
        default=True, description="Whether it is in the version of the conversation that is shown."
    )


class ForkCreated(SessionCreated):
    """A copy of a conversation, which goes on in the session."""

    conversation_id: str


class SessionHistory(SessionItem):
    """A conversation and a page of its messages, oldest first."""

    messages: list[MessageResponse]
    next: int | None = Field(description="What to send as `before` for older messages, if any.")


class PendingApprovalResponse(BaseModel):
    """A tool call that waits for its user's decision."""

    call: str = Field(
        description="Made by the server for this one question: a random part, and a SHA-256 digest "
        "of the tool, the arguments, the accounts and the conversation. The decision repeats it."
    )
    name: str
    account: str | None = Field(
        description="What the account is called with which the call will be made; null where the user "
        "has no choice of accounts."
    )
    arguments: dict[str, Any]
    seconds: int = Field(description="How long it still waits; it counts as denied then.")


class PendingApprovalList(BaseModel):
    """The calls that wait in a session."""

    waiting: list[PendingApprovalResponse]


class ApprovalAnswerRequest(_Taken):
    """The user's decision on a call."""

    call: str = Field(
        min_length=1,
        max_length=200,
        description="As `approvals` lists it, whole. One that is gone, was answered or shows "
        "another call decides nothing.",
    )
    answer: Literal["approved", "denied"]
    arguments: dict[str, Any] | None = Field(
        default=None, description="Those to call the tool with instead; the shown ones otherwise."
    )
    always: bool = Field(default=False, description="Do not ask again in this conversation.")


class NewShareRequest(_Taken):
    """A link to make."""

    conversation_id: ShortText | None = Field(
        default=None, description="An earlier conversation of this session; else the newest."
    )
    days: int | None = Field(
        default=7, ge=1, le=365, description="After so many days the link ends; null for never."
    )
    files: bool = Field(
        default=False, description="Whether the readers get the conversation's files, too."
    )


class ShareItem(BaseModel):
    """A link to a read-only copy of a conversation."""

    share_id: str
    url: str = Field(description="Whoever has it reads the copy, as the server allows.")
    conversation_id: str
    title: str
    files: bool
    message_count: int
    created_at: str
    expires_at: str | None


class ShareList(BaseModel):
    """Links that are open, newest first."""

    shares: list[ShareItem]


class Problem(BaseModel):
    """What went wrong (RFC 9457)."""

    type: str = Field(examples=["about:blank"])
    title: str = Field(examples=["Not Found"])
    status: int = Field(examples=[404])
    detail: str = Field(examples=["This conversation was not found."])
    error_id: str | None = Field(default=None, description="Ties the answer to a line of the log.")
