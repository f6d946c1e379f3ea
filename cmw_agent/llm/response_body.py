"""Adapter of aiohttp's private flow control: reads all bytes of a response that have arrived.

After each piece that is read, aiohttp asks its parser and transport to go on, and a server sends
each token as a piece. With two private fields of aiohttp they are asked once for each read, and
with two more the pieces are joined before they are read, which aiohttp does one by one.
Where a version of aiohttp lacks one of the fields, its own way stays: the same bytes, at a higher
cost.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp

STREAM_FIELD = "_low_water"  # bytes in the stream below which aiohttp reads on by itself
MAX_READ = 1_048_576  # bytes, about
PROTOCOL_FIELD = "_reading_paused"  # whether the stream is full and the parser waits
BUFFER_FIELD = "_buffer"  # the pieces that have arrived
WAIT_FIELD = "_wait"  # the method that waits for more of them


class ResponseBody:
    """The body of one streamed response.

    Args:
        answer: aiohttp's response, whose status line and headers have been read.
    """

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer
        self._content: Any = answer.content
        self._resumes = hasattr(self._content, STREAM_FIELD) and hasattr(
            self._protocol(), PROTOCOL_FIELD
        )
        if self._resumes:
            setattr(self._content, STREAM_FIELD, 0)
        self._buffer: deque[bytes] | None = getattr(self._content, BUFFER_FIELD, None)
        self._wait: Callable[[str], Awaitable[None]] | None = getattr(
            self._content, WAIT_FIELD, None
        )
        self._has_more = False  # the last read ended at `MAX_READ`: the parser may wait for room

    async def read(self) -> bytes:
        """Wait for bytes and return all that have arrived; empty at the end of the response.

        Raises:
            aiohttp.ClientError, OSError: The connection broke, or its time-out passed.
        """
        if self._has_more:
            self._resume()
        try:
            await self._join()
            parts = [await self._content.readany()]
        except RuntimeError as error:
            # aiohttp closed the connection for bytes that are not HTTP, and says no more of it.
            raise aiohttp.ClientPayloadError from error
        size = len(parts[0])
        # Received bytes are parsed as far as there is room for them, and the rest by `_resume`.
        # A few bytes may decompress to very many, which are not read at once.
        while size < MAX_READ and self._resume() and (more := self._content.read_nowait()):
            parts.append(more)
            size += len(more)
        self._has_more = size >= MAX_READ
        return b"".join(parts) if len(parts) > 1 else parts[0]

    async def _join(self) -> None:
        """Wait for bytes, and make one piece of those that have arrived."""
        content, buffer, wait = self._content, self._buffer, self._wait
        if buffer is None or wait is None:
            return
        while not buffer and not content.is_eof() and content.exception() is None:
            await wait("readany")
        if len(buffer) > 1:
            whole = b"".join(buffer)
            buffer.clear()
            buffer.append(whole)

    def rest(self, error: BaseException) -> bytes:
        """Return the bytes that arrived before `error`, which aiohttp would drop."""
        self._content.set_exception(None)
        rest = bytes(self._content.read_nowait())
        self._content.set_exception(error)
        return rest

    def pause(self) -> None:
        """Stop reading from the socket: the kernel buffers bytes without using this process's CPU."""
        if (transport := self._transport()) is not None:
            transport.pause_reading()

    def resume(self) -> None:
        """Continue reading from the socket."""
        if (transport := self._transport()) is not None:
            transport.resume_reading()

    def _resume(self) -> bool:
        """Let a parser that waits for room go on; return False where none waits."""
        protocol = self._protocol()
        if not self._resumes or self._content.exception() is not None or protocol is None:
            return False
        if not getattr(protocol, PROTOCOL_FIELD):
            return False
        protocol.resume_reading()
        return True

    def _transport(self) -> asyncio.ReadTransport | None:
        # Not the protocol's own pause, which stops its parser after each piece of the next read.
        protocol = self._protocol()
        return protocol.transport if protocol is not None else None

    def _protocol(self) -> Any:
        # None for a connection that is gone, or has delivered its whole response.
        connection = self._answer.connection
        protocol = connection.protocol if connection is not None else None
        return protocol if protocol is not None and protocol.is_connected() else None
