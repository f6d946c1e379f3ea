"""A connected account counts only where the browser that began to connect it has finished.

No link connects an account to another user, and accounts connected otherwise are never used.
"""

import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from yarl import URL

from cmw_agent.identity import channel_principals
from cmw_agent.tools.composio.accounts import ConnectionUser
from tests.accounts import TICKET, finish, follow, last_link, visit
from tests.doubles.composio_server import Reply
from tests.harness import Browser, Event, Tab, last_text, texts
from tests.isolation.toolhouse import AppWithTools, app_with_tools, new_visitor, owner_of
from tests.rest import KEYS, client
from tests.rows import rows

LIST = "do ASANA_GET_TASKS {}"
GONE = "Nothing was connected"
CODE = re.compile(r"/connect ([a-z2-9]{4}-[a-z2-9]{4})")


@dataclass(frozen=True, slots=True)
class Two:
    """An attacker and a victim, each in a browser of their own."""

    house: AppWithTools
    attacker: Tab
    victim: Tab

    async def begun(self) -> str:
        """Begin a connection as the attacker; return the address on Composio's site."""
        return await follow(self.attacker, linked(await self.attacker.send("/connect asana")))

    async def is_unused(self) -> None:
        """Nobody has a connected account, and no tool runs on any."""
        for tab in (self.attacker, self.victim):
            assert "(`asana`): connected" not in last_text((await tab.send("/status")).value)
            event = await tab.send(LIST)
            assert "has not connected asana" in last_text(event.value)
        assert self.house.composio.to("POST /tools/execute") == []


@contextlib.asynccontextmanager
async def two(folder: Path) -> AsyncIterator[Two]:
    async with contextlib.AsyncExitStack() as stack:
        house = await stack.enter_async_context(app_with_tools(folder, approval="none"))
        yield Two(house, await new_visitor(stack, house), await new_visitor(stack, house))


def linked(event: Event) -> str:
    """The app's own link that came last."""
    return [m.group() for text in texts(event.value) for m in TICKET.finditer(text)][-1]


async def test_who_follows_another_s_link_at_composio_connects_nothing_to_them(
    tmp_path: Path,
) -> None:
    async with two(tmp_path) as they:
        await they.begun()
        call = last_link(they.house.composio)
        # The victim was sent the address on Composio's site, and comes back from there.
        status, page, _ = await visit_after(they, call.body["user_id"], they.victim)
        assert (status, GONE in page) == (404, True)
        # What the victim connected is deleted there; and the attacker has the address in vain.
        assert they.house.composio.accounts == {}
        status, page, _ = await visit(they.attacker, call.body["callback_url"])
        assert (status, GONE in page) == (404, True)
        await they.is_unused()


async def visit_after(they: Two, user: str, tab: Tab) -> tuple[int, str, str]:
    """Connect the newest link at Composio's site and come back in this tab's browser."""
    they.house.composio.connect(user)
    return await visit(tab, last_link(they.house.composio).body["callback_url"])


async def test_an_account_whose_owner_never_came_back_is_used_for_nothing(tmp_path: Path) -> None:
    async with two(tmp_path) as they:
        await they.begun()
        they.house.composio.connect(last_link(they.house.composio).body["user_id"])
        await they.is_unused()


async def test_an_account_that_was_connected_elsewhere_is_used_for_nothing(tmp_path: Path) -> None:
    """So are those from before connections were finished here."""
    async with two(tmp_path) as they:
        for tab in (they.attacker, they.victim):
            they.house.composio.add_account(they.house.user_of(tab))
        await they.is_unused()
        async with they.victim.http.get(f"{they.victim.url}/connections") as answer:
            found = (await answer.json())["toolkits"]
        assert [toolkit["state"] for toolkit in found] == ["none"]
        # To connect once more makes the new account the only one.
        await follow(they.victim, linked(await they.victim.send("/connect asana")))
        assert await finish(they.victim, they.house.composio) == 200
        user = they.house.user_of(they.victim)
        (account,) = [a.id for a in they.house.composio.accounts.values() if a.user_id == user]
        assert "The tools said" in last_text((await they.victim.send(LIST)).value)
        (call,) = they.house.composio.to("POST /tools/execute")
        assert call.body["connected_account_id"] == account


async def test_a_link_of_the_app_works_in_the_browser_it_was_made_for_and_once(
    tmp_path: Path,
) -> None:
    async with two(tmp_path) as they:
        link = linked(await they.attacker.send("/connect asana"))
        async with Browser(they.attacker.url) as stranger:
            for browser in (they.victim, stranger):
                status, page, address = await visit(browser, link)
                assert (status, GONE in page, address) == (404, True, "")
        assert they.house.composio.to("POST /connected_accounts/link") == []
        await follow(they.attacker, link)
        for browser in (they.attacker, they.victim):
            assert (await visit(browser, link))[0] == 404
        assert len(they.house.composio.to("POST /connected_accounts/link")) == 1
        for wrong in ("", "x", link[-43:][::-1], "a" * 43, "%00" * 43):
            assert (await visit(they.attacker, f"connections/connect?ticket={wrong}"))[0] == 404


