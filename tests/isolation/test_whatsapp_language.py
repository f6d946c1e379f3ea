"""WhatsApp: each sender may choose the language of the app's own texts, for themselves alone."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from cmw_agent.channels.whatsapp.routes import ONLY
from cmw_agent.chat.commands import BEGUN, language_named
from cmw_agent.language import languages
from tests.doubles.openai_server import OpenAIDouble
from tests.doubles.whatsapp_bridge import Bridge, whatsapp_bridge
from tests.harness import Served, served
from tests.phones import GROUP, deliver, in_group, message, settled, whatsapp_settings
from tests.rows import rows
from tests.scheduled import FakeClock, RecordingObserver, run_due, scheduler_of

RUSSIAN = languages().of("ru")
MISSED = "Эта повторяющаяся задача не выполнялась 3 раза"
KIM, LEE = "491511@c.us", "491522@c.us"


@dataclass(slots=True)
class Place:
    """An app behind a bridge."""

    app: Served
    bridge: Bridge
    http: aiohttp.ClientSession
    folder: Path

    async def says(self, body: dict[str, Any], count: int) -> str:
        """Deliver a message; return the last text of its chat, once there are `count`."""
        assert (await deliver(self.http, self.app.url, body))[0] == 200
        while len(self.bridge.texts(body["from"])) < count:
            await self.bridge.until(len(self.bridge.delivered) + 1)
        return self.bridge.texts(body["from"])[-1]


@contextlib.asynccontextmanager
async def place(folder: Path, **changes: Any) -> AsyncIterator[Place]:
    async with (
        whatsapp_bridge() as bridge,
        OpenAIDouble() as endpoint,
        aiohttp.ClientSession() as http,
    ):
        model = {"openai_base_url": endpoint.base_url, "model": "echo"}
        settings = whatsapp_settings(folder, bridge, **(model | changes))
        async with served(settings) as app:
            yield Place(app, bridge, http, folder)


async def test_a_sender_s_language_is_theirs_alone_and_goes_with_them(tmp_path: Path) -> None:
    async with place(tmp_path) as at:
        assert "русский" in (await at.says(message(KIM, "/language Russian"), 1)).lower()
        assert await at.says(message(KIM, "/new"), 2) == RUSSIAN.translate(BEGUN)
        assert "/помощь" in await at.says(message(KIM, "/help"), 3)
        assert "/language NAME" in await at.says(message(LEE, "/help"), 1)
        # in a group one is somebody else than alone
        assert "/language NAME" in await at.says(in_group(KIM, "/help"), 1)
        assert [row["language"] for row in rows(tmp_path, "SELECT * FROM agent_preferences")] == [
            "ru"
        ]
        await at.says(message(KIM, "/забыть всё"), 4)
        await settled(at.http, at.app.url, done=6)
        assert rows(tmp_path, "SELECT * FROM agent_preferences") == []
        assert "/language NAME" in await at.says(message(KIM, "/help"), 5)


async def test_the_command_is_understood_in_each_language_and_lists_what_there_is(
    tmp_path: Path,
) -> None:
    async with place(tmp_path, language="ru") as at:
        assert "English (`en`)" in await at.says(message(KIM, "/язык клингонский"), 1)
        assert await at.says(message(KIM, "/язык английский"), 2) == (
            "My notes to you are in English now."
        )
        assert "/help" in await at.says(message(KIM, "/помощь"), 3)
        assert "/помощь" in await at.says(message(LEE, "/help"), 1)
        assert GROUP not in [chat for chat, _ in at.bridge.delivered]


async def test_refusals_and_tasks_come_in_the_sender_s_language(tmp_path: Path) -> None:
    async with place(tmp_path) as at:
        await at.says(message(KIM, "/language ru"), 1)
        refused = message(KIM, "", type="video")
        assert await at.says(refused, 2) == RUSSIAN.translate(ONLY)
        hands = FakeClock()
        scheduled = await at.says(message(KIM, f"/schedule {hands.far}: tell me"), 3)
        assert "Запланировано" in scheduled
        hands.jump()
        hands.advance(days=3)
        runtime = at.app.application.runtime
        observer = RecordingObserver()
        scheduler = scheduler_of(
            runtime, hands, observer, deliver=runtime.deliver, language_of=runtime.language_of
        )
        async with asyncio.timeout(60):
            await run_due(scheduler)
        while len(at.bridge.texts(KIM)) < 4:
            await at.bridge.until(len(at.bridge.delivered) + 1)
        assert at.bridge.texts(KIM)[3].startswith(MISSED)


@pytest.mark.parametrize("name", ["ru", "RU", "русский", "Russian", " russian "])
def test_a_language_is_named_by_its_tag_or_its_name(name: str) -> None:
    found = language_named(name)
    assert found is not None
    assert found.tag == "ru"


@pytest.mark.parametrize("name", ["", "klingon", "r", "deutsch"])
def test_an_unknown_language_is_none(name: str) -> None:
    assert language_named(name) is None
