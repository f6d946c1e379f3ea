"""What is stored of owners' MCP servers: sealed secrets of their sign-ins, and servers of their own."""

from collections.abc import Callable
from datetime import datetime

from memory import mcp_rows
from memory.engine.database import Database
from memory.mcp_rows import StoredMcpServer
from memory.records import utcnow
from memory.validation import check_owner

__all__ = ["McpServerStore", "StoredMcpServer"]


class McpServerStore:
    """The MCP servers of one database.

    Each method may raise DatabaseUnavailableError, those that write DatabaseFullError, and
    ValueError for an empty owner.
    """

    def __init__(self, database: Database, *, clock: Callable[[], datetime] = utcnow) -> None:
        self._database = database
        self._clock = clock

    async def servers(self, owner: str) -> list[StoredMcpServer]:
        """Return what is stored of an owner's servers, by name."""
        check_owner(owner)
        return await self._database.read(
            lambda connection: mcp_rows.servers(connection, owner), owner=owner
        )

    async def find(self, owner: str, server: str) -> StoredMcpServer | None:
        """Return what is stored of an owner's use of a server; None for nothing."""
        check_owner(owner)
        return await self._database.read(
            lambda connection: mcp_rows.find(connection, owner, server), owner=owner
        )

    async def seal(self, owner: str, server: str, sealed: str) -> None:
        """Store the sealed secrets of an owner's sign-in, in place of earlier ones."""
        check_owner(owner)
        now = self._clock()
        await self._database.write(
            lambda connection: mcp_rows.seal(connection, owner, server, sealed, now), owner=owner
        )

    async def renew(self, owner: str, server: str, sealed: str) -> bool:
        """Replace the sealed secrets of a sign-in; return whether the owner has one."""
        check_owner(owner)
        now = self._clock()
        return await self._database.write(
            lambda connection: mcp_rows.renew(connection, owner, server, sealed, now), owner=owner
        )

    async def add(self, owner: str, server: str, url: str) -> bool:
        """Store a server of an owner's own; return whether name and number allowed it."""
        check_owner(owner)
        now = self._clock()
        return await self._database.write(
            lambda connection: mcp_rows.add(connection, owner, server, url, now), owner=owner
        )

    async def unseal(self, owner: str, server: str) -> bool:
        """Delete the secrets of a sign-in at a server of the owner's own; return whether it is one."""
        check_owner(owner)
        return await self._database.write(
            lambda connection: mcp_rows.unseal(connection, owner, server), owner=owner
        )

    async def drop(self, owner: str, server: str) -> bool:
        """Delete what is stored of an owner's use of a server; return whether there was something."""
        check_owner(owner)
        return await self._database.write(
            lambda connection: mcp_rows.drop(connection, owner, server), owner=owner
        )
