"""The model's stream: the SSE parser, the merging, and both over a real connection."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_openai import ChatOpenAI

from cmw_agent.llm.chunks import Chunk
from cmw_agent.llm.coalescing import FlushInterval, next_tick
from cmw_agent.llm.errors import (
    NotAStreamError,
    RequestRefusedError,
    StreamCutError,
    StreamRefusedError,
    StreamSilentError,
    TooLargeError,
    UpstreamError,
)
from cmw_agent.llm.factory import open_model
from cmw_agent.llm.merging import ENVELOPE, Merger
from cmw_agent.llm.sse import MAX_EVENT, SSEParser
from tests.doubles.openai_server import OpenAIDouble
from tests.doubles.openai_steps import Cut, Gate, Plain, Request, Script, Start, Step, Text
from tests.harness import WAIT, settings_for
from tests.service import wait_until

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


def text_chunk(text: str | None, **choice: Any) -> Chunk:
    delta = {"role": "assistant", "content": text}
    return {"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": None} | choice]}


def call_chunk(arguments: str) -> Chunk:
    call = {"index": 0, "function": {"arguments": arguments}}
    return text_chunk(None, delta={"tool_calls": [call]})


FINISH = text_chunk(None, delta={}, finish_reason="stop")
USAGE: Chunk = {"id": "c", "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}}
CHUNKS = st.lists(
    st.one_of(
        TEXT.map(text_chunk), TEXT.map(call_chunk), st.just(text_chunk(None)), st.just(USAGE)
    ),
    max_size=12,
)
END = st.sampled_from([b"\n", b"\r\n"])
NOISE = st.sampled_from([b"", b": a comment", b"event: message", b"id: 7", b"retry: 10"])


def text_of(chunks: Sequence[Chunk]) -> str:
    return "".join(
        choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"]
    )


def without_envelope(chunks: Sequence[Chunk]) -> list[Chunk]:
    """Return chunks without id, model and the like.

    A run of text that is read by its template has none of them: nothing behind the parser reads
    them, and to copy them for each run is a good part of the cost of a paced stream.
    """
    fields = ENVELOPE - {"choices"}
    return [{k: v for k, v in chunk.items() if k not in fields} for chunk in chunks]


def is_plain(chunk: Chunk) -> bool:
    return bool(chunk["choices"]) and "content" in chunk["choices"][0]["delta"]


def pieces(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(places)]


def written(chunks: Sequence[Chunk], ends: Sequence[bytes], noise: Sequence[bytes]) -> bytes:
    lines = bytearray()
    for number, chunk in enumerate([*map(orjson.dumps, chunks), b"[DONE]"]):
        end = ends[number % len(ends)]
        other = noise[number % len(noise)]
        lines += (other + end if other else b"") + b"data: " + chunk + end + end
    return bytes(lines)


@given(
    CHUNKS, st.lists(END, min_size=1), st.lists(NOISE, min_size=1), st.lists(st.integers(0, 9999))
)
def test_a_stream_reads_the_same_however_its_bytes_are_cut(
    chunks: list[Chunk], ends: list[bytes], noise: list[bytes], cuts: list[int]
) -> None:
    parser = SSEParser()
    found = [
        chunk for data in pieces(written(chunks, ends, noise), cuts) for chunk in parser.feed(data)
    ]
    merged = Merger().merge(chunks)
    assert without_envelope(Merger().merge(found)) == without_envelope(merged)
    assert parser.done


NASTY = st.lists(
    st.sampled_from(
        ['"', "\\", "a", " and so on", "\n", "\x7f", '"content":"', "}]}", "é", "語", "🙂"]
    ),
    max_size=3,
).map("".join)


@given(st.lists(NASTY, min_size=2, max_size=30), st.lists(st.integers(0, 9999)), st.booleans())
def test_a_run_of_alike_events_is_read_as_each_of_them_would_be(
    texts: list[str], cuts: list[int], finished: bool
) -> None:
    chunks = [*map(text_chunk, ["so", *texts]), *([FINISH] if finished else [])]
    parser = SSEParser()
    found = [c for data in pieces(written(chunks, [b"\n"], [b""]), cuts) for c in parser.feed(data)]
    assert text_of(found) == "so" + "".join(texts)
    assert [c for c in found if not is_plain(c)] == ([FINISH] if finished else [])
    assert parser.done


def test_a_run_of_alike_events_is_read_as_one() -> None:
    parser = SSEParser()
    data = written([text_chunk(text) for text in "abcdef"], [b"\n"], [b""])
    start = data.index(b"\n\n") + 2
    assert parser.feed(data[:start]) == [text_chunk("a")]
    assert [text_of([chunk]) for chunk in parser.feed(data[start:])] == ["bcdef"]


def test_a_field_of_the_same_name_elsewhere_is_not_taken_for_the_text() -> None:
    def event(note: str, text: str) -> bytes:
        return b'data: {"note":{"content":"%s"},"choices":[{"delta":{"content": "%s"}}]}\n\n' % (
            note.encode(),
            text.encode(),
        )

    parser = SSEParser()
    chunks = parser.feed(event("x", "x")) + parser.feed(event("y", "x") + event("z", "x"))
    assert text_of(chunks) == "xxx"


def test_a_character_may_be_cut_at_each_of_its_bytes() -> None:
    data = written([text_chunk("né 語 🙂")], [b"\r\n"], [b": hi"])
    for cut in range(len(data) + 1):
        parser = SSEParser()
        assert parser.feed(data[:cut]) + parser.feed(data[cut:]) == [text_chunk("né 語 🙂")]


def test_what_follows_done_is_not_read() -> None:
    parser = SSEParser()
    assert parser.feed(b'data: [DONE]\n\ndata: {"id": 1}\n\n') == []
    assert parser.done


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (b'{"error": 1}', StreamRefusedError),
        (b"data: [1]", NotAStreamError),
        (b'data: "x"', NotAStreamError),
        (b"data: {", NotAStreamError),
        (b'data: {"choices": "abc"}', NotAStreamError),
        (b'data: {"choices": [1]}', NotAStreamError),
        (b'data: {"choices": [{"delta": "x"}]}', NotAStreamError),
        (b'data: {"choices": [], "error": {"message": "no"}}', StreamRefusedError),
    ],
)
def test_a_faulty_line_ends_the_stream_after_what_came_before(
    line: bytes, fault: type[UpstreamError]
) -> None:
    parser = SSEParser()
    good = b"data: " + orjson.dumps(text_chunk("good")) + b"\n\n"
    assert parser.feed(good + line + b"\n\n" + good) == [text_chunk("good")]
    assert type(parser.fault) is fault


def test_an_event_without_end_is_refused() -> None:
    parser = SSEParser()
    parser.feed(b"data: " + b"x" * (MAX_EVENT - 6))
    assert parser.fault is None
    parser.feed(b"x")
    assert isinstance(parser.fault, TooLargeError)


@given(CHUNKS, st.lists(st.integers(1, 5)))
def test_merging_keeps_text_and_order_and_leaves_all_else_as_it_is(
    chunks: list[Chunk], batches: list[int]
) -> None:
    merger, merged, left = Merger(), [], list(chunks)
    for size in [*batches, len(chunks)]:
        merged += merger.merge(left[:size])
        del left[:size]

    def runs(items: Sequence[Chunk]) -> list[object]:
        """What is not text, with the text that stands before it."""
        found: list[object] = [""]
        for item in items:
            if is_plain(item):
                found[-1] = str(found[-1]) + text_of([item])
            else:
                found += [item, ""]
        return found

    assert runs(merged) == runs(chunks)


@given(CHUNKS)
def test_what_came_together_goes_on_as_one_text_between_other_chunks(chunks: list[Chunk]) -> None:
    merged = Merger().merge(chunks)
    assert not any(is_plain(a) and is_plain(b) for a, b in itertools.pairwise(merged))
    assert all(text_of([chunk]) for chunk in merged if is_plain(chunk))


def test_text_that_comes_with_the_end_or_with_usage_is_not_lost() -> None:
    last = text_chunk("end", finish_reason="stop")
    counted = text_chunk("x") | {"usage": {"prompt_tokens": 1}}
    assert Merger().merge([text_chunk("the "), last]) == [text_chunk("the "), last]
    assert Merger().merge([counted]) == [counted]


def test_an_end_that_carries_usage_is_an_end() -> None:
    merger = Merger()
    merger.merge([FINISH | {"usage": {"prompt_tokens": 1}}])
    assert merger.finished


def test_the_window_grows_with_the_streams_and_stays_bounded() -> None:
    window = FlushInterval(shortest=0.1, longest=0.5, streams_per_step=1)
    with contextlib.ExitStack() as stack:
        seen = [window.seconds()]
        for _ in range(9):
            stack.enter_context(window.stream())
            seen.append(window.seconds())
    assert seen == sorted(seen)
    assert seen[0] == 0.1
    assert seen[-1] == 0.5
    assert window.live == 0


@given(
    now=st.floats(0, 1e6),
    window=st.floats(0.05, 0.7),
    later=st.floats(0, 0.7),
    longer=st.floats(1, 1.1),
)
def test_a_window_ends_near_its_time_and_together_with_others(
    now: float, window: float, later: float, longer: float
) -> None:
    due = next_tick(now, window, 0.05)
    assert abs(due - now - window) <= window / 8 + 1e-6
    # However many begin within a window, they end at a few moments.
    ticks = {next_tick(now + later * part / 99, window, 0.05) for part in range(100)}
    assert len(ticks) <= later / window * 8 + 2
    other = next_tick(now, window * longer, 0.05)
    steps = (other - due) / (0.05 / 4)
    assert abs(steps - round(steps)) < 1e-3


async def test_windows_that_end_together_wake_all_but_those_that_have_gone() -> None:
    window = FlushInterval(0.01)
    waits = [asyncio.ensure_future(window.wait()) for _ in range(20)]
    await asyncio.sleep(0)
    waits[3].cancel()
    async with asyncio.timeout(WAIT):
        ends = await asyncio.gather(*waits, return_exceptions=True)
    gone = [type(end) for end in ends if end is not None]
    assert gone == [asyncio.CancelledError]


# -- over the wire ----------------------------------------------------------------


@contextlib.asynccontextmanager
async def source(
    endpoint: OpenAIDouble, folder: Path, window: FlushInterval | None = None, **changes: Any
) -> AsyncIterator[Any]:
    settings = settings_for(folder, openai_base_url=endpoint.base_url, **changes)
    async with open_model(settings, window or FlushInterval(0.01)) as model:
        assert isinstance(model, ChatOpenAI)
        yield model.async_client


async def stream_of(completions: Any, model: str, text: str = "one two three") -> Any:
    messages = [{"role": "user", "content": text}]
    return await completions.create(model=model, messages=messages, stream=True)


async def read(completions: Any, model: str) -> list[Chunk]:
    async with await stream_of(completions, model) as stream:
        return [chunk async for chunk in stream]


def gates(*texts: str) -> Script:
    def script(request: Request) -> Sequence[Step]:
        return [step for text in texts for step in (Text([text]), Gate())]

    return script


async def test_the_first_text_is_handed_on_while_the_model_still_speaks(tmp_path: Path) -> None:
    async with (
        OpenAIDouble() as endpoint,
        source(endpoint, tmp_path) as completions,
        await stream_of(completions, "gated-1") as stream,
    ):
        chunks = aiter(stream)
        assert text_of([await anext(chunks)]) == "You "
        assert endpoint.open_streams == 1
        assert endpoint.release_all() == 1
        assert text_of([chunk async for chunk in chunks]) == "said: one two three"


class Held(FlushInterval):
    """A window that stays open until the test shuts it."""

    def __init__(self) -> None:
        super().__init__()
        self.opened = asyncio.Event()
        self.shut = asyncio.Event()

    async def wait(self) -> None:
        self.opened.set()
        await self.shut.wait()


async def test_what_came_in_several_writes_within_a_window_is_one_chunk(tmp_path: Path) -> None:
    window = Held()
    async with (
        OpenAIDouble(scripts={"writes": gates("a", "b", "c", "d")}) as endpoint,
        source(endpoint, tmp_path, window) as completions,
        await stream_of(completions, "writes") as stream,
    ):
        chunks = aiter(stream)
        assert text_of([await anext(chunks)]) == "a"
        following = asyncio.ensure_future(anext(chunks))
        async with asyncio.timeout(WAIT):
            await window.opened.wait()
        for _ in "bcd":
            await endpoint.wait_held()
            endpoint.release_all()
        await endpoint.wait_held()
        assert not following.done()
        window.shut.set()
        assert text_of([await following]) == "bcd"
        endpoint.release_all()


async def test_text_that_came_before_its_reader_looked_outlives_the_cut(tmp_path: Path) -> None:
    async with (
        OpenAIDouble(
            scripts={"early": lambda _: [Start(), Gate(), Text(["all ", "of it"]), Cut()]}
        ) as endpoint,
        source(endpoint, tmp_path) as completions,
        await stream_of(completions, "early") as stream,
    ):
        await endpoint.wait_held()
        endpoint.release_all()
        content = stream._reply._answer.content
        await wait_until(lambda: content.exception() is not None)
        chunks = aiter(stream)
        assert text_of([await anext(chunks)]) == "all of it"
        with pytest.raises(StreamCutError):
            await anext(chunks)


async def test_tool_calls_usage_and_finish_come_through(tmp_path: Path) -> None:
    async with OpenAIDouble() as endpoint, source(endpoint, tmp_path) as completions:
        model = 'tool:calculate:{"expression":"1+1"}'
        messages = [{"role": "user", "content": "x"}]
        options = {"stream_options": {"include_usage": True}}
        async with await completions.create(
            model=model, messages=messages, stream=True, **options
        ) as stream:
            chunks = [chunk async for chunk in stream]
    deltas = [c["choices"][0]["delta"] for c in chunks if c["choices"]]
    pieces = [call for d in deltas for call in d.get("tool_calls") or []]
    assert "".join(p["function"]["arguments"] for p in pieces) == '{"expression":"1+1"}'
    assert pieces[0]["function"]["name"] == "calculate"
    assert [c["choices"][0]["finish_reason"] for c in chunks if c["choices"]][-1] == "tool_calls"
    assert chunks[-1]["usage"]["total_tokens"] > 0


@pytest.mark.parametrize(
    ("model", "error", "before"),
    [
        ("not-sse", NotAStreamError, ""),
        ("bad-json", NotAStreamError, "You "),
        ("error-in-stream", StreamRefusedError, "You said: one two three"),
        ("cut-3", StreamCutError, "one word follows "),
        ("hang", StreamSilentError, "You "),
        ("fail-401", RequestRefusedError, ""),
        ("fail-404", RequestRefusedError, ""),
    ],
)
async def test_what_breaks_a_stream_has_a_name_and_comes_after_the_text(
    model: str, error: type[Exception], before: str, tmp_path: Path
) -> None:
    window, patience = FlushInterval(0.01), 1 if error is StreamSilentError else WAIT
    async with (
        OpenAIDouble() as endpoint,
        source(endpoint, tmp_path, window, model_timeout=patience) as completions,
    ):
        text = ""
        with pytest.raises(error):
            async with await stream_of(completions, model) as stream:
                async for chunk in stream:
                    text += text_of([chunk])
        assert text == before
        assert window.live == 0
        assert endpoint.request_count == 1


async def test_all_text_before_a_cut_is_handed_on(tmp_path: Path) -> None:
    async with OpenAIDouble(rate=500) as endpoint, source(endpoint, tmp_path) as completions:
        texts = []
        with pytest.raises(StreamCutError):
            async with await stream_of(completions, "cut-20") as stream:
                async for chunk in stream:
                    texts.append(text_of([chunk]))  # noqa: PERF401 (kept when the stream breaks)
        assert len("".join(texts).split()) == endpoint.requests[0].tokens_sent == 20


@pytest.mark.parametrize(
    ("chunks", "whole"),
    [
        ([text_chunk("all"), FINISH], True),
        ([text_chunk("all"), FINISH | {"usage": {"prompt_tokens": 1}}], True),
        ([text_chunk("half")], False),
    ],
)
async def test_an_answer_without_done_is_whole_when_it_said_that_it_ends(
    chunks: list[Chunk], whole: bool, tmp_path: Path
) -> None:
    body = b"".join(b"data: " + orjson.dumps(chunk) + b"\n\n" for chunk in chunks)
    answer = Plain(200, body, content_type="text/event-stream")
    async with (
        OpenAIDouble(scripts={"no-done": lambda _: [answer]}) as endpoint,
        source(endpoint, tmp_path) as completions,
    ):
        with contextlib.nullcontext() if whole else pytest.raises(StreamCutError):
            assert text_of(await read(completions, "no-done")) == "all"


async def test_leaving_the_iteration_aborts_the_request_upstream(tmp_path: Path) -> None:
    async with OpenAIDouble() as endpoint, source(endpoint, tmp_path) as completions:
        async with await stream_of(completions, "hang") as stream:
            async for _ in stream:
                break
        await endpoint.wait_aborted(1)


async def test_cancelling_a_reader_of_a_silent_model_aborts_the_request(tmp_path: Path) -> None:
    async with OpenAIDouble() as endpoint, source(endpoint, tmp_path) as completions:
        reader = asyncio.create_task(read(completions, "hang-before"))
        await endpoint.wait_requests(1)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        await endpoint.wait_aborted(1)


async def test_no_cookie_of_the_endpoint_ever_goes_back(tmp_path: Path) -> None:
    async with OpenAIDouble() as endpoint, source(endpoint, tmp_path) as completions:
        for model in ("echo", "tokens-5", "fail-404", "echo"):
            with contextlib.suppress(RequestRefusedError):
                await read(completions, model)
        assert len({request.set_cookie for request in endpoint.requests}) == 4
        assert [request.cookie for request in endpoint.requests] == [None] * 4


async def test_an_answer_that_is_not_streamed_is_never_asked_for(tmp_path: Path) -> None:
    async with OpenAIDouble() as endpoint, source(endpoint, tmp_path) as completions:
        with pytest.raises(ValueError, match="streamed"):
            await completions.create(model="echo", messages=[])
        assert endpoint.request_count == 0


async def test_an_upstream_error_tells_its_kind_and_nothing_else() -> None:
    plain = [error for error in UpstreamError.__subclasses__() if error is not RequestRefusedError]
    assert {error().kind for error in plain} == {
        "cut",
        "timeout",
        "not_a_stream",
        "refused",
        "too_large",
        "unreachable",
    }
    assert [str(error()) for error in plain] == [""] * 6
    assert str(RequestRefusedError(404)) == "404"
