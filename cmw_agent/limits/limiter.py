"""Rate limits per user and per network address: messages, tokens per day, answers at once.

The `limits` library counts, in one of the backends (`backends`, `redis_backend`). While the Redis
server that replicas share cannot be reached, each process counts by itself. See
``docs/adr/0013-limits-by-the-limits-library.md``.
"""

import contextlib
import ipaddress
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from hashlib import sha256

from limits import RateLimitItem, RateLimitItemPerDay, RateLimitItemPerMinute
from limits.aio.strategies import MovingWindowRateLimiter

from cmw_agent.config.settings import Settings
from cmw_agent.core.errors import UserError
from cmw_agent.core.random_ids import RandomIdPool
from cmw_agent.limits.backends import LimitBackend, ProcessBackend
from cmw_agent.limits.redis_backend import (
    LEASE_SECONDS,
    WAIT_SECONDS,
    FallbackBackend,
    RedisBackend,
)

MINUTE, HOUR, DAY = 60, 3600, 86_400
SLOT_SECONDS = 5  # Retry-After when all slots are held
RENEW_SECONDS = LEASE_SECONDS / 3
ANSWER_TOKENS = 2_000  # expected length of an answer
UNLIMITED_SLOTS = 1_000  # answers at once, if no limit is set
SPENT_SOON = (
    "The answers being written for you may use what is left of today's tokens; please wait for "
    "one or stop it."
)


class RateLimitError(UserError):
    """A rate limit is reached.

    Args:
        sentence: Which limit, and when to try again.
        retry_after: Whole seconds until then, at least 1, for the header `Retry-After`.
    """

    status = 429
    retry_after: int = MINUTE
    sentence = "Too many messages have come; please go on in a minute."

    def __init__(self, sentence: str | None = None, *, retry_after: int = MINUTE) -> None:
        super().__init__(sentence)
        self.retry_after = max(1, retry_after)


class Slot:
    """The right of an owner to have one answer written.

    With a shared backend it has a lease, which ends `LEASE_SECONDS` after the last renewal, so
    that the slots of a dead process become free.

    Args:
        renew: Extends the lease.
        clock: Returns seconds since the epoch.
    """

    def __init__(self, renew: Callable[[], Awaitable[None]], clock: Callable[[], float]) -> None:
        self._renew = renew
        self._clock = clock
        self._renewed = clock()

    async def renew(self) -> None:
        """Extend the lease if it is due; the holder calls this every few seconds."""
        if not 0 <= self._clock() - self._renewed < RENEW_SECONDS:
            self._renewed = self._clock()
            await self._renew()


