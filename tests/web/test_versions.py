"""Browser: versions of messages: edit any, answer any again, show another version, fork."""

import pytest
from playwright.async_api import Locator, expect

from tests.harness import Served
from tests.web.chat_page import ChatPage
from tests.web.conftest import People

pytestmark = pytest.mark.asyncio(loop_scope="module")


def named(page: ChatPage, name: str) -> Locator:
    """Return the buttons of this name below the messages."""
    return page.log.get_by_role("button", name=name, exact=True)


async def pressed(page: ChatPage, name: str, nth: int = -1) -> None:
    """Press a button with the keyboard."""
    button = named(page, name).nth(nth)
    await button.focus()
    await page.page.keyboard.press("Enter")


async def test_an_earlier_message_is_edited_and_the_former_path_is_shown_again(
    app: Served, people: People
) -> None:
    page = await people.open(app)
    await page.ask("one")
    await page.ask("two")
    await page.edit_last("uno", nth=0)
    await expect(page.questions).to_have_text(["uno"])
    await expect(page.answers).to_have_text(["You said: uno"])
    await page.settled()
    await page.ask("due")
    await expect(page.log.get_by_text("2/2", exact=True)).to_have_count(1)
    await pressed(page, "Previous version of the message")
    await expect(page.questions).to_have_text(["one", "two"])
    await expect(page.log.get_by_text("1/2", exact=True)).to_have_count(1)
    await expect(named(page, "Previous version of the message")).to_be_disabled()
    await page.reload()
    await expect(page.questions).to_have_text(["one", "two"])
    await pressed(page, "Next version of the message")
    await expect(page.questions).to_have_text(["uno", "due"])
    # A further message goes on from what is shown.
    await page.ask("tre")
    await expect(page.questions).to_have_text(["uno", "due", "tre"])


async def test_an_earlier_answer_is_given_again(app: Served, people: People) -> None:
    page = await people.open(app)
    await page.ask("one")
    await page.ask("two")
    await pressed(page, "Retry", nth=0)
    await expect(page.questions).to_have_text(["one"])
    await page.settled()
    await expect(page.log.get_by_text("2/2", exact=True)).to_have_count(1)
    await pressed(page, "Previous version of the answer")
    await expect(page.questions).to_have_text(["one", "two"])


async def test_a_conversation_is_forked_at_an_answer(app: Served, people: People) -> None:
    page = await people.open(app)
    await page.ask("one")
    await page.ask("two")
    first = page.conversation()
    await pressed(page, "Fork from here", nth=0)
    await page.page.wait_for_url(lambda url: f"c={first}" not in url)
    await page.filled()
    await expect(page.questions).to_have_text(["one"])
    await page.ask("other")
    await page.open(f"?c={first}")
    await expect(page.questions).to_have_text(["one", "two"])


async def test_while_an_answer_is_written_no_version_is_offered(
    app: Served, people: People
) -> None:
    page = await people.open(app)
    await page.ask("one")
    await expect(named(page, "Fork from here")).to_have_count(1)
    await page.write("[gated-1] two")
    await expect(page.stop).to_be_visible()
    await expect(named(page, "Fork from here")).to_have_count(0)
    await page.stop.click()
    await page.settled()
    await expect(named(page, "Fork from here")).to_have_count(2)


async def test_a_version_shown_in_another_tab_is_the_one_that_goes_on(
    app: Served, people: People
) -> None:
    page = await people.open(app)
    await page.ask("one")
    await page.edit_last("uno")
    await page.settled()
    other = await people.tab_in(page.page.context, app)
    await other.open(f"?c={page.conversation()}")
    await pressed(other, "Previous version of the message")
    await expect(other.questions).to_have_text(["one"])
    await page.ask("next")
    await expect(page.questions).to_have_text(["one", "next"])
