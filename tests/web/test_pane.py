"""The conversation's pane: where it is scrolled to, what it says, and what its buttons do."""

import re
from pathlib import Path

import pytest
from playwright.async_api import expect

from cmw_agent.web.gradio_transport.protocol import edits
from cmw_agent.web.page.drawn_message import DrawnMessage, message
from tests.doubles.openai_server import OpenAIDouble
from tests.harness import Served, served, settings_for
from tests.web.chat_page import ChatPage
from tests.web.conftest import People
from tests.web.test_markup import stored

pytestmark = pytest.mark.asyncio(loop_scope="module")

LINES = "\n".join(f"line {number} of a long text" for number in range(70))
AS_TYPED = "<div>\n<h1>x</h1>\n\n    __init__  # x\n# x\n\tC:\\a\\*.txt **b** &amp; `c` ~1~ 5~7"
NEAR_END = "n => n.scrollHeight - n.scrollTop - n.clientHeight <= 8"
CALL = '[tool:calculate:{"expression": "2 * 3"}] multiply'
SPOKEN = """() => {
    window.spoken = [];
    const note = ({ target }) => {
        const region = (target.nodeType === 1 ? target : target.parentElement)?.closest("[role=status], [role=log], [aria-live]");
        const isOff = region?.getAttribute("aria-live") === "off" || !region?.closest("#cmw-chat");
        if (!isOff && region.textContent) spoken.push(region.textContent);
    };
    new MutationObserver((all) => all.forEach(note)).observe(document.body,
        { childList: true, subtree: true, characterData: true });
}"""
SMALL = """() => [...document.querySelectorAll("#cmw-chat button, #cmw-chat textarea, #cmw-chat .cmw-file")]
    .filter((one) => one.checkVisibility())
    .map((one) => [one.ariaLabel ?? one.textContent, one.getBoundingClientRect()])
    .filter(([, box]) => box.width < 24 || box.height < 24)
    .map(([name]) => name)"""


TOOK = {
    "Model": "stage",
    "Written": ".+",
    "Took": r"[\d.]+ m?s",
    "Tokens read": r"(about )?\d+",
    "Tokens written": r"(about )?\d+",
    "Cost": r"\$[\d.]+",
    "Tools": r"calculate · [\d.]+ m?s",
    "Given to the model": r"1 message, \d+ tools?",
}


async def at_end(page: ChatPage) -> None:
    """Wait until the conversation is scrolled to its end."""
    await page.page.wait_for_function(f"() => ({NEAR_END})(document.querySelector('[role=log]'))")


async def top(page: ChatPage) -> float:
    return float(await page.log.evaluate("n => n.scrollTop"))


async def scrolled_up(page: ChatPage) -> float:
    """Scroll up with the wheel; return where that leads to."""
    before = await top(page)
    await page.log.hover()
    await page.page.mouse.wheel(0, -500)
    await page.page.wait_for_function(
        "before => document.querySelector('[role=log]').scrollTop < before - 300", arg=before
    )
    return await top(page)


async def test_who_reads_back_is_not_moved_while_an_answer_is_written(
    app: Served, model: OpenAIDouble, people: People
) -> None:
    page = await people.open(app)
    await page.ask(f"first\n{LINES}")
    await at_end(page)
    await page.write(f"[gated-30] moves nothing\n{LINES}")
    await model.wait_held("moves nothing")
    await expect(page.answers.last).to_contain_text("You said")
    await at_end(page)  # it follows
    place = await scrolled_up(page)
    new_text = page.frame.get_by_role("button", name="↓ New text")
    model.release("moves nothing")
    await expect(page.answers.last).to_contain_text("line 69")
    await page.settled()
    assert await top(page) == place
    await new_text.click()
    await at_end(page)
    await expect(new_text).to_be_hidden()
    # Whoever sends a message wants to see it.
    await scrolled_up(page)
    await page.ask("short")
    await expect(page.questions.last).to_be_in_viewport()
    await at_end(page)


async def test_earlier_messages_come_in_above_what_is_read(app: Served, people: People) -> None:
    page = await people.open(app)
    await stored(app, page, [f"word {number}\n\n{LINES[:200]}" for number in range(20)])
    await page.ask("and then")
    await page.reload()
    await at_end(page)
    earlier = page.log.get_by_role("button", name="Show earlier messages")
    await earlier.scroll_into_view_if_needed()
    before = await page.questions.first.bounding_box()
    name = await page.questions.first.text_content() or ""
    await earlier.click()
    await expect(page.questions).to_have_count(21)
    held = page.questions.filter(has_text=name.splitlines()[0]).first
    after = await held.bounding_box()
    assert before is not None
    assert after is not None
    assert abs(before["y"] - after["y"]) < 60  # the button above may have gone


async def test_one_s_own_message_stands_exactly_as_it_was_typed(
    app: Served, people: People
) -> None:
    page = await people.open(app)
    await page.ask(AS_TYPED)
    for _ in range(2):
        own = page.questions.last
        assert await own.text_content() == AS_TYPED
        assert await own.evaluate("n => getComputedStyle(n).whiteSpace") == "pre-wrap"
        await expect(own.locator("*")).to_have_count(0)
        await page.reload()
    await page.ask(LINES)
    fold = page.log.get_by_role("button", name="Show all")
    small = await page.questions.last.evaluate("n => n.offsetHeight")
    await fold.press("Enter")
    await expect(page.log.get_by_role("button", name="Show less")).to_be_focused()
    assert await page.questions.last.evaluate("n => n.offsetHeight") > small


