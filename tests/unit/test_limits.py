"""Rate limits: the same in a process and in a Redis that replicas share and that may fail."""

import asyncio
import contextlib
import logging
import math
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from cmw_agent.core.errors import StartupError, UserError
from cmw_agent.limits.backends import ProcessBackend, ProcessStorage
from cmw_agent.limits.limiter import DAY, RateLimiter, RateLimitError, duration_text, open_limits
from cmw_agent.limits.redis_backend import LEASE_SECONDS, PAUSE_SECONDS, WARN_SECONDS, RedisBackend
from tests.harness import WAIT, canary, settings_for
from tests.redis import redis_url, started

__all__ = ["redis_url"]  # a fixture is found by its name here

ALICE, BOB = "valice", "vbob"
HOME, OFFICE = "192.0.2.1", "198.51.100.7"
NOON = 1_900_000_000 // DAY * DAY + DAY // 2


class Clock:
    """A time that moves when the test says so."""

    def __init__(self, now: float) -> None:
        self.now = float(now)

    def __call__(self) -> float:
        return self.now


Opener = Callable[..., AbstractAsyncContextManager[RateLimiter]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture(params=["process", "redis"])
async def opened(request: pytest.FixtureRequest, folder: Path) -> Opener:
    """What opens limits that count in the process, or in a Redis without any count yet."""
    url = None if request.param == "process" else request.getfixturevalue("redis_url")
    if url is not None:
        async with Redis.from_url(url) as client:
            await client.flushall()

    def open_one(
        clock: Clock | None = None, **changes: Any
    ) -> AbstractAsyncContextManager[RateLimiter]:
        settings = settings_for(folder, redis_url=url, **changes)
        return open_limits(settings, clock=clock or Clock(time.time()), wait_seconds=WAIT)

    return open_one


async def admitted(limits: RateLimiter, owner: str, address: str | None, most: int = 50) -> int:
    """Return how many messages are admitted before one is refused."""
    for number in range(most):
        try:
            await limits.admit(owner, address)
        except RateLimitError:
            return number
    return most


# -- messages of a minute ---------------------------------------------------------------------


async def test_an_owner_sends_as_many_messages_as_may_be(opened: Opener) -> None:
    async with opened(turns_per_minute=3) as limits:
        assert await admitted(limits, ALICE, HOME) == 3
        assert await admitted(limits, BOB, None) == 3
        with pytest.raises(RateLimitError) as caught:
            await limits.admit(ALICE, None)
    refused = caught.value
    assert isinstance(refused, UserError)
    assert refused.status == 429
    assert 1 <= refused.retry_after <= 60
    told = f"You have sent 3 messages in a minute; please go on in {duration_text(refused.retry_after)}."
    assert refused.sentence == told


async def test_one_message_is_told_as_one(opened: Opener) -> None:
    async with opened(turns_per_minute=1) as limits:
        await limits.admit(ALICE, None)
        with pytest.raises(RateLimitError, match=r"^You have sent 1 message in a minute; "):
            await limits.admit(ALICE, None)


async def test_an_address_counts_whoever_asks(opened: Opener) -> None:
    async with opened(turns_per_minute=3, turns_per_address=5) as limits:
        assert await admitted(limits, "v1", HOME) == 3
        assert await admitted(limits, "v2", HOME) == 2
        with pytest.raises(
            RateLimitError, match=r"^Your network has sent 5 messages in a minute; "
        ):
            await limits.admit("v3", HOME)
        assert await admitted(limits, "v3", OFFICE) == 3


async def test_what_the_address_is_refused_does_not_count_for_the_owner(opened: Opener) -> None:
    async with opened(turns_per_minute=4, turns_per_address=2) as limits:
        assert await admitted(limits, BOB, HOME) == 2
        for _ in range(10):
            with pytest.raises(RateLimitError):
                await limits.admit(ALICE, HOME)
        assert await admitted(limits, ALICE, None) == 4


async def test_what_the_owner_is_refused_does_not_count_for_the_address(opened: Opener) -> None:
    async with opened(turns_per_minute=1, turns_per_address=3) as limits:
        await limits.admit(ALICE, HOME)
        for _ in range(10):
            with pytest.raises(RateLimitError):
                await limits.admit(ALICE, HOME)
        for owner in ("v1", "v2"):
            await limits.admit(owner, HOME)
        with pytest.raises(RateLimitError):
            await limits.admit("v3", HOME)


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("testclient", "testclient", True),
    ],
)
async def test_a_host_s_addresses_are_one(
    opened: Opener, first: str, second: str, same: bool
) -> None:
    async with opened(turns_per_address=1) as limits:
        await limits.admit(ALICE, first)
        assert await admitted(limits, BOB, second, 1) == (0 if same else 1)


