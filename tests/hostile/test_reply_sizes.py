"""Replies that are too large, in too many pieces, or without end: bounded memory, linear time."""

import asyncio
import gzip
import tracemalloc
from collections.abc import Callable

import pytest

from cmw_agent.llm.chunks import Chunk
from cmw_agent.llm.errors import TooLargeError
from cmw_agent.llm.merging import Merger
from cmw_agent.llm.reply_reader import SLICE
from cmw_agent.llm.sse import MAX_EVENT, MAX_REPLY, SSEParser
from tests.doubles.raw_replies import CHUNKED, HEAD, RawReply, framed, of_length, raw_endpoint
from tests.hostile.growth import grows_no_faster
from tests.unit.test_reply_ends import DONE, STOP, TEXT, stream_from, text_of

LONG = 60.0  # seconds
TEXT_START = b'data: {"choices":[{"delta":{"content":"'
TEXT_END = b'"}}]}\n\n'


def event(text: bytes) -> bytes:
    return TEXT_START + text + TEXT_END


def cut(body: bytes, size: int) -> list[bytes]:
    return [body[place : place + size] for place in range(0, len(body), size)]


CALL = b'data: {"choices":[{"delta":{"tool_calls":[{"index":0}]}}]}\n\n'
SHAPES: dict[str, tuple[Callable[[int], bytes], int, int]] = {
    # what makes a body of so many bytes, the size of its pieces, and of the body
    "one event in pieces of 3 bytes": (lambda size: event(b"x" * size), 3, 400_000),
    "one event in pieces of 1 MB": (lambda size: event(b"x" * size), 1_000_000, 16_000_000),
    "events in pieces of 3 bytes": (lambda size: event(b"word ") * (size // 52), 3, 400_000),
    "events of one byte": (lambda size: event(b"x") * (size // 48), 65_536, 1_000_000),
    "escapes": (lambda size: event(b"\\n") * (size // 49), 65_536, 1_000_000),
    "quotes": (lambda size: event(b'\\"') * (size // 49), 65_536, 1_000_000),
    "halves of pairs": (lambda size: event(b"\\ud83d") * (size // 53), 65_536, 200_000),
    "bytes that are no text": (lambda size: event(b"\xf0\x9f") * (size // 49), 65_536, 200_000),
    "calls": (lambda size: CALL * (size // 58), 65_536, 200_000),
    "empty lines": (lambda size: b"\n" * size, 65_536, 1_000_000),
    "CRs": (lambda size: b"\r" * size, 3, 400_000),
    "comments": (lambda size: b":\n" * (size // 2), 65_536, 1_000_000),
    "empty data": (lambda size: b"data:\n" * (size // 6), 65_536, 1_000_000),
    "names": (lambda size: b"event: x\n" * (size // 9), 65_536, 1_000_000),
    "an event in many lines": (lambda size: b"data: {\n" * (size // 8), 65_536, 1_000_000),
    "JSON in many lines": (lambda size: b"{\n" * (size // 2), 65_536, 1_000_000),
    "JSON in an event in an event": (lambda size: b"data:" * (size // 5) + b"\n", 65_536, 4_000),
    "nested JSON": (lambda size: b"data: " + b"[" * size + b"]" * size + b"\n", 65_536, 400_000),
    "an error that nests": (
        lambda size: b'data: {"error":' + b'{"error":' * (size // 9) + b"}" * size + b"\n",
        65_536, 400_000,
    ),
    "a long number": (lambda size: b'data: {"a":' + b"9" * size + b"}\n", 65_536, 400_000),
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_a_reply_is_read_in_the_time_that_its_length_explains(name: str) -> None:
    make, piece, size = SHAPES[name]

    def work(pieces: list[bytes]) -> list[Chunk]:
        parser, merger = SSEParser(), Merger()
        merged = [chunk for part in pieces for chunk in merger.merge(parser.feed(part))]
        return [*merged, *merger.merge(parser.finish()), *merger.end()]

    assert grows_no_faster(work, lambda size: cut(make(size), piece), (size,))


def test_what_a_parser_holds_of_small_pieces_is_about_their_bytes() -> None:
    """An object for each piece would take twenty times the bytes."""
    for line in (b"x", b"data: {\n" + b"data:\n" * 8, b"{\n" * 16):
        parser = SSEParser()
        parser.feed(b"data: {" if line == b"x" else line[:8])
        tracemalloc.start()
        try:
            for _ in range(20_000):
                parser.feed(line)
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert held < 2 * 20_000 * len(line) + 100_000


@pytest.mark.parametrize(
    "line", [b"x" * 65_536, event(b"x" * 1_000) * 64, (b":" * 999 + b"\n") * 64]
)
async def test_a_reply_without_end_is_refused_and_its_bytes_are_not_kept(line: bytes) -> None:
    reply = RawReply([CHUNKED], forever=framed(line))
    length = 0
    async with raw_endpoint(reply) as endpoint, asyncio.timeout(LONG):
        tracemalloc.start()
        try:
            with pytest.raises(TooLargeError):
                async with stream_from(endpoint) as stream:
                    async for chunk in stream:
                        length += len(text_of([chunk]))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert len(endpoint.requests) == 1
    assert length <= MAX_REPLY
    assert peak < 3 * MAX_EVENT


@pytest.mark.parametrize("size", [4_000_000, 200_000_000])
async def test_a_few_bytes_that_unpack_to_very_many_leave_the_loop_to_others(size: int) -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0)
            ticks += 1

    line = event(b"word " * 200)
    body = gzip.compress(line * (size // len(line)) + STOP + DONE, 6)
    reply = RawReply([of_length(len(body), HEAD + b"content-encoding: gzip\r\n"), body])
    most = 0
    async with (
        raw_endpoint(reply) as endpoint,
        asyncio.timeout(LONG),
        stream_from(endpoint) as stream,
    ):
        others = asyncio.create_task(tick())
        try:
            before = ticks
            async for chunk in stream:
                length = len(text_of([chunk]))
                most = max(most, length if ticks == before else 0)
                before = ticks
        except TooLargeError:
            assert size > MAX_REPLY
        others.cancel()
    assert ticks > min(size, MAX_REPLY) // SLICE // 2
    assert most <= 2 * SLICE


async def test_an_event_of_five_megabytes_is_read() -> None:
    long = event(b"x" * 5_000_000)
    reply = RawReply([CHUNKED, framed(TEXT, long, TEXT, STOP, DONE) + b"0\r\n\r\n"])
    async with (
        raw_endpoint(reply) as endpoint,
        asyncio.timeout(LONG),
        stream_from(endpoint) as stream,
    ):
        text = text_of([chunk async for chunk in stream])
    assert text == "all" + "x" * 5_000_000 + "all"
