"""What endpoints say of failures: read within bounds, classified, logged without secrets, retried."""

import asyncio
import contextlib
import gzip
import math
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from email.utils import formatdate
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from cmw_agent.config.model_profiles import ModelProfile
from cmw_agent.llm.endpoint import MAX_ERROR, read_error_body
from cmw_agent.llm.error_details import MAX_MESSAGE, ErrorReader
from cmw_agent.llm.errors import (
    RequestRefusedError,
    StreamRefusedError,
    UnreachableError,
    UpstreamError,
    log_fields,
)
from cmw_agent.llm.explanations import SENTENCES, explain
from cmw_agent.llm.http_client import Upstream
from cmw_agent.llm.retries import LONGEST_PAUSE, pause_before_retry, read_advice
from tests.doubles.openai_server import OpenAIDouble, refused_url
from tests.doubles.openai_steps import Plain, Request, Script, Step, Text
from tests.doubles.openai_wire import encode
from tests.harness import WAIT, canary, settings_for
from tests.logbook import logbook
from tests.service import all_events, running_app, session_of, turn_end

KEY = "my-own-secret-key"
PAYLOAD: dict[str, Any] = {"model": "m", "messages": [], "stream": True}


def refusal(status: int, body: bytes | object, request: bytes = b"") -> RequestRefusedError:
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    return RequestRefusedError(status, ErrorReader([KEY]).of_body(status, data, request))


SHAPES: Sequence[tuple[object, tuple[str | None, str | None, str | None], str]] = [
    (
        {"error": {"message": "No.", "type": "t", "code": "c", "param": "p"}},
        ("c", "t", "p"),
        "No.",
    ),
    ({"error": "No."}, (None, None, None), "No."),
    ({"error": "No.", "error_type": "validation"}, (None, "validation", None), "No."),
    ({"detail": "No."}, (None, None, None), "No."),
    (
        {"detail": [{"loc": ["body", "messages", 0], "msg": "No.", "type": "t", "input": "x"}]},
        (None, "t", "messages.0"),
        "No.",
    ),
    ({"message": "No.", "code": 7}, ("7", None, None), "No."),
    ({"errors": [{"message": "No.", "code": 7003}]}, ("7003", None, None), "No."),
    ({"errors": ["No.", "Never."]}, (None, None, None), "No.; Never."),
    ({"errors": {"seed": ["No."]}}, (None, None, None), "No."),
    (
        {"object": "error", "message": "No.", "type": "t", "param": None, "code": 400},
        ("400", "t", None),
        "No.",
    ),
    (
        [{"error": {"code": 400, "message": "No.", "status": "INVALID_ARGUMENT"}}],
        ("400", "INVALID_ARGUMENT", None),
        "No.",
    ),
    (
        {"type": "error", "error": {"type": "overloaded_error", "message": "No."}},
        (None, "overloaded_error", None),
        "No.",
    ),
    ({"error": {"message": '{"error":{"message":"No."}}'}}, (None, None, None), "No."),
    (
        {"error": {"message": "Provider returned error", "metadata": {"raw": "No."}}},
        (None, None, None),
        "Provider returned error: No.",
    ),
    ({"error": {"message": ["No."]}}, (None, None, None), "No."),
    ({"error": True, "reason": "No."}, (None, None, None), "No."),
    ({"fault": {"faultstring": "No.", "detail": {"errorcode": "x"}}}, (None, None, None), "No."),
    ("No.", (None, None, None), "No."),
    (b"No.\r\n", (None, None, None), "No."),
    (b"\xef\xbb\xbf" + b'{"error": "No."}', (None, None, None), "No."),
    (
        b"<!doctype html><title>No.</title><script>var a = '<b>'</script><p>Never &amp; no",
        (None, "html", None),
        "No. Never & no",
    ),
    (b'{"error": {"message": "No.", "input": "aaaa', (None, None, None), "No."),
    (b"", (None, None, None), ""),
    (b"\xff\xfe\x00", (None, None, None), "\ufffd\ufffd"),
    ({"error": {"a": 1}}, (None, None, None), ""),
    ([], (None, None, None), ""),
    ({}, (None, None, None), ""),
]


@pytest.mark.parametrize(("body", "words", "message"), SHAPES)
def test_every_shape_of_an_error_is_read(
    body: object, words: tuple[str | None, str | None, str | None], message: str
) -> None:
    details = refusal(400, body).details
    assert details is not None
    assert (details.code, details.type, details.param) == words
    assert details.message == message
    assert details.status == 400