async def test_at_once_no_more_are_admitted_than_one_after_the_other(opened: Opener) -> None:
    async with opened(turns_per_minute=7) as limits:
        await limits.admit(
            BOB, OFFICE
        )  # so that a connection is there: the first one takes a while
        tries = await asyncio.gather(
            *(limits.admit(ALICE, HOME) for _ in range(40)), return_exceptions=True
        )
    assert tries.count(None) == 7
    assert all(isinstance(refused, RateLimitError) for refused in tries if refused is not None)


async def test_nought_sets_no_limit(opened: Opener) -> None:
    none = {"turns_per_minute": 0, "tokens_per_day": 0, "turns_at_once": 0, "turns_per_address": 0}
    async with opened(**none) as limits, AsyncExitStack() as stack:
        assert await admitted(limits, ALICE, HOME, 400) == 400
        await limits.charge(ALICE, 10**15)
        await limits.admit(ALICE, HOME)
        for _ in range(50):
            slot = await stack.enter_async_context(limits.slot(ALICE))
            await slot.renew()


async def test_nobody_has_no_limits(opened: Opener) -> None:
    async with opened() as limits:
        for nobody in (limits.admit("", HOME), limits.charge("", 1), limits.admit(ALICE, "")):
            with pytest.raises(ValueError, match="is required"):
                await nobody
        with pytest.raises(ValueError, match="is required"):
            async with limits.slot(""):
                pass


async def test_a_minute_moves_on() -> None:
    clock = Clock(NOON)
    async with process_limits(clock, turns_per_minute=2) as limits:
        await limits.admit(ALICE, None)
        clock.now += 48.5
        await limits.admit(ALICE, None)
        with pytest.raises(RateLimitError, match=r"in 12 seconds\.") as caught:
            await limits.admit(ALICE, None)
        assert caught.value.retry_after == 12
        clock.now += 12
        assert await admitted(limits, ALICE, None) == 1
        clock.now += 3600
        assert await admitted(limits, ALICE, None) == 2


def process_limits(clock: Clock, **changes: Any) -> AbstractAsyncContextManager[RateLimiter]:
    return open_limits(settings_for(Path("unused"), **changes), clock=clock)


# -- tokens of a day --------------------------------------------------------------------------


async def test_tokens_are_used_up_for_the_day(opened: Opener) -> None:
    clock = Clock(NOON + DAY / 2 - 4.5 * 3600)
    async with opened(clock, tokens_per_day=100_000) as limits:
        await limits.charge(ALICE, 60_000)
        await limits.charge(ALICE, 0)
        await limits.charge(ALICE, -5)
        await limits.charge(ALICE, 39_999)
        await limits.admit(ALICE, HOME)
        await limits.charge(ALICE, 50_000)
        with pytest.raises(RateLimitError) as caught:
            await limits.admit(ALICE, HOME)
        refused = caught.value
        assert refused.sentence == (
            "You have used today's 100,000 tokens; please go on in 5 hours."
        )
        assert (refused.status, refused.retry_after) == (429, 16_200)
        await limits.admit(BOB, HOME)
        clock.now += refused.retry_after - 1
        with pytest.raises(RateLimitError, match="in 1 second"):
            await limits.admit(ALICE, HOME)
        clock.now += 1
        await limits.admit(ALICE, HOME)


