"""Real faults of the database: disk full, locked, closed, unreachable."""

import asyncio
import contextlib
import sqlite3
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from memory.engine.database import SqliteDatabase, migrate, open_database, ping
from memory.errors import DatabaseFullError, DatabaseUnavailableError, StoreError
from tests.contract.conftest import (
    ALICE,
    BOB,
    LEASE,
    Clock,
    Store,
    check_consistent,
    path_of,
    rows_of,
)
from tests.driver import StatementListener

CANARY = "canary-5e1f"


@contextlib.contextmanager
def locked(database: SqliteDatabase) -> Iterator[None]:
    """Another process is writing."""
    other = sqlite3.connect(path_of(database), isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")
    finally:
        other.close()


class Faults:
    """Has SQLite itself refuse the Nth statement, begin or commit counted from `arm`."""

    def __init__(self, driver: StatementListener) -> None:
        self.seen = 0
        self._fail_at = 0
        driver.listener = self._hear

    def arm(self, fail_at: int) -> None:
        self.seen, self._fail_at = 0, fail_at

    def _hear(self, connection: sqlite3.Connection, _sql: str) -> None:
        self.seen += 1
        if self.seen == self._fail_at:
            connection.set_authorizer(lambda *_: sqlite3.SQLITE_DENY)


async def test_whatever_call_fails_a_turn_is_whole_or_absent(
    sqlite_file: SqliteDatabase, driver: StatementListener, file_store: Store, clock: Clock
) -> None:
    faults, store, failures = Faults(driver), file_store, 0

    async def scene(conversation_id: str) -> None:
        await store.exchange(ALICE, conversation_id, "one", "first")
        ticket = await store.begin(ALICE, conversation_id, "two")
        await store.window(ALICE, conversation_id, budget=100, before_seq=ticket.answer_seq)
        await store.checkpoint(ALICE, ticket.turn_id, content="sec", tool_calls=[])
        await store.finish(ALICE, ticket.turn_id, "second")
        retry = await store.begin_retry(ALICE, conversation_id, key="r", text="two!")
        await store.finish(ALICE, retry.turn_id, "second!")

    for fail_at in range(1, 200):
        conversation_id = f"s{fail_at}"
        faults.arm(fail_at)
        try:
            await scene(conversation_id)
        except DatabaseUnavailableError:
            failures += 1
        else:
            break
        finally:
            faults.arm(0)
        await check_consistent(sqlite_file)
        clock.advance(LEASE)
        assert (await store.begin(ALICE, conversation_id, "after")).fresh
    assert failures > 30
    await check_consistent(sqlite_file)


async def test_a_turn_whose_end_failed_can_be_ended_again(
    sqlite_file: SqliteDatabase, driver: StatementListener, file_store: Store
) -> None:
    faults = Faults(driver)
    ticket = await file_store.begin(ALICE, "s1", "one")
    before = await rows_of(sqlite_file)
    for fail_at in (1, 2, 3, 4):  # begin, turn, answer, commit
        faults.arm(fail_at)
        with pytest.raises(DatabaseUnavailableError):
            await file_store.finish(ALICE, ticket.turn_id, "first")
        faults.arm(0)
        assert await rows_of(sqlite_file) == before
    assert await file_store.finish(ALICE, ticket.turn_id, "first")


async def test_a_full_disk_is_named_and_reading_goes_on(
    sqlite_file: SqliteDatabase, driver: StatementListener, file_store: Store
) -> None:
    await file_store.exchange(ALICE, "s1", "one", "first")
    ticket = await file_store.begin(ALICE, "s1", "two")
    pages = 0

    def limit(connection: sqlite3.Connection, sql: str) -> None:
        if sql.startswith("BEGIN"):
            sqlite3.Connection.execute(connection, f"PRAGMA max_page_count={pages or 1_000_000}")

    driver.listener = limit
    pages = 1  # SQLite takes the present size when that is more
    before = await rows_of(sqlite_file)
    for call in (
        file_store.begin(BOB, "s2", CANARY * 10_000),
        file_store.checkpoint(ALICE, ticket.turn_id, content=CANARY * 10_000, tool_calls=[]),
        file_store.finish(ALICE, ticket.turn_id, CANARY * 10_000),
    ):
        with pytest.raises(DatabaseFullError) as caught:
            await call
        assert CANARY not in "".join(traceback.format_exception(caught.value))
    assert await rows_of(sqlite_file) == before
    assert (await file_store.texts(ALICE, "s1"))[:2] == [("user", "one"), ("assistant", "first")]
    was_full, pages = sqlite_file.is_full, 0
    assert await file_store.finish(ALICE, ticket.turn_id, CANARY * 10_000)
    assert (was_full, sqlite_file.is_full) == (True, False)
    assert (await file_store.begin(BOB, "s2", CANARY * 10_000)).fresh


async def test_a_full_disk_is_not_ready_until_there_is_room(
    sqlite_file: SqliteDatabase,
) -> None:
    sqlite_file.is_full = True
    await ping(sqlite_file)  # the disk of the tests has room
    sqlite_file.room_bytes = 1 << 60
    with pytest.raises(DatabaseFullError):
        await ping(sqlite_file)


@pytest.mark.parametrize("busy_timeout_ms", [1000])
async def test_a_lock_held_too_long_is_named_and_reading_goes_on(
    sqlite_file: SqliteDatabase, file_store: Store
) -> None:
    await file_store.exchange(ALICE, "s1", "one", "first")
    with locked(sqlite_file):
        with pytest.raises(DatabaseUnavailableError) as caught:
            await file_store.begin(ALICE, "s1", CANARY)
        assert await file_store.texts(ALICE, "s1") == [("user", "one"), ("assistant", "first")]
        await ping(sqlite_file)
    assert CANARY not in "".join(traceback.format_exception(caught.value))
    assert not isinstance(caught.value, DatabaseFullError)
    assert (await file_store.begin(ALICE, "s1", "two")).fresh


@pytest.mark.parametrize("busy_timeout_ms", [1000])
async def test_those_who_queue_behind_a_lock_are_told_in_time(
    sqlite_file: SqliteDatabase, file_store: Store
) -> None:
    with locked(sqlite_file):
        outcomes = await asyncio.gather(
            *(file_store.begin(ALICE, f"s{i}", "one") for i in range(20)), return_exceptions=True
        )
    assert [type(outcome) for outcome in outcomes] == [DatabaseUnavailableError] * 20
    assert not any((await rows_of(sqlite_file)).values())
    assert (await file_store.begin(ALICE, "s1", "one")).fresh


@pytest.mark.parametrize("busy_timeout_ms", [1000])
async def test_a_file_serves_readers_beside_its_writer(
    sqlite_file: SqliteDatabase, busy_timeout_ms: int
) -> None:
    pragmas = {
        "journal_mode": "wal",
        "synchronous": 1,
        "foreign_keys": 1,
        "busy_timeout": busy_timeout_ms,
    }

    def read(connection: sa.Connection) -> dict[str, object]:
        return {p: connection.execute(sa.text(f"PRAGMA {p}")).scalar_one() for p in pragmas}

    assert await sqlite_file.read(read) == pragmas
    assert await sqlite_file.write(read) == pragmas


async def test_a_closed_database_says_so(sqlite_file: SqliteDatabase, file_store: Store) -> None:
    await sqlite_file.dispose()
    for call in (file_store.begin(ALICE, "s1", "one"), file_store.conversation(ALICE, "s1")):
        with pytest.raises(DatabaseUnavailableError):
            await call
    await sqlite_file.dispose()


async def test_unmigrated_tables_fail_the_ping(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path / 'new.db'}")
    with pytest.raises(DatabaseUnavailableError):
        await ping(database)
    await migrate(database)
    await ping(database)
    await database.dispose()


async def test_an_error_tells_no_text_and_no_statement(
    driver: StatementListener, file_store: Store
) -> None:
    faults = Faults(driver)
    ticket = await file_store.begin(CANARY, CANARY, CANARY, key=CANARY)
    for fail_at in range(1, 5):
        for call in (
            file_store.begin(CANARY, f"{CANARY}2", CANARY),
            file_store.finish(CANARY, ticket.turn_id, CANARY),
        ):
            faults.arm(fail_at)
            with pytest.raises(StoreError) as caught:
                await call
            faults.arm(0)
            told = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
            assert CANARY not in told + str(caught.value.__context__)
            assert "agent_" not in told


@pytest.mark.parametrize("url", ["mysql://user:canary@host/x", "canary", "", "sqlite"])
def test_an_unusable_address_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ValueError, match="database") as caught:
        open_database(url)
    assert "canary" not in "".join(traceback.format_exception(caught.value))


