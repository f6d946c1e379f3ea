"""Conversations are kept after their page closes, and open for their owner alone."""

import pytest
from playwright.async_api import expect

from tests.doubles.openai_server import OpenAIDouble
from tests.harness import Served, canary
from tests.service import until_unread
from tests.web.chat_page import HELD
from tests.web.conftest import People

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOT_FOUND = "This conversation was not found. Here is a new one."


async def test_a_reload_shows_the_same_conversation(app: Served, people: People) -> None:
    page = await people.open(app)
    assert page.conversation() is None
    await page.ask("remember the reload")
    conversation = page.conversation()
    assert conversation
    await page.reload()
    await expect(page.questions).to_have_text(["remember the reload"])
    await expect(page.answers).to_have_text(["You said: remember the reload"])
    assert page.conversation() == conversation
    await page.ask("and go on")
    assert page.conversation() == conversation
    await expect(page.questions).to_have_text(["remember the reload", "and go on"])


async def test_a_reload_in_mid_answer_joins_the_running_answer(
    app: Served, model: OpenAIDouble, people: People
) -> None:
    page = await people.open(app)
    asked, aborted = model.request_count, model.aborted_count
    await page.write("[gated-3] not cut by a reload")
    await model.wait_held("reload")
    await expect(page.answers).to_have_text([HELD])
    conversation = await page.named()
    await page.page.goto("about:blank")
    await until_unread(app.application.runtime)
    await page.open(f"?c={conversation}")
    await expect(page.answers).to_have_text([HELD])
    await expect(page.stop).to_be_visible()
    assert page.conversation() == conversation
    model.release("reload")
    await page.settled()
    await expect(page.questions).to_have_text(["[gated-3] not cut by a reload"])
    await expect(page.answers).to_have_text(["You said: [gated-3] not cut by a reload"])
    assert (model.request_count, model.aborted_count) == (asked + 1, aborted)
    await page.ask("and on")


async def test_a_second_tab_shows_the_running_answer_and_stops_it_for_both(
    app: Served, model: OpenAIDouble, people: People
) -> None:
    page = await people.open(app)
    aborted = model.aborted_count
    await page.write("[gated-3] in two tabs")
    await model.wait_held("in two tabs")
    await expect(page.answers).to_have_text([HELD])
    other = await people.tab_in(page.page.context, app)
    await other.open(f"?c={await page.named()}")
    await expect(other.answers).to_have_text([HELD])
    await other.stop.click()
    await model.wait_aborted(aborted + 1)
    for shown in (page, other):
        await shown.settled()
        await expect(shown.answers.first).to_have_text(HELD)
        await expect(shown.answers.last).to_contain_text("This answer was stopped before its end")


async def test_anothers_conversation_and_none_at_all_look_alike(
    app: Served, people: People
) -> None:
    alice, bob = await people.open(app), await people.open(app)
    secret = canary()
    await alice.ask(secret)
    await bob.ask("of my own")
    own = bob.conversation()
    shown = []
    for asked in (alice.conversation(), "made-up-by-someone-01"):
        await bob.open(f"?c={asked}")
        await expect(bob.toast).to_contain_text(NOT_FOUND)
        await expect(bob.questions).to_have_count(0)
        await expect(bob.frame.locator("#cmw-welcome")).to_contain_text("What can I do for you?")
        assert bob.conversation() is None
        seen = await bob.page.content()
        assert secret not in seen
        shown.append(await bob.frame.locator("#cmw-main").aria_snapshot())
    assert shown[0] == shown[1]
    await bob.ask("in a new chat")
    assert bob.conversation() not in (None, own, alice.conversation())
    await bob.open(f"?c={own}")
    await expect(bob.questions).to_have_text(["of my own"])
    await expect(bob.toast).to_have_count(0)


async def test_a_new_chat_is_empty_and_the_old_one_opens_from_the_list(
    app: Served, people: People
) -> None:
    page = await people.open(app)
    await page.ask("the old conversation")
    old = page.conversation()
    link = page.recent.get_by_role("link", name="the old conversation")
    await expect(link).to_have_attribute("aria-current", "page")
    await page.begin_anew()
    await expect(page.box).to_be_focused()
    await page.ask("the new conversation")
    assert page.conversation() not in (None, old)
    await expect(page.recent.get_by_role("link")).to_have_text(
        ["the new conversation", "the old conversation"]
    )
    await link.click()
    await page.filled()
    await expect(page.questions).to_have_text(["the old conversation"])
    assert page.conversation() == old


async def test_a_new_chat_leaves_a_running_answer_behind(
    app: Served, model: OpenAIDouble, people: People
) -> None:
    page = await people.open(app)
    await page.write("[gated-3] left behind")
    await model.wait_held("left behind")
    await expect(page.answers).to_have_text([HELD])
    await page.new_chat.click()
    await page.page.wait_for_url(lambda url: "c=" not in url)
    await page.settled()
    await expect(page.questions).to_have_count(0)
    await page.ask("something new")
    await expect(page.questions).to_have_text(["something new"])
    await page.recent.get_by_role("link", name="left behind").click()
    await page.filled()
    await expect(page.answers).to_have_text([HELD])
    model.release("left behind")
    await page.settled()
    await expect(page.answers).to_have_text(["You said: [gated-3] left behind"])