async def test_a_connection_is_finished_once_and_in_the_browser_that_began_it(
    tmp_path: Path,
) -> None:
    async with two(tmp_path) as they:
        await they.begun()
        call = last_link(they.house.composio)
        back = call.body["callback_url"]
        ticket = rows(tmp_path, "SELECT connection_id FROM agent_connections")[0]["connection_id"]
        # No address but the signed one.
        forged = (ticket, f"{ticket}.x.y", back.rpartition("/")[2][:-1], "x", "." * 90)
        for state in forged:
            assert (await visit(they.attacker, f"connected/{state}"))[0] == 404
        assert await finish(they.attacker, they.house.composio) == 200
        assert (await visit(they.attacker, back))[0] == 404
        assert "(`asana`): connected" in last_text((await they.attacker.send("/status")).value)
        # The same visitor in another browser: the cookie alone does not finish it.
        await they.attacker.send("/disconnect asana")
        await they.begun()
        they.attacker.http.cookie_jar.clear(lambda cookie: cookie.key == "cmw_connecting")
        assert await finish(they.attacker, they.house.composio) == 404
        assert they.house.composio.accounts == {}


async def test_a_browser_that_has_become_somebody_else_finishes_nothing(tmp_path: Path) -> None:
    async with two(tmp_path) as they:
        await they.begun()
        (own,) = [c.value for c in they.victim.http.cookie_jar if c.key == "cmw_visitor"]
        they.attacker.http.cookie_jar.update_cookies({"cmw_visitor": own}, URL(they.attacker.url))
        assert await finish(they.attacker, they.house.composio) == 404
        assert they.house.composio.accounts == {}
        assert rows(tmp_path, "SELECT 1 FROM agent_connections") == []


async def test_who_comes_back_without_an_account_has_none(tmp_path: Path) -> None:
    async with two(tmp_path) as they:
        await they.begun()
        back = last_link(they.house.composio).body["callback_url"]
        assert (await visit(they.attacker, f"{back}?status=success"))[0] == 409
        assert (await visit(they.attacker, back))[0] == 404
        await they.is_unused()


async def test_a_failure_of_composio_is_told_on_the_page_and_finishes_nothing(
    tmp_path: Path,
) -> None:
    async with two(tmp_path) as they:
        link = linked(await they.attacker.send("/connect asana"))
        failure = {"error": {"message": "a secret"}}
        they.house.composio.answer("POST /connected_accounts/link", Reply(400, failure))
        status, page, _ = await visit(they.attacker, link)
        assert status == 502
        assert "(error " in page
        assert "a secret" not in page
        await follow(they.attacker, link)


async def test_connections_go_with_their_owner(tmp_path: Path) -> None:
    async with two(tmp_path) as they:
        for tab in (they.attacker, they.victim):
            await they.house.connect(tab)
        await they.attacker.send("/forget everything")
        kept = rows(tmp_path, "SELECT owner_id FROM agent_connections")
        assert [row["owner_id"] for row in kept] == [owner_of(they.house.app, they.victim)]
        assert "has not connected" in last_text((await they.attacker.send(LIST)).value)


# -- chats elsewhere --------------------------------------------------------------------------------


async def asked_for(shop: Any, session: str = "buyer") -> str:
    """Ask for a link in a session of the REST interface."""
    answer = (await shop.say("/connect asana", session)).json
    (tool,) = answer["metadata"]["tools"]
    assert tool["link"] not in answer["response"]
    assert TICKET.search(tool["link"])
    return str(tool["link"])


async def go_on(browser: Browser, link: str) -> str:
    """Read the page of a link, and go on; return where that leads."""
    status, page, _ = await visit(browser, link)
    assert status == 200
    assert "You are about to connect your Asana account to a chat in another program." in page
    (onward,) = re.findall(r'href="(connect\?[^"]+)"', page)
    status, _, address = await visit(browser, f"connections/{unescape(onward)}")
    assert status == 303
    return address


