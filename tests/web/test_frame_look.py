"""The frame of the page: first paint, its own look, header, phone, zoom, print, keyboard."""

import base64
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, ViewportSize, expect

from tests.doubles.openai_server import OpenAIDouble
from tests.harness import Served, served, settings_for
from tests.unit.test_look import PNG, SVG
from tests.web.chat_page import ChatPage
from tests.web.conftest import WIDE, People
from tests.web.test_looks import NARROW, _fits, _picture, _readable

pytestmark = pytest.mark.asyncio(loop_scope="module")

SHIFTS = """() => new Promise((done) => {
    let sum = 0;
    new PerformanceObserver((list) => {
        for (const entry of list.getEntries()) if (!entry.hadRecentInput) sum += entry.value;
    }).observe({ type: "layout-shift", buffered: true });
    requestAnimationFrame(() => setTimeout(() => done(sum)));
})"""
# Also what moves within half a second of an input: a slow machine takes longer to draw a message.
ALL_SHIFTS = SHIFTS.replace("if (!entry.hadRecentInput) ", "")
MAX_SHIFT = 0.02
SMALL = """() => [...document.querySelectorAll("#cmw-head *, #cmw-side *, #cmw-input *, #cmw-welcome *, dialog[open] *")]
    .filter((node) => node.matches("button, a, input:not([type=file]), select, summary, [role=tab]"))
    .filter((node) => node.checkVisibility({ visibilityProperty: true }))
    .map((node) => [node.id || node.textContent.slice(0, 20), node.getBoundingClientRect()])
    .filter(([, box]) => box.width < 24 || box.height < 24).map(([name]) => name)"""
FOCUS = "document.activeElement.id || document.activeElement.tagName"
SHOP = """
[[agents]]
id = "assistant"
[[agents]]
id = "shop"
name = "Shop desk"
logo = "shop.svg"
colour = "#ffd43b"
welcome = "What are you looking for?"
examples = ["Where is my parcel?"]
footer = "Prices without guarantee."
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def branded(
    model: OpenAIDouble, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Served]:
    """An app with a look of its own, and an agent with another one."""
    folder: Path = tmp_path_factory.mktemp("branded")
    (folder / "shop.svg").write_bytes(SVG)
    (folder / "agents.toml").write_text(SHOP)
    settings = settings_for(
        folder,
        openai_base_url=model.base_url,
        openai_api_key="key-of-the-endpoint",
        model="stage",
        log_level="ERROR",
        name="Acme <b>Desk</b>",
        logo="data:image/png;base64," + base64.b64encode(PNG).decode(),
        welcome="Ask Acme & Co",
        footer="none",
    )
    async with served(settings) as running:
        yield running


def contents(text: str) -> list[str]:
    """Return the contents of the page's meta tags."""
    return re.findall(r'<meta[^>]*content="([^"]*)"', text)


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["1280", "390"])
async def test_nothing_moves_while_the_page_comes(
    size: ViewportSize, demo: Served, people: People
) -> None:
    page = await people.open(demo, viewport=size)
    shift: float = await page.frame.evaluate(SHIFTS)
    assert shift <= MAX_SHIFT


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["1280", "390"])
async def test_nothing_moves_with_the_first_message(
    size: ViewportSize, demo: Served, people: People
) -> None:
    page = await people.open(demo, viewport=size)
    await page.ask("My name is Alice")
    await expect(page.answers.last).to_be_visible()
    shift: float = await page.frame.evaluate(ALL_SHIFTS)
    assert shift <= MAX_SHIFT


async def test_the_first_paint_is_the_app_s_own_before_any_script_has_come(
    branded: Served, browser: Browser
) -> None:
    context = await browser.new_context(java_script_enabled=False)
    page = await context.new_page()
    await page.goto(branded.url)
    await expect(page.get_by_text("Ask Acme & Co")).to_be_visible()
    await expect(page).to_have_title("Acme <b>Desk</b>")
    assert "Gradio" not in await page.locator("body").inner_text()
    await context.close()


