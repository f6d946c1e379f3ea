"""Switching without loading the page, hits of a search, temporary chats, and the tab's title."""

import re

import pytest
from playwright.async_api import Locator, expect

from tests.doubles.openai_server import OpenAIDouble
from tests.harness import Served, canary
from tests.rows import messages
from tests.web.chat_page import ChatPage
from tests.web.conftest import People
from tests.web.test_history import with_chats

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]


async def choose(page: ChatPage, title: str) -> None:
    await page.recent.get_by_role("link", name=title).click()


def mark(page: ChatPage) -> Locator:
    return page.log.locator(".cmw-hit")


async def test_conversations_are_switched_without_loading_the_page_again(
    app: Served, people: People
) -> None:
    page = await with_chats(people, app, "one", "two")
    second = page.conversation()
    await page.page.evaluate("window.isSamePage = true")
    await choose(page, "one")
    await expect(page.questions).to_have_text(["one"])
    await expect(page.recent.locator("[aria-current]")).to_have_text("one")
    first = page.conversation()
    assert first not in (None, second)
    await page.ask("and on")
    await expect(page.questions).to_have_text(["one", "and on"])
    assert page.conversation() == first

    await page.page.go_back()
    await expect(page.questions).to_have_text(["two"])
    assert page.conversation() == second
    await page.page.go_forward()
    await expect(page.questions).to_have_text(["one", "and on"])
    await page.begin_anew()
    await page.page.go_back()
    await expect(page.questions).to_have_text(["one", "and on"])
    await page.page.go_forward()
    await expect(page.questions).to_have_count(0)
    assert page.conversation() is None
    assert await page.page.evaluate("window.isSamePage")
    await page.ask("three")
    assert page.conversation() not in (None, first, second)


async def test_fast_switches_end_at_the_last_one(app: Served, people: People) -> None:
    page = await with_chats(people, app, "one", "two", "three")
    await page.page.evaluate(
        """() => { for (const title of ["one", "two", "one", "three", "two"])
        document.querySelector(`#cmw-recent a[title="${title}"]`).click(); }"""
    )
    await expect(page.recent.locator("[aria-current]")).to_have_text("two")
    await expect(page.questions).to_have_text(["two"])
    await page.ask("and on")
    await expect(page.questions).to_have_text(["two", "and on"])
    await page.page.go_back()
    await expect(page.questions).to_have_text(["three"])


async def test_no_button_of_a_conversation_acts_while_the_page_goes_to_another_one(
    app: Served, people: People
) -> None:
    page = await with_chats(people, app, "one", "two")
    pressed = await page.page.evaluate(
        """() => { document.querySelector(`#cmw-recent a[title="one"]`).click();
        const buttons = [...document.querySelectorAll(".cmw-actions button")];
        for (const button of buttons) button.click();
        return buttons.length; }"""
    )
    assert pressed >= 6
    await expect(page.questions).to_have_text(["one"])
    await expect(page.log.locator("textarea, [aria-pressed=true]")).to_have_count(0)
    await expect(page.frame.locator(".cmw-details")).to_have_count(0)
    await expect(page.frame.locator(".cmw-pane-alert")).to_be_empty()
    await choose(page, "two")
    await expect(page.questions).to_have_text(["two"])
    await expect(page.log.locator("textarea, [aria-pressed=true]")).to_have_count(0)


async def test_an_answer_that_is_being_written_does_not_follow_to_another_conversation(
    app: Served, model: OpenAIDouble, people: People
) -> None:
    page, word = await with_chats(people, app, "one", "two"), canary()
    await page.write(f"[gated-3] {word}")
    await expect(page.stop).to_be_visible()
    await choose(page, "one")
    await expect(page.questions).to_have_text(["one"])
    model.release(word)
    await page.settled()
    await expect(page.questions).to_have_text(["one"])
    await page.ask("and on")
    await expect(page.questions).to_have_text(["one", "and on"])


