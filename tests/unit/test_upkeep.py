"""Periodic tasks: they run again after a failure, never twice at once, and end."""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cmw_agent.runtime.periodic import PeriodicTask
from memory.engine.database import migrate, open_database
from memory.manager import ConversationMemoryManager
from memory.records import ConversationOrigin, NewTurn
from tests.harness import WAIT, served, settings_for
from tests.rows import count
from tests.service import until

SOON = 0.01


class Work:
    """Counts its runs; fails in those that it is told to."""

    def __init__(self, fails: Callable[[int], bool] = lambda run: False) -> None:
        self.runs = 0
        self.at_once = 0
        self.most_at_once = 0
        self.cancelled = 0
        self.third = asyncio.Event()
        self.may_end = asyncio.Event()
        self.may_end.set()
        self._fails = fails

    async def __call__(self) -> None:
        self.runs += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        if self.runs == 3:
            self.third.set()
        try:
            await self.may_end.wait()
            if self._fails(self.runs):
                raise RuntimeError("secret text")
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.at_once -= 1


async def test_it_runs_again_and_again_one_at_a_time() -> None:
    work = Work()
    async with asyncio.timeout(WAIT), PeriodicTask(work, seconds=SOON):
        await work.third.wait()
    assert (work.most_at_once, work.cancelled) == (1, 0)


async def test_a_failure_is_logged_and_the_next_run_comes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    work = Work(lambda run: run < 3)
    async with asyncio.timeout(WAIT), PeriodicTask(work, seconds=SOON):
        await work.third.wait()
    failed = [record for record in caplog.records if record.levelname == "ERROR"]
    assert len(failed) == 2
    for record in failed:
        assert record.name == "cmw_agent.runtime.periodic"
        assert record.exc_info


async def test_leaving_ends_a_run_and_nothing_runs_afterwards(
    caplog: pytest.LogCaptureFixture,
) -> None:
    work = Work()
    work.may_end.clear()
    async with asyncio.timeout(WAIT), PeriodicTask(work, seconds=SOON):
        await until(lambda: work.runs == 1)
    assert (work.runs, work.cancelled, work.at_once) == (1, 1, 0)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not left


async def test_before_its_time_it_does_not_run() -> None:
    work = Work()
    async with PeriodicTask(work, seconds=3600):
        pass
    assert work.runs == 0


async def test_the_running_app_deletes_what_is_old(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path / 'chat.db'}")
    await migrate(database)
    for days, name in ((3, "old"), (1, "new")):
        moment = datetime.now(UTC) - timedelta(days=days)
        store = ConversationMemoryManager(database, clock=lambda moment=moment: moment)  # type: ignore[misc]
        await store.begin_turn(
            "user:ann", NewTurn(name, "one", key="k", origin=ConversationOrigin())
        )
    await database.dispose()
    async with served(settings_for(tmp_path, cleanup_seconds=0.05, retention_days=2)):
        await until(lambda: count(tmp_path) == (1, 2, 1))
    with closing(sqlite3.connect(tmp_path / "chat.db")) as connection:
        assert connection.execute("SELECT session_id FROM agent_sessions").fetchall() == [("new",)]
