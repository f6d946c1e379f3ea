"""Tools of services that describe themselves by OpenAPI, over real HTTP: right ones and hostile ones."""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from cmw_agent import StartupError, build_app, tool
from cmw_agent.agent.own.definition import Agent
from cmw_agent.tools.openapi.operations import MAX_OPERATIONS
from tests.doubles.described_service import TOKEN, DescribedService, described_service, description
from tests.doubles.openai_server import OpenAIDouble
from tests.harness import Served, served, settings_for
from tests.isolation.toolhouse import obedient
from tests.logbook import logbook
from tests.rest import BANK, KEYS, SHOP, client
from tests.service import wait_until


@pytest.fixture
def shop() -> Iterator[DescribedService]:
    with described_service() as service:
        yield service


def table(folder: Path, text: str) -> None:
    (folder / "agents.toml").write_text(f"[[openapi]]\nname = 'shop'\n{text}\n")


@contextlib.asynccontextmanager
async def serving(
    folder: Path, service: DescribedService, text: str = "", **changes: Any
) -> AsyncIterator[tuple[Served, OpenAIDouble]]:
    """Serve the app with the service for the block; its model calls what a message says."""
    table(folder, f"url = '{service.url}/openapi.json'\n{text}")
    async with OpenAIDouble(scripts={"obedient": obedient}) as endpoint:
        values = {"api_keys": KEYS, "openai_base_url": endpoint.base_url, "model": "obedient"}
        async with served(settings_for(folder, **(values | changes))) as app:
            yield app, endpoint


async def answer(app: Served, order: str, session: str = "one", key: str = SHOP) -> str:
    async with client(app.url, key) as caller:
        return str((await caller.say(order, session)).json["response"])


def offered(endpoint: OpenAIDouble) -> list[str]:
    """Return the names of the tools of the newest request."""
    return [item["function"]["name"] for item in endpoint.requests[-1].body["tools"]]


async def test_what_only_reads_runs_with_the_service_s_secret_and_nothing_of_the_user(
    tmp_path: Path, shop: DescribedService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_TOKEN", TOKEN)
    auth = "auth = {bearer = '$SHOP_TOKEN'}"
    with logbook() as records:
        async with serving(tmp_path, shop, auth) as (app, endpoint):
            first = await answer(app, 'do shop_getOrder {"id": "7/8"}')
            assert "/api/orders/7%2F8" in first
            assert await answer(app, 'do shop_getOrder {"id": "9"}', key=BANK)
            assert TOKEN not in json.dumps([request.body for request in endpoint.requests])
        assert TOKEN not in records.text
    assert [request.headers["authorization"] for request in shop.received] == [
        f"Bearer {TOKEN}"
    ] * 2
    assert shop.fetched[0].headers["authorization"] == f"Bearer {TOKEN}"
    # What it has set for one user does not come with another.
    assert all("cookie" not in request.headers for request in shop.received)


async def test_what_changes_something_waits_for_its_user(
    tmp_path: Path, shop: DescribedService
) -> None:
    order = 'do shop_addOrder {"body": {"item": "tea"}}'
    async with serving(tmp_path, shop) as (app, _), client(app.url) as caller:
        assert "denied" in await answer(app, order)
        assert shop.received == []
        running = asyncio.create_task(caller.say(order, "two", Accept="text/event-stream"))
        await wait_until(lambda: len(app.application.runtime.approvals) == 1)
        (waiting,) = (await caller.at("two", "/approvals")).json["waiting"]
        body = {"call": waiting["call"], "answer": "approved"}
        path = "/api/chat/assistant/sessions/two/approvals"
        assert (await caller.ask("POST", path, body)).status == 204
        await running
    (request,) = shop.received
    assert (request.method, request.target, request.body) == (
        "POST",
        "/api/orders",
        '{"item":"tea"}',
    )


async def test_arguments_that_do_not_fit_reach_no_service(
    tmp_path: Path, shop: DescribedService
) -> None:
    async with serving(tmp_path, shop, approval="none") as (app, _):
        assert "required" in await answer(app, 'do shop_addOrder {"body": {}}')
        assert "dots" in await answer(app, 'do shop_getOrder {"id": ".."}')
    assert shop.received == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("away", "redirects to another address"),
        ("loop", "redirects to another address"),
        ("inside", "/api/orders/7"),
        ("endless", "[…cut]"),
        ("hanging", "took longer than 2 s"),
        ("picture", "a body of the type image/png"),
        ("packed", "cannot be reached"),
        ("failing", 'HTTP 503: {"error": "closed today"}'),
        ("cut", "cannot be reached"),
    ],
)
async def test_a_service_that_misbehaves_costs_one_sentence(
    name: str, expected: str, tmp_path: Path, shop: DescribedService
) -> None:
    async with serving(tmp_path, shop, tool_timeout=2) as (app, _):
        found = await answer(app, f"do shop_{name} {{}}")
        assert expected in found
        assert len(found) < 25_000
        assert "/api/orders/7" in await answer(app, 'do shop_getOrder {"id": "7"}')


