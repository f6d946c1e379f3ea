"""The route `/mcp`: streamable HTTP by the SDK's session manager, for holders of keys.

A session belongs to the name of the key that opened it: with another key it is not there.
"""

import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from cmw_agent.channels.common.api_keys import KEY, Keys, must_be_secret
from cmw_agent.channels.common.problems import problem
from cmw_agent.channels.mcp.answering import McpAnswers
from cmw_agent.core.errors import ServiceUnavailableError, UserError
from cmw_agent.language.request_language import request_language

PATH = "/mcp"
METHODS = ("GET", "POST", "DELETE")
IDLE_SECONDS = 600.0
MAX_SESSIONS = 1_000


class McpRoutes:
    """The MCP server of one process.

    Args:
        answers: Lists the agents as tools, and has them answer.
        keys: Those of the settings.
        max_bytes: Of a request.
    """

    def __init__(self, answers: McpAnswers, keys: Keys, max_bytes: int) -> None:
        self._answers = answers
        self._keys = keys
        self._max_bytes = max_bytes
        self._manager: StreamableHTTPSessionManager | None = None

    def register(self, app: FastAPI) -> None:
        """Add the route to the channels' app."""
        app.router.routes.append(Route(PATH, self, methods=list(METHODS)))

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Hold the sessions for the block."""
        server: Server[object] = Server(
            "cmw-agent",
            version="1",
            on_list_tools=self._answers.tools,
            on_call_tool=self._answers.answer,
        )
        manager = StreamableHTTPSessionManager(
            server,
            session_idle_timeout=IDLE_SECONDS,
            max_request_body_size=self._max_bytes,
            max_sessions=MAX_SESSIONS,
        )
        async with manager.run():
            self._manager = manager
            try:
                yield
            finally:
                self._manager = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request of a key's holder (ASGI)."""
        request = Request(scope)
        try:
            if self._manager is None:
                raise ServiceUnavailableError
            key = self._keys.of(request, "agents")
            must_be_secret(key)
        except UserError as error:
            await problem(error, request_language(scope))(scope, receive, send)
            return
        token = AccessToken(token="-", client_id=key.name, scopes=[])  # noqa: S106 (none)
        known = {**scope, KEY: key, "user": AuthenticatedUser(token)}
        await self._manager.handle_request(known, receive, send)
