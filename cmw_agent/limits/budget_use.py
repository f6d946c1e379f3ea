"""Use of one budget: its counts, the parts that are held, and the callers that wait."""

import asyncio
from collections import Counter, deque
from dataclasses import dataclass, field

from cmw_agent.core.errors import UserError
from cmw_agent.limits.budget_sizes import Budget, BudgetScope

STEPS = 60  # of a window, in which spending is counted together
Spender = tuple[str | None, str | None]  # owner and network


@dataclass(slots=True, eq=False)
class Waiter:
    """A caller that waits for a part of a budget; `granted` receives its `Hold`."""

    owner: str | None
    network: str | None
    amount: int
    granted: "asyncio.Future[Hold]" = field(repr=False)


@dataclass(slots=True)
class BudgetUsage:
    """Present use of one budget.

    Attributes:
        owners: Use by owner.
        networks: Use by network.
        total: Use by all.
        waiting: Callers that wait, in the order of arrival.
        spent: Spending in the window: time of expiry and amounts of each step.
        entries: Number of amounts in `spent`.
    """

    budget: Budget
    owners: Counter[str] = field(default_factory=Counter)
    networks: Counter[str] = field(default_factory=Counter)
    total: int = 0
    waiting: list[Waiter] = field(default_factory=list)
    spent: deque[tuple[float, Counter[Spender]]] = field(default_factory=deque)
    entries: int = 0

    def bound(self, owner: str | None, network: str | None, amount: int) -> BudgetScope | None:
        """Return whose limit `amount` more would exceed, or None."""
        return self.budget.bound(
            owner=self.owners.get(owner, 0) if owner is not None else 0,
            network=self.networks.get(network, 0) if network is not None else None,
            total=self.total,
            amount=amount,
        )

    def refusal(self, owner: str | None, network: str | None, amount: int) -> UserError | None:
        """Return the error if `amount` more cannot be used, or None."""
        bound = self.bound(owner, network, amount)
        return self.budget.error(bound) if bound is not None else None

    def add(self, owner: str | None, network: str | None, amount: int) -> None:
        """Add `amount`, which may be negative, to the counts."""
        self.total += amount
        for counts, key in ((self.owners, owner), (self.networks, network)):
            if key is not None:
                counts[key] += amount
                if counts[key] <= 0:  # keeps the map as small as the number of users
                    del counts[key]

    def record(self, now: float, seconds: float, spender: Spender, amount: int) -> None:
        """Record spending until it expires after `seconds`, or up to one step earlier."""
        step = seconds / STEPS
        expires_at = now // step * step + seconds
        if not self.spent or self.spent[-1][0] < expires_at:
            self.spent.append((expires_at, Counter()))
        amounts = self.spent[-1][1]
        self.entries += spender not in amounts
        amounts[spender] += amount

    def expire(self, now: float) -> None:
        """Remove the spending that has expired."""
        while self.spent and self.spent[0][0] <= now:
            _, amounts = self.spent.popleft()
            self.entries -= len(amounts)
            for (owner, network), amount in amounts.items():
                self.add(owner, network, -amount)

    def grant(self) -> None:
        """Grant holds to waiting callers as far as the limits allow, least use first."""
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
        """Return the use of a waiter's network and of its owner; the smallest goes first."""
        return self.networks.get(waiter.network or "", 0), self.owners.get(waiter.owner or "", 0)


class Hold:
    """A part of a budget that is in use until it is released; also a context manager.

    Args:
        usage: Use of the budget.
        owner: Id of the principal, or None.
        network: The network, or None.
        amount: In the kind's unit.
    """

    __slots__ = ("_amount", "_is_released", "_is_used", "_network", "_owner", "_usage")

    def __init__(
        self, usage: BudgetUsage, owner: str | None, network: str | None, amount: int
    ) -> None:
        self._usage, self._owner, self._network, self._amount = usage, owner, network, amount
        self._is_used = True
        self._is_released = False
        usage.add(owner, network, amount)

    def grow(self, amount: int) -> None:
        """Use `amount` more.

        Raises:
            RateLimitError, BudgetFullError: As for `Budgets.take`; the hold stays as it was.
        """
        if (refusal := self._usage.refusal(self._owner, self._network, amount)) is not None:
            raise refusal
        self._usage.add(self._owner, self._network, amount)
        self._amount += amount

    def suspend(self) -> None:
        """Return the part to the budget until `resume`."""
        if self._is_used:
            self._is_used = False
            self._usage.add(self._owner, self._network, -self._amount)
            self._usage.grant()

    def resume(self) -> None:
        """Use the part again, even beyond the limits, because its work has already begun."""
        if not self._is_used and not self._is_released:
            self._is_used = True
            self._usage.add(self._owner, self._network, self._amount)

    def release(self) -> None:
        """Return the part to the budget; a second call does nothing."""
        self.suspend()
        self._is_released = True

    def __enter__(self) -> "Hold":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