async def test_a_chat_elsewhere_is_connected_by_the_code_that_its_user_is_shown(
    tmp_path: Path,
) -> None:
    async with (
        app_with_tools(tmp_path, api_keys=KEYS) as house,
        client(house.app.url) as shop,
        Browser(house.app.url) as browser,
    ):
        user = ConnectionUser.of(channel_principals.client("shop", "assistant", "buyer")).value
        link = await asked_for(shop)
        # Whoever only looks, such as a preview, begins nothing.
        for _ in range(2):
            assert (await visit(browser, link))[0] == 200
        assert house.composio.to("POST /connected_accounts/link") == []
        await go_on(browser, link)
        house.composio.connect(user)
        back = last_link(house.composio).body["callback_url"]
        status, page, _ = await visit(browser, back)
        assert status == 200
        (code,) = CODE.findall(page)
        # Nothing is connected before the chat itself has the code.
        denied = (await shop.say(LIST, "buyer")).json
        assert "has not connected asana" in denied["response"]
        # Whoever comes back by the same address neither gets nor spoils it.
        async with Browser(house.app.url) as stranger:
            for each in (browser, stranger):
                assert (await visit(each, back))[0] == 404
        # Another session's user has no use for it.
        assert "code is wrong" in (await shop.say(f"/connect {code}", "other")).json["response"]
        said = (await shop.say(f"/connect {code.upper()}", "buyer")).json
        assert said["response"] == "Asana is connected."
        assert "The tools said" in (await shop.say(LIST, "buyer")).json["response"]
        assert "has not connected" in (await shop.say(LIST, "other")).json["response"]
        assert "code is wrong" in (await shop.say(f"/connect {code}", "buyer")).json["response"]


async def test_nobody_skips_the_warning_of_a_chat_elsewhere(tmp_path: Path) -> None:
    async with (
        app_with_tools(tmp_path, api_keys=KEYS) as house,
        client(house.app.url) as shop,
        Browser(house.app.url) as attacker,
        Browser(house.app.url) as victim,
    ):
        user = ConnectionUser.of(channel_principals.client("shop", "assistant", "buyer")).value
        link = await asked_for(shop)
        _, page, _ = await visit(attacker, link)
        (onward,) = re.findall(r'href="(connect\?[^"]+)"', page)
        # The attacker's own way on does not spare a victim the question.
        for address in (f"connections/{unescape(onward)}", f"{link}&go=1", f"{link}&go="):
            status, page, _ = await visit(victim, address)
            assert status == 200
            assert "If somebody sent it to you, close this tab." in page
        assert house.composio.to("POST /connected_accounts/link") == []
        # Nor does the address on Composio's site: the victim comes back with nothing to show.
        await go_on(attacker, link)
        house.composio.connect(user)
        back = last_link(house.composio).body["callback_url"]
        for browser in (victim, attacker):
            status, page, _ = await visit(browser, back)
            assert (status, GONE in page, CODE.search(page)) == (404, True, None)
        assert house.composio.accounts == {}


async def test_codes_are_not_to_be_guessed(tmp_path: Path) -> None:
    async with (
        app_with_tools(tmp_path, api_keys=KEYS) as house,
        client(house.app.url) as shop,
        Browser(house.app.url) as browser,
    ):
        await go_on(browser, await asked_for(shop))
        user = ConnectionUser.of(channel_principals.client("shop", "assistant", "buyer")).value
        house.composio.connect(user)
        _, page, _ = await visit(browser, last_link(house.composio).body["callback_url"])
        (code,) = CODE.findall(page)
        stored = rows(tmp_path, "SELECT * FROM agent_connections")[0]
        assert code not in str(stored.values())
        for guess in ("aaaa-aaaa", "bbbb-bbbb", "cccc-cccc", "dddd-dddd", "eeee-eeee"):
            assert (
                "code is wrong" in (await shop.say(f"/connect {guess}", "buyer")).json["response"]
            )
        assert "code is wrong" in (await shop.say(f"/connect {code}", "buyer")).json["response"]


# -- links in texts ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "written",
    [
        "https://connect.composio.dev/link/lk_1",
        "[Connect your account](https://connect.composio.dev/link/lk_1)",
        "[Connect your account](<HTTPS://CONNECT.COMPOSIO.DEV/link/lk_1> 'now')",
        "![x](//connect.composio.dev/link/lk_1)",
        "<https://connect.composio.dev/link/lk_1>",
        '<a href="https://connect.composio.dev/link/lk_1">Connect</a>',
        "[a]: https://me@connect.composio.dev/link/lk_1",
    ],
)
async def test_a_link_to_composio_in_a_text_is_no_link(tmp_path: Path, written: str) -> None:
    async with two(tmp_path) as they:
        event = await they.victim.send(written)
        shown = last_text(event.value)
        assert "connect.composio.dev/link/lk_1" in shown.lower()
        assert not re.search(r"//\S*connect\.composio\.dev", shown, re.IGNORECASE)
        assert "](" not in shown
        titles = [(message["metadata"] or {}).get("title") for message in event.value]
        assert not any(title and "account" in title for title in titles)


async def test_the_button_stands_in_a_panel_that_no_text_makes(tmp_path: Path) -> None:
    async with two(tmp_path) as they:
        event = await they.victim.send(LIST)
        link = linked(event)
        (button,) = [m for m in event.value if link in m["content"][0]["text"]]
        assert button["metadata"]["title"] == "🔗 An account is needed"
        assert button["content"][0]["text"] == f"[Connect your account]({link})"
