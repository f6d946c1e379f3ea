"""The database behind the store: SQLite for one machine, PostgreSQL beyond it.

What reads or writes is a plain function of one `sqlalchemy.Connection`, the same for both. SQLite
runs it whole in a thread: through an asyncio driver each statement would cross to a thread and
back four times, which costs four times the processor time of the turn's SQL itself.
"""

import abc
import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import StaticPool

from memory import migrations
from memory.engine import erasure
from memory.engine.driver_errors import DRIVER_ERRORS, translated
from memory.engine.group_commit import WriteQueue
from memory.engine.permissions import make_file
from memory.engine.scopes import EVERYONE, RowScope, begun_with
from memory.errors import DatabaseUnavailableError, StoreError

T = TypeVar("T")
Transaction = Callable[[sa.Connection], T]
UndoLog = Callable[[T], Transaction[Any]]

_READERS = 2
_MIGRATION_TRIES, _NO_WAIT = 5, 1.0  # seconds
# A turn holds a connection for milliseconds at its beginning and end, so a few serve hundreds; the
# overflow is for peaks. PostgreSQL's own default is 100 connections for all processes together.
_POSTGRES_CONNECTIONS, _POSTGRES_OVERFLOW = 10, 5
# Those who insert the same row at once can meet at an index that ON CONFLICT does not name
# (unique_violation), or wait for each other (deadlock_detected): the next try finds the row.
_MET_ANOTHER, _POSTGRES_TRIES = frozenset({"23505", "40P01"}), 3


class Database(abc.ABC):
    """Runs work against one database. Make it with `open_database`; end it with `dispose`.

    Work that began is always brought to its end, also when the task that asked for it is
    cancelled: no connection is ever handed on with a foreign answer under way in it.
    Work must be repeatable until it is committed, and must not touch the event loop.
    """

    async def read(self, work: Transaction[T], *, owner: RowScope = None) -> T:
        """Run work that changes nothing, on the rows of `owner`. Raises DatabaseUnavailableError.

        On PostgreSQL other rows are out of its reach, whatever its statements say.
        """
        return await self._read(work, owner)

    async def write(
        self,
        work: Transaction[T],
        *,
        owner: RowScope = None,
        undo: UndoLog[T] | None = None,
        is_brief: bool = False,
    ) -> T:
        """Run work on the rows of `owner` in one transaction and commit it.

        An exception rolls it back. On PostgreSQL other rows are out of its reach.

        `undo` makes, of what was committed, the work that takes it back when the caller was
        cancelled and so never learns of it. Work that `is_brief` may share its transaction with
        other such work, and neither learns of the other's exceptions. Raises DatabaseFullError or
        DatabaseUnavailableError.
        """
        return await self._write(work, owner, undo, is_brief=is_brief)

    async def erase(self, seconds: float) -> bool:
        """Remove from the files what deleted rows have left in them, in about `seconds` at most.

        Others read and write meanwhile. False where it is not done: time was too short, another
        caller is at it, or somebody reads; call it again later. Raises DatabaseFullError or
        DatabaseUnavailableError.
        """
        del seconds
        return True

    @abc.abstractmethod
    async def dispose(self) -> None:
        """Wait for running work and close every connection. Afterwards nothing can be run."""

    @abc.abstractmethod
    async def _read(self, work: Transaction[T], owner: RowScope) -> T: ...

    @abc.abstractmethod
    async def _write(
        self, work: Transaction[T], owner: RowScope, undo: UndoLog[T] | None, *, is_brief: bool
    ) -> T: ...


