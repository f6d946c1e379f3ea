"""The page below a path of its host, in Chromium through nginx, Caddy and HAProxy."""

import contextlib
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import orjson
import pytest
from playwright.async_api import Browser, expect

from tests.doubles.openai_server import OpenAIDouble
from tests.harness import Served, canary, served, settings_for
from tests.isolation.provider import CLIENT, provider
from tests.proxies import PROXIES, ROOT, Route, proxied
from tests.web.chat_page import ChatPage
from tests.web.conftest import People
from tests.web.other_site import other_site
from tests.web.test_composer import attach, text_file
from tests.web.test_install import CONTROLLED, STORED, WORKER
from tests.web.test_shared_chats import open_dialog

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

STRIPS = pytest.mark.parametrize("strips", [True, False], ids=["taken off", "left"])
EACH = pytest.mark.parametrize("name", PROXIES)
# Where the first test has shown that each proxy does both, each does one of them.
IN_TURN = pytest.mark.parametrize(
    ("name", "strips"), [*zip(PROXIES, itertools.cycle((True, False)), strict=False)]
)
WIDGET = '<script src="{address}/widget.js" data-agent="assistant" defer></script><p>A shop</p>'
LENS = """(() => {
    const attach = Element.prototype.attachShadow;
    Element.prototype.attachShadow = function (how) {
        return attach.call(this, { ...how, mode: "open" });
    };
})()"""


@contextlib.asynccontextmanager
async def behind(
    name: str, folder: Path, route: Route, people: People, **changes: Any
) -> AsyncIterator[tuple[Served, str]]:
    """Serve the app behind a proxy for the block, which gets the app and the page's address."""
    chosen = {"trust_proxy": "127.0.0.1", "root_path": ROOT, **changes}
    settings = settings_for(folder, **{name: value for name, value in chosen.items() if value})
    async with (
        served(settings) as app,
        proxied(name, folder, app.url, route) as url,
    ):
        people.watch.origins.add(url)
        try:
            yield app, url + ROOT
        finally:
            await people.leave()  # or their pages would look for the server that goes


async def opened(people: People, browser: Browser, app: Served, address: str) -> ChatPage:
    return await (await people.tab_in(await browser.new_context(), app, address)).open()


@EACH
@STRIPS
async def test_the_page_and_all_that_it_asks_for_stay_below_the_path(
    people: People, browser: Browser, tmp_path: Path, name: str, strips: bool
) -> None:
    async with behind(name, tmp_path, Route(strips), people, shares="link") as (app, address):
        page = await opened(people, browser, app, address)
        asked: list[str] = []
        page.page.context.on("request", lambda request: asked.append(request.url))
        secret = canary()
        await attach(page, text_file("notes.txt", "words"))
        await expect(page.attached("notes.txt")).to_be_enabled()
        await page.ask(f"My name is {secret}")
        await expect(page.answers.last).not_to_be_empty()
        await page.reload()  # the cookie comes back
        await expect(page.questions).to_contain_text([secret])
        (cookie,) = await page.page.context.cookies()
        assert cookie.get("path") == f"{ROOT}/"
        link = await shared(page)
        assert link.startswith(f"{address}/share/")
        reader = await page.page.context.new_page()
        await reader.goto(link)
        await expect(reader.get_by_role("heading", level=1)).to_contain_text(secret)
        await expect(page.frame.locator("#cmw-mistake")).to_have_count(0)
        below = urlsplit(address).path + "/"
        strays = [url for url in asked if not urlsplit(url).path.startswith(below)]
        assert [url for url in strays if not url.startswith(("blob:", "data:"))] == []


async def shared(page: ChatPage) -> str:
    """Make a link to the conversation, and return it."""
    dialog = await open_dialog(page)
    await dialog.get_by_role("button", name="Make a link").press("Enter")
    field = dialog.get_by_role("textbox", name="Link")
    await expect(field).to_be_focused()
    link = await field.input_value()
    await page.page.keyboard.press("Escape")
    return link


async def test_the_installed_app_has_the_path_as_its_scope(
    people: People, browser: Browser, tmp_path: Path
) -> None:
    async with behind("nginx", tmp_path, Route(strips=False), people) as (app, address):
        page = await opened(people, browser, app, address)
        assert (await page.frame.evaluate(WORKER)).startswith(f"{address}/sw.js")
        await page.frame.evaluate(CONTROLLED)
        await page.frame.evaluate(STORED, "en")
        session = await page.page.context.new_cdp_session(page.page)
        manifest = await session.send("Page.getAppManifest")
        assert manifest["errors"] == []
        assert manifest["url"] == f"{address}/manifest.json"
        assert orjson.loads(manifest["data"])["start_url"] == "./"
        people.watch.tolerates("ERR_INTERNET_DISCONNECTED", "Failed to (load|fetch)")
        await page.page.context.set_offline(True)
        await page.page.reload()
        await expect(page.frame.get_by_role("heading", name="No connection")).to_be_visible()
        await page.page.context.set_offline(False)
        await page.filled()


