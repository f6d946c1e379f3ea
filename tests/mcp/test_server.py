"""The agents as tools of an MCP server, used by the SDK's own client."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult, TextContent
from starlette.routing import Route

from tests.doubles.openai_server import OpenAIDouble
from tests.harness import Served, canary, served, settings_for
from tests.isolation.storm import canaries
from tests.isolation.toolhouse import obedient
from tests.rest import BANK, SHOP

PAGE_KEY = "p" * 32
KEYS = f"shop:{SHOP},bank:{BANK},site:{PAGE_KEY}:https://shop.example"
AGENTS = """
[[agents]]
id = "desk"
[[agents]]
id = "secret"
access = ["alice"]
"""
ERAS = ["legacy", "auto"]


@contextlib.asynccontextmanager
async def serving(folder: Path, **changes: Any) -> AsyncIterator[tuple[Served, OpenAIDouble]]:
    (folder / "agents.toml").write_text(AGENTS)
    async with OpenAIDouble(scripts={"obedient": obedient}) as endpoint:
        values = {
            "api_keys": KEYS,
            "openai_base_url": endpoint.base_url,
            "model": "obedient",
            "mcp_server": "on",
        }
        async with served(settings_for(folder, **{**values, **changes})) as app:
            yield app, endpoint


@contextlib.asynccontextmanager
async def connected(
    app: Served, key: str, era: str = "legacy", **more: str
) -> AsyncIterator[Client]:
    """Connect the SDK's client with a key, for the block; `more` are further headers."""
    headers = {"authorization": f"Bearer {key}", **more}
    async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
        streams = streamable_http_client(f"{app.url}/mcp", http_client=http)
        async with Client(streams, mode=era, cache=None) as client:
            yield client


def text_of(result: CallToolResult) -> str:
    (content,) = result.content
    assert isinstance(content, TextContent)
    return content.text


async def ask(client: Client, message: str, agent: str = "desk", **more: str) -> CallToolResult:
    return await client.call_tool(f"ask_{agent}", {"message": message, **more})


@pytest.mark.parametrize("era", ERAS)
async def test_an_agent_is_a_tool_that_answers(tmp_path: Path, era: str) -> None:
    async with serving(tmp_path) as (app, _), connected(app, SHOP, era) as client:
        tools = (await client.list_tools()).tools
        assert [tool.name for tool in tools] == ["ask_assistant", "ask_desk"]
        result = await ask(client, "hello")
        assert "You said: hello" in text_of(result)
        assert not result.is_error


@pytest.mark.parametrize("era", ERAS)
async def test_an_agent_remembers_its_conversation(tmp_path: Path, era: str) -> None:
    async with serving(tmp_path) as (app, endpoint), connected(app, SHOP, era) as client:
        word = canary()
        first = await ask(client, f"remember {word}")
        more = {} if era == "legacy" else {"conversation": first.structured_content["conversation"]}
        await ask(client, "what did I say?", **more)
        assert word in str(endpoint.requests[-1].body["messages"])
        # Another agent knows nothing of it.
        await ask(client, "what did I say?", "assistant")
        assert word not in str(endpoint.requests[-1].body["messages"])


@pytest.mark.parametrize("era", ERAS)
async def test_a_caller_s_own_key_for_the_model_answers_that_caller_alone(
    tmp_path: Path, era: str
) -> None:
    async with serving(tmp_path, visitor_keys="required") as (app, endpoint):
        async with connected(app, SHOP, era) as client:
            result = await ask(client, "hello")
            assert result.is_error
            assert "X-Model-Key" in text_of(result)
        async with connected(app, SHOP, era, **{"x-model-key": "hf_key-of-anna"}) as client:
            assert "You said: hello" in text_of(await ask(client, "hello"))
        found = {request.headers["authorization"] for request in endpoint.requests}
        assert found == {"Bearer hf_key-of-anna"}


