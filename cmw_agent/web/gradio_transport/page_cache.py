"""Serves Gradio's page and configuration from a cache.

Gradio renders both anew for every visitor, though nothing in them is personal: they depend on
the address under which the page is reached. Here each is rendered and compressed once for each
address, and the page for each look of a public agent and each language.
"""

import gzip
from collections import OrderedDict
from dataclasses import dataclass
from typing import Protocol

from starlette.datastructures import Headers, QueryParams
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cmw_agent.language import Language
from cmw_agent.language.request_language import request_language
from cmw_agent.web.security.route_allowlist import API

INFO = f"{API}/info"
CACHED_PATHS = ("/", "/config", INFO)
MAX_ADDRESSES = 64  # in the cache: clients choose the address
HOST = "host"
# From these Gradio would make addresses. A trusted proxy's have become Host and scheme before.
FORWARDED = frozenset({b"x-forwarded-host", b"x-forwarded-proto", b"x-gradio-server"})

Variant = tuple[str, str]  # the id of a public agent, the tag of a language
NO_VARIANT: Variant = ("", "")  # of what is alike for all
Address = tuple[str | Variant | None, ...]


@dataclass(frozen=True, slots=True)
class _CachedPage:
    body: bytes
    packed: bytes
    content_type: str

    def response(self, *, gzipped: bool) -> Response:
        headers = {"vary": "accept-encoding, accept-language, cookie"}
        if gzipped:
            headers["content-encoding"] = "gzip"
        return Response(
            self.packed if gzipped else self.body, media_type=self.content_type, headers=headers
        )


class Document(Protocol):
    """Makes the page's document of Gradio's, as `cmw_agent.web.page.document` does."""

    def variant(self, agent_id: str | None, language: Language) -> Variant:
        """Return which document an address with this agent gets in a language."""

    def render(self, page: bytes, variant: Variant) -> bytes:
        """Return that document."""


class Pages:
    """Serves Gradio's files, and page and configuration from memory.

    Args:
        app: Gradio's app.
        document: Makes the page's document of Gradio's.
    """

    def __init__(self, app: ASGIApp, document: Document) -> None:
        self._app = app
        self._document = document
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
        variant = NO_VARIANT
        if scope["path"] == "/":
            agent = QueryParams(scope["query_string"]).get("agent")
            variant = self._document.variant(agent, request_language(scope))
        address = (
            variant,
            scope["path"],
            scope.get("scheme"),
            scope.get("root_path"),
            headers.get(HOST),
        )
        page = self._cache.get(address)
        if page is None:
            rendered = await self._render(plain, receive, variant)
            if isinstance(rendered, Response):
                await rendered(scope, receive, send)
                return
            page = self._cache[address] = rendered
            while len(self._cache) > MAX_ADDRESSES:
                self._cache.popitem(last=False)
        gzipped = "gzip" in headers.get("accept-encoding", "")
        await page.response(gzipped=gzipped)(scope, receive, send)

    async def _render(
        self, scope: Scope, receive: Receive, variant: Variant
    ) -> _CachedPage | Response:
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
        page = bytes(body)
        if scope["path"] == "/":
            page = self._document.render(page, variant)
        return _CachedPage(
            page, gzip.compress(page, 6), response_headers.get("content-type", "text/html")
        )
