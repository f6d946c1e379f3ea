"""Rate-limit backend in a Redis server that replicas share, with a fallback to the process."""

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable
from typing import Any, Self, TypeVar

from limits.aio.storage import RedisStorage

from cmw_agent.core.errors import StartupError
from cmw_agent.core.logs import get_logger
from cmw_agent.limits.backends import LimitBackend

log = get_logger(__name__)
T = TypeVar("T")

LEASE_SECONDS = 60  # from the last renewal until the slot of a dead process is free
WAIT_SECONDS = 1.0  # time-out of one call of Redis
PAUSE_SECONDS = 5  # after a failure of Redis, in which the process counts by itself
WARN_SECONDS = 60  # minimum time between two warnings
CONNECTIONS = 32
PREFIX = "cmw"
UNLIMITED = 0

# Uses the clock of Redis, so that the clocks of replicas need not agree.
_ACQUIRE = """
local now = tonumber(redis.call('TIME')[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local max_slots = tonumber(ARGV[2])
local held = redis.call('ZSCORE', KEYS[1], ARGV[1])
if max_slots > 0 and not held and redis.call('ZCARD', KEYS[1]) >= max_slots then return 0 end
redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[3])
return 1
"""


class RedisBackend(LimitBackend):
    """Counts in a Redis server that replicas share; every call has a time-out.

    Args:
        pool: Connection pool of the redis library.
        failures: Exceptions that mean that Redis cannot be reached.
    """

    def __init__(self, pool: Any, failures: tuple[type[Exception], ...]) -> None:
        from redis.asyncio import Redis  # noqa: PLC0415 (not installed where no Redis is set)

        options: dict[str, Any] = {"connection_pool": pool}
        super().__init__(
            RedisStorage("async+redis://", implementation="redispy", key_prefix=PREFIX, **options),
            failures,
        )
        self._pool = pool
        self._client = Redis(connection_pool=pool)
        self._acquire = self._client.register_script(_ACQUIRE)

    @classmethod
    def open(cls, url: str, seconds: float = WAIT_SECONDS) -> Self:
        """Return the backend in the Redis server at `url`, which connects on first use.

        Args:
            url: URL of the server.
            seconds: Time-out of one call.

        Raises:
            StartupError: The URL is not valid.
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
                # One immediate retry: a restarted server has closed the pooled connections.
                retry=Retry(NoBackoff(), 1),
            )
        except ValueError:
            # Not chained: the message of the cause may contain the password.
            raise StartupError(
                "CMW_REDIS_URL must be redis://HOST:PORT/NUMBER or rediss://…"
            ) from None
        return cls(pool, (RedisError, OSError, TimeoutError))

    async def acquire(self, owner: str, slot_id: str, max_slots: int) -> bool:
        """Acquire a slot with a lease that must be renewed."""
        return bool(await self._lease(owner, slot_id, max_slots))

    async def renew(self, owner: str, slot_id: str) -> None:
        """Extend the lease of a slot, even if Redis has lost it meanwhile."""
        await self._lease(owner, slot_id, UNLIMITED)

    async def release(self, owner: str, slot_id: str) -> None:
        """Release a slot."""
        await self._client.zrem(self._key(owner), slot_id)

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.aclose()

    async def _lease(self, owner: str, slot_id: str, max_slots: int) -> Any:
        arguments: list[str | int] = [slot_id, max_slots, LEASE_SECONDS]
        return await self._acquire(keys=[self._key(owner)], args=arguments)

    def _key(self, owner: str) -> str:
        return f"{PREFIX}:slots/{owner}"


class FallbackBackend:
    """Selects the shared backend or, while that cannot be reached, the process's own.

    Args:
        local: Backend of this process.
        shared: Backend of all replicas, or None.
        clock: Returns seconds since the epoch.
        seconds: Time-out of one call of the shared backend.
    """

    def __init__(
        self,
        local: LimitBackend,
        shared: RedisBackend | None,
        clock: Callable[[], float],
        seconds: float,
    ) -> None:
        self._local = local
        self._shared = shared
        self._clock = clock
        self._seconds = seconds
        self._failed_at = self._warned_at = -math.inf

    async def call(self, work: Callable[[LimitBackend], Awaitable[T]]) -> T:
        """Return `work(backend)` with the shared backend, or with the local one if that fails."""
        shared = self._shared
        if shared is not None and not 0 <= self._clock() - self._failed_at < PAUSE_SECONDS:
            try:
                async with asyncio.timeout(self._seconds):
                    return await work(shared)
            except shared.failures as error:
                self._log_failure(error)
        return await work(self._local)

    async def attempt(self, backend: LimitBackend, work: Awaitable[None]) -> None:
        """Await `work` on one backend; a failure is only logged."""
        try:
            async with asyncio.timeout(self._seconds):
                await work
        except backend.failures as error:
            self._log_failure(error)

    async def close(self) -> None:
        """Close all connections."""
        if self._shared is not None:
            with contextlib.suppress(*self._shared.failures):
                async with asyncio.timeout(self._seconds):
                    await self._shared.close()

    def _log_failure(self, error: Exception) -> None:
        self._failed_at = now = self._clock()
        if not 0 <= now - self._warned_at < WARN_SECONDS:
            self._warned_at = now
            # Without the error's message, which may contain the URL with its password.
            log.warning("redis failed, limits count in this process", cause=type(error).__name__)
