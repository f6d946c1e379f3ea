"""A message that a limit holds back waits on the page, which says until when."""

import re
import time
from pathlib import Path

import pytest
from playwright.async_api import expect

from cmw_agent.limits.backends import ProcessStorage
from tests.doubles.openai_server import OpenAIDouble
from tests.harness import Served, canary, served, settings_for
from tests.rows import messages
from tests.web.chat_page import ChatPage
from tests.web.conftest import People

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIMITED = ("http 429", "status of 429")


def pass_a_minute(app: Served) -> None:
    """Let a minute pass for the limits."""
    storage = app.application.runtime.chat._dependencies.limits._backend._local.moving.storage
    assert isinstance(storage, ProcessStorage)
    storage._clock = lambda: time.time() + 60


async def is_sent(page: ChatPage, model: OpenAIDouble, text: str) -> None:
    """Check that a message that waited was answered, once."""
    await expect(page.answers.last).to_have_text(f"You said: {text}")
    await page.settled()
    await expect(page.outbox).to_have_count(0)
    await expect(page.outbox_status).to_be_hidden()
    await expect(page.toast).to_have_count(0)
    assert len(model.matching(text)) == 1


async def test_a_message_over_the_limit_of_a_minute_waits_and_is_sent_by_itself(
    model: OpenAIDouble, people: People, tmp_path: Path
) -> None:
    people.watch.expects(*LIMITED)
    settings = settings_for(
        tmp_path, openai_base_url=model.base_url, model="stage", turns_per_minute=1
    )
    text = canary()
    async with served(settings) as app:
        page = await people.at(app.url, own_clock=True)
        await page.ask("the first one")
        await page.write(text)
        await expect(page.outbox).to_have_text([re.compile(text)])
        await expect(page.outbox_status).to_have_text(
            re.compile(
                r"^1 message waits to be sent again by itself\. "
                r"You have sent 1 message in a minute; please go on in (\d+ seconds?|1 minute)\.$"
            )
        )
        await expect(page.box).to_have_value("")
        assert [row["content"] for row in messages(tmp_path, text)] == []
        pass_a_minute(app)
        await page.page.clock.fast_forward(60_000)
        await is_sent(page, model, text)
        await people.leave()


async def test_a_message_beside_as_many_answers_as_may_run_waits_and_is_sent_by_itself(
    model: OpenAIDouble, people: People, tmp_path: Path
) -> None:
    settings = settings_for(
        tmp_path, openai_base_url=model.base_url, model="stage", turns_at_once=1
    )
    held, text = canary(), canary()
    async with served(settings) as app:
        page = await people.at(app.url, own_clock=True)
        other = await (await people.tab_in(page.page.context, app)).open()
        await other.write(f"[gated-0] {held}")
        await model.wait_held(held)
        await page.write(text)
        await expect(page.outbox_status).to_have_text(
            "1 message waits to be sent again by itself. An answer is being written for you "
            "already; please wait for it or stop it."
        )
        model.release(held)
        await other.settled()
        await page.page.clock.fast_forward(30_000)
        await is_sent(page, model, text)
        await people.leave()


async def test_a_message_over_the_limit_of_a_day_comes_back_into_the_box_and_stays_there(
    model: OpenAIDouble, people: People, tmp_path: Path
) -> None:
    people.watch.expects(*LIMITED)
    settings = settings_for(
        tmp_path, openai_base_url=model.base_url, model="stage", tokens_per_day=1
    )
    text = canary()
    async with served(settings) as app:
        page = await people.open(app)
        await page.ask("the first one")
        await page.write(text)
        await expect(page.toast).to_contain_text("You have used today's 1 tokens; please go on in")
        await expect(page.box).to_have_value(text)
        await expect(page.outbox).to_have_count(0)
        await page.reload()
        await expect(page.box).to_have_value(text)
        await people.leave()
