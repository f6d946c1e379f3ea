"""Connections of owners to accounts elsewhere, from the offered link to the account in use."""

from collections.abc import Callable, Collection
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

    async def link_owner(self, connection_id: str) -> str | None:
        """Return the owner to whom a link was offered, by its unguessable id; None without one."""
        if not is_id(connection_id):
            return None
        return await self._database.read(
            lambda connection: connection_rows.link_owner(connection, connection_id), owner=EVERYONE
        )

    async def offer(
        self, owner: str, connection_id: str, toolkit: str, user_id: str, place: str | None = None
    ) -> None:
        """Store an offered link, which expires after a quarter of an hour.

        `user_id` is the user at Composio for whom it is made.
        """
        check_owner(owner)
        new = StoredConnection(connection_id, toolkit, user_id, place, "offered")
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

    async def await_code(
        self, owner: str, connection_id: str, code: str, label: str | None = None
    ) -> bool:
        """Let a begun connection wait for a code of this digest, once; return whether it does."""
        check_owner(owner)
        now = self._clock()
        return await self._database.write(
            lambda connection: connection_rows.await_code(
                connection, owner, connection_id, code, label, now
            ),
            owner=owner,
        )

    async def finish(self, owner: str, begun: StoredConnection, label: str | None = None) -> bool:
        """Make a begun connection the owner's, and the one that is used; return whether it was begun.

        `label` is what the provider calls the account.
        """
        check_owner(owner)
        now = self._clock()
        return await self._database.write(
            lambda connection: connection_rows.finish(connection, owner, begun, label, now),
            owner=owner,
        )

    async def choose(self, owner: str, connection_id: str) -> bool:
        """Use a finished connection from now on; return whether the owner has it."""
        check_owner(owner)
        if not is_id(connection_id):
            return False
        now = self._clock()
        return await self._database.write(
            lambda connection: connection_rows.choose(connection, owner, connection_id, now),
            owner=owner,
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

    async def connected(self, owner: str) -> list[StoredConnection]:
        """Return the connections that an owner has finished, oldest first."""
        check_owner(owner)
        return await self._database.read(
            lambda connection: connection_rows.connected(connection, owner), owner=owner
        )

    async def list_all(self, owner: str) -> list[StoredConnection]:
        """Return all links and connections of an owner, oldest first."""
        check_owner(owner)
        return await self._database.read(
            lambda connection: connection_rows.list_all(connection, owner), owner=owner
        )

    async def named(self, account_ids: Collection[str]) -> set[str]:
        """Return those of the accounts that a link or connection of any owner names."""
        if not account_ids:
            return set()
        return await self._database.read(
            lambda connection: connection_rows.named(connection, account_ids), owner=EVERYONE
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
