"""Opens what the process has of MCP servers: the sessions, and users' accounts there."""

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import httpx2

from cmw_agent.config.mcp_servers import McpServer
from cmw_agent.config.settings import Settings
from cmw_agent.identity.principals import Principal
from cmw_agent.identity.sealing import Sealer
from cmw_agent.identity.tripwire import Tripwire
from cmw_agent.tools.mcp.accounts import McpAccounts
from cmw_agent.tools.mcp.directory import McpDirectory
from cmw_agent.tools.mcp.grants import Grants
from cmw_agent.tools.mcp.offers import McpOffers
from cmw_agent.tools.mcp.sessions import McpSessions
from cmw_agent.tools.mcp.sign_ins import SignIns
from cmw_agent.tools.mcp.transports import McpTransports
from memory.mcp_servers import McpServerStore


def _open_null_device() -> TextIO:
    return Path(os.devnull).open("w")


@dataclass(frozen=True, slots=True)
class McpClients:
    """What the process has of MCP servers.

    Attributes:
        sessions: The sessions.
        accounts: Users' accounts at the servers.
        offers: Their prompts and resources.
        sign_ins: Sign-ins that are not finished.
    """

    sessions: McpSessions
    accounts: McpAccounts
    offers: McpOffers
    sign_ins: SignIns

    async def revoke(self, principal: Principal) -> None:
        """End what a principal has open at servers, and have their tokens revoked there.

        Raises:
            UserError: The database failed.
        """
        self.forget(principal.id)
        if principal.is_stored:
            await self.accounts.revoke(principal)

    def forget(self, owner: str) -> None:
        """End what an owner has open at servers."""
        self.sign_ins.forget(owner)
        self.sessions.forget(owner)


@asynccontextmanager
async def open_clients(
    settings: Settings,
    servers: Sequence[McpServer],
    store: McpServerStore,
    sealer: Sealer,
    tripwire: Tripwire | None = None,
) -> AsyncIterator[McpClients]:
    """Hold the sessions for the block; none is open before it is needed.

    Args:
        settings: As loaded at start.
        servers: The servers.
        store: Stores users' sign-ins.
        sealer: Encrypts what is stored.
        tripwire: Looks at what servers give; None without one.
    """
    # What programs write to their standard error may hold users' words.
    with _open_null_device() as errors:
        transports = McpTransports(httpx2.create_ssl_context(), errors)
        grants = Grants(store, sealer)
        directory = McpDirectory(servers, store if settings.user_mcp == "on" else None)
        sign_ins = SignIns(grants, transports)
        sessions = McpSessions(
            directory, transports, settings.mcp_sessions, settings.tool_timeout, grants
        )
        accounts = McpAccounts(directory, sessions, grants, sign_ins, transports)
        offers = McpOffers(directory, sessions, tripwire)
        try:
            yield McpClients(sessions, accounts, offers, sign_ins)
        finally:
            await sign_ins.close()
            await sessions.close()
