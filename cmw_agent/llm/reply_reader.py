"""Reads one streamed reply: its bytes in, its merged chunks out, and how it ended."""

import asyncio
from typing import TYPE_CHECKING

from cmw_agent.llm.chunks import Chunk
from cmw_agent.llm.errors import NotAStreamError, StreamCutError, StreamRefusedError, UpstreamError
from cmw_agent.llm.merging import Merger
from cmw_agent.llm.sse import SSEParser, Translate

if TYPE_CHECKING:
    from cmw_agent.llm.coalescing import FlushInterval
    from cmw_agent.llm.http_client import Reply

FULL_READ = 65_536  # bytes; a read of this size has more waiting behind it
SLICE = 65_536  # bytes that are parsed before other tasks have their turn
SECONDS_AFTER_FINISH = 2.0  # in which usage and [DONE] may come


class ReplyReader:
    """Reads one reply; after the first part of the answer, once in each flush interval.

    A reply ends with ``[DONE]``, with its connection, or two seconds after its finish reason.

    Args:
        reply: The reply.
        interval: Time between two reads.
        translate: Turns an event of another interface into chunks.
    """

    def __init__(
        self, reply: "Reply", interval: "FlushInterval", translate: Translate | None = None
    ) -> None:
        self._reply = reply
        self._interval = interval
        self._parser = SSEParser(translate)
        self._merger = Merger()
        self._unread = memoryview(b"")
        self._is_full = False  # the last read had more waiting behind it
        self._is_paused = False
        self._is_over = False
        self._deadline: float | None = None
        self._break: UpstreamError | None = None

    @property
    def has_begun(self) -> bool:
        """Whether a part of the answer has been returned."""
        return self._merger.has_begun

    async def read(self) -> list[Chunk] | None:
        """Return the next chunks; None after the last.

        Raises:
            UpstreamError: The reply failed; all chunks before that have been returned.
        """
        while not self._is_over:
            if self._unread:
                await asyncio.sleep(0)
                data = self._next_slice()
            else:
                data = await self._read()
                self._is_full = len(data) >= FULL_READ
                if len(data) > SLICE:
                    self._unread = memoryview(data)
                    data = self._next_slice()
            chunks = self._parser.feed(data) if data else self._parser.finish()
            merged = self._merger.merge(chunks)
            self._is_over = not data or self._parser.done or self._parser.fault is not None
            if self._is_over:
                merged.extend(self._merger.end())
            elif self._merger.finished:
                self._note_finish(merged)
            if self.has_begun and not (self._is_over or self._is_full):
                # Before the chunks are handed on: bytes that arrive meanwhile join the next read.
                self._reply.pause()
                self._is_paused = True
            if merged:
                return merged
        self._end()
        return None

    def _next_slice(self) -> bytes:
        data, self._unread = bytes(self._unread[:SLICE]), self._unread[SLICE:]
        return data

    async def _read(self) -> bytes:
        """Return all bytes that have arrived; none at the end."""
        if self._is_paused:
            self._is_paused = False
            await self._interval.wait()
            self._reply.resume()
        try:
            if self._deadline is None:
                return await self._reply.read()
            async with asyncio.timeout_at(self._deadline):
                return await self._reply.read()
        except TimeoutError:
            return b""
        except UpstreamError as error:
            self._break = error
            return b""

    def _note_finish(self, merged: list[Chunk]) -> None:
        # Some servers give a finish reason with each chunk.
        if self._deadline is None or any(chunk["choices"] for chunk in merged):
            self._deadline = asyncio.get_running_loop().time() + SECONDS_AFTER_FINISH

    def _end(self) -> None:
        """Raise the error of a reply that did not come to its end."""
        fault = self._parser.fault
        if isinstance(fault, StreamRefusedError):
            raise fault
        if not (self._parser.done or self._merger.finished or self._parser.whole):
            is_junk = self._parser.empty and not self._parser.only_comments
            raise fault or self._break or (NotAStreamError() if is_junk else StreamCutError())
        self._reply.release()
