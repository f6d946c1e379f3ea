"""An agent that blocks the event loop is named in the log by its line; everybody goes on after it."""

import logging
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from langchain_core.messages import BaseMessage

from cmw_agent import Agent, Run
from tests.agents import samples
from tests.doubles.waiting import WAIT
from tests.harness import canary, served, settings_for
from tests.rest import KEYS, client


class WatchdogLines(logging.Handler):
    """Collects what the watchdog logs, and wakes whoever waits for a line."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.came = threading.Semaphore(0)

    def emit(self, record: logging.LogRecord) -> None:
        """Take a line."""
        self.texts.append(record.getMessage())
        self.came.release()


@pytest.fixture
def lines() -> Iterator[WatchdogLines]:
    handler, logger = WatchdogLines(), logging.getLogger("cmw_agent.observability.loop_watchdog")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


async def test_an_agent_that_blocks_the_loop_is_named_and_nothing_of_its_texts(
    tmp_path: Path, lines: WatchdogLines
) -> None:
    async def hold_up(messages: list[BaseMessage], run: Run) -> AsyncIterator[str]:
        yield "Half"
        while not any("hold_up" in text for text in lines.texts):
            assert lines.came.acquire(timeout=WAIT), messages  # no other coroutine runs meanwhile
        yield " and whole"

    agents = [Agent(id="slow", graph=hold_up), Agent(id="echo", graph=samples.echo)]
    secret = canary()
    async with served(settings_for(tmp_path, api_keys=KEYS), agents=agents) as app:
        async with client(app.url, agent="slow") as shop:
            assert (await shop.say(secret, "one")).json["response"] == "Half and whole"
        async with client(app.url, agent="echo") as bank:
            assert (await bank.say("Hi", "two")).json["response"] == "You said: Hi"
    (named, *_) = [text for text in lines.texts if "hold_up" in text]
    assert "test_blocking.py" in named
    assert not any(secret in text for text in lines.texts)
