"""A file lock that says whether this process is the only one that uses a database file.

After a crash the turns of the dead process stand as running until their leases run out.
A process that knows itself alone may end them at once, and nobody waits. The system
drops a lock with its process, however that ended, so what a lock says is never stale.
"""

import asyncio
import contextlib
import os
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

import sqlalchemy as sa

PAUSE = 0.05
SLOTS = 64  # processes that Windows can tell apart


def sole_use(url: str) -> "FileLock":
    """Return the lock of the database that a SQLAlchemy URL names.

    It stands beside a SQLite file. Users of a server are never alone.
    """
    parsed = sa.make_url(url)
    if parsed.get_backend_name() != "sqlite" or parsed.database in (None, "", ":memory:"):
        return FileLock(None)
    return FileLock(Path(f"{parsed.database}.lock"))


class FileLock:
    """A claim on `path`, held from entering the context until leaving it.

    `alone` is whether no other process held a claim on entering. Until `share` is called
    nobody else can be alone or share; call it as soon as what needs solitude is done.
    Where there is no file, or it cannot be made or locked, nobody is ever alone.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file: int | None = None
        self.alone = False

    @property
    def is_known(self) -> bool:
        """Whether `alone` is known: the lock file could be opened."""
        return self._file is not None

    def __enter__(self) -> Self:
        if self._path is None:
            return self
        with contextlib.suppress(OSError):
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            self.alone = _take(self._file, alone=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    async def share(self, within: float = 10.0) -> None:
        """Let other processes in, and keep being seen by them.

        Raises:
            TimeoutError: Another process stayed alone for `within` seconds; it should
                only while it starts.
        """
        if self._file is None:
            return
        self.alone = False
        async with asyncio.timeout(within):
            while not _take(self._file, alone=False):  # noqa: ASYNC110 (no event tells of it)
                await asyncio.sleep(PAUSE)


if sys.platform == "win32":
    import msvcrt

    def _take(file: int, *, alone: bool) -> bool:
        # Windows locks ranges of bytes, each for one process: whoever is alone holds all of
        # them, whoever shares holds one.
        _lock(file, msvcrt.LK_UNLCK, 0, SLOTS)
        if alone:
            return _lock(file, msvcrt.LK_NBLCK, 0, SLOTS)
        return any(_lock(file, msvcrt.LK_NBLCK, slot, 1) for slot in range(SLOTS))

    def _lock(file: int, mode: int, start: int, length: int) -> bool:
        os.lseek(file, start, os.SEEK_SET)
        try:
            msvcrt.locking(file, mode, length)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _take(file: int, *, alone: bool) -> bool:
        try:
            fcntl.flock(file, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except OSError:
            return False
        return True
