"""An endpoint that answers each request with given bytes, whether or not they are HTTP."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

WAIT = 10.0  # seconds for clients to go
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"
UNTIL_CLOSED = HEAD + b"connection: close\r\n\r\n"


def framed(*parts: bytes) -> bytes:
    """Return `parts` as chunks of a chunked body, without its end."""
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)


def of_length(length: int, head: bytes = HEAD) -> bytes:
    """Return the head of a response that says that its body has this length."""
    return head + b"content-length: %d\r\n\r\n" % length


def with_length(body: bytes, head: bytes = HEAD) -> bytes:
    """Return a response with its length."""
    return of_length(len(body), head) + body


@dataclass
class RawReply:
    """The answer to one request.

    Attributes:
        parts: Written one after the other; before each but the first, `gate` is awaited.
        then: What becomes of the connection afterwards.
        forever: Written again and again after the parts, until the client goes.
        pause: Seconds between two of these.
    """

    parts: Sequence[bytes]
    then: Literal["close", "hold", "reset"] = "close"
    forever: bytes = b""
    pause: float = 0.0
    gate: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))

    async def write(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Write the answer."""
        for number, part in enumerate(self.parts):
            if number:
                await self.gate.acquire()
            writer.write(part)
            await writer.drain()
        while self.forever and not writer.is_closing():
            writer.write(self.forever)
            await writer.drain()
            await asyncio.sleep(self.pause)
        if self.then == "hold":
            await reader.read()
        if self.then == "reset":
            writer.transport.abort()


class RawEndpoint:
    """Answers the first request with the first reply and so on, and the last one again and again.

    Args:
        replies: The answers.

    Attributes:
        base_url: Its address.
        requests: The bodies of the requests so far.
        tasks: One for each connection.
    """

    def __init__(self, replies: Iterable[RawReply]) -> None:
        self._replies = list(replies)
        self.tasks: set[asyncio.Task[None]] = set()
        self.base_url = ""
        self.requests: list[bytes] = []

    def release(self) -> None:
        """Let each answer go on to its next part."""
        for reply in self._replies:
            reply.gate.release()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection's request."""
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
            self.requests.append(await reader.readexactly(length))
            reply = self._replies[min(len(self.requests), len(self._replies)) - 1]
            await reply.write(reader, writer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def raw_endpoint(*replies: RawReply) -> AsyncIterator[RawEndpoint]:
    """Serve an endpoint with these answers."""
    endpoint = RawEndpoint(replies)
    server = await asyncio.start_server(endpoint.answer, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    endpoint.base_url = f"http://{host}:{port}"
    try:
        yield endpoint
    finally:
        server.close()
        async with asyncio.timeout(WAIT):
            await asyncio.gather(*endpoint.tasks)
