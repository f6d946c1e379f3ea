"""Draining: running answers end normally, no turn begins, and nothing is lost."""

import asyncio
import contextlib
import io
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.doubles.openai_server import OpenAIDouble
from tests.doubles.openai_steps import Gate, Request, Step, Text
from tests.harness import WAIT, Browser, Event, RefusedError, Tab, canary, last_text, texts
from tests.isolation.test_tools import asked, create
from tests.isolation.toolhouse import app_with_tools, settle_approval
from tests.processes import HOUSE, Process, started
from tests.rows import messages, rows, sound, turns
from tests.service import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGTERM"),
]

WORDS = [f"word{number} " for number in range(20)]
LONG = "60"  # seconds to drain that no test waits for


def script(request: Request) -> Sequence[Step]:
    """Say three words, and the rest when the test says so."""
    if request.last_user.startswith("held"):
        return [Text(WORDS[:3]), Gate(), Text(WORDS[3:])]
    return [Text(["You said: ", request.last_user])]


@dataclass
class Answering:
    """A process in the middle of an answer, and the page that reads it."""

    process: Process
    browser: Browser
    tab: Tab
    event: Event
    reader: "asyncio.Task[None]"
    question: str

    async def read(self) -> None:
        """Wait until the page has read its answer to the end."""
        async with asyncio.timeout(WAIT):
            await self.reader

    async def ready(self) -> tuple[int, str]:
        async with self.browser.http.get(f"{self.browser.url}/readyz") as got:
            return got.status, (await got.json())["status"]

    async def told(self, number: int) -> None:
        """Send a signal and wait until the process has taken it."""
        os.kill(self.process.pid, number)
        async with asyncio.timeout(WAIT):
            while await self.ready() != (503, "draining"):  # noqa: ASYNC110 (nothing announces it)
                await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def answering(
    folder: Path, endpoint: OpenAIDouble, *, drain: str = LONG
) -> AsyncIterator[Answering]:
    """Start the app and ask something that is answered by half."""
    settings = {
        "CMW_DATA_DIR": str(folder),
        "OPENAI_BASE_URL": endpoint.base_url,
        "CMW_MODEL": "script",
        "CMW_SECRET_KEY": "k" * 32,
        "CMW_USER_FIELD": "user",
        "CMW_DRAIN_SECONDS": drain,
        "CMW_LOG_LEVEL": "INFO",
    }
    async with started(HOUSE, settings) as process, Browser(await process.url()) as browser:
        tab = await browser.open()
        question = f"held {canary()}"
        event = Event(await tab.join("send", [question, "", "", None]))
        shown = asyncio.Event()

        async def read() -> None:
            async with contextlib.aclosing(tab.follow(event)) as updates:  # type: ignore[type-var]
                async for update in updates:
                    if last_text(update.value) == "".join(WORDS[:3]):
                        shown.set()

        reader = asyncio.create_task(read())
        async with asyncio.timeout(WAIT):
            await shown.wait()
        try:
            yield Answering(process, browser, tab, event, reader, question)
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)


async def test_a_running_answer_is_finished_and_nothing_new_begins(tmp_path: Path) -> None:
    async with (
        OpenAIDouble(scripts={"script": script}) as endpoint,
        answering(tmp_path, endpoint) as running,
    ):
        other = await running.browser.open()
        await running.told(signal.SIGTERM)
        with pytest.raises(RefusedError) as refused:
            await other.send(late := f"hello {canary()}")
        assert refused.value.status == 503
        assert "about to restart; please try again" in refused.value.detail
        assert messages(tmp_path, late) == []
        # Pages still open, and the answer is still being written.
        assert texts((await (await running.browser.open()).run("open_page", [])).value) == []
        assert [turn["state"] for turn in turns(tmp_path, running.question)] == ["running"]
        endpoint.release(running.question)
        await running.read()
        assert last_text(running.event.value) == "".join(WORDS)
        assert running.event.error is None
        assert await running.process.code() == 0
        # The heartbeats, which never end by themselves, were ended and not cut off.
        assert "running task" not in running.process.text
        assert "ERROR" not in running.process.text
    assert [turn["state"] for turn in turns(tmp_path)] == ["complete"]
    assert messages(tmp_path)[-1]["content"] == "".join(WORDS)
    assert endpoint.request_count == 1
    assert sound(tmp_path)


