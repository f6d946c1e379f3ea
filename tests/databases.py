"""A SQLite file as the migrations leave it; they take longer than most tests do."""

import asyncio
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from memory.database import migrate, open_database


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