def test_an_error_that_nests_without_end_is_read_within_bounds() -> None:
    body: dict[str, Any] = {"message": "deep"}
    for _ in range(200):
        body = {"error": body}
    assert refusal(400, body).kind == "rejected"
    assert refusal(400, b'{"error":' * 50_000).kind == "rejected"


def said(text: str, **more: Any) -> dict[str, Any]:
    return {"error": {"message": text, **more}}


KINDS: Sequence[tuple[int, object, str]] = [
    (400, said("no"), "rejected"),
    (400, said("no", code="context_length_exceeded"), "too_long"),
    (400, said("This model's maximum context length is 8192 tokens."), "too_long"),
    (400, said("the request exceeds the available context size, try increasing it"), "too_long"),
    (400, said("prompt is too long: 210000 tokens > 200000 maximum"), "too_long"),
    (400, said("The input token count (9) exceeds the maximum number of tokens allowed"), "too_long"),
    (400, said("Your request was flagged", code="content_policy_violation"), "moderated"),
    (400, said("The response was filtered", code="content_filter"), "moderated"),
    (400, said("Your credit balance is too low to access the API."), "no_credit"),
    (400, said("API key not valid. Please pass a valid API key."), "unauthorised"),
    (400, said("Model Not Exist"), "no_such_model"),
    (400, said("gpt-9 is not a valid model ID"), "no_such_model"),
    (400, said("'max_tokens' is not supported with this model. Use another."), "rejected"),
    (401, said("no"), "unauthorised"),
    (402, said("no"), "no_credit"),
    (403, said("no"), "unauthorised"),
    (403, said("Your chosen model requires moderation and your input was flagged"), "moderated"),
    (403, said("against our policy"), "moderated"),
    (403, said("Project p does not have access to model gpt-4", code="model_not_found"), "no_such_model"),
    (403, b"<html><title>Forbidden</title></html>", "unauthorised"),
    (404, said("The model `x` does not exist"), "no_such_model"),
    (404, {"error": 'model "x" not found, try pulling it first'}, "no_such_model"),
    (404, said("no", param="model"), "no_such_model"),
    (404, said("No endpoints found for x/y."), "no_such_model"),
    (404, said("Not found", code="DeploymentNotFound"), "no_such_model"),
    (404, {"detail": "Not Found"}, "wrong_address"),
    (404, b"404 page not found", "wrong_address"),
    (404, b"<html><body>This model of a page is not found</body></html>", "wrong_address"),
    (404, said("Invalid URL (POST /v1/v1/chat/completions)"), "wrong_address"),
    (404, b"", "wrong_address"),
    (405, {"detail": "Method Not Allowed"}, "wrong_address"),
    (304, b"", "wrong_address"),
    (408, b"", "timeout"),
    (409, b"", "rate_limited"),
    (413, b"", "too_long"),
    (422, said("no"), "rejected"),
    (429, said("Rate limit reached on tokens per min"), "rate_limited"),
    (429, said("You exceeded your current quota", code="insufficient_quota"), "no_credit"),
    (429, said("Request too large for gpt-4o on tokens per min"), "too_long"),
    (500, said("context length"), "too_long"),
    (529, b"", "server_error"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "body", "kind"), KINDS)
def test_a_refusal_has_the_kind_that_its_status_and_its_words_mean(
    status: int, body: object, kind: str
) -> None:
    error = refusal(status, body)
    assert error.kind == kind
    assert error.status_code == status


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        ({"error": {"message": "oops", "code": 502}}, "refused"),
        ({"error": {"message": "slow down", "code": 429}}, "rate_limited"),
        ({"error": {"message": "no", "code": "insufficient_quota"}}, "no_credit"),
        ({"error": {"message": "maximum context length"}}, "too_long"),
        ({"error": {"message": "no", "code": 401}}, "unauthorised"),
        ({"object": "error", "message": "no", "code": 400}, "refused"),
    ],
)
def test_an_error_in_a_stream_has_its_own_kind_only_where_it_says_more(
    event: object, kind: str
) -> None:
    details = ErrorReader([]).of_event(event, b"")
    assert StreamRefusedError(details).kind == kind


