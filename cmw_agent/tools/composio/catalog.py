"""Catalog of Composio's tools, shared by all users.

A tool is fetched and converted once and contains no user data, so that a further user costs a
few references; see ``docs/adr/0011-tools-of-each-user-through-one-client.md``.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from cmw_agent.core.errors import UserError
from cmw_agent.core.logs import get_logger
from cmw_agent.tools.search import ToolIndex

FRESH_SECONDS = 3600.0
RETRY_SECONDS = 30.0
MAX_TOOLS = 1_000  # per toolkit
NAME_CHARS = 64  # OpenAI's limit for the name of a function
DESCRIPTION_CHARS = 1_024
SLUG = re.compile(r"[A-Za-z0-9_-]{1,200}")
READS = "readOnlyHint"
CHANGES = frozenset({"createHint", "updateHint", "destructiveHint"})

Item = Mapping[str, Any]
Fetch = Callable[[str], Awaitable[Iterable[Item]]]

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ConnectedTool:
    """One tool of a toolkit. It is shared by all users and contains no user data.

    Args:
        slug: Composio's name of the tool.
        toolkit: Slug of the toolkit whose account the tool uses.
        description: What the tool does, in words.
        schema: The tool as sent to the model: ``{"type": "function", "function": …}``. Shared by
            all users and therefore never changed.
        changes: Whether the tool may change something outside the app; False only if Composio
            marks it as read-only.
        needs_account: Whether the tool needs an account; False only if Composio says so.
    """

    slug: str
    toolkit: str
    description: str
    schema: Mapping[str, Any]
    changes: bool
    needs_account: bool = True

    @property
    def name(self) -> str:
        """The tool's name for the model: the slug, shortened if it is too long."""
        return str(self.schema["function"]["name"])


@dataclass(slots=True)
class ToolkitCacheEntry:
    """The cached tools of one toolkit.

    Attributes:
        tried: Whether a fetch has ended, with or without success.
        due: Time of the next fetch, on the catalog's clock.
        fetching: The running fetch.
    """

    title: str
    needs_account: bool = True
    tools: tuple[ConnectedTool, ...] = ()
    tried: bool = False
    due: float = float("-inf")
    fetching: asyncio.Task[None] | None = None


