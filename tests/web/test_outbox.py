"""Nothing that was typed is lost: messages wait in the browser until the server has them."""

import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Locator, expect

from tests.campaigns import campaign
from tests.doubles.openai_server import OpenAIDouble
from tests.doubles.relay import Relay, relay
from tests.harness import Served, canary, served, settings_for
from tests.rows import messages
from tests.web.chat_page import ChatPage
from tests.web.conftest import People

pytestmark = pytest.mark.asyncio(loop_scope="module")

DOUBLE_CLICKS = campaign("CMW_DOUBLE_CLICKS")
MESSAGES = 20  # in one conversation, so that a page does not grow slow
MOST_WAITING = 20
NETWORK = ("net::ERR", "http 503: .*/(readyz|queue/join)", "status of 503")
STAYS = "window.loadedOnce = true"
REFUSES = "() => { Storage.prototype.setItem = () => { throw new DOMException('full'); }; }"


@dataclass(frozen=True, slots=True)
class House:
    """An app behind a network that can be cut, and its data folder."""

    app: Served
    network: Relay
    folder: Path

    def questions(self, word: str) -> list[str]:
        """Return the stored questions of the conversations with `word` in a question."""
        return [row["content"] for row in messages(self.folder, word) if row["role"] == "user"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(
    model: OpenAIDouble, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[House]:
    folder = tmp_path_factory.mktemp("outbox")
    settings = settings_for(
        folder,
        openai_base_url=model.base_url,
        openai_api_key="key-of-the-endpoint",
        model="stage",
        log_level="ERROR",
    )
    async with served(settings) as app, relay(app.url) as network:
        yield House(app, network, folder)


async def opened(house: House, people: People) -> ChatPage:
    """Return a page that reaches the app by the network of `house`, and marks that it was loaded."""
    people.watch.tolerates(*NETWORK)
    page = await people.at(house.network.url)
    await page.page.evaluate(STAYS)
    return page


async def was_loaded_once(page: ChatPage) -> bool:
    return bool(await page.page.evaluate("window.loadedOnce === true"))


def waiting(page: ChatPage) -> Locator:
    return page.frame.get_by_role("list", name="Messages that wait").get_by_role("listitem")


def status(page: ChatPage) -> Locator:
    return page.frame.locator(".cmw-outbox-status[role=status]")


def notice(page: ChatPage) -> Locator:
    return page.frame.locator("#cmw-offline")


async def write_offline(house: House, page: ChatPage, text: str) -> None:
    """Cut the network and send a message, which waits then."""
    house.network.cut()
    await page.write(text)
    await expect(waiting(page)).to_have_text([re.compile(text)])


async def write_held(page: ChatPage, model: OpenAIDouble, word: str, gates: int = 1) -> None:
    """Send a message with `word`, whose answer waits at its gates until the word is released."""
    await page.write(f"[gated-{gates}] {word}")
    await model.wait_held(word)


async def test_a_message_that_is_sent_without_a_network_is_stored_once_when_it_is_back(
    house: House, people: People
) -> None:
    page, text = await opened(house, people), canary()
    await write_offline(house, page, text)
    await expect(notice(page)).to_contain_text("No connection")
    await page.box.fill("written meanwhile")
    assert house.questions(text) == []
    house.network.restore()
    await expect(page.answers.last).to_have_text(f"You said: {text}")
    await page.settled()
    await expect(waiting(page)).to_have_count(0)
    await expect(notice(page)).to_be_hidden()
    await expect(page.box).to_have_value("written meanwhile")
    assert house.questions(text) == [text]
    assert await was_loaded_once(page)


async def test_a_message_that_waits_survives_a_reload_of_its_page(
    house: House, people: People
) -> None:
    page, text = await opened(house, people), canary()
    await page.ask("the first one")
    await write_offline(house, page, text)
    house.network.restore()
    await page.reload()
    await expect(page.answers.last).to_have_text(f"You said: {text}")
    await page.settled()
    assert house.questions(text) == ["the first one", text]


async def test_a_message_whose_receipt_was_lost_is_answered_once(
    house: House, model: OpenAIDouble, people: People
) -> None:
    page, word = await opened(house, people), canary()
    house.network.lose_replies()
    await write_held(page, model, word, gates=2)  # so it is stored, and the page does not know
    house.network.cut()
    model.release(word)
    await expect(notice(page)).to_be_visible()
    house.network.restore()
    await expect(page.questions).to_have_text([f"[gated-2] {word}"])
    await page.settled()
    await expect(waiting(page)).to_have_count(0)
    assert house.questions(word) == [f"[gated-2] {word}"]
    assert len(model.matching(word)) == 1
    await page.reload()
    await expect(page.questions).to_have_text([f"[gated-2] {word}"])


async def test_a_connection_lost_in_mid_answer_comes_back_in_place(
    house: House, model: OpenAIDouble, people: People
) -> None:
    page, word = await opened(house, people), canary()
    await write_held(page, model, word, gates=2)
    await expect(page.answers.last).to_have_text("You said:")
    await page.box.fill("a draft")
    house.network.cut()
    await expect(notice(page)).to_be_visible()
    model.release(word)
    house.network.restore()
    await expect(notice(page)).to_be_hidden()
    await page.settled()
    await expect(page.questions).to_have_text([f"[gated-2] {word}"])
    await expect(page.box).to_have_value("a draft")
    assert await was_loaded_once(page)
    await page.ask("and on")
    await expect(page.answers.last).to_have_text("You said: and on")
    await expect(page.toast).to_have_count(0)


async def test_a_message_that_the_full_app_cannot_take_is_sent_again_by_itself(
    model: OpenAIDouble, people: People, tmp_path: Path
) -> None:
    people.watch.tolerates(*NETWORK)
    settings = settings_for(tmp_path, openai_base_url=model.base_url, model="stage", max_turns=1)
    async with served(settings) as app:
        first, second, word = await people.open(app), await people.open(app), canary()
        await first.write(f"[gated-1] {word}")
        await model.wait_held(word)
        await second.write("after you")
        await expect(waiting(second)).to_have_text([re.compile("after you")])
        await expect(status(second)).to_have_text(
            "1 message waits to be sent again by itself. "
            "The app has too many answers at once right now; please try again in 5 seconds."
        )
        model.release(word)
        await expect(second.answers.last).to_have_text("You said: after you")
        await second.settled()
        await expect(waiting(second)).to_have_count(0)
        await expect(second.toast).to_have_count(0)
        assert len(model.matching("after you")) == 1
        await people.leave()


async def test_a_message_written_during_a_restart_is_answered_after_it(
    model: OpenAIDouble, people: People, tmp_path: Path
) -> None:
    people.watch.tolerates(*NETWORK)
    settings = settings_for(
        tmp_path, openai_base_url=model.base_url, model="stage", log_level="ERROR"
    )
    word = canary()
    async with contextlib.AsyncExitStack() as old:
        app = await old.enter_async_context(served(settings))
        async with relay(app.url) as network:
            page = await people.at(network.url)
            await page.page.evaluate(STAYS)
            await page.ask(f"before {word}")
            await app.application.runtime.chat.drain(0)
            await page.write(f"during {word}")
            await expect(waiting(page)).to_have_count(1)
            network.cut()
            await old.aclose()
            async with served(settings) as new:
                network.server = new.url
                network.restore()
                await expect(page.answers).to_have_text(
                    [f"You said: before {word}", f"You said: during {word}"]
                )
                await page.settled()
                assert await was_loaded_once(page)
                assert len(model.matching(f"during {word}")) == 1
                await people.leave()


async def test_a_message_left_behind_in_another_chat_is_named_and_sent_there(
    house: House, people: People
) -> None:
    page, text = await opened(house, people), canary()
    await page.ask("the first one")
    await write_offline(house, page, text)
    await page.page.goto("about:blank")
    house.network.restore()
    await page.open()
    await expect(waiting(page)).to_have_count(0)
    await page.frame.get_by_role("link", name="Open it to send it").click()
    await expect(page.answers.last).to_have_text(f"You said: {text}")
    await page.settled()
    assert house.questions(text) == ["the first one", text]


async def test_messages_written_while_an_answer_runs_wait_and_are_sent_in_order(
    house: House, model: OpenAIDouble, people: People
) -> None:
    page, word = await opened(house, people), canary()
    await write_held(page, model, word)
    for text in ("second", "third", "fourth"):
        await page.write(text)
    await expect(page.box).to_have_value("")
    await expect(waiting(page)).to_have_text(
        [re.compile(text) for text in ("second", "third", "fourth")]
    )
    await page.box.fill("a fifth")
    await page.frame.get_by_role("button", name="Take back “third”").click()
    await expect(page.box).to_have_value("third\n\na fifth")
    await expect(page.box).to_be_focused()
    model.release(word)
    await expect(page.answers).to_have_text(
        [f"You said: [gated-1] {word}", "You said: second", "You said: fourth"]
    )
    await page.settled()
    await expect(waiting(page)).to_have_count(0)
    assert house.questions(word) == [f"[gated-1] {word}", "second", "fourth"]


async def test_a_browser_that_stores_nothing_says_so_while_a_message_waits(
    house: House, people: People
) -> None:
    page, text = await opened(house, people), canary()
    await page.page.evaluate(REFUSES)
    await write_offline(house, page, text)
    await expect(status(page)).to_contain_text("1 message waits")
    await expect(status(page)).to_contain_text("This browser stores nothing")
    house.network.restore()
    await expect(page.answers.last).to_have_text(f"You said: {text}")
    await page.settled()
    await expect(status(page)).to_be_hidden()
    assert house.questions(text) == [text]


async def test_a_queue_survives_a_reload(house: House, model: OpenAIDouble, people: People) -> None:
    page, word = await opened(house, people), canary()
    await write_held(page, model, word)
    await page.write("second")
    await page.write("third")
    await expect(waiting(page)).to_have_count(2)
    model.release(word)
    await page.reload()
    await expect(page.answers.last).to_have_text("You said: third")
    await page.settled()
    assert house.questions(word) == [f"[gated-1] {word}", "second", "third"]


async def test_a_queue_has_an_end_and_what_comes_then_stays_in_the_box(
    house: House, model: OpenAIDouble, people: People
) -> None:
    page, word = await opened(house, people), canary()
    await write_held(page, model, word)
    for number in range(MOST_WAITING):
        await page.write(f"number {number}")
    await page.write("one too many")
    await expect(page.box).to_have_value("one too many")
    await expect(waiting(page)).to_have_count(MOST_WAITING)
    await expect(status(page)).to_contain_text(
        "20 messages wait already; this one stays in the box"
    )
    for button in reversed(await waiting(page).get_by_role("button").all()):
        await button.click()
    await expect(waiting(page)).to_have_count(0)
    await expect(page.box).to_have_value(re.compile("^number 0\n\nnumber 1\n"))
    model.release(word)
    await page.settled()


async def test_a_refused_message_comes_back_and_those_behind_it_wait(
    app: Served, model: OpenAIDouble, people: People
) -> None:
    page, word = await people.open(app), canary()
    await write_held(page, model, word)
    too_long = "x" * 3_001
    await page.write(too_long)
    await page.write("behind it")
    model.release(word)
    await expect(page.toast).to_contain_text("The message is too long")
    await expect(page.box).to_have_value(too_long)
    await expect(waiting(page)).to_have_text([re.compile("behind it")])
    await page.write("a shorter one")
    await expect(page.answers).to_have_count(3)
    await page.settled()
    await expect(page.questions).to_have_text([f"[gated-1] {word}", "a shorter one", "behind it"])


@pytest.mark.timeout(300 + 10 * DOUBLE_CLICKS)
async def test_a_double_click_on_send_stores_the_message_once_and_stops_nothing(
    house: House, people: People
) -> None:
    page, word = await opened(house, people), canary()
    # Each answer still waits when the second click comes.
    written = [f"[slow-first-400] {word} {number}." for number in range(DOUBLE_CLICKS)]
    for number, text in enumerate(written):
        if number and number % MESSAGES == 0:
            await page.begin_anew()
        await page.box.fill(text)
        await page.send.dblclick(delay=30 * (number % 6))  # the second ends up to 300 ms later
        await expect(page.answers.last).to_have_text(f"You said: {text}")
        await page.settled()
    assert sorted(house.questions(word)) == sorted(written)
    answers = [row for row in messages(house.folder, word) if row["role"] == "assistant"]
    assert {row["status"] for row in answers} == {"complete"}
    await expect(page.toast).to_have_count(0)


async def test_a_draft_survives_a_reload_and_stays_with_its_conversation(
    app: Served, people: People
) -> None:
    page = await people.open(app)
    await page.box.fill("for the new chat")
    await page.reload()
    await expect(page.box).to_have_value("for the new chat")
    await page.box.fill("")
    await page.ask("a conversation")
    first = page.page.url
    await page.box.fill("for the first")
    await page.begin_anew()
    await expect(page.box).to_have_value("")
    await page.box.fill("for another")
    await page.page.goto(first)
    await page.filled()
    await expect(page.box).to_have_value("for the first")
    await page.begin_anew()
    await expect(page.box).to_have_value("for another")
    await page.ask("sent")
    await page.reload()
    await expect(page.box).to_have_value("")


async def test_two_tabs_keep_a_draft_each_and_a_closed_ones_is_found(
    app: Served, people: People
) -> None:
    one = await people.open(app)
    two = await (await people.tab_in(one.page.context, app)).open()
    await one.box.fill("in the first tab")
    await two.box.fill("in the second tab")
    await one.reload()
    await expect(one.box).to_have_value("in the first tab")
    await two.reload()
    await expect(two.box).to_have_value("in the second tab")
    await one.page.close(run_before_unload=True)
    third = await (await people.tab_in(two.page.context, app)).open()
    await expect(third.box).to_have_value("in the first tab")


async def test_whoever_comes_next_on_a_browser_finds_no_draft_and_no_message_of_another(
    house: House, people: People
) -> None:
    page, text = await opened(house, people), canary()
    await write_offline(house, page, text)
    await page.box.fill(f"draft {text}")
    await page.page.context.clear_cookies()
    await page.page.goto("about:blank")
    house.network.restore()
    await page.page.goto(house.network.url)
    await page.filled()
    await expect(page.box).to_have_value("")
    await expect(waiting(page)).to_have_count(0)
    await page.ask("of somebody else")
    assert text not in await page.page.content()
    assert house.questions(text) == []


async def test_a_visitor_whose_cookie_has_gone_is_told_so(app: Served, people: People) -> None:
    page = await people.open(app)
    note = page.frame.locator("#cmw-visit-note")
    await page.ask("of the first visit")
    await page.reload()
    await expect(note).to_have_count(0)
    await page.page.context.clear_cookies()
    await page.page.goto(page.url)
    await page.filled()
    await expect(note).to_contain_text("this is a new visit")
    await note.get_by_role("button", name="OK").click()
    await page.reload()
    await expect(note).to_have_count(0)


async def test_a_page_whose_cookie_goes_while_it_is_open_sends_nothing_as_somebody_else(
    house: House, people: People
) -> None:
    page, text = await people.open(house.app), canary()
    await page.ask("of the first visit")
    people.watch.tolerates("http 401", "status of 401")
    await page.page.context.clear_cookies()
    await page.write(text)
    await expect(page.toast).to_contain_text("This browser is somebody else now")
    await expect(page.box).to_have_value(text)
    await page.settled()
    assert house.questions(text) == []
