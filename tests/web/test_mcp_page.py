"""MCP servers on the page: the panel of connections, and the menu that a slash opens."""

import contextlib
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Locator, expect

from tests.doubles.mcp_server import mcp_double
from tests.doubles.oauth_server import OAuthDouble, approve, oauth_double
from tests.harness import Served, served, settings_for
from tests.mcp.house import sdk_server, tables
from tests.web.chat_page import ChatPage
from tests.web.conftest import People
from tests.web.test_looks import _readable

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def oauth() -> AsyncIterator[OAuthDouble]:
    async with oauth_double() as double:
        yield double


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(
    oauth: OAuthDouble, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Served]:
    """The demo app with a server of each kind; users may add their own."""
    folder = tmp_path_factory.mktemp("servers")
    async with contextlib.AsyncExitStack() as stack:
        url = await stack.enter_async_context(sdk_server("http"))
        all_of_us = await stack.enter_async_context(mcp_double())
        servers = (
            {"name": "house", "url": url},
            {"name": "hall", "url": all_of_us.url, "shared": True},
            {"name": "wiki", "url": oauth.mcp.url, "auth": "oauth"},
        )
        (folder / "agents.toml").write_text(tables(*servers))
        yield await stack.enter_async_context(served(settings_for(folder, user_mcp="on")))


def row(page: ChatPage, name: str) -> Locator:
    rows = page.frame.locator(".cmw-connections").get_by_role("listitem")
    return rows.filter(has=page.frame.get_by_text(name, exact=True))


async def test_a_user_signs_in_at_a_server_and_out_again(
    house: Served, oauth: OAuthDouble, people: People
) -> None:
    page = await people.open(house)
    await page.open_settings("Connections")
    await expect(row(page, "house")).to_contain_text("No account needed")
    await expect(row(page, "hall")).to_contain_text("One session for all users")
    await row(page, "wiki").get_by_role("button", name="Connect wiki").click()
    link = row(page, "wiki").get_by_role("link", name="Continue to wiki in a new tab")
    back = await approve(str(await link.get_attribute("href")), "alice")
    assert (await page.page.context.request.get(back)).status == 200
    await page.frame.evaluate("window.dispatchEvent(new FocusEvent('focus'))")
    await expect(row(page, "wiki")).to_contain_text("Connected")
    await _readable(page)
    await row(page, "wiki").get_by_role("button", name="Disconnect wiki").click()
    await row(page, "wiki").get_by_role("button", name="Disconnect wiki for good").click()
    await expect(row(page, "wiki")).to_contain_text("Not connected")
    assert oauth.requests.count("/revoke") == 1


async def test_a_user_adds_a_server_and_removes_it(house: Served, people: People) -> None:
    page = await people.open(house)
    panel = await page.open_settings("Connections")
    await panel.get_by_label("Name").fill("mine")
    people.watch.expects("http 422: .*/servers/add", "status of 422")
    await panel.get_by_label("Address").fill("https://10.0.0.1/mcp")
    await panel.get_by_role("button", name="Add server").click()
    status = panel.locator(".cmw-status")
    await expect(status).to_contain_text("public address that begins with https://")
    await panel.get_by_label("Address").fill("https://mcp.example.com/mcp")
    await panel.get_by_role("button", name="Add server").click()
    await expect(row(page, "mine")).to_contain_text("Added by you")
    await _readable(page)
    await row(page, "mine").get_by_role("button", name="Remove mine").click()
    await expect(row(page, "mine")).to_have_count(0)


async def test_prompts_and_resources_stand_in_the_slash_menu(house: Served, people: People) -> None:
    page = await people.open(house)
    await page.box.press("/")
    options = page.frame.get_by_role("listbox", name="Commands and prompts").get_by_role("option")
    await expect(options.filter(has_text="house: greet")).to_be_visible()
    await page.page.keyboard.type("house")
    await expect(options).to_have_count(2)
    await options.filter(has_text="house: greet").click()
    await expect(page.box).to_have_value("Please greet [guest] warmly.")
    await page.box.fill("")
    await page.box.press("/")
    await options.filter(has_text="house: rules").click()
    await expect(page.frame.locator(".cmw-files")).to_contain_text("rules.txt")
    await expect(page.box).to_have_value("")
