"""Finds out whether SQLite can lock files in a folder.

Mounted buckets and some network drives take files and no locks: a database there would be lost or
mixed up by two processes, or fail with words that name no cause.
"""

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

NAME: Final = ".lock-test"
OTHER_CAUSES: Final = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)
ENDINGS: Final = ("", "-wal", "-shm", "-journal")


def can_lock(folder: Path, vfs: str = "") -> bool:
    """Return whether a SQLite database in `folder` would be locked as SQLite needs it.

    Two connections write to a small database as the app's do; the second must be kept out while
    the first one writes, and must then see what it has written.

    Args:
        folder: The folder. True also where nothing can be written there at all: that is another
            error, which opening the database tells.
        vfs: SQLite's name of how it reaches files; empty for its own choice.
    """
    path = folder / f"{NAME}-{os.getpid()}"
    address = f"{path.absolute().as_uri()}?{f'vfs={vfs}' if vfs else ''}"
    with _removed(path):
        try:
            return _excludes(address)
        except sqlite3.Error as error:
            return getattr(error, "sqlite_errorcode", 0) & 0xFF in OTHER_CAUSES


def _excludes(address: str) -> bool:
    with (
        contextlib.closing(_connected(address)) as first,
        contextlib.closing(_connected(address)) as second,
    ):
        mode = first.execute("PRAGMA journal_mode=WAL").fetchone()
        first.execute("CREATE TABLE probe (value INTEGER)")
        first.execute("BEGIN IMMEDIATE")
        first.execute("INSERT INTO probe VALUES (1)")
        try:
            second.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            first.execute("COMMIT")
        else:
            return False
        found = second.execute("SELECT value FROM probe").fetchall()
        return mode == ("wal",) and found == [(1,)]


def _connected(address: str) -> sqlite3.Connection:
    return sqlite3.connect(address, isolation_level=None, timeout=0, uri=True)


@contextlib.contextmanager
def _removed(path: Path) -> Iterator[None]:
    try:
        yield
    finally:
        for ending in ENDINGS:
            with contextlib.suppress(OSError):
                path.with_name(path.name + ending).unlink()
