"""Turns that are recorded: an app without a server, and what it leaves."""

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cmw_agent import Agent
from cmw_agent.agent.own.runner import OwnRunner
from cmw_agent.config.settings import Settings
from cmw_agent.core.events import TurnEvent
from cmw_agent.proof.replay.cassette import Cassette, files_of, read_cassette
from cmw_agent.proof.replay.runner import Replayed, replay
from cmw_agent.runtime.runtime import Runtime
from tests.harness import settings_for
from tests.service import all_events, session_of

KEY = "sk-of-the-operator-1234567890"


def recording(folder: Path, **changes: Any) -> Settings:
    """Return settings with which turns are recorded."""
    return settings_for(
        folder, **{"record": folder / "cassettes", "openai_api_key": KEY, **changes}
    )


@contextlib.asynccontextmanager
async def running(settings: Settings, agents: Sequence[Agent] = ()) -> AsyncIterator[Runtime]:
    """Run the app's runtime, without a server, for the block."""
    runtime = Runtime(settings, None, agents)
    async with runtime.running():
        yield runtime


async def say(
    runtime: Runtime, text: str, name: str = "alice", *, agent: str | None = None, **of: Any
) -> list[TurnEvent]:
    """Have a visitor say something in a new conversation; return the turn's events."""
    session = await session_of(runtime, name, **of)
    session.agent_id = agent or session.agent_id
    session.can_ask = False  # what would ask is denied
    return await all_events(runtime.chat.turn(session, text, key=f"{name} {text}"[:100]))


def recorded(folder: Path) -> list[Cassette]:
    """Return all cassettes of a folder's app, in the order of their questions."""
    path = folder / "cassettes"
    found = [read_cassette(each) for each in files_of(path)] if path.is_dir() else []
    return sorted(found, key=lambda each: int(each.given["seq"]))


async def again(
    cassettes: Sequence[Cassette],
    folder: Path,
    runners: Mapping[str, OwnRunner] | None = None,
    **more: Any,
) -> list[Replayed]:
    """Replay cassettes without a network: the settings lead nowhere."""
    nowhere = settings_for(folder / "elsewhere", openai_base_url="http://127.0.0.1:9/v1")
    return await replay(cassettes, nowhere, runners or {}, **more)
