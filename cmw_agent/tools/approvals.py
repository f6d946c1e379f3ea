"""Tool calls that wait for their user's decision.

A run that is about to change something outside waits here until its owner approves or denies the
call, or the time is up, which counts as a denial. A decision is found by owner, conversation and
the approval's id. That id is made here: a random part, and a digest of what is shown. So a card
that shows one call decides that call or none, whatever ids the model's endpoint gives its calls.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from cmw_agent.core.events import EventSink

ApprovalOutcome = Literal["approved", "denied", "expired"]


@dataclass(frozen=True, slots=True)
class Decision:
    """What a user has said: `arguments` are those to call the tool with.

    `always` means that this tool may be called in this conversation without asking again.
    """

    answer: ApprovalOutcome
    arguments: Mapping[str, Any]
    always: bool = False


@dataclass(frozen=True, slots=True)
class PendingApproval:
    """A call that waits; `until` is in seconds of `time.time`.

    `approval_id` is what a decision names; `call_id` is the endpoint's and may come again.
    """

    approval_id: str
    call_id: str
    name: str
    arguments: Mapping[str, Any]
    until: float


def seconds_left(asked: PendingApproval, now: float) -> int:
    """Return how many whole seconds a call still waits, at least 0."""
    return max(0, math.ceil(asked.until - now))


@runtime_checkable
class ApprovalGate(Protocol):
    """Stands before what changes something outside; see `cmw_agent.chat.approval_gate`."""

    def needed(self, name: str, *, changes: bool) -> bool:
        """Whether the owner is to be asked before a call."""

    async def ask(
        self, call_id: str, name: str, arguments: Mapping[str, Any], emit: EventSink
    ) -> Decision:
        """Wait for the owner's decision about a call; `emit` gets what the owner is shown."""
