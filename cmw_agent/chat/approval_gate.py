"""The approval gate of a turn: which calls wait for their owner, and what was decided."""

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

from cmw_agent.chat.dependencies import ChatDependencies
from cmw_agent.chat.turn import Turn
from cmw_agent.conversations.sessions import LiveSession
from cmw_agent.core.errors import UserError
from cmw_agent.core.events import (
    ApprovalRequested,
    ApprovalSettled,
    EventSink,
)
from cmw_agent.tools.approvals import Decision, PendingApproval
from cmw_agent.tools.composio.toolset import CONNECT
from memory.errors import StoreError
from memory.records import TurnTicket

ALWAYS = "always"  # tools that the user lets run in a conversation without being asked


class TurnApprovalGate:
    """Asks the owner before a tool changes something outside; the turn's clock stands meanwhile.

    `asked` are the calls that wait.
    """

    def __init__(
        self,
        kit: ChatDependencies,
        session: LiveSession,
        turn: Turn,
        ticket: TurnTicket,
        clock: asyncio.Timeout,
        *,
        can_ask: bool,
    ) -> None:
        self._kit = kit
        self._session = session
        self._can_ask = can_ask
        self._turn = turn
        self._ticket = ticket
        self._clock = clock
        self._left = 0.0
        self._always: set[str] = set(ticket.context.get(ALWAYS) or ())
        self.asked: list[ApprovalRequested] = []

    def needed(self, name: str, *, changes: bool) -> bool:
        """Whether the owner is to be asked before a call."""
        settings = self._kit.settings
        if settings.approval == "none" or name == CONNECT:
            return False
        if name in settings.trusted_tools:
            return False
        # What the owner has allowed was allowed with somebody there to see it run.
        if self._can_ask and name in self._always:
            return False
        return changes or settings.approval == "all"

    async def ask(
        self, call_id: str, name: str, arguments: Mapping[str, Any], emit: EventSink
    ) -> Decision:
        """Wait for the owner's decision; without anybody to ask, it is a denial."""
        if not self._can_ask:
            return Decision("denied", dict(arguments))
        owner, conversation = self._session.owner, self._ticket.conversation_id
        approval_id = ""

        def opened(asked: PendingApproval) -> None:
            nonlocal approval_id
            approval_id = asked.approval_id
            emit(ApprovalRequested(call_id, name, approval_id))

        self._hold()
        try:
            decision = await self._kit.approvals.ask(
                owner, conversation, call_id, name, arguments, self._session.address, opened
            )
        finally:
            self._go_on()
            self.asked = [item for item in self.asked if item.approval_id != approval_id]
        if decision.answer == "approved" and not await self._may_use():
            decision = Decision("denied", dict(arguments))
        emit(ApprovalSettled(call_id, decision.answer, decision.arguments, approval_id))
        if decision.always and decision.answer == "approved":
            self._always.add(name)
            changes = {ALWAYS: sorted(self._always)}
            with contextlib.suppress(StoreError):
                await self._session.memory.update_context(owner, conversation, changes)
        return decision

    async def _may_use(self) -> bool:
        """Whether the owner may use the agent still: it may have been long ago that they might."""
        try:
            await self._kit.profile(self._session, self._ticket.agent_id)
        except UserError:
            return False
        return True

    def _hold(self) -> None:
        if not self._turn.waits and (when := self._clock.when()) is not None:
            self._left = when - asyncio.get_running_loop().time()
            self._clock.reschedule(None)
        self._turn.pause()

    def _go_on(self) -> None:
        self._turn.go_on()
        if not self._turn.waits and not self._clock.expired():
            self._clock.reschedule(asyncio.get_running_loop().time() + self._left)
