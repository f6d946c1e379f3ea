"""Events of a turn, in the order in which a channel receives them.

A turn emits one `TurnStarted`, then text and tool events, then exactly one
`TurnFinished`. Channels convert events into their own medium and use neither
memory nor agent.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

TurnOutcome = Literal["complete", "interrupted", "failed"]
# How the model's server said that its answer ended; `missing` where it did not say.
FinishReason = Literal["stop", "length", "content_filter", "error", "missing"]


@dataclass(frozen=True, slots=True)
class TurnStarted:
    """The user's message is stored and the model is about to be called.

    Attributes:
        user_seq: Sequence number of the user's message in the conversation.
        answer_seq: Sequence number of the answer.
        parent_seq: Sequence number of the message before the user's, 0 for none; None where the
            same request came before.
    """

    turn_id: str
    conversation_id: str
    user_seq: int
    answer_seq: int
    parent_seq: int | None = None


@dataclass(frozen=True, slots=True)
class TextDelta:
    """More of the answer; `text` is appended to what came before."""

    text: str


@dataclass(frozen=True, slots=True)
class ThinkingDelta:
    """More of the model's thoughts, which are not part of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class TextWasThinking:
    """The text of the current model call up to here was not answer but thoughts.

    Some models end their thoughts with a tag that they did not open.

    Attributes:
        length: Number of characters at the end of the answer's text that were thoughts.
    """

    length: int


@dataclass(frozen=True, slots=True)
class Source:
    """A source that an answer cites."""

    url: str
    title: str


@dataclass(frozen=True, slots=True)
class SourcesCited:
    """Further sources of the answer, in the order of their numbers."""

    sources: tuple[Source, ...]


@dataclass(frozen=True, slots=True)
class PictureReceived:
    """A picture that the model made."""

    media_type: str
    data: bytes


@dataclass(frozen=True, slots=True)
class PictureStored:
    """A picture of the answer is stored as its owner's file.

    Attributes:
        file_id: The file's id.
        name: The file's name.
    """

    file_id: str
    name: str


@dataclass(frozen=True, slots=True)
class ModelSwitched:
    """The requested model failed, and a fallback model answers.

    Attributes:
        failed: The id of the model that failed.
        model: The id of the model that answers.
    """

    failed: str
    model: str


@dataclass(frozen=True, slots=True)
class AnswerNoted:
    """A sentence for the user that stands below the answer; channels get it with `TurnFinished`."""

    sentence: str


@dataclass(frozen=True, slots=True)
class ToolStarted:
    """The agent calls a tool."""

    call_id: str
    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ToolProgressed:
    """A tool call that runs reports how far it has come; stored nowhere.

    Attributes:
        done: How much is done.
        total: How much there is in all; None where the tool does not say.
        message: What it does; empty where it does not say.
    """

    call_id: str
    name: str
    done: float
    total: float | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class ToolAccount:
    """The account of the user's, or the session of theirs, in which a tool ran.

    Attributes:
        account_id: Names it in receipts; useless to whoever else reads it.
        label: What the panel of connections calls it.
    """

    account_id: str
    label: str


@dataclass(frozen=True, slots=True)
class ToolFinished:
    """A tool call has ended.

    Attributes:
        result: The tool's output, or why it failed.
        ok: Whether it succeeded.
        seconds: Run time of the tool.
        link: URL to show to the user, at which they connect an account.
        account: The account that the tool used; None where it used none.
    """

    call_id: str
    name: str
    result: str
    ok: bool
    seconds: float
    link: str | None = None
    account: ToolAccount | None = None


@dataclass(frozen=True, slots=True)
class ApprovalRequested:
    """A tool call, announced by `ToolStarted`, waits for the user's decision.

    Attributes:
        approval_id: The id that the decision must name.
    """

    call_id: str
    name: str
    approval_id: str


@dataclass(frozen=True, slots=True)
class ApprovalSettled:
    """A tool call has been approved or denied, or its approval has expired.

    Attributes:
        arguments: The arguments as the user left or edited them.
    """

    call_id: str
    answer: Literal["approved", "denied", "expired"]
    arguments: Mapping[str, Any]
    approval_id: str


@dataclass(frozen=True, slots=True)
class ClientToolsCalled:
    """The model calls tools that the caller runs itself; the answer ends with it.

    Attributes:
        calls: The calls, each in the form of OpenAI's chat completions.
    """

    calls: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class UsageReported:
    """Tokens of one model call, as the model's server counts them.

    Attributes:
        is_estimate: The server reported no usage, most often because the call was cut.
        cached_tokens: Those of `input_tokens` that the server had cached.
        reasoning_tokens: Those of `output_tokens` that were thoughts.
    """

    input_tokens: int
    output_tokens: int
    is_estimate: bool = False
    cached_tokens: int = 0
    reasoning_tokens: int = 0


@dataclass(frozen=True, slots=True)
class TurnFinished:
    """The turn has ended and is stored.

    Attributes:
        sentence: For the user, when the outcome is ``failed`` or when the answer was cut short
            for a reason that the user should know.
        error_id: Set together with `sentence`.
        tokens: Tokens of the turn, where known.
        finish_reason: How the model's server said that the answer ended; None where no model
            answered or its answer broke off.
    """

    outcome: TurnOutcome
    sentence: str | None = None
    error_id: str | None = None
    tokens: int | None = None
    finish_reason: FinishReason | None = None


AgentEvent = (
    TextDelta
    | ThinkingDelta
    | TextWasThinking
    | ToolStarted
    | ToolProgressed
    | ToolFinished
    | ApprovalRequested
    | ApprovalSettled
    | SourcesCited
    | PictureReceived
    | ModelSwitched
    | AnswerNoted
    | ClientToolsCalled
    | UsageReported
)
TurnEvent = TurnStarted | AgentEvent | PictureStored | TurnFinished


EventSink = Callable[[AgentEvent], None]
