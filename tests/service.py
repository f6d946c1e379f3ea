"""Runs the app without its page: a runtime, its sessions, and turns of the chat service."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from hashlib import sha256

from cmw_agent.chat.turn import TurnReader
from cmw_agent.config.settings import Settings
from cmw_agent.conversations.sessions import LiveSession
from cmw_agent.core.events import TextDelta, TurnEvent, TurnFinished
from cmw_agent.identity.principals import Principal, SessionKey
from cmw_agent.runtime.runtime import Runtime
from memory.records import new_conversation_id
from tests.harness import WAIT


async def wait_until(
    condition: Callable[[], bool], within: float = WAIT, every: float = 0.01
) -> None:
    """Poll a condition that no event signals, such as a row that another task writes.

    Args:
        condition: Returns whether to stop waiting.
        within: Time limit in seconds.
        every: Seconds between two calls; more for a slow condition, which blocks the event loop.

    Raises:
        TimeoutError: The condition does not hold in time.
    """
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110 (there is no event to wait for)
            await asyncio.sleep(every)


@contextlib.asynccontextmanager
async def running_app(settings: Settings) -> AsyncIterator[Runtime]:
    """Run the app's runtime, without a server, for the block."""
    runtime = Runtime(settings)
    async with runtime.running():
        yield runtime


async def session_of(
    runtime: Runtime, name: str = "alice", *, conversation: str | None = None, page: str = ""
) -> LiveSession:
    """Return the live session of a visitor's page.

    Args:
        runtime: The running app.
        name: The visitor; equal names are one principal.
        conversation: The conversation's id; a new one when absent.
        page: Distinguishes several pages of a visitor.
    """
    digest = sha256(name.encode()).hexdigest()
    key = SessionKey(sha256(f"{name} {page}".encode()).hexdigest())
    session = await runtime.registry.session(key, Principal(f"v{digest[:32]}", "visitor"))
    session.conversation_id = conversation or new_conversation_id()
    return session


def live_sessions(runtime: Runtime) -> dict[SessionKey, LiveSession]:
    """Return the live sessions of all principals.

    The registry has no public way to them: it gives a session to its own principal alone.
    """
    return dict(runtime.registry._sessions)


def readers_of(runtime: Runtime) -> list[TurnReader]:
    """Return the readers of all running turns."""
    return [reader for turn in runtime.chat._runners for reader in turn._readers]


async def until_unread(runtime: Runtime) -> None:
    """Wait until nobody reads a running turn."""
    await wait_until(lambda: not readers_of(runtime))


@dataclass(slots=True)
class Seconds:
    """A clock that moves only when the test moves it."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


async def all_events(turn: TurnReader) -> list[TurnEvent]:
    """Run a turn to its end and return all its events."""
    async with turn:
        return [event async for event in turn]


def answer_text(events: list[TurnEvent]) -> str:
    """Return the answer's text that the events carry."""
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def turn_end(events: list[TurnEvent]) -> TurnFinished:
    """Return the turn's one `TurnFinished`, which must be its last event."""
    ends = [event for event in events if isinstance(event, TurnFinished)]
    assert len(ends) == 1
    assert events[-1] is ends[0]
    return ends[0]