def check_interrupted(folder: Path, running: Answering) -> None:
    """Check that the page was told what came, and that it is stored, its conversation free."""
    shown = texts(running.event.value, "assistant")
    assert shown[0] == "".join(WORDS[:3])
    assert len(shown) == 2  # and a note
    assert running.event.error is None
    (turn,) = turns(folder)
    assert (turn["state"], turn["finished_at"] is None) == ("interrupted", False)
    question, answer = messages(folder)
    assert (question["content"], question["status"]) == (running.question, "complete")
    assert (answer["content"], answer["status"]) == ("".join(WORDS[:3]), "interrupted")
    assert sound(folder)


async def test_an_endless_answer_is_interrupted_at_the_limit_and_kept(tmp_path: Path) -> None:
    async with (
        OpenAIDouble(scripts={"script": script}) as endpoint,
        answering(tmp_path, endpoint, drain="0.5") as running,
    ):
        os.kill(running.process.pid, signal.SIGTERM)
        await running.read()
        assert await running.process.code() == 0
        check_interrupted(tmp_path, running)
        await endpoint.wait_aborted(1)


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
async def test_a_second_signal_hurries(tmp_path: Path, second: signal.Signals) -> None:
    async with (
        OpenAIDouble(scripts={"script": script}) as endpoint,
        answering(tmp_path, endpoint) as running,
    ):
        await running.told(signal.SIGTERM)
        assert [turn["state"] for turn in turns(tmp_path)] == ["running"]
        os.kill(running.process.pid, second)
        await running.read()
        assert await running.process.code() == 0
        check_interrupted(tmp_path, running)


async def test_an_interrupt_from_the_keyboard_does_not_wait_for_answers(tmp_path: Path) -> None:
    async with (
        OpenAIDouble(scripts={"script": script}) as endpoint,
        answering(tmp_path, endpoint) as running,
    ):
        os.kill(running.process.pid, signal.SIGINT)
        await running.read()
        assert await running.process.code() == 0
        assert "Traceback" not in running.process.text
        check_interrupted(tmp_path, running)


@pytest.mark.parametrize("in_time", [True, False], ids=["in time", "never"])
async def test_a_question_to_a_user_waits_as_long_as_the_drain_lasts(
    tmp_path: Path, *, in_time: bool
) -> None:
    async with app_with_tools(tmp_path) as house, Browser(house.app.url) as browser:
        tab = await browser.open()
        user = house.user_of(tab)
        await house.connect(tab)
        running, conversation, call = await asked(house, tab, create(name := canary()))
        chat = house.app.application.runtime.chat
        draining = asyncio.create_task(chat.drain(60))
        await wait_until(lambda: not chat.is_open)
        assert [turn["state"] for turn in turns(tmp_path)] == ["running"]
        if in_time:
            assert await settle_approval(tab, conversation, call, "approved") == 200
        else:
            await chat.drain(0)  # a call with less time hurries the first
        await draining
        assert (await running).done
        (turn,) = turns(tmp_path)
        assert turn["state"] == ("complete" if in_time else "interrupted")
        assert house.composio.tasks.get(user, []) == ([name] if in_time else [])
        assert chat.running == 0


async def test_an_import_is_ended_with_whole_conversations_and_says_why(tmp_path: Path) -> None:
    message = {"role": "user", "content": "x"}
    values = [
        {"title": str(n), "started_at": "2020-01-01", "messages": [message] * 110}
        for n in range(2_000)
    ]
    async with (
        OpenAIDouble(scripts={"script": script}) as endpoint,
        answering(tmp_path, endpoint, drain="0.1") as running,
    ):
        url, data = f"{running.browser.url}/history/import", io.BytesIO(json.dumps(values).encode())
        headers = {"x-file-name": "x", "Content-Type": "application/octet-stream"}
        async with running.browser.http.post(url, data=data, headers=headers) as answer:
            lines = aiter(answer.content)
            await anext(lines)
            os.kill(running.process.pid, signal.SIGTERM)
            result = json.loads([line async for line in lines][-1])
        assert await running.process.code() == 0
        assert "ERROR" not in running.process.text
    assert result["is_complete"] is False
    assert "The app restarts; please import the file again" in result["sentence"]
    counts = rows(
        tmp_path,
        "SELECT message_count FROM agent_sessions WHERE deleted_at IS NULL AND channel = 'web' "
        "AND import_source IS NOT NULL",
    )
    assert [row["message_count"] for row in counts] == [110] * result["imported"]
    assert sound(tmp_path)