class SqliteDatabase(Database):
    """One file, one writing thread and a few reading ones; in memory, one thread for both.

    Writers of one process so queue up instead of colliding, and brief ones share a commit.

    A commit is in the operating system's hands, not yet on the disk (WAL, synchronous=NORMAL): it
    survives the death of the process at any moment; a power cut may lose the last commits, and
    never the file's integrity.
    """

    def __init__(self, url: sa.URL, *, busy_timeout_ms: int) -> None:
        in_memory = url.database in (None, "", ":memory:")
        pool: dict[str, Any] = (
            {"poolclass": StaticPool}
            if in_memory
            else {"pool_size": _READERS + 1, "max_overflow": 0, "pool_timeout": 1.0}
        )
        self.engine = sa.create_engine(
            url,
            # with None, the driver itself begins nothing: the listener below does
            connect_args={"isolation_level": None, "check_same_thread": False},
            hide_parameters=True,
            **pool,
        )
        self._patience = busy_timeout_ms / 1000
        self._has_files = not in_memory
        self._is_erasing = False
        if not in_memory:
            # SQLite itself would create it as the umask says; log and index take its mode.
            sa.event.listen(self.engine, "do_connect", _Creation(Path(str(url.database))))
        sa.event.listen(self.engine, "connect", _Pragmas(busy_timeout_ms))
        self._writing_engine = self.engine.execution_options(writes=True)
        sa.event.listen(self._writing_engine, "begin", _begin_immediate)
        self._writer = WriteQueue(self._writing_engine)
        self._readers = (
            self._writer.thread
            if in_memory
            else ThreadPoolExecutor(_READERS, thread_name_prefix="memory-read")
        )

    async def erase(self, seconds: float) -> bool:
        if not self._has_files:
            return True
        if self._is_erasing:
            return False
        self._is_erasing = True
        try:
            return await self._merged(seconds) and await self.read(erasure.empty_log)
        finally:
            self._is_erasing = False

    async def _merged(self, seconds: float) -> bool:
        until, is_first = time.monotonic() + seconds, True
        while not await self.write(partial(erasure.merge_index, is_first=is_first)):
            if time.monotonic() > until:
                return False
            is_first = False
        return True

    async def dispose(self) -> None:
        await self._writer.close()
        await asyncio.to_thread(self._readers.shutdown, cancel_futures=True)
        self.engine.dispose()

    async def _read(self, work: Transaction[T], owner: RowScope) -> T:
        del owner  # SQLite has no security by rows
        try:
            job = self._readers.submit(self._reading, work)
        except RuntimeError:
            raise _closed() from None
        outcome = asyncio.wrap_future(job)
        return await self._patiently(outcome, job.cancel, None)

    async def _write(
        self, work: Transaction[T], owner: RowScope, undo: UndoLog[T] | None, *, is_brief: bool
    ) -> T:
        del owner
        try:
            job = self._writer.submit(work, is_brief=is_brief)
        except RuntimeError:
            raise _closed() from None
        return await self._patiently(job.outcome, partial(self._writer.withdraw, job), undo)

    async def _patiently(
        self, outcome: asyncio.Future[T], withdraw: Callable[[], bool], undo: UndoLog[T] | None
    ) -> T:
        try:
            await asyncio.wait({outcome}, timeout=self._patience)
        except asyncio.CancelledError:
            if not withdraw():
                await _take_back(self, outcome, undo, None)
            raise
        if not outcome.done() and withdraw():
            raise DatabaseUnavailableError("the database is unavailable (its queue does not move)")
        if outcome.cancelled():  # by the database's end, not by its caller
            raise _closed()
        # already running, it ends within SQLite's own busy time-out
        return await _result(outcome)

    def _reading(self, work: Transaction[T]) -> T:
        with self.engine.connect() as connection:
            return work(connection)


class PostgresDatabase(Database):
    """A pool of connections to a PostgreSQL server, every wait bounded."""

    def __init__(self, url: sa.URL, *, busy_timeout_ms: int) -> None:
        # The driver is no dependency of those who use SQLite.
        from memory.engine.scoped_connection import ScopedConnection  # noqa: PLC0415

        seconds = busy_timeout_ms / 1000
        self.engine = create_async_engine(
            url,
            connect_args={
                "timeout": seconds,
                "command_timeout": seconds,
                "connection_class": ScopedConnection,
            },
            hide_parameters=True,
            pool_size=_POSTGRES_CONNECTIONS,
            max_overflow=_POSTGRES_OVERFLOW,
            pool_timeout=seconds,
        )

    async def dispose(self) -> None:
        await self.engine.dispose()

    async def _read(self, work: Transaction[T], owner: RowScope) -> T:
        return await self._write(work, owner, None, is_brief=True)

    async def _write(
        self, work: Transaction[T], owner: RowScope, undo: UndoLog[T] | None, *, is_brief: bool
    ) -> T:
        outcome = asyncio.ensure_future(self._transact(work, begun_with(owner)))
        try:
            await asyncio.wait({outcome})
        except asyncio.CancelledError:
            await _take_back(self, outcome, undo, owner)
            raise
        return await _result(outcome)

    async def _transact(self, work: Transaction[T], scope_sql: str) -> T:
        for _ in range(_POSTGRES_TRIES - 1):
            try:
                return await self._attempt(work, scope_sql)
            except sa.exc.DBAPIError as error:
                if getattr(error.orig, "sqlstate", None) not in _MET_ANOTHER:
                    raise
        return await self._attempt(work, scope_sql)

    async def _attempt(self, work: Transaction[T], scope_sql: str) -> T:
        async with self.engine.begin() as connection:
            # SQLAlchemy sends BEGIN with the first statement.
            driver: Any = (await connection.get_raw_connection()).driver_connection
            driver.scope_sql = scope_sql
            return await connection.run_sync(work)