async def test_a_redirect_never_repeats_what_changes_something(
    tmp_path: Path, shop: DescribedService
) -> None:
    async with serving(tmp_path, shop, approval="none") as (app, _):
        assert "redirects" in await answer(app, "do shop_moved {}")
    assert [request.target for request in shop.received] == ["/api/moved"]


async def test_only_the_named_operations_are_for_the_named_agents(
    tmp_path: Path, shop: DescribedService
) -> None:
    table(
        tmp_path,
        f"url = '{shop.url}/openapi.json'\noperations = ['get*']\nagents = ['desk']\n"
        "[[agents]]\nid = 'desk'\n[[agents]]\nid = 'other'",
    )
    async with OpenAIDouble(scripts={"obedient": obedient}) as endpoint:
        values = {"api_keys": KEYS, "openai_base_url": endpoint.base_url, "model": "obedient"}
        async with served(settings_for(tmp_path, **values)) as app:
            async with client(app.url, agent="desk") as caller:
                await caller.say("Hello", "one")
                assert [name for name in offered(endpoint) if "shop" in name] == ["shop_getOrder"]
                body = {"model": "desk", "messages": [{"role": "user", "content": "Hello"}]}
                assert (await caller.ask("POST", "/v1/chat/completions", body)).status == 200
                assert "shop_getOrder" in offered(endpoint)
            async with client(app.url, agent="other") as caller:
                order = 'do shop_getOrder {"id": "7"}'
                assert "not a valid tool" in (await caller.say(order, "one")).json["response"]
                assert "shop_getOrder" not in offered(endpoint)
    assert shop.received == []


