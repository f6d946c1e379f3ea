"""A TCP relay in front of a server: a network that can be cut in three ways, and one that loses replies."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tests.doubles.waiting import WAIT

MAX_CHUNK = 65_536


@dataclass(eq=False)
class Link:
    """One connection through the relay.

    Attributes:
        client: Writes to who has connected.
        server: Writes to the server.
        sent: Whether the client has sent what the relay's `watch` looks for; for that callback.
        is_dead: Nothing passes any more, and neither side is told.
    """

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    sent: bool = False
    is_dead: bool = False

    def abort(self) -> None:
        """Drop both connections."""
        for writer in (self.client, self.server):
            writer.transport.abort()


Watch = Callable[[Link, bytes, bool], None]


@dataclass
class Relay:
    """Forwards connections to one server, and cuts them or loses their replies on request.

    Attributes:
        server: The server's URL.
        url: The relay's own URL.
        watch: Called with each piece that goes through a link, and whether it goes to the server,
            before it is passed on; it may cut the network there.
    """

    server: str
    url: str = ""
    watch: Watch | None = None
    _refuses: bool = False
    _swallows: bool = False
    _loses_replies: bool = False
    _flows: asyncio.Event = field(default_factory=asyncio.Event)
    _links: set[Link] = field(default_factory=set)
    _serving: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._flows.set()

    def cut(self) -> None:
        """Drop all connections, and each new one."""
        self._refuses = True
        self._flows.set()
        for link in list(self._links):
            link.abort()

    def freeze(self) -> None:
        """Keep all connections, and hold back what is sent on them, and on new ones, until `restore`."""
        self._flows.clear()

    def go_dead(self) -> None:
        """Keep all connections, and let nothing through on them, and on new ones, ever again.

        So it is for who goes from one network to another: no side hears that a connection has ended.
        """
        self._swallows = True
        for link in self._links:
            link.is_dead = True

    def end_dead(self) -> None:
        """Drop the connections through which nothing passes any more, as either side does at last."""
        for link in [link for link in self._links if link.is_dead]:
            link.abort()

    def lose_replies(self) -> None:
        """Forward requests, and nothing of what the server sends from now on."""
        self._loses_replies = True

    def restore(self) -> None:
        """Forward new connections again."""
        self._refuses = self._swallows = self._loses_replies = False
        self._flows.set()

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
        if self._refuses:
            writer.transport.abort()
            return
        target = urlsplit(self.server)
        try:
            replies, upstream = await asyncio.open_connection(target.hostname, target.port)
        except OSError:  # the server is down
            writer.transport.abort()
            return
        link = Link(writer, upstream, is_dead=self._swallows)
        self._links.add(link)
        try:
            await asyncio.gather(
                self._forward(link, reader, upstream, is_up=True),
                self._forward(link, replies, writer, is_up=False),
            )
        finally:
            self._links.discard(link)

    async def _forward(
        self, link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_up: bool
    ) -> None:
        try:
            with contextlib.suppress(ConnectionError):
                while data := await reader.read(MAX_CHUNK):
                    if self.watch is not None and self._flows.is_set() and not link.is_dead:
                        self.watch(link, data, is_up)
                    await self._flows.wait()
                    if link.is_dead or (self._loses_replies and not is_up):
                        continue
                    writer.write(data)
                    await writer.drain()
                await self._flows.wait()
        finally:
            # Whoever is at the other end of a dead connection does not learn that it has ended.
            own = link.client if is_up else link.server
            (own if link.is_dead else writer).close()


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
