"""Runs the app with MCP servers, and servers as processes."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx2

from cmw_agent.config.mcp_servers import McpServer
from cmw_agent.config.settings import Settings
from cmw_agent.tools.mcp.directory import McpDirectory
from cmw_agent.tools.mcp.sessions import McpSessions
from cmw_agent.tools.mcp.transports import McpTransports
from tests.doubles.openai_server import OpenAIDouble
from tests.harness import WAIT, Served, served, settings_for
from tests.isolation.toolhouse import obedient
from tests.ports import free_port
from tests.programs import NODE, path_of
from tests.rest import KEYS

HERE = Path(__file__).parent
EVERYTHING = HERE / "node/node_modules/@modelcontextprotocol/server-everything/dist/index.js"
OWN_PROGRAM = (sys.executable, "-m", "tests.mcp.sdk_server")


def tables(*servers: Mapping[str, Any]) -> str:
    """Return `[[mcp]]` tables."""
    return "\n".join(
        "[[mcp]]\n" + "\n".join(f"{key} = {_toml(value)}" for key, value in server.items())
        for server in servers
    )


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + "}"
    return "'" + str(value) + "'"


@contextlib.asynccontextmanager
async def app_with_servers(
    folder: Path, *servers: Mapping[str, Any], more: str = "", **changes: Any
) -> AsyncIterator[tuple[Served, OpenAIDouble]]:
    """Serve the app for the block; its model calls the tools that a message names."""
    (folder / "agents.toml").write_text(tables(*servers) + "\n" + more)
    async with OpenAIDouble(scripts={"obedient": obedient}) as endpoint:
        values = {"api_keys": KEYS, "openai_base_url": endpoint.base_url, "model": "obedient"}
        async with served(settings_for(folder, **{**values, **changes})) as app:
            yield app, endpoint


@contextlib.asynccontextmanager
async def sdk_server(transport: str) -> AsyncIterator[str]:
    """Run a server of the SDK, by HTTP or SSE, for the block; yield its address."""
    process = await asyncio.create_subprocess_exec(
        *OWN_PROGRAM, transport, stdout=asyncio.subprocess.PIPE, cwd=HERE.parents[1]
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(WAIT):
            yield (await process.stdout.readline()).decode().strip()
    finally:
        await _end(process)


@contextlib.asynccontextmanager
async def everything() -> AsyncIterator[str]:
    """Run npm's server-everything by HTTP for the block; yield its address."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        str(path_of(NODE)), str(EVERYTHING), "streamableHttp",
        env={**os.environ, "PORT": str(port)},
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        async with asyncio.timeout(WAIT):
            while b"listening" not in await process.stderr.readline():
                assert process.returncode is None
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.communicate()


@contextlib.asynccontextmanager
async def sessions_with(
    settings: Settings, servers: Sequence[McpServer]
) -> AsyncIterator[McpSessions]:
    """Hold sessions with servers at which nobody signs in, for the block."""
    transports = McpTransports(httpx2.create_ssl_context(), sys.stderr)
    sessions = McpSessions(
        McpDirectory(servers, None), transports, settings.mcp_sessions, settings.tool_timeout
    )
    try:
        yield sessions
    finally:
        await sessions.close()


def tools_offered(endpoint: OpenAIDouble) -> dict[str, dict[str, Any]]:
    """Return the tools that the model was offered last, by name."""
    offered = endpoint.requests[-1].body.get("tools") or []
    return {item["function"]["name"]: item["function"] for item in offered}
