"""A web server of another site: serves one page and records its requests."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class OtherSite:
    """The running site; `requests` holds the first line of each request."""

    page: str
    origin: str = ""
    requests: list[str] = field(default_factory=list)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request with the page."""
        first = (await reader.readline()).decode("latin-1").strip()
        if first:
            self.requests.append(first)
        while await reader.readline() not in (b"\r\n", b""):
            pass
        body = self.page.encode()
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/html; charset=utf-8\r\n"
            b"access-control-allow-origin: *\r\nconnection: close\r\n"
            b"content-length: %d\r\n\r\n%b" % (len(body), body)
        )
        await writer.drain()
        writer.close()


@asynccontextmanager
async def other_site(page: str = "") -> AsyncIterator[OtherSite]:
    """Serve `page` for the block, on another host name than the app's: localhost."""
    site = OtherSite(page)
    server = await asyncio.start_server(site.answer, "127.0.0.1", 0)
    site.origin = f"http://localhost:{server.sockets[0].getsockname()[1]}"
    try:
        yield site
    finally:
        server.close()
        await server.wait_closed()
