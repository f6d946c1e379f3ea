"""The MCP servers that each user's agents may use: the operator's, and the user's own."""

from collections.abc import Collection, Sequence
from urllib.parse import urlsplit

from cmw_agent.config.mcp_servers import NAME, McpServer
from cmw_agent.core.errors import InvalidMessageError, NotFoundError, UserError
from cmw_agent.core.public_addresses import may_be_public
from cmw_agent.core.store_errors import mapped_store_errors
from cmw_agent.language import wording
from memory.mcp_rows import MAX_OWN
from memory.mcp_servers import McpServerStore, StoredMcpServer

MAX_URL = 500
WRONG_NAME = wording(
    "A server needs a name of 1 to 24 small letters, digits and -, a letter first."
)
WRONG_ADDRESS = wording(
    "A server needs a public address that begins with https://, without a user name."
)
NAME_TAKEN = wording(
    "There is a server of that name, or you have {count} already, which is as many as one may have.",
    count=MAX_OWN,
)


class ServerNotFoundError(NotFoundError):
    """There is no such server, or it is another's; same answer."""

    sentence = wording("This server was not found.")


class McpDirectory:
    """Finds servers by owner and name.

    Args:
        servers: The operator's.
        store: Stores users' own; None where users may have none.
    """

    def __init__(self, servers: Sequence[McpServer], store: McpServerStore | None) -> None:
        self._servers = {server.name: server for server in servers}
        self._store = store

    @property
    def takes_own(self) -> bool:
        """Whether users may have servers of their own."""
        return self._store is not None

    async def servers(self, owner: str, agents: Collection[str] | None = None) -> list[McpServer]:
        """Return the servers that an owner may use, the operator's first.

        Args:
            owner: The owner.
            agents: Ids of the agents that use them; None for any.

        Raises:
            UserError: The database failed.
        """
        found = [
            server
            for server in self._servers.values()
            if agents is None or any(map(server.serves, agents))
        ]
        return [*found, *await self._own(owner)]

    async def find(self, owner: str, name: str) -> McpServer:
        """Return one of the servers that an owner may use.

        Raises:
            ServerNotFoundError: There is none of that name, or it is another user's.
            UserError: The database failed.
        """
        if name in self._servers:
            return self._servers[name]
        for server in await self._own(owner):
            if server.name == name:
                return server
        raise ServerNotFoundError

    async def add(self, owner: str, name: str, url: str) -> None:
        """Add a server of an owner's own.

        Raises:
            ServerNotFoundError: Users may have none.
            UserError: Name or address cannot be taken, or the database failed.
        """
        if self._store is None:
            raise ServerNotFoundError
        if not NAME.fullmatch(name):
            raise InvalidMessageError(WRONG_NAME)
        _check_address(url)
        with mapped_store_errors():
            is_added = name not in self._servers and await self._store.add(owner, name, url)
        if not is_added:
            raise UserError(NAME_TAKEN, status=409)

    async def remove(self, owner: str, name: str) -> bool:
        """Delete a server of an owner's own, and its secrets; return whether there was one.

        Raises:
            ServerNotFoundError: Users may have none.
            UserError: The database failed.
        """
        if self._store is None or name in self._servers:
            raise ServerNotFoundError
        with mapped_store_errors():
            return await self._store.drop(owner, name)

    async def _own(self, owner: str) -> list[McpServer]:
        if self._store is None:
            return []
        with mapped_store_errors():
            stored = await self._store.servers(owner)
        return [_own_server(one) for one in stored if one.url and one.server not in self._servers]


def _own_server(stored: StoredMcpServer) -> McpServer:
    has_oauth = stored.sealed is not None
    return McpServer(stored.server, stored.url, has_oauth=has_oauth, is_own=True)


def _check_address(url: str) -> None:
    """Check what can be seen of an address; each connection checks where its host leads.

    Raises:
        InvalidMessageError: It is no public https address.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise InvalidMessageError(WRONG_ADDRESS) from None
    is_plain = url.isascii() and url.isprintable() and " " not in url and "@" not in parts.netloc
    is_named = "." in host and not host.endswith((".local", ".internal", ".localhost"))
    is_public = is_named and may_be_public(host)
    if (
        parts.scheme != "https"
        or len(url) > MAX_URL
        or not is_plain
        or not is_public
        or parts.fragment
    ):
        raise InvalidMessageError(WRONG_ADDRESS)
