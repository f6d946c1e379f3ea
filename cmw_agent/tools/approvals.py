"""Approvals: tool calls that wait for their user's decision.

A call that may change something outside the app waits until its owner approves or denies it, or
until it expires, which counts as a denial. A decision names the approval by owner, conversation
and approval id (`cmw_agent.chat.approval_registry`).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from cmw_agent.core.events import EventSink

ApprovalOutcome = Literal["approved", "denied", "expired"]


@dataclass(frozen=True, slots=True)
class Decision:
    """A user's decision about a pending tool call.

    Attributes:
        answer: The outcome.
        arguments: The arguments with which to call the tool, as the user left or edited them.
        always: Whether the tool may be called in this conversation without asking again.
    """

    answer: ApprovalOutcome
    arguments: Mapping[str, Any]
    always: bool = False


@dataclass(frozen=True, slots=True)
class PendingApproval:
    """A tool call that waits for a decision.

    Attributes:
        approval_id: The id that a decision names; unique.
        call_id: The call's id in events; other runs may have the same.
        name: Name of the tool.
        arguments: As the model gave them.
        until: When it expires, in seconds since the epoch (`time.time`).
    """

    approval_id: str
    call_id: str
    name: str
    arguments: Mapping[str, Any]
    until: float


def seconds_left(approval: PendingApproval, now: float) -> int:
    """Return the seconds until an approval expires, rounded up, at least 0.

    Args:
        approval: A pending approval.
        now: Seconds since the epoch.
    """
    return max(0, math.ceil(approval.until - now))


@runtime_checkable
class ApprovalGate(Protocol):
    """Decides which tool calls need approval, and waits for it; see `cmw_agent.chat.approval_gate`."""

    def needed(self, name: str, *, changes: bool) -> bool:
        """Return whether a call needs the owner's approval.

        Args:
            name: Name of the tool.
            changes: Whether the tool may change something outside the app.
        """

    async def ask(
        self, call_id: str, name: str, arguments: Mapping[str, Any], emit: EventSink
    ) -> Decision:
        """Ask the owner about a call and return the decision.

        Args:
            call_id: The call's id in events.
            name: Name of the tool.
            arguments: As the model gave them.
            emit: Receives the events that show the pending approval to the owner.
        """
