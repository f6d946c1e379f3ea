"""Servers that users add: public https addresses alone, each user's own, bounded, and gone with them."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cmw_agent.tools.mcp.directory import McpDirectory
from memory.mcp_rows import MAX_OWN
from memory.mcp_servers import McpServerStore
from tests.doubles.mcp_server import mcp_double
from tests.harness import Browser, Served, Tab, last_text
from tests.isolation.toolhouse import owner_of
from tests.mcp.house import app_with_servers
from tests.rows import rows

URL = "https://wiki.example.com/mcp"
NOT_FOUND = (404, {"detail": "This server was not found."})
REFUSED = [
    "http://wiki.example.com/mcp",
    "https://127.0.0.1/mcp",
    "https://127.1/mcp",
    "https://2130706433/mcp",
    "https://0x7f000001/mcp",
    "https://169.254.169.254/latest",
    "https://10.0.0.1/mcp",
    "https://[::1]/mcp",
    "https://[::ffff:127.0.0.1]/mcp",
    "https://[64:ff9b::7f00:1]/mcp",
    "https://localhost/mcp",
    "https://db.internal/mcp",
    "https://printer.local/mcp",
    "https://user:password@wiki.example.com/mcp",
    "https://wiki.example.com:99999/mcp",
    "https://wiki.example.com/mcp#x",
    "https://wiki.example.com/a b",
    "file:///etc/passwd",
    "ftp://wiki.example.com",
    "https://",
    "",
    f"https://wiki.example.com/{'x' * 600}",
]


@contextlib.asynccontextmanager
async def two(folder: Path, **changes: Any) -> AsyncIterator[tuple[Served, Tab, Tab]]:
    """Serve an app in which users may add servers, and two visitors' pages."""
    async with contextlib.AsyncExitStack() as stack:
        values = {"user_mcp": "on", **changes}
        app, _ = await stack.enter_async_context(app_with_servers(folder, **values))
        tabs = [await (await stack.enter_async_context(Browser(app.url))).open() for _ in range(2)]
        yield app, tabs[0], tabs[1]


async def post(tab: Tab, path: str, **body: str) -> tuple[int, Any]:
    async with tab.http.post(f"{tab.url}/servers/{path}", json=body) as answer:
        return answer.status, await answer.json()


async def listed(tab: Tab) -> dict[str, Any]:
    async with tab.http.get(f"{tab.url}/connections") as answer:
        return {item["name"]: item for item in (await answer.json())["toolkits"]}


async def test_a_server_is_its_user_s_alone(tmp_path: Path) -> None:
    async with two(tmp_path) as (_, alice, bob):
        assert await post(alice, "add", name="wiki", url=URL) == (200, {})
        assert (await listed(alice))["wiki"]["own"]
        assert await listed(bob) == {}
        assert await post(bob, "remove", name="wiki") == (200, {"removed": False})
        assert set(await listed(alice)) == {"wiki"}
        assert await post(alice, "remove", name="wiki") == (200, {"removed": True})
        assert await listed(alice) == {}


@pytest.mark.parametrize("url", REFUSED)
async def test_no_address_is_taken_but_a_public_one(tmp_path: Path, url: str) -> None:
    async with two(tmp_path) as (_, alice, _):
        assert (await post(alice, "add", name="wiki", url=url))[0] == 422
        assert rows(tmp_path, "SELECT * FROM agent_mcp_servers") == []


async def test_names_and_numbers_are_bounded(tmp_path: Path) -> None:
    async with two(tmp_path) as (_, alice, _):
        for name in ("", "Wiki", "my_wiki", "x" * 25, "wiki\0"):
            assert (await post(alice, "add", name=name, url=URL))[0] == 422
        for number in range(MAX_OWN):
            assert (await post(alice, "add", name=f"wiki{number}", url=URL))[0] == 200
        assert (await post(alice, "add", name="another", url=URL))[0] == 409
        await post(alice, "remove", name="wiki0")
        assert (await post(alice, "add", name="wiki1", url=URL))[0] == 409


async def test_a_host_that_leads_to_this_machine_opens_no_connection(tmp_path: Path) -> None:
    async with mcp_double() as double, two(tmp_path) as (app, alice, _):
        store = McpServerStore(app.application.runtime.services.database)
        # As where a name has got another address since.
        for name, host in (("wiki", "127.0.0.1"), ("other", "localhost")):
            await store.add(owner_of(app, alice), name, double.url.replace("127.0.0.1", host))
        assert "hello" in last_text((await alice.send("hello")).value)
        assert not double.requests


async def test_nobody_adds_a_server_where_the_settings_allow_none(tmp_path: Path) -> None:
    async with mcp_double() as double:
        table = {"name": "house", "url": double.url}
        async with app_with_servers(tmp_path, table) as (app, _), Browser(app.url) as browser:
            tab = await browser.open()
            assert await post(tab, "add", name="wiki", url=URL) == NOT_FOUND
            assert await post(tab, "remove", name="house") == NOT_FOUND
            async with tab.http.get(f"{tab.url}/connections") as answer:
                assert not (await answer.json())["takes_own"]


async def test_the_operator_s_server_keeps_its_name(tmp_path: Path) -> None:
    async with mcp_double() as double:
        table = {"name": "house", "url": double.url}
        async with (
            app_with_servers(tmp_path, table, user_mcp="on") as (app, _),
            Browser(app.url) as browser,
        ):
            tab = await browser.open()
            assert (await post(tab, "add", name="house", url=URL))[0] == 409
            assert await post(tab, "remove", name="house") == NOT_FOUND
            # One that was there before the operator's is not used in its place.
            mcp = app.application.runtime.services.mcp
            assert mcp is not None
            directory = mcp.accounts._directory
            assert isinstance(directory, McpDirectory)
            store = McpServerStore(app.application.runtime.services.database)
            await store.add("v1", "house", URL)
            assert (await directory.find("v1", "house")).url == double.url


async def test_who_is_forgotten_has_no_server(tmp_path: Path) -> None:
    async with two(tmp_path) as (app, alice, bob):
        await post(alice, "add", name="wiki", url=URL)
        await post(bob, "add", name="wiki", url=URL)
        async with alice.http.post(f"{alice.url}/history/forget", json={"sure": True}) as answer:
            assert answer.status == 200
        (row,) = rows(tmp_path, "SELECT owner_id FROM agent_mcp_servers")
        assert row["owner_id"] == owner_of(app, bob)
