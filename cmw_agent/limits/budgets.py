"""Budgets: how much one owner, one network address, and all together may hold or spend.

A visitor's cookie is free, so a bound per owner alone bounds nobody. Each kind of thing that a
free cookie buys has one `Budget` (`budget_sizes`); `Budgets` counts what a process uses of it.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace

from cmw_agent.config.settings import Settings
from cmw_agent.core.errors import UserError
from cmw_agent.limits.budget_sizes import KINDS, Bound, Budget, BudgetFullError, Kind, budgets_of
from cmw_agent.limits.budget_use import Hold, Use, Waiter
from cmw_agent.limits.limiter import network_of

__all__ = ["KINDS", "Bound", "Budget", "BudgetFullError", "Budgets", "Hold", "Kind", "budgets_of"]

MAX_WAITING = 1_000  # callers of one kind that wait for their turn
MAX_ENTRIES = 100_000  # who has spent of one kind in which step of its window


class Budgets:
    """Counts what one process uses of each budget.

    Taking and releasing cost the same however much is used. An owner is None where nobody is known
    yet, an address where the channel has none; what is unknown is not bounded by it, and counts
    for all.

    Args:
        budgets: As `budgets_of` returns them.
        clock: Seconds, monotonic.
    """

    def __init__(
        self, budgets: Mapping[Kind, Budget], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._uses = {kind: Use(budget) for kind, budget in budgets.items()}
        self._clock = clock

    @classmethod
    def of(cls, settings: Settings) -> "Budgets":
        """Return the budgets of a process with these settings."""
        return cls(budgets_of(settings))

    def budget(self, kind: Kind) -> Budget:
        """Return the numbers of a kind."""
        return self._uses[kind].budget

    def shrink(self, kind: Kind, total: int) -> None:
        """Make a budget smaller, each part of it alike; before anything is used of it."""
        use = self._uses[kind]
        budget = use.budget
        per_network = max(1, budget.per_network * total // budget.total)
        per_owner = min(budget.per_owner, total)
        use.budget = replace(budget, total=total, per_network=per_network, per_owner=per_owner)

    def used(self, kind: Kind) -> int:
        """Return what all use of a kind now."""
        return self._uses[kind].total

    def used_by(self, kind: Kind, address: str | None) -> int:
        """Return what a network address uses of a kind now."""
        return self._uses[kind].networks.get(_network(address) or "", 0)

    def used_by_owner(self, kind: Kind, owner: str) -> int:
        """Return what an owner uses of a kind now."""
        return self._uses[kind].owners.get(owner, 0)

    def waiting(self, kind: Kind) -> int:
        """Return how many callers wait for a part of a kind."""
        return len(self._uses[kind].waiting)

    def bound(
        self, kind: Kind, owner: str | None, address: str | None, amount: int = 1
    ) -> Bound | None:
        """Return whose bound keeps `amount` more from being taken now, or None where it can."""
        return self._uses[kind].bound(owner, _network(address), amount)

    def refusal(
        self, kind: Kind, owner: str | None, address: str | None, amount: int = 1
    ) -> UserError | None:
        """Return why `amount` more cannot be taken now, or None where it can."""
        return self._uses[kind].refusal(owner, _network(address), amount)

    def take(self, kind: Kind, owner: str | None, address: str | None, amount: int = 1) -> Hold:
        """Use a part of a budget until the returned hold is released.

        Args:
            kind: Of what.
            owner: Who uses it.
            address: The network address that it is asked from; IPv6 counts by /64.
            amount: How much, in the kind's unit.

        Raises:
            RateLimitError: The owner, or the address, uses as much as it may.
            Full: The app has no more.
        """
        use, network = self._uses[kind], _network(address)
        if (refusal := use.refusal(owner, network, amount)) is not None:
            raise refusal
        return Hold(use, owner, network, amount)

    @contextlib.asynccontextmanager
    async def hold(
        self,
        kind: Kind,
        owner: str | None,
        address: str | None,
        amount: int = 1,
        *,
        wait_seconds: float = 0,
    ) -> AsyncIterator[Hold]:
        """Use a part of a budget for the block, and wait for it where it must be waited for.

        Whoever's network, then owner, uses least goes first, and then who came first.

        Raises:
            RateLimitError, BudgetFullError: As for `take`, once `wait_seconds` are over.
        """
        use, network = self._uses[kind], _network(address)
        hold = await self._wait(use, owner, network, amount, wait_seconds)
        with hold:
            yield hold

    def spend(self, kind: Kind, owner: str | None, address: str | None, amount: int = 1) -> None:
        """Count `amount` for the window of a kind.

        Raises:
            RateLimitError, BudgetFullError: As for `take`; nothing is counted then.
        """
        use, network, now = self._uses[kind], _network(address), self._clock()
        if use.budget.seconds is None:
            raise ValueError(f"{kind} are held, not spent")
        use.forget(now)
        if (refusal := use.refusal(owner, network, amount)) is not None:
            raise refusal
        if use.entries >= MAX_ENTRIES:
            raise BudgetFullError(retry_after=use.budget.retry_after)
        use.add(owner, network, amount)
        use.note(now, use.budget.seconds, (owner, network), amount)

    async def _wait(
        self, use: Use, owner: str | None, network: str | None, amount: int, seconds: float
    ) -> Hold:
        refusal = use.refusal(owner, network, amount)
        if refusal is None:
            return Hold(use, owner, network, amount)
        if seconds <= 0 or not _may_wait(use, network):
            raise refusal
        granted: asyncio.Future[Hold] = asyncio.get_running_loop().create_future()
        waiter = Waiter(owner, network, amount, granted)
        use.waiting.append(waiter)
        try:
            async with asyncio.timeout(seconds):
                return await granted
        except BaseException as error:
            if waiter in use.waiting:
                use.waiting.remove(waiter)
            elif not granted.cancelled():
                granted.result().release()  # granted, but the caller has gone
            if isinstance(error, TimeoutError):
                raise refusal from None
            raise


def _may_wait(use: Use, network: str | None) -> bool:
    if len(use.waiting) >= MAX_WAITING:
        return False
    alike = sum(waiter.network == network for waiter in use.waiting)
    return network is None or alike < MAX_WAITING // 2


def _network(address: str | None) -> str | None:
    return network_of(address) if address else None
