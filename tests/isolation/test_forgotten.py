"""A conversation deleted and created again shows the model nothing of the first, in no process."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cmw_agent.conversations.sessions import LiveSession
from cmw_agent.identity.channel_principals import conversation_after
from cmw_agent.runtime.runtime import Runtime
from tests.doubles.openai_server import OpenAIDouble
from tests.harness import canary, settings_for
from tests.service import process, session_of, told


@dataclass(slots=True)
class Two:
    """Two processes on one database."""

    here: Runtime
    there: Runtime
    endpoint: OpenAIDouble

    async def session(self, runtime: Runtime) -> LiveSession:
        made = await session_of(runtime)
        made.conversation_id = conversation_after(made.principal, None)
        return made


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[Two]:
    async with OpenAIDouble() as endpoint:
        settings = settings_for(tmp_path, openai_base_url=endpoint.base_url, model="echo")
        async with process(settings) as here, process(settings) as there:
            yield Two(here, there, endpoint)


async def test_no_other_process_tells_the_model_what_was_forgotten(two: Two) -> None:
    here, there = await two.session(two.here), await two.session(two.there)
    secret = canary()
    await told(two.there.chat.turn(there, secret, key="1"))
    await two.here.history.forget(here.principal)
    here = await two.session(two.here)
    await told(two.here.chat.turn(here, "anew", key="2"))
    await told(two.there.chat.turn(there, "and further", key="3"))
    assert two.endpoint.requests[-1].user_texts == ["anew", "and further"]
