"""What owners do with their conversations beside talking: list, search, rename, delete, export.

For every channel, as `ChatService` is for turns. Each method takes the principal who asks;
what is another's and what does not exist are the same `NotFoundError`.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from cmw_agent.conversations.sessions import LiveSession, SessionRegistry
from cmw_agent.conversations.store_errors import refusal_for
from cmw_agent.core.errors import InvalidMessageError, NotFoundError
from cmw_agent.files.service import Files
from cmw_agent.identity.principals import Principal
from memory.errors import InvalidTextError, StoreError
from memory.manager import ConversationMemoryManager
from memory.records import Conversation, Feedback, SearchHit, StoredMessage, Usage, utcnow

PAGE = 30  # conversations of one page of the list
MESSAGES_AT_ONCE = 5  # of a conversation that is read whole: each may be large
QUERY_CHARS = 200
MemoryOf = Callable[[Principal], ConversationMemoryManager]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class UsageSummary:
    """What the last answer, its conversation and the owner's day (by UTC) took."""

    answer: Usage
    conversation: Usage
    today: Usage


class ConversationService:
    """See the module's text.

    Args:
        memory_of: Gives the memory that holds a principal's conversations.
        registry: The live sessions, which must not go on with what was deleted.
        files: Everybody's files, which go when everything goes.
        clock: The time, with its zone.

    Raises:
        UserError: From each method, where the memory fails or refuses.
    """

    def __init__(
        self,
        memory_of: MemoryOf,
        registry: SessionRegistry,
        files: Files,
        clock: Callable[[], datetime] = utcnow,
    ) -> None:
        self._memory_of = memory_of
        self._registry = registry
        self._files = files
        self._clock = clock

    async def page(
        self, principal: Principal, before: tuple[datetime, str] | None = None
    ) -> list[Conversation]:
        """Return a page of the list, newest first, of what stands behind `before`."""
        memory = self._memory_of(principal)
        return await _told(memory.conversations(principal.id, limit=PAGE, before=before))

    async def search(self, principal: Principal, query: str) -> list[SearchHit]:
        """Return the conversations that hold the query's words, titles first."""
        memory = self._memory_of(principal)
        return await _told(memory.search(principal.id, query[:QUERY_CHARS]))

    async def rename(self, principal: Principal, conversation: str, title: str) -> str:
        """Give a conversation another title; return it as it is stored."""
        memory = self._memory_of(principal)
        try:
            await memory.rename(principal.id, conversation, title)
        except InvalidTextError:
            raise InvalidMessageError("Please write a title of letters first.") from None
        except StoreError as error:
            raise refusal_for(error) from error
        return (await _told(memory.conversation(principal.id, conversation))).title

    async def delete(self, principal: Principal, conversation: str) -> None:
        """Put a conversation out of sight; a running answer in it is stopped first."""
        memory = self._memory_of(principal)
        # First of all: a foreign id must stop nothing.
        await _told(memory.conversation(principal.id, conversation))
        await self._leave(principal, conversation)
        await _told(memory.delete(principal.id, conversation))

    async def restore(self, principal: Principal, conversation: str) -> None:
        """Take a deletion back."""
        memory = self._memory_of(principal)
        await _told(memory.restore(principal.id, conversation))

    async def rate(
        self, principal: Principal, conversation: str, seq: int, feedback: Feedback | None
    ) -> None:
        """Keep what the owner thinks of an answer."""
        memory = self._memory_of(principal)
        await _told(memory.rate(principal.id, conversation, seq, feedback))

    async def usage(self, principal: Principal, conversation: str) -> UsageSummary:
        """Return what a conversation's last answer, the conversation and today's answers took.

        A conversation that is another's, or not there, took nothing.
        """
        memory = self._memory_of(principal)
        newest: list[StoredMessage] = []
        with contextlib.suppress(NotFoundError):
            newest = await _told(memory.messages(principal.id, conversation, limit=2))
        answers = [message for message in newest if message.role == "assistant"]
        answer = Usage(0, None)
        if answers:
            answer = Usage(answers[-1].tokens_used or 0, answers[-1].cost_micros)
        midnight = self._clock().astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        return UsageSummary(
            answer,
            await _told(memory.cost(principal.id, conversation)),
            await _told(memory.usage_since(principal.id, midnight)),
        )

    async def left(self, principal: Principal, conversation: str) -> None:
        """Mark a conversation as inactive when no page of its owner shows it any more."""
        shown = {session.conversation_id for session in self._registry.of(principal)}
        if conversation not in shown and principal.is_kept:
            await _told(self._memory_of(principal).mark_inactive(principal.id, conversation))

    async def forget(self, principal: Principal) -> int:
        """Delete everything of a principal for good; return how many conversations that was."""
        await self._leave(principal, None)
        await self._files.forget(principal)
        return await _told(self._memory_of(principal).forget(principal.id))

    async def conversation(self, principal: Principal, conversation: str) -> Conversation:
        """Return a conversation without its messages."""
        memory = self._memory_of(principal)
        return await _told(memory.conversation(principal.id, conversation))

    async def messages(
        self, principal: Principal, conversation: str
    ) -> AsyncGenerator[list[StoredMessage]]:
        """Yield all messages of a conversation, oldest first, in pages that memory holds easily."""
        memory, after = self._memory_of(principal), 0
        while True:
            page = await _told(
                memory.messages_after(
                    principal.id, conversation, after_seq=after, limit=MESSAGES_AT_ONCE
                )
            )
            if not page:
                return
            after = page[-1].seq
            yield page

    async def conversations(self, principal: Principal) -> AsyncGenerator[Conversation]:
        """Yield all conversations of a principal, newest first."""
        before: tuple[datetime, str] | None = None
        while page := await self.page(principal, before):
            for item in page:
                yield item
            before = page[-1].position

    async def _leave(self, principal: Principal, conversation: str | None) -> None:
        """Stop the answers being written in what goes, and let its pages begin anew."""
        leaving = list(self._in(principal, conversation))
        for session in leaving:
            session.conversation_id = session.view = session.transcript = None
            if session.turn is not None:
                session.turn.stop()
        turns = [session.turn.ended() for session in leaving if session.turn is not None]
        await asyncio.gather(*turns)

    def _in(self, principal: Principal, conversation: str | None) -> Iterator[LiveSession]:
        for session in self._registry.of(principal):
            if conversation is None or session.conversation_id == conversation:
                yield session


async def _told(work: Awaitable[T]) -> T:
    try:
        return await work
    except StoreError as error:
        raise refusal_for(error) from error
