"""Errors on the page are one sentence, and the user's text is not lost."""

import re

import pytest
from playwright.async_api import expect

from tests.harness import Served
from tests.web.conftest import MAX_CHARS, People

pytestmark = pytest.mark.asyncio(loop_scope="module")

ERROR_ID = re.compile(r"\(error [0-9a-f]{8}\)")


async def test_a_model_that_refuses_is_told_in_a_sentence(app: Served, people: People) -> None:
    page = await people.open(app)
    await page.ask("[fail-401] please")
    for _ in range(2):
        await expect(page.answers).to_have_count(1)
        await expect(page.answers.last).to_contain_text("did not accept this app's key")
        await expect(page.answers.last).to_contain_text(ERROR_ID)
        await expect(page.log).not_to_contain_text("key-of-the-endpoint")
        await page.reload()
    await page.ask("and now")
    await expect(page.answers.last).to_have_text("You said: and now")


async def test_an_answer_that_breaks_keeps_its_words(app: Served, people: People) -> None:
    page = await people.open(app)
    await page.ask("[cut-4] please")
    for _ in range(2):
        await expect(page.answers.first).to_have_text("one word follows another")
        await expect(page.answers.last).to_contain_text(ERROR_ID)
        await page.reload()


async def test_an_empty_message_is_told_and_the_page_goes_on(app: Served, people: People) -> None:
    page = await people.open(app)
    for _ in range(2):
        await page.write("   ")
        # It is no error, and said once: nothing was sent that could have failed.
        await expect(page.toast.locator("p")).to_have_text(
            "The message is empty; please write something first."
        )
        await expect(page.toast).to_have_attribute("role", "status")
    await expect(page.box).to_be_focused()
    await expect(page.questions).to_have_count(0)
    await page.settled()
    await page.ask("not empty")
    await expect(page.answers.last).to_have_text("You said: not empty")


@pytest.mark.parametrize(
    ("length", "told"),
    [
        (MAX_CHARS + 1, re.compile("The message is too long: 3,001 characters")),
        (300_000, re.compile("The message is too large; at most 262,144 bytes are taken")),
    ],
    ids=["too-many-characters", "too-many-bytes"],
)
async def test_a_refused_message_comes_back_into_the_box(
    length: int, told: re.Pattern[str], app: Served, people: People
) -> None:
    page = await people.open(app)
    if length > 262_144:
        people.watch.expects("http 413: .*/queue/join", "status of 413")
    written = "x" * length
    await page.write(written)
    await expect(page.toast).to_contain_text(told)
    await expect(page.box).to_have_value(written)
    await expect(page.questions).to_have_count(0)
    await page.settled()
    await page.ask("a short one")
    await expect(page.answers.last).to_have_text("You said: a short one")