async def test_a_copy_has_the_answer_s_markdown_without_steps_and_notes(
    app: Served, model: OpenAIDouble, people: People
) -> None:
    page = await people.tab(app, permissions=["clipboard-read", "clipboard-write"])
    await page.open()
    await page.ask(CALL)
    await page.button("Copy message").click()
    await expect(page.frame.get_by_role("status").get_by_text("Copied.")).to_be_attached()
    assert await page.frame.evaluate("navigator.clipboard.readText()") == "The tools said: 6"
    await page.write("[gated-2] half")
    await model.wait_held("half")
    await expect(page.answers.last).to_contain_text("You said")
    await page.stop.click()
    await page.settled()
    await expect(page.answers.last).to_contain_text("This answer was stopped")
    await page.button("Copy message").click()
    copied = await page.frame.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("You said")
    assert "stopped" not in copied


async def test_the_ear_is_told_of_the_beginning_and_the_end_alone(
    app: Served, model: OpenAIDouble, people: People
) -> None:
    page = await people.open(app)
    await page.frame.evaluate(SPOKEN)
    await page.ask("[tokens-60] words")
    assert await page.frame.evaluate("spoken") == ["Answering…", "The answer is ready."]
    await page.write("[gated-1] cut off")
    await model.wait_held("cut off")
    await expect(page.answers.last).to_contain_text("You")
    await page.stop.click()
    await page.settled()
    await page.page.wait_for_function("spoken.length === 4")
    assert (await page.frame.evaluate("spoken"))[2:] == ["Answering…", "The answer was stopped."]


async def test_every_target_is_large_enough_for_a_finger(app: Served, people: People) -> None:
    page = await people.open(app, viewport={"width": 390, "height": 800})
    assert await page.frame.evaluate(SMALL) == []  # the examples
    await page.ask(CALL)
    await page.ask("one")
    await page.edit_last("uno")
    await page.settled()
    await expect(page.log.get_by_text("2/2", exact=True)).to_be_visible()
    assert await page.frame.evaluate(SMALL) == []
    await page.button("Edit").click()
    assert await page.frame.evaluate(SMALL) == []


async def test_an_edit_is_sent_by_enter_and_left_by_escape(
    app: Served, model: OpenAIDouble, people: People
) -> None:
    page = await people.open(app)
    await page.ask("one")
    edit, editor = page.button("Edit"), page.log.get_by_role("textbox", name="Edit message")
    await edit.click()
    await expect(editor).to_be_focused()
    await editor.press("End")
    await editor.press("Shift+Enter")
    await editor.press_sequentially("two")
    await expect(editor).to_have_value("one\ntwo")
    await editor.press("Escape")
    await expect(editor).to_have_count(0)
    await expect(edit).to_be_focused()
    await expect(page.questions).to_have_text(["one"])
    # What cannot be sent now stays in the editor.
    await edit.click()
    await editor.fill("uno")
    await page.write("[gated-1] meanwhile")
    await model.wait_held("meanwhile")
    await expect(page.questions).to_have_count(2)
    await editor.press("Enter")
    await expect(page.log.get_by_role("alert")).to_contain_text("An answer is being written")
    model.release("meanwhile")
    await page.settled()
    await editor.press("Enter")
    await expect(page.questions).to_have_text(["uno"])
    await expect(page.answers).to_have_text(["You said: uno"])
    await page.settled()


async def test_an_answer_s_details_say_what_it_took(
    model: OpenAIDouble, people: People, tmp_path: Path
) -> None:
    settings = settings_for(
        tmp_path, openai_base_url=model.base_url, model="stage", prices="stage=1000/2000"
    )
    async with served(settings) as app:
        page = await people.open(app)
        await page.ask(CALL)
        await expect(page.button("Details")).to_be_visible()
        await page.button("Details").click()
        details = page.frame.get_by_role("dialog", name="Details of the answer")
        await expect(details).to_be_focused()
        assert await details.locator("dt").all_text_contents() == list(TOOK)
        values = await details.locator("dd").all_text_contents()
        assert all(map(re.fullmatch, TOOK.values(), values)), values
        await page.page.keyboard.press("Escape")
        await expect(details).to_have_count(0)
        await expect(page.button("Details")).to_be_focused()
        assert await page.log.get_by_role("button", name="Details").count() == 1
        await people.leave()


def states() -> list[list[DrawnMessage]]:
    """Return values of a conversation, each as it might follow the one before."""
    grown = [message("assistant", "one"), message("assistant", "one, two", {"seq": 2})]
    asked = message("user", "hi", {"seq": 1})
    step = message("assistant", "", {"kind": "tool", "state": "running", "seq": 2})
    return [
        [],
        [asked],
        [asked, grown[0]],
        [asked, grown[1]],
        [asked, step, grown[1]],
        [asked, message("assistant", "x", {"kind": "tool", "state": "done"}), grown[1], step],
        [asked, grown[1], message("assistant", "é\U0001f600 end", {}, options=("Continue",))],
        [grown[1]],
        [],
    ]


async def test_the_pane_puts_together_what_the_server_takes_apart(
    app: Served, people: People
) -> None:
    page = await people.open(app)
    values = states()
    for old in values:
        changes = [edits(old, new) for new in values]
        made = await page.frame.evaluate(
            "([old, all]) => all.map((changes) => cmwPane.patched(old, changes))", [old, changes]
        )
        assert made == values
