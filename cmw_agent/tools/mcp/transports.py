"""Opens the streams to an MCP server: streamable HTTP, SSE, or a program's input and output."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TextIO

import httpx2
from mcp import StdioServerParameters
from mcp.client.sse import sse_client
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client

from cmw_agent.config.mcp_servers import McpServer
from cmw_agent.tools.http_transport import (
    CONNECT_SECONDS,
    MAX_BODY,
    GuardedTransport,
    new_client,
)

SILENCE_SECONDS = 3600.0  # of a stream; calls have a time-out of their own


@dataclass(frozen=True, slots=True)
class McpTransports:
    """Opens streams. One object serves the process.

    Attributes:
        context: Checks certificates.
        errors: Takes what programs write to their standard error.
    """

    context: ssl.SSLContext
    errors: TextIO

    @asynccontextmanager
    async def open(self, server: McpServer, auth: httpx2.Auth | None = None) -> AsyncIterator[Any]:
        """Open the streams to a server for the block, as the SDK's client reads and writes them.

        Args:
            server: The server.
            auth: Signs the requests of one user.
        """
        if server.url is None:
            program, *arguments = server.command
            parameters = StdioServerParameters(
                command=program, args=arguments, env=dict(server.env)
            )
            async with stdio_client(parameters, errlog=self.errors) as streams:
                yield streams
        elif server.transport == "sse":
            async with self._sse(server, server.url, auth) as streams:
                yield streams
        else:
            client = self.client(server, auth)
            async with (
                client,
                streamable_http_client(
                    server.url, http_client=client, max_sse_event_size=MAX_BODY
                ) as streams,
            ):
                yield streams

    def _sse(self, server: McpServer, url: str, auth: httpx2.Auth | None) -> Any:
        def factory(
            headers: dict[str, str] | None = None,
            timeout: httpx2.Timeout | None = None,
            auth: httpx2.Auth | None = None,
        ) -> httpx2.AsyncClient:
            return self.client(server, auth)

        return sse_client(
            url,
            timeout=CONNECT_SECONDS,
            sse_read_timeout=SILENCE_SECONDS,
            httpx_client_factory=factory,
            auth=auth,
        )

    def client(self, server: McpServer, auth: httpx2.Auth | None) -> httpx2.AsyncClient:
        """Return an HTTP client for a server, whose requests `auth` signs."""
        transport = GuardedTransport(self.context, server.trusted_host)
        return new_client(transport, dict(server.headers), SILENCE_SECONDS, auth)