@IN_TURN
async def test_signing_in_and_out_leads_back_below_the_path(
    people: People, browser: Browser, tmp_path: Path, name: str, strips: bool
) -> None:
    async with provider() as there:
        people.watch.origins |= {there, "https://cdn.jsdelivr.net"}  # the provider's style sheet
        people.watch.tolerates("cdn.jsdelivr.net", "net::ERR", there)
        accounts = {
            "openid_provider_url": there,
            "oauth_client_id": CLIENT,
            "oauth_client_secret": "not-told-to-anyone",
        }
        async with behind(name, tmp_path, Route(strips), people, **accounts) as (app, address):
            page = await opened(people, browser, app, address)
            await page.ask("My name is Alice")
            await page.open_sidebar()
            await page.frame.get_by_role("link", name="Sign in").click()
            await page.page.get_by_role("button", name="1", exact=True).first.click()
            await page.page.get_by_role("button", name="Move these to my account").click()
            await page.filled()
            assert page.page.url.startswith(f"{address}/?c=")
            await expect(page.questions).to_have_text(["My name is Alice"])
            await page.open_sidebar()
            await page.frame.get_by_role("button", name="Sign out").click()
            await expect(page.frame.locator("a.cmw-sign-in")).to_be_attached()
            assert page.page.url == f"{address}/"


@EACH
async def test_the_prefix_that_a_trusted_proxy_says_to_have_taken_off_is_enough(
    people: People, browser: Browser, tmp_path: Path, name: str
) -> None:
    route = Route(strips=True, prefix=True)
    async with behind(name, tmp_path, route, people, root_path="") as (app, address):
        page = await opened(people, browser, app, address)
        await page.ask("My name is Alice")
        (cookie,) = await page.page.context.cookies()
        assert cookie.get("path") == f"{ROOT}/"
        await expect(page.frame.locator("#cmw-mistake")).to_have_count(0)


async def test_a_widget_finds_its_server_below_the_path(
    people: People, browser: Browser, tmp_path: Path, model: OpenAIDouble
) -> None:
    async with other_site() as site:
        (tmp_path / "agents.toml").write_text(
            f'[[agents]]\nid = "assistant"\nallowed_origins = ["{site.origin}"]\n'
        )
        changes = {"openai_base_url": model.base_url, "model": "stage"}
        route = Route(strips=False)
        async with behind("nginx", tmp_path, route, people, **changes) as (_, address):
            site.page = WIDGET.format(address=address)
            people.watch.origins.add(site.origin)
            page = await (await browser.new_context()).new_page()
            await page.add_init_script(LENS)
            await page.goto(site.origin)
            await page.locator(".bubble").click()
            await page.get_by_role("textbox", name="Your message").fill("from elsewhere")
            await page.keyboard.press("Enter")
            await expect(page.locator(".answer .text")).to_contain_text("from elsewhere")


@pytest.mark.parametrize(
    ("route", "root", "named"),
    [
        (Route(strips=False, host=False), ROOT, "Host"),
        (Route(strips=True), "", "CMW_ROOT_PATH"),
    ],
    ids=["no host", "no path"],
)
@EACH
async def test_a_proxy_that_hides_the_address_is_named_on_the_page_and_in_the_log(
    people: People,
    browser: Browser,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    name: str,
    route: Route,
    root: str,
    named: str,
) -> None:
    async with behind(name, tmp_path, route, people, root_path=root) as (app, address):
        people.watch.tolerates("403", "error: ")  # where the app cannot know the page for its own
        page = await people.tab_in(await browser.new_context(), app, address)
        await page.page.goto(f"{address}/")
        await expect(page.frame.locator("#cmw-mistake")).to_contain_text(named)
        assert any(named in record.getMessage() for record in caplog.records)


async def test_the_other_addresses_of_a_kept_prefix_say_what_to_configure(
    people: People, tmp_path: Path
) -> None:
    route = Route(strips=False, prefix=True)
    async with behind("nginx", tmp_path, route, people, root_path="") as (_, address):
        browser = {"accept": "text/html"}
        async with aiohttp.ClientSession() as http, http.get(address + "/", headers=browser) as got:
            assert got.status == 404
            assert "CMW_ROOT_PATH" in await got.text()
