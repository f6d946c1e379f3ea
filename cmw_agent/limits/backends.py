"""Rate-limit backend interface, and the backend in the process's memory.

A backend stores the counts of the `limits` library, and the holders of each owner's slots. Owners
and network addresses are passed as digests.
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
    """Counts rate limits, and holds slots for answers that are being written.

    Args:
        storage: Storage of the `limits` library's strategies.
        failures: Exceptions that mean that the backend cannot be reached.
    """

    def __init__(self, storage: Storage, failures: tuple[type[Exception], ...] = ()) -> None:
        self.moving = MovingWindowRateLimiter(storage)
        self.fixed = FixedWindowRateLimiter(storage)
        self.failures = failures

    @abc.abstractmethod
    async def acquire(self, owner: str, slot_id: str, max_slots: int) -> bool:
        """Acquire one of an owner's slots; return False if all are held.

        Args:
            owner: Digest of the owner.
            slot_id: Id of the holder.
            max_slots: Number of slots that the owner may hold at once.
        """

    @abc.abstractmethod
    async def renew(self, owner: str, slot_id: str) -> None:
        """Extend the lease of a held slot."""

    @abc.abstractmethod
    async def release(self, owner: str, slot_id: str) -> None:
        """Release a slot; does nothing if it is not held."""


class ProcessStorage(Storage, MovingWindowSupport):
    """Storage of the `limits` library in the process's memory, with a maximum number of keys.

    The library's own memory storage has no maximum, and its background task checks each key in a
    thread. Here each write removes the expired keys, and beyond the maximum those that were
    written longest ago.

    Args:
        clock: Returns seconds since the epoch.
        max_keys: Maximum number of counts, and of moving windows.
    """

    STORAGE_SCHEME = None

    def __init__(self, clock: Callable[[], float], max_keys: int = MAX_KEYS) -> None:
        super().__init__()
        self._clock = clock
        self._max_keys = max_keys
        # by key: time of expiry, and the count or the times of the entries, newest first
        self._counts: OrderedDict[str, tuple[float, int]] = OrderedDict()
        self._times: OrderedDict[str, tuple[float, deque[float]]] = OrderedDict()

    @property
    def base_exceptions(self) -> type[Exception]:
        """The base class of this storage's own errors, of which there are none."""
        return ValueError

    async def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        """Add to a count and return it; a new count expires after `expiry` seconds."""
        now = self._clock()
        expires_at, count = self._counts.get(key, (0.0, 0))
        if expires_at <= now:
            expires_at, count = now + expiry, 0
        self._put(self._counts, key, (expires_at, count + amount))
        return count + amount

    async def get(self, key: str) -> int:
        """Return a count; 0 if it has expired."""
        expires_at, count = self._counts.get(key, (0.0, 0))
        return count if expires_at > self._clock() else 0

    async def get_expiry(self, key: str) -> float:
        """Return the time at which a count expires."""
        return self._counts.get(key, (self._clock(), 0))[0]

    async def check(self) -> bool:
        """Return whether the storage can be used, which is always the case."""
        return True

    async def reset(self) -> int:
        """Remove all keys; return their number."""
        count = len(self._counts) + len(self._times)
        self._counts.clear()
        self._times.clear()
        return count

    async def clear(self, key: str) -> None:
        """Remove one key."""
        self._counts.pop(key, None)
        self._times.pop(key, None)

    async def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Add entries, unless more than `limit` would fall into the last `expiry` seconds."""
        now = self._clock()
        times = self._recent(key, now - expiry)
        if len(times) + amount > limit:
            return False
        times.extendleft([now] * amount)
        self._put(self._times, key, (now + expiry, times))
        return True

    async def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """Return the time of the oldest entry in the last `expiry` seconds, and their number."""
        now = self._clock()
        times = self._recent(key, now - expiry)
        return (times[-1], len(times)) if times else (now, 0)

    def _recent(self, key: str, after: float) -> deque[float]:
        _, times = self._times.get(key, (0.0, deque()))
        while times and times[-1] <= after:
            times.pop()
        return times

    def _put(self, entries: OrderedDict[str, Any], key: str, value: tuple[float, Any]) -> None:
        entries[key] = value
        entries.move_to_end(key)
        now = self._clock()
        while len(entries) > self._max_keys or next(iter(entries.values()))[0] <= now:
            entries.popitem(last=False)


class ProcessBackend(LimitBackend):
    """Counts in the process's memory. Slots end with the process and need no lease.

    Args:
        clock: Returns seconds since the epoch.
        max_keys: Maximum number of counts, of moving windows, and of owners with slots.
    """

    def __init__(self, clock: Callable[[], float] = time.time, max_keys: int = MAX_KEYS) -> None:
        super().__init__(ProcessStorage(clock, max_keys))
        self._max_owners = max_keys
        self._slots: dict[str, set[str]] = {}

    async def acquire(self, owner: str, slot_id: str, max_slots: int) -> bool:
        """Acquire a slot; a new owner gets none if the maximum of owners is reached."""
        held = self._slots.get(owner, set())
        if slot_id not in held and len(held) >= max_slots:
            return False
        if not held and len(self._slots) >= self._max_owners:
            return False
        self._slots[owner] = held | {slot_id}
        return True

    async def renew(self, owner: str, slot_id: str) -> None:
        """Do nothing: slots have no lease here."""

    async def release(self, owner: str, slot_id: str) -> None:
        """Release a slot, and remove an owner who holds none."""
        rest = self._slots.pop(owner, set()) - {slot_id}
        if rest:
            self._slots[owner] = rest
