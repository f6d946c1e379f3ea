"""Progress of a tool call: bounded in length and rate, and never after the call's end."""

import asyncio
import threading
from typing import Any

import pytest

from cmw_agent.agent.progress import MAX_MESSAGE, ToolProgress
from cmw_agent.chat.answer import AnswerAccumulator
from cmw_agent.chat.turn import Turn
from cmw_agent.core.errors import UserError
from cmw_agent.core.events import (
    AgentEvent,
    ApprovalSettled,
    ToolFinished,
    ToolProgressed,
    ToolStarted,
)
from cmw_agent.language import languages
from cmw_agent.web.page.live_answer import LiveAnswer
from tests.harness import WAIT


class Events:
    """Takes events, of which a test waits for the next."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[AgentEvent] = asyncio.Queue()

    async def next(self) -> Any:
        async with asyncio.timeout(WAIT):
            return await self.queue.get()

    def reporter(self, interval: float = 0.01) -> ToolProgress:
        return ToolProgress("1", "count", self.queue.put_nowait, interval)


async def test_of_many_reports_the_newest_alone_is_shown() -> None:
    events = Events()
    progress = events.reporter()
    for number in range(50):
        progress.report(number, 100)
    assert await events.next() == ToolProgressed("1", "count", 49, 100)
    for number in range(50, 100):
        progress.report(number, 100)
    assert await events.next() == ToolProgressed("1", "count", 99, 100)
    progress.close()


async def test_within_an_interval_nothing_more_is_shown() -> None:
    events = Events()
    progress = events.reporter(interval=3600)
    for number in range(100):
        progress.report(number, 100)
        await asyncio.sleep(0)
    assert (await events.next()).done == 0
    assert events.queue.empty()
    progress.close()


async def test_nothing_is_reported_after_the_call_has_ended() -> None:
    events = Events()
    progress, other = events.reporter(), events.reporter()
    progress.report(1)
    await events.next()
    progress.report(2)
    progress.close()
    progress.report(3)
    for number in (4, 5):  # more than the other call's interval passes
        other.report(number)
        assert (await events.next()).done == number
    other.close()
    assert events.queue.empty()


async def test_a_message_is_one_short_line_and_a_number_is_one() -> None:
    events = Events()
    progress = events.reporter()
    progress.report(float("nan"), 10, "no number")
    progress.report(1, float("inf"), "reading\n\0 " + "x" * 10_000)
    event = await events.next()
    assert (event.done, event.total) == (1, None)
    assert event.message.startswith("reading \ufffd xxx")
    assert len(event.message) == MAX_MESSAGE
    for total in (0, -1, float("nan"), 1e300):
        progress.report(2, total)
        event = await events.next()
        assert event.total is None
    progress.close()


async def test_a_tool_in_a_thread_reports_too() -> None:
    events = Events()
    progress = events.reporter()
    thread = threading.Thread(target=progress.report, args=(3, 10, "reading"))
    thread.start()
    assert await events.next() == ToolProgressed("1", "count", 3, 10, "reading")
    await asyncio.to_thread(thread.join)
    progress.close()


async def test_a_report_that_must_not_be_shown_ends_the_run() -> None:
    tried = asyncio.Event()

    def refuse(event: AgentEvent) -> None:
        tried.set()
        raise UserError("breach")

    progress = ToolProgress("1", "count", refuse)
    progress.report(1)
    async with asyncio.timeout(WAIT):
        await tried.wait()
    with pytest.raises(UserError, match="breach"):
        progress.close()


def test_a_step_shows_how_far_its_tool_has_come_while_it_runs() -> None:
    live = LiveAnswer([], languages().english)
    live.add(ToolStarted("1", "count", {"to": 10}))
    live.add(ToolProgressed("1", "count", 3, 10, "reading"))
    live.add(ToolProgressed("2", "count", 9, 10))  # of no step
    (step,) = live.drawn()
    assert step["metadata"]["progress"] == "3 of 10 – reading"
    assert step["metadata"]["state"] == "running"
    assert '"to": 10' in step["content"][0]["text"]
    live.add(ToolProgressed("1", "count", 1234.5))
    assert live.drawn()[0]["metadata"]["progress"] == "1,234.5"
    live.add(ToolFinished("1", "count", "counted", True, 1.0))
    (step,) = live.drawn()
    assert "progress" not in step["metadata"]
    assert "reading" not in str(step)


def test_progress_is_worded_in_the_reader_s_language() -> None:
    live = LiveAnswer([], languages().of("ru"))
    live.add(ToolStarted("1", "count", {}))
    live.add(ToolProgressed("1", "count", 2.5, 10))
    assert live.drawn()[0]["metadata"]["progress"] == "2,5 из 10"


def test_an_answer_keeps_no_progress_but_for_pages_that_join() -> None:
    answer = AnswerAccumulator()
    started, progressed = ToolStarted("1", "count", {}), ToolProgressed("1", "count", 3, 10, "hush")
    answer.add(ToolProgressed("2", "count", 1))
    answer.add(started)
    answer.add(progressed)
    assert answer.events() == [started, progressed]
    answer.add(ApprovalSettled("1", "approved", {}, "a"))
    answer.add(ToolFinished("1", "count", "counted", True, 1.0))
    assert "hush" not in repr(answer)
    assert not [one for one in answer.events() if isinstance(one, ToolProgressed)]


async def test_a_slow_reader_keeps_one_report_of_a_call() -> None:
    turn = Turn("k", "hello", is_new=True)
    reader = turn.read()
    first, second = ToolProgressed("1", "count", 1), ToolProgressed("2", "count", 1)
    for event in (first, ToolProgressed("1", "count", 2), second, first):
        turn.emit(event)
    came = [await anext(reader) for _ in range(3)]
    assert came == [ToolProgressed("1", "count", 2), second, first]
