"""What one page of a user does, the user's other pages show without a reload."""

import re

import pytest
from playwright.async_api import expect

from tests.doubles.openai_server import OpenAIDouble
from tests.harness import Served, canary
from tests.web.chat_page import HELD, ChatPage
from tests.web.conftest import People
from tests.web.test_history import with_chats
from tests.web.test_switching import choose

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

LISTEN = """() => { window.changes = [];
document.addEventListener("cmw:changed", ({ detail }) => window.changes.push(detail)); }"""


async def two_pages(people: People, app: Served, *questions: str) -> tuple[ChatPage, ChatPage]:
    """Return two pages of one user that show the same conversation."""
    page = await people.open(app)
    for question in questions:
        await page.ask(question)
    other = await people.same_user(page, app.url, f"?c={await page.named()}")
    await expect(other.questions).to_have_text(questions)
    return page, other


async def test_a_page_shows_what_another_one_sends_and_the_answer_as_it_is_written(
    app: Served, model: OpenAIDouble, people: People
) -> None:
    word = canary()
    page, other = await two_pages(people, app, "hello")
    await other.box.fill("a draft of mine")
    await page.write(f"[gated-3] {word}")
    await model.wait_held(word)
    await expect(other.questions).to_have_text(["hello", f"[gated-3] {word}"])
    await expect(other.answers.last).to_have_text(HELD)
    await expect(other.stop).to_be_visible()
    model.release(word)
    await page.settled()
    await other.settled()
    await expect(other.answers).to_have_text(await page.answers.all_inner_texts())
    await expect(other.box).to_have_value("a draft of mine")
    await other.box.press("Enter")
    await expect(page.questions).to_have_text(["hello", f"[gated-3] {word}", "a draft of mine"])
    await page.settled()
    await expect(page.answers.last).to_have_text("You said: a draft of mine")


async def test_a_page_shows_the_retries_edits_and_chosen_versions_of_another_one(
    app: Served, people: People
) -> None:
    page, other = await two_pages(people, app, "one", "two")
    await page.button("Retry").click()
    await expect(other.frame.get_by_label("Version 2 of 2")).to_have_count(1)
    await page.settled()
    await page.edit_last("edited", 0)
    await expect(other.questions).to_have_text(["edited"])
    await page.settled()
    await other.settled()
    await page.frame.get_by_label("Previous version of the message").click()
    await expect(page.questions).to_have_text(["one", "two"])
    await expect(other.questions).to_have_text(["one", "two"])
    await other.ask("three")
    await expect(page.questions).to_have_text(["one", "two", "three"])


async def test_an_edit_of_a_message_that_another_page_replaces_goes_into_the_message_box(
    app: Served, people: People
) -> None:
    page, other = await two_pages(people, app, "one")
    await other.log.get_by_role("button", name="Edit", exact=True).click()
    await other.log.get_by_role("textbox").fill("my version")
    await page.edit_last("edited")
    await expect(other.questions).to_have_text(["edited"])
    await expect(other.box).to_have_value("my version")


async def test_a_page_leaves_a_conversation_that_another_one_deletes_and_keeps_the_draft(
    app: Served, people: People
) -> None:
    page, other = await two_pages(people, app, "one")
    await other.box.fill("a draft of mine")
    await page.open_sidebar()
    await page.recent.get_by_role("button", name="Actions for one").click()
    await page.frame.get_by_role("menuitem", name="Delete").click()
    await other.left()
    await expect(other.frame.get_by_text("was deleted in another tab")).to_be_visible()
    await expect(other.box).to_have_value("a draft of mine")
    await expect(other.recent.get_by_role("link")).to_have_count(0)
    await page.frame.get_by_role("button", name="Undo").click()
    await expect(other.recent.get_by_role("link")).to_have_count(1)
    await expect(other.questions).to_have_count(0)


async def test_the_list_of_a_page_follows_what_another_one_renames(
    app: Served, people: People
) -> None:
    page, other = await two_pages(people, app, "one")
    await page.page.evaluate(
        """async () => { const id = window.cmw.conversation();
        await window.cmw.ask("history/rename", { id, title: "another name" }); }"""
    )
    await expect(other.recent.get_by_role("link")).to_have_text(["another name"])
    await page.begin_anew()
    await page.ask("two")
    await expect(other.recent.get_by_role("link")).to_have_text(["two", "another name"])
    await expect(other.questions).to_have_text(["one"])


async def test_a_page_of_another_user_is_told_nothing(app: Served, people: People) -> None:
    page, other = await two_pages(people, app, "one")
    stranger = await people.open(app, f"?c={page.conversation()}")
    for one in (page, other, stranger):
        await one.page.evaluate(LISTEN)
    await page.ask("two")
    await expect(other.answers).to_have_count(2)
    await other.page.wait_for_function("window.changes.length === 2")
    id_ = page.conversation()
    told = [{"kind": kind, "conversation": id_, "own": False} for kind in ("began", "ended")]
    assert await other.page.evaluate("window.changes") == told
    await page.page.wait_for_function("window.changes.length === 2")
    own = [{**change, "own": True} for change in told]
    assert await page.page.evaluate("window.changes") == own
    await stranger.ask("mine")
    await stranger.page.wait_for_function("window.changes.length === 2")
    heard = await stranger.page.evaluate("window.changes")
    assert {change["conversation"] for change in heard} == {stranger.conversation()}


async def test_the_tab_counts_the_answers_that_came_in_chats_that_it_has_left(
    app: Served, model: OpenAIDouble, people: People
) -> None:
    page = await with_chats(people, app, "one")
    words = [canary(), canary()]
    for word in words:
        await page.begin_anew()
        await page.write(f"[gated-2] {word}")
        await model.wait_held(word)
        await page.named()
    await choose(page, "one")
    await expect(page.questions).to_have_text(["one"])
    await expect(page.page).to_have_title("one – CMW Agent")
    model.release(words[0])
    await expect(page.page).to_have_title("(1) Answer ready – one – CMW Agent")
    await expect(page.recent.get_by_role("link", name=words[0])).to_contain_text("Answer ready")
    model.release(words[1])
    await expect(page.page).to_have_title("(2) Answers ready – one – CMW Agent")
    await choose(page, words[1])
    await expect(page.page).to_have_title(re.compile(r"^\(1\) Answer ready – .*– CMW Agent$"))
    await choose(page, words[0])
    await expect(page.page).to_have_title(re.compile(rf"^\[gated-2\] {words[0]} – CMW Agent$"))
    await expect(page.recent.get_by_text("Answer ready")).to_have_count(0)
    await expect(page.questions).to_have_text([re.compile(words[0])])
