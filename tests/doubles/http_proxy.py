"""A forward proxy for plain HTTP: takes requests in absolute form (RFC 9112, section 3.2.2)."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tests.doubles.forwarding import forward
from tests.doubles.waiting import WAIT


@dataclass
class HttpProxy:
    """A proxy that forwards every request to one server, whatever host the request names.

    Attributes:
        server: The server's URL.
        url: The proxy's own URL.
        heads: The head lines of each request.
        serving: The tasks of open connections.
    """

    server: str
    url: str = ""
    heads: list[list[str]] = field(default_factory=list)
    serving: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def requested_urls(self) -> list[str]:
        """The URLs of the requests, in order."""
        return [head[0].split(" ")[1] for head in self.heads]

    def begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a new connection in a task of its own."""
        task = asyncio.create_task(self.serve(reader, writer))
        self.serving.add(task)
        task.add_done_callback(self.serving.discard)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward the first request of a connection, and then its bytes in both directions."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        self.heads.append(head)
        method, address, version = head[0].split(" ")
        head[0] = f"{method} {urlsplit(address).path} {version}"
        target = urlsplit(self.server)
        responses, upstream = await asyncio.open_connection(target.hostname, target.port)
        upstream.write("\r\n".join(head).encode("latin-1"))
        head[0] = f"{method} {address} {version}"
        await asyncio.gather(forward(reader, upstream), forward(responses, writer))


@contextlib.asynccontextmanager
async def http_proxy(server: str) -> AsyncIterator[HttpProxy]:
    """Run a proxy in front of the server at the URL `server` for the block."""
    proxy = HttpProxy(server)
    listening = await asyncio.start_server(proxy.begin, "127.0.0.1", 0)
    proxy.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        listening.close()
        if proxy.serving:
            await asyncio.wait(proxy.serving, timeout=WAIT)
