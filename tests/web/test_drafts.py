"""What was begun and not sent survives: an edit of a message, and files that were attached."""

from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.doubles.openai_server import OpenAIDouble
from tests.doubles.relay import relay
from tests.harness import Served, canary, served, settings_for
from tests.web.chat_page import ChatPage
from tests.web.conftest import People

pytestmark = pytest.mark.asyncio(loop_scope="module")

BROKEN = ("net::ERR", "http 503: .*/(readyz|queue/join)", "status of 503")
LOST = "There is no connection. Please submit this once it is back."


async def attach(page: ChatPage, name: str, content: str) -> None:
    async with page.page.expect_file_chooser() as choosing:
        await page.frame.get_by_role("button", name="Attach files").click()
    await (await choosing.value).set_files(
        {"name": name, "mimeType": "text/plain", "buffer": content.encode()}
    )
    await expect(page.attached(name)).to_be_visible()
    await expect(page.frame.locator(".cmw-chip progress")).to_have_count(0)


async def test_an_edit_that_is_submitted_without_a_network_stays_and_outlives_the_page(
    app: Served, people: People
) -> None:
    people.watch.tolerates(*BROKEN)
    async with relay(app.url) as network:
        page = await people.at(network.url)
        await page.ask("as it was")
        network.cut()
        await expect(page.offline).to_be_visible()
        await page.box.fill("and a draft")
        await page.edit_last("as it is to be")
        await expect(page.log.get_by_role("alert")).to_have_text(LOST)
        await expect(page.log.get_by_role("textbox")).to_have_value("as it is to be")
        network.restore()
        await expect(page.offline).to_be_hidden()
        await expect(page.questions).to_have_text(["as it was"])
        await page.settled()
        await page.reload()
        await expect(page.box).to_have_value("as it is to be\n\nand a draft")
        await people.leave()


@pytest.mark.parametrize("milliseconds", [0, 300], ids=["at once", "late"])
async def test_an_edit_that_is_left_for_another_chat_waits_in_the_draft_of_its_own(
    milliseconds: int, app: Served, people: People
) -> None:
    page = await people.open(app)
    await page.ask("as it was")
    # What is drawn, and so what is taken away, comes before the page has left the chat, or after it.
    await page.page.evaluate(f"requestAnimationFrame = (work) => setTimeout(work, {milliseconds})")
    await page.box.fill("and a draft")
    await page.log.get_by_role("button", name="Edit", exact=True).click()
    await page.log.get_by_role("textbox").fill("as it is to be")
    await page.begin_anew()
    await expect(page.box).to_have_value("")
    await page.open_sidebar()
    await page.recent.get_by_role("link").first.click()
    await expect(page.questions).to_have_text(["as it was"])
    await expect(page.box).to_have_value("as it is to be\n\nand a draft")


async def test_an_edit_that_the_full_app_cannot_take_stays_in_its_editor(
    model: OpenAIDouble, people: People, tmp_path: Path
) -> None:
    people.watch.tolerates(*BROKEN)
    settings = settings_for(tmp_path, openai_base_url=model.base_url, model="stage", max_turns=1)
    async with served(settings) as app:
        page, other, word = await people.open(app), await people.open(app), canary()
        await page.ask("as it was")
        await other.write(f"[gated-0] {word}")
        await model.wait_held(word)
        await page.edit_last("as it is to be")
        await expect(page.frame.locator(".cmw-pane-alert")).not_to_be_empty()
        await expect(page.log.get_by_role("textbox")).to_have_value("as it is to be")
        model.release(word)
        await other.settled()
        await page.log.get_by_role("button", name="Submit", exact=True).click()
        await expect(page.questions).to_have_text(["as it is to be"])
        await page.settled()
        await people.leave()


async def test_attached_files_survive_a_reload_and_stay_with_their_conversation(
    app: Served, model: OpenAIDouble, people: People
) -> None:
    page, secret = await people.open(app), canary()
    await page.ask("a conversation")
    first = page.page.url
    await attach(page, "notes.txt", secret)
    await page.reload()
    await expect(page.attached("notes.txt")).to_be_visible()
    await page.begin_anew()
    await expect(page.attached("notes.txt")).to_have_count(0)
    await page.ask("without files")
    await page.page.goto(first)
    await page.filled()
    await expect(page.attached("notes.txt")).to_be_visible()
    await page.write("read this")
    await expect(page.answers.last).to_contain_text("You said: read this")
    await page.settled()
    await expect(page.attached("notes.txt")).to_be_hidden()
    assert secret in str(model.matching("read this")[-1].body)
    assert secret not in str(model.matching("without files")[-1].body)
    await page.reload()
    await expect(page.log.get_by_role("link", name="notes.txt")).to_be_visible()
    await expect(page.attached("notes.txt")).to_have_count(0)


async def test_an_attached_file_that_the_server_has_deleted_is_named(
    app: Served, people: People
) -> None:
    people.watch.expects("http 404: .*/files/", "status of 404")
    page = await people.open(app)
    await attach(page, "notes.txt", "words")
    removed = await page.page.evaluate(
        "window.cmw.ask('files/remove', { id: window.cmw.filesHere()[0].id })"
    )
    assert removed == {}
    await page.reload()
    await expect(page.frame.locator(".cmw-file-status")).to_have_text(
        "notes.txt is not stored any more; please attach it again."
    )
    await expect(page.attached("notes.txt")).to_have_count(0)
    await page.reload()
    await expect(page.attached("notes.txt")).to_have_count(0)
