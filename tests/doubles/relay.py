"""A TCP relay in front of a server: a network that can be cut, and one that loses replies."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tests.doubles.forwarding import forward
from tests.doubles.waiting import WAIT


@dataclass
class Relay:
    """Forwards connections to one server, and cuts them or loses their replies on request.

    Attributes:
        server: The server's URL.
        url: The relay's own URL.
    """

    server: str
    url: str = ""
    _is_cut: bool = False
    _loses_replies: bool = False
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _serving: set[asyncio.Task[None]] = field(default_factory=set)

    def cut(self) -> None:
        """Drop all connections, and each new one."""
        self._is_cut = True
        for writer in list(self._writers):
            writer.transport.abort()

    def lose_replies(self) -> None:
        """Forward requests, and nothing of what the server sends from now on."""
        self._loses_replies = True

    def restore(self) -> None:
        """Forward new connections again."""
        self._is_cut = self._loses_replies = False

    def begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a new connection in a task of its own."""
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def close(self) -> None:
        """Drop all connections and wait until each is closed."""
        self.cut()
        if self._serving:
            await asyncio.wait(self._serving, timeout=WAIT)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            writer.transport.abort()
            return
        target = urlsplit(self.server)
        try:
            replies, upstream = await asyncio.open_connection(target.hostname, target.port)
        except OSError:  # the server is down
            writer.transport.abort()
            return
        both = {writer, upstream}
        self._writers |= both
        try:
            await asyncio.gather(
                forward(reader, upstream),
                forward(replies, writer, lambda: not self._loses_replies),
            )
        finally:
            self._writers -= both


@contextlib.asynccontextmanager
async def relay(server: str) -> AsyncIterator[Relay]:
    """Run a relay in front of the server at the URL `server` for the block."""
    running = Relay(server)
    listening = await asyncio.start_server(running.begin, "127.0.0.1", 0)
    running.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    try:
        yield running
    finally:
        listening.close()
        await running.close()
