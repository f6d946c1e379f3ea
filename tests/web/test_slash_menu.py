"""The menu that a slash opens in the message box, and the saved prompts in it."""

import pytest
from playwright.async_api import Locator, expect

from tests.harness import Served
from tests.web.chat_page import ChatPage
from tests.web.conftest import People
from tests.web.test_looks import NARROW, _fits, _picture, _readable

pytestmark = pytest.mark.asyncio(loop_scope="module")


def menu(page: ChatPage) -> Locator:
    return page.frame.get_by_role("listbox", name="Commands and prompts")


def options(page: ChatPage) -> Locator:
    return menu(page).get_by_role("option")


async def chosen(page: ChatPage) -> str:
    """Return the option that assistive technology is told is chosen."""
    found = await page.frame.evaluate(
        "document.getElementById(document.querySelector('#cmw-input textarea')"
        ".getAttribute('aria-activedescendant'))?.querySelector('span').textContent ?? ''"
    )
    return str(found)


async def save(page: ChatPage, name: str, text: str) -> None:
    """Save a prompt in the settings."""
    section = await page.open_settings("Prompts")
    await section.get_by_label("Name").fill(name)
    await section.get_by_label("Text").fill(text)
    await section.get_by_role("button", name="Save", exact=True).click()
    await expect(section.get_by_role("status")).to_have_text(f"“{name}” is saved.")
    await page.close_settings()


async def test_a_slash_offers_commands_that_the_keyboard_chooses(
    demo: Served, people: People
) -> None:
    page = await people.open(demo)
    keyboard = page.page.keyboard
    await page.box.press("/")
    await expect(options(page).filter(has_text="/help")).to_be_visible()
    await expect(options(page).filter(has_text="/connect")).to_have_count(0)  # nothing to connect
    await _readable(page)
    await _picture(page, "slash")
    await expect(page.box).to_be_focused()
    assert await chosen(page) == "/help"
    await keyboard.press("ArrowDown")
    assert await chosen(page) == "/tools"
    await keyboard.press("ArrowUp")
    await keyboard.press("ArrowUp")
    assert await chosen(page) == "Manage prompts…"
    await keyboard.type("sch")
    await expect(options(page)).to_have_count(1)
    await keyboard.press("Tab")
    await expect(page.box).to_have_value("/schedule ")
    await expect(menu(page)).to_be_hidden()
    await keyboard.press("Control+a")
    await keyboard.press("Backspace")
    await keyboard.type("/he")
    await keyboard.press("Enter")
    await expect(page.box).to_have_value("/help")
    await keyboard.press("Enter")
    await expect(page.answers.last).to_contain_text("use one of these")
    await page.settled()


async def test_escape_closes_the_menu_and_a_whole_command_is_sent_at_once(
    demo: Served, people: People
) -> None:
    page = await people.open(demo)
    await page.box.press("/")
    await expect(options(page).first).to_be_visible()
    await page.page.keyboard.press("Escape")
    await expect(menu(page)).to_be_hidden()
    await expect(page.box).to_be_focused()
    await page.page.keyboard.type("t")
    await expect(menu(page)).to_be_hidden()  # until the box begins anew
    await page.box.fill("")
    await page.page.keyboard.type("/tools")
    await expect(options(page).first).to_be_visible()
    await page.page.keyboard.press("Enter")
    await expect(page.answers.last).to_contain_text("I can use these")
    await page.settled()
    await page.box.fill("see /tools")
    await expect(menu(page)).to_be_hidden()


async def test_own_prompts_are_saved_offered_changed_and_deleted(
    demo: Served, people: People
) -> None:
    page = await people.open(demo)
    text = "Summarise this:\n\n<b>in three lines</b>"
    await save(page, "My <i>summary</i>", text)
    await page.box.focus()
    await page.page.keyboard.type("/my sum")
    await expect(options(page)).to_have_count(1)
    await expect(options(page)).to_contain_text("My <i>summary</i>")
    await page.page.keyboard.press("Enter")
    await expect(page.box).to_have_value(text)
    await expect(page.questions).to_have_count(0)
    await page.reload()
    await expect(page.box).to_have_value(text)
    section = await page.open_settings("Prompts")
    await section.get_by_role("button", name="Edit My <i>summary</i>").click()
    await section.get_by_label("Name").fill("Shorter")
    await section.get_by_role("button", name="Save", exact=True).click()
    await expect(section.get_by_role("listitem")).to_have_count(1)
    await expect(section.get_by_role("listitem")).to_contain_text("Shorter")
    await _readable(page)
    await _picture(page, "prompts")
    await section.get_by_role("button", name="Delete Shorter").click()
    await expect(section.get_by_role("listitem")).to_have_count(0)
    await expect(section.get_by_label("Name")).to_be_focused()
    await page.close_settings()


async def test_the_button_puts_a_prompt_into_what_is_written_and_saves_it(
    demo: Served, people: People
) -> None:
    page = await people.open(demo, viewport=NARROW)
    await save(page, "signed", "Yours, A")
    await page.page.keyboard.press("Escape")  # the drawer
    button = page.frame.get_by_role("button", name="Commands and prompts")
    await page.box.fill("Hello. ")
    await button.click()
    await expect(options(page)).to_have_count(2)
    await _fits(page)
    await _picture(page, "slash-390")
    await options(page).filter(has_text="signed").click()
    await expect(page.box).to_have_value("Hello. Yours, A")
    await expect(page.box).to_be_focused()
    await button.click()
    await options(page).filter(has_text="Save this text").click()
    section = page.frame.get_by_role("tabpanel", name="Prompts")
    await expect(section.get_by_label("Text")).to_have_value("Hello. Yours, A")
    await expect(section.get_by_label("Name")).to_be_focused()


async def test_prompts_of_one_user_are_offered_to_no_other(demo: Served, people: People) -> None:
    one, other = await people.open(demo), await people.open(demo)
    await save(one, "secret plan", "of one alone")
    await other.box.press("/")
    await expect(options(other).filter(has_text="/help")).to_be_visible()
    await expect(options(other).filter(has_text="secret")).to_have_count(0)
