"""The OpenAI double, tested with the real client libraries."""

import asyncio
import json
import signal
import socket
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from http.cookiejar import Cookie, CookieJar
from pathlib import Path
from typing import Any

import openai
import pytest
from langchain_core.messages import AIMessageChunk, HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI
from langchain_openai.chat_models import base as langchain_errors
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import SecretStr

from tests.doubles.openai_http import MAX_HEAD
from tests.doubles.openai_models import tokens_answer
from tests.doubles.openai_server import OpenAIDouble, refused_url
from tests.doubles.openai_steps import Gate, Request, Step, Text, ToolCalls

ROOT = Path(__file__).parents[2]

ChatBuilder = Callable[..., ChatOpenAI]


@pytest.fixture
async def endpoint() -> AsyncIterator[OpenAIDouble]:
    async with OpenAIDouble() as double:
        yield double


@pytest.fixture
async def client(endpoint: OpenAIDouble) -> AsyncIterator[AsyncOpenAI]:
    async with client_of(endpoint.base_url) as opened:
        yield opened


@pytest.fixture
async def chat(endpoint: OpenAIDouble) -> AsyncIterator[ChatBuilder]:
    async with openai.DefaultAsyncHttpxClient() as http:

        def build(model: str, **more: Any) -> ChatOpenAI:
            return ChatOpenAI(
                model_name=model,
                openai_api_base=more.pop("base_url", endpoint.base_url),
                openai_api_key=SecretStr("sk-langchain"),
                max_retries=0,
                request_timeout=more.pop("timeout", 30),
                http_async_client=http,
                **more,
            )

        yield build


def client_of(base_url: str, **more: Any) -> AsyncOpenAI:
    settings = {"api_key": "sk-openai", "max_retries": 0, "timeout": 30, **more}
    return AsyncOpenAI(base_url=base_url, **settings)


def said(*texts: str) -> Any:
    return [{"role": "user", "content": text} for text in texts]


async def whole(client: AsyncOpenAI, model: str, *texts: str) -> ChatCompletion:
    return await client.chat.completions.create(model=model, messages=said(*texts))


async def chunks(
    client: AsyncOpenAI, model: str, *texts: str, **more: Any
) -> AsyncGenerator[ChatCompletionChunk]:
    async with await client.chat.completions.create(
        model=model, messages=said(*texts), stream=True, **more
    ) as stream:
        async for chunk in stream:
            yield chunk


def token(chunk: ChatCompletionChunk) -> str:
    return "".join(choice.delta.content or "" for choice in chunk.choices)


async def streamed(client: AsyncOpenAI, model: str, *texts: str) -> str:
    return "".join([token(chunk) async for chunk in chunks(client, model, *texts)])


async def failing(
    parts: AsyncIterator[str], error: type[Exception], match: str | None = None
) -> list[str]:
    """The texts that `parts` gives before it fails with `error`."""
    texts: list[str] = []

    async def take() -> None:
        async for part in parts:
            texts.append(part)  # noqa: PERF401 - what came before the error counts

    with pytest.raises(error, match=match):
        await take()
    return [text for text in texts if text]