async def test_an_unreachable_server_is_unavailable() -> None:
    database = open_database("postgresql://user:canary@127.0.0.1:1/x", busy_timeout_ms=2000)
    with pytest.raises(DatabaseUnavailableError) as caught:
        await migrate(database)
    assert "canary" not in "".join(traceback.format_exception(caught.value))
    await database.dispose()


@pytest.mark.parametrize(
    ("code", "tries"),
    [("23505", 3), ("40P01", 3), ("23514", 1), ("23503", 1), ("53100", 1)],
)
async def test_only_work_that_met_another_is_tried_again_and_not_for_ever(
    postgres_server: str, code: str, tries: int
) -> None:
    seen = 0

    def refused(connection: sa.Connection) -> None:
        nonlocal seen
        seen += 1
        connection.execute(sa.text(f"DO $$ BEGIN RAISE SQLSTATE '{code}'; END $$"))

    database = open_database(postgres_server)
    with pytest.raises(StoreError):
        await database.write(refused)
    assert seen == tries
    await database.dispose()


async def test_work_that_met_another_is_done_once(postgres_server: str) -> None:
    database, seen = open_database(postgres_server), 0

    def met(connection: sa.Connection) -> int:
        nonlocal seen
        seen += 1
        connection.execute(sa.text("INSERT INTO met VALUES (:seen)"), {"seen": seen})
        if seen < 3:
            connection.execute(sa.text("INSERT INTO met VALUES (:seen)"), {"seen": seen})
        return seen

    await database.write(lambda c: c.execute(sa.text("CREATE TABLE met (seen int PRIMARY KEY)")))
    try:
        assert await database.write(met) == 3
        kept = await database.read(
            lambda c: c.execute(sa.text("SELECT seen FROM met")).scalars().all()
        )
        assert kept == [3]
    finally:
        await database.write(lambda c: c.execute(sa.text("DROP TABLE met")))
        await database.dispose()
