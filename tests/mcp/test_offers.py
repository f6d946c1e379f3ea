"""Prompts and resources of MCP servers in the menu of the message box."""

import base64
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.mcp_server import mcp_double
from tests.harness import Browser, Tab
from tests.mcp.house import app_with_servers, everything, sdk_server

GONE = "The server does not offer this any more."
NOT_FOUND = "This server was not found."


@contextlib.asynccontextmanager
async def page(folder: Path, *tables: dict[str, Any]) -> AsyncIterator[Tab]:
    async with app_with_servers(folder, *tables) as (app, _), Browser(app.url) as browser:
        yield await browser.open()


async def ask(tab: Tab, path: str, body: Any = None) -> tuple[int, Any]:
    method = "GET" if body is None else "POST"
    async with tab.http.request(method, f"{tab.url}/servers/{path}", json=body) as answer:
        return answer.status, await answer.json()


async def test_prompts_are_offered_with_what_is_to_be_filled_in(tmp_path: Path) -> None:
    async with (
        sdk_server("http") as url,
        page(tmp_path, {"name": "house", "url": url}) as tab,
    ):
        _, offers = await ask(tab, "offers")
        (prompt,), (rules,) = offers["prompts"], offers["resources"]
        assert (prompt["server"], prompt["key"]) == ("house", "greet")
        assert prompt["description"] == "Greet a guest."
        status, found = await ask(tab, "prompt", {"server": "house", "key": "greet"})
        assert (status, found) == (200, {"text": "Please greet [guest] warmly."})
        status, file = await ask(tab, "resource", {"server": "house", "key": rules["key"]})
        assert (status, file["name"]) == (200, "rules.txt")
        assert base64.b64decode(file["content"]) == b"No shoes in the hall."


async def test_those_of_npms_server_everything_are_offered(tmp_path: Path) -> None:
    async with everything() as url, page(tmp_path, {"name": "all", "url": url}) as tab:
        _, offers = await ask(tab, "offers")
        assert len(offers["prompts"]) > 1
        assert len(offers["resources"]) > 1
        resource = offers["resources"][0]
        status, file = await ask(tab, "resource", {"server": "all", "key": resource["key"]})
        assert status == 200
        assert base64.b64decode(file["content"])


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("prompt", {"server": "house", "key": "none"}),
        ("prompt", {"server": "other", "key": "greet"}),
        ("prompt", {"server": "closed", "key": "greet"}),
        ("resource", {"server": "house", "key": "file:///etc/passwd"}),
        ("resource", {"server": "closed", "key": "house://rules"}),
    ],
)
async def test_what_is_not_offered_is_not_there(tmp_path: Path, path: str, body: Any) -> None:
    async with sdk_server("http") as url:
        tables = (
            {"name": "house", "url": url},
            {"name": "closed", "url": url, "agents": ["staff"]},
        )
        async with page_with_staff(tmp_path, *tables) as tab:
            _, offers = await ask(tab, "offers")
            assert {one["server"] for one in offers["prompts"]} == {"house"}
            status, answer = await ask(tab, path, body)
            here = body["server"] == "house"
            assert (status, answer["detail"]) == (404, GONE if here else NOT_FOUND)


@contextlib.asynccontextmanager
async def page_with_staff(folder: Path, *tables: dict[str, Any]) -> AsyncIterator[Tab]:
    """A visitor's page, where one agent is for others."""
    staff = '[[agents]]\nid = "staff"\naccess = ["alice"]\n'
    async with (
        app_with_servers(folder, *tables, more=staff) as (app, _),
        Browser(app.url) as browser,
    ):
        yield await browser.open()


async def test_a_server_that_offers_nothing_or_fails_offers_nothing(tmp_path: Path) -> None:
    gone = {"name": "gone", "url": "http://127.0.0.1:1/mcp"}
    async with (
        mcp_double() as double,
        page(tmp_path, {"name": "house", "url": double.url}, gone) as tab,
    ):
        assert await ask(tab, "offers") == (200, {"prompts": [], "resources": []})
        status, _ = await ask(tab, "prompt", {"server": "gone", "key": "x"})
        assert status == 502