async def test_a_link_preview_names_the_app_and_not_its_framework(
    branded: Served, people: People
) -> None:
    page = await people.open(branded)
    document = await (await page.page.request.get(branded.url)).text()
    said = contents(document)
    assert not [text for text in said if re.search("gradio|try out", text, re.IGNORECASE)]
    assert {"Acme &lt;b&gt;Desk&lt;/b&gt;", "Ask Acme &amp; Co"} <= set(said)
    icon = await (await page.page.request.get(branded.url + "/favicon.ico")).body()
    assert b"<svg" in icon


async def test_the_page_looks_as_settings_and_agent_say(branded: Served, people: People) -> None:
    page = await people.open(branded)
    side = page.frame.locator("#cmw-side")
    await expect(side.locator("strong")).to_have_text("Acme <b>Desk</b>")
    await expect(side.locator("#cmw-logo")).to_have_attribute("src", re.compile("^data:image/png"))
    await expect(page.frame.get_by_role("heading", name="Ask Acme & Co")).to_be_visible()
    await expect(page.frame.locator(".cmw-foot")).to_be_hidden()
    await page.ask("hello")
    first = await page.named()
    await page.open_choices()
    await page.frame.get_by_role("combobox", name="Agent").select_option("Shop desk")
    await page.page.wait_for_url(re.compile("agent=shop"))
    await page.filled()
    await expect(page.page).to_have_title("Shop desk")
    await expect(
        page.frame.get_by_role("heading", name="What are you looking for?")
    ).to_be_visible()
    await expect(page.frame.locator(".cmw-foot")).to_have_text("Prices without guarantee.")
    await expect(side.locator("#cmw-logo")).to_have_attribute("src", re.compile("^data:image/svg"))
    await _readable(page)  # black on yellow
    await page.frame.get_by_role("button", name="Where is my parcel?").click()
    await expect(page.box).to_have_value("Where is my parcel?")
    await expect(page.box).to_be_focused()
    # A conversation looks as its own agent, however it is opened.
    await page.recent.get_by_role("link", name="hello").click()
    await expect(side.locator("#cmw-logo")).to_have_attribute("src", re.compile("^data:image/png"))
    assert page.conversation() == first
    await expect(page.frame.get_by_role("button", name="Agent and model")).to_contain_text(
        "assistant", ignore_case=True
    )


async def test_the_header_shows_the_title_and_renames_it(demo: Served, people: People) -> None:
    page = await people.open(demo)
    title = page.frame.locator("#cmw-title")
    await expect(title).to_be_disabled()
    await page.ask("My name is Alice")
    await expect(title).to_have_text("My name is Alice")
    await expect(page.page).to_have_title("My name is Alice – CMW Agent")
    await title.click()
    await page.frame.get_by_role("textbox", name="Title of this chat").fill("<i>Alice</i>")
    await page.page.keyboard.press("Enter")
    await expect(title).to_have_text("<i>Alice</i>")
    await expect(title).to_be_focused()
    await expect(page.recent.get_by_role("link")).to_have_text(["<i>Alice</i>"])
    await title.click()
    await page.page.keyboard.type("never")
    await page.page.keyboard.press("Escape")
    await expect(title).to_have_text("<i>Alice</i>")
    await page.reload()
    await expect(title).to_have_text("<i>Alice</i>")
    await page.begin_anew()
    await expect(title).to_have_text("CMW Agent")


async def test_a_notice_stands_above_the_box_and_covers_nothing(
    app: Served, people: People
) -> None:
    page = await people.open(app)
    await page.write("  ")
    await expect(page.toast).to_be_visible()
    notice, box = await page.toast.bounding_box(), await page.box.bounding_box()
    log = await page.frame.locator("#cmw-welcome").bounding_box()
    assert notice is not None
    assert box is not None
    assert log is not None
    assert log["y"] + log["height"] <= notice["y"]
    assert notice["y"] + notice["height"] <= box["y"]
    await page.frame.get_by_role("button", name="Dismiss").press("Enter")
    await expect(page.toast).to_have_count(0)
    await expect(page.box).to_be_focused()


