"""What a page writes and reads follows the chat that it shows: answers, messages that wait, drafts."""

import re

import pytest
from playwright.async_api import Locator, expect

from tests.doubles.openai_server import OpenAIDouble
from tests.doubles.relay import relay
from tests.harness import Served, canary
from tests.rows import messages
from tests.web.chat_page import ChatPage
from tests.web.conftest import People
from tests.web.test_history import with_chats
from tests.web.test_outbox import NETWORK, notice, waiting
from tests.web.test_switching import choose

pytestmark = pytest.mark.asyncio(loop_scope="module")

STORED = "JSON.stringify(localStorage) + JSON.stringify(sessionStorage)"


def temporary(page: ChatPage) -> Locator:
    return page.frame.get_by_role("button", name="Temporary chat")


def note(page: ChatPage) -> Locator:
    return page.frame.locator("#cmw-temporary-note")


async def stored(page: ChatPage) -> str:
    """Return all that the page's browser stores for it."""
    return str(await page.page.evaluate(STORED))


async def test_a_page_that_comes_back_to_a_running_answer_joins_it(
    app: Served, model: OpenAIDouble, people: People
) -> None:
    page, one, two = await with_chats(people, app, "quiet"), canary(), canary()
    questions = {word: f"[gated-2] {word}" for word in (one, two)}
    for word, question in questions.items():
        await page.begin_anew()
        await page.write(question)
        await model.wait_held(word)
    await page.page.evaluate("window.isSamePage = true")
    for word in (one, two, one):  # from a running answer to a running one
        await choose(page, questions[word])
        await expect(page.questions).to_have_text([questions[word]])
        await expect(page.answers).to_have_text(["You said:"])
        await expect(page.stop).to_be_visible()
    await choose(page, "quiet")
    await expect(page.questions).to_have_text(["quiet"])
    await page.settled()

    await page.page.go_back()
    await expect(page.questions).to_have_text([questions[one]])
    await expect(page.stop).to_be_visible()
    model.release(one)
    await page.settled()
    await expect(page.answers).to_have_text([f"You said: {questions[one]}"])
    await choose(page, questions[two])
    await expect(page.questions).to_have_text([questions[two]])
    await page.stop.click()
    await page.settled()
    await expect(page.log).to_contain_text("This answer was stopped")
    model.release(two)
    assert [len(model.matching(word)) for word in (one, two)] == [1, 1]
    assert await page.page.evaluate("window.isSamePage")


async def test_messages_that_wait_and_drafts_stay_with_their_conversation(
    app: Served, model: OpenAIDouble, people: People
) -> None:
    page, word = await with_chats(people, app, "other"), canary()
    other = page.conversation()
    first = f"[gated-1] {word}"
    await page.begin_anew()
    await page.write(first)
    await model.wait_held(word)
    await page.write("behind it")
    await page.box.fill("a draft")
    await choose(page, "other")
    await expect(page.questions).to_have_text(["other"])
    await expect(page.box).to_have_value("")
    await expect(waiting(page)).to_have_count(0)
    await page.ask("meanwhile")
    assert page.conversation() == other
    await page.box.fill("another draft")

    await page.page.go_back()
    await expect(page.questions).to_have_text([first])
    await expect(waiting(page)).to_have_text([re.compile("behind it")])
    await expect(page.box).to_have_value("a draft")
    model.release(word)
    await expect(page.answers).to_have_text([f"You said: {first}", "You said: behind it"])
    await page.settled()
    await choose(page, "other")
    await expect(page.questions).to_have_text(["other", "meanwhile"])
    await expect(page.box).to_have_value("another draft")


async def test_a_first_message_that_is_left_at_once_is_stored_in_a_conversation_of_its_own(
    app: Served, model: OpenAIDouble, people: People
) -> None:
    page, word = await with_chats(people, app, "other"), canary()
    other = page.conversation()
    await page.begin_anew()
    await page.page.evaluate(
        """(text) => { const box = window.cmw.box();
        box.value = text;
        box.dispatchEvent(new Event("input", { bubbles: true }));
        box.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true }));
        document.querySelector('#cmw-recent a[title="other"]').click(); }""",
        f"[gated-1] {word}",
    )
    await model.wait_held(word)
    model.release(word)
    await expect(page.questions).to_have_text(["other"])
    await page.settled()
    assert page.conversation() == other
    await expect(page.frame.get_by_role("link", name="Open it to send it")).to_have_count(0)
    await page.ask("and on")
    await expect(page.questions).to_have_text(["other", "and on"])
    folder = app.application.runtime.settings.data_dir
    (question, _) = messages(folder, word)
    assert question["session_id"] != other
    assert len(model.matching(word)) == 1


async def test_the_browser_stores_nothing_of_a_temporary_chat(
    app: Served, model: OpenAIDouble, people: People
) -> None:
    page, word = await with_chats(people, app, "one"), canary()
    await page.box.fill("a draft of the first")
    await temporary(page).click()
    await expect(note(page)).to_contain_text("nothing of it is stored here or in this browser")
    await expect(page.box).to_have_value("")
    await page.write(f"[gated-1] {word}")
    await model.wait_held(word)
    await expect(page.questions).to_have_text([f"[gated-1] {word}"])
    await page.write(f"waits {word}")
    await expect(waiting(page)).to_have_text([re.compile("waits")])
    await page.box.fill(f"draft {word}")
    await page.page.evaluate("window.dispatchEvent(new Event('pagehide'))")
    assert word not in await stored(page)
    model.release(word)
    await expect(page.answers).to_have_count(2)
    await page.settled()
    assert word not in await stored(page)

    await page.write(f"[gated-1] {word} again")
    await model.wait_held(f"{word} again")
    aborted = model.aborted_count
    await choose(page, "one")
    await expect(page.questions).to_have_text(["one"])
    await expect(page.box).to_have_value("a draft of the first")
    await model.wait_aborted(aborted + 1)
    assert word not in await stored(page)
    await temporary(page).click()
    await expect(page.box).to_have_value("")
    assert messages(app.application.runtime.settings.data_dir, word) == []


async def test_a_temporary_chat_that_is_lost_with_the_connection_begins_anew_and_says_so(
    app: Served, people: People
) -> None:
    people.watch.tolerates(*NETWORK)
    word = canary()
    async with relay(app.url) as network:
        page = await people.at(network.url)
        await page.open_sidebar()
        await temporary(page).click()
        await page.ask(f"first {word}")
        network.cut()
        await page.write(f"second {word}")
        await page.box.fill(f"draft {word}")
        await expect(notice(page)).to_be_visible()
        assert word not in await stored(page)
        network.restore()
        await expect(note(page)).to_contain_text("The connection was lost")
        await expect(page.questions).to_have_text([f"second {word}"])
        await page.settled()
        await expect(page.box).to_have_value(f"draft {word}")
        assert word not in await stored(page)
        assert page.conversation() is None
        await people.leave()
    assert messages(app.application.runtime.settings.data_dir, word) == []
