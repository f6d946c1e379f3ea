"""Coalesces the model's stream at its source.

Every layer above (LangChain, LangGraph, Gradio, the browser) costs a fixed amount of
CPU per chunk, so fewer and larger chunks make all of them cheaper. The stream hands
on the first text at once, then waits one window between reads and merges all that has
come in between. Tool calls, usage and finish pass through as they are.

The wire format is the one of OpenAI's chat completions
(https://platform.openai.com/docs/api-reference/chat-streaming) over server-sent
events (https://html.spec.whatwg.org/multipage/server-sent-events.html).
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import Any, Self

from cmw_agent.llm.http_client import (
    NotAStreamError,
    Reply,
    StreamCutError,
    Upstream,
)
from cmw_agent.llm.sse import Chunk, Merger, SSEParser

LAG_WEIGHT = 4.0  # windows grow by so many times the event loop's lag
LAG_MEMORY = 0.2  # share of the newest lag in the average
PARTS = 4  # of a window, at whose ends others may end
FULL_READ = 65_536  # bytes; a read of this size has more waiting behind it


def next_tick(now: float, window: float, shortest: float) -> float:
    """Return when a window that begins `now` ends, in seconds of the same clock.

    Ticks are multiples of at most a quarter of the window, and of the shortest one's quarter
    doubled again and again, so that windows of nearly the same length share theirs. The nearest
    tick is taken: windows are neither longer nor shorter in the mean.
    """
    step = shortest / PARTS
    while step * 2 * PARTS <= window:
        step *= 2
    return round((now + window) / step) * step


class FlushInterval:
    """How long a live stream waits between two updates, in seconds.

    The window grows with the number of live streams and with the lag of the event loop,
    so that under load the pages get fewer, larger updates in time instead of many late
    ones. Windows end together, at ticks: one after the other, reads and writes of many streams
    take less than each at a moment of its own. One instance serves one process; it holds
    counts and nothing of any user.

    Args:
        shortest: Seconds with few streams.
        longest: Seconds at most, whatever the load.
        streams_per_step: Each further so many streams add `shortest` once more.
    """

    def __init__(
        self, shortest: float = 0.05, longest: float = 0.7, streams_per_step: int = 50
    ) -> None:
        self._shortest = shortest
        self._longest = longest
        self._step = streams_per_step
        self._live = 0
        self._lag = 0.0
        self._ticks: dict[float, list[asyncio.Future[None]]] = {}

    @property
    def live(self) -> int:
        """Streams that are open now."""
        return self._live

    def seconds(self) -> float:
        """Return the present window."""
        wanted = self._shortest * (1 + self._live / self._step) + LAG_WEIGHT * self._lag
        return min(self._longest, wanted)

    async def wait(self) -> None:
        """Sleep for about one window."""
        loop = asyncio.get_running_loop()
        due = next_tick(loop.time(), self.seconds(), self._shortest)
        if due not in self._ticks:
            self._ticks[due] = []
            loop.call_at(due, self._end, due)
        ended = loop.create_future()
        self._ticks[due].append(ended)
        await ended

    def _end(self, due: float) -> None:
        """End the windows of a tick, and learn how late the event loop woke."""
        late = max(0.0, asyncio.get_running_loop().time() - due)
        self._lag += LAG_MEMORY * (late - self._lag)
        for ended in self._ticks.pop(due):
            if not ended.done():
                ended.set_result(None)

    @contextlib.contextmanager
    def stream(self) -> Iterator[None]:
        """Count one stream as live."""
        self._live += 1
        try:
            yield
        finally:
            self._live -= 1


class CoalescedCompletions:
    """Stands in for ``AsyncOpenAI().chat.completions`` in a `ChatOpenAI` that streams.

    Args:
        upstream: The app's connections to the endpoint.
        window: Shared by all streams of the process.
    """

    def __init__(self, upstream: Upstream, window: FlushInterval) -> None:
        self._upstream = upstream
        self._window = window

    async def create(self, **payload: Any) -> "CoalescedStream":
        """Return a coalesced stream; the request is sent on entering it.

        Raises:
            ValueError: `payload` does not ask for a stream.
        """
        if not payload.get("stream"):
            raise ValueError("this app only asks for streamed answers")
        return CoalescedStream(self._upstream, payload, self._window)


class CoalescedStream:
    """One streamed completion: an async context manager that iterates merged chunks.

    Leaving the context closes the connection, which aborts the request upstream.

    Raises:
        UpstreamError: The server refused the request (on entering), or the stream broke
            (on iterating).
    """

    def __init__(self, upstream: Upstream, payload: Chunk, window: FlushInterval) -> None:
        self._upstream = upstream
        self._payload = payload
        self._window = window
        self._stack = contextlib.ExitStack()
        self._reply: Reply

    async def __aenter__(self) -> Self:
        self._reply = await self._upstream.open(self._payload)
        self._stack.callback(self._reply.close)
        self._stack.enter_context(self._window.stream())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    async def __aiter__(self) -> AsyncIterator[Chunk]:
        reply, parser, merger = self._reply, SSEParser(), Merger()
        while data := await reply.read():
            chunks = merger.merge(parser.feed(data))
            waits = merger.started and len(data) < FULL_READ
            if waits:
                # At once: what comes while the chunks are handed on would be read alone.
                reply.pause()
            for chunk in chunks:
                yield chunk
            if parser.fault is not None:
                raise parser.fault
            if parser.done:
                reply.release()
                return
            if waits:
                await self._window.wait()
                reply.resume()
        if not merger.finished:
            raise NotAStreamError if parser.empty else StreamCutError