def test_each_kind_has_one_sentence_that_says_what_to_do_next(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, model="gpt-x", model_timeout=75)
    other = ModelProfile("other", "other", base_url="https://b.example/v1", silence=30)
    assert len(set(SENTENCES.values())) == len(SENTENCES)
    for kind in SENTENCES:
        error = UpstreamError()
        error.kind = kind
        sentence = explain(error, settings).sentence
        first, _, rest = sentence.partition("; ")
        assert 15 <= len(first) <= 120
        assert 10 <= len(rest) <= 100
        assert rest.endswith(".")
        assert not set("{}*\n") & set(sentence)
    assert "75 seconds" in explain(TimeoutError(), settings).sentence
    assert "30 seconds" in explain(TimeoutError(), settings, other).sentence
    unknown = RequestRefusedError(404, ErrorReader([]).of_body(404, b"no such model", b""))
    assert "'other'" in explain(unknown, settings, other).sentence
    assert "agents.toml" in explain(unknown, settings, other).sentence


# -- what is struck out -----------------------------------------------------------

SECRETS = (
    KEY,
    "sk-proj-abcdefgh12345678",
    "sk-ab***************xyz",
    "hf_abcdefghijklmnop",
    "gsk_abcdefghijklmnop",
    "AIzaSyA1234567890abcdefghijk",
    "eyJhbGciOiJI.eyJzdWIiOiIx.c2lnbmF0dXJl",
    "Bearer abc",
    "?key=abc123",
    "&api_key=abc123",
    "0123456789abcdef0123456789abcdef",
    "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGk=",
)


@pytest.mark.parametrize("secret", SECRETS)
def test_keys_are_struck_out_and_words_stay(secret: str) -> None:
    text = f"Incorrect API key provided: '{secret}' for mistralai/Mixtral-8x22B-Instruct-v0.1."
    error = refusal(400, said(text, code=secret, type=secret, param=secret))
    logged = str(log_fields(error))
    assert secret.removeprefix("?").removeprefix("&") not in logged
    assert "for mistralai/Mixtral-8x22B-Instruct-v0.1." in logged
    assert "Incorrect API key provided" in logged


def test_what_is_quoted_of_the_messages_is_struck_out_and_the_instructions_are_not() -> None:
    secret = canary()
    messages = [
        {"role": "system", "content": "You are a helpful assistant"},
        {"role": "user", "content": [{"type": "text", "text": f"tell me\n{secret} now"}]},
        {"role": "assistant", "content": "gladly", "tool_calls": [{"function": {"name": "a_long_name"}}]},
    ]  # fmt: skip
    request = orjson.dumps({"messages": messages})
    text = f"cannot answer {secret} now: You are a helpful assistant"
    for body in (said(text), {"detail": [{"msg": text, "input": secret}]}):
        details = refusal(400, body, request).details
        assert details is not None
        assert secret not in details.text + details.message
        assert details.message.startswith("cannot answer")
        assert details.message.endswith("You are a helpful assistant")


def test_a_message_is_cut_and_has_no_control_characters() -> None:
    details = refusal(400, said("a\r\nb\x1b[31m\x00\u2028c" + "d" * 5_000)).details
    assert details is not None
    assert len(details.message) == MAX_MESSAGE
    assert details.message.startswith("a b [31m cddd")
    assert details.message.isprintable()


# -- retries ----------------------------------------------------------------------

