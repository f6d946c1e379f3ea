"""Backups of a SQLite database: copied while the app runs, verified before use, put in place.

For operators; nothing here returns a row. The functions block: call them in a thread.
SQLite's online backup is described at https://sqlite.org/backup.html, what belongs to a database
beside its file at https://sqlite.org/wal.html.
"""

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa
from alembic.util import CommandError

from memory import migrations
from memory.engine.permissions import make_file
from memory.errors import DatabaseTooNewError, DatabaseUnavailableError, StoreError

PATIENCE = 30.0  # seconds to wait for another process's lock
LOG, INDEX = "-wal", "-shm"


class DatabaseDamagedError(StoreError):
    """A file is no database of this program, or is damaged."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"it is damaged, or no database of this program ({reason})")


def sqlite_path(url: str) -> Path | None:
    """Return the path of the SQLite database of a SQLAlchemy URL; None for another database."""
    parsed = sa.make_url(url)
    if parsed.get_backend_name() != "sqlite" or parsed.database in (None, "", ":memory:"):
        return None
    return Path(str(parsed.database))


def copy(source: Path, target: Path) -> str:
    """Copy a database, in use or not, to the new file `target`; return its schema's revision.

    The copy is what was committed at one moment, verified, and a file by itself.

    Raises:
        DatabaseUnavailableError: The source cannot be read or the target cannot be written.
        DatabaseDamagedError: The source is damaged.
        DatabaseTooNewError: A later version of this program made it.
    """
    os.close(make_file(target))
    try:
        with _opened(source, "mode=rw") as here, _opened(target, "mode=rw") as there:
            # All pages in one step, under one read transaction: in WAL mode writers go on, and
            # what they write does not make the copy begin anew.
            here.backup(there)
            there.execute("PRAGMA journal_mode=DELETE")
    except sqlite3.Error as error:
        if _name(error) in ("SQLITE_NOTADB", "SQLITE_CORRUPT"):
            raise DatabaseDamagedError(_name(error)) from None
        raise DatabaseUnavailableError(f"it cannot be copied ({_name(error)})") from None
    return verified_revision(target)


def verified_revision(path: Path) -> str:
    """Verify a copy that nobody uses; return its schema's revision.

    Raises:
        DatabaseDamagedError: It is not whole, or not this program's.
        DatabaseTooNewError: A later version of this program made it.
    """
    try:
        # immutable: nothing may be written beside a backup, which may lie on a read-only disk
        with _opened(path, "immutable=1") as connection:
            report = connection.execute("PRAGMA integrity_check").fetchall()
            if report != [("ok",)]:
                raise DatabaseDamagedError(f"integrity_check: {len(report)} faults")
            rows = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    except sqlite3.Error as error:
        raise DatabaseDamagedError(_name(error)) from None
    if len(rows) != 1:
        raise DatabaseDamagedError("it has no schema revision")
    revision = str(rows[0][0])
    try:
        migrations.load().get_revision(revision)
    except CommandError:
        raise DatabaseTooNewError(revision) from None
    return revision


def put_in_place(draft: Path, place: Path, aside: Path) -> bool:
    """Make the file `draft` the database at `place`; move one that is there to `aside`.

    Returns whether there was one.

    Both lie in one folder, and nobody uses either. Killed at any moment this leaves at `place`
    the old database or the new one, whole, unless the old one is so damaged that its write-ahead
    log cannot be merged into it: then `aside` has it as it was.

    Raises:
        DatabaseUnavailableError: Another program has the old one open.
        OSError: A file cannot be written.
    """
    replaced = place.exists()
    if replaced:
        _merge_log(place)
        linked(place, aside)
    log = _companion(place, LOG)
    if log.exists():
        linked(log, _companion(aside, LOG))
    # A log of the old database would be read into the new one.
    for path in (log, _companion(place, INDEX)):
        path.unlink(missing_ok=True)
    draft.replace(place)
    return replaced


def companion_files(path: Path) -> tuple[Path, Path]:
    """Return the files that SQLite keeps beside a database while it is used."""
    return _companion(path, LOG), _companion(path, INDEX)


def settled(path: Path) -> None:
    """Bring a database that nobody uses any more into its one file.

    Raises:
        DatabaseUnavailableError: Another program has it open.
    """
    _merge_log(path)


def linked(path: Path, other: Path) -> None:
    """Hard-link a file, or copy it where the file system has no links. Raises OSError."""
    try:
        os.link(path, other)
    except FileExistsError:
        raise
    except OSError:
        shutil.copy2(path, other)


def _merge_log(path: Path) -> None:
    """Merge a database's write-ahead log into its file, where SQLite can."""
    try:
        with _opened(path, "mode=rw", patience=1.0) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.execute("PRAGMA journal_mode=DELETE")
    except sqlite3.Error as error:
        # Leaving WAL mode needs the file for oneself. What is damaged goes aside as it is.
        if _name(error).startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            raise DatabaseUnavailableError("another program has it open") from None


def _companion(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


@contextlib.contextmanager
def _opened(path: Path, mode: str, patience: float = PATIENCE) -> Iterator[sqlite3.Connection]:
    # as_uri needs an absolute path, and quotes what a URI gives a meaning to
    address = f"{path.absolute().as_uri()}?{mode}"
    with contextlib.closing(sqlite3.connect(address, uri=True, timeout=patience)) as connection:
        yield connection


def _name(error: sqlite3.Error) -> str:
    return getattr(error, "sqlite_errorname", None) or type(error).__name__
