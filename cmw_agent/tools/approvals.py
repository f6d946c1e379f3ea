"""Approvals: tool calls that wait for their user's decision.

A call that may change something outside the app waits until its owner approves or denies it, or
until it expires, which counts as a denial. A decision names the approval by owner, conversation
and approval id (`cmw_agent.chat.approval_registry`).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from cmw_agent.core.events import EventSink, ToolAccount

QUESTION, ANSWER = "question", "answer"  # name of an agent's question, and the argument to fill
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
        account: What the panel calls the account with which the call will be made; None where the
            user has no choice.
    """

    approval_id: str
    call_id: str
    name: str
    arguments: Mapping[str, Any]
    until: float
    account: str | None = None


def question_of(approval: PendingApproval) -> str | None:
    """Return the text of an agent's question to its user; None where the call is none.

    A question is a call of the name `QUESTION` whose argument `answer` the user fills.
    """
    question, answer = (approval.arguments.get(key) for key in (QUESTION, ANSWER))
    is_question = approval.name == QUESTION and isinstance(answer, str)
    return question if is_question and isinstance(question, str) else None


def seconds_left(approval: PendingApproval, now: float) -> int:
    """Return the seconds until an approval expires, rounded up, at least 0.

    Args:
        approval: A pending approval.
        now: Seconds since the epoch.
    """
    return max(0, math.ceil(approval.until - now))


class UserQuestions(Protocol):
    """Asks the user of a run; see `cmw_agent.agent.questions`."""

    async def ask(self, question: str) -> str | None:
        """Ask a question and return the answer; None where the user gave none.

        Raises:
            UserError: Too many questions wait.
        """

    async def approve(self, name: str, arguments: Mapping[str, Any]) -> Decision:
        """Ask whether something may be done; where nobody can be asked, it is a denial.

        Raises:
            UserError: Too many questions wait.
        """


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
        self,
        call_id: str,
        name: str,
        arguments: Mapping[str, Any],
        emit: EventSink,
        account: ToolAccount | None = None,
    ) -> Decision:
        """Ask the owner about a call and return the decision.

        Args:
            call_id: The call's id in events.
            name: Name of the tool.
            arguments: As the model gave them.
            emit: Receives the events that show the pending approval to the owner.
            account: The account with which the call will be made, where the owner has several.
        """
