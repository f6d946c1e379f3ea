"""What is common to all users: how Composio is asked, and the tools that it has.

A tool is fetched and converted once and holds nothing of anybody, so that a further user costs
a few references; see ``docs/adr/0011-tools-of-each-user-through-one-client.md``.
"""

import asyncio
import importlib
import logging
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any

import httpx

from cmw_agent.core.bodies import BodyTooLargeError, bounded
from cmw_agent.core.errors import UserError

if TYPE_CHECKING:
    from composio_client import AsyncComposio

SECONDS = 30.0  # one call of Composio, from its beginning to its end
CONNECTIONS = 500  # at once; more calls than that wait for a free one
MAX_BODY = 8 * 1024 * 1024  # bytes of one answer
PAGE = 100  # items; larger pages would hold up the event loop while they are read
MAX_PAGES = 20
FRESH_SECONDS = 3600.0
RETRY_SECONDS = 30.0
MAX_TOOLS = 1_000  # of one toolkit
NAME_CHARS = 64  # what OpenAI's endpoint takes for a function's name
DESCRIPTION_CHARS = 1_024
SLUG = re.compile(r"[A-Za-z0-9_-]{1,200}")
READS = "readOnlyHint"
CHANGES = frozenset({"createHint", "updateHint", "destructiveHint"})

Item = Mapping[str, Any]
Fetch = Callable[[str], Awaitable[Iterable[Item]]]

log = logging.getLogger(__name__)


class ComposioError(Exception):
    """A call of Composio failed.

    Args:
        kind: A fixed word: "timeout", "unreachable", "cut", "too_large", "malformed",
            "unsuccessful", "foreign_link" or "refused".
        status: HTTP's, where there was an answer.
        slug: Composio's own name of the error.
        message: Composio's or the tool's own words.
    """

    def __init__(
        self, kind: str, *, status: int | None = None, slug: str = "", message: str = ""
    ) -> None:
        super().__init__(kind)
        self.kind = kind
        self.status_code = status
        self.slug = slug
        self.message = message

    @property
    def explained(self) -> str:
        """What the model is told; of what may have been done all the same, it says so."""
        if self.kind == "unreachable":
            return "the service could not be reached; nothing was done."
        if self.kind == "unsuccessful":
            return self.message
        if self.status_code in (401, 403):
            return "the service refuses this app; only its operator can change that."
        if self.status_code == 429:
            return "the service takes no more calls right now; nothing was done."
        if self.status_code is not None and 400 <= self.status_code < 500:
            return self.message or f"the service refused it ({self.status_code})."
        return f"no usable answer came ({self.kind}); whether it was done is not known."


