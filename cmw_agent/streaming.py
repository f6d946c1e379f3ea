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

import httpx2
import orjson
from openai import AsyncOpenAI

Chunk = dict[str, Any]

FULL_READ = 16_384  # bytes; a read of this size has more waiting behind it
MAX_EVENT = 4_194_304  # bytes; no server sends one event this long


class UpstreamError(Exception):
    """The model's server broke the stream; `kind` is a fixed word for the log."""

    kind = "failed"


class StreamCut(UpstreamError):
    """The connection ended before the answer did."""

    kind = "cut"


class StreamSilent(UpstreamError):
    """Nothing came for as long as one read may take."""

    kind = "timeout"


class NotAStream(UpstreamError):
    """What came is not a stream of chat completion chunks."""

    kind = "not_a_stream"


class StreamRefused(UpstreamError):
    """The server reported an error inside the stream."""

    kind = "refused"


class Window:
    """How long one live stream waits between two updates, in seconds.

    The window grows with the number of live streams, so that under load the pages get
    fewer, larger updates in time instead of many late ones. One instance serves one
    process; it holds a count and nothing of any user.

    Args:
        shortest: Seconds with few streams.
        longest: Seconds at most, however many streams there are.
        streams_per_step: Each further so many streams add `shortest` once more.
    """

    def __init__(
        self, shortest: float = 0.05, longest: float = 0.8, streams_per_step: int = 25
    ) -> None:
        self._shortest = shortest
        self._longest = longest
        self._step = streams_per_step
        self._live = 0

    @property
    def live(self) -> int:
        """Streams that are open now."""
        return self._live

    def seconds(self) -> float:
        """Return the present window."""
        return min(self._longest, self._shortest * (1 + self._live / self._step))

    @contextlib.contextmanager
    def stream(self) -> Iterator[None]:
        """Count one stream as live."""
        self._live += 1
        try:
            yield
        finally:
            self._live -= 1


class CoalescedCompletions:
    """Stands in for ``AsyncOpenAI().chat.completions`` in `ChatOpenAI`.

    Args:
        client: The app's one OpenAI client.
        window: Shared by all streams of the process.
    """

    def __init__(self, client: AsyncOpenAI, window: Window) -> None:
        self._client = client
        self._window = window

    async def create(self, **payload: Any) -> Any:
        """Return a coalesced stream when ``stream=True``, else the SDK's own answer."""
        if not payload.get("stream"):
            return await self._client.chat.completions.create(**payload)
        return CoalescedStream(self._client, payload, self._window)


class CoalescedStream:
    """One streamed completion: an async context manager that iterates merged chunks.

    Leaving the context closes the connection, which aborts the request upstream.

    Raises:
        openai.APIError: The server refused the request (on entering).
        UpstreamError: The stream broke (on iterating).
    """

    def __init__(self, client: AsyncOpenAI, payload: Chunk, window: Window) -> None:
        self._request = client.chat.completions.with_streaming_response.create(**payload)
        self._window = window
        self._stack = contextlib.AsyncExitStack()
        self._response: Any = None

    async def __aenter__(self) -> Self:
        self._response = await self._stack.enter_async_context(self._request)
        self._stack.enter_context(self._window.stream())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    async def __aiter__(self) -> AsyncIterator[Chunk]:
        parser = SSEParser()
        merger = Merger()
        try:
            async for data in self._response.iter_bytes():
                for chunk in merger.merge(parser.feed(data)):
                    yield chunk
                if parser.done:
                    return
                if merger.started and len(data) < FULL_READ:
                    await asyncio.sleep(self._window.seconds())
        except httpx2.TimeoutException as error:
            raise StreamSilent from error
        except httpx2.HTTPError as error:
            raise StreamCut from error
        if not merger.finished:
            raise NotAStream if parser.empty else StreamCut


class SSEParser:
    """Turns bytes, however they are cut, into the JSON objects of ``data:`` lines."""

    def __init__(self) -> None:
        self._rest = b""
        self.done = False
        self.empty = True

    def feed(self, data: bytes) -> list[Chunk]:
        """Return the objects that are whole with `data`.

        Raises:
            NotAStream: A line is not one of server-sent events, or not JSON.
        """
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) > MAX_EVENT:
            raise NotAStream
        chunks = []
        for line in (raw.rstrip(b"\r") for raw in lines):
            if line.startswith(b"data:"):
                payload = line[5:].strip()
                if payload == b"[DONE]":
                    self.done = True
                    break
                if payload:
                    chunks.append(self._parse(payload))
            elif line and not line.startswith((b":", b"event:", b"id:", b"retry:")):
                raise NotAStream
        return chunks

    def _parse(self, payload: bytes) -> Chunk:
        try:
            chunk = orjson.loads(payload)
        except orjson.JSONDecodeError as error:
            raise NotAStream from error
        if not isinstance(chunk, dict):
            raise NotAStream
        if chunk.get("error"):
            raise StreamRefused
        self.empty = False
        return chunk


class Merger:
    """Merges runs of plain text deltas; all else passes through in its place."""

    def __init__(self) -> None:
        self.started = False
        self.finished = False

    def merge(self, chunks: list[Chunk]) -> list[Chunk]:
        """Return `chunks` with each run of plain text as one chunk."""
        merged: list[Chunk] = []
        texts: list[str] = []
        last: Chunk | None = None
        for chunk in chunks:
            text = self._plain_text(chunk)
            if text is None:
                if last is not None:
                    merged.append(_with_text(last, "".join(texts)))
                    last, texts = None, []
                merged.append(chunk)
            elif text:
                texts.append(text)
                last = chunk
        if last is not None:
            merged.append(_with_text(last, "".join(texts)))
        self.started = self.started or bool(merged)
        return merged

    def _plain_text(self, chunk: Chunk) -> str | None:
        choices = chunk.get("choices")
        if not choices or chunk.get("usage"):
            return None
        choice = choices[0]
        delta = choice.get("delta") or {}
        if choice.get("finish_reason"):
            self.finished = True
            return None
        if delta.get("tool_calls") or delta.get("function_call") or choice.get("logprobs"):
            return None
        content = delta.get("content")
        return content if isinstance(content, str) else ""


def _with_text(chunk: Chunk, text: str) -> Chunk:
    choice = {**chunk["choices"][0], "delta": {"role": "assistant", "content": text}}
    return {**chunk, "choices": [choice]}