async def test_a_deleted_conversation_in_the_history_is_not_shown(
    app: Served, people: People
) -> None:
    page = await with_chats(people, app, "one", "two")
    await choose(page, "one")
    await expect(page.questions).to_have_text(["one"])
    await page.page.evaluate(
        """async () => { const found = (await window.cmw.ask("history")).conversations;
        const { id } = found.find((item) => item.title === "two");
        await window.cmw.ask("history/delete", { id }); }"""
    )
    await page.page.go_back()
    await expect(page.toast).to_contain_text("not found")
    await expect(page.questions).to_have_count(0)
    await page.page.wait_for_url(lambda url: "c=" not in url)


async def test_a_hit_is_opened_in_its_message_and_marked(app: Served, people: People) -> None:
    word = canary().replace("-", "")
    page = await people.open(app)
    for n in range(24):
        await page.ask(f"needle {word} here" if n == 1 else f"message {n}")
    await page.begin_anew()
    await page.open_sidebar()
    await page.frame.get_by_role("searchbox").fill(word)
    hit = page.recent.get_by_role("link")
    await expect(hit).to_contain_text([word])
    await hit.click()
    await expect(mark(page)).to_have_count(1)
    await expect(mark(page)).to_contain_text(word)
    await expect(mark(page)).to_be_focused()
    await expect(mark(page)).to_be_in_viewport(ratio=1)
    await page.page.wait_for_timeout(1_000)  # Gradio scrolls to the end after an update
    await expect(mark(page)).to_be_in_viewport(ratio=1)
    assert await page.page.evaluate("CSS.highlights.get('cmw-hit').size") == 1
    assert "at=" in page.page.url

    await page.reload()
    await expect(mark(page)).to_contain_text(word)
    await page.ask("goes on")
    assert "at=" not in page.page.url


async def test_a_temporary_chat_says_what_it_is_and_is_gone_after_a_reload(
    app: Served, people: People
) -> None:
    word = canary()
    page = await with_chats(people, app, "one")
    note = page.frame.locator("#cmw-temporary-note")
    await page.frame.get_by_role("button", name="Temporary chat").click()
    await expect(note).to_contain_text("nothing of it is stored here")
    await expect(page.questions).to_have_count(0)
    await expect(page.frame.get_by_role("button", name="Attach files")).to_be_hidden()
    await page.ask(word)
    await page.ask("and on")
    await expect(page.questions).to_have_text([word, "and on"])
    assert page.conversation() is None
    await expect(page.recent.get_by_role("link")).to_have_text(["one"])
    await choose(page, "one")
    await expect(page.questions).to_have_text(["one"])
    await expect(note).to_have_count(0)
    await page.page.go_back()
    await expect(page.questions).to_have_count(0)
    await expect(note).to_have_count(0)

    await page.frame.get_by_role("button", name="Temporary chat").click()
    await page.ask(word)
    await page.reload()
    await expect(page.questions).to_have_count(0)
    await expect(note).to_have_count(0)
    await page.ask("ordinary")
    assert page.conversation() is not None
    folder = app.application.runtime.settings.data_dir
    assert messages(folder, word) == []


async def test_a_command_that_leaves_a_temporary_chat_takes_its_note_away(
    app: Served, people: People
) -> None:
    page = await people.open(app)
    await page.open_sidebar()
    await page.frame.get_by_role("button", name="Temporary chat").click()
    note = page.frame.locator("#cmw-temporary-note")
    await expect(note).to_have_count(1)
    await page.write("/new")
    await expect(note).to_have_count(0)


async def test_the_tab_says_that_an_answer_is_ready_until_it_is_looked_at(
    app: Served, people: People
) -> None:
    page = await people.open(app)
    icon = page.frame.locator("link[rel=icon]")
    plain = await icon.get_attribute("href")
    await page.page.evaluate(
        """() => { window.isHidden = true;
        Object.defineProperty(document, "hidden", { get: () => window.isHidden }); }"""
    )
    await page.ask("hello")
    await expect(page.page).to_have_title(
        re.compile(r"^\(1\) Answer ready – (hello – )?CMW Agent$")
    )
    assert await icon.get_attribute("href") != plain
    await page.page.evaluate(
        "() => { window.isHidden = false; document.dispatchEvent(new Event('visibilitychange')); }"
    )
    await expect(page.page).not_to_have_title(re.compile("Answer ready"))
    assert await icon.get_attribute("href") == plain
