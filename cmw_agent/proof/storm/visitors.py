"""The people of a storm while they visit the target."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from cmw_agent.proof.storm.channels import Channel, Chat
from cmw_agent.proof.storm.errors import TargetError
from cmw_agent.proof.storm.evidence import Evidence, Kind, Person
from cmw_agent.proof.storm.wire import Budget, Terms, Wire

Act = Callable[["Visitor"], Coroutine[Any, Any, None]]
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """How large a storm is.

    Attributes:
        users: How many talk at once.
        turns: How many messages with a canary each of them sends.
        seed: Chooses who reloads, stops an answer, opens a second tab and uploads.
    """

    users: int = 6
    turns: int = 3
    seed: int = 0


@dataclass(eq=False, slots=True)
class Visitor:
    """A person, and the chat that is open."""

    person: Person
    channel: Channel
    wire: Wire
    chat: Chat

    async def reload(self, way: str) -> None:
        """Load the page again: another session of the same person."""
        await self.chat.close()
        self.chat = self.channel.chat(self.wire)
        await self.chat.open(way)

    async def leave(self) -> None:
        """Close the chat that is open."""
        await self.chat.close()


@dataclass(frozen=True, slots=True)
class Entrance:
    """Lets people in.

    Attributes:
        terms: The target.
        budget: That of the run.
        evidence: What they say and receive.
    """

    terms: Terms
    budget: Budget
    evidence: Evidence

    def soon(self, seconds: float) -> float:
        """Return so many seconds, the patience or what is left of the run, whatever is least."""
        return self.budget.within(min(seconds, self.terms.patience))

    async def enter(
        self,
        stack: contextlib.AsyncExitStack,
        channel: Channel,
        kind: Kind,
        caller: int,
        *,
        session: str | None = None,
        cookies: bool = True,
    ) -> Visitor:
        """Return a new visitor, who leaves when the stack is closed.

        Args:
            stack: Closes its connections.
            channel: How it reaches the target.
            kind: What it is.
            caller: Which of the channel's callers it is.
            session: The session id that it chooses.
            cookies: Whether it keeps cookies.
        """
        person = self.evidence.person(kind, channel.name, caller)
        headers = channel.headers(caller)
        wire = Wire(
            self.terms, self.budget, self.evidence, person, headers=headers, cookies=cookies
        )
        visitor = Visitor(person, channel, wire, channel.chat(wire, session))
        await stack.enter_async_context(wire)
        stack.push_async_callback(visitor.leave)
        return visitor


async def all_at_once(crowd: Sequence[Visitor], act: Act) -> None:
    """Let all who have no trouble act at once; what keeps one from it is that one's trouble."""

    async def one(each: Visitor) -> None:
        with record_trouble(each.person):
            await act(each)

    await asyncio.gather(*(one(each) for each in crowd if each.person.trouble is None))


@contextlib.contextmanager
def record_trouble(person: Person) -> Iterator[None]:
    """Note what keeps a person from going on."""
    try:
        yield
    except TargetError as error:
        person.trouble = person.trouble or str(error)
