"""Tool calls that wait for their user's word.

A run that is about to change something outside waits here until its owner approves or denies the
call, or the time is up, which counts as a denial. Whoever answers is known by the owner and the
conversation: without both, a call is not found.
"""

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from cmw_agent.budgets import Budgets
from cmw_agent.errors import NotFound

Answer = Literal["approved", "denied", "expired"]


@dataclass(frozen=True, slots=True)
class Decision:
    """What a user has said: `arguments` are those to call the tool with.

    `always` means that this tool may be called in this conversation without asking again.
    """

    answer: Answer
    arguments: Mapping[str, Any]
    always: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """A call that waits; `until` is in seconds of `time.time`."""

    call_id: str
    name: str
    arguments: Mapping[str, Any]
    until: float


@dataclass(slots=True)
class _Waiting:
    asked: Asked
    decided: asyncio.Future[Decision] = field(repr=False)


class Approvals:
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
    ) -> Decision:
        """Wait for the owner's decision about a call.

        Args:
            owner: Whose call it is.
            conversation: In which of their conversations.
            call_id: Names the call there.
            name: The tool's.
            arguments: Those to call it with.
            address: The network address that the turn was asked for from, if there is one.

        Raises:
            TooMany, Full: Too many calls wait, of the owner, from the address, or of all.
        """
        with self._budgets.take("approvals", owner, address):
            return await self._ask(owner, conversation, call_id, name, arguments)

    async def _ask(
        self, owner: str, conversation: str, call_id: str, name: str, arguments: Mapping[str, Any]
    ) -> Decision:
        asked = Asked(call_id, name, arguments, self._clock() + self._seconds)
        waiting = _Waiting(asked, asyncio.get_running_loop().create_future())
        calls = self._waiting.setdefault((owner, conversation), {})
        calls[call_id] = waiting
        try:
            async with asyncio.timeout(self._seconds):
                return await waiting.decided
        except TimeoutError:
            return Decision("expired", arguments)
        finally:
            if calls.get(call_id) is waiting:
                del calls[call_id]
            if not calls:
                self._waiting.pop((owner, conversation), None)

    def pending(self, owner: str, conversation: str) -> list[Asked]:
        """Return what waits in a conversation of this owner, oldest first."""
        return [found.asked for found in self._waiting.get((owner, conversation), {}).values()]

    def answer(
        self,
        owner: str,
        conversation: str,
        call_id: str,
        answer: Answer,
        arguments: Mapping[str, Any] | None,
        *,
        always: bool = False,
    ) -> None:
        """Settle a call as its owner says; without `arguments` with those that it was asked with.

        Raises:
            NotFound: As `settle`.
        """
        if arguments is None:
            found = self._waiting.get((owner, conversation), {}).get(call_id)
            arguments = dict(found.asked.arguments) if found is not None else {}
        decision = Decision(answer, arguments, always=always and answer == "approved")
        self.settle(owner, conversation, call_id, decision)

    def settle(self, owner: str, conversation: str, call_id: str, decision: Decision) -> None:
        """Give the owner's decision to the call that waits for it.

        Raises:
            NotFound: No such call waits in a conversation of this owner: it is another's, or was
                decided, or its time is up.
        """
        found = self._waiting.get((owner, conversation), {}).get(call_id)
        if found is None or found.decided.done():
            raise NotFound("This question is not open any more; please look at the conversation.")
        found.decided.set_result(decision)


def seconds_left(asked: Asked, now: float) -> int:
    """Return how many whole seconds a call still waits, at least 0."""
    return max(0, math.ceil(asked.until - now))
