"""Identity in a browser: an HttpOnly cookie, or a token in a frame of another site."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import BrowserContext, Playwright, expect

from tests.doubles.openai_server import OpenAIDouble
from tests.harness import Served, served, settings_for
from tests.programs import chromium
from tests.web.chat_page import ChatPage
from tests.web.conftest import ARGUMENTS, People
from tests.web.other_site import OtherSite, other_site

pytestmark = pytest.mark.asyncio(loop_scope="module")

STORED = "Object.values(sessionStorage).concat(Object.values(localStorage)).join()"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def framed(
    model: OpenAIDouble, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Served]:
    """The app, open to the frames of any site."""
    settings = settings_for(
        tmp_path_factory.mktemp("framed"),
        openai_base_url=model.base_url,
        model="stage",
        frame_ancestors="*",
    )
    async with served(settings) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def profile(playwright: Playwright, tmp_path: Path) -> AsyncIterator[BrowserContext]:
    """A browser that gives a page in a frame a storage of its own; some builds give none."""
    preferences = {"profile": {"block_third_party_cookies": False, "cookie_controls_mode": 0}}
    (tmp_path / "Default").mkdir()
    (tmp_path / "Default" / "Preferences").write_text(json.dumps(preferences))
    context = await playwright.chromium.launch_persistent_context(
        tmp_path, executable_path=chromium(), args=ARGUMENTS, reduced_motion="reduce"
    )
    yield context
    await context.close()


async def _in_frame(people: People, tab: ChatPage, site: OtherSite) -> ChatPage:
    # Chromium says so when a frame may not take the focus.
    people.watch.tolerates("Blocked autofocusing")
    people.watch.origins.add(site.origin)
    site.page = f"<!doctype html><iframe src='{tab.url}/' width=1000 height=700></iframe>"
    await tab.page.goto(site.origin)
    return await ChatPage(tab.page, tab.url, tab.page.frames[1]).filled()


async def test_a_cookie_that_no_script_reads_is_all_there_is(app: Served, people: People) -> None:
    page = await people.open(app)
    await page.ask("who am I")
    assert await page.frame.evaluate("document.cookie") == ""
    (cookie,) = await page.page.context.cookies()
    stored = await page.frame.evaluate(STORED)
    assert cookie["value"].partition(".")[0] not in stored  # the visitor's id
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Lax"
    assert cookie["value"] not in await page.page.content()
    await expect(page.frame.locator("#cmw-frame-note")).to_have_count(0)


async def test_in_a_foreign_frame_the_page_works_without_a_cookie(
    framed: Served, people: People, profile: BrowserContext
) -> None:
    async with other_site() as site:
        page = await _in_frame(people, await people.tab_in(profile, framed), site)
        assert await profile.cookies() == []
        note = page.frame.get_by_role("note").filter(has_text="keeps no cookie")
        await expect(note).to_contain_text("your chats last as long as this tab")
        await page.ask("said in a frame")
        await expect(page.answers).to_have_text(["You said: said in a frame"])
        conversation = page.conversation()
        # The page that goes is not to pass for the one that comes.
        await page.frame.evaluate("document.body.classList.remove('cmw-opened'); location.reload()")
        await page.filled()
        await expect(page.questions).to_have_text(["said in a frame"])
        await page.ask("and after")
        await expect(page.answers.last).to_have_text("You said: and after")
        assert page.conversation() == conversation

        async with profile.expect_page() as opened:
            await note.get_by_role(
                "link", name="Open the page in a tab of its own to keep them"
            ).click()
        tab = await ChatPage(await opened.value, framed.url).filled()
        await expect(tab.questions).to_have_count(0)  # it is a visitor of its own there
        await expect(tab.toast).to_have_count(0)
        await expect(tab.frame.locator("#cmw-frame-note")).to_have_count(0)
        assert [cookie["httpOnly"] for cookie in await profile.cookies()] == [True]


async def test_a_browser_that_refuses_storage_too_is_told_how_long_it_lasts(
    framed: Served, people: People
) -> None:
    async with other_site() as site:
        page = await _in_frame(people, await people.tab(framed), site)
        note = page.frame.get_by_role("note").filter(has_text="keeps no cookie")
        await expect(note).to_contain_text("until this page is reloaded or left")
        await page.ask("said in a frame")
        await page.ask("and a second time")
        await expect(page.questions).to_have_text(["said in a frame", "and a second time"])


async def test_two_people_in_frames_of_one_site_stay_apart(framed: Served, people: People) -> None:
    async with other_site() as site:
        alice = await _in_frame(people, await people.tab(framed), site)
        await alice.ask("a secret of Alice")
        bob = await _in_frame(people, await people.tab(framed), site)
        await bob.frame.goto(f"{framed.url}/?c={alice.conversation()}", referer=site.origin)
        await bob.filled()
        await expect(bob.toast).to_contain_text("not found")
        await expect(bob.questions).to_have_count(0)
        await expect(bob.frame.locator("#cmw-recent nav a")).to_have_count(0)


async def test_no_frame_holds_the_page_unless_the_settings_allow_it(
    app: Served, people: People
) -> None:
    async with other_site() as site:
        tab = await people.tab(app)
        people.watch.expects("frame-ancestors")
        people.watch.origins.add(site.origin)
        site.page = f"<!doctype html><iframe src='{app.url}/'></iframe>"
        await tab.page.goto(site.origin)
        frame = tab.page.frames[1]
        await frame.wait_for_load_state()
        assert not frame.url.startswith(app.url)
        await expect(frame.locator("#cmw-main")).to_have_count(0)
