"""The conversation list in a browser: search, rename, delete, restore, export, rating."""

import re
import zipfile
from pathlib import Path

import orjson
import pytest
from playwright.async_api import Locator, expect

from tests.harness import Served, canary
from tests.rows import rows
from tests.service import wait_until
from tests.web.chat_page import ChatPage
from tests.web.conftest import People

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]


def row(page: ChatPage, title: str) -> Locator:
    return page.recent.get_by_role("listitem").filter(has_text=title)


async def act(page: ChatPage, title: str, action: str) -> None:
    await row(page, title).get_by_role("button", name=f"Actions for {title}").click()
    await page.frame.get_by_role("menuitem", name=action, exact=True).click()


async def with_chats(people: People, app: Served, *said: str) -> ChatPage:
    page = await people.open(app)
    for text in said:
        if await page.questions.count():
            await page.begin_anew()
        await page.ask(text)
    await page.open_sidebar()
    await expect(page.recent.get_by_role("link")).to_have_text(list(reversed(said)))
    return page


def ratings(app: Served, conversation: str) -> list[str | None]:
    found = rows(
        app.application.runtime.settings.data_dir,
        "SELECT feedback FROM agent_messages WHERE session_id = ? AND role = 'assistant'",
        conversation,
    )
    return [row["feedback"] for row in found]


async def test_a_word_of_an_answer_finds_the_conversation(app: Served, people: People) -> None:
    page = await with_chats(people, app, "a lighthouse by the sea", "something else")
    search = page.frame.get_by_role("searchbox", name="Search conversations")
    await search.fill("lightho")
    await expect(page.recent.get_by_role("link")).to_have_count(1)
    await page.recent.get_by_role("link").click()
    await page.filled()
    await expect(page.questions).to_have_text(["a lighthouse by the sea"])
    await search.fill("nothing has this")
    await expect(page.recent).to_contain_text("Nothing was found.")
    await search.fill("")
    await expect(page.recent.get_by_role("link")).to_have_count(2)


async def test_a_conversation_is_renamed_by_keyboard(app: Served, people: People) -> None:
    page = await with_chats(people, app, "first title")
    await row(page, "first title").get_by_role("button").press("Enter")
    await expect(page.frame.get_by_role("menuitem", name="Rename")).to_be_focused()
    await page.page.keyboard.press("Enter")
    await page.frame.get_by_role("textbox", name="Title").fill("A <b>better</b> title")
    await page.page.keyboard.press("Enter")
    await expect(page.recent.get_by_role("link")).to_have_text(["A <b>better</b> title"])
    await page.reload()
    await expect(page.recent.get_by_role("link")).to_have_text(["A <b>better</b> title"])


async def test_a_deleted_conversation_comes_back_by_undo(app: Served, people: People) -> None:
    page = await with_chats(people, app, "keep me", "delete me")
    await act(page, "delete me", "Delete")
    await expect(page.recent.get_by_role("link")).to_have_text(["keep me"])
    await page.left()
    await page.frame.get_by_role("button", name="Undo").click()
    await page.filled()
    await expect(page.questions).to_have_text(["delete me"])
    await expect(page.recent.get_by_role("link")).to_have_text(["delete me", "keep me"])
    await expect(page.frame.get_by_role("button", name="Undo")).to_have_count(0)


async def test_a_conversation_and_all_of_them_are_saved_as_files(
    app: Served, people: People, tmp_path: Path
) -> None:
    secret = canary()
    page = await with_chats(people, app, f"first {secret}", "second")
    for action, ending in (
        ("Save as Markdown", "md"),
        ("Save as JSON", "json"),
        ("Save as HTML", "html"),
    ):
        async with page.page.expect_download() as coming:
            await act(page, f"first {secret}", action)
        saved = await coming.value
        assert re.fullmatch(rf"first canary-\w+\.{ending}", saved.suggested_filename)
        await saved.save_as(tmp_path / ending)
        assert f"You said: first {secret}" in (tmp_path / ending).read_text()
    mine = await page.open_settings("My data")
    async with page.page.expect_download() as coming:
        await mine.get_by_role("button", name="Download everything").click()
    await page.close_settings()
    await (await coming.value).save_as(tmp_path / "all")
    with zipfile.ZipFile(tmp_path / "all") as archive:
        lines = archive.read("conversations.jsonl").splitlines()
    saved_all = [orjson.loads(line)["title"] for line in lines]
    assert saved_all == ["second", f"first {secret}"]
    async with page.page.expect_download() as coming:
        await act(page, f"first {secret}", "Save with files")
    await (await coming.value).save_as(tmp_path / "one.zip")
    assert zipfile.is_zipfile(tmp_path / "one.zip")


