"""The keyboard alone is enough, and the focus is always somewhere."""

import pytest
from playwright.async_api import TimeoutError as NothingFocusedError
from playwright.async_api import ViewportSize, expect

from tests.doubles.openai_server import OpenAIDouble
from tests.harness import Served
from tests.web.chat_page import ChatPage
from tests.web.conftest import WIDE, People
from tests.web.test_looks import NARROW

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

# What of the page can be pressed now, by name; `seen` are those that were pressed already.
PRESSABLE = """(seen) => {
    const name = (node) => (node.getAttribute("aria-label") || node.innerText.trim() || node.title || node.id).split("\\n")[0];
    const within = document.querySelector("dialog[open]") ?? document.body;
    const found = [...within.querySelectorAll("button, summary, [role=tab], [role=menuitem], select")].find((node) =>
        node.checkVisibility({ visibilityProperty: true }) && !node.disabled && !node.closest("[inert]")
        && !seen.includes(name(node)));
    if (!found) return null;
    found.focus();
    return name(found);
}"""
LOST = "document.activeElement === null || document.activeElement === document.body"
# Of these one leaves the page, or the browser asks for a file.
LEAVES = ["Attach files", "Import chats…", "Import…", "Choose a file"]
ANNOUNCED = """() => {
    window.announced = [];
    const note = (region) => { if (region.textContent.trim()) window.announced.push(region.textContent.trim()); };
    for (const region of document.querySelectorAll("[role=status], [aria-live=polite], [role=alert], [aria-live=assertive]")) {
        new MutationObserver(() => note(region)).observe(region, { childList: true, characterData: true, subtree: true });
    }
}"""


async def focused(page: ChatPage, after: str) -> None:
    """Fail where nothing has the focus, once the page has done what it does."""
    await page.frame.evaluate(
        "new Promise((done) => requestAnimationFrame(() => setTimeout(done)))"
    )
    try:
        await page.frame.wait_for_function(f"!({LOST})", timeout=5_000)
    except NothingFocusedError as error:
        raise AssertionError(f"the focus is lost after {after}") from error


async def test_a_whole_task_is_done_with_the_keyboard_alone(
    app: Served, model: OpenAIDouble, people: People
) -> None:
    page = await people.open(app)
    keyboard = page.page.keyboard
    await expect(page.box).to_be_focused()
    await keyboard.type("first")
    await keyboard.press("Enter")
    await page.settled()
    first = await page.named()
    await keyboard.press("Control+Shift+O")
    await page.left()
    await keyboard.type("[gated-2] second")
    await keyboard.press("Enter")
    await model.wait_held("second")
    await expect(page.stop).to_be_enabled()
    await keyboard.press("Escape")
    await page.settled()
    await expect(page.box).to_be_focused()
    await page.named()
    # Renamed, deleted and taken back by the menu in the list.
    more = page.frame.locator(".cmw-more").first
    await more.focus()
    await keyboard.press("Enter")
    await expect(page.frame.get_by_role("menuitem", name="Rename")).to_be_focused()
    await keyboard.press("Enter")
    await keyboard.press("Control+A")
    await keyboard.type("renamed")
    await keyboard.press("Enter")
    await expect(page.recent.get_by_role("link", name="renamed")).to_be_visible()
    await focused(page, "renaming")
    await page.frame.get_by_role("button", name="Actions for renamed").focus()
    await keyboard.press("Enter")
    await keyboard.press("End")
    await keyboard.press("Enter")
    undo = page.frame.get_by_role("button", name="Undo")
    await expect(undo).to_be_visible()
    await focused(page, "deleting")
    await undo.focus()
    await keyboard.press("Enter")
    await expect(page.recent.get_by_role("link", name="renamed")).to_be_visible()
    await focused(page, "undo")
    # The settings and back, the palette and the chat that it finds.
    await page.box.focus()
    await keyboard.press("Control+,")
    await expect(page.frame.get_by_role("tab", name="General")).to_be_focused()
    await keyboard.press("Escape")
    await expect(page.box).to_be_focused()
    await keyboard.press("Control+k")
    await keyboard.type("first")
    await expect(page.frame.get_by_role("option").first).to_contain_text("first")
    await keyboard.press("Enter")
    await expect(page.questions).to_have_text(["first"])
    assert page.conversation() == first
    await focused(page, "opening a chat by the palette")


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["1280", "390"])
async def test_no_button_takes_the_focus_away(
    size: ViewportSize, app: Served, people: People
) -> None:
    page = await people.open(app, viewport=size)
    people.watch.tolerates("NotAllowedError", "clipboard", "Write permission denied")
    # A fork while an answer is being written is refused, in a sentence.
    people.watch.tolerates("http 409: .*/history/fork", "status of 409")
    await page.ask('[tool:calculate:{"expression": "6*7"}] now')
    seen, pressed = list(LEAVES), 0
    while (name := await page.frame.evaluate(PRESSABLE, seen)) is not None:
        seen.append(name)
        pressed += 1
        await page.page.keyboard.press("Enter")
        await focused(page, f"pressing {name!r}")
        if await page.stop.count():
            await page.settled()
        if (
            not await page.questions.count()
            and not await page.frame.locator("dialog[open]").count()
        ):
            await page.ask("once more")
    assert pressed >= 8, seen


async def test_the_end_of_an_answer_is_said_once(
    app: Served, model: OpenAIDouble, people: People
) -> None:
    page = await people.open(app)
    await page.frame.evaluate(ANNOUNCED)
    await page.write("[gated-3] a long answer")
    await model.wait_held("a long answer")
    model.release("a long answer")
    await page.settled()
    await expect(page.frame.locator(".cmw-pane > [role=status]")).to_have_text(
        "The answer is ready."
    )
    said = await page.frame.evaluate("window.announced")
    assert [line for line in said if "ready" in line] == ["The answer is ready."], said
    assert len(said) <= 3, said
