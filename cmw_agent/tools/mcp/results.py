"""Results of MCP servers as text for the model."""

from typing import TYPE_CHECKING

import orjson
from mcp_types import (
    BlobResourceContents,
    EmbeddedResource,
    ResourceLink,
    TextContent,
    TextResourceContents,
)

from cmw_agent.core.sanitize import sanitize_json

if TYPE_CHECKING:
    from mcp_types import CallToolResult, ContentBlock

MAX_RESULT = 20_000  # characters
CUT = " […cut]"


def result_text(result: "CallToolResult") -> str:
    """Return what a tool gave as text of a bounded length."""
    parts = [text for block in result.content if (text := content_text(block))]
    if not parts and result.structured_content is not None:
        parts = [orjson.dumps(result.structured_content, default=str).decode()]
    return cut("\n".join(parts))


def content_text(block: "ContentBlock") -> str:
    """Return a part of a result as text; of what is no text, what it is."""
    if isinstance(block, TextContent):
        return block.text
    if isinstance(block, EmbeddedResource):
        return resource_text(block.resource)
    if isinstance(block, ResourceLink):
        return f"[{block.name}: {block.uri}]"
    return f"[{block.mime_type}, {len(block.data) * 3 // 4} bytes]"


def resource_text(resource: TextResourceContents | BlobResourceContents) -> str:
    """Return the contents of a resource as text; of what is no text, what it is."""
    if isinstance(resource, TextResourceContents):
        return resource.text
    kind = resource.mime_type or "application/octet-stream"
    return f"[{resource.uri}: {kind}, {len(resource.blob) * 3 // 4} bytes]"


def cut(text: str, max_characters: int = MAX_RESULT) -> str:
    """Return a text that can be stored, of at most so many characters."""
    clean = str(sanitize_json(text))
    return clean if len(clean) <= max_characters else clean[: max_characters - len(CUT)] + CUT