async def test_of_many_operations_none_is_sent_and_each_is_found(
    tmp_path: Path, shop: DescribedService
) -> None:
    many = {
        f"/things/{number}": {"get": {"operationId": f"thing{number}", "summary": f"Word{number}"}}
        for number in range(5_000)
    }
    shop.description = description(**many)
    with logbook() as records:
        async with serving(tmp_path, shop) as (app, endpoint):
            found = await answer(app, 'do find_tool {"query": "word700"}')
            assert "shop_thing700" in found
            assert len(offered(endpoint)) < 10
            used = 'do use_tool {"name": "shop_thing700", "arguments": {}}'
            assert "/api/things/700" in await answer(app, used)
            body = {"model": "assistant", "messages": [{"role": "user", "content": used}]}
            async with client(app.url) as caller:
                assert "things/700" in str(
                    (await caller.ask("POST", "/v1/chat/completions", body)).body
                )
    assert str(MAX_OPERATIONS) in records.text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "must have the url of its description or a file"),
        ("url = 'ftp://x'", "url must be"),
        ("file = 'missing.json'", "its file cannot be read"),
        ("file = 'broken.json'", "must be JSON or YAML"),
        ("url = 'http://127.0.0.1:9/x'", "its description cannot be fetched"),
        ("url = '{url}/api/orders/7'", "no OpenAPI document"),
        ("url = '{url}/api/failing'", "HTTP 503"),
        ("url = '{url}/api/away'", "HTTP 302"),
        ("url = '{url}/openapi.json'\noperations = ['nothing']", "none of its operations"),
        ("url = '{url}/openapi.json'\noperations = 'getOrder'", "a list of operations"),
        ("url = '{url}/openapi.json'\nagents = ['nobody']", "names the agent 'nobody'"),
        ("url = '{url}/openapi.json'\nauth = {{bearer = 'a-secret'}}", "one of {bearer"),
        ("url = '{url}/openapi.json'\nauth = {{bearer = '$NOT_SET'}}", "NOT_SET, which is not set"),
        ("url = '{url}/openapi.json'\nauth = {{header = 'host', value = '$X'}}", "one of {bearer"),
        ("file = 'elsewhere.json'\n", "described to be at '/nowhere'"),
        ("url = '{url}/openapi.json'\nnaem = 'x'", "did you mean name"),
        (
            "url = '{url}/openapi.json'\n[[openapi]]\nname = 'shop'\nfile = 'x'",
            "name that is taken",
        ),
    ],
)
async def test_a_service_that_cannot_be_used_ends_the_start_with_one_line(
    text: str, problem: str, tmp_path: Path, shop: DescribedService
) -> None:
    (tmp_path / "broken.json").write_text("{")
    elsewhere = {"openapi": "3.0.0", "servers": [{"url": "/nowhere"}], "paths": {"/x": {"get": {}}}}
    (tmp_path / "elsewhere.json").write_text(json.dumps(elsewhere))
    table(tmp_path, text.format(url=shop.url))
    with pytest.raises(StartupError, match=re.escape(problem)) as raised:
        build_app(settings_for(tmp_path))
    assert "\n" not in str(raised.value)
    assert "a-secret" not in str(raised.value)


@pytest.mark.parametrize(
    "server",
    [
        "http://169.254.169.254/api",
        "https://other.example.com",
        "http://user:pw@127.0.0.1",
        "file:///",
    ],
)
async def test_a_description_leads_to_no_other_service_than_its_own(
    server: str, tmp_path: Path, shop: DescribedService
) -> None:
    changed = json.loads(description()) | {"servers": [{"url": server}]}
    shop.description = json.dumps(changed).encode()
    table(tmp_path, f"url = '{shop.url}/openapi.json'")
    with pytest.raises(StartupError, match="write its address as base_url"):
        build_app(settings_for(tmp_path))


async def test_an_address_that_the_operator_writes_is_used_and_another_s_url_gets_no_secret(
    tmp_path: Path, shop: DescribedService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_KEY", "key-1")
    with described_service() as elsewhere:
        text = (
            f"base_url = '{elsewhere.url}/api/'\n"
            "auth = {header = 'X-Api-Key', value = '$SHOP_KEY'}\nheaders = {x-team = 'red'}"
        )
        async with serving(tmp_path, shop, text) as (app, _):
            assert "/api/orders/7" in await answer(app, 'do shop_getOrder {"id": "7"}')
        (request,) = elsewhere.received
    assert (request.headers["x-api-key"], request.headers["x-team"]) == ("key-1", "red")
    assert shop.received == []
    assert "x-api-key" not in shop.fetched[0].headers


async def test_a_tool_of_a_service_has_no_other_tool_s_name(
    tmp_path: Path, shop: DescribedService
) -> None:
    @tool(changes=False)
    async def shop_getOrder(id: str) -> str:  # noqa: N802, A002
        """Have the name of an operation."""
        return id

    table(tmp_path, f"url = '{shop.url}/openapi.json'")
    with pytest.raises(StartupError, match="two tools of the name shop_getOrder"):
        build_app(settings_for(tmp_path), agents=[Agent(id="desk", tools=[shop_getOrder])])