ADVICE: Sequence[tuple[int, Mapping[str, str], tuple[float, float] | None]] = [
    (500, {}, (0.3, 0.5)),
    (408, {}, (0.3, 0.5)),
    (409, {}, (0.3, 0.5)),
    (429, {}, (0.3, 0.5)),
    (503, {}, (0.3, 0.5)),
    (520, {}, (0.3, 0.5)),
    (522, {}, (0.3, 0.5)),
    (529, {}, (0.3, 0.5)),
    (599, {}, (0.3, 0.5)),
    (400, {}, None),
    (404, {}, None),
    (402, {}, None),
    (400, {"x-should-retry": "true"}, (0.3, 0.5)),
    (503, {"x-should-retry": "false"}, None),
    (402, {"x-should-retry": "true"}, None),
    (429, {"retry-after": "2"}, (2, 2)),
    (429, {"retry-after": "0.25"}, (0.25, 0.25)),
    (429, {"retry-after": "0"}, (0.3, 0.5)),
    (429, {"retry-after": "-5"}, (0.3, 0.5)),
    (429, {"retry-after-ms": "1500", "retry-after": "60"}, (1.5, 1.5)),
    (429, {"retry-after-ms": "soon", "retry-after": "3"}, (3, 3)),
    (429, {"retry-after": "31536000"}, None),
    (429, {"retry-after": "1e999"}, None),
    (429, {"retry-after": "nan"}, (0.3, 0.5)),
    (429, {"retry-after": "soon"}, (0.3, 0.5)),
    (429, {"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, (0.3, 0.5)),
    (429, {"retry-after": "Wed, 21 Oct 99999 07:28:00 GMT"}, None),
    (503, {"retry-after": formatdate(time.time() + 10_000, usegmt=True)}, None),
]


@pytest.mark.parametrize(("status", "headers", "bounds"), ADVICE)
def test_a_pause_is_what_the_server_asks_for_if_it_is_short(
    status: int, headers: Mapping[str, str], bounds: tuple[float, float] | None
) -> None:
    error = RequestRefusedError(status)
    read_advice(error, headers)
    pause = pause_before_retry(error, 1)
    if bounds is None:
        assert pause is None
    else:
        assert pause is not None
        assert bounds[0] <= pause <= bounds[1]


def test_a_date_to_come_is_a_pause() -> None:
    error = RequestRefusedError(503)
    read_advice(error, {"retry-after": formatdate(time.time() + 5, usegmt=True)})
    pause = pause_before_retry(error, 1)
    assert pause is not None
    assert 2 < pause <= 5


def test_pauses_grow_up_to_a_bound_and_differ() -> None:
    pauses = [pause_before_retry(UnreachableError(), tries) or math.inf for tries in range(1, 12)]
    assert pauses[0] < pauses[2] < pauses[4] <= LONGEST_PAUSE
    assert max(pauses) <= LONGEST_PAUSE
    assert len({pause_before_retry(UnreachableError(), 3) for _ in range(9)}) > 1
    assert pause_before_retry(ValueError(), 1) is None


def once(status: int, body: object = None, **headers: str) -> Script:
    """Return a server that fails once, and is then well."""
    failed: list[Request] = []

    def script(request: Request) -> Sequence[Step]:
        if failed:
            return [Text(["well"])]
        failed.append(request)
        return [Plain(status, encode(body or said("later")), headers)]

    return script


@pytest.mark.parametrize("status", [408, 409, 429, 500, 503, 520, 522, 524, 529])
async def test_a_failure_that_may_pass_is_asked_again(status: int) -> None:
    headers = {"retry-after-ms": "1"}
    async with OpenAIDouble(scripts={"m": once(status, **headers)}) as endpoint:
        async with upstream_of(endpoint.base_url) as upstream:
            assert b"well" in await (await upstream.open(PAYLOAD)).read()
        assert endpoint.request_count == 2


@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (429, said("no", code="insufficient_quota"), {}),
        (429, said("later"), {"retry-after": "31536000"}),
        (503, said("later"), {"x-should-retry": "false"}),
        (402, said("no credit"), {}),
        (404, said("no model"), {}),
    ],
)
async def test_a_failure_that_lasts_is_told_at_once(
    status: int, body: object, headers: dict[str, str]
) -> None:
    async with OpenAIDouble(scripts={"m": once(status, body, **headers)}) as endpoint:
        async with upstream_of(endpoint.base_url) as upstream:
            with pytest.raises(RequestRefusedError):
                await upstream.open(PAYLOAD)
        assert endpoint.request_count == 1


# -- bodies that are no good ------------------------------------------------------


@contextlib.asynccontextmanager
async def upstream_of(base_url: str, key: str | None = KEY) -> AsyncIterator[Upstream]:
    upstream = Upstream(base_url, key=key, read_seconds=20.0, connections=4)
    try:
        yield upstream
    finally:
        await upstream.close()


Serve = Callable[[asyncio.StreamWriter], Any]


