"""ApprovalService: what waits for an owner's decision in a conversation, and the decision itself.

For every channel, at every process: the turn may run at another one, which stores what it asks and
gets the decision with its next checkpoint (`memory.conversations.questions`).
"""

import contextlib
from collections.abc import Mapping
from typing import Any

from cmw_agent.chat.approval_registry import ApprovalRegistry, NotWaitingError
from cmw_agent.core.errors import NotFoundError
from cmw_agent.core.store_errors import mapped_store_errors
from cmw_agent.files.service import MemoryOf
from cmw_agent.identity.principals import Principal
from cmw_agent.tools.approvals import ApprovalOutcome, PendingApproval
from memory.records import StoredDecision


class ApprovalService:
    """Lists and settles the tool calls that wait for their owner's decision.

    Args:
        registry: Those of turns that this process runs.
        memory_of: Gives the memory that holds a principal's conversations.

    Raises:
        UserError: From each method, if the memory fails.
    """

    def __init__(self, registry: ApprovalRegistry, memory_of: MemoryOf) -> None:
        self._registry = registry
        self._memory_of = memory_of

    async def pending(self, principal: Principal, conversation: str) -> list[PendingApproval]:
        """Return the calls that wait in a conversation of this principal, oldest first."""
        if found := self._registry.pending(principal.id, conversation):
            return found
        memory = self._memory_of(principal)
        with mapped_store_errors():
            running = await memory.running_answer(principal.id, conversation)
        return [
            PendingApproval(q.approval_id, q.call_id, q.name, q.arguments, q.until, q.account)
            for q in (running.questions if running is not None else ())
        ]

    async def answer(
        self,
        principal: Principal,
        conversation: str,
        approval_id: str,
        answer: ApprovalOutcome,
        arguments: Mapping[str, Any] | None,
        *,
        always: bool = False,
    ) -> None:
        """Settle a call by its owner's answer; without `arguments` with those that were shown.

        Raises:
            NotFoundError: No such call waits in a conversation of this principal: it is another's,
                shows something else, was decided, or its time is up.
        """
        owner = principal.id
        is_here = self._registry.is_waiting(owner, conversation, approval_id)
        if is_here and not self._registry.is_stored(owner, conversation, approval_id):
            self._registry.answer(
                owner, conversation, approval_id, answer, arguments, always=always
            )
            return
        given = dict(arguments) if arguments is not None else None
        decision = StoredDecision(approval_id, answer, given, always and answer == "approved")
        # The row settles which of two decisions at two processes was first.
        with mapped_store_errors():
            is_first = await self._memory_of(principal).decide(owner, conversation, decision)
        if not is_first:
            raise NotWaitingError
        with contextlib.suppress(NotFoundError):  # another process runs it
            self._registry.take(owner, conversation, decision)
