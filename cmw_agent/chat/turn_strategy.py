"""What `TurnRunner` needs of a kind of turn: how it begins, what it asks, what is stored of it."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from cmw_agent.agent.agent import Ask
from cmw_agent.chat.answer import AnswerAccumulator
from cmw_agent.chat.context_cache import CachedContext
from cmw_agent.chat.turn import CommandReply
from cmw_agent.config.agent_profiles import Profile
from cmw_agent.conversations.sessions import LiveSession
from cmw_agent.core.events import TurnEvent, TurnFinished, TurnStarted
from cmw_agent.llm.chat_model import Exchange


@dataclass(frozen=True, slots=True)
class Beginning:
    """How a turn has begun.

    Args:
        started: The turn's first event; None where nothing is stored.
        is_repeated: The same request came before; `TurnStrategy.replay` gives its answer.
        is_stopped: The turn was stopped while it began.
    """

    started: TurnStarted | None = None
    is_repeated: bool = False
    is_stopped: bool = False


@dataclass(frozen=True, slots=True)
class AgentRequest:
    """What the agent is asked in a turn.

    Args:
        model: The model's name.
        messages: The conversation; its last message is the user's.
        ask: The rest.
    """

    model: str
    messages: Sequence[Exchange]
    ask: Ask


class TurnStrategy(Protocol):
    """What differs between turns that are stored and turns that are not."""

    session: LiveSession

    @property
    def needs_slot(self) -> bool:
        """Whether the turn takes one of its owner's slots."""

    @property
    def conversation(self) -> str | None:
        """The id of the conversation, once the turn has begun; None where there is none."""

    async def begin(self, profile: Profile) -> Beginning:
        """Store the beginning.

        Raises:
            UserError: The turn cannot begin.
        """

    async def replay(self) -> list[TurnEvent]:
        """Return the events of the answer that the first of repeated requests got.

        Raises:
            UserError: The memory fails.
        """

    async def request(
        self, profile: Profile, clock: asyncio.Timeout
    ) -> AgentRequest | CommandReply:
        """Return what the agent is asked, or the answer where the message is a command.

        Args:
            profile: The session's agent.
            clock: The turn's time-out; it stands while the owner is asked for an approval.
        """

    async def checkpoint(self, answer: AnswerAccumulator) -> bool:
        """Store the partial answer; False where the turn's lease was lost."""

    async def finish(
        self, finished: TurnFinished, answer: AnswerAccumulator, latency_ms: int
    ) -> bool:
        """Store the answer; False where the turn's lease was lost."""

    def keep_context(self, text: str) -> CachedContext | None:
        """Keep the context window, the answer's text included, for the next turn.

        Returns:
            What was kept; None where nothing is.
        """
