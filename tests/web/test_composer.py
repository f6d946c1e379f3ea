"""The message box: one box for text, files and tools; and the own message, shown at once."""

import asyncio
import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import FilePayload, Route, ViewportSize, expect

from tests.doubles.openai_server import OpenAIDouble
from tests.harness import Served, canary
from tests.unit.test_look import PNG
from tests.web.chat_page import ChatPage
from tests.web.conftest import WIDE, People
from tests.web.test_looks import NARROW, _fits, _picture, _readable

pytestmark = pytest.mark.asyncio(loop_scope="module")

SMALLEST = ViewportSize(width=320, height=640)
INSIDE = """() => {
    const outer = document.getElementById("cmw-input").getBoundingClientRect();
    return ["cmw-attach", "cmw-choose"].map((id) => document.getElementById(id).getBoundingClientRect())
        .concat(document.querySelector("#cmw-input textarea").getBoundingClientRect())
        .every((box) => box.width > 0 && box.left >= outer.left && box.right <= outer.right
            && box.top >= outer.top && box.bottom <= outer.bottom);
}"""
# Pastes text and a picture, as a spreadsheet copies both.
PASTE = """([text, name]) => {
    const data = new DataTransfer();
    if (text) data.setData("text/plain", text);
    data.items.add(new File([new Uint8Array([137, 80, 78, 71])], name, { type: "image/png" }));
    const box = document.querySelector("#cmw-input textarea");
    box.focus();
    const event = new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true });
    return box.dispatchEvent(event);
}"""
DRAG = """(type) => {
    const data = new DataTransfer();
    data.items.add(new File(["dropped words"], "dropped.txt", { type: "text/plain" }));
    const at = document.querySelector("#cmw-welcome h2");
    at.dispatchEvent(new DragEvent(type, { dataTransfer: data, bubbles: true, cancelable: true }));
}"""

LOADS = """(url) => new Promise((done) => {
    const image = new Image();
    image.onload = () => done(true);
    image.onerror = () => done(false);
    image.src = url;
})"""

SHOWN_PROGRESS = """() => {
    window.shownProgress = [];
    new MutationObserver((changes) => {
        for (const { target } of changes) window.shownProgress.push(target.value);
    }).observe(document.getElementById("cmw-input"), { subtree: true, attributeFilter: ["value"] });
}"""


class Uploads:
    """Holds the uploads of a page back, or lets them fail, before the server sees them."""

    def __init__(self, page: ChatPage) -> None:
        self._page = page
        self._may_go = asyncio.Event()
        self.fails = False

    async def hold(self) -> None:
        """Hold back every upload from now on."""
        await self._page.page.route("**/files", self._route)

    def release(self) -> None:
        """Let the uploads go on to the server."""
        self._may_go.set()

    async def _route(self, route: Route) -> None:
        await self._may_go.wait()
        if self.fails:
            await route.fulfill(status=413, json={"detail": "This file is too large."})
        else:
            await route.continue_()


@pytest_asyncio.fixture(loop_scope="module")
async def page(app: Served, people: People) -> AsyncIterator[ChatPage]:
    yield await people.open(app)


async def attach(page: ChatPage, *files: FilePayload) -> None:
    async with page.page.expect_file_chooser() as choosing:
        await page.frame.get_by_role("button", name="Attach files").click()
    await (await choosing.value).set_files(list(files))


def text_file(name: str, content: str) -> FilePayload:
    return {"name": name, "mimeType": "text/plain", "buffer": content.encode()}


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW, SMALLEST], ids=["1280", "390", "320"])
async def test_text_files_and_tools_stand_in_one_box(
    size: ViewportSize, dark: bool, app: Served, people: People
) -> None:
    page = await people.open(app, viewport=size, dark=dark)
    await _fits(page)
    assert await page.frame.evaluate(INSIDE)
    head = await page.frame.locator(".cmw-head").bounding_box()
    assert head is not None
    assert head["height"] <= 52  # one row
    await attach(
        page, {"name": "view.png", "mimeType": "image/png", "buffer": PNG}, text_file("a.txt", "a")
    )
    await expect(page.frame.locator(".cmw-chip progress")).to_have_count(0)
    await page.box.fill("two\nlines")
    await _fits(page)
    assert await page.frame.evaluate(INSIDE)
    await _readable(page)
    await _picture(page, f"box-{size['width']}-{'dark' if dark else 'light'}")


