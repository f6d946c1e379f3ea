"""Requests to an MCP server over an open session: what it lists, and calls of its tools."""

from collections.abc import Mapping
from typing import Any

from mcp import Client
from mcp_types import (
    CallToolRequest,
    CallToolRequestParams,
    CallToolResult,
    InputRequiredResult,
    InputResponses,
    PaginatedRequestParams,
    Tool,
)
from pydantic import TypeAdapter

from cmw_agent.tools.mcp.calls import McpCall
from cmw_agent.tools.mcp.listing import MAX_TOOLS

MAX_PAGES = 100
RESULT: TypeAdapter[CallToolResult | InputRequiredResult] = TypeAdapter(
    CallToolResult | InputRequiredResult
)


async def list_tools(client: Client) -> list[Tool]:
    """Return the tools that a server lists: all pages, up to one more than are taken."""
    found: list[Tool] = []
    cursor: str | None = None
    if client.server_capabilities.tools is None:
        return found
    for _ in range(MAX_PAGES):
        page = await client.session.list_tools(params=PaginatedRequestParams(cursor=cursor))
        found += page.tools
        cursor = page.next_cursor
        if cursor is None or len(found) > MAX_TOOLS:
            break
    return found


async def call_tool(
    client: Client, call: McpCall, name: str, arguments: Mapping[str, Any]
) -> CallToolResult:
    """Call a tool, once, and return its result.

    The SDK's own `call_tool` would also check the result against the server's schema, whose
    patterns can hold up the event loop; nothing here relies on that schema.
    """

    async def send(
        answers: InputResponses | None, state: str | None
    ) -> CallToolResult | InputRequiredResult:
        params = CallToolRequestParams(
            name=name, arguments=dict(arguments), input_responses=answers, request_state=state
        )
        return await client.session.send_request(
            CallToolRequest(params=params), RESULT, progress_callback=call.reports
        )

    return await call.settled(send)
