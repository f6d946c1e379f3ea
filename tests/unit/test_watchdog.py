"""The watchdog names what blocks the event loop in the log, once, and without texts."""

import asyncio
import logging
import re
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from cmw_agent.observability.loop_watchdog import BEAT_SECONDS, HOLD_SECONDS, Watchdog
from cmw_agent.observability.metrics import Metrics
from cmw_agent.server.build import build_app
from tests.doubles.waiting import WAIT
from tests.harness import settings_for
from tests.metrics import Series, series, value
from tests.service import until

SECRET = "canary-of-a-local"


class Lines(logging.Handler):
    """Collects what the watchdog logs, and wakes whoever waits for a line."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.came = threading.Semaphore(0)

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())
        self.came.release()

    def about(self, name: str) -> list[str]:
        """Return the lines that name a function."""
        return [text for text in self.texts if f":{name} > " in f"{text} > "]


@pytest.fixture
def lines() -> Iterator[Lines]:
    handler, logger = Lines(), logging.getLogger("cmw_agent.observability.loop_watchdog")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


def read(metrics: Metrics) -> Series:
    return series(metrics.exposition().decode())


def hold_the_loop(lines: Lines, since: int = 0) -> None:
    """Hold the loop until the watchdog has named this function, and a little longer."""
    local = SECRET
    while not lines.about("hold_the_loop")[since:]:
        assert lines.came.acquire(timeout=WAIT), local
    time.sleep(4 * BEAT_SECONDS)  # in which a second line would come


async def beats(metrics: Metrics, count: int) -> None:
    """Wait until the loop has beaten so often."""
    begun = value(read(metrics), "cmw_loop_lag_seconds_count")
    await until(lambda: value(read(metrics), "cmw_loop_lag_seconds_count") >= begun + count)


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_what_holds_the_loop_is_named_while_it_does_and_nothing_of_its_texts(
    run: Callable[[Coroutine[Any, Any, None]], None], lines: Lines
) -> None:
    metrics = Metrics(5)
    run(_held_twice(metrics, lines))
    named = lines.about("hold_the_loop")
    assert len(named) == 2  # once for each hold
    for line in named:
        assert re.search(r"seconds=\d+\.\d{3} unlogged=0 stack=", line)
        assert re.search(r"test_watchdog\.py:\d+:hold_the_loop > threading\.py:", line)
        assert SECRET not in line
        assert "/" not in line
    assert value(read(metrics), "cmw_loop_holds_total") >= 2
    assert value(read(metrics), "cmw_loop_lag_seconds_sum") > 2 * HOLD_SECONDS


async def _held_twice(metrics: Metrics, lines: Lines) -> None:
    async with Watchdog(metrics, log_seconds=0).running():
        for since in range(2):
            hold_the_loop(lines, since)
            await beats(metrics, 1)


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_a_loop_that_waits_is_known_as_one(
    run: Callable[[Coroutine[Any, Any, None]], None],
) -> None:
    async def waits() -> None:
        watchdog, thread = Watchdog(Metrics(5)), threading.get_ident()

        def seen_waiting() -> bool:
            end = time.monotonic() + WAIT
            while not watchdog.is_idle(sys._current_frames()[thread]):
                assert time.monotonic() < end
            return True

        async with watchdog.running():
            assert await asyncio.to_thread(seen_waiting)
            assert not watchdog.is_idle(sys._getframe())

    run(waits())


async def test_work_in_c_that_keeps_the_interpreter_is_named_by_the_line_that_began_it(
    lines: Lines,
) -> None:
    text, count = "a" * 32 + "!", 20

    def match_in_c() -> None:
        while not lines.about("match_in_c"):
            re.match(r"(?:a|a){" + str(count) + "}!?$", text)

    async with Watchdog(Metrics(5), log_seconds=0).running():
        match_in_c()


async def test_holds_that_follow_soon_are_counted_and_not_logged(lines: Lines) -> None:
    metrics = Metrics(5)
    async with Watchdog(metrics, log_seconds=10 * WAIT).running():
        for _ in range(3):
            # nothing announces a hold that is not logged
            time.sleep(3 * HOLD_SECONDS)  # noqa: ASYNC251 (it is to hold the loop)
            await beats(metrics, 1)
    assert len(lines.texts) <= 1
    assert value(read(metrics), "cmw_loop_holds_total") >= 3


async def test_a_loop_that_waits_is_not_held(lines: Lines) -> None:
    metrics = Metrics(5)
    async with Watchdog(metrics, hold_seconds=WAIT / 4).running():
        await beats(metrics, 3)
    assert not lines.texts
    assert value(read(metrics), "cmw_loop_holds_total") == 0


async def test_the_watchdog_ends_with_the_app(tmp_path: Path) -> None:
    def watching() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name == "loop-watchdog"]

    application = build_app(settings_for(tmp_path))
    async with application.own.router.lifespan_context(application.own):
        assert len(watching()) == 1
    assert not watching()


def test_a_quarter_of_a_second_counts_as_a_hold() -> None:
    assert HOLD_SECONDS == 0.25
