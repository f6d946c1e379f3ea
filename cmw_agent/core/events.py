"""What a turn emits, in order, to whichever channel asked for it.

`TurnStarted` comes first and exactly one of `TurnFinished` comes last; between
them stand text and tool events. Adapters turn these into their own medium and
never touch memory or agent.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

TurnOutcome = Literal["complete", "interrupted", "failed"]


@dataclass(frozen=True, slots=True)
class TurnStarted:
    """The user's message is stored and the model is about to be called.

    `user_seq` and `answer_seq` are the places of question and answer in the conversation.
    """

    turn_id: str
    conversation_id: str
    user_seq: int
    answer_seq: int


@dataclass(frozen=True, slots=True)
class TextDelta:
    """More of the answer; `text` is appended to what came before."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolStarted:
    """The agent calls a tool."""

    call_id: str
    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ToolFinished:
    """A tool returned (`ok`) or refused (`not ok`); `seconds` is its own run time.

    `link` is an address that the user is to be shown: where they connect an account.
    """

    call_id: str
    name: str
    result: str
    ok: bool
    seconds: float
    link: str | None = None


@dataclass(frozen=True, slots=True)
class ApprovalRequested:
    """A call waits for its user's decision; it was told of by `ToolStarted`.

    `approval_id` is what the decision must name.
    """

    call_id: str
    name: str
    approval_id: str


@dataclass(frozen=True, slots=True)
class ApprovalSettled:
    """The wait is over; `arguments` are those that the user has left or changed."""

    call_id: str
    answer: Literal["approved", "denied", "expired"]
    arguments: Mapping[str, Any]
    approval_id: str


@dataclass(frozen=True, slots=True)
class UsageReported:
    """Tokens that one model call took, as the model's server counts them.

    With `is_estimate` the server has reported none, most often since the call was cut.
    """

    input_tokens: int
    output_tokens: int
    is_estimate: bool = False


@dataclass(frozen=True, slots=True)
class TurnFinished:
    """The turn has ended and is stored.

    `sentence` and `error_id` are set when the outcome is ``failed`` or when the
    answer was cut short for a reason that the user should know.
    """

    outcome: TurnOutcome
    sentence: str | None = None
    error_id: str | None = None
    tokens: int | None = None


AgentEvent = (
    TextDelta | ToolStarted | ToolFinished | ApprovalRequested | ApprovalSettled | UsageReported
)
TurnEvent = TurnStarted | AgentEvent | TurnFinished


EventSink = Callable[[AgentEvent], None]
