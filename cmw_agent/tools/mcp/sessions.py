"""Sessions with MCP servers: each user's own, opened when they are needed, and bounded in number."""

import asyncio
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import httpx2
from mcp import Client

from cmw_agent.config.mcp_servers import McpServer
from cmw_agent.core.errors import describe_exception
from cmw_agent.core.events import ToolAccount
from cmw_agent.core.logs import get_logger
from cmw_agent.language import Language
from cmw_agent.tools.approvals import UserQuestions
from cmw_agent.tools.mcp.calls import McpCall, TooManyRoundsError
from cmw_agent.tools.mcp.connection import McpConnection
from cmw_agent.tools.mcp.directory import McpDirectory
from cmw_agent.tools.mcp.failures import FAILURES, NotSignedInError, sentence_of
from cmw_agent.tools.mcp.grants import Grants, GrantStorage, provider_of
from cmw_agent.tools.mcp.listing import Listings, McpListing, McpTool
from cmw_agent.tools.mcp.requests import call_tool, list_tools
from cmw_agent.tools.mcp.results import result_text
from cmw_agent.tools.mcp.session_slots import SessionSlot, SessionSlots, TooManySessionsError
from cmw_agent.tools.mcp.transports import McpTransports
from cmw_agent.tools.toolset import ProgressSink, ToolResult

log = get_logger(__name__)


IDLE_SECONDS = 300.0  # after which an unused session is closed
PROGRAM_IDLE_SECONDS = 60.0  # the same for a program, which takes memory of this machine
LIST_SECONDS = 10.0  # that a turn waits for a server's tools
SHARED = ""  # in place of an owner; no owner's id is empty


