"""The tool calls of this process that wait for their owner's decision."""

import asyncio
import hmac
import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from cmw_agent.core.errors import NotFoundError
from cmw_agent.limits.budgets import Budgets
from cmw_agent.tools.approvals import ApprovalOutcome, Decision, PendingApproval


@dataclass(slots=True)
class _Waiting:
    asked: PendingApproval
    decided: asyncio.Future[Decision] = field(repr=False)


class ApprovalRegistry:
    """The calls of one process that wait.

    Args:
        seconds: How long a call waits.
        budgets: Bounds how many calls wait.
        clock: Seconds since the epoch.
    """

    def __init__(
        self, seconds: float, budgets: Budgets, clock: Callable[[], float] = time.time
    ) -> None:
        self._seconds = seconds
        self._budgets = budgets
        self._clock = clock
        self._waiting: dict[tuple[str, str], dict[str, _Waiting]] = {}

    def __len__(self) -> int:
        return self._budgets.used("approvals")

    async def ask(
        self,
        owner: str,
        conversation: str,
        call_id: str,
        name: str,
        arguments: Mapping[str, Any],
        address: str | None = None,
        opened: Callable[[PendingApproval], None] | None = None,
    ) -> Decision:
        """Wait for the owner's decision about a call.

        Args:
            owner: Who decides.
            conversation: In which the call waits.
            call_id: The endpoint's.
            name: Of the tool.
            arguments: Those that the tool is to be called with.
            address: The network address that the turn came from, if there is one.
            opened: Gets the call as soon as it can be decided.

        Raises:
            RateLimitError, BudgetFullError: Too many calls wait, of the owner, from the address, or of all.
        """
        with self._budgets.take("approvals", owner, address):
            approval_id = f"{secrets.token_hex(16)}.{_digest(owner, conversation, name, arguments)}"
            asked = PendingApproval(
                approval_id, call_id, name, arguments, self._clock() + self._seconds
            )
            return await self._decided(owner, conversation, asked, opened)

    async def _decided(
        self,
        owner: str,
        conversation: str,
        asked: PendingApproval,
        opened: Callable[[PendingApproval], None] | None,
    ) -> Decision:
        waiting = _Waiting(asked, asyncio.get_running_loop().create_future())
        calls = self._waiting.setdefault((owner, conversation), {})
        calls[asked.approval_id] = waiting
        try:
            if opened is not None:
                opened(asked)
            async with asyncio.timeout(self._seconds):
                return await waiting.decided
        except TimeoutError:
            return Decision("expired", asked.arguments)
        finally:
            del calls[asked.approval_id]
            if not calls:
                self._waiting.pop((owner, conversation), None)

    def pending(self, owner: str, conversation: str) -> list[PendingApproval]:
        """Return what waits in a conversation of this owner, oldest first."""
        return [found.asked for found in self._waiting.get((owner, conversation), {}).values()]

    def answer(
        self,
        owner: str,
        conversation: str,
        approval_id: str,
        answer: ApprovalOutcome,
        arguments: Mapping[str, Any] | None,
        *,
        always: bool = False,
    ) -> None:
        """Settle a call as its owner says; without `arguments` with those that it was shown with.

        Raises:
            NotFoundError: As `settle`.
        """
        if arguments is None:
            found = self._find(owner, conversation, approval_id)
            arguments = dict(found.asked.arguments)
        decision = Decision(answer, arguments, always=always and answer == "approved")
        self.settle(owner, conversation, approval_id, decision)

    def settle(self, owner: str, conversation: str, approval_id: str, decision: Decision) -> None:
        """Give the owner's decision to the call that waits for it.

        Raises:
            NotFoundError: No such call waits in a conversation of this owner: it is another's, shows
                something else, was decided, or its time is up.
        """
        self._find(owner, conversation, approval_id).decided.set_result(decision)

    def _find(self, owner: str, conversation: str, approval_id: str) -> _Waiting:
        sent = approval_id.encode("utf-8", "surrogatepass")
        found = None
        # All are compared, each in constant time: how long it takes says nothing of an id.
        for known, waiting in self._waiting.get((owner, conversation), {}).items():
            if hmac.compare_digest(known.encode(), sent):
                found = waiting
        if found is None or found.decided.done():
            raise NotFoundError(
                "This question is not open any more; please look at the conversation."
            )
        return found


def _digest(owner: str, conversation: str, name: str, arguments: Mapping[str, Any]) -> str:
    """Return SHA-256 over what is shown, as canonical JSON, in hex."""
    shown = {"account": owner, "conversation": conversation, "tool": name, "arguments": arguments}
    try:
        text = json.dumps(shown, sort_keys=True, separators=(",", ":"), default=dict)
    except (ValueError, TypeError, RecursionError):
        text = secrets.token_hex(32)  # no channel can show it either
    return sha256(text.encode()).hexdigest()
