"""Suggestions below the last answer: shown where they are switched on, and nobody's messages."""

from collections.abc import AsyncIterator, Sequence

import pytest
import pytest_asyncio
from playwright.async_api import Locator, expect

from cmw_agent.agent.agent import SUGGEST
from tests.doubles.openai_server import OpenAIDouble
from tests.doubles.openai_steps import Request, Step, Text
from tests.harness import Served, served, settings_for
from tests.web.chat_page import ChatPage
from tests.web.conftest import People, by_message
from tests.web.test_looks import _picture, _readable

pytestmark = pytest.mark.asyncio(loop_scope="module")


def suggesting(request: Request) -> Sequence[Step]:
    """Suggest two messages after each answer."""
    if request.body["messages"][0]["content"] == SUGGEST:
        return [Text(["1. And <b>then</b>?\n2. Why?"])]
    return by_message(request)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def helpful(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    """The app with suggestions."""
    async with OpenAIDouble(scripts={"stage": suggesting}) as endpoint:
        settings = settings_for(
            tmp_path_factory.mktemp("suggestions"),
            openai_base_url=endpoint.base_url,
            model="stage",
            suggestions="on",
            log_level="ERROR",
        )
        async with served(settings) as running:
            yield running


def suggestions(page: ChatPage) -> Locator:
    return page.log.get_by_role("group", name="Suggestions").get_by_role("button")


async def test_a_suggestion_is_put_into_the_box_and_goes_with_the_next_message(
    helpful: Served, people: People
) -> None:
    page = await people.open(helpful)
    await page.ask("a first question")
    await expect(suggestions(page)).to_have_text(["And <b>then</b>?", "Why?"])
    await expect(suggestions(page).last).to_be_in_viewport(ratio=1)
    await _readable(page)
    await _picture(page, "suggestions")
    await page.box.fill("Well.")
    await suggestions(page).first.click()
    await expect(page.box).to_have_value("Well.\nAnd <b>then</b>?")
    await expect(page.box).to_be_focused()
    await expect(page.questions).to_have_count(1)
    await page.box.press("Enter")
    await expect(page.questions).to_have_count(2)
    await page.settled()
    await expect(suggestions(page)).to_have_count(2)
    await page.reload()
    await expect(page.questions).to_have_count(2)
    await expect(page.answers).to_have_count(2)
    await expect(suggestions(page)).to_have_count(0)
    await page.ask("one more")
    await expect(suggestions(page)).to_have_count(2)
    await page.begin_anew()
    await expect(suggestions(page)).to_have_count(0)


# The receipt and the end of the event are two events of Gradio's, which come in either order.
LATE_RECEIPT = """() => {
  const { receipt } = window.cmw;
  const ended = new Promise((resolve) => document.addEventListener("cmw:idle", resolve, { once: true }));
  window.cmw.receipt = (json) => ended.then(() => setTimeout(receipt, 0, json));
}"""


async def test_an_answer_that_ends_before_its_chat_has_an_id_has_suggestions_and_is_not_drawn_anew(
    helpful: Served, people: People
) -> None:
    page = await people.open(helpful)
    await page.page.evaluate(LATE_RECEIPT)
    await page.page.evaluate(
        "() => document.querySelector('#cmw-redraw')"
        ".addEventListener('click', () => document.body.classList.add('was-drawn-anew'))"
    )
    await page.ask("a quick question")
    await expect(suggestions(page)).to_have_text(["And <b>then</b>?", "Why?"])
    await expect(page.page.locator("body.was-drawn-anew")).to_have_count(0)
    await page.page.evaluate("() => document.querySelector('#cmw-redraw').click()")
    await expect(page.page.locator("body.was-drawn-anew")).to_have_count(1)
    await expect(suggestions(page)).to_have_count(2)


async def test_a_temporary_chat_has_none(helpful: Served, people: People) -> None:
    page = await people.open(helpful)
    await page.frame.get_by_role("button", name="Temporary chat").click()
    await page.ask("of no consequence")
    await expect(page.answers).to_have_count(1)
    await expect(suggestions(page)).to_have_count(0)


async def test_nothing_is_asked_for_where_they_are_off(app: Served, people: People) -> None:
    page, addresses = await people.open(app), list[str]()
    page.page.on("request", lambda request: addresses.append(request.url))
    await page.ask("a question")
    await page.ask("another")
    assert not [url for url in addresses if "/suggestions" in url]
