"""What is written before the page itself stands is kept, and sent once it does."""

import asyncio

import pytest
from playwright.async_api import BrowserContext, Route, expect

from tests.harness import Served
from tests.web.chat_page import ChatPage
from tests.web.conftest import People

pytestmark = pytest.mark.asyncio(loop_scope="module")

FIRST = "#cmw-first textarea"


async def held(people: People, app: Served, query: str = "") -> tuple[ChatPage, asyncio.Event]:
    """Return a page of a new user whose own script is held back until the event is set."""
    page, free = await people.tab(app), asyncio.Event()

    async def hold(route: Route) -> None:
        await free.wait()
        await route.continue_()

    await page.page.route("**/page.js", hold)
    await page.page.goto(f"{app.url}/{query}", wait_until="commit")
    await expect(page.page.locator(FIRST)).to_be_focused()
    return page, free


async def test_text_and_selection_go_into_the_page_s_own_box(demo: Served, people: People) -> None:
    page, free = await held(people, demo)
    await page.page.keyboard.type("written early")
    await page.page.keyboard.press("Shift+Enter")
    await page.page.keyboard.type("in two lines")
    await page.page.keyboard.press("Home")
    free.set()
    await page.filled()
    await expect(page.box).to_be_focused()
    await expect(page.box).to_have_value("written early\nin two lines")
    await page.page.keyboard.type("and ")
    await expect(page.box).to_have_value("written early\nand in two lines")
    await expect(page.page.locator("#cmw-first")).to_have_count(0)
    await expect(page.questions).to_have_count(0)


@pytest.mark.parametrize("way", ["Enter", "click"])
async def test_a_message_that_was_sent_early_is_sent_once(
    way: str, demo: Served, people: People
) -> None:
    page, free = await held(people, demo)
    await page.page.keyboard.type("My name is Alice")
    if way == "click":
        await page.page.locator("#cmw-first button").click()
    else:
        await page.page.keyboard.press("Enter")
        await page.page.keyboard.press("Enter")
    await expect(page.page.locator("#cmw-first output")).to_have_text(
        "This message is sent as soon as the page is ready."
    )
    free.set()
    await page.filled()
    await expect(page.questions).to_have_text(["My name is Alice"])
    await page.settled()
    await expect(page.box).to_have_value("")
    await expect(page.box).to_be_focused()


async def test_an_early_message_goes_into_the_chat_that_the_address_names(
    demo: Served, people: People
) -> None:
    page = await people.open(demo)
    await page.ask("one")
    conversation = await page.named()
    free = asyncio.Event()

    async def hold(route: Route) -> None:
        await free.wait()
        await route.continue_()

    await page.page.route("**/page.js", hold)
    await page.page.reload(wait_until="commit")
    await expect(page.page.locator(FIRST)).to_be_focused()
    await page.page.keyboard.type("two")
    await page.page.keyboard.press("Enter")
    free.set()
    await page.filled()
    await expect(page.questions).to_have_text(["one", "two"])
    await page.settled()
    assert page.conversation() == conversation


async def test_the_page_takes_no_box_away_in_which_a_character_is_being_composed(
    demo: Served, people: People
) -> None:
    page, free = await held(people, demo)
    devtools = await page.page.context.new_cdp_session(page.page)
    await devtools.send(
        "Input.imeSetComposition", {"text": "に", "selectionStart": 1, "selectionEnd": 1}
    )
    free.set()
    await page.page.locator("body.cmw-opened").wait_for(state="attached")
    await expect(page.page.locator(FIRST)).to_be_focused()
    await devtools.send("Input.insertText", {"text": "日本"})
    await page.filled()
    await expect(page.box).to_have_value("日本")
    await expect(page.box).to_be_focused()


async def test_without_scripts_no_box_is_offered_that_does_nothing(
    demo: Served, people: People
) -> None:
    tab = await people.tab(demo)
    context: BrowserContext = await tab.page.context.browser.new_context(java_script_enabled=False)  # type: ignore[union-attr]
    page = await context.new_page()
    await page.goto(demo.url)
    await expect(page.locator(FIRST)).to_be_hidden()
    await context.close()
