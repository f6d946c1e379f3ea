"""Counters in a Redis that replicas share, and a process's own while it cannot be reached."""

import asyncio
import contextlib
import logging
import math
from collections.abc import Awaitable, Callable
from typing import Any, Self, TypeVar

from limits.aio.storage import RedisStorage

from cmw_agent.core.errors import StartupError
from cmw_agent.limits.backends import LimitBackend

log = logging.getLogger(__name__)
T = TypeVar("T")

LEASE_SECONDS = 60  # after its last renewal a slot of a process that died is free
WAIT_SECONDS = 1.0  # for Redis
PAUSE_SECONDS = 5  # without asking a Redis that has just failed
WARN_SECONDS = 60  # at least between two warnings
CONNECTIONS = 32
PREFIX = "cmw"
UNBOUNDED = 0

# Redis tells the time, so that the clocks of replicas do not matter.
_TAKE = """
local now = tonumber(redis.call('TIME')[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local most = tonumber(ARGV[2])
local held = redis.call('ZSCORE', KEYS[1], ARGV[1])
if most > 0 and not held and redis.call('ZCARD', KEYS[1]) >= most then return 0 end
redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[3])
return 1
"""


class RedisCounters(LimitBackend):
    """Counts that replicas share, in a Redis server; every wait is bounded."""

    def __init__(self, pool: Any, failures: tuple[type[Exception], ...]) -> None:
        from redis.asyncio import Redis  # noqa: PLC0415 (not installed where no Redis is set)

        options: dict[str, Any] = {"connection_pool": pool}
        super().__init__(
            RedisStorage("async+redis://", implementation="redispy", key_prefix=PREFIX, **options),
            failures,
        )
        self._pool = pool
        self._client = Redis(connection_pool=pool)
        self._take = self._client.register_script(_TAKE)

    @classmethod
    def open(cls, url: str, seconds: float = WAIT_SECONDS) -> Self:
        """Return counters in the Redis at `url`; nothing is connected before the first use.

        Args:
            url: Its address.
            seconds: How long it may take to answer.

        Raises:
            StartupError: The address cannot be understood.
        """
        from redis.asyncio import BlockingConnectionPool  # noqa: PLC0415 (see above)
        from redis.asyncio.retry import Retry  # noqa: PLC0415
        from redis.backoff import NoBackoff  # noqa: PLC0415
        from redis.exceptions import RedisError  # noqa: PLC0415

        try:
            pool = BlockingConnectionPool.from_url(
                url,
                max_connections=CONNECTIONS,
                timeout=seconds,
                socket_timeout=seconds,
                socket_connect_timeout=seconds,
                # Once more at once: a connection that a restarted server closed is found so.
                retry=Retry(NoBackoff(), 1),
            )
        except ValueError:
            # Not chained: the text of the cause may hold the password.
            raise StartupError(
                "CMW_REDIS_URL must be redis://HOST:PORT/NUMBER or rediss://…"
            ) from None
        return cls(pool, (RedisError, OSError, TimeoutError))

    async def take(self, owner: str, turn_id: str, most: int) -> bool:
        """Take a slot for as long as it is renewed."""
        return bool(await self._lease(owner, turn_id, most))

    async def renew(self, owner: str, turn_id: str) -> None:
        """Renew a slot, also one that Redis has forgotten meanwhile."""
        await self._lease(owner, turn_id, UNBOUNDED)

    async def give(self, owner: str, turn_id: str) -> None:
        """Give a slot back."""
        await self._client.zrem(self._key(owner), turn_id)

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.aclose()

    async def _lease(self, owner: str, turn_id: str, most: int) -> Any:
        return await self._take(keys=[self._key(owner)], args=[turn_id, most, LEASE_SECONDS])

    def _key(self, owner: str) -> str:
        return f"{PREFIX}:slots/{owner}"


class FallbackBackend:
    """Where to count at this moment.

    Args:
        own: Counters of this process.
        shared: Those of all replicas, where there are such.
        clock: Seconds since 1970.
        seconds: How long the shared ones may take.
    """

    def __init__(
        self,
        own: LimitBackend,
        shared: RedisCounters | None,
        clock: Callable[[], float],
        seconds: float,
    ) -> None:
        self._own = own
        self._shared = shared
        self._clock = clock
        self._seconds = seconds
        self._failed_at = self._warned_at = -math.inf

    async def ask(self, work: Callable[[LimitBackend], Awaitable[T]]) -> T:
        """Let the shared counters work or, while they cannot be reached, our own."""
        shared = self._shared
        if shared is not None and not 0 <= self._clock() - self._failed_at < PAUSE_SECONDS:
            try:
                async with asyncio.timeout(self._seconds):
                    return await work(shared)
            except shared.failures as error:
                self._note(error)
        return await work(self._own)

    async def attempt(self, holder: LimitBackend, work: Awaitable[None]) -> None:
        """Await what its counters alone can do, and which is not needed where they cannot."""
        try:
            async with asyncio.timeout(self._seconds):
                await work
        except holder.failures as error:
            self._note(error)

    async def close(self) -> None:
        """Close all connections."""
        if self._shared is not None:
            with contextlib.suppress(*self._shared.failures):
                async with asyncio.timeout(self._seconds):
                    await self._shared.close()

    def _note(self, error: Exception) -> None:
        self._failed_at = now = self._clock()
        if not 0 <= now - self._warned_at < WARN_SECONDS:
            self._warned_at = now
            # Never the error's text, which may hold the address with its password.
            log.warning("redis failed, limits count in this process cause=%s", type(error).__name__)
