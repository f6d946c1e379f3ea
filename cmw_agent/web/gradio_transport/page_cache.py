"""Serves Gradio's page and configuration from a cache.

Gradio renders both anew for every visitor, though nothing in them is personal: they depend on
the address under which the page is reached. Here each is rendered and compressed once for each
address.
"""

import gzip
import re
from collections import OrderedDict
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cmw_agent.web.security.route_allowlist import API

# Neither light nor dark, and asked of nobody.
ICON = (
    b'<link rel="icon" type="image/svg+xml" href="data:image/svg+xml,'
    b"%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'%3E"
    b"%3Cpath fill='%23648cb4' d='M8 4h16a5 5 0 0 1 5 5v10a5 5 0 0 1-5 5h-9l-7 6v-6a5 5 0 0 1-5-5V9"
    b"a5 5 0 0 1 5-5z'/%3E%3Cg fill='%23fff'%3E%3Ccircle cx='10' cy='14' r='2'/%3E"
    b"%3Ccircle cx='16' cy='14' r='2'/%3E%3Ccircle cx='22' cy='14' r='2'/%3E%3C/g%3E%3C/svg%3E\">"
)
HEAD_TAGS = ICON + (
    b'<script src="visitor.js"></script><script src="connection.js"></script>'
    b'<script src="parts.js" defer></script>'
    b'<script src="browser_store.js" defer></script>'
    b'<script src="drafts.js" defer></script><script src="outbox.js" defer></script>'
    b'<script src="order.js" defer></script>'
    b'<script src="imports.js" defer></script><script src="history.js" defer></script>'
    b'<script src="files.js" defer></script>'
    b'<script src="connections.js" defer></script><script src="approvals.js" defer></script>'
    b'<script src="usage.js" defer></script>'
    b'<script src="effort.js" defer></script>'
    b'<script src="shares.js" defer></script>'
    b'<script src="temporary.js" defer></script><script src="switching.js" defer></script>'
    b'<script src="attention.js" defer></script>'
)
BASE_TAG = re.compile(rb"<base [^>]*>")
# Pictures by address are refused to the page: its own, and the manifest's, which browsers fetch.
MANIFEST_TAG = re.compile(rb'<link rel="manifest"[^>]*>')
INFO = f"{API}/info"
CACHED_PATHS = ("/", "/config", INFO)
MAX_ADDRESSES = 32  # in the cache: clients choose the address
HOST = "host"
# From these Gradio would make addresses. A trusted proxy's have become Host and scheme before.
FORWARDED = frozenset({b"x-forwarded-host", b"x-forwarded-proto", b"x-gradio-server"})

Address = tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class _CachedPage:
    body: bytes
    packed: bytes
    content_type: str

    def response(self, *, gzipped: bool) -> Response:
        headers = {"vary": "accept-encoding"}
        if gzipped:
            headers["content-encoding"] = "gzip"
        return Response(
            self.packed if gzipped else self.body, media_type=self.content_type, headers=headers
        )


class Pages:
    """Serves Gradio's files, and page and configuration from memory.

    Args:
        app: Gradio's app.
        head_tags: Further tags for the page's head, below the app's own.
    """

    def __init__(self, app: ASGIApp, head_tags: bytes) -> None:
        self._app = app
        self._head_tags = HEAD_TAGS + head_tags
        self._cache: OrderedDict[Address, _CachedPage] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # No query reaches Gradio: its deep links would show what others have stored.
        # Without a page it would keep the first asker's address in its description for all.
        query = b"page=" if scope["path"] == INFO else b""
        lines = [(name, value) for name, value in scope["headers"] if name not in FORWARDED]
        plain = {**scope, "query_string": query, "headers": lines}
        if scope["path"] not in CACHED_PATHS:
            await self._app(plain, receive, send)
            return
        headers = Headers(scope=scope)
        address = (
            scope["path"],
            scope.get("scheme"),
            scope.get("root_path"),
            headers.get(HOST),
        )
        page = self._cache.get(address)
        if page is None:
            rendered = await self._render(plain, receive)
            if isinstance(rendered, Response):
                await rendered(scope, receive, send)
                return
            page = self._cache[address] = rendered
            while len(self._cache) > MAX_ADDRESSES:
                self._cache.popitem(last=False)
        gzipped = "gzip" in headers.get("accept-encoding", "")
        await page.response(gzipped=gzipped)(scope, receive, send)

    async def _render(self, scope: Scope, receive: Receive) -> _CachedPage | Response:
        # What is not part of the address must not shape what others get from here.
        wanted = [(k, v) for k, v in scope["headers"] if k == HOST.encode()]
        start: Message = {"status": 500, "headers": []}
        body = bytearray()

        async def collect(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
            else:
                body.extend(message.get("body", b""))

        await self._app({**scope, "method": "GET", "headers": wanted}, receive, collect)
        response_headers = Headers(raw=start["headers"])
        if start["status"] != 200:
            return Response(
                bytes(body), start["status"], media_type=response_headers.get("content-type")
            )
        # Gradio adds a custom head only after its own script has begun to fetch.
        page = BASE_TAG.sub(lambda match: match.group() + self._head_tags, bytes(body), count=1)
        page = MANIFEST_TAG.sub(b"", page, count=1)
        return _CachedPage(
            page, gzip.compress(page, 6), response_headers.get("content-type", "text/html")
        )