async def test_who_has_no_tokens_left_is_not_charged_messages(opened: Opener) -> None:
    clock = Clock(NOON)
    async with opened(clock, tokens_per_day=1, turns_per_address=1) as limits:
        await limits.charge(ALICE, 1)
        for _ in range(3):
            with pytest.raises(RateLimitError, match="tokens"):
                await limits.admit(ALICE, HOME)
        await limits.admit(BOB, HOME)


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (1, "1 second"),
        (59, "59 seconds"),
        (60, "1 minute"),
        (61, "2 minutes"),
        (3599, "60 minutes"),
        (3600, "1 hour"),
        (3601, "2 hours"),
        (86_400, "24 hours"),
    ],
)
def test_a_time_is_told_as_people_say_it(seconds: int, told: str) -> None:
    assert duration_text(seconds) == told


# -- answers at once ---------------------------------------------------------------------------


async def test_slots_are_given_back(opened: Opener) -> None:
    async with opened(turns_at_once=2) as limits:
        for _ in range(3):
            async with limits.slot(ALICE) as first, limits.slot(ALICE):
                await first.renew()
                with pytest.raises(RateLimitError, match=r"^2 answers are being written") as caught:
                    async with limits.slot(ALICE):
                        pytest.fail("a third slot")
                assert caught.value.retry_after == 5
                async with limits.slot(BOB):
                    pass
        async with limits.slot(ALICE), limits.slot(ALICE):
            pass


async def test_a_slot_is_given_back_however_its_block_ends(opened: Opener) -> None:
    async with opened(turns_at_once=1) as limits:
        for failure in (ValueError, asyncio.CancelledError):
            with contextlib.suppress(failure):
                async with limits.slot(ALICE):
                    raise failure
        entered = asyncio.Event()

        async def hold() -> None:
            async with limits.slot(ALICE):
                entered.set()
                await asyncio.Event().wait()

        held = asyncio.create_task(hold())
        await entered.wait()
        with pytest.raises(RateLimitError, match=r"^An answer is being written for you already"):
            async with limits.slot(ALICE):
                pass
        held.cancel()
        await asyncio.wait({held})
        async with limits.slot(ALICE):
            pass


async def test_many_at_once_get_the_slots_that_there_are(opened: Opener) -> None:
    async with opened(turns_at_once=4) as limits, AsyncExitStack() as stack:
        tries = await asyncio.gather(
            *(stack.enter_async_context(limits.slot(ALICE)) for n in range(20)),
            return_exceptions=True,
        )
        assert sum(isinstance(found, RateLimitError) for found in tries) == 16


# -- in the process ----------------------------------------------------------------------------


async def test_what_ran_out_is_dropped_and_there_is_a_cap() -> None:
    clock = Clock(NOON)
    storage = ProcessStorage(clock, max_keys=1000)
    for number in range(5000):
        await storage.acquire_entry(f"k{number}", 2, 60)
        await storage.incr(f"k{number}", 60)
    assert (len(storage._times), len(storage._counts)) == (1000, 1000)
    clock.now += 61
    await storage.acquire_entry("new", 2, 60)
    await storage.incr("new", 60)
    assert list(storage._times) == list(storage._counts) == ["new"]
    assert await storage.reset() == 2


async def test_an_owner_keeps_no_more_times_than_the_limit() -> None:
    storage = ProcessStorage(Clock(NOON))
    for _ in range(1000):
        await storage.acquire_entry("k", 3, 60)
    assert len(storage._times["k"][1]) == 3