async def test_the_drawer_keeps_the_focus_and_escape_closes_it(
    demo: Served, people: People
) -> None:
    page = await people.open(demo, viewport=NARROW)
    head = await page.frame.locator(".cmw-head").bounding_box()
    assert head is not None
    assert head["height"] <= 52  # one row
    await page.toggle.click()
    inside = "document.getElementById('cmw-side').contains(document.activeElement)"
    for _ in range(12):
        assert await page.frame.evaluate(f"{inside} || document.activeElement === document.body")
        await page.page.keyboard.press("Tab")
    await page.page.keyboard.press("Escape")
    await expect(page.toggle).to_have_attribute("aria-expanded", "false")
    await expect(page.toggle).to_be_focused()
    await page.toggle.click()
    await page.page.mouse.click(380, 400)
    await expect(page.toggle).to_have_attribute("aria-expanded", "false")


async def test_escape_closes_the_settings_before_the_drawer_behind_them(
    demo: Served, people: People
) -> None:
    page = await people.open(demo, viewport=NARROW)
    section = await page.open_settings()
    await page.page.keyboard.press("Escape")
    await expect(section).to_be_hidden()
    await expect(page.toggle).to_have_attribute("aria-expanded", "true")
    await page.page.keyboard.press("Escape")
    await expect(page.toggle).to_have_attribute("aria-expanded", "false")


async def phone(browser: Browser, people: People, app: Served, **options: Any) -> ChatPage:
    context = await browser.new_context(
        viewport=options.pop("viewport", NARROW), has_touch=True, is_mobile=True, **options
    )
    return await (await people.tab_in(context, app)).open()


async def test_on_a_touch_keyboard_enter_begins_a_line_and_send_sends(
    app: Served, browser: Browser, people: People
) -> None:
    page = await phone(browser, people, app)
    await page.box.fill("one")
    await page.box.press("Enter")
    await page.page.keyboard.type("two")
    await expect(page.box).to_have_value("one\ntwo")
    await page.send.tap()
    await expect(page.questions).to_have_count(1)
    await page.settled()


async def test_enter_does_what_its_user_has_chosen(app: Served, people: People) -> None:
    page = await people.open(app)
    general = await page.open_settings()
    await general.get_by_label("Enter key").select_option("newline")
    await page.close_settings()
    await page.box.fill("one")
    await page.box.press("Enter")
    await expect(page.box).to_have_value("one\n")
    await page.box.press("Control+Enter")
    await expect(page.questions).to_have_count(1)
    await page.settled()
    await page.reload()
    await page.box.fill("two")
    await page.box.press("Enter")
    await expect(page.box).to_have_value("two\n")


async def test_with_the_keyboard_open_most_of_the_height_is_the_chat_s(
    app: Served, browser: Browser, people: People
) -> None:
    page = await phone(browser, people, app, viewport={"width": 390, "height": 480})
    await page.box.fill("hello")
    await page.send.tap()
    await page.settled()
    box = await page.log.bounding_box()
    assert box is not None
    assert box["height"] >= 0.6 * 480


@pytest.mark.parametrize("size", [(640, 512), (320, 256)], ids=["200%", "400%"])
async def test_a_zoomed_page_can_be_used(
    size: tuple[int, int], app: Served, people: People
) -> None:
    width, height = size
    page = await people.open(app, viewport=ViewportSize(width=width, height=height))
    await _fits(page)
    await page.ask("hello")
    await _fits(page)
    await page.open_settings("Keyboard")
    close = page.frame.get_by_role("button", name="Close settings")
    await expect(close).to_be_in_viewport(ratio=1)
    await close.click()
    await _picture(page, f"zoom-{width}")


