"""Isolation: the routes of the accounts panel; Composio's double accepts every user id."""

import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from pydantic import SecretStr

from tests.accounts import finish, follow
from tests.doubles.composio_server import Composio, Reply, composio_server
from tests.harness import Browser, Served, served, settings_for

NOBODY = (404, b'{"detail":"This conversation was not found."}')
NOT_THERE = re.compile(r"No app of that name can be connected here\. \(error [0-9a-f]{8}\)")


@asynccontextmanager
async def connecting(folder: Path) -> AsyncIterator[tuple[Composio, Served]]:
    async with composio_server() as double:
        double.add_toolkit("clock", 2, no_auth=True)
        settings = settings_for(
            folder,
            composio_api_key=SecretStr(double.key),
            composio_base_url=double.url,
            toolkits="asana,clock",
        )
        async with served(settings) as app:
            # it asks for the tools in the background, which is nobody's doing
            await double.until(lambda: len(double.to("GET /tools")) == 2)
            yield double, app


async def get(browser: Browser, path: str) -> tuple[int, Any]:
    async with browser.http.get(f"{browser.url}/{path}") as answer:
        return answer.status, orjson.loads(await answer.read())


async def post(
    browser: Browser, path: str, body: Any, query: str = "", **headers: str
) -> tuple[int, bytes]:
    url = f"{browser.url}/connections/{path}{query}"
    async with browser.http.post(url, json=body, headers=headers) as answer:
        return answer.status, await answer.read()


async def link(browser: Browser, body: Any = None, query: str = "") -> str:
    status, answer = await post(browser, "link", body or {"toolkit": "asana"}, query)
    assert status == 200, answer
    url: str = orjson.loads(answer)["url"]
    return url


async def states(browser: Browser, query: str = "") -> dict[str, str]:
    status, content = await get(browser, f"connections{query}")
    assert status == 200
    assert content["offered"]
    assert content["kept"]
    return {toolkit["slug"]: toolkit["state"] for toolkit in content["toolkits"]}


def users(double: Composio, route: str) -> list[str]:
    return [user for call in double.to(route) for user in call.user_ids]


def named(double: Composio, calls: Iterable[str]) -> set[str]:
    return {user for route in calls for user in users(double, route)}


async def test_each_has_links_and_states_of_their_own(tmp_path: Path) -> None:
    async with (
        connecting(tmp_path) as (double, app),
        Browser(app.url) as alice,
        Browser(app.url) as bob,
    ):
        await alice.open()
        await bob.open()
        assert await states(alice) == {"asana": "none", "clock": "none"}
        links = await link(alice), await link(bob)
        assert links[0] != links[1]
        assert await follow(alice, links[0]) != await follow(bob, links[1])
        call, other = double.to("POST /connected_accounts/link")
        assert call.user_ids != other.user_ids
        assert await finish(alice, double, call) == 200
        assert (await states(alice))["asana"] == "connected"
        assert (await states(bob))["asana"] == "waiting"
        _, content = await get(alice, "connections")
        assert [(t["name"], t["needs_account"]) for t in content["toolkits"]] == [
            ("Asana", True),
            ("Clock", False),
        ]


async def test_the_way_back_is_this_site_s_own(tmp_path: Path) -> None:
    async with connecting(tmp_path) as (double, app), Browser(app.url) as alice:
        await alice.open()
        forged = "callback_url=https://evil.example/"
        made = await link(alice, {"toolkit": "asana", "callback_url": "https://evil.example/"})
        await follow(alice, f"{made}&{forged}")
        [call] = double.to("POST /connected_accounts/link")
        back = call.body["callback_url"]
        assert re.fullmatch(re.escape(f"{app.url}/connected/") + r"[\w.-]{60,200}", back)
        assert call.user_ids[0] not in back


async def test_disconnecting_touches_nobody_else(tmp_path: Path) -> None:
    async with (
        connecting(tmp_path) as (double, app),
        Browser(app.url) as alice,
        Browser(app.url) as bob,
    ):
        for browser in (alice, bob):
            await browser.open()
            await follow(browser, await link(browser))
            assert await finish(browser, double) == 200
        account = list(double.accounts)[-1]
        assert await post(alice, "disconnect", {"toolkit": "asana"}) == (
            200,
            b'{"disconnected":true}',
        )
        assert await post(alice, "disconnect", {"toolkit": "asana"}) == (
            200,
            b'{"disconnected":false}',
        )
        assert set(double.accounts) == {account}
        assert (await states(bob))["asana"] == "connected"


