"""Where the limits count: a process's own counters, and what other ones must be like.

They hold what the `limits` library counts, and who holds which of an owner's slots. Whatever
names somebody comes in as a digest.
"""

import abc
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any

from limits.aio.storage import MovingWindowSupport, Storage
from limits.aio.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter

MAX_KEYS = 100_000


class LimitBackend(abc.ABC):
    """One place that counts.

    Args:
        storage: Where the library's strategies keep their counts.
        failures: What its methods may raise when the place cannot be reached.
    """

    def __init__(self, storage: Storage, failures: tuple[type[Exception], ...] = ()) -> None:
        self.moving = MovingWindowRateLimiter(storage)
        self.fixed = FixedWindowRateLimiter(storage)
        self.failures = failures

    @abc.abstractmethod
    async def take(self, owner: str, turn_id: str, most: int) -> bool:
        """Take one of an owner's `most` slots for a turn; whether there was one."""

    @abc.abstractmethod
    async def renew(self, owner: str, turn_id: str) -> None:
        """Keep a slot that would end by itself."""

    @abc.abstractmethod
    async def give(self, owner: str, turn_id: str) -> None:
        """Give a slot back; harmless where it is back already."""


class ProcessStorage(Storage, MovingWindowSupport):
    """What the library counts, in this process alone, with a cap and without a task.

    The library's own storage in memory has no cap, and walks all keys in the background, each
    through a thread, from the first request after the last walk on. Here each use of a key drops
    what ran out before it, and beyond the cap what was used longest ago.
    """

    STORAGE_SCHEME = None

    def __init__(self, clock: Callable[[], float], most: int = MAX_KEYS) -> None:
        super().__init__()
        self._clock = clock
        self._most = most
        # when it runs out, and the count or the times of its entries, newest first
        self._counts: OrderedDict[str, tuple[float, int]] = OrderedDict()
        self._times: OrderedDict[str, tuple[float, deque[float]]] = OrderedDict()

    @property
    def base_exceptions(self) -> type[Exception]:
        """No failure is this storage's own."""
        return ValueError

    async def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        """Add to a count, which begins with `amount` and then lasts `expiry` seconds."""
        now = self._clock()
        ends, count = self._counts.get(key, (0.0, 0))
        if ends <= now:
            ends, count = now + expiry, 0
        self._keep(self._counts, key, (ends, count + amount))
        return count + amount

    async def get(self, key: str) -> int:
        """Return a count."""
        ends, count = self._counts.get(key, (0.0, 0))
        return count if ends > self._clock() else 0

    async def get_expiry(self, key: str) -> float:
        """Return when a count ends."""
        return self._counts.get(key, (self._clock(), 0))[0]

    async def check(self) -> bool:
        """It is always there."""
        return True

    async def reset(self) -> int:
        """Forget everything; return how much it was."""
        found = len(self._counts) + len(self._times)
        self._counts.clear()
        self._times.clear()
        return found

    async def clear(self, key: str) -> None:
        """Forget one key."""
        self._counts.pop(key, None)
        self._times.pop(key, None)

    async def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Note `amount` entries where no more than `limit` fall into `expiry` seconds then."""
        now = self._clock()
        times = self._recent(key, now - expiry)
        if len(times) + amount > limit:
            return False
        times.extendleft([now] * amount)
        self._keep(self._times, key, (now + expiry, times))
        return True

    async def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """Return the time of the oldest entry of the last `expiry` seconds, and how many are."""
        now = self._clock()
        times = self._recent(key, now - expiry)
        return (times[-1], len(times)) if times else (now, 0)

    def _recent(self, key: str, after: float) -> deque[float]:
        _, times = self._times.get(key, (0.0, deque()))
        while times and times[-1] <= after:
            times.pop()
        return times

    def _keep(self, kept: OrderedDict[str, Any], key: str, value: tuple[float, Any]) -> None:
        kept[key] = value
        kept.move_to_end(key)
        now = self._clock()
        while len(kept) > self._most or next(iter(kept.values()))[0] <= now:
            kept.popitem(last=False)


class ProcessBackend(LimitBackend):
    """Counts of this process. Slots end with it and need no lease."""

    def __init__(self, clock: Callable[[], float] = time.time, most: int = MAX_KEYS) -> None:
        super().__init__(ProcessStorage(clock, most))
        self._most_owners = most
        self._slots: dict[str, set[str]] = {}

    async def take(self, owner: str, turn_id: str, most: int) -> bool:
        """Take a slot; beyond the cap of owners there is none for new ones."""
        held = self._slots.get(owner, set())
        if turn_id not in held and len(held) >= most:
            return False
        if not held and len(self._slots) >= self._most_owners:
            return False
        self._slots[owner] = held | {turn_id}
        return True

    async def renew(self, owner: str, turn_id: str) -> None:
        """Nothing ends by itself here."""

    async def give(self, owner: str, turn_id: str) -> None:
        """Give a slot back, and forget an owner without any."""
        rest = self._slots.pop(owner, set()) - {turn_id}
        if rest:
            self._slots[owner] = rest
