"""Tools of MCP servers over each transport: through the gate, the limits and the questions of all tools."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.mcp_server import mcp_double, tool
from tests.doubles.openai_server import OpenAIDouble
from tests.harness import Served
from tests.mcp.house import (
    EVERYTHING,
    OWN_PROGRAM,
    app_with_servers,
    everything,
    sdk_server,
    tools_offered,
)
from tests.programs import NODE, path_of
from tests.rest import Client, client
from tests.service import wait_until

SDK_TOOLS = {"add", "book", "fail", "wait", "check_in", "learn"}


@contextlib.asynccontextmanager
async def serving(
    folder: Path, transport: str, **changes: Any
) -> AsyncIterator[tuple[Served, OpenAIDouble, Client]]:
    """Serve the app with the SDK's server over a transport, and a client of it."""
    async with contextlib.AsyncExitStack() as stack:
        if transport == "stdio":
            program, *arguments = OWN_PROGRAM
            table: dict[str, Any] = {"name": "house", "command": program, "args": arguments}
            table["args"].append("stdio")
        else:
            url = await stack.enter_async_context(sdk_server(transport))
            table = {"name": "house", "url": url, "transport": transport}
        app, endpoint = await stack.enter_async_context(app_with_servers(folder, table, **changes))
        yield app, endpoint, await stack.enter_async_context(client(app.url))


async def answer(shop: Client, order: str, session: str | None = "main") -> str:
    # Each session of the REST interface is a user of its own.
    return str((await shop.say(order, session)).json["response"])


async def settled(shop: Client, session: str, seen: set[str], **decision: Any) -> dict[str, Any]:
    """Wait for a further pending approval of a session, settle it, and return what it showed."""
    waiting: list[dict[str, Any]] = []
    while not waiting:
        found = (await shop.at(session, "/approvals")).json.get("waiting", [])
        waiting = [item for item in found if item["call"] not in seen]
        await asyncio.sleep(0.01)
    seen.add(waiting[0]["call"])
    path = f"/api/chat/{shop.agent}/sessions/{session}/approvals"
    body = {"call": waiting[0]["call"], **decision}
    assert (await shop.ask("POST", path, body)).status == 204
    return waiting[0]


@pytest.mark.parametrize("transport", ["http", "sse", "stdio"])
async def test_tools_are_listed_and_called_over_each_transport(
    tmp_path: Path, transport: str
) -> None:
    async with serving(tmp_path, transport) as (_, endpoint, shop):
        assert "sum 5" in await answer(shop, 'do house_add {"a": 2, "b": 3}')
        offered = tools_offered(endpoint)
        assert {f"house_{name}" for name in SDK_TOOLS} <= set(offered)
        assert offered["house_add"]["description"] == "Add two numbers."
        # Arguments are checked first, by the server's own schema.
        assert "Please fix the error" in await answer(shop, 'do house_add {"a": "two", "b": 3}')
        assert "Error executing tool fail" in await answer(shop, 'do house_fail {"secret": "x"}')


@pytest.mark.parametrize("transport", ["http", "sse", "stdio"])
async def test_what_is_not_marked_as_reading_waits_for_its_user(
    tmp_path: Path, transport: str
) -> None:
    async with serving(tmp_path, transport) as (_, _, shop):
        # Who does not stream cannot be asked in time.
        assert "denied" in await answer(shop, 'do house_book {"room": "7"}')
        order = shop.say('do house_book {"room": "7"}', "one", Accept="text/event-stream")
        running = asyncio.create_task(order)
        shown = await settled(shop, "one", set(), answer="approved")
        assert (shown["name"], shown["arguments"]) == ("house_book", {"room": "7"})
        await running
        assert "booked 7, 1 in all" in (await shop.at("one")).json["messages"][-1]["content"]


@pytest.mark.parametrize("transport", ["http", "sse", "stdio"])
async def test_a_server_s_form_is_asked_its_user_field_by_field(
    tmp_path: Path, transport: str
) -> None:
    async with serving(tmp_path, transport, tool_timeout=30) as (_, _, shop):
        assert "nobody: decline" in await answer(shop, "do house_check_in {}")
        order = shop.say("do house_check_in {}", "one", Accept="text/event-stream")
        running = asyncio.create_task(order)
        seen: set[str] = set()
        for given in ("Ann", "many", "2", "yes"):
            shown = await settled(
                shop, "one", seen, answer="approved", arguments={"question": "", "answer": given}
            )
            assert "house asks: Who arrives?" in shown["arguments"]["question"]
        await running
        last = (await shop.at("one")).json["messages"][-1]["content"]
        assert "Ann stays 2, breakfast True" in last