async def test_an_export_is_imported_and_listed_and_what_is_none_is_a_sentence(
    app: Served, people: People, tmp_path: Path
) -> None:
    alice = await with_chats(people, app, "a question to keep")
    mine = await alice.open_settings("My data")
    async with alice.page.expect_download() as coming:
        await mine.get_by_role("button", name="Download everything").click()
    await (await coming.value).save_as(tmp_path / "all.zip")
    bob = await people.open(app)
    his = await bob.open_settings("My data")
    chooser = his.locator("input[type=file]")
    await chooser.set_input_files(tmp_path / "all.zip")
    status = his.locator(".cmw-import").get_by_role("status")
    await expect(status).to_have_text("1 conversation from this app was imported.")
    await bob.close_settings()
    await bob.recent.get_by_role("link", name="a question to keep").click()
    await bob.filled()
    await expect(bob.questions).to_have_text(["a question to keep"])
    (tmp_path / "none.json").write_text("<script>document.title = 'owned'</script>")
    await bob.open_settings("My data")
    people.watch.expects("http 422: .*/history/import", "422 .*/history/import")
    await chooser.set_input_files(tmp_path / "none.json")
    await expect(status).to_contain_text("This file holds no conversations that can be read")


async def test_an_answer_stays_rated_after_a_reload(app: Served, people: People) -> None:
    page = await with_chats(people, app, "rate me")
    conversation = page.conversation()
    assert conversation is not None
    await page.button("Like").click()
    await expect(
        page.log.get_by_role("button", name="Like", exact=True, pressed=True)
    ).to_have_count(1)
    # Gradio draws it before the server has heard of it.
    await wait_until(lambda: "like" in ratings(app, conversation))
    await page.reload()
    await expect(
        page.log.get_by_role("button", name="Like", exact=True, pressed=True)
    ).to_have_count(1)


def reasons(app: Served, conversation: str) -> list[tuple[str | None, str | None]]:
    """Return the reason and the comment of each answer's rating."""
    found = rows(
        app.application.runtime.settings.data_dir,
        "SELECT feedback_reason, feedback_comment FROM agent_messages "
        "WHERE session_id = ? AND role = 'assistant'",
        conversation,
    )
    return [(row["feedback_reason"], row["feedback_comment"]) for row in found]


async def test_why_an_answer_is_disliked_is_said_below_it_by_the_keyboard_alone(
    app: Served, people: People
) -> None:
    page = await with_chats(people, app, "rate me")
    await page.page.set_viewport_size({"width": 320, "height": 640})
    conversation = page.conversation()
    assert conversation is not None
    keyboard, dislike = page.page.keyboard, page.button("Dislike")
    form = page.log.get_by_role("form", name="Why you rate this answer so")
    await dislike.focus()
    await keyboard.press("Enter")
    await expect(form).to_be_visible()
    await expect(dislike).to_be_focused()
    width = await form.evaluate("form => [form.scrollWidth - form.clientWidth, form.offsetWidth]")
    assert width[0] <= 0
    assert width[1] <= 320
    await form.get_by_role("radio", name="Not right").focus()
    await keyboard.press("ArrowDown")
    await expect(form.get_by_role("radio", name="Not complete")).to_be_checked()
    await keyboard.press("Tab")
    await expect(form.get_by_role("textbox", name="Comment")).to_be_focused()
    await keyboard.type("half of it")
    await keyboard.press("Tab")
    await keyboard.press("Enter")
    await expect(form).to_have_count(0)
    await expect(dislike).to_be_focused()
    assert reasons(app, conversation) == [("not_complete", "half of it")]
    await page.button("Details").click()
    await expect(page.frame.get_by_role("dialog", name="Details of the answer")).to_contain_text(
        "Dislike · Not complete"
    )
    await keyboard.press("Escape")
    await dislike.click()  # takes it back
    await wait_until(lambda: ratings(app, conversation) == [None])
    await expect(form).to_have_count(0)
    assert reasons(app, conversation) == [(None, None)]
    await page.button("Like").click()
    await expect(form.get_by_role("radio")).to_have_count(0)
    await form.get_by_role("textbox", name="Comment").focus()
    await keyboard.press("Escape")
    await expect(form).to_have_count(0)
    await expect(page.button("Like")).to_be_focused()


async def test_earlier_messages_come_when_they_are_asked_for(app: Served, people: People) -> None:
    page = await people.open(app)
    for n in range(22):
        await page.ask(f"message {n}")
    earlier = page.frame.get_by_role("button", name="Show earlier messages")
    await expect(earlier).to_be_hidden()
    await page.reload()
    await expect(page.questions).to_have_count(20)
    await earlier.click()
    await expect(page.questions).to_have_count(22)
    await expect(earlier).to_be_hidden()
    await page.ask("goes on")
    await expect(page.questions).to_have_count(23)
