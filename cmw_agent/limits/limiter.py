"""How much one user, and one network address, may ask for.

Counting is the `limits` library's; where it counts is in `counters`. While the Redis that replicas
share cannot be reached, each process counts for itself. See
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
    RedisCounters,
)

MINUTE, HOUR, DAY = 60, 3600, 86_400
SLOT_SECONDS = 5  # when to try again for a slot
RENEW_SECONDS = LEASE_SECONDS / 3
ANSWER_TOKENS = 2_000  # that a running answer is expected to write
MANY = 1_000  # answers at once, where no limit is set
SPENT_SOON = (
    "The answers being written for you may use what is left of today's tokens; please wait for "
    "one or stop it."
)


class RateLimitError(UserError):
    """A limit is reached.

    Args:
        sentence: Which one, and when it goes on.
        retry_after: Whole seconds until then, at least 1, for the header of that name.
    """

    status = 429
    retry_after: int = MINUTE
    sentence = "Too many messages have come; please go on in a minute."

    def __init__(self, sentence: str | None = None, *, retry_after: int = MINUTE) -> None:
        super().__init__(sentence)
        self.retry_after = max(1, retry_after)


class Slot:
    """The right to have one answer written, for the block.

    Where replicas share the counting, it also ends a minute after its last renewal: a process
    that dies keeps nobody waiting.
    """

    def __init__(self, renew: Callable[[], Awaitable[None]], clock: Callable[[], float]) -> None:
        self._renew = renew
        self._clock = clock
        self._renewed = clock()

    async def renew(self) -> None:
        """Keep it; to be called every few seconds, of which most cost nothing."""
        if not 0 <= self._clock() - self._renewed < RENEW_SECONDS:
            self._renewed = self._clock()
            await self._renew()


class RateLimiter:
    """Counts what owners ask for; `open_limits` makes one.

    Args:
        settings: The limits; 0 is none.
        places: Where it counts.
        clock: Seconds since 1970.
    """

    def __init__(
        self, settings: Settings, places: FallbackBackend, clock: Callable[[], float]
    ) -> None:
        self._turns = _minute(settings.turns_per_minute, "turns")
        self._addresses = _minute(settings.turns_per_address, "addresses")
        self._tokens = (
            RateLimitItemPerDay(settings.tokens_per_day, namespace="tokens")
            if settings.tokens_per_day
            else None
        )
        self._at_once = settings.turns_at_once
        self._reserve = settings.history_tokens + ANSWER_TOKENS  # of the day, for each answer
        self._places = places
        self._clock = clock
        self._names = RandomIdPool()

    async def admit(self, owner: str, address: str | None) -> None:
        """Count one message, for its owner and for the network address it came from.

        Raises:
            RateLimitError: One of them has sent enough for now, which counts for neither; or the owner
                has used up the tokens of the day.
        """
        digest = _digest(owner)
        place = None if address is None else _digest(network_of(address))
        await self._places.ask(lambda counters: self._admit(counters, digest, place))

    async def charge(self, owner: str, tokens: int) -> None:
        """Add tokens that the owner has used to those of the day (in UTC)."""
        digest, item = _digest(owner), self._tokens
        if item is not None and tokens > 0:
            await self._places.ask(
                lambda counters: counters.fixed.hit(item, digest, self._day(), cost=tokens)
            )

    @contextlib.asynccontextmanager
    async def slot(self, owner: str) -> AsyncIterator[Slot]:
        """Hold one of the owner's slots for the block.

        Where the tokens of a day are limited, each answer at once must leave room for the others:
        there are no more slots than the rest of the day is worth.

        Raises:
            RateLimitError: As many answers as may be are being written for the owner already, or the
                tokens of the day are used up.
        """
        digest = _digest(owner)
        if not self._at_once and self._tokens is None:
            yield Slot(_nothing, self._clock)
            return

        name = self._names.hex(8)

        at_once = self._at_once or MANY

        async def take(counters: LimitBackend) -> tuple[LimitBackend | None, int]:
            most = min(at_once, await self._affordable(counters, digest))
            return (counters if await counters.take(digest, name, most) else None), most

        holder, most = await self._places.ask(take)
        if holder is None:
            sentence = SPENT_SOON if most < at_once else _busy(at_once)
            raise RateLimitError(sentence, retry_after=SLOT_SECONDS)
        try:
            yield Slot(
                lambda: self._places.attempt(holder, holder.renew(digest, name)), self._clock
            )
        finally:
            # What cannot be given back now ends by itself.
            await self._places.attempt(holder, holder.give(digest, name))

    async def _affordable(self, counters: LimitBackend, owner: str) -> int:
        """Return for how many answers at once the tokens that are left of the day suffice.

        Raises:
            RateLimitError: None are left.
        """
        tokens = self._tokens
        if tokens is None:
            return MANY
        left = (await counters.fixed.get_window_stats(tokens, owner, self._day())).remaining
        if left > 0:
            return math.ceil(left / self._reserve)
        seconds = DAY - int(self._clock()) % DAY
        raise RateLimitError(
            f"You have used today's {tokens.amount:,} tokens; please go on in {readable(seconds)}.",
            retry_after=seconds,
        )

    async def _admit(self, counters: LimitBackend, owner: str, address: str | None) -> None:
        moving = counters.moving
        await self._affordable(counters, owner)
        # The address is only tested before the owner's turn is counted, so that neither pays for
        # what the other is refused.
        await self._must(moving, moving.test, self._addresses, address, "Your network has")
        await self._must(moving, moving.hit, self._turns, owner, "You have")
        await self._must(moving, moving.hit, self._addresses, address, "Your network has")

    async def _must(
        self,
        moving: MovingWindowRateLimiter,
        may: Callable[[RateLimitItem, str], Awaitable[bool]],
        item: RateLimitItem | None,
        key: str | None,
        who: str,
    ) -> None:
        if item is None or key is None or await may(item, key):
            return
        window = await moving.get_window_stats(item, key)
        seconds = min(max(math.ceil(window.reset_time - self._clock()), 1), MINUTE)
        messages = "1 message" if item.amount == 1 else f"{item.amount:,} messages"
        raise RateLimitError(
            f"{who} sent {messages} in a minute; please go on in {readable(seconds)}.",
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
    """Open the limits that the settings name for the block, shared ones where a Redis is set.

    Args:
        settings: The limits, and the address of Redis.
        clock: Seconds since 1970.
        wait_seconds: How long Redis may take to answer before the process counts by itself.

    Raises:
        StartupError: The address of Redis cannot be understood. Whether it answers does not
            matter now.
    """
    url = settings.redis_url
    shared = None if url is None else RedisCounters.open(url.get_secret_value(), wait_seconds)
    places = FallbackBackend(ProcessBackend(clock), shared, clock, wait_seconds)
    try:
        yield RateLimiter(settings, places, clock)
    finally:
        await places.close()


def readable(seconds: int) -> str:
    """Return a time to wait in one unit, rounded up: ``12 seconds``, ``1 minute``, ``5 hours``."""
    size, unit = next(
        (size, unit)
        for size, unit in ((HOUR, "hour"), (MINUTE, "minute"), (1, "second"))
        if seconds >= size or size == 1
    )
    number = math.ceil(seconds / size)
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"


def _minute(most: int, namespace: str) -> RateLimitItem | None:
    return RateLimitItemPerMinute(most, namespace=namespace) if most else None


def _digest(name: str) -> str:
    if not name:
        raise ValueError("an owner or an address is required")
    return sha256(name.encode("utf-8", "surrogatepass")).hexdigest()


def network_of(address: str) -> str:
    """One host may have all the addresses of an IPv6 network of 64 bits."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((int(found), 64), strict=False))


def _busy(at_once: int) -> str:
    if at_once == 1:
        return "An answer is being written for you already; please wait for it or stop it."
    return f"{at_once} answers are being written for you already; please wait for one or stop it."


async def _nothing() -> None:
    """Renew a slot that there is no limit of."""
