"""Visitors' own keys: each reaches the model's endpoint with its visitor's messages alone."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cmw_agent.config.model_loader import load_models
from cmw_agent.llm.visitor_keys import key_page
from tests.doubles.openai_server import OpenAIDouble
from tests.harness import canary, served, settings_for
from tests.logbook import logbook
from tests.rest import BANK, KEYS, SHOP, client

OPERATOR = "key-of-the-operator-0001"
ANNA, BERT = "hf_key-of-anna-0123456789", "hf_key-of-bert-0123456789"


def settings(folder: Path, endpoint: OpenAIDouble, **changes: Any) -> Any:
    values: dict[str, Any] = {
        "api_keys": KEYS,
        "openai_base_url": endpoint.base_url,
        "openai_api_key": OPERATOR,
        "model": "echo",
        "visitor_keys": "optional",
        "log_level": "DEBUG",
    }
    return settings_for(folder, **(values | changes))


def bearer(headers: Mapping[str, str]) -> str:
    return headers.get("authorization", "").removeprefix("Bearer ")


def bearers(endpoint: OpenAIDouble) -> list[str]:
    return [bearer(request.headers) for request in endpoint.requests]


def files_with(text: str, folder: Path) -> list[Path]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path for path in files if text.encode() in path.read_bytes()]


async def test_each_key_comes_with_its_visitor_s_messages_alone(tmp_path: Path) -> None:
    keys = {ANNA: canary(), BERT: canary(), OPERATOR: canary()}
    async with OpenAIDouble() as endpoint, served(settings(tmp_path, endpoint)) as app:

        async def talk(key: str, secret: str, number: int) -> None:
            # the same words at the same time, by REST and by /v1, in two turns of one session
            own = {} if key == OPERATOR else {"X-Model-Key": key}
            async with client(app.url, SHOP if number % 2 else BANK) as http:
                for _ in range(2):
                    reply = await http.say(f"hello {secret}", f"{secret}-{number}", **own)
                    assert reply.json["response"] == f"You said: hello {secret}"
                messages = [{"role": "user", "content": f"hello {secret}"}]
                body = {"model": "assistant", "messages": messages}
                reply = await http.ask("POST", "/v1/chat/completions", body, **own)
                assert reply.status == 200

        await asyncio.gather(*(talk(k, s, n) for k, s in keys.items() for n in range(6)))
    assert len(endpoint.requests) == 54
    for request in endpoint.requests:
        key, said = bearer(request.headers), str(request.body)
        assert keys[key] in said
        assert not [other for other in keys.values() if other != keys[key] and other in said]


async def test_a_key_stands_in_no_row_no_log_and_no_export(tmp_path: Path) -> None:
    with logbook() as log:
        async with OpenAIDouble() as endpoint, served(settings(tmp_path, endpoint)) as app:
            async with client(app.url) as http:
                for model in ("echo", "fail-401", "fail-400"):
                    asked = {"message": "hello", "session_id": "s1", "model": model}
                    path = "/api/chat/assistant/message"
                    await http.ask("POST", path, asked, **{"X-Model-Key": ANNA})
                await http.at("s1", "/messages")
            assert ANNA not in http.received.decode()
        assert set(bearers(endpoint)) == {ANNA}
    assert ANNA not in log.text
    assert files_with(ANNA, tmp_path) == []


@pytest.mark.parametrize("model", ["fail-401", "fail-402"])
async def test_a_key_that_fails_is_told_and_no_other_takes_its_place(
    model: str, tmp_path: Path
) -> None:
    (tmp_path / "agents.toml").write_text(
        f"""
        [[models]]
        id = "{model}"
        fallback = ["elsewhere", "echo"]
        [[models]]
        id = "elsewhere"
        endpoint = "ELSEWHERE"
        """
    )
    async with OpenAIDouble() as endpoint, OpenAIDouble() as elsewhere:
        text = (tmp_path / "agents.toml").read_text()
        (tmp_path / "agents.toml").write_text(text.replace("ELSEWHERE", elsewhere.base_url))
        changes = {"model": model, "models": "echo"}
        async with served(settings(tmp_path, endpoint, **changes)) as app, client(app.url) as http:
            reply = await http.say("hello", **{"X-Model-Key": ANNA})
            with_own = bearers(endpoint)
            assert (await http.say("hello")).status == 200
    assert set(with_own) == {ANNA}
    assert OPERATOR in bearers(endpoint)
    # the model that may replace it at the same endpoint is asked with the same key
    assert reply.status == 200
    assert not [key for key in bearers(elsewhere) if key in (ANNA, OPERATOR)]


async def test_the_sentence_of_a_refused_key_names_it_as_the_visitor_s(tmp_path: Path) -> None:
    changes = {"model": "fail-401"}
    async with (
        OpenAIDouble() as endpoint,
        served(settings(tmp_path, endpoint, **changes)) as app,
        client(app.url) as http,
    ):
        reply = await http.say("hello", **{"X-Model-Key": ANNA})
        assert reply.json["detail"].startswith("The model's server did not accept your key;")
        assert ANNA not in reply.body.decode()
        reply = await http.say("hello")
        assert "this app's key" in reply.json["detail"]


async def test_where_keys_are_required_nothing_is_asked_without_one(tmp_path: Path) -> None:
    changes = {"visitor_keys": "required", "visitor_key_url": "https://keys.example/new"}
    async with (
        OpenAIDouble() as endpoint,
        served(settings(tmp_path, endpoint, **changes)) as app,
        client(app.url) as http,
    ):
        reply = await http.say("hello", "s1")
        assert "X-Model-Key" in reply.json["detail"]
        assert "https://keys.example/new" in reply.json["detail"]
        messages = [{"role": "user", "content": "hello"}]
        body = {"model": "assistant", "messages": messages}
        reply = await http.ask("POST", "/v1/chat/completions", body)
        assert "X-Model-Key" in reply.json["error"]["message"]
        body = {"model": "embedder", "input": "hello"}
        reply = await http.ask("POST", "/v1/embeddings", body)
        assert (reply.status, "X-Model-Key" in reply.json["error"]["message"]) == (403, True)
        assert (await http.say("/help", "s1")).status == 200
        assert endpoint.requests == []
        assert (await http.say("hello", "s1", **{"X-Model-Key": ANNA})).status == 200
        reply = await http.ask("POST", "/v1/embeddings", body, **{"X-Model-Key": BERT})
        assert reply.status == 200
    assert bearers(endpoint) == [ANNA]
    assert [bearer(request.headers) for request in endpoint.other_requests] == [BERT]


async def test_the_operator_s_name_does_not_go_along_with_another_s_key(tmp_path: Path) -> None:
    changes = {
        "openai_org_id": "org-of-the-operator",
        "openai_custom_headers": "X-Gateway: g1\nApi-Key: also-the-operator's",
    }
    async with (
        OpenAIDouble() as endpoint,
        served(settings(tmp_path, endpoint, **changes)) as app,
        client(app.url) as http,
    ):
        await http.say("hello")
        await http.say("hello", **{"X-Model-Key": ANNA})
    operators, anna = (request.headers for request in endpoint.requests)
    assert "org-of-the-operator" in str(operators)
    assert "operator" not in str(anna)
    assert anna["x-gateway"] == "g1"


async def test_where_visitors_bring_no_keys_the_header_says_nothing(tmp_path: Path) -> None:
    async with OpenAIDouble() as endpoint:
        off = settings(tmp_path, endpoint, visitor_keys="off")
        async with served(off) as app, client(app.url) as http:
            assert (await http.say("hello", **{"X-Model-Key": ANNA})).status == 200
    assert bearers(endpoint) == [OPERATOR]
    assert ANNA not in str([request.headers for request in endpoint.requests])


@pytest.mark.parametrize("key", ["two words", "k" * 1_001, "schl\u00fcssel"])
async def test_what_can_be_no_key_is_refused_and_sent_nowhere(key: str, tmp_path: Path) -> None:
    async with (
        OpenAIDouble() as endpoint,
        served(settings(tmp_path, endpoint)) as app,
        client(app.url) as http,
    ):
        reply = await http.say("hello", **{"X-Model-Key": key})
        assert 400 <= reply.status < 500
        assert endpoint.requests == []


def test_an_app_without_a_key_and_with_visitors_keys_is_no_demonstration(tmp_path: Path) -> None:
    for visitor_keys, key, needed in (
        ("optional", OPERATOR, False),
        ("optional", None, True),
        ("required", OPERATOR, True),
        ("required", None, True),
    ):
        found = settings_for(tmp_path, visitor_keys=visitor_keys, openai_api_key=key)
        assert (found.needs_visitor_key, found.demo, found.model) == (needed, False, "gpt-4o-mini")
        assert (found.endpoint_key is None) == needed
        assert key_page(found) == "https://platform.openai.com/api-keys"
        models = load_models(found)
        assert all(model.takes_visitor_key for model in models.by_id.values())
    assert settings_for(tmp_path).demo
