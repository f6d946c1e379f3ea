"""The approval gate of a turn: asks the owner before a tool changes something outside."""

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

from cmw_agent.chat.dependencies import ChatDependencies
from cmw_agent.chat.turn import Turn
from cmw_agent.conversations.sessions import LiveSession
from cmw_agent.core.errors import UserError
from cmw_agent.core.events import ApprovalRequested, ApprovalSettled, EventSink, ToolAccount
from cmw_agent.tools.approvals import Decision, PendingApproval
from cmw_agent.tools.composio.toolset import CONNECT
from memory.errors import StoreError
from memory.records import StoredQuestion, TurnTicket

ALWAYS = "always"  # tools that the user lets run in a conversation without being asked


class TurnApprovalGate:
    """Asks the owner before a tool changes something outside; the turn's clock stands meanwhile.

    Args:
        dependencies: What turns share.
        session: The owner's.
        turn: Is paused while a call waits.
        ticket: The turn's, as the memory gave it.
        clock: The turn's time-out.
        can_ask: Whether the owner can be asked; a call that needs approval is denied otherwise.
    """

    def __init__(
        self,
        dependencies: ChatDependencies,
        session: LiveSession,
        turn: Turn,
        ticket: TurnTicket,
        clock: asyncio.Timeout,
        *,
        can_ask: bool,
    ) -> None:
        self._dependencies = dependencies
        self._session = session
        self._can_ask = can_ask
        self._turn = turn
        self._ticket = ticket
        self._clock = clock
        self._storing = asyncio.Lock()  # one list of questions after the other
        self._seconds_left = 0.0  # of the clock, while it stands
        self._always: set[str] = set(ticket.context.get(ALWAYS) or ())

    def needed(self, name: str, *, changes: bool) -> bool:
        """Whether the owner is to be asked before a call."""
        settings = self._dependencies.settings
        if settings.approval == "none" or name == CONNECT:
            return False
        if name in settings.trusted_tools:
            return False
        # What the owner has allowed was allowed with somebody there to see it run.
        if self._can_ask and name in self._always:
            return False
        return changes or settings.approval == "all"

    async def ask(
        self,
        call_id: str,
        name: str,
        arguments: Mapping[str, Any],
        emit: EventSink,
        account: ToolAccount | None = None,
    ) -> Decision:
        """Wait for the owner's decision; where nobody can be asked, it is a denial.

        Args:
            call_id: The call's id in events.
            name: Of the tool.
            arguments: Those of the model.
            emit: Gets the question, and the decision.
            account: The account with which the call will be made, where the owner has several.

        Raises:
            RateLimitError, BudgetFullError: Too many calls wait.
        """
        if not self._can_ask:
            return Decision("denied", dict(arguments))
        owner, conversation = self._session.owner, self._ticket.conversation_id
        approval_id, label = "", account.label if account is not None else None

        async def opened(pending: PendingApproval) -> bool:
            nonlocal approval_id
            approval_id = pending.approval_id
            emit(ApprovalRequested(call_id, name, approval_id))
            return await self._store_questions()

        self._stop_clock()
        try:
            decision = await self._dependencies.approvals.ask(
                *(owner, conversation, call_id, name, arguments),
                account_label=label,
                address=self._session.address,
                opened=opened,
            )
        finally:
            self._start_clock()
        if decision.answer == "approved" and not await self._may_use():
            decision = Decision("denied", dict(arguments))
        emit(ApprovalSettled(call_id, decision.answer, decision.arguments, approval_id))
        if decision.always and decision.answer == "approved":
            self._always.add(name)
            changes = {ALWAYS: sorted(self._always)}
            with contextlib.suppress(StoreError):
                await self._session.memory.update_context(owner, conversation, changes)
        await self._store_questions()
        return decision

    async def _store_questions(self) -> bool:
        """Store what waits in the turn, for the pages at other processes; return whether it was."""
        owner, ticket = self._session.owner, self._ticket
        async with self._storing:
            waiting = self._dependencies.approvals.pending(owner, ticket.conversation_id)
            questions = [
                StoredQuestion(
                    p.approval_id, p.call_id, p.name, dict(p.arguments), p.until, p.account
                )
                for p in waiting
            ]
            with contextlib.suppress(StoreError):  # it can be decided here alone
                return await self._session.memory.store_questions(owner, ticket.turn_id, questions)
        return False

    async def _may_use(self) -> bool:
        """Whether the owner may use the agent still: the question may have stood for long."""
        try:
            await self._dependencies.profile(self._session, self._ticket.agent_id)
        except UserError:
            return False
        return True

    def _stop_clock(self) -> None:
        if not self._turn.waits and (when := self._clock.when()) is not None:
            self._seconds_left = when - asyncio.get_running_loop().time()
            self._clock.reschedule(None)
        self._turn.pause()

    def _start_clock(self) -> None:
        self._turn.go_on()
        if not self._turn.waits and not self._clock.expired():
            self._clock.reschedule(asyncio.get_running_loop().time() + self._seconds_left)