async def test_neither_thread_nor_task_is_left_by_a_hundred_thousand_owners() -> None:
    threads = threading.active_count()
    async with process_limits(Clock(NOON), tokens_per_day=5) as limits:
        for number in range(100_000):
            await limits.admit(f"v{number}", None)
        await limits.charge(ALICE, 1)
        assert len(asyncio.all_tasks()) == 1
        assert threading.active_count() <= threads  # another test's may end meanwhile


async def test_slots_have_a_cap_and_leave_nothing() -> None:
    counters = ProcessBackend(Clock(NOON), max_keys=2)
    assert [await counters.acquire(owner, "t", 1) for owner in "abc"] == [True, True, False]
    await counters.release("a", "t")
    await counters.release("a", "t")
    await counters.release("nobody", "t")
    assert await counters.acquire("c", "t", 1)
    for owner in "bc":
        await counters.release(owner, "t")
    assert not counters._slots


# -- in Redis ----------------------------------------------------------------------------------


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Any]:
    async with Redis.from_url(redis_url, decode_responses=True) as opened:
        await opened.flushall()
        yield opened


async def test_replicas_count_together(redis_url: str, client: Any, folder: Path) -> None:
    limited = {"turns_per_minute": 4, "turns_at_once": 1, "tokens_per_day": 10}
    settings, clock = settings_for(folder, redis_url=redis_url, **limited), Clock(time.time())
    async with (
        open_limits(settings, clock=clock, wait_seconds=WAIT) as one,
        open_limits(settings, clock=clock, wait_seconds=WAIT) as other,
    ):
        assert await admitted(one, ALICE, HOME, 3) == 3
        assert await admitted(other, ALICE, HOME) == 1
        async with one.slot(BOB):
            with pytest.raises(RateLimitError):
                async with other.slot(BOB):
                    pass
        async with other.slot(BOB):
            pass
        await one.charge(BOB, 10)
        with pytest.raises(RateLimitError, match="tokens"):
            await other.admit(BOB, None)


async def test_all_that_is_kept_is_nameless_and_ends(
    redis_url: str, client: Any, folder: Path
) -> None:
    secret = canary()
    settings = settings_for(
        folder,
        redis_url=redis_url,
        tokens_per_day=10,
        turns_per_minute=5,
        turns_per_address=5,
        turns_at_once=5,
    )
    async with open_limits(settings, wait_seconds=WAIT) as limits:
        await limits.admit(f"v{secret}", f"host-{secret}")
        await limits.charge(f"v{secret}", 1)
        async with limits.slot(f"v{secret}"):
            keys = sorted(await client.keys("*"))
            kinds = [key.partition("/")[0] for key in keys]
            assert kinds == ["cmw:addresses", "cmw:slots", "cmw:tokens", "cmw:turns"]
            for key, most in zip(keys, (60, LEASE_SECONDS, DAY, 60), strict=True):
                assert secret not in key
                assert 0 < await client.ttl(key) <= most
    assert not await client.keys("cmw:slots*")


async def test_the_slots_of_a_killed_replica_come_free(
    redis_url: str, client: Any, folder: Path
) -> None:
    settings = settings_for(folder, redis_url=redis_url, turns_at_once=1)
    killed = RedisBackend.open(redis_url, WAIT)
    async with open_limits(settings, wait_seconds=WAIT) as limits:
        async with limits.slot(ALICE):
            (key,) = await client.keys("cmw:slots*")
        digest = key.rpartition("/")[2]
        before, _ = await client.time()
        assert await killed.acquire(digest, "t1", 1)
        await killed.close()
        with pytest.raises(RateLimitError):
            async with limits.slot(ALICE):
                pass
        # As it is when the lease has run out.
        now, _ = await client.time()
        ends = await client.zscore(key, "t1")
        assert before + LEASE_SECONDS <= ends <= now + LEASE_SECONDS
        await client.zadd(key, {"t1": now - 1})
        async with limits.slot(ALICE):
            (name,) = await client.zrange(key, 0, -1)
            assert name != "t1"


