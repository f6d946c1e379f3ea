"""The chat model: its requests, and what its failures mean."""

import asyncio
import contextlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_openai import ChatOpenAI

from cmw_agent.config.settings import Settings
from cmw_agent.llm.chat_model import HistoryMessage, complete_history
from cmw_agent.llm.coalescing import FlushInterval
from cmw_agent.llm.demo_model import DemoModel
from cmw_agent.llm.errors import UpstreamError
from cmw_agent.llm.explanations import classify, explain
from cmw_agent.llm.factory import open_model
from cmw_agent.llm.http_client import Upstream
from cmw_agent.llm.run_events import RunEvents
from tests.doubles.http_proxy import http_proxy
from tests.doubles.openai_server import OpenAIDouble, refused_url
from tests.doubles.openai_steps import Gate, Plain, Text
from tests.harness import WAIT, canary, settings_for
from tests.service import wait_until

KEY = "sk-secret-of-the-app"


async def said(model: BaseChatModel, text: str) -> str:
    """Return the whole answer, streamed as the agent streams it."""
    return "".join([str(chunk.text) async for chunk in model.astream(text)])


async def failure(settings: Settings, text: str) -> Exception:
    """Return what asking the settings' model raises."""
    async with open_model(settings, FlushInterval(0.01)) as model:
        try:
            answer = await said(model, text)
        except Exception as error:  # noqa: BLE001 (whatever it is, it must be explained)
            return error
    raise AssertionError(answer)


def check_told(error: Exception, settings: Settings, secret: str) -> None:
    told = explain(error, settings)
    assert told.status == 502
    assert re.fullmatch(r"[0-9a-f]{8}", told.error_id)
    assert re.fullmatch(r"[A-Z][^\n]{20,200}\.", told.sentence)
    for hidden in (secret, KEY, "http", "127.0.0.1", "Error", "Traceback", "{"):
        assert hidden not in told.sentence


@pytest.mark.parametrize(
    ("model", "kind", "asked"),
    [
        ("fail-400", "rejected", 1),
        ("fail-401", "unauthorised", 1),
        ("fail-403", "unauthorised", 1),
        ("fail-404", "no_such_model", 1),
        ("fail-408", "timeout", 3),
        ("fail-429", "rate_limited", 3),
        ("fail-500", "server_error", 3),
        ("fail-503", "server_error", 3),
        ("hang-before", "timeout", 1),
        ("hang", "timeout", 1),
        ("cut-3", "cut", 1),
        ("cut-0", "cut", 3),
        ("not-sse", "not_a_stream", 1),
        ("bad-json", "not_a_stream", 1),
        ("error-in-stream", "refused", 1),
        ("empty", "failed", 1),
    ],
)
async def test_a_failure_has_a_kind_and_a_sentence_and_is_retried_only_before_the_first_byte(
    model: str, kind: str, asked: int, tmp_path: Path
) -> None:
    secret = canary()
    async with OpenAIDouble() as endpoint:
        settings = settings_for(
            tmp_path,
            openai_base_url=endpoint.base_url,
            openai_api_key=KEY,
            model=model,
            model_timeout=0.7 if model.startswith("hang") else 20,
        )
        error = await failure(settings, f"please {secret}")
        assert classify(error) == kind
        assert endpoint.request_count == asked
        check_told(error, settings, secret)


async def test_a_server_that_cannot_be_reached_is_said_to_be_so(tmp_path: Path) -> None:
    with refused_url() as url:
        settings = settings_for(tmp_path, openai_base_url=url, openai_api_key=KEY)
        secret = canary()
        error = await failure(settings, secret)
    assert classify(error) == "unreachable"
    check_told(error, settings, secret)


def test_no_text_of_an_error_reaches_the_sentence(tmp_path: Path) -> None:
    secret = canary()
    for error in (ValueError(secret), TimeoutError(secret), OSError(secret), KeyError(secret)):
        assert secret not in explain(error, settings_for(tmp_path)).sentence


async def test_without_key_and_address_the_demo_model_answers(tmp_path: Path) -> None:
    async with open_model(settings_for(tmp_path), FlushInterval()) as model:
        assert isinstance(model, DemoModel)


@pytest.mark.parametrize(("key", "header"), [(KEY, f"Bearer {KEY}"), (None, None)])
async def test_the_key_goes_to_the_endpoint_and_nowhere_else(
    key: str | None, header: str | None, tmp_path: Path
) -> None:
    async with OpenAIDouble() as endpoint:
        settings = settings_for(tmp_path, openai_base_url=endpoint.base_url, openai_api_key=key)
        async with open_model(settings, FlushInterval(0.01)) as model:
            assert await said(model, "hi") == "You said: hi"
            assert KEY not in f"{model!r} {model} {settings!r}"
            assert endpoint.requests[0].authorization == header


@pytest.mark.parametrize("usage", [True, False])
async def test_tokens_are_counted_unless_a_setting_says_no(usage: bool, tmp_path: Path) -> None:
    async with OpenAIDouble() as endpoint:
        settings = settings_for(
            tmp_path,
            openai_base_url=endpoint.base_url,
            model="echo" if usage else "strict",
            stream_usage=usage,
        )
        async with open_model(settings, FlushInterval(0.01)) as model:
            chunks = [chunk async for chunk in model.astream("one two")]
    counted = [c for c in chunks if getattr(c, "usage_metadata", None)]
    assert len(counted) == usage
    assert ("stream_options" in endpoint.requests[0].body) == usage


