"""The tool calls of this process that wait for their owner's decision."""

import asyncio
import hmac
import json
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from cmw_agent.core.errors import NotFoundError
from cmw_agent.language import wording
from cmw_agent.limits.budgets import Budgets
from cmw_agent.tools.approvals import ApprovalOutcome, Decision, PendingApproval
from memory.records import StoredDecision

Opened = Callable[[PendingApproval], Awaitable[bool]]


class NotWaitingError(NotFoundError):
    """No such call waits: it is another's, was decided, or its time is up; one answer for all."""

    sentence = wording("This question is not open any more; please look at the conversation.")


@dataclass(slots=True)
class _WaitingCall:
    pending: PendingApproval
    decision: asyncio.Future[Decision] = field(repr=False)
    is_stored: bool = False


class ApprovalRegistry:
    """The tool calls of one process that wait for their owner's decision.

    Args:
        seconds: How long a call waits, at most.
        budgets: Bounds how many calls wait.
        clock: Seconds since the epoch.
    """

    def __init__(
        self, seconds: float, budgets: Budgets, clock: Callable[[], float] = time.time
    ) -> None:
        self._seconds = seconds
        self._budgets = budgets
        self._clock = clock
        self._waiting: dict[tuple[str, str], dict[str, _WaitingCall]] = {}

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
        opened: Opened | None = None,
        account_label: str | None = None,
    ) -> Decision:
        """Wait for the owner's decision about a call.

        Args:
            owner: Who decides.
            conversation: In which the call waits.
            call_id: The call's id in events.
            name: Of the tool.
            arguments: Those that the tool is to be called with.
            address: The network address that the turn came from, if there is one.
            opened: Gets the call as soon as it can be decided; returns whether it is stored, so that
                other processes can decide it.
            account_label: What the account is called with which the call will be made, if one is named.

        Raises:
            RateLimitError, BudgetFullError: Too many calls wait, of the owner, from the address, or of all.
        """
        with self._budgets.take("approvals", owner, address):
            digest = _digest(owner, conversation, name, arguments, account_label)
            until = self._clock() + self._seconds
            pending = PendingApproval(
                f"{secrets.token_hex(16)}.{digest}", call_id, name, arguments, until, account_label
            )
            return await self._wait(owner, conversation, pending, opened)

    async def _wait(
        self,
        owner: str,
        conversation: str,
        pending: PendingApproval,
        opened: Opened | None,
    ) -> Decision:
        call = _WaitingCall(pending, asyncio.get_running_loop().create_future())
        calls = self._waiting.setdefault((owner, conversation), {})
        calls[pending.approval_id] = call
        try:
            async with asyncio.timeout(self._seconds):
                if opened is not None:
                    call.is_stored = await opened(pending)
                return await call.decision
        except TimeoutError:
            return Decision("expired", pending.arguments)
        finally:
            del calls[pending.approval_id]
            if not calls:
                self._waiting.pop((owner, conversation), None)

    def pending(self, owner: str, conversation: str) -> list[PendingApproval]:
        """Return the calls that wait in a conversation of this owner, oldest first."""
        return [call.pending for call in self._waiting.get((owner, conversation), {}).values()]

    def is_waiting(self, owner: str, conversation: str, approval_id: str) -> bool:
        """Whether a call waits in a conversation of this owner."""
        return self._found(owner, conversation, approval_id) is not None

    def is_stored(self, owner: str, conversation: str, approval_id: str) -> bool:
        """Whether a call that waits is stored, so that other processes can decide it."""
        call = self._found(owner, conversation, approval_id)
        return call is not None and call.is_stored

    def take(self, owner: str, conversation: str, decision: StoredDecision) -> None:
        """Settle a call by a stored decision of its owner's.

        Raises:
            NotFoundError: As `settle`.
        """
        answer: ApprovalOutcome = "approved" if decision.answer == "approved" else "denied"
        self.answer(
            owner,
            conversation,
            decision.approval_id,
            answer,
            decision.arguments,
            always=decision.always,
        )

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
        """Settle a call by its owner's answer; without `arguments` with those that were shown.

        Raises:
            NotFoundError: As `settle`.
        """
        if arguments is None:
            call = self._find(owner, conversation, approval_id)
            arguments = dict(call.pending.arguments)
        decision = Decision(answer, arguments, always=always and answer == "approved")
        self.settle(owner, conversation, approval_id, decision)

    def settle(self, owner: str, conversation: str, approval_id: str, decision: Decision) -> None:
        """Give the owner's decision to the call that waits for it.

        Raises:
            NotFoundError: No such call waits in a conversation of this owner: it is another's, shows
                something else, was decided, or its time is up.
        """
        self._find(owner, conversation, approval_id).decision.set_result(decision)

    def _find(self, owner: str, conversation: str, approval_id: str) -> _WaitingCall:
        call = self._found(owner, conversation, approval_id)
        if call is None:
            raise NotWaitingError
        return call

    def _found(self, owner: str, conversation: str, approval_id: str) -> _WaitingCall | None:
        wanted = approval_id.encode("utf-8", "surrogatepass")
        call = None
        # All are compared, each in constant time: how long it takes says nothing of an id.
        for known_id, waiting in self._waiting.get((owner, conversation), {}).items():
            if hmac.compare_digest(known_id.encode(), wanted):
                call = waiting
        return None if call is None or call.decision.done() else call


def _digest(
    owner: str, conversation: str, name: str, arguments: Mapping[str, Any], account: str | None
) -> str:
    """Return SHA-256 over what the owner is shown, as canonical JSON, in hex."""
    content = {
        "account": owner,
        "conversation": conversation,
        "tool": name,
        "arguments": arguments,
        "connected_account": account,
    }
    try:
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), default=dict)
    except (ValueError, TypeError, RecursionError):
        text = secrets.token_hex(32)  # no channel can show it either
    return sha256(text.encode()).hexdigest()