@pytest.mark.parametrize("transport", ["http", "sse", "stdio"])
async def test_a_tool_that_a_server_learns_is_listed_at_the_next_message(
    tmp_path: Path, transport: str
) -> None:
    async with serving(tmp_path, transport) as (app, endpoint, shop):
        assert "learned fly" in await answer(shop, 'do house_learn {"name": "fly"}')
        mcp = app.application.runtime.services.dependencies.mcp
        assert mcp is not None
        (slot,) = mcp._slots._slots.values()
        assert slot.connection is not None
        connection = slot.connection
        await wait_until(lambda: connection.has_changed)
        assert "I am fly" in await answer(shop, "do house_fly {}")
        assert "house_fly" in tools_offered(endpoint)


@pytest.mark.parametrize("transport", ["http", "sse", "stdio"])
async def test_a_call_takes_no_longer_than_allowed_and_its_session_lives_on(
    tmp_path: Path, transport: str
) -> None:
    async with serving(tmp_path, transport, tool_timeout=1) as (_, _, shop):
        assert "took longer than 1 s" in await answer(shop, 'do house_wait {"seconds": 3600}')
        assert "sum 5" in await answer(shop, 'do house_add {"a": 2, "b": 3}')


async def test_a_server_that_dies_costs_one_sentence_and_is_reached_again(tmp_path: Path) -> None:
    async with mcp_double() as double:
        table = {"name": "house", "url": double.url}
        async with app_with_servers(tmp_path, table) as (app, _), client(app.url) as shop:
            assert "echo one" in await answer(shop, 'do house_echo {"text": "one"}')
            double.sessions.clear()  # as after a restart
            assert "does not answer" in await answer(shop, 'do house_echo {"text": "two"}')
            assert "echo three" in await answer(shop, 'do house_echo {"text": "three"}')


@pytest.mark.parametrize("by", ["stdio", "http"])
async def test_npms_server_everything_works(tmp_path: Path, by: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        if by == "stdio":
            program = path_of(NODE)
            table: dict[str, Any] = {"name": "all", "command": program, "args": [str(EVERYTHING)]}
        else:
            table = {"name": "all", "url": await stack.enter_async_context(everything())}
        app, endpoint = await stack.enter_async_context(
            app_with_servers(tmp_path, table, approval="none")
        )
        shop = await stack.enter_async_context(client(app.url))
        assert "Echo: hello" in await answer(shop, 'do all_echo {"message": "hello"}')
        assert "42" in await answer(shop, 'do all_get-sum {"a": 40, "b": 2}')
        assert "image/png" in await answer(shop, "do all_get-tiny-image {}")
        assert len(tools_offered(endpoint)) > 8


async def test_more_than_thirty_tools_are_found_by_search(tmp_path: Path) -> None:
    async with mcp_double() as double:
        double.tools += [tool(f"tool{number}", f"Paint number {number}") for number in range(40)]
        double.answers["tool7"] = {"content": [{"type": "text", "text": "painted"}]}
        table = {"name": "house", "url": double.url}
        async with app_with_servers(tmp_path, table) as (app, endpoint), client(app.url) as shop:
            found = await answer(shop, 'do find_tool {"query": "paint number 7"}')
            assert "house_tool7" in found
            assert {"find_tool", "use_tool"} <= set(tools_offered(endpoint))
            assert "house_tool7" not in tools_offered(endpoint)
            assert "painted" in await answer(shop, "do house_tool7 {}")


async def test_an_agent_has_the_servers_and_tools_that_it_may_use(tmp_path: Path) -> None:
    async with mcp_double() as double:
        tables = (
            {"name": "house", "url": double.url, "tools": ["ec*"]},
            {"name": "other", "url": double.url, "agents": ["assistant"], "tools": []},
        )
        async with app_with_servers(tmp_path, *tables) as (app, endpoint), client(app.url) as shop:
            await answer(shop, "hello")
            names = {name for name in tools_offered(endpoint) if name[:5] in ("house", "other")}
            assert names == {"house_echo"}


async def test_headers_and_keys_come_from_the_operator_s_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOUSE_TOKEN", "t0ken")
    async with mcp_double() as double:
        table = {"name": "house", "url": double.url, "key": "HOUSE_TOKEN"}
        async with app_with_servers(tmp_path, table) as (app, _), client(app.url) as shop:
            await answer(shop, "hello")
            (session,) = double.sessions.values()
            assert session.token == "Bearer t0ken"


async def test_sessions_end_with_the_process(tmp_path: Path) -> None:
    async with mcp_double() as double:
        table = {"name": "house", "url": double.url}
        async with app_with_servers(tmp_path, table) as (app, _), client(app.url) as shop:
            await answer(shop, "hello")
            (session_id,) = double.sessions
        assert double.ended == [session_id]
