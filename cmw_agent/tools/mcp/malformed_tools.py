"""Marks the malformed tools in what a server lists: the SDK would refuse the whole listing."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Any

from mcp.shared.message import SessionMessage
from mcp_types import JSONRPCResponse
from mcp_types.methods import parse_server_result
from pydantic import ValidationError

from cmw_agent.core.sanitize import one_line
from cmw_agent.tools.mcp.listing import MALFORMED, MAX_CAUSE, MAX_TOOLS

Version = Callable[[], str | None]


@asynccontextmanager
async def marked_tools(
    transport: AbstractAsyncContextManager[Any], version: Version
) -> AsyncIterator[Any]:
    """Open a transport's streams for the block; malformed tools in what is read are marked.

    Args:
        transport: Opens the streams.
        version: Returns the session's version of the protocol; None before it is settled.
    """
    async with transport as (reading, writing):
        yield MarkedStream(reading, version), writing


class MarkedStream:
    """A server's messages, as the SDK's client reads them.

    Args:
        stream: The transport's own.
        version: Returns the session's version of the protocol; None before it is settled.
    """

    def __init__(self, stream: Any, version: Version) -> None:
        self._stream = stream
        self._version = version

    @property
    def last_context(self) -> Any:
        """The context of whoever sent the last message, which the SDK asks for."""
        return getattr(self._stream, "last_context", None)

    async def receive(self) -> Any:
        """Return the next message."""
        return self._marked(await self._stream.receive())

    async def aclose(self) -> None:
        """Close the stream."""
        await self._stream.aclose()

    def __aiter__(self) -> "MarkedStream":
        return self

    async def __anext__(self) -> Any:
        return self._marked(await anext(self._stream))

    async def __aenter__(self) -> "MarkedStream":
        await self._stream.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> Any:
        return await self._stream.__aexit__(*error)

    def _marked(self, item: Any) -> Any:
        version = self._version()
        if version is None or not isinstance(item, SessionMessage):
            return item
        message = item.message
        if not isinstance(message, JSONRPCResponse) or "tools" not in message.result:
            return item
        result = marked_listing(message.result, version)
        return replace(item, message=message.model_copy(update={"result": result}))


def marked_listing(result: dict[str, Any], version: str) -> dict[str, Any]:
    """Return a server's listing, in which an empty tool stands for each that is malformed.

    The tool has its cause in its `_meta`, as `MALFORMED`.

    Args:
        result: As the server gave it.
        version: The session's version of the protocol.
    """
    tools = result["tools"]
    if not isinstance(tools, list) or not _cause(result, version):
        return result
    marked = []
    for tool in tools[: MAX_TOOLS + 1]:  # one more than are taken
        cause = _cause({**result, "tools": [tool]}, version)
        marked.append(_empty_tool(tool, cause) if cause else tool)
    return {**result, "tools": marked}


def _cause(result: Mapping[str, Any], version: str) -> str:
    """Return what is malformed in a listing, without its values; empty where nothing is."""
    try:
        parse_server_result("tools/list", version, result)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
        field = ".".join(map(str, fault["loc"][2:]))  # behind "tools" and the number
        return one_line(f"{field}: {fault['msg']}" if field else fault["msg"], MAX_CAUSE)
    except (ValueError, KeyError):  # a version that the SDK does not know: it decides itself
        return ""
    return ""


def _empty_tool(tool: Any, cause: str) -> dict[str, Any]:
    name = tool.get("name") if isinstance(tool, dict) else None
    return {
        "name": name if isinstance(name, str) else "",
        "inputSchema": {"type": "object"},
        "_meta": {MALFORMED: cause},
    }
