"""A session with an MCP server: one task opens it, holds it and closes it."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any

from mcp import Client
from mcp.client import ClientRequestContext, IncomingMessage
from mcp.client.subscriptions import SubscriptionLost
from mcp.shared.exceptions import MCPError
from mcp_types import (
    CONNECTION_CLOSED,
    INVALID_REQUEST,
    ElicitRequestParams,
    ElicitResult,
    Implementation,
    PromptListChangedNotification,
    ResourceListChangedNotification,
    ToolListChangedNotification,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from cmw_agent.core.errors import describe_exception
from cmw_agent.core.logs import get_logger
from cmw_agent.tools.mcp.calls import McpCall
from cmw_agent.tools.mcp.malformed_tools import marked_tools

log = get_logger(__name__)

OPEN_SECONDS = 20.0
CLOSE_SECONDS = 5.0
TERMINATED = "Session terminated"  # the SDK's words where a server knows a session no more
CHANGES = (
    ToolListChangedNotification,
    PromptListChangedNotification,
    ResourceListChangedNotification,
)
McpTransportStreams = AbstractAsyncContextManager[Any]


class McpConnectionError(Exception):
    """A server cannot be reached, or its session has ended.

    Args:
        name: The server's.
        was_sent: Whether a request was on its way.
    """

    def __init__(self, name: str, *, was_sent: bool = False) -> None:
        super().__init__(name)
        self.was_sent = was_sent


class McpConnection:
    """One session with a server; its owner's alone, or everybody's where the operator shares it.

    The SDK's cancel scopes must be entered and left by one task, which is the connection's own.
    `session_id` names it in receipts.

    Args:
        name: The server's name, for the log.
        transport: Opens the streams to the server.
        idle_seconds: After which an unused session is closed.
        asks: Whether the server may ask the user; never in a session of several users.
    """

    def __init__(
        self, name: str, transport: McpTransportStreams, idle_seconds: float, *, asks: bool
    ) -> None:
        self.session_id = secrets.token_hex(8)  # the app's own: no server knows it
        self._name = name
        self._transport = transport
        self._idle_seconds = idle_seconds
        self._asks = asks
        self._calls: list[McpCall] = []
        self._closing = asyncio.Event()
        self._opened: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
        self._used_at = time.monotonic()
        self.has_changed = False  # the server says that what it lists has changed
        self._task = asyncio.create_task(self._hold(), name=f"mcp-{name}")

    @property
    def is_open(self) -> bool:
        """Whether the session is open, or about to be."""
        return not self._task.done() and not self._closing.is_set()

    @property
    def is_over(self) -> bool:
        """Whether the session is closed, and nothing of it left."""
        return self._task.done()

    @property
    def is_busy(self) -> bool:
        """Whether calls run in it."""
        return bool(self._calls)

    async def client(self) -> Client:
        """Return the SDK's client, once the session is open.

        Raises:
            McpConnectionError: The server cannot be reached.
        """
        self._used_at = time.monotonic()
        return await asyncio.shield(self._opened)

    @contextmanager
    def calling(self, call: McpCall) -> Iterator[None]:
        """Note a call that runs in the block: what the server asks meanwhile is asked its user.

        Raises:
            McpConnectionError: The session ended.
        """
        self._calls.append(call)
        try:
            yield
        except MCPError as error:
            is_unknown = error.code == INVALID_REQUEST and error.message == TERMINATED
            if is_unknown or error.code == CONNECTION_CLOSED:
                self._closing.set()
                raise McpConnectionError(self._name, was_sent=True) from error
            raise
        finally:
            self._calls.remove(call)
            self._used_at = time.monotonic()

    def end(self) -> None:
        """Have the session closed; calls that run in it fail."""
        self._closing.set()

    async def close(self) -> None:
        """Close the session, and wait until that is done."""
        self.end()
        await asyncio.wait([self._task], timeout=CLOSE_SECONDS)
        if not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task], timeout=CLOSE_SECONDS)

    async def _hold(self) -> None:
        try:
            async with asyncio.timeout(OPEN_SECONDS) as clock:
                async with self._new_client() as client:
                    clock.reschedule(None)
                    self._opened.set_result(client)
                    async with self._watched(client):
                        await self._until_idle()
                    clock.reschedule(asyncio.get_running_loop().time() + CLOSE_SECONDS)
        except Exception as error:  # noqa: BLE001 (whatever a transport raises ends the session alone)
            log.warning("session with a server failed", server=self._name, cause=_cause(error))
        finally:
            self._closing.set()
            if not self._opened.done():
                self._opened.set_exception(McpConnectionError(self._name))
                self._opened.exception()  # it may be that nobody waits for it

    def _new_client(self) -> Client:
        return Client(
            marked_tools(self._transport, self._version),
            cache=None,  # what is kept of a listing is kept with its owner
            client_info=Implementation(name="cmw-agent", version="1"),
            message_handler=self._take,
            elicitation_callback=self._elicit if self._asks else None,
        )

    def _version(self) -> str | None:
        """Return the version of the protocol; None before the session is open."""
        is_open = self._opened.done() and self._opened.exception() is None
        return self._opened.result().protocol_version if is_open else None

    @asynccontextmanager
    async def _watched(self, client: Client) -> AsyncIterator[None]:
        """Hear during the block that what the server lists has changed."""
        watching = asyncio.create_task(self._watch(client), name=f"mcp-watch-{self._name}")
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.wait([watching])

    async def _watch(self, client: Client) -> None:
        if client.protocol_version not in MODERN_PROTOCOL_VERSIONS:
            return  # an older server says it without being asked: see `_take`
        try:
            async with client.listen(
                tools_list_changed=True, prompts_list_changed=True, resources_list_changed=True
            ) as changes:
                async for _ in changes:
                    self.has_changed = True
        except (MCPError, SubscriptionLost, TimeoutError) as error:
            log.info("a server does not say what changes", cause=type(error).__name__)

    async def _until_idle(self) -> None:
        while not self._closing.is_set():
            left = self._used_at + self._idle_seconds - time.monotonic()
            if left <= 0 and not self._calls:
                return
            try:
                async with asyncio.timeout(max(left, self._idle_seconds / 10)):
                    await self._closing.wait()
            except TimeoutError:
                continue

    async def _take(self, message: IncomingMessage) -> None:
        if isinstance(message, CHANGES):
            self.has_changed = True

    async def _elicit(
        self, context: ClientRequestContext, params: ElicitRequestParams
    ) -> ElicitResult:
        """Ask the user of the calls that run; where they are of several conversations, nobody.

        The protocol before 2026-07-28 does not say which call a question belongs to.
        """
        conversations = {call.conversation for call in self._calls}
        if len(conversations) != 1:
            return ElicitResult(action="cancel")
        return await self._calls[-1].elicit(params)


def _cause(error: BaseException) -> str:
    """Return what ended a session, for the log: the innermost failure of the SDK's task groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return describe_exception(error)