@pytest.mark.parametrize("era", ERAS)
async def test_each_session_is_a_party_of_its_own(tmp_path: Path, era: str) -> None:
    leaked: set[str] = set()

    async def talk(app: Served, key: str) -> None:
        own = [canary() for _ in range(3)]
        async with connected(app, key, era) as client:
            more: dict[str, str] = {}
            received = ""
            for word in own:
                result = await ask(client, f"note {word}", **more)
                assert word in text_of(result)
                more = {"conversation": result.structured_content["conversation"]}
                received += str(result)
            leaked.update(canaries(received) - set(own))

    async with serving(tmp_path) as (app, endpoint):
        async with asyncio.TaskGroup() as group:
            for number in range(8):
                group.create_task(talk(app, SHOP if number % 2 else BANK))
        assert not leaked
        for request in endpoint.requests:
            said = [m["content"] for m in request.body["messages"] if m["role"] == "user"]
            assert len(canaries(str(said))) == len(said)
            assert len(said) <= 3


async def test_another_s_session_or_conversation_is_not_there(tmp_path: Path) -> None:
    async with serving(tmp_path) as (app, _), connected(app, SHOP) as shop:
        word = canary()
        conversation = (await ask(shop, word)).structured_content["conversation"]
        async with connected(app, BANK) as bank:
            for named in (conversation, conversation[:-1], "x"):
                result = await ask(bank, "what?", conversation=named)
                assert result.is_error
                assert word not in text_of(result)
        # Nor is it the other agent's.
        assert (await ask(shop, "what?", "assistant", conversation=conversation)).is_error
        (session_id,) = _sessions(app)
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        for key, status in ((BANK, 404), (SHOP, 200)):
            headers = {
                "authorization": f"Bearer {key}",
                "accept": "application/json, text/event-stream",
                "mcp-session-id": session_id,
                "mcp-protocol-version": "2025-11-25",
            }
            async with (
                aiohttp.ClientSession() as http,
                http.post(f"{app.url}/mcp", json=body, headers=headers) as answer,
            ):
                assert answer.status == status


def _sessions(app: Served) -> list[str]:
    (route,) = [
        r for r in app.application.channels.router.routes if getattr(r, "path", "") == "/mcp"
    ]
    assert isinstance(route, Route)
    endpoint: Any = route.endpoint
    return list(endpoint._manager._server_instances)


@pytest.mark.parametrize(
    ("key", "status"),
    [(None, 401), ("wrong" * 8, 401), (PAGE_KEY, 403)],
    ids=["no", "wrong", "page"],
)
async def test_without_a_secret_key_nothing_is_answered(
    tmp_path: Path, key: str | None, status: int
) -> None:
    async with serving(tmp_path) as (app, endpoint), aiohttp.ClientSession() as http:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        for method in ("GET", "POST", "DELETE"):
            async with http.request(
                method,
                f"{app.url}/mcp",
                json={"jsonrpc": "2.0", "id": 1, "method": "ping"},
                headers=headers,
            ) as answer:
                assert answer.status == status
        assert not endpoint.requests


async def test_the_server_is_closed_unless_the_settings_open_it(tmp_path: Path) -> None:
    headers = {"authorization": f"Bearer {SHOP}"}
    async with (
        serving(tmp_path, mcp_server="off") as (app, _),
        aiohttp.ClientSession() as http,
        http.post(f"{app.url}/mcp", json={}, headers=headers) as answer,
    ):
        assert answer.status == 404


async def test_an_agent_that_is_for_others_is_no_tool(tmp_path: Path) -> None:
    async with serving(tmp_path) as (app, _), connected(app, SHOP) as client:
        hidden = await ask(client, "hello", "secret")
        missing = await ask(client, "hello", "nobody")
        assert hidden.is_error
        assert text_of(hidden)[:25] == text_of(missing)[:25]


async def test_what_is_no_message_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path) as (app, endpoint), connected(app, SHOP) as client:
        for arguments in ({}, {"message": 7}, {"message": "x", "conversation": 7}):
            with pytest.raises(Exception, match="message must be a text"):
                await client.call_tool("ask_desk", arguments)
        assert not endpoint.requests