async def test_many_streams_of_one_model_run_at_once_and_share_no_cookie(tmp_path: Path) -> None:
    scripts: dict[str, Any] = {
        "held": lambda request: [Text(["a"]), Gate(), Text([request.last_user])]
    }
    async with OpenAIDouble(scripts=scripts) as endpoint:
        settings = settings_for(
            tmp_path, openai_base_url=endpoint.base_url, model="held", max_turns=60
        )
        async with open_model(settings, FlushInterval(0.01)) as model:
            # More than the hundred connections that HTTP clients hold by default.
            texts = [f"t{number}" for number in range(110)]
            asking = [asyncio.create_task(said(model, text)) for text in texts]
            await endpoint.wait_held(count=110)
            endpoint.release_all()
            assert await asyncio.gather(*asking) == [f"a{text}" for text in texts]
    assert {request.cookie for request in endpoint.requests} == {None}


async def test_what_came_faster_than_it_was_read_comes_whole() -> None:
    pieces = [f"{number:05}" * 4000 for number in range(80)]
    async with OpenAIDouble(scripts={"fast": lambda _: [Text(pieces)]}) as endpoint:
        upstream = Upstream(endpoint.base_url, key=None, read_seconds=5.0, connections=1)
        reply = await upstream.open({"model": "fast", "stream": True, "messages": []})
        await wait_until(
            lambda: reply._body._protocol()._reading_paused
        )  # aiohttp has taken its fill
        received = b""
        async with asyncio.timeout(WAIT):
            while part := await reply.read():
                received += part
        await upstream.close()
    events = [line for line in received.split(b"\n\n") if b'"content":"0' in line]
    assert [json.loads(event[6:])["choices"][0]["delta"]["content"] for event in events] == pieces


async def test_what_one_model_keeps_for_all_is_nobody_s(tmp_path: Path) -> None:
    word = canary()
    async with OpenAIDouble() as endpoint:
        settings = settings_for(tmp_path, openai_base_url=endpoint.base_url)
        async with open_model(settings, FlushInterval(0.01)) as model:
            voice = RunEvents(lambda _: None)
            await complete_history(
                model, f"Told {word}.", [HistoryMessage("user", f"Said {word}.")], (), voice
            )
            assert str(endpoint.requests[-1].body["messages"]).count(word) == 2
            assert isinstance(model, ChatOpenAI)
            assert "stream" in str(model.__pydantic_private__)
            assert word not in str(model.__pydantic_private__) + str(model.__dict__)


async def test_the_connections_are_closed_with_the_app(tmp_path: Path) -> None:
    async with OpenAIDouble() as endpoint:
        settings = settings_for(tmp_path, openai_base_url=endpoint.base_url)
        async with open_model(settings, FlushInterval(0.01)) as model:
            await said(model, "hi")
        assert isinstance(model, ChatOpenAI)
        with pytest.raises(RuntimeError):
            await said(model, "hi")


async def test_the_key_does_not_follow_a_redirect_to_another_server(tmp_path: Path) -> None:
    async with OpenAIDouble() as other:
        there = Plain(307, b"", {"location": f"{other.base_url}/chat/completions"})
        async with OpenAIDouble(scripts={"moved": lambda _: [there]}) as endpoint:
            settings = settings_for(
                tmp_path, openai_base_url=endpoint.base_url, openai_api_key=KEY, model="moved"
            )
            async with open_model(settings, FlushInterval(0.01)) as model:
                with contextlib.suppress(UpstreamError):
                    await said(model, "hi")
        assert endpoint.requests[0].authorization == f"Bearer {KEY}"
        assert [request.authorization for request in other.requests] in ([], [None])


async def test_a_proxy_of_the_environment_is_used_where_it_is_meant_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with OpenAIDouble() as endpoint, http_proxy(endpoint.base_url) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.replace("//", "//user:word@"))
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        near = settings_for(tmp_path, openai_base_url=endpoint.base_url, openai_api_key=KEY)
        async with open_model(near, FlushInterval(0.01)) as model:
            await said(model, "hello")
        assert proxy.requested_urls == []
        far = settings_for(tmp_path, openai_base_url="http://models.invalid/v1", openai_api_key=KEY)
        async with open_model(far, FlushInterval(0.01)) as model:
            assert await said(model, "hello")
        assert proxy.requested_urls == ["http://models.invalid/v1/chat/completions"]
        assert "Proxy-Authorization: Basic dXNlcjp3b3Jk" in proxy.heads[0]
        assert f"authorization: Bearer {KEY}" in proxy.heads[0]


async def test_a_netrc_file_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    async with OpenAIDouble() as endpoint:
        settings = settings_for(tmp_path, openai_base_url=endpoint.base_url, openai_api_key=KEY)
        async with open_model(settings, FlushInterval(0.01)) as model:
            assert await said(model, "hello")
        assert endpoint.requests[-1].headers["authorization"] == f"Bearer {KEY}"