async def test_print_gives_the_conversation_alone(app: Served, people: People) -> None:
    page = await people.open(app)
    await page.ask("the first question")
    await page.page.emulate_media(media="print")
    for hidden in ("#cmw-side", "#cmw-input", "#cmw-foot", "#cmw-side-open", "#cmw-new-too"):
        await expect(page.frame.locator(hidden)).to_be_hidden()
    await expect(page.questions).to_be_visible()
    await expect(page.frame.locator("#cmw-main h1")).to_be_visible()


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["1280", "390"])
async def test_every_control_of_the_frame_is_large_enough(
    size: ViewportSize, demo: Served, people: People
) -> None:
    page = await people.open(demo, viewport=size)
    assert await page.frame.evaluate(SMALL) == []
    await page.ask("My name is Alice")
    await page.open_sidebar()
    assert await page.frame.evaluate(SMALL) == []
    for tab in ("General", "My data", "Keyboard"):
        await page.open_settings(tab)
        assert await page.frame.evaluate(SMALL) == []
        await _readable(page)


async def test_every_section_of_the_settings_fits_a_narrow_phone_in_russian(
    demo: Served, people: People
) -> None:
    page = await people.open(demo, viewport=ViewportSize(width=320, height=640))
    await page.page.goto(f"{demo.url}/?lang=ru")
    await page.frame.locator("body.cmw-opened").wait_for(state="attached")
    await page.frame.evaluate("window.cmw.openSettings('general')")
    dialog = page.frame.get_by_role("dialog", name="Настройки")
    tabs = dialog.get_by_role("tab")
    assert await tabs.count() >= 5
    for tab in await tabs.all():
        await tab.click()
        section = dialog.get_by_role("tabpanel", name=await tab.inner_text(), exact=True)
        await expect(section).not_to_be_empty()
        assert await section.evaluate("shown => shown.scrollWidth <= shown.clientWidth")


async def test_the_palette_finds_chats_and_actions(demo: Served, people: People) -> None:
    page = await people.open(demo)
    keyboard = page.page.keyboard
    await page.ask("My name is Alice")
    conversation = await page.named()
    await page.begin_anew()
    await keyboard.press("Control+k")
    palette = page.frame.get_by_role("combobox", name="Find a chat or an action")
    await expect(palette).to_be_focused()
    await palette.fill("alice")
    await expect(page.frame.get_by_role("option").first).to_contain_text("My name is Alice")
    await keyboard.press("Enter")
    await expect(page.questions).to_have_text(["My name is Alice"])
    assert page.conversation() == conversation
    await page.box.focus()
    await keyboard.press("Control+k")
    await palette.fill("dark")
    await expect(page.frame.get_by_role("option")).to_have_count(1)
    await _readable(page)
    await keyboard.press("Escape")
    await expect(page.box).to_be_focused()


async def test_shortcuts_are_shown_where_nobody_types(demo: Served, people: People) -> None:
    page = await people.open(demo)
    keyboard = page.page.keyboard
    await page.box.press("?")
    await expect(page.box).to_have_value("?")
    await page.toggle.focus()
    await keyboard.press("?")
    await expect(page.frame.get_by_role("tabpanel", name="Keyboard")).to_be_visible()
    await keyboard.press("ArrowUp")
    await expect(page.frame.get_by_role("tab", selected=True)).to_be_focused()
    await keyboard.press("Home")
    await expect(page.frame.get_by_role("tab", name="General")).to_be_focused()
    await keyboard.press("Escape")
    await expect(page.toggle).to_be_focused()


async def test_escape_stops_an_answer_and_the_focus_stays_in_the_box(
    app: Served, model: OpenAIDouble, people: People
) -> None:
    page = await people.open(app)
    await page.write("[gated-2] stopped by escape")
    await model.wait_held("stopped")
    await expect(page.stop).to_be_enabled()
    await page.page.keyboard.press("Escape")
    await page.settled()
    await expect(page.box).to_be_focused()
    await page.write("[gated-2] stopped by click")
    await model.wait_held("stopped")
    await expect(page.stop).to_be_enabled()
    await page.stop.click()
    await page.settled()
    await expect(page.box).to_be_focused()


