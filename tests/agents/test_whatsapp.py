"""What a graph asks is answered on WhatsApp: by the person who was asked, and by nobody else."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from cmw_agent import Agent
from tests.agents import samples
from tests.doubles.whatsapp_bridge import Bridge, whatsapp_bridge
from tests.harness import WAIT, Served, served
from tests.phones import deliver, message, whatsapp_settings

KIM, LEE = "491511@c.us", "491522@c.us"


class Phones:
    """People on WhatsApp, who write to the app's one agent."""

    def __init__(self, app: Served, bridge: Bridge, http: aiohttp.ClientSession) -> None:
        self._app, self._bridge, self._http = app, bridge, http

    async def says(self, person: str, text: str) -> None:
        """Deliver a person's message."""
        await deliver(self._http, self._app.url, message(person, text))

    async def hears(self, person: str, count: int) -> list[str]:
        """Return what a person was sent, once it is so many texts."""
        async with asyncio.timeout(WAIT):
            while len(self._bridge.texts(person)) < count:
                await self._bridge.until(len(self._bridge.delivered) + 1)
        return self._bridge.texts(person)


@contextlib.asynccontextmanager
async def phones(folder: Path, graph: Any) -> AsyncIterator[Phones]:
    """Serve the app with an agent for the block, which everybody on WhatsApp writes to."""
    async with whatsapp_bridge() as bridge:
        settings = whatsapp_settings(folder, bridge)
        agents = [Agent(id="assistant", graph=graph)]
        async with served(settings, agents=agents) as app, aiohttp.ClientSession() as http:
            yield Phones(app, bridge, http)


@pytest.mark.parametrize(
    ("decision", "expected"), [("yes", "Deleted."), ("no", "Left alone."), ("YES!", "Deleted.")]
)
async def test_a_graph_goes_on_as_the_person_who_is_asked_decides(
    decision: str, expected: str, tmp_path: Path
) -> None:
    async with phones(tmp_path, samples.deleting) as them:
        await them.says(KIM, "Go")
        (question,) = await them.hears(KIM, 1)
        assert "delete" in question
        await them.says(LEE, decision)  # who is asked something of their own by it
        (other,) = await them.hears(LEE, 1)
        assert "delete" in other
        await them.says(KIM, decision)
        assert (await them.hears(KIM, 2))[1] == expected
        await them.says(LEE, "no")
        assert (await them.hears(LEE, 2))[1] == "Left alone."


async def test_two_people_answer_the_questions_of_one_graph_each_with_a_text(
    tmp_path: Path,
) -> None:
    async with phones(tmp_path, samples.colours) as them:
        for person in (KIM, LEE):
            await them.says(person, "Paint")
            (question,) = await them.hears(person, 1)
            assert "Which colour?" in question
        await them.says(LEE, "green")
        assert (await them.hears(LEE, 2))[1] == "Painted green."
        await them.says(KIM, "blue")
        assert (await them.hears(KIM, 2))[1] == "Painted blue."
