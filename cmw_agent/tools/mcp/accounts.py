"""Users' accounts at MCP servers, for the panel of connections: how each stands, sign-in, sign-out."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass

import httpx2

from cmw_agent.config.mcp_servers import McpServer
from cmw_agent.core.errors import NotFoundError
from cmw_agent.core.logs import get_logger
from cmw_agent.identity.principals import Principal
from cmw_agent.tools.mcp.directory import McpDirectory, ServerNotFoundError
from cmw_agent.tools.mcp.grants import Grant, Grants
from cmw_agent.tools.mcp.sessions import McpSessions
from cmw_agent.tools.mcp.sign_ins import SignIns
from cmw_agent.tools.mcp.transports import McpTransports

log = get_logger(__name__)

PREFIX = "mcp:"  # of a server among the toolkits; no toolkit's slug has a colon
REVOKE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class McpAccount:
    """How a server stands for a user.

    Attributes:
        slug: Names the server in requests of the panel.
        name: Its name.
        state: "connected", "expired" or "none".
        needs_account: Whether users sign in there.
        is_shared: Whether all users share one session.
        is_own: Whether the user has added it.
        left_out: How many tools of what it listed last cannot be used.
    """

    slug: str
    name: str
    state: str
    needs_account: bool
    is_shared: bool
    is_own: bool = False
    left_out: int = 0


class McpAccounts:
    """The accounts of all users at MCP servers.

    Args:
        directory: Finds servers.
        sessions: The sessions, which end with the account's use.
        grants: What users have signed in with.
        sign_ins: The sign-ins that are not finished.
        transports: Opens connections to servers.
    """

    def __init__(
        self,
        directory: McpDirectory,
        sessions: McpSessions,
        grants: Grants,
        sign_ins: SignIns,
        transports: McpTransports,
    ) -> None:
        self._directory = directory
        self._sessions = sessions
        self._grants = grants
        self._sign_ins = sign_ins
        self._transports = transports

    async def accounts(self, principal: Principal) -> list[McpAccount]:
        """Return how each server stands for a principal.

        Raises:
            UserError: The database failed.
        """
        return [
            McpAccount(
                f"{PREFIX}{server.name}",
                server.name,
                await self._state(principal, server) if server.has_oauth else "none",
                server.has_oauth or server.is_own,
                server.is_shared,
                server.is_own,
                self._sessions.unusable_tools(principal.id, server),
            )
            for server in await self._directory.servers(principal.id)
        ]

    @property
    def takes_own(self) -> bool:
        """Whether users may add servers of their own."""
        return self._directory.takes_own

    async def add(self, principal: Principal, name: str, url: str) -> None:
        """Add a server of a principal's own.

        Raises:
            ServerNotFoundError: Users may have none, or nothing of the principal is kept.
            UserError: Name or address cannot be taken, or the database failed.
        """
        if not principal.is_stored:
            raise ServerNotFoundError
        await self._directory.add(principal.id, name, url)

    async def remove(self, principal: Principal, name: str) -> bool:
        """Delete a server of a principal's own; return whether there was one.

        Raises:
            ServerNotFoundError: Users may have none, or nothing of the principal is kept.
            UserError: The database failed.
        """
        if not principal.is_stored:
            raise ServerNotFoundError
        was_there = await self._directory.remove(principal.id, name)
        self._sessions.forget(principal.id, name)
        return was_there

    async def link(self, principal: Principal, slug: str, redirect_uri: str) -> str:
        """Return the address at which a principal signs in at a server.

        Raises:
            ServerNotFoundError: There is no such server, or nothing of the principal is kept.
            UserError: The server offers no sign-in.
        """
        server = await self._server(principal, slug)
        return await self._sign_ins.begin(principal.id, server, redirect_uri)

    async def finish(self, principal: Principal, query: Mapping[str, str]) -> str:
        """Take the browser that comes back from signing in; return the server's name.

        Raises:
            NotFoundError: No sign-in of this principal waits for it.
            UserError: The sign-in failed.
        """
        if not principal.is_stored:
            raise NotFoundError
        server = await self._sign_ins.finish(principal.id, query)
        self._sessions.forget(principal.id, server.name)
        return server.name

    async def disconnect(self, principal: Principal, slug: str) -> bool:
        """Sign a principal out of a server; return whether they were signed in.

        Raises:
            ServerNotFoundError: There is no such server, or nothing of the principal is kept.
            UserError: The database failed.
        """
        server = await self._server(principal, slug)
        grant = await self._grants.find(principal.id, server)
        self._sessions.forget(principal.id, server.name)
        was_there = await self._grants.drop(principal.id, server)
        if grant is not None:
            await self._revoke(server, grant)
        return was_there

    async def revoke(self, principal: Principal) -> None:
        """Have the tokens of all sign-ins of a principal revoked, where the servers answer.

        Raises:
            UserError: The database failed.
        """
        revocations = [
            self._revoke(server, grant)
            for server in await self._directory.servers(principal.id)
            if server.has_oauth and (grant := await self._grants.find(principal.id, server))
        ]
        await asyncio.gather(*revocations)

    async def _server(self, principal: Principal, slug: str) -> McpServer:
        if not principal.is_stored:
            raise ServerNotFoundError
        server = await self._directory.find(principal.id, slug.removeprefix(PREFIX))
        if not server.has_oauth and not server.is_own:
            raise ServerNotFoundError
        return server

    async def _state(self, principal: Principal, server: McpServer) -> str:
        grant = await self._grants.find(principal.id, server)
        if grant is None or grant.tokens is None:
            return "none"
        has_ended = grant.expires_at is not None and grant.expires_at < time.time()
        return "expired" if has_ended and not grant.tokens.refresh_token else "connected"

    async def _revoke(self, server: McpServer, grant: Grant) -> None:
        """Have the authorization server revoke the tokens (RFC 7009), if it can and answers."""
        endpoint = grant.server.revocation_endpoint if grant.server is not None else None
        if endpoint is None or grant.tokens is None:
            return
        token = grant.tokens.refresh_token or grant.tokens.access_token
        form = {"token": token}
        if grant.client is not None and grant.client.client_id:
            form["client_id"] = grant.client.client_id
        try:
            async with (
                asyncio.timeout(REVOKE_SECONDS),
                self._transports.client(server, None) as client,
            ):
                await client.post(str(endpoint), data=form)
        except (httpx2.HTTPError, httpx2.StreamError, TimeoutError) as error:
            log.warning("tokens were not revoked", server=server.name, cause=type(error).__name__)
