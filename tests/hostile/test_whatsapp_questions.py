"""Unanswered approval prompts block nobody; calls that cannot be shown are denied."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from cmw_agent.channels.whatsapp.answering import owner_of
from cmw_agent.channels.whatsapp.approvals import (
    FAILED,
    FULL,
    TOO_LONG,
    ApprovalPrompts,
    WakeSignal,
)
from cmw_agent.channels.whatsapp.inbound import InboundMessage
from cmw_agent.channels.whatsapp.worker import AT_ONCE
from cmw_agent.tools.approvals import Decision
from tests.doubles.openai_server import OpenAIDouble
from tests.doubles.openai_steps import Request, Step, Text, ToolCalls
from tests.doubles.whatsapp_bridge import whatsapp_bridge
from tests.harness import Served, served, settings_for
from tests.phones import deliver, message, parsed, whatsapp_settings
from tests.rows import rows

KIM, LEE = "491511@c.us", "491522@c.us"


def script(request: Request) -> Sequence[Step]:
    if request.last_user == "plain":
        return [Text(["a plain answer"])]
    return [ToolCalls([("schedule_task", '{"when": "every day at 9", "task": "t"}')])]


async def test_those_who_do_not_answer_a_question_stop_nobody(tmp_path: Path) -> None:
    async with whatsapp_bridge() as bridge, OpenAIDouble(scripts={"script": script}) as endpoint:
        model = {"openai_base_url": endpoint.base_url, "model": "script"}
        settings = whatsapp_settings(tmp_path, bridge, **model)
        async with served(settings) as app, aiohttp.ClientSession() as http:
            for number in range(AT_ONCE):
                await deliver(http, app.url, message(f"49170{number:05}@c.us", "ask me"))
            await bridge.until(AT_ONCE)
            await deliver(http, app.url, message(KIM, "plain"))
            await bridge.until(AT_ONCE + 1)
            assert bridge.delivered[-1] == (KIM, "a plain answer")


class Desk:
    """Calls that wait, and what asks about them."""

    def __init__(self, app: Served, folder: Path, most: int) -> None:
        self.runtime = app.application.runtime
        self.folder = folder
        self.questions = ApprovalPrompts(self.runtime, WakeSignal(), most)

    @contextlib.asynccontextmanager
    async def asking(
        self, body: dict[str, Any], arguments: Mapping[str, Any], **changes: Any
    ) -> AsyncIterator[asyncio.Task[Decision]]:
        """Let a call of whoever has sent this wait, and ask about it, during the block."""
        (found,) = parsed(body)
        principal = owner_of(found.message, "assistant")
        incoming = InboundMessage.from_json(found.message.as_json() | changes)
        wait = self.runtime.approvals.ask(principal.id, "c", "call", "MAIL", arguments)
        call = asyncio.create_task(wait)
        ask = asyncio.create_task(self.questions.ask(principal, "c", incoming))
        try:
            yield call
        finally:
            for task in (call, ask):
                task.cancel()
            await asyncio.wait([call, ask])

    def told(self) -> list[str]:
        found = rows(self.folder, "SELECT payload FROM channel_sends ORDER BY created_at")
        return [row["payload"] for row in found]

    async def until_told(self, count: int) -> list[str]:
        async with asyncio.timeout(60):
            while True:
                found = self.told()
                if len(found) >= count:
                    return found
                await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def desk(folder: Path, most: int = 9) -> AsyncIterator[Desk]:
    async with served(settings_for(folder)) as app:
        yield Desk(app, folder, most)


async def test_beyond_the_bound_nobody_is_asked_and_the_call_is_denied(tmp_path: Path) -> None:
    async with desk(tmp_path, most=1) as at:
        async with at.asking(message(KIM, "x"), {"a": "first"}) as first:
            assert '"a": "first"' in (await at.until_told(1))[0]
            async with at.asking(message(LEE, "x"), {"a": "second"}) as second:
                assert (await second).answer == "denied"
            assert at.told()[1:] == [FULL]
            assert not first.done()
        # the place is free again
        async with at.asking(message(LEE, "x"), {"a": "third"}):
            assert '"a": "third"' in (await at.until_told(3))[2]


async def test_what_cannot_be_shown_or_asked_is_denied_at_once_and_named_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with desk(tmp_path) as at:
        for value in ("secret " * 2_000, 10**5_000):
            async with at.asking(message(KIM, "x"), {"a": value}) as call:
                assert (await call).answer == "denied"
        assert await at.until_told(2) == [TOO_LONG] * 2
        async with at.asking(message(KIM, "x"), {"a": 10**30}) as call:
            assert str(10**30) in (await at.until_told(3))[2]
        with caplog.at_level(logging.ERROR):
            # no database keeps such an address
            async with at.asking(message(LEE, "x"), {"a": "hush"}, chat="\0") as call:
                assert (await call).answer == "denied"
        assert "a question failed" in caplog.text
        assert "channels.whatsapp.approvals" in caplog.text
        assert "hush" not in caplog.text
        assert FAILED not in at.told()
