"""Connections move with a visitor to the account that signs in, and nobody else reaches them then."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.accounts import TICKET, finish, follow, last_link, visit
from tests.doubles.oauth_server import oauth_double
from tests.harness import Browser, Tab
from tests.isolation import provider as idp
from tests.isolation.provider import cookie, set_cookie, sign_in, sign_in_to_consent
from tests.isolation.test_login import proven, with_accounts
from tests.isolation.toolhouse import app_with_tools
from tests.mcp.house import app_with_servers
from tests.mcp.test_sign_in import NOT_HERE, WHOAMI, said, state
from tests.mcp.test_sign_in import sign_in as sign_in_at_server
from tests.rows import rows

pytestmark = pytest.mark.asyncio(loop_scope="module")
LIST = "do ASANA_GET_TASKS {}"
MISSING = "has not connected asana"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def there() -> AsyncIterator[str]:
    async with idp.provider() as address:
        yield address


async def states(browser: Browser | Tab) -> dict[str, str]:
    async with browser.http.get(f"{browser.url}/connections") as answer:
        return {item["slug"]: item["state"] for item in (await answer.json())["toolkits"]}


async def post(tab: Tab | Browser, path: str, body: Any) -> tuple[int, Any]:
    async with tab.http.post(f"{tab.url}/{path}", json=body) as answer:
        return answer.status, await answer.json()


async def test_a_connection_is_the_account_s_and_no_more_the_visitor_s(
    tmp_path: Path, there: str
) -> None:
    async with (
        app_with_tools(tmp_path, approval="none", **with_accounts(there)) as house,
        Browser(house.app.url) as alice,
        Browser(house.app.url) as thief,
        Browser(house.app.url) as bob,
    ):
        tab = await alice.open()
        user, visitor, double = house.user_of(tab), cookie(alice), house.composio
        kept = await house.connect(tab)
        assert "1 connection would move too: Asana." in await sign_in_to_consent(alice, "1")
        await sign_in(alice, "1")
        assert await states(alice) == {"asana": "connected"}
        assert "The tools said" in await said(await alice.open(), LIST)
        (call,) = double.to("POST /tools/execute")
        assert (call.body["user_id"], call.body["connected_account_id"]) == (user, kept)
        # The visitor's cookie reaches what a stranger's does.
        set_cookie(thief, visitor)
        for browser in (thief, bob):
            page = await browser.open()
            assert await states(browser) == {"asana": "none"}
            assert MISSING in await said(page, LIST)
            found = await post(page, "connections/disconnect", {"toolkit": "asana"})
            assert found == (200, {"disconnected": False})
            link = TICKET.search(str(await post(page, "connections/link", {"toolkit": "asana"})))
            assert link is not None
            await follow(page, link.group())
            assert await finish(page, double) == 200
            assert (await post(page, "history/forget", {"sure": True}))[0] == 200
        assert list(double.accounts) == [kept]
        assert len(double.to("POST /tools/execute")) == 1
        assert await states(alice) == {"asana": "connected"}
        # Deleting everything deletes it at Composio, too.
        assert (await post(alice, "history/forget", {"sure": True}))[0] == 200
        assert double.accounts == {}
        assert rows(tmp_path, "SELECT * FROM agent_connections") == []


async def test_a_moved_connection_is_disconnected_by_its_account(
    tmp_path: Path, there: str
) -> None:
    async with (
        app_with_tools(tmp_path, **with_accounts(there)) as house,
        Browser(house.app.url) as alice,
    ):
        await house.connect(await alice.open())
        await sign_in(alice, "1")
        house.composio.names_users = False
        assert await states(alice) == {"asana": "connected"}
        found = await post(alice, "connections/disconnect", {"toolkit": "asana"})
        assert found == (200, {"disconnected": True})
        assert house.composio.accounts == {}


async def test_a_connection_that_a_sign_in_overtakes_is_finished_for_nobody(
    tmp_path: Path, there: str
) -> None:
    async with (
        app_with_tools(tmp_path, approval="none", **with_accounts(there)) as house,
        Browser(house.app.url) as alice,
    ):
        tab = await alice.open()
        visitor = cookie(alice)
        await tab.send("hello")
        _, content = await post(tab, "connections/link", {"toolkit": "asana"})
        await follow(alice, content["url"])
        await sign_in(alice, "1")
        account = cookie(alice)
        house.composio.connect(last_link(house.composio).body["user_id"])
        back = last_link(house.composio).body["callback_url"]
        for identity in (account, visitor):
            set_cookie(alice, identity)
            assert (await visit(alice, back))[0] == 404
            assert await states(alice) == {"asana": "none"}
        assert house.composio.accounts == {}


async def test_what_is_left_at_the_sign_in_stays_the_visitor_s(tmp_path: Path, there: str) -> None:
    async with (
        app_with_tools(tmp_path, approval="none", **with_accounts(there)) as house,
        Browser(house.app.url) as alice,
    ):
        await house.connect(await alice.open())
        visitor = cookie(alice)
        await sign_in(alice, "1", choice="leave")
        assert await states(alice) == {"asana": "none"}
        assert MISSING in await said(await alice.open(), LIST)
        set_cookie(alice, visitor)
        assert await states(alice) == {"asana": "connected"}


async def test_accounts_that_composio_keeps_do_not_keep_the_rest_from_being_deleted(
    tmp_path: Path,
) -> None:
    async with app_with_tools(tmp_path) as house, Browser(house.app.url) as alice:
        tab = await alice.open()
        await house.connect(tab)
        house.composio.key = "another"
        assert (await post(tab, "history/forget", {"sure": True}))[0] == 200
        assert rows(tmp_path, "SELECT * FROM agent_connections") == []


async def test_a_sign_in_at_a_server_is_the_account_s_and_no_more_the_visitor_s(
    tmp_path: Path, there: str
) -> None:
    async with oauth_double() as oauth:
        table = {"name": "wiki", "url": oauth.mcp.url, "auth": "oauth"}
        values = {"user_mcp": "on", **with_accounts(there)}
        async with (
            app_with_servers(tmp_path, table, **values) as (app, _),
            Browser(app.url) as alice,
            Browser(app.url) as thief,
        ):
            tab = await alice.open()
            visitor = cookie(alice)
            own = {"name": "notes", "url": "https://notes.example.com/mcp"}
            assert (await post(tab, "servers/add", own))[0] == 200
            await sign_in_at_server(tab, "alice")
            assert "you are alice" in await said(tab, WHOAMI)
            page = await sign_in_to_consent(alice, "1")
            assert "move too: notes (https://notes.example.com/mcp), wiki." in page
            await sign_in(alice, "1")
            assert await states(alice) == {"mcp:notes": "none", "mcp:wiki": "connected"}
            assert "you are alice" in await said(await alice.open(), WHOAMI)
            set_cookie(thief, visitor)
            stolen = await thief.open()
            assert await state(stolen) == "none"
            assert NOT_HERE in await said(stolen, WHOAMI)
            (row,) = rows(tmp_path, "SELECT DISTINCT owner_id FROM agent_mcp_servers")
            assert row["owner_id"] == proven(alice).id
            assert (await post(alice, "history/forget", {"sure": True}))[0] == 200
            assert oauth.requests.count("/revoke") == 1
            assert rows(tmp_path, "SELECT * FROM agent_mcp_servers") == []


async def test_an_open_session_of_another_replica_ends_where_the_sign_in_has_moved(
    tmp_path: Path,
) -> None:
    async with oauth_double() as oauth:
        table = {"name": "wiki", "url": oauth.mcp.url, "auth": "oauth"}
        async with (
            app_with_servers(tmp_path, table) as (app, _),
            Browser(app.url) as alice,
        ):
            tab = await alice.open()
            await sign_in_at_server(tab, "alice")
            assert "you are alice" in await said(tab, WHOAMI)
            clients = app.application.runtime.services.mcp
            assert clients is not None
            (row,) = rows(tmp_path, "SELECT owner_id FROM agent_mcp_servers")
            # As another replica does it, of which this one hears nothing.
            assert await clients.accounts._grants.store.drop(row["owner_id"], "wiki")
            assert "sign in at wiki in the settings" in await said(tab, WHOAMI)
