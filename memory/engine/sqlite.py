"""The database in one SQLite file, for one machine.

Work runs whole in a thread: through an asyncio driver each statement would cross to a thread and
back four times, which costs four times the processor time of the turn's SQL itself.
"""

import asyncio
import contextlib
import os
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.pool import StaticPool

from memory.engine import erasure
from memory.engine.group_commit import WriteQueue
from memory.engine.interface import Database, T, Transaction, Undo, result_of, undo_unseen
from memory.engine.permissions import make_file
from memory.engine.scopes import RowScope
from memory.errors import DatabaseUnavailableError

_READERS = 2


class SqliteDatabase(Database):
    """One file, one writing thread and a few reading ones; in memory, one thread for both.

    Writers of one process queue up instead of colliding, and brief ones share a commit.

    A commit is in the operating system's hands, not yet on the disk (WAL, synchronous=NORMAL): it
    survives the death of the process at any moment; a power cut may lose the last commits, and
    never the file's integrity.
    """

    room_bytes = 16_000_000  # that must be free again before a full disk counts as mended

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
        self.patience_seconds = busy_timeout_ms / 1000  # for which a caller waits for the queue
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

    def has_room(self) -> bool:
        if not self.is_full:
            return True
        folder = Path(str(self.engine.url.database)).parent
        return self._has_files and shutil.disk_usage(folder).free >= self.room_bytes

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
        self, work: Transaction[T], owner: RowScope, undo: Undo[T] | None, *, is_brief: bool
    ) -> T:
        del owner
        try:
            job = self._writer.submit(work, is_brief=is_brief)
        except RuntimeError:
            raise _closed() from None
        return await self._patiently(job.outcome, partial(self._writer.withdraw, job), undo)

    async def _patiently(
        self, outcome: asyncio.Future[T], withdraw: Callable[[], bool], undo: Undo[T] | None
    ) -> T:
        try:
            await asyncio.wait({outcome}, timeout=self.patience_seconds)
        except asyncio.CancelledError:
            if not withdraw():
                await undo_unseen(self, outcome, undo, None)
            raise
        if not outcome.done() and withdraw():
            raise DatabaseUnavailableError("the database is unavailable (its queue does not move)")
        if outcome.cancelled():  # by the database's end, not by its caller
            raise _closed()
        # already running, it ends within SQLite's own busy time-out
        return await result_of(outcome)

    def _reading(self, work: Transaction[T]) -> T:
        with self.engine.connect() as connection:
            return work(connection)


def _closed() -> DatabaseUnavailableError:
    return DatabaseUnavailableError("the database is closed")


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