async def test_a_picture_has_a_thumbnail_that_is_gone_with_it(
    page: ChatPage, people: People
) -> None:
    people.watch.expects("ERR_FILE_NOT_FOUND .blob:")
    picture: FilePayload = {"name": "view.png", "mimeType": "image/png", "buffer": PNG}
    await attach(page, picture)
    await expect(page.frame.locator(".cmw-chip progress")).to_have_count(0)
    thumbnail = page.frame.locator(".cmw-chip img")
    await expect(thumbnail).to_have_js_property("complete", True)
    await page.reload()
    await expect(thumbnail).to_have_js_property("complete", True)
    again = await thumbnail.get_attribute("src")
    assert await page.frame.evaluate(LOADS, again)
    await page.attached("view.png").click()
    await expect(page.frame.locator(".cmw-chip")).to_have_count(0)
    assert not await page.frame.evaluate(LOADS, again)


async def test_an_upload_says_how_far_it_is(page: ChatPage) -> None:
    await page.frame.evaluate(SHOWN_PROGRESS)
    await attach(page, text_file("big.txt", "words " * 300_000))
    await expect(page.attached("big.txt")).to_be_visible()
    await expect(page.frame.locator(".cmw-chip progress")).to_have_count(0)
    shown: list[float] = await page.frame.evaluate("window.shownProgress")
    assert shown[-1] == 1
    assert shown == sorted(shown)


async def test_an_upload_can_be_cancelled(page: ChatPage) -> None:
    uploads = Uploads(page)
    await uploads.hold()
    await attach(page, text_file("big.txt", "words"))
    bar = page.frame.get_by_role("progressbar", name="Uploading big.txt")
    await expect(bar).to_be_visible()
    await page.attached("big.txt").click()
    await expect(page.frame.locator(".cmw-chip")).to_have_count(0)
    uploads.release()
    await page.ask("without it")
    await expect(page.log.get_by_role("link", name="big.txt")).to_have_count(0)


async def test_an_upload_that_failed_keeps_the_message_and_can_be_tried_again(
    page: ChatPage, model: OpenAIDouble, people: People
) -> None:
    people.watch.expects("http 413", "status of 413")
    uploads, secret = Uploads(page), canary()
    await uploads.hold()
    uploads.fails = True
    uploads.release()
    await attach(page, text_file("notes.txt", secret))
    status = page.frame.locator(".cmw-file-status")
    await expect(status).to_have_text("notes.txt: This file is too large.")
    await page.write(f"read {secret[:8]}")
    await expect(status).to_contain_text("notes.txt was not uploaded. Try again, or remove it")
    await expect(page.questions).to_have_count(0)
    uploads.fails = False
    await page.frame.get_by_role("button", name="Upload notes.txt again").click()
    await expect(page.frame.locator(".cmw-chip.failed")).to_have_count(0)
    await page.send.click()
    await expect(page.answers.last).to_contain_text("You said: read")
    await page.settled()
    assert secret in str(model.matching(f"read {secret[:8]}")[-1].body)


async def test_a_message_waits_for_its_files_and_is_sent_once_when_they_are_there(
    page: ChatPage, model: OpenAIDouble
) -> None:
    uploads, secret = Uploads(page), canary()
    await uploads.hold()
    await attach(page, text_file("late.txt", secret))
    await page.write(f"read the late one {secret}")
    await expect(page.box).to_have_value("")
    await expect(page.outbox).to_have_text([re.compile(r"read the late one .* \(1 file\)")])
    await expect(page.outbox_status).to_have_text("1 message waits for 1 file.")
    await page.write("behind it")
    await expect(page.outbox_status).to_have_text("2 messages wait for 1 file.")
    await expect(page.questions).to_have_count(0)
    uploads.release()
    await expect(page.questions).to_have_text([re.compile("read the late one"), "behind it"])
    await expect(page.answers.last).to_have_text("You said: behind it")
    await page.settled()
    await expect(page.outbox).to_have_count(0)
    (asked,) = [r for r in model.matching("read the late one") if r.last_user.startswith("read")]
    assert secret in str(asked.body)
    await expect(page.log.get_by_role("link", name="late.txt")).to_have_count(1)


