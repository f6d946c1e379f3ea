"""A conversation on the page, in a real browser."""

import re

import pytest
from playwright.async_api import expect

from tests.doubles.openai_server import OpenAIDouble
from tests.harness import Served
from tests.web.chat_page import HELD
from tests.web.conftest import MAX_CHARS, People

pytestmark = pytest.mark.asyncio(loop_scope="module")

STOPPED = re.compile("This answer was stopped before its end")


async def test_what_one_tells_the_other_does_not_know(demo: Served, people: People) -> None:
    alice, bob = await people.open(demo), await people.open(demo)
    await alice.ask("My name is Alice")
    await expect(alice.answers.last).to_contain_text("Hello, Alice!")
    await bob.ask("What is my name?")
    await expect(bob.answers.last).to_have_text("I don't know your name yet.")
    await alice.ask("What is my name?")
    await expect(alice.answers.last).to_have_text("Your name is Alice!")
    await expect(bob.log).not_to_contain_text("Alice")


async def test_the_demo_says_to_visitors_what_it_is(demo: Served, people: People) -> None:
    page = await people.open(demo)
    note = page.frame.get_by_role("note")
    await expect(note).to_have_text(
        "Demonstration: a small built-in program answers here, not a language model."
    )


async def test_a_configured_model_is_named_instead(app: Served, people: People) -> None:
    page = await people.open(app)
    await expect(page.frame.locator(".cmw-model")).to_have_text("stage")
    await expect(page.frame.get_by_role("note")).to_have_count(0)


async def test_a_sign_of_life_shows_before_the_first_word(
    app: Served, model: OpenAIDouble, people: People
) -> None:
    page = await people.open(app)
    await page.write("[gated-0] patience")
    await model.wait_held("patience")
    await expect(page.questions.last).to_have_text("[gated-0] patience")
    await expect(page.waiting).to_be_visible()
    await expect(page.stop).to_be_visible()
    model.release("patience")
    await expect(page.answers.last).to_have_text("You said: [gated-0] patience")
    await expect(page.waiting).to_have_count(0)
    await page.settled()


async def test_a_stopped_answer_keeps_its_words_and_can_be_had_whole(
    app: Served, model: OpenAIDouble, people: People
) -> None:
    page = await people.open(app)
    aborted = model.aborted_count
    await page.write("[gated-3] stopped in the middle")
    await model.wait_held("stopped")
    await expect(page.answers.last).to_have_text(HELD)
    await page.stop.click()
    await model.wait_aborted(aborted + 1)
    await expect(page.answers.last).to_contain_text(STOPPED)
    await expect(page.answers.nth(-2)).to_have_text("You said: [gated-3]")
    await page.settled()
    await expect(page.box).to_be_editable()

    await page.box.fill("a draft")
    await page.button("Retry").click()
    await model.wait_held("stopped")
    await expect(page.stop).to_be_visible()
    model.release("stopped")
    await expect(page.answers).to_have_text(["You said: [gated-3] stopped in the middle"])
    await page.settled()
    await expect(page.box).to_have_value("a draft")
    assert len(model.matching("stopped")) == 2


async def test_a_second_message_while_an_answer_runs_is_answered_after_it(
    app: Served, model: OpenAIDouble, people: People
) -> None:
    page = await people.open(app)
    await page.write("[gated-2] first")
    await model.wait_held("first")
    await page.write("and a second thought")
    await page.box.press("Enter")
    await expect(page.box).to_have_value("")
    model.release("first")
    await expect(page.answers).to_have_text(
        ["You said: [gated-2] first", "You said: and a second thought"]
    )
    await page.settled()
    await expect(page.toast).to_have_count(0)
    await expect(page.questions).to_have_text(["[gated-2] first", "and a second thought"])


async def test_an_edit_replaces_the_last_message_and_its_answer(
    app: Served, people: People
) -> None:
    page = await people.open(app)
    await page.ask("an earlier one")
    await page.ask("with a tpyo")
    await page.edit_last("without a typo")
    await expect(page.answers.last).to_have_text("You said: without a typo")
    await page.settled()
    for _ in range(2):
        await expect(page.questions).to_have_text(["an earlier one", "without a typo"])
        await expect(page.answers).to_have_count(2)
        await page.reload()


async def test_an_edit_that_is_refused_changes_nothing_and_loses_no_text(
    app: Served, people: People
) -> None:
    page = await people.open(app)
    await page.ask("the first")
    await page.ask("the last")
    both = ["the first", "the last"]
    await page.edit_last("   ")
    await expect(page.log.get_by_role("alert")).to_contain_text("The message is empty")
    await page.page.keyboard.press("Escape")
    await expect(page.questions).to_have_text(both)
    too_long = "long " * (MAX_CHARS // 5 + 1)
    await page.edit_last(too_long, nth=0)
    await expect(page.toast.last).to_contain_text("too long")
    await page.settled()
    await expect(page.log.get_by_role("textbox")).to_have_value(too_long)
    await expect(page.log.get_by_role("button", name="Submit")).to_be_enabled()
    await page.page.keyboard.press("Escape")
    await expect(page.questions).to_have_text(both)
    await page.reload()
    await expect(page.questions).to_have_text(both)


async def test_copy_copies_the_message(app: Served, people: People) -> None:
    page = await people.tab(app, permissions=["clipboard-read", "clipboard-write"])
    await page.open()
    await page.ask("copy *this*")
    await page.button("Copy message").click()
    await page.page.wait_for_function(
        "async (text) => await navigator.clipboard.readText() === text",
        arg="You said: copy *this*",
    )


async def test_an_example_fills_the_box_and_enter_sends_it(demo: Served, people: People) -> None:
    page = await people.open(demo)
    await page.frame.get_by_role("button", name="My name is Alice").click()
    await expect(page.box).to_have_value("My name is Alice")
    await expect(page.box).to_be_focused()
    await page.page.keyboard.press("Enter")
    await expect(page.answers.last).to_contain_text("Hello, Alice!")
    await page.settled()


async def test_shift_enter_begins_a_new_line(
    app: Served, model: OpenAIDouble, people: People
) -> None:
    page = await people.open(app)
    await page.box.press_sequentially("over")
    await page.box.press("Shift+Enter")
    await page.box.press_sequentially("two lines")
    await expect(page.box).to_have_value("over\ntwo lines")
    await page.send.click()
    await expect(page.answers.last).to_contain_text("two lines")
    await page.settled()
    assert model.matching("over\ntwo lines")


async def test_a_tool_call_is_a_step_that_opens(demo: Served, people: People) -> None:
    page = await people.open(demo)
    await page.ask("What is 17.5 * (3 + 4)?")
    for _ in range(2):
        step = page.steps
        await expect(step).to_have_text(re.compile(r"^calculate\s*\d+ m?s"))
        await expect(page.answers.last).to_have_text("That makes 122.5.")
        await page.log.get_by_role("button", name=re.compile("calculate")).click()
        await expect(step).to_contain_text('"expression": "17.5 * (3 + 4)"')
        await expect(step).to_contain_text("Result")
        await expect(step.locator("pre").last).to_have_text("122.5")
        await page.reload()


async def test_a_tool_that_fails_says_so(app: Served, people: People) -> None:
    page = await people.open(app)
    await page.ask('[tool:calculate:{"expression": "1/0"}] divide')
    await expect(page.steps).to_contain_text("calculate failed")
    await page.log.get_by_role("button", name=re.compile("calculate")).click()
    await expect(page.steps).to_contain_text("Error")
    await expect(page.steps.locator("pre").last).to_contain_text("This cannot be calculated")