class RateLimiter:
    """Counts and limits the messages, tokens and answers of owners; made by `open_limits`.

    Args:
        settings: The limits; 0 means no limit.
        backend: Stores the counts.
        clock: Returns seconds since the epoch.
    """

    def __init__(
        self, settings: Settings, backend: FallbackBackend, clock: Callable[[], float]
    ) -> None:
        self._turns = _minute(settings.turns_per_minute, "turns")
        self._addresses = _minute(settings.turns_per_address, "addresses")
        self._tokens = (
            RateLimitItemPerDay(settings.tokens_per_day, namespace="tokens")
            if settings.tokens_per_day
            else None
        )
        self._at_once = settings.turns_at_once
        self._reserve = settings.history_tokens + ANSWER_TOKENS  # tokens for each running answer
        self._backend = backend
        self._clock = clock
        self._ids = RandomIdPool()

    async def admit(self, owner: str, address: str | None) -> None:
        """Count one message of an owner and of the network address it came from.

        Args:
            owner: Id of the principal.
            address: Network address of the request, or None.

        Raises:
            RateLimitError: The owner or the network has reached its limit, in which case nothing
                is counted; or the owner has used up the tokens of the day.
        """
        digest = _digest(owner)
        network = None if address is None else _digest(network_of(address))
        await self._backend.call(lambda backend: self._admit(backend, digest, network))

    async def charge(self, owner: str, tokens: int) -> None:
        """Add tokens to those that the owner has used today (in UTC)."""
        digest, item = _digest(owner), self._tokens
        if item is not None and tokens > 0:
            await self._backend.call(
                lambda backend: backend.fixed.hit(item, digest, self._day(), cost=tokens)
            )

    @contextlib.asynccontextmanager
    async def slot(self, owner: str) -> AsyncIterator[Slot]:
        """Hold one of the owner's slots while the context is open.

        If the tokens of a day are limited, the remaining tokens also limit the number of slots,
        because each running answer reserves some.

        Raises:
            RateLimitError: All slots of the owner are held, or the tokens of the day are used up.
        """
        digest = _digest(owner)
        if not self._at_once and self._tokens is None:
            yield Slot(_no_renewal, self._clock)
            return
        slot_id = self._ids.hex(8)
        at_once = self._at_once or UNLIMITED_SLOTS

        async def acquire(backend: LimitBackend) -> tuple[LimitBackend | None, int]:
            max_slots = min(at_once, await self._affordable(backend, digest))
            is_held = await backend.acquire(digest, slot_id, max_slots)
            return (backend if is_held else None), max_slots

        holder, max_slots = await self._backend.call(acquire)
        if holder is None:
            sentence = SPENT_SOON if max_slots < at_once else _busy(at_once)
            raise RateLimitError(sentence, retry_after=SLOT_SECONDS)
        try:
            yield Slot(
                lambda: self._backend.attempt(holder, holder.renew(digest, slot_id)), self._clock
            )
        finally:
            # If this fails, the lease ends by itself.
            await self._backend.attempt(holder, holder.release(digest, slot_id))

    async def _affordable(self, backend: LimitBackend, owner: str) -> int:
        """Return for how many answers at once the owner's remaining tokens of the day suffice.

        Raises:
            RateLimitError: No tokens remain.
        """
        tokens = self._tokens
        if tokens is None:
            return UNLIMITED_SLOTS
        left = (await backend.fixed.get_window_stats(tokens, owner, self._day())).remaining
        if left > 0:
            return math.ceil(left / self._reserve)
        seconds = DAY - int(self._clock()) % DAY
        raise RateLimitError(
            f"You have used today's {tokens.amount:,} tokens; please go on in {duration_text(seconds)}.",
            retry_after=seconds,
        )

    async def _admit(self, backend: LimitBackend, owner: str, network: str | None) -> None:
        moving = backend.moving
        await self._affordable(backend, owner)
        # The network is tested before the owner's turn is counted, and counted after it, so that
        # a message that one of them is refused counts for neither.
        await self._enforce(moving, moving.test, self._addresses, network, "Your network has")
        await self._enforce(moving, moving.hit, self._turns, owner, "You have")
        await self._enforce(moving, moving.hit, self._addresses, network, "Your network has")

    async def _enforce(
        self,
        moving: MovingWindowRateLimiter,
        is_allowed: Callable[[RateLimitItem, str], Awaitable[bool]],
        item: RateLimitItem | None,
        key: str | None,
        who: str,
    ) -> None:
        if item is None or key is None or await is_allowed(item, key):
            return
        window = await moving.get_window_stats(item, key)
        seconds = min(max(math.ceil(window.reset_time - self._clock()), 1), MINUTE)
        messages = "1 message" if item.amount == 1 else f"{item.amount:,} messages"
        raise RateLimitError(
            f"{who} sent {messages} in a minute; please go on in {duration_text(seconds)}.",
            retry_after=seconds,
        )

    def _day(self) -> str:
        return datetime.fromtimestamp(self._clock(), UTC).date().isoformat()


@contextlib.asynccontextmanager
async def open_limits(
    settings: Settings,
    *,
    clock: Callable[[], float] = time.time,
    wait_seconds: float = WAIT_SECONDS,
) -> AsyncIterator[RateLimiter]:
    """Yield the `RateLimiter` of the settings; it uses Redis if they name a server.

    Args:
        settings: The limits, and the URL of Redis.
        clock: Returns seconds since the epoch.
        wait_seconds: Time-out of one call of Redis, after which the process counts by itself.

    Raises:
        StartupError: The URL of Redis is not valid. An unreachable server raises nothing.
    """
    url = settings.redis_url
    shared = None if url is None else RedisBackend.open(url.get_secret_value(), wait_seconds)
    backend = FallbackBackend(ProcessBackend(clock), shared, clock, wait_seconds)
    try:
        yield RateLimiter(settings, backend, clock)
    finally:
        await backend.close()


def duration_text(seconds: int) -> str:
    """Return a duration in one unit, rounded up: ``12 seconds``, ``1 minute``, ``5 hours``."""
    size, unit = next(
        (size, unit)
        for size, unit in ((HOUR, "hour"), (MINUTE, "minute"), (1, "second"))
        if seconds >= size or size == 1
    )
    number = math.ceil(seconds / size)
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"


def _minute(limit: int, namespace: str) -> RateLimitItem | None:
    return RateLimitItemPerMinute(limit, namespace=namespace) if limit else None


def _digest(name: str) -> str:
    if not name:
        raise ValueError("an owner or an address is required")
    return sha256(name.encode("utf-8", "surrogatepass")).hexdigest()


def network_of(address: str) -> str:
    """Return the network for which an address is counted: the IPv4 address or the IPv6 /64.

    One host may use all addresses of an IPv6 /64. Text that is not an address is returned as it is.
    """
    if ":" not in address:
        return address  # an IPv4 address has one form
    try:
        ip = ipaddress.IPv6Address(address)
    except ValueError:
        return address
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return str(ipaddress.ip_network((int(ip), 64), strict=False))


def _busy(at_once: int) -> str:
    if at_once == 1:
        return "An answer is being written for you already; please wait for it or stop it."
    return f"{at_once} answers are being written for you already; please wait for one or stop it."


async def _no_renewal() -> None:
    """Do nothing: without a limit a slot has no lease."""
