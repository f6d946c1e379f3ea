"""Coalesces the model's stream: merges the chunks of each flush interval into one.

Every layer above (LangChain, LangGraph, Gradio, the browser) costs a fixed amount of
CPU per chunk, so fewer and larger chunks make all of them cheaper. The first text is
passed on immediately; after that the stream waits one flush interval between reads and
merges the text that has arrived meanwhile. Tool calls, usage and finish reasons pass
through unchanged. See ``docs/adr/0004-coalescing-at-the-source.md``.
"""

import asyncio
import contextlib
import copy
from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import Any, Self

from pydantic import SecretStr

from cmw_agent.llm.adaptation import Adaptation
from cmw_agent.llm.chunks import Chunk
from cmw_agent.llm.errors import StreamRefusedError, UpstreamError
from cmw_agent.llm.http_client import Reply, Upstream
from cmw_agent.llm.reply_reader import ReplyReader
from cmw_agent.llm.retries import RETRIES, RetryBudget, pause_before_retry
from cmw_agent.llm.sse import Translate
from cmw_agent.recording.tape import RunTape

LAG_WEIGHT = 4.0  # seconds added to the interval per second of event-loop lag
LAG_SMOOTHING = 0.2  # weight of the newest lag in the moving average
TICKS_PER_INTERVAL = 4  # at least


def next_tick(now: float, interval: float, shortest: float) -> float:
    """Return when an interval that begins at `now` ends, rounded to the nearest tick.

    The tick length is `shortest` / 4, doubled as long as it is at most a quarter of `interval`,
    so that intervals of similar length end at the same ticks. Rounding to the nearest tick keeps
    their mean length.

    Args:
        now: Seconds on the event loop's clock.
        interval: Length in seconds.
        shortest: The shortest possible interval, in seconds.
    """
    tick = shortest / TICKS_PER_INTERVAL
    while tick * 2 * TICKS_PER_INTERVAL <= interval:
        tick *= 2
    return round((now + interval) / tick) * tick


