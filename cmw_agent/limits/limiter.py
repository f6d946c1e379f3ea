"""Rate limits per user and per network address: messages, tokens per day, answers at once.

The `limits` library counts, in one of the backends (`backends`, `redis_backend`). While the Redis
server that replicas share cannot be reached, each process counts by itself. See
``docs/adr/0013-limits-by-the-limits-library.md``.
"""

import contextlib
import ipaddress
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256

from limits import RateLimitItem, RateLimitItemPerDay, RateLimitItemPerMinute
from limits.aio.strategies import MovingWindowRateLimiter

from cmw_agent.config.access_table import UserLimits
from cmw_agent.config.settings import Settings
from cmw_agent.config.validators import KeyLimits
from cmw_agent.core.errors import UserError
from cmw_agent.core.random_ids import RandomIdPool
from cmw_agent.language import Wording, wording, wordings
from cmw_agent.limits.backends import LimitBackend, ProcessBackend
from cmw_agent.limits.redis_backend import (
    LEASE_SECONDS,
    WAIT_SECONDS,
    FallbackBackend,
    RedisBackend,
)

LimitsOf = Callable[[str], Awaitable[UserLimits]]
MINUTE, HOUR, DAY = 60, 3600, 86_400
SLOT_SECONDS = 5  # Retry-After when all slots are held
RENEW_SECONDS = LEASE_SECONDS / 3
ANSWER_TOKENS = 2_000  # expected length of an answer
UNLIMITED_SLOTS = 1_000  # answers at once, if no limit is set
OWNER_SENT = wording("You have sent {messages} in a minute; please go on in {duration}.")
NETWORK_SENT = wording("Your network has sent {messages} in a minute; please go on in {duration}.")
KEY_SENT = wording("This key has sent {messages} in a minute; please go on in {duration}.")
SPENT = wording("You have used today's {amount} tokens; please go on in {duration}.")
KEY_SPENT = wording("This key has used today's {amount} tokens; please go on in {duration}.")
BUSY = wording("{count} answers are being written for you already; please wait for one or stop it.")
KEY_BUSY = wording("{count} answers are being written for this key already; please wait for one.")
SPENT_SOON = wording(
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
    sentence = wording("Too many messages have come; please go on in a minute.")

    def __init__(self, sentence: str | None = None, *, retry_after: int = MINUTE) -> None:
        super().__init__(sentence)
        self.retry_after = max(1, retry_after)


@dataclass(frozen=True, slots=True)
class KeyBudget:
    """The API key with which a request came, whose limits hold for all of its requests.

    Args:
        owner: Id under which the requests of the key are counted; no principal has it.
        limits: The limits.
        names_user: Whether the request names its user, who then has limits of their own.
    """

    owner: str
    limits: KeyLimits
    names_user: bool


@dataclass(frozen=True, slots=True)
class _Subject:
    """Somebody whose messages, tokens and answers are counted: an owner, or an API key."""

    digest: str
    turns: RateLimitItem | None
    tokens: RateLimitItemPerDay | None
    at_once: int
    sent: Wording = OWNER_SENT
    spent: Wording = SPENT
    busy: Wording = BUSY


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
        limits_of: Returns the limits of an owner that differ from the settings', by the owner's id.
    """

    def __init__(
        self,
        settings: Settings,
        backend: FallbackBackend,
        clock: Callable[[], float],
        limits_of: LimitsOf | None = None,
    ) -> None:
        self._limits_of = limits_of
        self._turns = _minute(settings.turns_per_minute, "turns")
        self._addresses = _minute(settings.turns_per_address, "addresses")
        self._tokens = _day(settings.tokens_per_day)
        self._at_once = settings.turns_at_once
        self._reserve = settings.history_tokens + ANSWER_TOKENS  # tokens for each running answer
        self._backend = backend
        self._clock = clock
        self._ids = RandomIdPool()

    async def admit(
        self, owner: str, address: str | None, key_budget: KeyBudget | None = None
    ) -> None:
        """Count one message of an owner and of the network address it came from.

        Args:
            owner: Id of the principal.
            address: Network address of the request, or None.
            key_budget: The API key with which it came, where keys have limits.

        Raises:
            RateLimitError: The owner, the key or the network has reached its limit, in which case
                nothing is counted; or the owner has used up the tokens of the day.
        """
        subjects = await self._subjects(owner, key_budget)
        network = None if address is None else _digest(network_of(address))
        await self._backend.call(lambda backend: self._admit(backend, subjects, network))

    async def charge(self, owner: str, tokens: int, key_budget: KeyBudget | None = None) -> None:
        """Add tokens to those that the owner, and the key, have used today (in UTC)."""
        for subject in await self._subjects(owner, key_budget):
            if subject.tokens is not None and tokens > 0:
                await self._backend.call(partial(self._charge, subject, subject.tokens, tokens))

    async def _charge(
        self, subject: _Subject, item: RateLimitItem, tokens: int, backend: LimitBackend
    ) -> None:
        await backend.fixed.hit(item, subject.digest, self._day(), cost=tokens)

    async def _user(self, owner: str) -> _Subject:
        user = _Subject(_digest(owner), self._turns, self._tokens, self._at_once)
        if self._limits_of is None:
            return user
        own = await self._limits_of(owner)
        if own.turns_per_minute is not None:
            user = replace(user, turns=_minute(own.turns_per_minute, "turns"))
        if own.tokens_per_day is not None:
            user = replace(user, tokens=_day(own.tokens_per_day))
        return user if own.turns_at_once is None else replace(user, at_once=own.turns_at_once)

    async def _subjects(self, owner: str, key_budget: KeyBudget | None) -> list[_Subject]:
        """Return whose limits hold: the owner's, the key's or both."""
        user = await self._user(owner)
        if key_budget is None:
            return [user]
        limits = key_budget.limits
        key = _Subject(
            _digest(key_budget.owner),
            _minute(limits.turns_per_minute, "key_turns"),
            _day(limits.tokens_per_day, "key_tokens"),
            limits.turns_at_once,
            KEY_SENT,
            KEY_SPENT,
            KEY_BUSY,
        )
        return [user, key] if key_budget.names_user else [key]

    @contextlib.asynccontextmanager
    async def slot(self, owner: str, key_budget: KeyBudget | None = None) -> AsyncIterator[Slot]:
        """Hold one of the owner's slots, and one of the key's, while the context is open.

        If the tokens of a day are limited, the remaining tokens also limit the number of slots,
        because each running answer reserves some.

        Raises:
            RateLimitError: All slots are held, or the tokens of the day are used up.
        """
        first, *others = await self._subjects(owner, key_budget)
        if not others:
            async with self._slot(first) as slot:
                yield slot
            return
        async with contextlib.AsyncExitStack() as stack:
            slots = [
                await stack.enter_async_context(self._slot(subject)) for subject in (first, *others)
            ]

            async def renew() -> None:
                for slot in slots:
                    await slot.renew()

            yield Slot(renew, self._clock)

    @contextlib.asynccontextmanager
    async def _slot(self, subject: _Subject) -> AsyncIterator[Slot]:
        digest = subject.digest
        if not subject.at_once and subject.tokens is None:
            yield Slot(_no_renewal, self._clock)
            return
        slot_id = self._ids.hex(8)
        at_once = subject.at_once or UNLIMITED_SLOTS

        async def acquire(backend: LimitBackend) -> tuple[LimitBackend | None, int]:
            max_slots = min(at_once, await self._affordable(backend, subject))
            is_held = await backend.acquire(digest, slot_id, max_slots)
            return (backend if is_held else None), max_slots

        holder, max_slots = await self._backend.call(acquire)
        if holder is None:
            sentence = SPENT_SOON if max_slots < at_once else _busy(subject.busy, at_once)
            raise RateLimitError(sentence, retry_after=SLOT_SECONDS)
        try:
            yield Slot(
                lambda: self._backend.attempt(holder, holder.renew(digest, slot_id)), self._clock
            )
        finally:
            # If this fails, the lease ends by itself.
            await self._backend.attempt(holder, holder.release(digest, slot_id))

    async def _affordable(self, backend: LimitBackend, subject: _Subject) -> int:
        """Return for how many answers at once the subject's remaining tokens of the day suffice.

        Raises:
            RateLimitError: No tokens remain.
        """
        tokens = subject.tokens
        if tokens is None:
            return UNLIMITED_SLOTS
        window = await backend.fixed.get_window_stats(tokens, subject.digest, self._day())
        left = window.remaining
        if left > 0:
            return math.ceil(left / self._reserve)
        seconds = DAY - int(self._clock()) % DAY
        raise RateLimitError(
            subject.spent.using(amount=tokens.amount, duration=duration_text(seconds)),
            retry_after=seconds,
        )

    async def _admit(
        self, backend: LimitBackend, subjects: Sequence[_Subject], network: str | None
    ) -> None:
        moving = backend.moving
        for subject in subjects:
            await self._affordable(backend, subject)
        # All but the first are tested before its turn is counted, and counted after it, so that
        # a message that one of them is refused counts for none.
        await self._enforce(moving, moving.test, self._addresses, network, NETWORK_SENT)
        for subject in subjects[1:]:
            await self._enforce(moving, moving.test, subject.turns, subject.digest, subject.sent)
        for subject in subjects:
            await self._enforce(moving, moving.hit, subject.turns, subject.digest, subject.sent)
        await self._enforce(moving, moving.hit, self._addresses, network, NETWORK_SENT)

    async def _enforce(
        self,
        moving: MovingWindowRateLimiter,
        is_allowed: Callable[[RateLimitItem, str], Awaitable[bool]],
        item: RateLimitItem | None,
        key: str | None,
        sentence: Wording,
    ) -> None:
        if item is None or key is None or await is_allowed(item, key):
            return
        window = await moving.get_window_stats(item, key)
        seconds = min(max(math.ceil(window.reset_time - self._clock()), 1), MINUTE)
        messages = wordings("{count} message", "{count} messages", item.amount)
        raise RateLimitError(
            sentence.using(messages=messages, duration=duration_text(seconds)), retry_after=seconds
        )

    def _day(self) -> str:
        return datetime.fromtimestamp(self._clock(), UTC).date().isoformat()


@contextlib.asynccontextmanager
async def open_limits(
    settings: Settings,
    *,
    clock: Callable[[], float] = time.time,
    wait_seconds: float = WAIT_SECONDS,
    limits_of: LimitsOf | None = None,
) -> AsyncIterator[RateLimiter]:
    """Yield the `RateLimiter` of the settings; it uses Redis if they name a server.

    Args:
        settings: The limits, and the URL of Redis.
        clock: Returns seconds since the epoch.
        wait_seconds: Time-out of one call of Redis, after which the process counts by itself.
        limits_of: As of `RateLimiter`.

    Raises:
        StartupError: The URL of Redis is not valid. An unreachable server raises nothing.
    """
    url = settings.redis_url
    shared = None if url is None else RedisBackend.open(url.get_secret_value(), wait_seconds)
    backend = FallbackBackend(ProcessBackend(clock), shared, clock, wait_seconds)
    try:
        yield RateLimiter(settings, backend, clock, limits_of)
    finally:
        await backend.close()


def duration_text(seconds: float) -> Wording:
    """Return a duration in one unit, rounded up: ``12 seconds``, ``1 minute``, ``5 hours``."""
    if seconds >= HOUR:
        return wordings("{count} hour", "{count} hours", math.ceil(seconds / HOUR))
    if seconds >= MINUTE:
        return wordings("{count} minute", "{count} minutes", math.ceil(seconds / MINUTE))
    return wordings("{count} second", "{count} seconds", math.ceil(seconds))


def _minute(limit: int, namespace: str) -> RateLimitItem | None:
    return RateLimitItemPerMinute(limit, namespace=namespace) if limit else None


def _day(limit: int, namespace: str = "tokens") -> RateLimitItemPerDay | None:
    return RateLimitItemPerDay(limit, namespace=namespace) if limit else None


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


def _busy(sentence: Wording, at_once: int) -> str:
    if at_once == 1:
        return wording("An answer is being written for you already; please wait for it or stop it.")
    return sentence.using(count=at_once)


async def _no_renewal() -> None:
    """Do nothing: without a limit a slot has no lease."""