async def test_menus_move_by_arrows_home_end_and_letters(demo: Served, people: People) -> None:
    page = await people.open(demo)
    keyboard = page.page.keyboard
    for text in ("first chat", "second chat"):
        await page.ask(text)
        await page.begin_anew()
    more = page.frame.get_by_role("button", name="Actions for second chat")
    await more.press("Enter")
    for key, name in (
        ("ArrowUp", "Delete"), ("Home", "Rename"), ("End", "Delete"), ("ArrowDown", "Rename"), ("a", "Archive"),
    ):  # fmt: skip
        await keyboard.press(key)
        await expect(page.frame.get_by_role("menuitem", name=name, exact=True)).to_be_focused()
    await keyboard.press("Escape")
    await expect(more).to_be_focused()
    await expect(page.frame.get_by_role("menu")).to_have_count(0)
    await more.press("Enter")
    await keyboard.press("End")
    await keyboard.press("Enter")
    await expect(page.recent.get_by_role("link")).to_have_text(["first chat"])
    assert await page.frame.evaluate(FOCUS) == "A"


async def test_the_skip_link_leads_to_the_box(demo: Served, people: People) -> None:
    page = await people.open(demo)
    link = page.frame.get_by_role("link", name="Skip to the message box")
    await link.focus()
    await expect(link).to_be_in_viewport(ratio=1)
    await page.page.keyboard.press("Enter")
    await expect(page.box).to_be_focused()


async def test_theme_and_text_size_are_the_user_s_and_stay(demo: Served, people: People) -> None:
    page = await people.open(demo)
    general = await page.open_settings()
    await general.get_by_label("Theme").select_option("dark")
    await general.get_by_label("Text size").select_option("130")
    dark, size = (
        "document.body.classList.contains('dark')",
        "getComputedStyle(document.documentElement).fontSize",
    )
    assert await page.frame.evaluate(dark)
    assert await page.frame.evaluate(size) == "20.8px"
    # Colours may still be on their way from the light theme's.
    await page.frame.wait_for_function(
        "document.getAnimations().every((each) => each.playState !== 'running')"
    )
    await _readable(page)
    await page.reload()
    assert await page.frame.evaluate(dark)
    assert await page.frame.evaluate(size) == "20.8px"
    await page.page.emulate_media(color_scheme="light")
    assert await page.frame.evaluate(dark)


async def test_everything_is_deleted_only_once_the_word_was_typed(
    demo: Served, people: People
) -> None:
    page = await people.open(demo)
    await page.ask("My name is Alice")
    mine = await page.open_settings("My data")
    button = mine.get_by_role("button", name="Delete everything")
    await expect(button).to_be_disabled()
    await mine.get_by_label("Type DELETE to confirm").fill("DELETE")
    await button.click()
    await expect(mine.get_by_text("1 conversation was deleted.")).to_be_visible()
    await page.close_settings()
    await expect(page.recent.get_by_role("link")).to_have_count(0)
    await expect(page.questions).to_have_count(0)


async def test_tasks_take_the_browser_s_zone_and_are_cancelled_in_the_settings(
    demo: Served, browser: Browser, people: People
) -> None:
    context = await browser.new_context(viewport=WIDE, timezone_id="Asia/Tokyo")
    page = await (await people.tab_in(context, demo)).open()
    await page.ask("/schedule every day at 9: tell me the news")
    await expect(page.answers.last).to_contain_text("(Asia/Tokyo)")
    general = await page.open_settings()
    await general.get_by_label("Time zone").select_option("Europe/Berlin")
    await page.close_settings()
    await page.ask("/schedule every day at 10: tell me the weather")
    await expect(page.answers.last).to_contain_text("(Europe/Berlin)")
    tasks = await page.open_settings("Recurring tasks")
    await expect(tasks.get_by_role("listitem")).to_have_count(2)
    await expect(tasks.get_by_role("listitem").first).to_contain_text("Asia/Tokyo")
    await tasks.get_by_role("button", name="Cancel").first.click()
    await expect(tasks.get_by_role("listitem")).to_have_count(1)
    await expect(tasks.get_by_role("button", name="Cancel")).to_be_focused()
    await page.close_settings()
    await page.ask("/schedule list")
    await expect(page.answers.last).to_contain_text("the weather")
    await expect(page.answers.last).not_to_contain_text("the news")
