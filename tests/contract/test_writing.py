"""Group commit: brief writes that wait for SQLite's writer share one transaction."""

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

import pytest
import sqlalchemy as sa

from memory.engine.database import SqliteDatabase
from memory.engine.group_commit import MAX_GROUP_SIZE
from memory.errors import (
    ConversationBusyError,
    ConversationNotFoundError,
    DatabaseUnavailableError,
    UnknownFileError,
)
from memory.records import ConversationOrigin, NewTurn, TurnTicket
from tests.contract.conftest import ALICE, BOB, Store, check_consistent
from tests.driver import StatementListener

PATIENCE = 10.0


class Line:
    """Work that is made to wait in line, until `leave` lets it all go; `heard` is what ran then."""

    def __init__(self, database: SqliteDatabase, driver: StatementListener) -> None:
        self._database = database
        self._driver = driver
        self._arrived, self._opened = threading.Event(), threading.Event()
        self._first: asyncio.Task[None] | None = None
        self.heard: list[str] = []

    async def form(self) -> None:
        """Keep the writer busy."""
        self._arrived.clear()
        self._opened.clear()
        self._first = asyncio.create_task(self._database.write(self._hold))
        assert await asyncio.to_thread(self._arrived.wait, PATIENCE)

    def _hold(self, _connection: sa.Connection) -> None:
        self._arrived.set()
        assert self._opened.wait(PATIENCE)

    async def join(self, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        """Put work in the line."""
        task = asyncio.create_task(work)
        for _ in range(5):  # so many steps, at most, lead to the line
            await asyncio.sleep(0)
        return task

    async def leave(
        self, *tasks: "asyncio.Task[Any]", listener: Callable[[str], bool] | None = None
    ) -> list[Any]:
        """Release the writer; return the outcomes of `tasks`.

        Statements for which `listener` returns True are refused.
        """

        def hear(connection: sqlite3.Connection, sql: str) -> None:
            self.heard.append(sql)
            if listener is not None and listener(sql):
                connection.set_authorizer(lambda *_: sqlite3.SQLITE_DENY)

        self.heard = []
        assert self._first is not None
        self._driver.listener = lambda connection, sql: (
            # the commit of what kept the writer busy comes first
            setattr(self._driver, "listener", hear) if sql == "COMMIT" else None
        )
        self._opened.set()
        await self._first
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        self._driver.listener = None
        return outcomes

    @property
    def commits(self) -> int:
        return self.heard.count("COMMIT")


@pytest.fixture
async def line(sqlite_file: SqliteDatabase, driver: StatementListener) -> AsyncIterator[Line]:
    made = Line(sqlite_file, driver)
    await made.form()
    yield made
    await made.leave()


async def test_what_waits_is_committed_together(
    line: Line, file_store: Store, sqlite_file: SqliteDatabase
) -> None:
    begun = [await line.join(file_store.begin(ALICE, f"s{i}", f"text {i}")) for i in range(9)]
    tickets = await line.leave(*begun)
    assert line.commits == 1
    assert all(isinstance(ticket, TurnTicket) and ticket.fresh for ticket in tickets)
    await line.form()
    ended = [await line.join(file_store.finish(ALICE, t.turn_id, "answer")) for t in tickets]
    assert await line.leave(*ended) == [True] * 9
    assert line.commits == 1
    for i in range(9):
        expected = [("user", f"text {i}"), ("assistant", "answer")]
        assert await file_store.texts(ALICE, f"s{i}") == expected
    await check_consistent(sqlite_file)


async def test_a_transaction_is_not_shared_without_end(line: Line, file_store: Store) -> None:
    count = MAX_GROUP_SIZE + 1
    begun = [await line.join(file_store.begin(ALICE, f"s{i}", "text")) for i in range(count)]
    await line.leave(*begun)
    assert line.commits == 2


async def test_only_brief_work_shares_and_the_order_stays(
    line: Line, file_store: Store, sqlite_file: SqliteDatabase
) -> None:
    order: list[int] = []

    def note(place: int) -> Callable[[sa.Connection], None]:
        return lambda _: order.append(place)

    briefs = (True, True, False, False, True, True)
    work = [
        await line.join(sqlite_file.write(note(place), is_brief=is_brief))
        for place, is_brief in enumerate(briefs)
    ]
    await line.leave(*work)
    assert (order, line.commits) == ([0, 1, 2, 3, 4, 5], 4)


async def test_a_refusal_takes_back_its_own_and_nobody_else_s(
    line: Line, driver: StatementListener, file_store: Store, sqlite_file: SqliteDatabase
) -> None:
    await line.leave()
    busy = await file_store.begin(ALICE, "busy", "one", key="known")
    await file_store.exchange(BOB, "bobs", "his", "answer")
    await line.form()
    unknown = file_store.begin_turn(
        ALICE,
        NewTurn("files", "lost", key="f", origin=ConversationOrigin(), files=("no-such-file",)),
    )
    tasks = [
        await line.join(work)
        for work in (
            file_store.begin(ALICE, "s1", "first"),
            unknown,
            file_store.begin(ALICE, "busy", "two"),
            file_store.begin(ALICE, "bobs", "hers"),
            file_store.begin(ALICE, "busy", "one", key="known"),
            file_store.finish(BOB, busy.turn_id, "stolen"),
            file_store.begin(ALICE, "s2", "last"),
        )
    ]
    first, files, turned_away, foreign, again, stolen, last = await line.leave(*tasks)
    assert line.commits == 1
    assert first.fresh
    assert last.fresh
    assert stolen is False
    assert [type(e) for e in (files, turned_away, foreign)] == [
        UnknownFileError,
        ConversationBusyError,
        ConversationNotFoundError,
    ]
    assert (again.fresh, again.turn_id) == (False, busy.turn_id)
    with pytest.raises(ConversationNotFoundError):
        await file_store.texts(ALICE, "files")
    assert await file_store.texts(ALICE, "busy") == [("user", "one"), ("assistant", "")]
    assert await file_store.texts(BOB, "bobs") == [("user", "his"), ("assistant", "answer")]
    for conversation_id, text in (("s1", "first"), ("s2", "last")):
        assert (await file_store.texts(ALICE, conversation_id))[0] == ("user", text)
    await check_consistent(sqlite_file)


async def test_a_failure_of_a_shared_transaction_costs_nobody_the_turn(
    line: Line, file_store: Store, sqlite_file: SqliteDatabase
) -> None:
    await line.leave()
    for fail_at in range(1, 100):
        await line.form()
        names = [f"{fail_at}-{i}" for i in range(3)]
        tasks = [await line.join(file_store.begin(ALICE, name, name)) for name in names]
        seen = 0

        def refuse(_sql: str, fail_at: int = fail_at) -> bool:
            nonlocal seen
            seen += 1
            return seen == fail_at

        outcomes = await line.leave(*tasks, listener=refuse)
        if fail_at == 1:  # there was no transaction at all
            assert [type(e) for e in outcomes] == [DatabaseUnavailableError] * 3
            continue
        assert all(isinstance(ticket, TurnTicket) and ticket.fresh for ticket in outcomes)
        for name in names:
            assert (await file_store.texts(ALICE, name))[0] == ("user", name)
        if seen < fail_at:
            break
        assert line.commits >= 3
    assert fail_at > 18
    await check_consistent(sqlite_file)


async def test_a_lock_met_while_each_is_tried_alone_is_waited_for_once(
    line: Line, file_store: Store
) -> None:
    tasks = [await line.join(file_store.begin(ALICE, f"s{i}", "text")) for i in range(4)]
    begins = 0

    def refuse(sql: str) -> bool:
        nonlocal begins
        begins += sql.startswith("BEGIN")
        # the shared transaction breaks, the first is alone, the second meets the lock
        return sql.startswith("SAVEPOINT") or (begins == 3 and sql.startswith("BEGIN"))

    first, *others = await line.leave(*tasks, listener=refuse)
    assert first.fresh
    assert [type(e) for e in others] == [DatabaseUnavailableError] * 3
    assert begins == 3


async def test_who_goes_while_it_waits_leaves_nothing(line: Line, file_store: Store) -> None:
    kept = await line.join(file_store.begin(ALICE, "kept", "text"))
    gone = await line.join(file_store.begin(ALICE, "gone", "text"))
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    (ticket,) = await line.leave(kept)
    assert ticket.fresh
    assert line.commits == 1
    with pytest.raises(ConversationNotFoundError):
        await file_store.texts(ALICE, "gone")


async def test_who_goes_during_a_shared_transaction_holds_no_lease(
    line: Line, file_store: Store
) -> None:
    tasks = [await line.join(file_store.begin(ALICE, f"s{i}", "text")) for i in range(3)]
    loop = asyncio.get_running_loop()

    def cancel(sql: str) -> bool:
        if sql == "COMMIT" and not tasks[1].cancelling():
            cancelled = asyncio.run_coroutine_threadsafe(cancel_one(), loop)
            cancelled.result(PATIENCE)
        return False

    async def cancel_one() -> None:
        tasks[1].cancel()

    first, gone, last = await line.leave(*tasks, listener=cancel)
    assert first.fresh
    assert last.fresh
    assert isinstance(gone, asyncio.CancelledError)
    assert (await file_store.begin(ALICE, "s1", "after")).fresh


async def _ended(work: Awaitable[Any]) -> type[BaseException] | None:
    try:
        await work
    except BaseException as error:  # noqa: BLE001 (its kind is what is asked for)
        return type(error)
    return None


async def test_a_database_that_closes_lets_nobody_wait(
    line: Line, file_store: Store, sqlite_file: SqliteDatabase
) -> None:
    waiting = await line.join(_ended(file_store.begin(ALICE, "s1", "text")))
    closing = await line.join(sqlite_file.dispose())
    with contextlib.suppress(RuntimeError):
        while True:  # until it takes nothing more
            sqlite_file._writer.thread.submit(int)
            await asyncio.sleep(0)
    line._opened.set()
    await closing
    assert await waiting is DatabaseUnavailableError
    for late in ("s2", "s3"):
        with pytest.raises(DatabaseUnavailableError, match="closed"):
            await file_store.begin(ALICE, late, "text")