async def test_whose_it_is_cannot_be_forged(tmp_path: Path) -> None:
    async with (
        connecting(tmp_path) as (double, app),
        Browser(app.url) as alice,
        Browser(app.url) as bob,
    ):
        await alice.open()
        await bob.open()
        await follow(alice, await link(alice))
        [hers] = users(double, "POST /connected_accounts/link")
        assert await finish(alice, double) == 200
        account = list(double.accounts)[-1]
        forged = {"toolkit": "asana", "user_id": hers, "user": hers, "owner": hers, "id": account}
        query = f"?user_id={hers}&user_ids={hers}&owner={hers}&connected_account_id={account}"
        before = len(double.calls)
        await follow(bob, await link(bob, forged, query))
        assert (await states(bob, query))["asana"] == "waiting"
        assert (await post(bob, "disconnect", forged, query))[0] == 200
        made = double.calls[before:]
        assert hers not in {user for call in made for user in call.user_ids}
        assert len({user for call in made for user in call.user_ids}) == 1
        assert set(double.accounts) == {account}
        assert (await states(alice))["asana"] == "connected"


async def test_who_proves_nothing_has_no_account(tmp_path: Path) -> None:
    async with (
        connecting(tmp_path) as (double, app),
        Browser(app.url, cookies=False) as nobody,
        Browser(app.url) as alice,
    ):
        await nobody.open()
        await alice.open()
        none = {"offered": True, "kept": False, "toolkits": [], "takes_own": False}
        assert await get(nobody, "connections") == (200, none)
        for path in ("link", "disconnect"):
            assert await post(nobody, path, {"toolkit": "asana"}) == NOBODY
        assert not named(double, ("GET /connected_accounts", "POST /connected_accounts"))
        assert (await get(nobody, "history"))[1]["connections"] is False
        assert (await get(alice, "history"))[1]["connections"] is True


async def test_where_none_are_configured_nothing_is_offered(tmp_path: Path) -> None:
    async with served(settings_for(tmp_path)) as app, Browser(app.url) as alice:
        await alice.open()
        none = {"offered": False, "kept": True, "toolkits": [], "takes_own": False}
        assert await get(alice, "connections") == (200, none)
        assert (await get(alice, "history"))[1]["connections"] is False
        for path in ("link", "disconnect"):
            status, answer = await post(alice, path, {"toolkit": "asana"})
            assert status == 404
            assert NOT_THERE.fullmatch(orjson.loads(answer)["detail"])


async def test_the_page_one_comes_back_to_is_the_same_for_all_and_starts_nothing(
    tmp_path: Path,
) -> None:
    async with (
        connecting(tmp_path) as (double, app),
        Browser(app.url) as alice,
        aiohttp.ClientSession() as plain,
    ):
        await alice.open()
        await follow(alice, await link(alice))
        before = len(double.calls)
        seen = set()
        for session in (alice.http, plain):
            for query in ("", "?status=success&connected_account_id=ca_1", "?x=<script>1</script>"):
                async with session.get(f"{app.url}/connected{query}") as answer:
                    assert answer.status == 200
                    assert answer.headers["content-type"].startswith("text/html")
                    assert "set-cookie" not in answer.headers
                    seen.add(await answer.text())
        assert len(seen) == 1
        assert "<script" not in seen.pop()
        assert len(double.calls) == before
        assert (await states(alice))["asana"] == "waiting"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"[]", 400),
        (b"{}", 400),
        (b'{"toolkit":1}', 400),
        (b'{"toolkit":"gmail"}', 404),
        (b'{"toolkit":"../asana"}', 404),
        (b"{" + b" " * 9_000 + b"}", 413),
    ],
)
async def test_a_request_that_is_none_is_refused(tmp_path: Path, body: bytes, status: int) -> None:
    async with connecting(tmp_path) as (double, app), Browser(app.url) as alice:
        await alice.open()
        before, declared = len(double.calls), {"content-type": "application/json"}
        for path in ("link", "disconnect"):
            url = f"{app.url}/connections/{path}"
            async with alice.http.post(url, data=body, headers=declared) as answer:
                assert answer.status == status
                assert orjson.loads(await answer.read())["detail"]
        assert len(double.calls) == before


async def test_a_page_of_another_site_connects_nothing(tmp_path: Path) -> None:
    async with connecting(tmp_path) as (double, app), Browser(app.url) as alice:
        await alice.open()
        for path in ("link", "disconnect"):
            status, _ = await post(alice, path, {"toolkit": "asana"}, origin="https://evil.example")
            assert status == 403
        assert not double.to("POST /connected_accounts")


async def test_a_failure_is_one_sentence_with_an_id(tmp_path: Path) -> None:
    async with connecting(tmp_path) as (double, app), Browser(app.url) as alice:
        await alice.open()
        secret = "secret-of-the-service"
        for _ in range(4):  # reading is tried again
            double.answer("GET /connected_accounts", Reply(400, {"error": {"message": secret}}))
        status, content = await get(alice, "connections")
        assert status == 502
        assert re.fullmatch(r"[^.]+\. \(error [0-9a-f]{8}\)", content["detail"])
        assert secret not in content["detail"]