class FlushInterval:
    """The time for which each live stream waits between two updates.

    The interval grows with the number of live streams and with the lag of the event loop, so
    that under load pages get fewer, larger updates on time instead of many late ones. Intervals
    end together, at ticks: processing many streams in one go takes less CPU than waking up for
    each. One instance serves one process; it holds counts and no user data.

    Args:
        shortest: Seconds with few streams.
        longest: Maximum in seconds, whatever the load.
        streams_per_step: Number of streams for which `shortest` is added once more.
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
        """The number of streams that are open now."""
        return self._live

    def seconds(self) -> float:
        """Return the current interval in seconds."""
        by_load = self._shortest * (1 + self._live / self._step) + LAG_WEIGHT * self._lag
        return min(self._longest, by_load)

    async def wait(self) -> None:
        """Sleep for about one interval."""
        loop = asyncio.get_running_loop()
        due = next_tick(loop.time(), self.seconds(), self._shortest)
        if due not in self._ticks:
            self._ticks[due] = []
            loop.call_at(due, self._end, due)
        waiter = loop.create_future()
        self._ticks[due].append(waiter)
        await waiter

    def _end(self, due: float) -> None:
        """Wake the streams of a tick, and update the average lag of the event loop."""
        lag = max(0.0, asyncio.get_running_loop().time() - due)
        self._lag += LAG_SMOOTHING * (lag - self._lag)
        for waiter in self._ticks.pop(due):
            if not waiter.done():
                waiter.set_result(None)

    @contextlib.contextmanager
    def stream(self) -> Iterator[None]:
        """Count one stream as live while the context is open."""
        self._live += 1
        try:
            yield
        finally:
            self._live -= 1


class CoalescedCompletions:
    """Replaces ``AsyncOpenAI().chat.completions`` in a streaming `ChatOpenAI`.

    Args:
        upstream: Client of the endpoint.
        interval: Shared by all streams of the process.
    """

    def __init__(self, upstream: Upstream, interval: FlushInterval) -> None:
        self._upstream = upstream
        self._interval = interval
        self._visitor_key: SecretStr | None = None

    def with_key(self, visitor_key: SecretStr) -> Self:
        """Return completions for one visitor's run, whose requests bring that visitor's key."""
        bound = copy.copy(self)
        bound._visitor_key = visitor_key  # noqa: SLF001 (its own class)
        return bound

    async def create(
        self, *, budget: RetryBudget | None = None, tape: RunTape | None = None, **payload: Any
    ) -> "CoalescedStream":
        """Return a coalesced stream; the request is sent when the stream is entered.

        Args:
            budget: Of the answer that the stream belongs to; one of its own when absent.
            tape: Takes the requests; None where nothing is recorded.
            payload: Body of the request.

        Raises:
            ValueError: `payload` does not ask for a stream.
        """
        if not payload.get("stream"):
            raise ValueError("this app only asks for streamed answers")
        return CoalescedStream(
            self._upstream,
            payload,
            self._interval,
            budget=budget,
            visitor_key=self._visitor_key,
            tape=tape,
        )

    async def probe(self, **payload: Any) -> None:
        """Ask for a stream as it is, without adaptation, and abort it when its answer begins.

        Raises:
            UpstreamError: The server refused the request.
        """
        reply = await self._upstream.open(payload, adapts=False)
        reply.close()


class CoalescedStream:
    """One streamed completion: an async context manager that iterates over merged chunks.

    Leaving the context closes the connection, which aborts an unfinished request upstream.
    A reply that fails before the first part of its answer, in a way that may pass, is asked for
    again up to `RETRIES` times, while the answer's budget is not spent.

    Args:
        upstream: Client of the endpoint.
        payload: Body of the request.
        interval: Time between two reads.
        silence: Seconds without a sign of life after which the call fails; None for the client's.
        translate: Turns an event of another interface into chunks.
        budget: Of the answer that the stream belongs to; one of its own when absent.
        visitor_key: The visitor's own key, where the request brings one.
        tape: Takes the requests; None where nothing is recorded.

    Raises:
        UpstreamError: The server refused the request (on entering), or the stream broke
            (on iterating).
    """

    def __init__(
        self,
        upstream: Upstream,
        payload: Chunk,
        interval: FlushInterval,
        *,
        silence: float | None = None,
        translate: Translate | None = None,
        budget: RetryBudget | None = None,
        visitor_key: SecretStr | None = None,
        tape: RunTape | None = None,
    ) -> None:
        self._visitor_key = visitor_key
        self._tape = tape
        self._budget = budget or RetryBudget()
        self._silence = silence
        self._translate = translate
        self._upstream = upstream
        self._payload = payload
        self._interval = interval
        self._stack = contextlib.ExitStack()
        self._reply: Reply

    @property
    def adaptations(self) -> tuple[Adaptation, ...]:
        """The parts that were left out of the request, since the endpoint refuses them."""
        return self._reply.adaptations

    async def __aenter__(self) -> Self:
        self._reply = await self._open()
        self._stack.callback(self._close)
        self._stack.enter_context(self._interval.stream())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()
        if isinstance(error, UpstreamError):
            self._upstream.clean(error, self._payload, self._visitor_key)

    def _close(self) -> None:
        self._reply.close()

    async def __aiter__(self) -> AsyncIterator[Chunk]:
        reader, tries = self._reader(), 1
        while True:
            try:
                chunks = await reader.read()
            except UpstreamError as error:
                self._budget.count()
                pause = None if reader.has_begun else self._pause_before_retry(error, tries)
                if pause is None:
                    raise
                await self._ask_again(error, pause)
                reader, tries, chunks = self._reader(), tries + 1, []
            if chunks is None:
                return
            for chunk in chunks:
                yield chunk

    async def _open(self, refused: UpstreamError | None = None) -> Reply:
        return await self._upstream.open(
            self._payload,
            silence=self._silence,
            refused=refused,
            budget=self._budget,
            visitor_key=self._visitor_key,
            tape=self._tape,
        )

    async def _ask_again(self, error: UpstreamError, pause: float) -> None:
        self._reply.close()
        await asyncio.sleep(pause)
        self._reply = await self._open(error if isinstance(error, StreamRefusedError) else None)

    def _pause_before_retry(self, error: UpstreamError, tries: int) -> float | None:
        """Return the seconds until the same request is sent again; None for never."""
        if tries > RETRIES or self._budget.is_spent:
            return None
        is_adapted = self._upstream.can_adapt(error, self._payload)
        return 0.0 if is_adapted else pause_before_retry(error, tries)

    def _reader(self) -> ReplyReader:
        return ReplyReader(self._reply, self._interval, self._translate)