class McpSessions:
    """The sessions of one process, by owner and server.

    Args:
        directory: Finds servers.
        transports: Opens streams to them.
        capacity: How many sessions are kept.
        seconds: How long a call may take.
        grants: What users have signed in with; None where no server asks for it.
        idle_seconds: After which an unused session is closed.
        clock: Monotonic clock, in seconds.
    """

    def __init__(
        self,
        directory: McpDirectory,
        transports: McpTransports,
        capacity: int,
        seconds: float,
        grants: Grants | None = None,
        *,
        idle_seconds: float = IDLE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.seconds = seconds
        self._directory = directory
        self._transports = transports
        self._grants = grants
        self._idle_seconds = idle_seconds
        self._clock = clock
        self._slots = SessionSlots(capacity)
        self._listings = Listings()
        self._connections: set[McpConnection] = set()  # all that are not over

    def __len__(self) -> int:
        self._connections = {one for one in self._connections if not one.is_over}
        return len(self._connections)

    async def listings(self, owner: str, agent_id: str) -> list[McpListing]:
        """Return the tools of the servers that an agent may use, as they list them to an owner.

        A server that does not answer contributes what it listed before.

        Args:
            owner: Whose sessions are used.
            agent_id: The agent.

        Raises:
            UserError: The database failed.
            ValueError: The owner is empty.
        """
        servers = await self._directory.servers(_checked(owner), [agent_id])
        return list(await asyncio.gather(*(self._listing(owner, server) for server in servers)))

    async def use(
        self,
        owner: str,
        tool: McpTool,
        arguments: Mapping[str, Any],
        *,
        conversation: str | None,
        questions: UserQuestions | None,
        language: Language,
        progress: ProgressSink | None = None,
    ) -> ToolResult:
        """Call a tool in the owner's session, once; a failure is the result.

        Args:
            owner: Whose session it is.
            tool: One of those that the server lists.
            arguments: By the tool's schema.
            conversation: In which the call runs; None where nothing is stored.
            questions: Asks the owner what the server wants to know; None where nobody can be asked.
            language: The owner's.
            progress: Takes what the server reports of the call; None where nobody reads it.

        Raises:
            ValueError: The owner is empty.
        """
        call = McpCall(tool.server, self.seconds, conversation, questions, language, progress)
        has_oauth = False
        try:
            server = await self._directory.find(_checked(owner), tool.server)
            has_oauth = server.has_oauth
            return await self._use(owner, server, tool, arguments, call)
        except FAILURES as error:
            log.warning("a tool failed", tool=tool.name, cause=type(error).__name__)
            text = sentence_of(error, tool, self.seconds, has_oauth=has_oauth)
            return ToolResult(text, ok=False, account=call.account)
        except TooManyRoundsError:
            text = f"{tool.name} failed: it asks again and again."
            return ToolResult(text, ok=False, account=call.account)

    async def client(self, owner: str, server: McpServer) -> Client:
        """Return the SDK's client in the owner's session with a server.

        Raises:
            NotSignedInError: The owner has not signed in there.
            McpConnectionError: The server cannot be reached.
            TooManySessionsError: There is no room.
            ValueError: The owner is empty.
        """
        return await (await self._connected(owner, server)).client()

    def unusable_tools(self, owner: str, server: McpServer) -> int:
        """Return how many tools of what a server listed last to an owner cannot be used."""
        slot = self._slots.find(_slot_owner(owner, server), server.name)
        return slot.listing.left_out if slot is not None else 0

    def forget(self, owner: str, server: str | None = None) -> None:
        """Close an owner's sessions, with all servers or with one, and forget what was listed."""
        self._slots.forget(_checked(owner), server)

    async def close(self) -> None:
        """Close all sessions."""
        await asyncio.gather(*(connection.close() for connection in self._connections))

    async def _use(
        self,
        owner: str,
        server: McpServer,
        tool: McpTool,
        arguments: Mapping[str, Any],
        call: McpCall,
    ) -> ToolResult:
        async with call.clock:
            connection = await self._connected(owner, server)
            client = await connection.client()
            call.account = ToolAccount(connection.session_id, server.name)
            with connection.calling(call):
                result = await call_tool(client, call, tool.remote_name, arguments)
        return ToolResult(result_text(result), ok=not result.is_error, account=call.account)

    async def _listing(self, owner: str, server: McpServer) -> McpListing:
        try:
            slot = self._slot(owner, server)
        except TooManySessionsError:
            log.warning("no room for a session", server=server.name)
            return McpListing()
        async with slot.lock:
            if not slot.is_fresh(self._clock()):
                await self._list(owner, slot, server)
        return slot.listing

    async def _list(self, owner: str, slot: SessionSlot, server: McpServer) -> None:
        try:
            async with asyncio.timeout(LIST_SECONDS):
                connection = await self._connected(owner, server)
                client = await connection.client()
                connection.has_changed = False  # what changes from here on is listed again
                slot.listing = self._listings.of(server, await list_tools(client))
        except FAILURES as error:
            if not isinstance(error, NotSignedInError):
                cause = describe_exception(error)
                log.warning("a server lists no tools", server=server.name, cause=cause)
            slot.failed_at = self._clock()
            return
        slot.listed_at, slot.failed_at = self._clock(), None

    def _slot(self, owner: str, server: McpServer) -> SessionSlot:
        return self._slots.of(_slot_owner(owner, server), server.name)

    async def _connected(self, owner: str, server: McpServer) -> McpConnection:
        slot = self._slot(owner, server)
        auth = None
        if server.has_oauth:
            # For an open session, too: the owner may have signed out by another replica.
            try:
                auth = await self._auth(owner, server)
            except NotSignedInError:
                if slot.is_open:
                    self._slots.forget(owner, server.name)
                raise
        return slot.connected(partial(self._connect, server, auth))

    async def _auth(self, owner: str, server: McpServer) -> httpx2.Auth:
        """Return what signs an owner's requests.

        Raises:
            NotSignedInError: The owner has not signed in there.
        """
        grant = await self._grants.find(owner, server) if self._grants is not None else None
        if self._grants is None or grant is None:
            raise NotSignedInError
        storage = GrantStorage(self._grants, owner, server, grant, renews=True)
        return provider_of(storage, server.url or "")

    def _connect(self, server: McpServer, auth: httpx2.Auth | None) -> McpConnection:
        streams = self._transports.open(server, auth)
        connection = McpConnection(
            server.name,
            streams,
            self._idle_seconds if server.url is not None else PROGRAM_IDLE_SECONDS,
            asks=not server.is_shared,
        )
        self._connections = {one for one in self._connections if not one.is_over}
        self._connections.add(connection)
        return connection


def _slot_owner(owner: str, server: McpServer) -> str:
    return SHARED if server.is_shared else _checked(owner)


def _checked(owner: str) -> str:
    if not owner:
        raise ValueError("sessions need an owner")
    return owner
