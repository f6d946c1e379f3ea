"""What is used of one budget, the parts of it in use, and who waits for one."""

import asyncio
from collections import Counter, deque
from dataclasses import dataclass, field

from cmw_agent.core.errors import UserError
from cmw_agent.limits.budget_sizes import Bound, Budget

STEPS = 60  # into which a window is divided
Who = tuple[str | None, str | None]  # an owner and a network


@dataclass(slots=True, eq=False)
class Waiter:
    """Somebody who waits for a part; `granted` gets it."""

    owner: str | None
    network: str | None
    amount: int
    granted: "asyncio.Future[Hold]" = field(repr=False)


@dataclass(slots=True)
class Use:
    """What is used of one kind: by owner, by network, by all; who waits; what was spent when."""

    budget: Budget
    owners: Counter[str] = field(default_factory=Counter)
    networks: Counter[str] = field(default_factory=Counter)
    total: int = 0
    waiting: list[Waiter] = field(default_factory=list)
    spent: deque[tuple[float, Counter[Who]]] = field(default_factory=deque)
    entries: int = 0  # of all those

    def bound(self, owner: str | None, network: str | None, amount: int) -> Bound | None:
        """Return whose bound keeps `amount` more from being used, or None."""
        return self.budget.bound(
            owner=self.owners.get(owner, 0) if owner is not None else 0,
            network=self.networks.get(network, 0) if network is not None else None,
            total=self.total,
            amount=amount,
        )

    def refusal(self, owner: str | None, network: str | None, amount: int) -> UserError | None:
        """Return the error that says so, or None."""
        bound = self.bound(owner, network, amount)
        return self.budget.error(bound) if bound is not None else None

    def add(self, owner: str | None, network: str | None, amount: int) -> None:
        """Count `amount` more, or less where it is negative."""
        self.total += amount
        for counts, key in ((self.owners, owner), (self.networks, network)):
            if key is not None:
                counts[key] += amount
                if counts[key] <= 0:  # a map holds only who uses something
                    del counts[key]

    def note(self, now: float, seconds: float, who: Who, amount: int) -> None:
        """Note what was spent, for `seconds`, of which a sixtieth may be missing."""
        step = seconds / STEPS
        ends = now // step * step + seconds
        if not self.spent or self.spent[-1][0] < ends:
            self.spent.append((ends, Counter()))
        amounts = self.spent[-1][1]
        self.entries += who not in amounts
        amounts[who] += amount

    def forget(self, now: float) -> None:
        """Forget what was spent before the window."""
        while self.spent and self.spent[0][0] <= now:
            _, amounts = self.spent.popleft()
            self.entries -= len(amounts)
            for (owner, network), amount in amounts.items():
                self.add(owner, network, -amount)

    def grant(self) -> None:
        """Let those go who wait and may, who use least first."""
        while self.waiting:
            ready = (
                waiter
                for waiter in self.waiting
                if not waiter.granted.done()
                and self.bound(waiter.owner, waiter.network, waiter.amount) is None
            )
            first = min(ready, key=self.weight, default=None)
            if first is None:
                return
            self.waiting.remove(first)
            first.granted.set_result(Hold(self, first.owner, first.network, first.amount))

    def weight(self, waiter: Waiter) -> tuple[int, int]:
        """Return what a waiter's network and owner use: the least goes first."""
        return self.networks.get(waiter.network or "", 0), self.owners.get(waiter.owner or "", 0)


class Hold:
    """A part of a budget in use, until it is released; also a context manager.

    Args:
        use: What it is a part of.
        owner: Who uses it.
        network: From where.
        amount: How much.
    """

    __slots__ = ("_amount", "_is_over", "_is_used", "_network", "_owner", "_use")

    def __init__(self, use: "Use", owner: str | None, network: str | None, amount: int) -> None:
        self._use, self._owner, self._network, self._amount = use, owner, network, amount
        self._is_used = True
        self._is_over = False
        use.add(owner, network, amount)

    def grow(self, amount: int) -> None:
        """Use so much more.

        Raises:
            RateLimitError, BudgetFullError: As for `Budgets.take`; what was used before still is.
        """
        if (refusal := self._use.refusal(self._owner, self._network, amount)) is not None:
            raise refusal
        self._use.add(self._owner, self._network, amount)
        self._amount += amount

    def suspend(self) -> None:
        """Let others use it meanwhile."""
        if self._is_used:
            self._is_used = False
            self._use.add(self._owner, self._network, -self._amount)
            self._use.grant()

    def resume(self) -> None:
        """Use it again, also beyond the bounds: what it is for has begun long since."""
        if not self._is_used and not self._is_over:
            self._is_used = True
            self._use.add(self._owner, self._network, self._amount)

    def release(self) -> None:
        """Give it back for good; harmless the second time."""
        self.suspend()
        self._is_over = True

    def __enter__(self) -> "Hold":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
