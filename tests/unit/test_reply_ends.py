"""How replies end, and which are asked for again, over real connections."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest

from cmw_agent.llm.chunks import Chunk
from cmw_agent.llm.coalescing import CoalescedStream, FlushInterval
from cmw_agent.llm.errors import (
    NotAStreamError,
    StreamCutError,
    StreamRefusedError,
    StreamSilentError,
    UpstreamError,
)
from cmw_agent.llm.http_client import Upstream
from tests.doubles.raw_replies import (
    CHUNKED,
    UNTIL_CLOSED,
    RawEndpoint,
    RawReply,
    framed,
    of_length,
    raw_endpoint,
    with_length,
)
from tests.harness import WAIT


def event(delta: Mapping[str, Any], finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: %b\n\n" % json.dumps({"choices": [choice], **more}).encode()


ROLE = event({"role": "assistant", "content": ""})
TEXT = event({"content": "all"})
THOUGHT = event({"reasoning_content": "hm"})
CALL = event({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f"}}]})
STOP = event({}, "stop")
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":1}}\n\n'
DONE = b"data: [DONE]\n\n"
WELL = RawReply([CHUNKED + framed(ROLE, TEXT, STOP, DONE) + b"0\r\n\r\n"])


@contextlib.asynccontextmanager
async def stream_from(
    endpoint: RawEndpoint, patience: float = WAIT, **fields: Any
) -> AsyncIterator[Any]:
    upstream = Upstream(endpoint.base_url, key=None, read_seconds=patience, connections=4)
    try:
        payload = {"model": "m", "messages": [], "stream": True, **fields}
        async with CoalescedStream(upstream, payload, FlushInterval(0.01)) as stream:
            endpoint.release()
            yield stream
    finally:
        await upstream.close()


async def read(endpoint: RawEndpoint, patience: float = WAIT, **fields: Any) -> list[Chunk]:
    async with asyncio.timeout(WAIT), stream_from(endpoint, patience, **fields) as stream:
        return [chunk async for chunk in stream]


def text_of(chunks: Sequence[Chunk]) -> str:
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas)


WHOLE = json.dumps(
    {
        "object": "chat.completion",
        "choices": [{"message": {"content": "all"}, "finish_reason": "stop"}],
    }
).encode()
JSON_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
ENDS: Mapping[str, RawReply] = {
    "[DONE]": WELL,
    "[DONE] without a finish reason": RawReply([CHUNKED + framed(TEXT, DONE) + b"0\r\n\r\n"]),
    "[DONE], held open": RawReply([CHUNKED + framed(TEXT, STOP, DONE)], "hold"),
    "no [DONE], held open": RawReply([CHUNKED + framed(TEXT, STOP)], "hold"),
    "no [DONE], comments for ever": RawReply(
        [CHUNKED + framed(TEXT, STOP)], forever=framed(b": ping\n\n"), pause=0.1
    ),
    "no [DONE], closed": RawReply([UNTIL_CLOSED + TEXT + STOP]),
    "no [DONE], chunks not ended": RawReply([CHUNKED + framed(TEXT, STOP)]),
    "no [DONE], reset": RawReply([CHUNKED + framed(TEXT, STOP)], "reset"),
    "no final newline, closed": RawReply([UNTIL_CLOSED + TEXT + STOP.rstrip()]),
    "no final newline, chunks not ended": RawReply([CHUNKED + framed(TEXT, STOP.rstrip())]),
    "a length that is too large": RawReply([of_length(10_000), TEXT + STOP]),
    "a length that is too large, held open": RawReply([of_length(10_000), TEXT + STOP], "hold"),
    "a length that is too small": RawReply([of_length(len(TEXT + STOP)), TEXT + STOP + USAGE]),
    "no chunk after the finish": RawReply([CHUNKED, framed(TEXT, STOP) + b"what?\r\n"]),
    "no event after the finish": RawReply([UNTIL_CLOSED + TEXT + STOP + b"data: {\n\n"]),
    "a finish reason with each delta": RawReply(
        [UNTIL_CLOSED + event({"content": "a"}, "stop") + event({"content": "ll"}, "stop")]
    ),
    "a whole answer": RawReply([with_length(WHOLE, head=JSON_HEAD)]),
    "a whole answer as a stream": RawReply([CHUNKED + framed(WHOLE[:9], WHOLE[9:]) + b"0\r\n\r\n"]),
    "a whole answer without a finish reason": RawReply(
        [with_length(WHOLE.replace(b'"stop"', b"null"), head=JSON_HEAD)]
    ),
}


@pytest.mark.parametrize("name", ENDS)
async def test_an_answer_that_came_whole_counts_however_its_reply_ends(name: str) -> None:
    async with raw_endpoint(ENDS[name]) as endpoint:
        assert text_of(await read(endpoint)) == "all"
        assert len(endpoint.requests) == 1


async def test_usage_that_comes_soon_after_the_finish_is_read_without_done() -> None:
    reply = RawReply([CHUNKED + framed(TEXT, STOP), framed(USAGE)], "hold")
    chunks: list[Chunk] = []
    async with (
        raw_endpoint(reply) as endpoint,
        asyncio.timeout(WAIT),
        stream_from(endpoint) as stream,
    ):
        async for chunk in stream:
            chunks.append(chunk)
            if chunk["choices"] and chunk["choices"][0]["finish_reason"]:
                reply.gate.release()
    assert [chunk["usage"] for chunk in chunks if chunk.get("usage")] == [{"prompt_tokens": 1}]


BROKEN: Mapping[str, tuple[RawReply, type[UpstreamError], str]] = {
    "closed": (RawReply([UNTIL_CLOSED + TEXT]), StreamCutError, "all"),
    "chunks not ended": (RawReply([CHUNKED + framed(TEXT)]), StreamCutError, "all"),
    "reset": (RawReply([CHUNKED + framed(TEXT)], "reset"), StreamCutError, "all"),
    "an event cut": (RawReply([UNTIL_CLOSED + TEXT + STOP[:30]]), StreamCutError, "all"),
    "a length too small": (RawReply([of_length(len(TEXT) + 9), TEXT + STOP]), StreamCutError,
                           "all"),
    "silent": (RawReply([CHUNKED + framed(TEXT)], "hold"), StreamSilentError, "all"),
    "no JSON": (RawReply([UNTIL_CLOSED + TEXT + b"data: {\n\n" + TEXT]), NotAStreamError, "all"),
    "a page": (RawReply([with_length(b"<!doctype html><p>Hi")]), NotAStreamError, ""),
    "a page, held open": (RawReply([CHUNKED + framed(b"<!doctype html>\n<p>")], "hold"),
                          NotAStreamError, ""),
    "an error after the finish": (RawReply([UNTIL_CLOSED + TEXT + STOP + b'data: {"error":"x"}']),
                                  StreamRefusedError, "all"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
async def test_an_answer_that_did_not_come_whole_is_an_error_after_what_came(name: str) -> None:
    reply, kind, text = BROKEN[name]
    chunks: list[Chunk] = []
    async with raw_endpoint(reply) as endpoint, asyncio.timeout(WAIT):
        with pytest.raises(kind):
            async with stream_from(endpoint, 1 if kind is StreamSilentError else WAIT) as stream:
                async for chunk in stream:
                    chunks.append(chunk)  # noqa: PERF401 (kept when the stream breaks)
        assert len(endpoint.requests) == 1
    assert text_of(chunks) == text


def error(code: object, **more: Any) -> bytes:
    said = {"error": {"message": "no", "code": code, **more}}
    return b"data: %b\n\n" % json.dumps(said).encode()


FAILS: Mapping[str, RawReply] = {
    "an error event": RawReply([CHUNKED + framed(error(None), DONE) + b"0\r\n\r\n"]),
    "an error event, held open": RawReply([CHUNKED + framed(error(503))], "hold"),
    "an error after the role": RawReply([CHUNKED + framed(ROLE, error("server_error"))]),
    "an error named as an event": RawReply([UNTIL_CLOSED + b"event: error\ndata: overloaded\n\n"]),
    "JSON with an error": RawReply([with_length(b'{"error":"overloaded"}', head=JSON_HEAD)]),
    "a rate limit": RawReply([UNTIL_CLOSED + error(429)]),
    "a cut after the role": RawReply([UNTIL_CLOSED + ROLE]),
    "a reset after the role": RawReply([CHUNKED + framed(ROLE)], "reset"),
    "a reset after the head": RawReply([CHUNKED], "reset"),
    "a reset before the head": RawReply([], "reset"),
}


@pytest.mark.parametrize("name", FAILS)
async def test_a_reply_that_fails_before_the_answer_begins_is_asked_for_again(name: str) -> None:
    async with raw_endpoint(FAILS[name], WELL) as endpoint:
        assert text_of(await read(endpoint)) == "all"
        assert len(endpoint.requests) == 2


async def test_a_reply_that_fails_again_and_again_is_asked_for_three_times() -> None:
    async with raw_endpoint(FAILS["an error event"]) as endpoint:
        with pytest.raises(StreamRefusedError):
            await read(endpoint)
        assert len(endpoint.requests) == 3


async def test_a_part_that_a_stream_refuses_is_left_out_of_the_next_request() -> None:
    refused = error(400, message="this model does not support tools")
    async with raw_endpoint(RawReply([UNTIL_CLOSED + refused]), WELL) as endpoint:
        assert text_of(await read(endpoint, tools=[{"type": "function"}])) == "all"
        first, second = endpoint.requests
        assert (b'"tools"' in first, b'"tools"' in second) == (True, False)


FINAL: Mapping[str, bytes] = {
    "a request that is refused": error(400),
    "a key that is refused": ROLE + error(401),
    "no credit": error("insufficient_quota", type="insufficient_quota"),
    "after text": TEXT + error(503),
    "after thoughts": ROLE + THOUGHT + error(503),
    "after a call": CALL + error(503),
    "after an event that is no JSON": b"data: {\n\n",
}


@pytest.mark.parametrize("name", FINAL)
async def test_a_reply_is_not_asked_for_again_where_that_cannot_help_or_repeats(name: str) -> None:
    async with raw_endpoint(RawReply([UNTIL_CLOSED + FINAL[name]]), WELL) as endpoint:
        with pytest.raises((StreamRefusedError, NotAStreamError)):
            await read(endpoint)
        assert len(endpoint.requests) == 1


async def test_signs_of_life_are_no_silence() -> None:
    """The time-out is one of silence between two pieces, not of the whole reply."""
    signs = [b": ping\n\n", THOUGHT, ROLE, b": ping\n\n", THOUGHT]
    reply = RawReply([CHUNKED, *map(framed, signs), framed(TEXT, STOP, DONE) + b"0\r\n\r\n"])

    async def release() -> None:
        for _ in signs:
            await asyncio.sleep(0.4)
            reply.gate.release()
        reply.gate.release()

    async with raw_endpoint(reply) as endpoint, asyncio.TaskGroup() as tasks:
        tasks.create_task(release())
        assert text_of(await read(endpoint, 1)) == "all"


@pytest.mark.parametrize("pause", [0.0, 0.05])
async def test_comments_without_end_are_read_until_their_reader_stops(pause: float) -> None:
    forever = framed(b": ping\n\n" * (1 if pause else 10_000))
    async with raw_endpoint(RawReply([CHUNKED], forever=forever, pause=pause)) as endpoint:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5), stream_from(endpoint) as stream:
                async for _ in stream:
                    raise AssertionError("a comment is no chunk")