@asynccontextmanager
async def wire(
    endpoint: OpenAIDouble,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A bare connection, which takes in little before it is read."""
    with socket.socket() as bare:
        bare.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)
        bare.setblocking(False)
        port = int(endpoint.base_url.rpartition(":")[2].partition("/")[0])
        await asyncio.get_running_loop().sock_connect(bare, ("127.0.0.1", port))
        reader, writer = await asyncio.open_connection(sock=bare, limit=2**14)
        try:
            yield reader, writer
        finally:
            writer.close()
            await writer.wait_closed()


def post(body: object) -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(data), data)


async def raw(endpoint: OpenAIDouble, data: bytes) -> bytes:
    """The unstreamed response to these bytes."""
    async with wire(endpoint) as (reader, writer), asyncio.timeout(60):
        writer.write(data)
        head = await reader.readuntil(b"\r\n\r\n")
        length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
        return head + await reader.readexactly(int(length))


async def receive(reader: asyncio.StreamReader) -> bytes:
    """One chunked response, head and frames."""
    async with asyncio.timeout(60):
        return await reader.readuntil(b"\r\n0\r\n\r\n")


# What a healthy answer looks like


async def test_a_stream_has_the_shape_of_the_real_one(client: AsyncOpenAI) -> None:
    first, *middle, last = [c async for c in chunks(client, "echo", "tell canary-1 twice")]
    assert first.choices[0].delta.role == "assistant"
    assert [token(c) for c in middle] == ["You ", "said: ", "tell ", "canary-1 ", "twice"]
    assert all(c.choices[0].finish_reason is None for c in (first, *middle))
    assert last.choices[0].finish_reason == "stop"
    assert {c.object for c in (first, *middle, last)} == {"chat.completion.chunk"}
    assert {c.id for c in (first, *middle)} == {last.id}
    assert {c.model for c in (first, *middle, last)} == {"echo"}
    assert all(c.usage is None for c in (first, *middle, last))


async def test_usage_comes_last_and_only_when_asked_for(client: AsyncOpenAI) -> None:
    options = {"include_usage": True}
    *before, last = [c async for c in chunks(client, "echo", "one two", stream_options=options)]
    assert last.choices == []
    assert last.usage is not None
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (2, 4)
    assert last.usage.total_tokens == 6
    assert all(c.usage is None and c.choices for c in before)


async def test_the_bytes_of_a_stream_are_frames_of_events_in_utf8(endpoint: OpenAIDouble) -> None:
    async with wire(endpoint) as (reader, writer):
        writer.write(post({"model": "echo", "messages": said("Grüße"), "stream": True}))
        head, _, body = (await receive(reader)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"content-type: text/event-stream" in head
    events = []
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size, 16)
        events.append(rest[:length])
        assert rest[length : length + 2] == b"\r\n"
        body = rest[length + 2 :]
    assert events.pop() == b""
    assert events.pop() == b"data: [DONE]\n\n"
    assert all(e.startswith(b"data: {") and e.endswith(b"}\n\n") for e in events)
    assert "Grüße".encode() in b"".join(events)


async def test_an_answer_that_is_not_streamed_is_the_same_text(client: AsyncOpenAI) -> None:
    answer = await whole(client, "echo", "hello canary-2")
    assert answer.choices[0].message.content == "You said: hello canary-2"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.object == "chat.completion"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 4


async def test_langchain_streams_and_counts(chat: ChatBuilder) -> None:
    first, *rest = [part async for part in chat("echo", stream_usage=True).astream("hi canary-3")]
    answer = first
    for part in rest:
        answer += part
    assert answer.text == "You said: hi canary-3"
    assert isinstance(answer, AIMessageChunk)
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["output_tokens"] == 4
    assert (await chat("echo").ainvoke("hi canary-3")).text == answer.text


async def test_a_name_is_known_from_the_request_alone(client: AsyncOpenAI) -> None:
    given, asked = "Hi. My name is Ada.", "What is my name?"
    assert await streamed(client, "memory", given) == "Hello, Ada!"
    assert await streamed(client, "memory", given, asked) == "Your name is Ada."
    assert await streamed(client, "memory", given, "my name is Bo", asked) == "Your name is Bo."
    assert await streamed(client, "memory", asked) == "I don't know your name yet."
    assert await streamed(client, "memory", "canary-4") == "You said: canary-4"


@pytest.mark.parametrize("model", ["tokens-30", "tokens-30@2000"])
async def test_tokens_are_as_many_as_named_and_the_canary_is_among_them(
    client: AsyncOpenAI, model: str
) -> None:
    tokens = [token(c) async for c in chunks(client, model, "please canary-5 and canary-6")]
    assert [t for t in tokens if t] == tokens_answer(30, "canary-5")
    assert len(tokens_answer(30, "canary-5")) == len(tokens_answer(30)) == 30
    assert tokens.count("canary-5 ") == 1
    plain = (await whole(client, model, "")).choices[0].message.content
    assert plain == "".join(tokens_answer(30))


async def test_an_unknown_model_is_answered_by_the_default_at_the_endpoints_rate() -> None:
    async with (
        OpenAIDouble(default="tokens-7", rate=1000) as endpoint,
        client_of(endpoint.base_url) as client,
    ):
        assert await streamed(client, "some-vendor/model", "") == "".join(tokens_answer(7))


async def test_a_lone_surrogate_comes_back_as_an_escape(endpoint: OpenAIDouble) -> None:
    body = rb'{"model":"echo","messages":[{"role":"user","content":"\ud800 canary-7"}]}'
    assert rb'"You said: \ud800 canary-7"' in await raw(endpoint, post(body))


async def test_content_in_parts_is_read(client: AsyncOpenAI) -> None:
    messages: Any = [{"role": "user", "content": [{"type": "text", "text": "in parts"}]}]
    answer = await client.chat.completions.create(model="echo", messages=messages)
    assert answer.choices[0].message.content == "You said: in parts"


async def test_models_are_listed(endpoint: OpenAIDouble, client: AsyncOpenAI) -> None:
    assert "echo" in [model.id async for model in client.models.list()]
    assert [r.path for r in endpoint.other_requests] == ["/v1/models"]
    assert endpoint.requests == []
    assert endpoint.request_count == 0


# Tools


async def test_a_tool_call_comes_in_fragments(client: AsyncOpenAI) -> None:
    model = 'tool:look_up:{"query": "all about $message", "limit": 3}'
    all_chunks = [c async for c in chunks(client, model, "canary-8")]
    first, *rest = [f for c in all_chunks for f in c.choices[0].delta.tool_calls or []]
    assert first.id is not None
    assert first.id.startswith("call_")
    assert first.function is not None
    assert (first.function.name, first.function.arguments) == ("look_up", "")
    assert len(rest) > 2
    assert all(f.id is None and f.function and f.function.name is None for f in rest)
    arguments = "".join(f.function.arguments or "" for f in rest if f.function)
    assert json.loads(arguments) == {"query": "all about canary-8", "limit": 3}
    assert all_chunks[-1].choices[0].finish_reason == "tool_calls"


@pytest.mark.parametrize("stream", [True, False])
async def test_parallel_calls_and_then_an_answer_that_quotes_the_results(
    chat: ChatBuilder, stream: bool
) -> None:
    calls = [{"name": "add", "arguments": {"a": 1}}, {"name": "now"}]
    model = chat(f"tools:{json.dumps(calls)}", streaming=stream)
    question = HumanMessage("go")
    answer = await model.ainvoke([question])
    asked = [(call["name"], call["args"]) for call in answer.tool_calls]
    assert asked == [("add", {"a": 1}), ("now", {})]
    assert len({call["id"] for call in answer.tool_calls}) == 2
    results = [ToolMessage(f"canary-{c['name']}", tool_call_id=c["id"]) for c in answer.tool_calls]
    history = [question, answer, *results]
    assert (await model.ainvoke(history)).text == "The tools said: canary-add | canary-now"
    assert (await model.ainvoke([*history, HumanMessage("again")])).tool_calls


# Faults


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("model", "error", "langchain_error"),
    [
        ("fail-400", openai.BadRequestError, langchain_errors.OpenAIInvalidRequestError),
        ("fail-401", openai.AuthenticationError, langchain_errors.OpenAIAuthenticationError),
        ("fail-403", openai.PermissionDeniedError, langchain_errors.OpenAIPermissionDeniedError),
        ("fail-404", openai.NotFoundError, langchain_errors.OpenAIModelNotFoundError),
        ("fail-429", openai.RateLimitError, langchain_errors.OpenAIRateLimitError),
        ("fail-500", openai.InternalServerError, langchain_errors.OpenAIAPIError),
        ("fail-529", openai.InternalServerError, langchain_errors.OpenAIAPIError),
    ],
)
async def test_a_refusal_is_the_libraries_own_error(
    client: AsyncOpenAI,
    chat: ChatBuilder,
    stream: bool,
    model: str,
    error: type[openai.APIStatusError],
    langchain_error: type[Exception],
) -> None:
    with pytest.raises(error, match="canary-9") as caught:
        await (streamed if stream else whole)(client, model, "canary-9")
    assert caught.value.status_code == int(model.removeprefix("fail-"))
    assert ("sk-openai" in caught.value.message) == (model == "fail-401")
    with pytest.raises(langchain_error, match="canary-9"):
        await chat(model, streaming=stream).ainvoke("canary-9")


async def test_retry_after_is_sent_unless_the_name_says_bare(client: AsyncOpenAI) -> None:
    for model, header in (("fail-429", "0"), ("fail-429-bare", None)):
        with pytest.raises(openai.RateLimitError) as caught:
            await whole(client, model, "")
        assert caught.value.response.headers.get("retry-after") == header


async def test_a_client_that_retries_is_seen_to(endpoint: OpenAIDouble) -> None:
    async with client_of(endpoint.base_url, max_retries=1) as client:
        with pytest.raises(openai.RateLimitError):
            await whole(client, "fail-429", "")
    assert endpoint.request_count == 2


async def test_strict_refuses_the_fields_that_old_servers_do_not_know(
    client: AsyncOpenAI, chat: ChatBuilder
) -> None:
    assert await streamed(client, "strict", "hi") == "You said: hi"
    with pytest.raises(openai.BadRequestError):
        _ = [c async for c in chunks(client, "strict", stream_options={"include_usage": True})]
    with pytest.raises(langchain_errors.OpenAIInvalidRequestError):
        _ = [c async for c in chat("strict", stream_usage=True).astream("hi")]


@pytest.mark.parametrize(("model", "count"), [("cut", 3), ("cut-0", 0), ("cut-5", 5)])
async def test_a_cut_stream_delivers_its_tokens_and_then_breaks(
    endpoint: OpenAIDouble, client: AsyncOpenAI, chat: ChatBuilder, model: str, count: int
) -> None:
    parts = (token(c) async for c in chunks(client, model, ""))
    assert await failing(parts, openai.APIConnectionError) == tokens_answer(count)
    parts = (c.text async for c in chat(model).astream("x"))
    assert await failing(parts, langchain_errors.OpenAIConnectionError) == tokens_answer(count)
    with_role = ("chunk" async for _ in chunks(client, model, ""))
    expected = count + 1 if count else 0
    assert len(await failing(with_role, openai.APIConnectionError)) == expected
    with pytest.raises(openai.APIConnectionError):
        await whole(client, model, "")
    await endpoint.wait_idle()
    assert [(r.finished, r.aborted) for r in endpoint.requests] == [(False, False)] * 4


async def test_a_truncated_stream_ends_in_good_order_and_without_a_finish_reason(
    client: AsyncOpenAI, chat: ChatBuilder
) -> None:
    parts = [c async for c in chunks(client, "truncated-4", "")]
    assert [token(c) for c in parts if token(c)] == tokens_answer(4)
    assert all(c.choices[0].finish_reason is None for c in parts)
    texts = [c.text async for c in chat("truncated-4").astream("x")]
    assert "".join(texts) == "".join(tokens_answer(4))


async def test_html_instead_of_a_stream(client: AsyncOpenAI, chat: ChatBuilder) -> None:
    assert [c async for c in chunks(client, "not-sse", "")] == []
    with pytest.raises(ValueError, match="No generation chunks"):
        _ = [c async for c in chat("not-sse").astream("x")]
    with pytest.raises(ValueError, match="Unexpected response type"):
        await chat("not-sse").ainvoke("x")


async def test_an_empty_stream(client: AsyncOpenAI, chat: ChatBuilder) -> None:
    assert [c async for c in chunks(client, "empty", "")] == []
    assert (await whole(client, "empty", "")).choices == []
    with pytest.raises(ValueError, match="No generation chunks"):
        _ = [c async for c in chat("empty").astream("x")]


async def test_a_broken_data_line_comes_after_one_token(
    client: AsyncOpenAI, chat: ChatBuilder
) -> None:
    for parts in (
        (token(c) async for c in chunks(client, "bad-json", "")),
        (c.text async for c in chat("bad-json").astream("x")),
    ):
        assert await failing(parts, json.JSONDecodeError) == ["You "]
    with pytest.raises(json.JSONDecodeError):
        await whole(client, "bad-json", "")


async def test_an_error_inside_the_stream_comes_after_the_text(
    client: AsyncOpenAI, chat: ChatBuilder
) -> None:
    for parts in (
        (token(c) async for c in chunks(client, "error-in-stream", "canary-10")),
        (c.text async for c in chat("error-in-stream").astream("canary-10")),
    ):
        texts = await failing(parts, openai.APIError, "Provider failed on: canary-10")
        assert "".join(texts) == "You said: canary-10"
    answer = await whole(client, "error-in-stream", "canary-10")
    assert "Provider failed on: canary-10" in answer.to_json()
    with pytest.raises(ValueError, match="Provider failed on: canary-10"):
        await chat("error-in-stream").ainvoke("canary-10")


async def test_nobody_listens_behind_a_refused_url(chat: ChatBuilder) -> None:
    with refused_url() as url:
        async with client_of(url) as client:
            with pytest.raises(openai.APIConnectionError):
                await whole(client, "echo", "")
        with pytest.raises(langchain_errors.OpenAIConnectionError):
            await chat("echo", base_url=url).ainvoke("x")


@pytest.mark.parametrize("model", ["hang", "hang-before"])
async def test_silence_ends_in_the_clients_own_time_out(
    endpoint: OpenAIDouble, chat: ChatBuilder, model: str
) -> None:
    silence = openai.Timeout(30, read=0.2)  # which begins when the request has gone out
    async with client_of(endpoint.base_url, timeout=silence) as client:
        with pytest.raises(openai.APITimeoutError):
            await streamed(client, model, "")
    with pytest.raises(langchain_errors.OpenAITimeoutError):
        _ = [c async for c in chat(model, timeout=silence).astream("x")]
    await endpoint.wait_aborted(2)


async def test_a_slow_first_token_comes_in_the_end(client: AsyncOpenAI) -> None:
    assert await streamed(client, "slow-first-1", "late") == "You said: late"
    answer = await whole(client, "slow-first-1", "late")
    assert answer.choices[0].message.content == "You said: late"


# Clients that go away


async def test_a_stream_that_the_client_closes_is_aborted(
    endpoint: OpenAIDouble, client: AsyncOpenAI, chat: ChatBuilder
) -> None:
    async with aclosing(chunks(client, "hang", "canary-11")) as stream:
        async for chunk in stream:
            if token(chunk):
                break
        assert (endpoint.open_streams, endpoint.aborted_count) == (1, 0)
    await endpoint.wait_aborted(1)
    async for part in chat("hang").astream("canary-12"):
        if part.text:
            break
    await endpoint.wait_aborted(2)
    outcome = [(r.aborted, r.finished, r.tokens_sent) for r in endpoint.requests]
    assert outcome == [(True, False, 1)] * 2
    assert endpoint.open_streams == 0


@pytest.mark.parametrize("model", ["hang-before", "gated-0", "tokens-90000@9", "slow-first-90000"])
@pytest.mark.parametrize("stream", [True, False])
async def test_a_cancelled_request_is_aborted_wherever_it_stands(
    endpoint: OpenAIDouble, client: AsyncOpenAI, model: str, stream: bool
) -> None:
    task = asyncio.create_task((streamed if stream else whole)(client, model, "canary-13"))
    await endpoint.wait_requests(1)
    task.cancel()
    await endpoint.wait_aborted(1)
    assert endpoint.requests[0].aborted
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_nothing_is_sent_for_an_aborted_request(
    endpoint: OpenAIDouble, client: AsyncOpenAI
) -> None:
    async with aclosing(chunks(client, "tokens-90000@1000", "")) as stream:
        await anext(stream)
    await endpoint.wait_aborted(1)
    sent = endpoint.requests[0].tokens_sent
    assert await streamed(client, "tokens-20@1000", "") == "".join(tokens_answer(20))
    assert endpoint.requests[0].tokens_sent == sent


async def test_a_finished_answer_is_not_aborted(
    endpoint: OpenAIDouble, client: AsyncOpenAI
) -> None:
    await streamed(client, "echo", "")
    await endpoint.wait_idle()
    await client.close()
    assert [(r.finished, r.aborted) for r in endpoint.requests] == [(True, False)]
    with pytest.raises(TimeoutError, match="1 requests, 0 open, 0 aborted"):
        await endpoint.wait_aborted(1, 0.01)


async def test_closing_the_endpoint_ends_its_streams_and_blames_no_client() -> None:
    endpoint = OpenAIDouble()
    async with endpoint:
        client = client_of(endpoint.base_url)
        task = asyncio.create_task(streamed(client, "hang", ""))
        await endpoint.wait_requests(1)
    with pytest.raises(openai.APIConnectionError):
        await task
    await client.close()
    assert endpoint.open_streams == 0
    assert not endpoint.requests[0].aborted


@pytest.mark.parametrize("model", ["tokens-40000", "tokens-40000@1000000000"])
async def test_a_client_that_does_not_read_stops_the_flow_and_loses_nothing(
    endpoint: OpenAIDouble, client: AsyncOpenAI, model: str
) -> None:
    async with wire(endpoint) as (reader, writer):
        writer.write(post({"model": model, "messages": said("x"), "stream": True}))
        await endpoint.wait_requests(1)
        before = -1
        while before != (before := endpoint.requests[0].tokens_sent):
            assert await streamed(client, "echo", "others go on") == "You said: others go on"
        assert 0 < before < 40000
        received = bytearray()
        async with asyncio.timeout(60):
            while not received.endswith(b"\r\n0\r\n\r\n"):
                received += await reader.read(2**20)
    assert received.count(b'"content"') == 40001


# Gates and scripts


async def test_a_gate_holds_one_users_stream_and_no_other(
    endpoint: OpenAIDouble, client: AsyncOpenAI
) -> None:
    assert endpoint.release("canary-a") == 0
    a, b = (
        asyncio.create_task(streamed(client, "gated-2", f"from {name}"))
        for name in ("canary-a", "canary-b")
    )
    await endpoint.wait_held(count=2)
    assert [r.tokens_sent for r in endpoint.requests] == [2, 2]
    assert endpoint.release("canary-a") == 1
    assert await a == "You said: from canary-a"
    await endpoint.wait_until(lambda: endpoint.open_streams == 1)
    assert not b.done()
    assert endpoint.matching("canary-b")[0].held
    assert endpoint.release_all() == 1
    assert await b == "You said: from canary-b"


async def test_a_release_counts_from_the_arrival_of_a_request(
    endpoint: OpenAIDouble, client: AsyncOpenAI
) -> None:
    task = asyncio.create_task(streamed(client, "gated", "canary-14"))
    await endpoint.wait_requests(1)
    assert endpoint.release("canary-14") == 1
    assert await task == "You said: canary-14"


async def test_a_script_of_ones_own_may_have_many_gates_and_steps() -> None:
    def script(request: Request) -> list[Step]:
        return [Text(["a ", "b "]), Gate(), Text(["c "]), Gate(), ToolCalls([("f", "{}")])]

    async with (
        OpenAIDouble(scripts={"mine": script}) as endpoint,
        client_of(endpoint.base_url) as client,
    ):
        assert "mine" in [model.id async for model in client.models.list()]
        task = asyncio.create_task(whole(client, "mine", "canary-15"))
        for sent in (2, 3):
            await endpoint.wait_held("canary-15")
            assert endpoint.requests[0].tokens_sent == sent
            endpoint.release("canary-15")
        message = (await task).choices[0].message
        assert message.content == "a b c "
        assert message.tool_calls is not None
        assert len(message.tool_calls) == 1


async def test_a_script_that_fails_is_heard_of_at_the_end() -> None:
    def broken(request: Request) -> list[Step]:
        raise LookupError(request.last_user)

    async def use() -> None:
        async with (
            OpenAIDouble(scripts={"broken": broken}) as endpoint,
            client_of(endpoint.base_url) as client,
        ):
            with pytest.raises(openai.InternalServerError):
                await whole(client, "broken", "")

    with pytest.raises(ExceptionGroup, match="scripts") as caught:
        await use()
    assert caught.group_contains(LookupError)


async def test_an_answer_that_fails_half_way_drops_the_connection_and_is_heard_of() -> None:
    def broken(request: Request) -> list[Any]:
        return [Text(["a "]), Text([None])]  # type: ignore[list-item]

    async def use() -> None:
        async with (
            OpenAIDouble(scripts={"broken": broken}) as endpoint,
            client_of(endpoint.base_url) as client,
        ):
            with pytest.raises(openai.APIConnectionError):
                await whole(client, "broken", "")

    with pytest.raises(ExceptionGroup, match="scripts") as caught:
        await use()
    assert caught.group_contains(TypeError)


def test_an_unknown_default_is_refused() -> None:
    with pytest.raises(ValueError, match="fail-503x"):
        OpenAIDouble(default="fail-503x")


# The record


async def test_requests_are_recorded_with_headers_and_body(
    endpoint: OpenAIDouble, client: AsyncOpenAI
) -> None:
    await streamed(client, "echo", "one", "two canary-16")
    (request,) = endpoint.requests
    assert request.authorization == "Bearer sk-openai"
    assert request.model == "echo"
    assert request.body["stream"] is True
    assert (request.user_texts, request.last_user) == (["one", "two canary-16"], "two canary-16")
    assert request.arrived_at <= asyncio.get_running_loop().time()
    assert request.cookie is None


async def test_a_client_that_keeps_cookies_is_found_out(
    endpoint: OpenAIDouble, client: AsyncOpenAI
) -> None:
    for _ in range(3):
        await whole(client, "echo", "")
    sent = [r.set_cookie.partition(";")[0] for r in endpoint.requests if r.set_cookie]
    assert len(set(sent)) == 3
    assert [r.cookie for r in endpoint.requests] == [None, *sent[:2]]


async def test_a_jar_that_stores_nothing_sends_nothing(endpoint: OpenAIDouble) -> None:
    class NoCookies(CookieJar):
        def set_cookie(self, cookie: Cookie) -> None:
            """Forget it."""

    async with (
        openai.DefaultAsyncHttpxClient(cookies=NoCookies()) as http,
        client_of(endpoint.base_url, http_client=http) as client,
    ):
        for _ in range(2):
            await whole(client, "echo", "")
    assert [r.cookie for r in endpoint.requests] == [None, None]
    assert all(r.set_cookie for r in endpoint.requests)


async def test_the_record_is_capped_and_the_counts_are_not() -> None:
    async with (
        OpenAIDouble(keep=2, set_cookie=False) as endpoint,
        client_of(endpoint.base_url) as client,
    ):
        for number in range(5):
            await whole(client, "echo", f"message {number}")
        assert [r.last_user for r in endpoint.requests] == ["message 3", "message 4"]
        assert endpoint.request_count == 5
        assert endpoint.requests[0].set_cookie is None


async def test_users_at_once_get_each_their_own(
    endpoint: OpenAIDouble, client: AsyncOpenAI
) -> None:
    models = ("echo", "memory", "tokens-20", "tokens-20@800", 'tool:f:{"x": "$message"}')

    async def turn(user: int) -> None:
        own = f"canary-{user:03}x"
        for model in models:
            deltas = [c.choices[0].delta async for c in chunks(client, model, f"my {own}")]
            calls = [f.function for delta in deltas for f in delta.tool_calls or []]
            text = "".join(delta.content or "" for delta in deltas)
            text += "".join(call.arguments or "" for call in calls if call)
            assert text.count("canary-") == text.count(own) == 1

    await asyncio.gather(*(turn(user) for user in range(20)))
    assert endpoint.request_count == 20 * len(models)


# HTTP


async def test_a_request_in_pieces_and_two_at_once_are_read(endpoint: OpenAIDouble) -> None:
    one, two = (post({"model": "echo", "messages": said(t), "stream": True}) for t in "ab")
    async with wire(endpoint) as (reader, writer):
        for at in range(0, len(one), 7):
            writer.write(one[at : at + 7])
            await writer.drain()
            await asyncio.sleep(0)
        assert b'"a"' in await receive(reader)
        writer.write(one + two)
        assert b'"a"' in await receive(reader)
        assert b'"b"' in await receive(reader)
    assert [r.last_user for r in endpoint.requests] == ["a", "a", "b"]


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /nowhere HTTP/1.1\r\n\r\n", 404),
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", 400),
        (b"x" * (MAX_HEAD + 1), 400),
        (post(b"{not json"), 400),
        (post(["a list"]), 400),
        (post({"model": "echo", "messages": "text"}), 400),
    ],
)
async def test_what_is_no_request_is_refused(
    endpoint: OpenAIDouble, data: bytes, status: int
) -> None:
    assert (await raw(endpoint, data)).startswith(b"HTTP/1.1 %d " % status)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_as_a_process_it_prints_its_url_and_ends_on_a_signal(number: signal.Signals) -> None:
    command = ["-m", "tests.doubles.openai_server", "--rate", "500", "--tokens", "20"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            url = (await process.stdout.readline()).decode().strip()
            async with client_of(url) as client:
                assert await streamed(client, "any", "") == "".join(tokens_answer(20))
                stream = await client.chat.completions.create(
                    model="hang", messages=said(""), stream=True
                )
                process.send_signal(number)
                assert await process.wait() == 0
                with pytest.raises(openai.APIConnectionError):
                    _ = [chunk async for chunk in stream]
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
