"""The app without its page: a runtime, its sessions, and turns asked for directly."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from hashlib import sha256

from cmw_agent.chat.turn import Turn
from cmw_agent.config.settings import Settings
from cmw_agent.conversations.sessions import LiveSession
from cmw_agent.core.events import TextDelta, TurnEvent, TurnFinished
from cmw_agent.identity.principals import Principal, SessionKey
from cmw_agent.runtime.runtime import Runtime
from memory.records import new_conversation_id
from tests.harness import WAIT


async def until(condition: Callable[[], bool], within: float = WAIT, every: float = 0.01) -> None:
    """Wait for what nothing announces, such as a row that another task writes.

    A condition that takes long is asked `every` so many seconds, which leaves the loop to others.
    """
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110 (there is no event to wait for)
            await asyncio.sleep(every)


@contextlib.asynccontextmanager
async def process(settings: Settings) -> AsyncIterator[Runtime]:
    """Run the app's insides for the block."""
    runtime = Runtime(settings)
    async with runtime.running():
        yield runtime


async def session_of(
    runtime: Runtime, name: str = "alice", *, conversation: str | None = None, page: str = ""
) -> LiveSession:
    """Return the session of a visitor's page, with a new conversation or the one named."""
    digest = sha256(name.encode()).hexdigest()
    key = SessionKey(sha256(f"{name} {page}".encode()).hexdigest())
    session = await runtime.registry.session(key, Principal(f"v{digest[:32]}", "visitor"))
    session.conversation_id = conversation or new_conversation_id()
    return session


async def told(turn: Turn) -> list[TurnEvent]:
    """Return all events of a turn."""
    async with turn:
        return [event async for event in turn]


def answer_of(events: list[TurnEvent]) -> str:
    """Return the text that the events make up."""
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def ending(events: list[TurnEvent]) -> TurnFinished:
    """Return how a turn ended; there is exactly one ending, and it comes last."""
    ends = [event for event in events if isinstance(event, TurnFinished)]
    assert len(ends) == 1
    assert events[-1] is ends[0]
    return ends[0]