@contextlib.asynccontextmanager
async def answering(serve: Serve) -> AsyncIterator[str]:
    """Run a server that answers each request's head by what `serve` writes."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            await serve(writer)
        writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"


async def failure(base_url: str) -> UpstreamError:
    async with upstream_of(base_url) as upstream:
        with pytest.raises(UpstreamError) as failed:
            async with asyncio.timeout(WAIT):
                await upstream.open(PAYLOAD)
    return failed.value


async def test_of_a_huge_error_only_the_beginning_is_read() -> None:
    written = 0

    async def serve(writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(b"HTTP/1.1 400 No\r\ncontent-length: 100000000\r\n\r\n")
        writer.write(b'{"error":{"message":"the beginning","input":"')
        while written < 100_000_000:
            writer.write(b"a" * 65_536)
            await writer.drain()
            written += 65_536

    async with answering(serve) as url:
        error = await failure(url)
    assert error.details is not None
    assert error.details.message == "the beginning"
    assert written < 20_000_000  # what the socket's buffers take


async def test_an_error_that_decompresses_to_very_much_is_bounded() -> None:
    body = gzip.compress(b'{"error":"the beginning","x":"' + b"a" * 50_000_000)

    async def serve(writer: asyncio.StreamWriter) -> None:
        head = f"HTTP/1.1 400 No\r\ncontent-encoding: gzip\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()

    async with answering(serve) as url:
        error = await failure(url)
    assert error.details is not None
    assert len(error.details.text) < MAX_ERROR
    assert error.kind == "rejected"


@pytest.mark.parametrize(
    ("head", "body", "kind"),
    [
        (b"content-length: 5000", b'{"error": "too short"}', "no_credit"),
        (b"transfer-encoding: chunked", b"ff\r\nhalf a", "no_credit"),
        (b"transfer-encoding: chunked", b"zz\r\n", "not_a_stream"),
        (b"content-encoding: gzip\r\ncontent-length: 4", b"nope", "no_credit"),
        (b"content-length: 0", b'{"error": "too much"}', "not_a_stream"),
        (b"content-length: -5", b"", "not_a_stream"),
        (b"content-length: 5\r\ncontent-length: 6", b"hello", "not_a_stream"),
    ],
)
async def test_an_error_whose_length_or_encoding_lies_is_told_by_its_status_or_as_no_answer(
    head: bytes, body: bytes, kind: str
) -> None:
    async def serve(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 402 No\r\n" + head + b"\r\n\r\n" + body)
        await writer.drain()

    async with answering(serve) as url:
        assert (await failure(url)).kind == kind


async def test_an_error_that_never_ends_is_told_with_what_came() -> None:
    gone = asyncio.Event()

    async def serve(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 No\r\ncontent-length: 50\r\n\r\ntoo many tokens")
        await writer.drain()
        await gone.wait()

    async with answering(serve) as url, aiohttp.ClientSession() as session:
        async with asyncio.timeout(WAIT):
            body = await read_error_body(await session.get(url), seconds=0.2)
        gone.set()
    assert body == b"too many tokens"


async def test_a_head_without_end_is_no_answer() -> None:
    async def serve(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            writer.write(b"x-header: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n" * 1000)
            await writer.drain()

    async with answering(serve) as url:
        assert (await failure(url)).kind == "not_a_stream"


async def test_a_server_of_another_protocol_is_no_answer() -> None:
    async def serve(writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.6\r\n")
        await writer.drain()

    async with answering(serve) as url:
        assert (await failure(url)).kind == "not_a_stream"


# -- in the app -------------------------------------------------------------------


async def ended(base_url: str, folder: Path, text: str) -> tuple[str, str, str]:
    """Return the outcome and the sentence of a turn, and the log."""
    settings = settings_for(
        folder, openai_base_url=base_url, openai_api_key=KEY, model="m", model_timeout=20
    )
    with logbook() as book:
        async with running_app(settings) as runtime:
            events = await all_events(
                runtime.chat.turn(await session_of(runtime), text, key=canary())
            )
    end = turn_end(events)
    return end.outcome, str(end.sentence), book.text


async def test_the_log_says_what_the_endpoint_said_and_nothing_that_a_user_did(
    tmp_path: Path,
) -> None:
    secret = canary()

    def script(request: Request) -> Sequence[Step]:
        text = f"Bad key {KEY} in: {request.last_user}"
        return [Plain(400, encode(said(text, type="some_type", code="some_code", param="seed")))]

    async with OpenAIDouble(scripts={"m": script}) as endpoint:
        outcome, sentence, log = await ended(endpoint.base_url, tmp_path, f"please {secret}")
    assert outcome == "failed"
    assert "did not accept this request" in sentence
    (line,) = [line for line in log.splitlines() if "turn failed" in line]
    for field in (
        "status=400",
        "code=some_code",
        "type=some_type",
        "param=seed",
        "message=Bad key",
    ):
        assert field in line
    assert KEY not in log
    assert secret not in log


async def test_the_app_starts_while_its_endpoint_is_down(tmp_path: Path) -> None:
    with refused_url() as url:
        outcome, sentence, _ = await ended(url, tmp_path, "hello")
    assert outcome == "failed"
    assert "cannot be reached" in sentence
