"""Connections of owners to accounts elsewhere, from the offered link to the account in use."""

from collections.abc import Callable
from datetime import datetime

from memory import connection_rows
from memory.connection_rows import StoredConnection
from memory.engine.database import Database
from memory.engine.scopes import EVERYONE
from memory.records import utcnow
from memory.validation import check_owner, is_id

__all__ = ["ConnectionStore", "StoredConnection"]


class ConnectionStore:
    """The connections of one database.

    Each method may raise DatabaseUnavailableError, those that write DatabaseFullError, and
    ValueError for an empty owner.
    """

    def __init__(self, database: Database, *, clock: Callable[[], datetime] = utcnow) -> None:
        self._database = database
        self._clock = clock

    async def whose(self, connection_id: str) -> str | None:
        """Return the owner to whom a link was offered, by its unguessable id; None without one."""
        if not is_id(connection_id):
            return None
        return await self._database.read(
            lambda connection: connection_rows.whose(connection, connection_id), owner=EVERYONE
        )

    async def offer(
        self, owner: str, connection_id: str, toolkit: str, place: str | None = None
    ) -> None:
        """Store an offered link, which expires after a quarter of an hour."""
        check_owner(owner)
        new = StoredConnection(connection_id, toolkit, place, "offered", None, None, None)
        at = self._clock()
        await self._database.write(
            lambda connection: connection_rows.offer(connection, owner, new, at), owner=owner
        )

    async def find(self, owner: str, connection_id: str) -> StoredConnection | None:
        """Return an owner's open link; None where there is none or it has expired."""
        check_owner(owner)
        now = self._clock()
        return await self._database.read(
            lambda connection: connection_rows.find(connection, owner, connection_id, now),
            owner=owner,
        )

    async def begin(self, owner: str, connection_id: str, browser: str, account_id: str) -> bool:
        """Note the browser and the account of an offered link, once; return whether it was open."""
        check_owner(owner)
        now = self._clock()
        return await self._database.write(
            lambda connection: connection_rows.begin(
                connection, owner, connection_id, browser, account_id, now
            ),
            owner=owner,
        )

    async def await_code(self, owner: str, connection_id: str, code: str) -> bool:
        """Let a begun connection wait for a code of this digest, once; return whether it does."""
        check_owner(owner)
        now = self._clock()
        return await self._database.write(
            lambda connection: connection_rows.await_code(
                connection, owner, connection_id, code, now
            ),
            owner=owner,
        )

    async def finish(self, owner: str, begun: StoredConnection) -> bool:
        """Make a begun connection the only one of its toolkit; return whether it was begun."""
        check_owner(owner)
        now = self._clock()
        return await self._database.write(
            lambda connection: connection_rows.finish(connection, owner, begun, now), owner=owner
        )

    async def confirm(self, owner: str, code: str) -> StoredConnection | None:
        """Make the connection that waits for the code of this digest the owner's; return it."""
        check_owner(owner)
        now = self._clock()
        return await self._database.write(
            lambda connection: connection_rows.confirm(connection, owner, code, now), owner=owner
        )

    async def drop(self, owner: str, connection_id: str) -> bool:
        """Delete an owner's link or connection; return whether there was one."""
        check_owner(owner)
        return await self._database.write(
            lambda connection: connection_rows.drop(connection, owner, connection_id), owner=owner
        )

    async def connected(self, owner: str) -> dict[str, str]:
        """Return the ids of the accounts that an owner has finished connecting, by toolkit."""
        check_owner(owner)
        return await self._database.read(
            lambda connection: connection_rows.connected(connection, owner), owner=owner
        )

    async def waiting(self, owner: str) -> set[str]:
        """Return the toolkits that an owner is about to connect."""
        check_owner(owner)
        now = self._clock()
        return await self._database.read(
            lambda connection: connection_rows.waiting(connection, owner, now), owner=owner
        )

    async def remove(self, owner: str, toolkit: str) -> int:
        """Delete all links and connections of an owner to a toolkit; return how many."""
        check_owner(owner)
        return await self._database.write(
            lambda connection: connection_rows.remove(connection, owner, toolkit), owner=owner
        )
