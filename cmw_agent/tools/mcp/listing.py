"""The tools of an MCP server as the model gets them; what a server says of them is bounded."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import orjson

from cmw_agent.config.mcp_servers import McpServer
from cmw_agent.core.logs import get_logger
from cmw_agent.core.sanitize import one_line, sanitize_json
from cmw_agent.tools.search import ToolIndex

if TYPE_CHECKING:
    from mcp_types import Tool

log = get_logger(__name__)

MAX_TOOLS = 1_000  # of one server
MAX_DESCRIPTION = 1_024  # characters of a tool's
MAX_SCHEMA = 20_000  # bytes of a tool's
MAX_NAME = 64  # characters, as models' servers take them
HASH_CHARACTERS = 6
MALFORMED = "cmw-agent/malformed"  # in the `_meta` of a tool: why it is malformed
MAX_CAUSE = 200  # characters of it
MAX_LOGGED = 20  # tools of a listing that are left out and named in the log
UNUSUAL = re.compile(r"[^A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class McpTool:
    """A tool of a server.

    Attributes:
        name: Its name for the model, which begins with the server's.
        remote_name: Its name at the server.
        server: Name of the server.
        changes: Whether it may change something: whatever the server does not mark as read-only.
        schema: Its schema for the model, in OpenAI's form.
    """

    name: str
    remote_name: str
    server: str
    changes: bool
    schema: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True, weakref_slot=True)
class McpListing:
    """The tools of a server, which all users share to whom it lists the same.

    Attributes:
        tools: The tools.
        left_out: How many the server lists beside them that cannot be used.
    """

    tools: tuple[McpTool, ...] = ()
    left_out: int = 0
    _index: list[ToolIndex] = field(default_factory=list, repr=False)

    @property
    def index(self) -> ToolIndex:
        """The index of the tools' words, made when it is first needed."""
        if not self._index:
            self._index.append(ToolIndex(tool.schema for tool in self.tools))
        return self._index[0]


class Listings:
    """Keeps one copy of what servers list, as long as somebody uses it."""

    def __init__(self) -> None:
        self._known: WeakValueDictionary[bytes, McpListing] = WeakValueDictionary()

    def of(self, server: McpServer, listed: Iterable["Tool"]) -> McpListing:
        """Return what a server lists, as many of its tools as are taken."""
        tools, left_out = tools_of(server, listed)
        content: list[Any] = [(tool.changes, tool.remote_name, tool.schema) for tool in tools]
        content.append(left_out)
        digest = hashlib.sha256(server.name.encode() + orjson.dumps(content)).digest()
        return self._known.setdefault(digest, McpListing(tools, left_out))


def tools_of(server: McpServer, listed: Iterable["Tool"]) -> tuple[tuple[McpTool, ...], int]:
    """Return the tools that a server lists, as many as are taken, and how many are left out.

    The log has the cause of each that cannot be used, of the first `MAX_LOGGED`.

    Args:
        server: The server.
        listed: What it lists.
    """
    found: dict[str, McpTool] = {}
    left_out = 0
    for item in filter(lambda item: server.offers(item.name), listed):
        cause = _fault(item)
        if cause and left_out < MAX_LOGGED:
            name = one_line(item.name, MAX_NAME)
            log.warning("a tool is left out", server=server.name, tool=name, cause=cause)
        if cause or len(found) >= MAX_TOOLS:
            left_out += 1
        else:
            tool = _tool(server, item, found)
            found[tool.name] = tool
    if left_out:
        log.warning("tools of a server are left out", server=server.name, count=left_out)
    return tuple(found.values()), left_out


def _fault(item: "Tool") -> str:
    """Return why a tool cannot be used; empty where it can."""
    if item.meta is not None and MALFORMED in item.meta:
        return one_line(str(item.meta[MALFORMED]), MAX_CAUSE)
    if not item.name.strip():
        return "it has no name"
    parameters = item.input_schema
    if sanitize_json(parameters) != parameters:
        return "its schema cannot be sent"
    try:
        is_small = len(orjson.dumps(parameters)) <= MAX_SCHEMA
    except TypeError:
        return "its schema has a number beyond 64 bits"
    if not is_small:
        return f"its schema is larger than {MAX_SCHEMA} bytes"
    if parameters.get("type", "object") != "object":
        return "its schema is of no object"
    return ""


def _tool(server: McpServer, item: "Tool", taken: Mapping[str, McpTool]) -> McpTool:
    parameters = item.input_schema or {"type": "object", "properties": {}}
    name = tool_name(server.name, item.name, taken)
    description = str(sanitize_json(item.description or item.title or ""))
    if len(description) > MAX_DESCRIPTION:
        description = description[:MAX_DESCRIPTION] + " […cut]"
    function = {"name": name, "description": description, "parameters": parameters}
    is_read_only = item.annotations is not None and item.annotations.read_only_hint is True
    schema = {"type": "function", "function": function}
    return McpTool(name, item.name, server.name, not is_read_only, schema)


def tool_name(server: str, tool: str, taken: Iterable[str] = ()) -> str:
    """Return the name of a tool for the model: of the server's and its own, and none of `taken`.

    No server's name has an underscore, so two servers never have tools of the same name.
    """
    name = f"{server}_{UNUSUAL.sub('_', tool)}"
    if len(name) <= MAX_NAME and name not in taken and UNUSUAL.search(tool) is None:
        return name
    digest = hashlib.sha256(tool.encode("utf-8", "surrogatepass")).hexdigest()[:HASH_CHARACTERS]
    return f"{name[: MAX_NAME - HASH_CHARACTERS - 1]}_{digest}"