class Catalog:
    """Cache of the tools of the configured toolkits. Close it before its event loop ends.

    Callers wait only for the first fetch of a toolkit. Later fetches run in the background while
    the cached tools are served; a failed fetch is repeated after `RETRY_SECONDS`.

    Args:
        fetch: Returns Composio's items for a toolkit; raises `UserError` on failure.
        toolkits: Slugs of the configured toolkits; no others are fetched.
        clock: Monotonic clock, in seconds.
    """

    def __init__(
        self, fetch: Fetch, toolkits: Iterable[str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._entries = {
            slug: ToolkitCacheEntry(slug.replace("_", " ").title()) for slug in toolkits
        }
        self._index: ToolIndex | None = None  # of the tools that are cached

    async def tools(self, toolkits: Sequence[str]) -> tuple[ConnectedTool, ...]:
        """Return the tools of the configured ones of `toolkits`; none if they cannot be fetched."""
        slugs = [slug for slug in dict.fromkeys(toolkits) if slug in self._entries]
        fetches = {slug: self._refresh(slug) for slug in slugs}
        await _finished(task for slug, task in fetches.items() if not self._entries[slug].tried)
        tools = [self._entries[slug].tools for slug in slugs]
        return tools[0] if len(tools) == 1 else sum(tools, ())

    @property
    def index(self) -> ToolIndex:
        """The index of the cached tools."""
        if self._index is None:
            entries = self._entries.values()
            self._index = ToolIndex(tool.schema for entry in entries for tool in entry.tools)
        return self._index

    async def load(self) -> None:
        """Wait until every fetch that is due has succeeded or failed."""
        await _finished([self._refresh(slug) for slug in self._entries])

    def title(self, toolkit: str) -> str:
        """Return the display name of `toolkit`."""
        return self._entries[toolkit].title

    def needs_account(self, toolkit: str) -> bool:
        """Return whether any tool of `toolkit` needs an account; True before the first fetch."""
        return self._entries[toolkit].needs_account

    async def close(self) -> None:
        """Cancel the running fetches."""
        running = [entry.fetching for entry in self._entries.values() if entry.fetching]
        for task in running:
            task.cancel()
        await _finished(running)

    def _refresh(self, slug: str) -> asyncio.Task[None] | None:
        """Start a fetch if one is due; return the running one, or None."""
        entry = self._entries[slug]
        if entry.fetching is None and self._clock() >= entry.due:
            entry.fetching = asyncio.create_task(self._fill(slug, entry), name=f"tools-{slug}")
        return entry.fetching

    async def _fill(self, slug: str, entry: ToolkitCacheEntry) -> None:
        try:
            items = [item for item in await self._fetch(slug) if _is_usable(item)]
            cached = {tool.slug: tool for tool in entry.tools}
            # Unchanged tools stay the same objects: the model caches schemas by object id.
            entry.tools = tuple(
                _reused(cached, connected_tool(item, slug)) for item in _ranked(items)
            )
            self._index = None
            entry.needs_account = not items or not all(item.get("no_auth") for item in items)
            entry.title = next(filter(None, map(_toolkit_name, items)), entry.title)
            entry.due = self._clock() + FRESH_SECONDS
        except UserError as error:
            entry.due = self._clock() + RETRY_SECONDS
            log.warning("tools could not be read", toolkit=slug, error_id=error.error_id)
        finally:
            entry.tried = True
            entry.fetching = None


async def _finished(tasks: Iterable[asyncio.Task[None] | None]) -> None:
    # Unlike awaiting the task, a cancelled `wait` does not cancel it: other callers wait for it.
    if running := [task for task in tasks if task is not None]:
        await asyncio.wait(running)


def connected_tool(item: Item, toolkit: str) -> ConnectedTool:
    """Return the tool that an item of Composio's tool list describes."""
    slug = str(item["slug"])
    description = str(item.get("description") or item.get("name") or slug)[:DESCRIPTION_CHARS]
    parameters = item.get("input_parameters")
    if not isinstance(parameters, dict) or parameters.get("type") != "object":
        parameters = {"type": "object"}
    function = {
        "name": _name(slug),
        "description": description,
        "parameters": {"properties": {}, **parameters},
    }
    schema = {"type": "function", "function": function}
    return ConnectedTool(
        slug,
        toolkit,
        description,
        schema,
        _changes(item.get("tags")),
        needs_account=item.get("no_auth") is not True,
    )


def _changes(tags: object) -> bool:
    hints = {tag for tag in tags if isinstance(tag, str)} if isinstance(tags, list) else set()
    return READS not in hints or bool(hints & CHANGES)


def _name(slug: str) -> str:
    if len(slug) <= NAME_CHARS:
        return slug
    return f"{slug[: NAME_CHARS - 9]}_{sha256(slug.encode()).hexdigest()[:8]}"


def _is_usable(item: Item) -> bool:
    slug = item.get("slug")
    return isinstance(slug, str) and bool(SLUG.fullmatch(slug)) and not item.get("is_deprecated")


def _ranked(items: Sequence[Item]) -> list[Item]:
    # Important tools first: an endpoint takes a limited number of tools.
    first = sorted(items, key=lambda item: "important" not in (item.get("tags") or ()))
    return list({item["slug"]: item for item in first[:MAX_TOOLS]}.values())


def _reused(cached: Mapping[str, ConnectedTool], tool: ConnectedTool) -> ConnectedTool:
    before = cached.get(tool.slug)
    return before if before is not None and before == tool else tool


def _toolkit_name(item: Item) -> str:
    toolkit = item.get("toolkit")
    name = toolkit.get("name") if isinstance(toolkit, dict) else None
    return name[:NAME_CHARS] if isinstance(name, str) and name.isprintable() else ""