def _closed() -> DatabaseUnavailableError:
    return DatabaseUnavailableError("the database is closed")


async def _result(outcome: asyncio.Future[T]) -> T:
    try:
        return await outcome
    except DRIVER_ERRORS as error:
        raise translated(error) from None


async def _take_back(
    database: Database, outcome: asyncio.Future[T], undo: UndoLog[T] | None, owner: RowScope
) -> None:
    """Wait for the end of work whose caller was cancelled, and undo it where it asks for that.

    What cannot be undone now is left to the lease: the caller is to see its cancellation.
    """
    await asyncio.wait({outcome})
    if not outcome.cancelled() and outcome.exception() is None and undo is not None:
        with contextlib.suppress(StoreError):
            await database.write(undo(outcome.result()), owner=owner)


class _Creation:
    """Creates a database file before the first connection to it, for the app's own account alone.

    A file that is there is not opened: to close it again would drop SQLite's locks on it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def __call__(self, *_of_the_connection: object) -> None:
        # What stands in the way of it SQLite will meet too, and say so.
        with self._lock, contextlib.suppress(OSError):
            os.close(make_file(self._path))


class _Pragmas:
    """Sets up a new SQLite connection."""

    def __init__(self, busy_timeout_ms: int) -> None:
        self._busy_timeout_ms = busy_timeout_ms

    def __call__(self, connection: Any, _record: object) -> None:
        connection.execute(f"PRAGMA busy_timeout={self._busy_timeout_ms:d}")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA foreign_keys=ON")
        # What is deleted is overwritten with zeros; not each build of SQLite does so by itself.
        connection.execute("PRAGMA secure_delete=ON")


def _begin_immediate(connection: sa.Connection) -> None:
    """Take the write lock at once.

    A transaction that reads first and then writes is refused without waiting when another process
    wrote in between.
    """
    driver: Any = connection.connection.driver_connection
    driver.execute("BEGIN IMMEDIATE")


def open_database(url: str, *, busy_timeout_ms: int = 10_000) -> Database:
    """The database that a SQLAlchemy URL names; nothing is opened before its first use.

    `sqlite:///path`, `sqlite:///:memory:` (gone with `dispose`) or `postgresql://…`; the driver
    named in the URL, if any, is replaced by the one used here. `busy_timeout_ms` bounds each wait
    for a lock, a free connection or the server. Raises ValueError for anything else.
    """
    try:
        parsed = sa.make_url(url)
        backend = parsed.get_backend_name()
    except sa.exc.ArgumentError:
        raise ValueError("not a database URL") from None
    if backend == "sqlite":
        return SqliteDatabase(
            parsed.set(drivername="sqlite+pysqlite"), busy_timeout_ms=busy_timeout_ms
        )
    if backend == "postgresql":
        return PostgresDatabase(
            parsed.set(drivername="postgresql+asyncpg"), busy_timeout_ms=busy_timeout_ms
        )
    raise ValueError("the database must be sqlite or postgresql")


async def migrate(database: Database) -> None:
    """Bring the tables to this version's schema; harmless when they are.

    Raises DatabaseTooNewError when a later version made them, DatabaseUnavailableError when the database
    is locked, unreadable or not a database.
    """
    script = await asyncio.to_thread(migrations.load)
    clock = asyncio.get_running_loop().time
    for tries_left in range(_MIGRATION_TRIES - 1, -1, -1):
        began = clock()
        try:
            await database.write(
                lambda connection: migrations.upgrade(connection, script), owner=EVERYONE
            )
        except DatabaseUnavailableError:
            # SQLite does not wait for its lock while the journal's mode is being changed, as
            # happens where several processes meet an empty file. What did wait has failed.
            if not tries_left or clock() - began > _NO_WAIT:
                raise
        else:
            return


async def ping(database: Database) -> None:
    """Return when the tables can be read. Raises DatabaseUnavailableError otherwise."""
    await database.read(_ping)


async def bypasses_row_security(database: Database) -> bool:
    """Whether PostgreSQL lets the app's role read all rows, whatever the policies say.

    It does where the role is a superuser or has BYPASSRLS. False on SQLite, which has no policies.
    Raises DatabaseUnavailableError.
    """
    return await database.read(_bypasses)


def _bypasses(connection: sa.Connection) -> bool:
    if connection.dialect.name != "postgresql":
        return False
    role = "SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user"
    return bool(connection.execute(sa.text(role)).scalar_one())


def _ping(connection: sa.Connection) -> None:
    connection.execute(sa.text("SELECT version_num FROM alembic_version")).all()
