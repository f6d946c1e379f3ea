"""Tombstones of owners who deleted everything: a restore reads them, so that no backup brings one back.

They lie in the data folder and not in the database, which a restore replaces. One says when an owner
was erased, or became part of an account, and names them by a digest under a key of its own: it cannot be
turned into an owner, only compared with those of a database. See
``docs/adr/0072-tombstones-of-erased-owners.md``.
"""

import hmac
import os
import threading
from collections.abc import Collection, Iterable, Iterator
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import orjson

from cmw_agent.identity.secret_key import read_or_create
from memory.engine.database import Database
from memory.engine.permissions import FILE, make_folder
from memory.logins import Logins
from memory.maintenance.owners import owners_of_rows
from memory.manager import ConversationMemoryManager

TOMBSTONES: Final = "erasures.jsonl"
KEY: Final = "erasures.key"


class Tombstones:
    """The tombstones of one data folder; all processes that share the folder add to them.

    The methods block: call them in a thread. Each raises OSError where the disk fails.

    Args:
        folder: The data folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()

    def erased(self, owner: str, at: datetime) -> None:
        """Note, before it is done, that everything of an owner is deleted."""
        self._add({"owner": self._digest(owner), "erased_at": at.isoformat()})

    def moved(self, owner: str, to_owner: str, at: datetime) -> None:
        """Note that what an owner had is another's from now on, and so is erased with theirs."""
        names = {"owner": self._digest(owner), "to": self._digest(to_owner)}
        self._add(names | {"moved_at": at.isoformat()})

    def find(self, owners: Iterable[str], since: datetime) -> list[str]:
        """Return those of these owners whom a backup of that time may hold, and must not."""
        records = list(self._records())
        dead = {record["owner"] for record in records if _is_since(record, "erased_at", since)}
        dead |= {
            record["owner"]
            for record in records
            if _is_since(record, "moved_at", since) and record.get("to") in dead
        }
        if not dead:
            return []
        key = (self._folder / KEY).read_text().strip()  # another one would name nobody
        return [owner for owner in owners if _digest(key, owner) in dead]

    def are_any(self, since: datetime) -> bool:
        """Return whether anybody was erased since then."""
        return any(_is_since(record, "erased_at", since) for record in self._records())

    def _digest(self, owner: str) -> str:
        make_folder(self._folder)  # nothing else may be stored there on PostgreSQL
        return _digest(read_or_create(self._folder / KEY), owner)

    def _add(self, record: dict[str, str]) -> None:
        # The line break before it ends a line that a killed process has not.
        line = b"\n" + orjson.dumps(record) + b"\n"
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
        with self._lock, os.fdopen(os.open(self._folder / TOMBSTONES, flags, FILE), "ab") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())

    def _records(self) -> Iterator[dict[str, Any]]:
        """Yield the tombstones; of a line that was not written to its end nothing was erased."""
        try:
            with (self._folder / TOMBSTONES).open("rb") as file:
                for line in file:
                    try:
                        record = orjson.loads(line)
                    except orjson.JSONDecodeError:
                        continue
                    if isinstance(record, dict) and "owner" in record:
                        yield record
        except FileNotFoundError:
            return


async def erase_again(database: Database, tombstones: Tombstones, since: datetime) -> list[str]:
    """Delete what a database of that time holds of owners who were erased later.

    Their logins go too: some have ended since. What names their agents' threads stays until who
    keeps those has deleted them.

    Args:
        database: The restored database; its tables are migrated.
        tombstones: Say who was erased.
        since: When the backup was begun.

    Returns:
        The owners.

    Raises:
        StoreError: The database fails.
        OSError: The tombstones cannot be read.
    """
    dead: Collection[str] = tombstones.find(await owners_of_rows(database), since)
    memory, logins = ConversationMemoryManager(database), Logins(database)
    for owner in dead:
        await memory.forget(owner)
        await logins.forget(owner)
    return list(dead)


def _digest(key: str, owner: str) -> str:
    return hmac.new(key.encode(), owner.encode(), sha256).hexdigest()


def _is_since(record: dict[str, Any], field: str, since: datetime) -> bool:
    try:
        return datetime.fromisoformat(record[field]) >= since
    except (KeyError, TypeError, ValueError):
        return False
