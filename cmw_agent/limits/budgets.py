"""Budgets: how much of a resource one owner, one network address, and all together may use.

A visitor's cookie is free, so a limit per owner alone limits nobody. Each resource that a free
cookie gives access to has a `Budget` (`budget_sizes`); `Budgets` counts its use in the process.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace

from cmw_agent.config.settings import Settings
from cmw_agent.core.errors import UserError
from cmw_agent.limits.budget_sizes import (
    BUDGET_KINDS,
    Budget,
    BudgetFullError,
    BudgetKind,
    BudgetScope,
    budgets_of,
)
from cmw_agent.limits.budget_use import BudgetUsage, Hold, Waiter
from cmw_agent.limits.limiter import network_of

__all__ = [
    "BUDGET_KINDS",
    "Budget",
    "BudgetFullError",
    "BudgetKind",
    "BudgetScope",
    "Budgets",
    "Hold",
    "budgets_of",
]

MAX_WAITING = 1_000  # callers that wait for one kind
MAX_ENTRIES = 100_000  # spendings of one kind in its window: one per owner, network and step


class Budgets:
    """Counts the use of each budget in one process.

    Taking and releasing take constant time. In all methods `owner` is None if the principal is not
    known yet, and `address` is None if the channel has none: that limit then does not apply, and
    the use counts for the total only. IPv6 addresses are counted by /64.

    Args:
        budgets: As `budgets_of` returns them.
        clock: Monotonic clock, in seconds.
    """

    def __init__(
        self, budgets: Mapping[BudgetKind, Budget], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._usages = {kind: BudgetUsage(budget) for kind, budget in budgets.items()}
        self._clock = clock

    @classmethod
    def of(cls, settings: Settings) -> "Budgets":
        """Return the budgets of a process with these settings."""
        return cls(budgets_of(settings))

    def budget(self, kind: BudgetKind) -> Budget:
        """Return the budget of a kind."""
        return self._usages[kind].budget

    def shrink(self, kind: BudgetKind, total: int) -> None:
        """Reduce a budget to `total`, the limit per network in proportion; before its first use."""
        usage = self._usages[kind]
        budget = usage.budget
        per_network = max(1, budget.per_network * total // budget.total)
        per_owner = min(budget.per_owner, total)
        usage.budget = replace(budget, total=total, per_network=per_network, per_owner=per_owner)

    def used(self, kind: BudgetKind) -> int:
        """Return the total use of a kind."""
        return self._usages[kind].total

    def used_by(self, kind: BudgetKind, address: str | None) -> int:
        """Return the use of a kind by a network address."""
        return self._usages[kind].networks.get(_network(address) or "", 0)

    def used_by_owner(self, kind: BudgetKind, owner: str) -> int:
        """Return the use of a kind by an owner."""
        return self._usages[kind].owners.get(owner, 0)

    def waiting(self, kind: BudgetKind) -> int:
        """Return how many callers wait for a part of a kind."""
        return len(self._usages[kind].waiting)

    def bound(
        self, kind: BudgetKind, owner: str | None, address: str | None, amount: int = 1
    ) -> BudgetScope | None:
        """Return whose limit `amount` more would exceed, or None."""
        return self._usages[kind].bound(owner, _network(address), amount)

    def refusal(
        self, kind: BudgetKind, owner: str | None, address: str | None, amount: int = 1
    ) -> UserError | None:
        """Return the error if `amount` more cannot be taken, or None."""
        return self._usages[kind].refusal(owner, _network(address), amount)

    def take(
        self, kind: BudgetKind, owner: str | None, address: str | None, amount: int = 1
    ) -> Hold:
        """Use a part of a budget until the returned `Hold` is released.

        Args:
            kind: The budget.
            owner: Id of the principal who uses it.
            address: Network address of the request.
            amount: In the kind's unit.

        Raises:
            RateLimitError: The owner or the network would exceed its limit.
            BudgetFullError: The total would be exceeded.
        """
        usage, network = self._usages[kind], _network(address)
        if (refusal := usage.refusal(owner, network, amount)) is not None:
            raise refusal
        return Hold(usage, owner, network, amount)

    @contextlib.asynccontextmanager
    async def hold(
        self,
        kind: BudgetKind,
        owner: str | None,
        address: str | None,
        amount: int = 1,
        *,
        wait_seconds: float = 0,
    ) -> AsyncIterator[Hold]:
        """Use a part of a budget while the context is open; wait for it if necessary.

        The caller whose network uses least goes first, then the one whose owner uses least, then
        the one who came first.

        Raises:
            RateLimitError, BudgetFullError: As for `take`, after `wait_seconds`.
        """
        usage, network = self._usages[kind], _network(address)
        hold = await self._wait(usage, owner, network, amount, wait_seconds)
        with hold:
            yield hold

    def spend(
        self, kind: BudgetKind, owner: str | None, address: str | None, amount: int = 1
    ) -> None:
        """Spend `amount` of a budget, which counts for the length of its window.

        Raises:
            RateLimitError, BudgetFullError: As for `take`; nothing is counted then.
        """
        usage, network, now = self._usages[kind], _network(address), self._clock()
        if usage.budget.seconds is None:
            raise ValueError(f"{kind} are held, not spent")
        usage.expire(now)
        if (refusal := usage.refusal(owner, network, amount)) is not None:
            raise refusal
        if usage.entries >= MAX_ENTRIES:
            raise BudgetFullError(retry_after=usage.budget.retry_after)
        usage.add(owner, network, amount)
        usage.record(now, usage.budget.seconds, (owner, network), amount)

    async def _wait(
        self,
        usage: BudgetUsage,
        owner: str | None,
        network: str | None,
        amount: int,
        seconds: float,
    ) -> Hold:
        refusal = usage.refusal(owner, network, amount)
        if refusal is None:
            return Hold(usage, owner, network, amount)
        if seconds <= 0 or not _may_wait(usage, network):
            raise refusal
        granted: asyncio.Future[Hold] = asyncio.get_running_loop().create_future()
        waiter = Waiter(owner, network, amount, granted)
        usage.waiting.append(waiter)
        try:
            async with asyncio.timeout(seconds):
                return await granted
        except BaseException as error:
            if waiter in usage.waiting:
                usage.waiting.remove(waiter)
            elif not granted.cancelled():
                granted.result().release()  # granted, but the caller has been cancelled
            if isinstance(error, TimeoutError):
                raise refusal from None
            raise


def _may_wait(usage: BudgetUsage, network: str | None) -> bool:
    if len(usage.waiting) >= MAX_WAITING:
        return False
    same_network = sum(waiter.network == network for waiter in usage.waiting)
    return network is None or same_network < MAX_WAITING // 2


def _network(address: str | None) -> str | None:
    return network_of(address) if address else None