class _Bounded(httpx.AsyncByteStream):
    def __init__(self, stream: httpx.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in bounded(self._stream, MAX_BODY):
            yield part

    async def aclose(self) -> None:
        await self._stream.aclose()


async def _bound(response: httpx.Response) -> None:
    if isinstance(response.stream, httpx.AsyncByteStream):
        response.stream = _Bounded(response.stream)


class ComposioClient:
    """Asks Composio through one client for all users.

    Args:
        client: Composio's REST client.
        error: What it raises.
        seconds: How long one call may take.
    """

    def __init__(
        self, client: "AsyncComposio", error: type[Exception], seconds: float = SECONDS
    ) -> None:
        self.client = client
        self._error = error
        self._seconds = seconds

    async def ask(
        self, call: Callable[..., Awaitable[Any]], *path: str, tries: int = 1, **fields: Any
    ) -> Any:
        """Return the JSON that `call`, a raw method of the client, gives.

        Args:
            call: Such as ``client.tools.with_raw_response.list``.
            path: What stands in the call's path.
            tries: How often at most; 1 for whatever changes something.
            fields: Fields of its query or body.

        Raises:
            Failure: No answer came, or one that is an error.
        """
        # Composio answers where it is asked; elsewhere nobody is to get the key.
        options = {"max_retries": tries - 1, "follow_redirects": False}
        try:
            async with asyncio.timeout(self._seconds):
                answer = await call(*path, **fields, request_options=options)
                return await answer.parse(to=object)
        except TimeoutError as error:
            raise ComposioError("timeout") from error
        except BodyTooLargeError as error:
            raise ComposioError("too_large") from error
        except (ValueError, RecursionError) as error:
            raise ComposioError("malformed") from error
        except self._error as error:
            raise _failure(error) from error

    async def pages(
        self, call: Callable[..., Awaitable[Any]], **fields: Any
    ) -> list[dict[str, Any]]:
        """Return the items of all pages of a list, `MAX_PAGES` at most.

        Raises:
            Failure: A page could not be read.
        """
        items: list[dict[str, Any]] = []
        cursor: dict[str, str] = {}
        for _ in range(MAX_PAGES):
            page = await self.ask(call, tries=2, limit=PAGE, **fields, **cursor)
            if not isinstance(page, dict) or not isinstance(page.get("items"), list):
                raise ComposioError("malformed")
            items += [item for item in page["items"] if isinstance(item, dict)]
            if not isinstance(page.get("next_cursor"), str):
                break
            cursor = {"cursor": page["next_cursor"]}
        return items


def _failure(error: Exception) -> ComposioError:
    status = getattr(error, "status_code", None)
    if isinstance(status, int) and status >= 300:
        body = getattr(error, "body", None)
        told = body.get("error") if isinstance(body, dict) else None
        fields = told if isinstance(told, dict) else {}
        slug, message = fields.get("slug"), fields.get("message")
        return ComposioError(
            "refused", status=status, slug=str(slug or ""), message=str(message or "")
        )
    if status is not None:
        return ComposioError("malformed", status=None)
    cause = error.__cause__
    if isinstance(cause, httpx.TimeoutException):
        return ComposioError("timeout")
    return ComposioError("unreachable" if isinstance(cause, httpx.ConnectError) else "cut")


@asynccontextmanager
async def open_wire(base_url: str, key: str, seconds: float) -> AsyncIterator[ComposioClient]:
    """Open the client; see `ComposioClient`. Its import takes seconds, so that a thread does it."""
    composio = await asyncio.to_thread(importlib.import_module, "composio_client")
    http = httpx.AsyncClient(
        # All users share it: a cookie of one would go out with another's request.
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        timeout=seconds,
        limits=httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=20),
        event_hooks={"response": [_bound]},
    )
    async with http:
        client = composio.AsyncComposio(
            auth=composio.ProjectAuth(key), base_url=base_url, http_client=http, timeout=seconds
        )
        yield ComposioClient(client, composio.ComposioError, seconds)


@dataclass(frozen=True, slots=True)
class ConnectedTool:
    """One tool of a toolkit, shared by all users; it holds nothing of anybody.

    Args:
        slug: Composio's name of it.
        toolkit: Slug of the toolkit whose account it uses.
        description: What it does, in words.
        schema: What the model gets, ready to be sent: ``{"type": "function", "function": …}``.
            All users share this one object, so nobody may change it.
        changes: Whether it may change something outside. True unless Composio says that
            it only reads, so also where nothing is known.
        needs_account: Whether it works with an account only. True unless Composio says that
            it does not.
    """

    slug: str
    toolkit: str
    description: str
    schema: Mapping[str, Any]
    changes: bool
    needs_account: bool = True

    @property
    def name(self) -> str:
        """What the model calls it: the slug, or where that is too long a shorter name."""
        return str(self.schema["function"]["name"])


@dataclass(slots=True)
class ToolkitCacheEntry:
    """One toolkit, as far as it is known."""

    title: str
    needs_account: bool = True
    tools: tuple[ConnectedTool, ...] = ()
    tried: bool = False
    due: float = float("-inf")
    fetching: asyncio.Task[None] | None = None


