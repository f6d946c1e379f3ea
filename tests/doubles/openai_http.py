"""HTTP/1.1 for the OpenAI double: requests of one connection one after another, paced writing.

A hand-written parser on an asyncio protocol, because the double also drives benchmarks: a paced
token costs one timer callback and one send, and a lost connection is noticed at once, without a
task that waits for it.
"""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import cast

MAX_HEAD = 64 * 1024
MAX_BODY = 16 * 1024 * 1024
BURST = 64  # frames in one write at most, so that a full socket is noticed in time


class MalformedMessageError(Exception):
    """The bytes received are not an HTTP request that this server supports."""


@dataclass(frozen=True, slots=True)
class Message:
    """One HTTP request; header names are in lower case, repeated headers are joined by a comma."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


def parse(buffer: bytearray) -> Message | None:
    """Remove the first request from `buffer` and return it; None while it is incomplete.

    Raises:
        MalformedMessageError: The request is malformed or too large, or has a chunked body, which
            no client of ours sends.
    """
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        if len(buffer) > MAX_HEAD:
            raise MalformedMessageError("head too large")
        return None
    start, *lines = buffer[:end].decode("latin-1").split("\r\n")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise MalformedMessageError("header without a colon")
        key, value = name.strip().lower(), value.strip()
        headers[key] = f"{headers[key]}, {value}" if key in headers else value
    length = headers.get("content-length", "0")
    if "transfer-encoding" in headers or not length.isdecimal() or int(length) > MAX_BODY:
        raise MalformedMessageError("body not readable")
    total = end + 4 + int(length)
    if len(buffer) < total:
        return None
    words = start.split(" ")
    if len(words) != 3:
        raise MalformedMessageError("request line")
    body = bytes(buffer[end + 4 : total])
    del buffer[:total]
    return Message(words[0], words[1].partition("?")[0], headers, body)


Handler = Callable[["Connection", Message], asyncio.Task[bool]]
"""Called at once when a request is complete; returns the task that answers it."""


class Connection(asyncio.Protocol):
    """One client's connection. It owns the task that answers the current request.

    `lost` becomes true when the client goes away; the task is then cancelled.
    """

    def __init__(self, handler: Handler, connections: set["Connection"]) -> None:
        self._handler = handler
        self._connections = connections
        self._buffer = bytearray()
        self._room: asyncio.Future[None] | None = None
        self._transport: asyncio.Transport | None = None
        self.task: asyncio.Task[bool] | None = None
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self.task is None:
            self._next()

    def _next(self) -> None:
        try:
            message = parse(self._buffer)
        except MalformedMessageError:
            self.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
            self.drop()
            return
        if message is not None:
            self.task = self._handler(self, message)
            self.task.add_done_callback(self._answered)

    def _answered(self, _: asyncio.Task[bool]) -> None:
        self.task = None
        if self._transport and not self._transport.is_closing():
            self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self._connections.discard(self)
        self.resume_writing()
        if self.task:
            self.task.cancel()

    def pause_writing(self) -> None:
        self._room = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        if self._room and not self._room.done():
            self._room.set_result(None)
        self._room = None

    def write(self, data: bytes) -> None:
        """Send `data`; nothing happens once the connection is closing."""
        if self._transport and not self._transport.is_closing():
            self._transport.write(data)

    def drop(self) -> None:
        """Close the connection after what was written; the client sees the stream end early."""
        if self._transport:
            self._transport.close()

    def abort(self) -> None:
        """Close the connection now; what was not sent is lost."""
        if self._transport:
            self._transport.abort()

    async def burst(self, frames: Iterator[bytes], sent: Callable[[int], None]) -> None:
        """Write `frames` as fast as the client reads; `sent` is told how many went out."""
        while batch := list(islice(frames, BURST)):
            self.write(b"".join(batch))
            sent(len(batch))
            if self._room:
                await asyncio.shield(self._room)
            await asyncio.sleep(0)

    async def paced(
        self, frames: Iterator[bytes], rate: float, sent: Callable[[int], None]
    ) -> None:
        """Write `rate` frames a second, the first at once.

        The pace is kept on the whole: what a busy loop or a slow reader delayed follows at once.
        It runs on timer callbacks, because waking a task for each token costs more than the
        token.
        """
        loop = asyncio.get_running_loop()
        finished: asyncio.Future[None] = loop.create_future()
        interval = 1.0 / rate
        start, count = loop.time(), 0
        timer: asyncio.Handle

        def tick() -> None:
            nonlocal count, timer
            now = loop.time()
            if self._room:  # the client reads too slowly: look again one token later
                timer = loop.call_at(now + interval, tick)
                return
            due = int((now - start) / interval) + 1 - count
            batch = list(islice(frames, min(max(due, 1), BURST)))
            if not batch:
                if not finished.done():
                    finished.set_result(None)
                return
            self.write(batch[0] if len(batch) == 1 else b"".join(batch))
            count += len(batch)
            sent(len(batch))
            timer = loop.call_at(start + count * interval, tick)

        timer = loop.call_soon(tick)
        try:
            await finished
        finally:
            timer.cancel()