async def test_what_was_guessed_of_a_file_stands_at_it_before_and_after_it_is_sent(
    page: ChatPage,
) -> None:
    note = "It was read as Windows-1251, which was guessed."
    content = "Договор поставки от 3 мая".encode("cp1251")
    await attach(page, {"name": "old.txt", "mimeType": "text/plain", "buffer": content})
    await expect(page.frame.locator(".cmw-file-status")).to_have_text(f"old.txt: {note}")
    await expect(page.frame.get_by_title(f"old.txt: {note}")).to_be_visible()
    await page.write("read it")
    for _ in range(2):
        await expect(page.frame.get_by_test_id("user-files").locator("small")).to_have_text(note)
        await expect(page.frame.locator(".cmw-file-status")).to_be_hidden()
        await page.settled()
        await page.reload()


async def test_files_alone_are_sent_and_shown_without_a_text(
    app: Served, model: OpenAIDouble, page: ChatPage
) -> None:
    words, files = canary(), page.frame.get_by_test_id("user-files")
    await attach(page, text_file("alone.txt", words))
    await expect(page.send).to_be_enabled()
    await page.send.click()
    await expect(page.answers.last).to_contain_text("You said")
    await page.settled()
    (request,) = model.matching(words)
    assert request.last_user == f"[File: alone.txt]\n{words}"
    await expect(page.page).to_have_title(re.compile("alone.txt"))
    for _ in range(2):
        await expect(files).to_have_count(1)
        await expect(files).to_contain_text("alone.txt")
        await expect(page.questions).to_have_count(0)
        await expect(page.toast).to_have_count(0)
        await page.reload()
    await page.log.get_by_role("button", name="Edit", exact=True).click()
    await expect(page.log.get_by_role("textbox")).to_have_value("")
    await page.page.keyboard.press("Escape")


async def test_files_can_be_sent_alone_while_an_answer_is_written(
    model: OpenAIDouble, page: ChatPage
) -> None:
    question = f"[gated-2] {canary()}"
    await page.write(question)
    await model.wait_held(question)
    await expect(page.send).to_have_count(0)
    await attach(page, text_file("later.txt", canary()))
    await page.send.click()
    await expect(page.outbox).to_have_count(1)
    await expect(page.send).to_have_count(0)
    model.release(question)
    await expect(page.frame.get_by_test_id("user-files")).to_contain_text("later.txt")
    await page.settled()
    await expect(page.outbox).to_have_count(0)


async def test_a_message_whose_file_fails_comes_back_with_a_sentence(
    page: ChatPage, people: People
) -> None:
    people.watch.expects("http 413", "status of 413")
    uploads = Uploads(page)
    await uploads.hold()
    uploads.fails = True
    await attach(page, text_file("late.txt", "words"), text_file("other.txt", "more"))
    await page.write("read the late one")
    await expect(page.outbox_status).to_have_text("1 message waits for 2 files.")
    uploads.release()
    await expect(page.box).to_have_value("read the late one")
    await expect(page.toast.first).to_contain_text(
        re.compile(r"The message was not sent, because \w+\.txt was not uploaded. This file is too")
    )
    await expect(page.outbox).to_have_count(0)
    await expect(page.attached("late.txt")).to_be_visible()
    await expect(page.questions).to_have_count(0)