class Catalog:
    """The tools of certain toolkits. Close it with its event loop.

    Only the first fetch of a toolkit is waited for. Later ones go on in the background while
    what was known is served, and a failed one is tried again after `RETRY_SECONDS`.

    Args:
        fetch: Returns Composio's items for a toolkit; raises `UserError` where it cannot.
        toolkits: Slugs of the toolkits there are; no others are ever asked for.
        clock: Seconds that never go back.
    """

    def __init__(
        self, fetch: Fetch, toolkits: Iterable[str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._shelves = {
            slug: ToolkitCacheEntry(slug.replace("_", " ").title()) for slug in toolkits
        }

    async def tools(self, toolkits: Sequence[str]) -> tuple[ConnectedTool, ...]:
        """Return the tools of those `toolkits` that are there; none of one that cannot be read."""
        wanted = [slug for slug in dict.fromkeys(toolkits) if slug in self._shelves]
        begun = {slug: self._due(slug) for slug in wanted}
        await _ended(task for slug, task in begun.items() if not self._shelves[slug].tried)
        found = [self._shelves[slug].tools for slug in wanted]
        return found[0] if len(found) == 1 else sum(found, ())

    async def load(self) -> None:
        """Wait until whatever is due has been fetched, or could not be."""
        await _ended([self._due(slug) for slug in self._shelves])

    def title(self, toolkit: str) -> str:
        """Return what people call `toolkit`."""
        return self._shelves[toolkit].title

    def needs_account(self, toolkit: str) -> bool:
        """Whether a tool of `toolkit` works with an account only; True where nothing is known."""
        return self._shelves[toolkit].needs_account

    async def close(self) -> None:
        """End what is being fetched."""
        running = [shelf.fetching for shelf in self._shelves.values() if shelf.fetching]
        for task in running:
            task.cancel()
        await _ended(running)

    def _due(self, slug: str) -> asyncio.Task[None] | None:
        shelf = self._shelves[slug]
        if shelf.fetching is None and self._clock() >= shelf.due:
            shelf.fetching = asyncio.create_task(self._fill(slug, shelf), name=f"tools-{slug}")
        return shelf.fetching

    async def _fill(self, slug: str, shelf: ToolkitCacheEntry) -> None:
        try:
            items = [item for item in await self._fetch(slug) if _usable(item)]
            known = {tool.slug: tool for tool in shelf.tools}
            # What has not changed stays the same object: others keep things by it.
            shelf.tools = tuple(_same(known, connected_tool(item, slug)) for item in _ranked(items))
            shelf.needs_account = not items or not all(item.get("no_auth") for item in items)
            shelf.title = next(filter(None, map(_toolkit_name, items)), shelf.title)
            shelf.due = self._clock() + FRESH_SECONDS
        except UserError as error:
            shelf.due = self._clock() + RETRY_SECONDS
            log.warning("tools of %s could not be read (error %s)", slug, error.error_id)
        finally:
            shelf.tried = True
            shelf.fetching = None


async def _ended(tasks: Iterable[asyncio.Task[None] | None]) -> None:
    # A caller that is cancelled leaves the task to the others who wait for it.
    if running := [task for task in tasks if task is not None]:
        await asyncio.wait(running)


def connected_tool(item: Item, toolkit: str) -> ConnectedTool:
    """Return the tool that an item of Composio's list describes."""
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
    known = {tag for tag in tags if isinstance(tag, str)} if isinstance(tags, list) else set()
    return READS not in known or bool(known & CHANGES)


def _name(slug: str) -> str:
    if len(slug) <= NAME_CHARS:
        return slug
    return f"{slug[: NAME_CHARS - 9]}_{sha256(slug.encode()).hexdigest()[:8]}"


def _usable(item: Item) -> bool:
    slug = item.get("slug")
    return isinstance(slug, str) and bool(SLUG.fullmatch(slug)) and not item.get("is_deprecated")


def _ranked(items: Sequence[Item]) -> list[Item]:
    # What Composio calls important comes first, for those who can take only some.
    first = sorted(items, key=lambda item: "important" not in (item.get("tags") or ()))
    return list({item["slug"]: item for item in first[:MAX_TOOLS]}.values())


def _same(known: Mapping[str, ConnectedTool], tool: ConnectedTool) -> ConnectedTool:
    before = known.get(tool.slug)
    return before if before is not None and before == tool else tool


def _toolkit_name(item: Item) -> str:
    toolkit = item.get("toolkit")
    name = toolkit.get("name") if isinstance(toolkit, dict) else None
    return name[:NAME_CHARS] if isinstance(name, str) and name.isprintable() else ""