async def test_a_slot_is_renewed_now_and_then(redis_url: str, client: Any, folder: Path) -> None:
    clock = Clock(NOON)
    settings = settings_for(folder, redis_url=redis_url, turns_at_once=1)
    async with (
        open_limits(settings, clock=clock, wait_seconds=WAIT) as limits,
        limits.slot(ALICE) as slot,
    ):
        (key,) = await client.keys("cmw:slots*")
        (name,) = await client.zrange(key, 0, -1)
        await client.flushall()
        await slot.renew()
        assert not await client.exists(key)
        clock.now += LEASE_SECONDS / 2
        await slot.renew()
        assert await client.zrange(key, 0, -1) == [name]
        with pytest.raises(RateLimitError):
            async with limits.slot(ALICE):
                pass


async def test_while_redis_is_away_the_process_counts_and_then_redis_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = Clock(NOON)
    with tempfile.TemporaryDirectory(prefix="redis-") as name:
        folder = Path(name)
        with started(folder) as url:
            settings = settings_for(
                folder, redis_url=url, turns_per_minute=3, turns_per_address=300, turns_at_once=1
            )
            # gone, its socket refuses at once: nothing waits for so long
            opening = open_limits(settings, clock=clock, wait_seconds=WAIT)
            limits = await opening.__aenter__()
            assert await admitted(limits, ALICE, HOME) == 3
            slot = limits.slot(ALICE)
            held = await slot.__aenter__()
        # It is gone, with all connections.
        with caplog.at_level(logging.WARNING):
            assert await admitted(limits, ALICE, HOME) == 3
            clock.now += LEASE_SECONDS / 2
            await held.renew()
            await slot.__aexit__(None, None, None)
            async with limits.slot(ALICE):
                with pytest.raises(RateLimitError):
                    async with limits.slot(ALICE):
                        pass
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        clock.now += WARN_SECONDS
        assert await admitted(limits, BOB, HOME) == 3
        assert len(caplog.records) == 2
        assert str(folder) not in caplog.text
        with started(folder) as url:
            async with Redis.from_url(url) as client:
                assert await admitted(limits, BOB, HOME) == 0
                assert not await client.keys("*")  # it is not asked for a few seconds
                clock.now += PAUSE_SECONDS
                assert await admitted(limits, BOB, HOME) == 3
                assert len(await client.keys("*")) == 2
        await opening.__aexit__(None, None, None)


async def test_a_redis_that_never_answers_is_waited_for_once(folder: Path) -> None:
    connections = []

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    settings = settings_for(folder, redis_url=f"redis://127.0.0.1:{port}/0", turns_per_minute=2)
    async with open_limits(settings, clock=Clock(NOON)) as limits:
        assert await admitted(limits, ALICE, HOME) == 2
        assert len(connections) == 1
    server.close()
    await server.wait_closed()


async def test_a_password_stands_nowhere(
    folder: Path, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    secret = canary()
    for url in (f"redis://:{secret}@127.0.0.1:1/0", redis_url.replace("://", f"://u:{secret}@")):
        with caplog.at_level(logging.DEBUG):
            async with open_limits(
                settings_for(folder, redis_url=url, turns_per_minute=5)
            ) as limits:
                await limits.admit(ALICE, HOME)
    assert len(caplog.records) >= 2
    assert secret not in caplog.text
    with pytest.raises(StartupError, match=r"^CMW_REDIS_URL must be ") as caught:
        async with open_limits(
            settings_for(folder, redis_url=f"redis://:{secret}@127.0.0.1/0?socket_timeout=x")
        ):
            pass
    assert secret not in repr(caught.value)


def test_a_refusal_says_at_least_a_second() -> None:
    assert RateLimitError("Wait.", retry_after=0).retry_after == 1
    assert RateLimitError().retry_after == 60
    assert math.isfinite(RateLimitError().status)
