"""A process killed during answers, repeatedly, leaves a consistent database."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.doubles.openai_server import OpenAIDouble
from tests.doubles.openai_steps import Gate, Request, Start, Step, Text
from tests.harness import WAIT, Browser, Event, Tab, canary, last_text, texts
from tests.processes import HOUSE, Process, started
from tests.rows import count, messages, sound, turns

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL"),
]

ROUNDS = 10
WORDS = [f"word{number} " for number in range(400)]


def script(request: Request) -> Sequence[Step]:
    """Hold where the message says, or answer at once."""
    match request.last_user.split()[0]:
        case "silent":
            return [Start(), Gate(), Text(WORDS)]
        case "spoken":
            return [Text(WORDS[:3]), Gate(), Text(WORDS[3:])]
        case "streaming":
            return [Text(WORDS, rate=100)]  # for seconds
        case "ending":
            return [Text(WORDS[:-1]), Gate(), Text(WORDS[-1:])]
    return [Text(["You said: ", request.last_user])]


MOMENTS = ("silent", "spoken", "streaming", "ending")


class House:
    """The data of one app, which dies and starts again, and the endpoint behind it."""

    def __init__(self, folder: Path, endpoint: OpenAIDouble) -> None:
        self.folder = folder
        self.endpoint = endpoint
        self.conversation = ""

    @contextlib.asynccontextmanager
    async def process(self) -> AsyncIterator[tuple[Process, str]]:
        settings = {
            "CMW_DATA_DIR": str(self.folder),
            "OPENAI_BASE_URL": self.endpoint.base_url,
            "CMW_MODEL": "script",
            "CMW_SECRET_KEY": "k" * 32,
            "CMW_USER_FIELD": "user",
            "CMW_DRAIN_SECONDS": "0.1",
        }
        async with started(HOUSE, settings) as process:
            yield process, await process.url()

    @contextlib.asynccontextmanager
    async def page(self, url: str, cookie: dict[str, str]) -> AsyncIterator[tuple[Tab, Event]]:
        """Open the page on the conversation so far, as a browser that reloads."""
        async with Browser(url) as browser:
            browser.http.cookie_jar.update_cookies(cookie)
            tab = browser.tab(query=f"?c={self.conversation}" if self.conversation else "")
            opened = await tab.open()
            cookie.update({c.key: c.value for c in browser.http.cookie_jar})
            self.conversation = opened.values[-1][1]
            try:
                yield tab, opened
            finally:
                await forgotten(tab)


async def forgotten(tab: Tab) -> None:
    """Let go of a heartbeat that the death of the server has broken."""
    heartbeat, tab._heartbeat = tab._heartbeat, None
    if heartbeat is not None:
        heartbeat.cancel()
        await asyncio.gather(heartbeat, return_exceptions=True)


@dataclass
class Asked:
    """A question, and the page that reads its answer."""

    question: str
    event: Event
    shown: asyncio.Event  # the page has the words that were waited for
    reader: "asyncio.Task[None]"


async def ask(tab: Tab, moment: str, *words: str) -> Asked:
    """Ask, and read the answer, which begins with these words."""
    question = f"{moment} {canary()}"
    event = Event(await tab.join("send", [question, "", "", None]))
    shown = asyncio.Event()

    async def read() -> None:
        async with contextlib.aclosing(tab.follow(event)) as updates:  # type: ignore[type-var]
            async for update in updates:
                if last_text(update.value).startswith("".join(words)):
                    shown.set()

    return Asked(question, event, shown, asyncio.create_task(read()))


async def ask_and_kill(house: House, process: Process, tab: Tab, moment: str) -> str:
    """Ask, wait for the moment, kill the process; return the question."""
    asked = await ask(tab, moment, WORDS[0])
    async with asyncio.timeout(WAIT):
        if moment != "streaming":
            await house.endpoint.wait_held(asked.question)
        if moment != "silent":
            await asked.shown.wait()
    if moment == "ending":
        house.endpoint.release(asked.question)
    await process.kill()
    await asyncio.gather(asked.reader, return_exceptions=True)
    return asked.question


def check_stored(house: House, question: str, moment: str) -> None:
    """Check that the message is there, and the answer whole or said not to be."""
    assert sound(house.folder)
    stored = messages(house.folder, question)
    place = [message["content"] for message in stored].index(question)
    asked, answer = stored[place : place + 2]
    assert (asked["role"], asked["status"]) == ("user", "complete")
    if answer["content"] == "".join(WORDS):
        assert moment == "ending"
        # What came so far is stored now and then; that may have been all of it.
        assert answer["status"] in ("complete", "interrupted")
    else:
        assert answer["status"] == "interrupted"
    assert "".join(WORDS).startswith(answer["content"])


async def test_a_killed_process_loses_no_message_and_leaves_nothing_half_done(
    tmp_path: Path,
) -> None:
    cookie: dict[str, str] = {}
    async with OpenAIDouble(scripts={"script": script}) as endpoint:
        house = House(tmp_path, endpoint)
        questions: list[str] = []
        for number in range(ROUNDS + 1):
            async with house.process() as (process, url), house.page(url, cookie) as (tab, opened):
                # All that was ever asked is there, and the conversation goes on at once.
                assert texts(opened.value, "user") == questions
                questions.append(f"hello {canary()}")
                answer = await tab.send(questions[-1])
                assert answer.error is None
                assert last_text(answer.value) == f"You said: {questions[-1]}"
                if number == ROUNDS:
                    await process.stop()
                    break
                moment = MOMENTS[number % len(MOMENTS)]
                questions.append(await ask_and_kill(house, process, tab, moment))
            check_stored(house, questions[-1], moment)
        assert count(tmp_path) == (1, 2 * len(questions), len(questions))
        assert "running" not in {turn["state"] for turn in turns(tmp_path)}
        assert len(endpoint.requests) == len(questions)
        assert sound(tmp_path)


async def test_a_second_process_on_the_same_data_leaves_the_first_ones_turns_alone(
    tmp_path: Path,
) -> None:
    cookie: dict[str, str] = {}
    async with OpenAIDouble(scripts={"script": script}) as endpoint:
        house = House(tmp_path, endpoint)
        async with house.process() as (_, url), house.page(url, cookie) as (tab, _opened):
            asked = await ask(tab, "spoken", *WORDS[:3])
            await endpoint.wait_held(asked.question)
            async with house.process() as (_, second):
                async with Browser(second) as browser, browser.http.get(f"{second}/readyz") as got:
                    assert got.status == 200
                assert [turn["state"] for turn in turns(tmp_path)] == ["running"]
                endpoint.release(asked.question)
                async with asyncio.timeout(WAIT):
                    await asked.reader
                assert last_text(asked.event.value) == "".join(WORDS)
            assert [turn["state"] for turn in turns(tmp_path)] == ["complete"]


async def test_a_process_that_is_told_to_end_keeps_what_came_and_marks_it(tmp_path: Path) -> None:
    cookie: dict[str, str] = {}
    async with OpenAIDouble(scripts={"script": script}) as endpoint:
        house = House(tmp_path, endpoint)
        async with house.process() as (process, url), house.page(url, cookie) as (tab, _opened):
            asked = await ask(tab, "spoken", *WORDS[:3])
            async with asyncio.timeout(WAIT):
                await asked.shown.wait()
            code = await process.stop()
            await asyncio.gather(asked.reader, return_exceptions=True)
        assert code == 0
        (turn,) = turns(tmp_path)
        assert (turn["state"], turn["finished_at"] is None) == ("interrupted", False)
        assert messages(tmp_path, asked.question)[-1]["content"] == "".join(WORDS[:3])
        await endpoint.wait_aborted(1)
        assert endpoint.aborted_count == 1
        assert sound(tmp_path)
        async with house.process() as (_, url), house.page(url, cookie) as (tab, opened):
            assert texts(opened.value, "user") == [asked.question]
            assert last_text((await tab.send("and on")).value) == "You said: and on"