async def test_a_message_that_waits_for_a_file_survives_another_chat_and_not_its_page(
    page: ChatPage,
) -> None:
    await page.ask("a conversation")
    first = page.page.url
    uploads = Uploads(page)
    await uploads.hold()
    await attach(page, text_file("late.txt", "words"))
    await page.write("read it")
    await page.begin_anew()
    await expect(page.attached("late.txt")).to_be_hidden()
    await page.frame.get_by_role("link", name="Open it to send it").click()
    await expect(page.outbox_status).to_have_text("1 message waits for 1 file.")
    uploads.release()
    await expect(page.answers.last).to_have_text(re.compile("^You said: read it"))
    await page.settled()
    held = Uploads(page)
    await page.page.unroute("**/files")
    await held.hold()
    await attach(page, text_file("later.txt", "words"))
    await page.write("read this too")
    await expect(page.outbox).to_have_count(1)
    await page.page.goto(first)
    await page.filled()
    await expect(page.box).to_have_value("read this too")
    await expect(page.toast).to_contain_text("because later.txt was not uploaded.")
    await expect(page.questions).to_have_text(["a conversation", "read it"])


async def test_a_file_that_is_uploaded_after_its_chat_was_left_is_found_in_it(
    page: ChatPage,
) -> None:
    await page.ask("a conversation")
    first = page.page.url
    uploads = Uploads(page)
    await uploads.hold()
    await attach(page, text_file("late.txt", "words"))
    await expect(page.attached("late.txt")).to_be_visible()
    await page.begin_anew()
    await expect(page.attached("late.txt")).to_be_hidden()
    async with page.page.expect_response("**/files"):
        uploads.release()
    await page.page.goto(first)
    await page.filled()
    await expect(page.attached("late.txt")).to_be_visible()


async def test_files_are_dropped_anywhere_and_the_page_says_so(page: ChatPage) -> None:
    overlay = page.frame.get_by_text("Drop files anywhere to attach them")
    await expect(overlay).to_be_hidden()
    await page.frame.evaluate(DRAG, "dragover")
    await expect(overlay).to_be_visible()
    await _picture(page, "drop")
    await page.frame.evaluate(DRAG, "drop")
    await expect(overlay).to_be_hidden()
    await expect(page.attached("dropped.txt")).to_be_visible()
    await expect(page.box).to_be_focused()


async def test_pasted_text_stays_text_though_a_picture_comes_with_it(page: ChatPage) -> None:
    assert await page.frame.evaluate(PASTE, ["1\t2", "cells.png"])  # the browser pastes the text
    await expect(page.frame.locator(".cmw-chip")).to_have_count(0)
    await expect(page.frame.get_by_role("button", name="Attach the picture too")).to_be_visible()
    assert not await page.frame.evaluate(PASTE, ["", "alone.png"])
    await expect(page.attached("alone.png")).to_be_visible()
    assert not await page.frame.evaluate(PASTE, ["copied.png", "copied.png"])  # a file and its name
    await expect(page.attached("copied.png")).to_be_visible()


async def test_the_own_message_is_shown_at_once_exactly_as_written_and_once(
    app: Served, people: People
) -> None:
    page, may_go = await people.open(app), asyncio.Event()
    text = "<b>one</b>\n\n    indented  *two*\n" + "line\n" * 30 + "end"

    async def held(route: Route) -> None:
        await may_go.wait()
        await route.continue_()

    await page.page.route("**/queue/join*", held)
    await page.box.fill(text)
    await page.send.click()
    await expect(page.questions).to_have_count(1)
    assert await page.questions.evaluate("(node) => node.innerText") == text
    await expect(page.frame.get_by_role("button", name="Show all")).to_be_visible()
    await expect(page.box).to_have_value("")
    await expect(page.frame.locator("#cmw-welcome")).to_be_hidden()
    before = await page.frame.locator(".cmw-row.user").bounding_box()
    may_go.set()
    await expect(page.answers.last).to_contain_text("You said: <b>one</b>")
    await page.settled()
    await expect(page.questions).to_have_count(1)
    await expect(page.frame.locator(".cmw-sent")).to_have_count(0)
    assert before is not None
    after = await page.frame.locator(".cmw-row.user").bounding_box()
    assert after is not None
    assert after["height"] == before["height"]


async def test_a_message_that_is_refused_leaves_the_conversation_again(
    page: ChatPage,
) -> None:
    too_long = "x" * 3_001
    await page.write(too_long)
    await expect(page.toast).to_contain_text("The message is too long")
    await expect(page.questions).to_have_count(0)
    await expect(page.box).to_have_value(too_long)
