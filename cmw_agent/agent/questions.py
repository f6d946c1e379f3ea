"""Questions of a run to its user, which wait at the approval gate and are shown as tool steps."""

import secrets
from collections.abc import Mapping
from typing import Any

from cmw_agent.core.events import ToolFinished, ToolStarted
from cmw_agent.llm.run_events import RunEvents
from cmw_agent.tools.approvals import ANSWER, QUESTION, ApprovalGate, Decision


class RunQuestions:
    """Asks the user of one run.

    Args:
        gate: The run's; None where nobody can be asked.
        events: Takes the run's events.
    """

    __slots__ = ("_events", "_gate")

    def __init__(self, gate: ApprovalGate | None, events: RunEvents) -> None:
        self._gate = gate
        self._events = events

    async def approve(self, name: str, arguments: Mapping[str, Any]) -> Decision:
        """Ask whether something may be done, and return the decision.

        Where nobody can be asked, it is a denial.

        Args:
            name: What is to be done, as a tool's name.
            arguments: With which arguments; the user may edit them.

        Raises:
            UserError: Too many questions wait.
        """
        if self._gate is None:
            return Decision("denied", dict(arguments))
        call_id = f"ask-{secrets.token_hex(6)}"
        self._events.emit(ToolStarted(call_id, name, dict(arguments)))
        decision = await self._gate.ask(call_id, name, arguments, self._events.emit)
        is_approved = decision.answer == "approved"
        self._events.emit(ToolFinished(call_id, name, decision.answer, is_approved, 0.0))
        return decision

    async def ask(self, question: str) -> str | None:
        """Ask a question and return the answer; None where the user gave none.

        Raises:
            UserError: Too many questions wait.
        """
        decision = await self.approve(QUESTION, {QUESTION: question, ANSWER: ""})
        if decision.answer != "approved":
            return None
        return str(decision.arguments.get(ANSWER, ""))
