"""The store as the rest of the program sees it: every method takes the owner first."""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import sqlalchemy as sa

from memory import history, reading, summaries, turns
from memory.database import Database
from memory.errors import InvalidText
from memory.records import (
    Conversation,
    Feedback,
    Found,
    MessageStatus,
    Said,
    StoredMessage,
    ToolRecord,
    TurnTicket,
    utcnow,
)
from memory.text import check_id, check_owner, check_texts, is_id, pack_tools, title_of

MOST_ROWS = 500
CLAIM = timedelta(minutes=2)  # longer than a summary may take


class ConversationMemoryManager:
    """Conversations, messages and turns of many owners in one database.

    What is another owner's and what does not exist are the same to every method: the same
    ConversationNotFound, False or nothing. Each method may raise DatabaseUnavailable, those that
    write DatabaseFull, and ValueError for an owner that is nobody. A method that was cancelled
    either has changed nothing or, when a turn had begun, leaves that turn interrupted.

    A turn holds its conversation for `lease_seconds` after its beginning and after each
    checkpoint. The clocks of processes that share a database must agree to well within that.
    """

    def __init__(
        self,
        database: Database,
        *,
        lease_seconds: float = 30.0,
        clock: Callable[[], datetime] = utcnow,
    ) -> None:
        self._database = database
        self._lease = timedelta(seconds=lease_seconds)
        self._clock = clock
        self._holder = secrets.token_hex(8)

    async def begin_turn(
        self,
        owner: str,
        session_id: str,
        text: str,
        *,
        key: str,
        create: bool,
        agent_id: str = "assistant",
        channel: str = "web",
        model: str | None = None,
        website_domain: str | None = None,
        ip_address: str | None = None,
        budget: int | None = None,
    ) -> TurnTicket:
        """Commit a user's message and the right to answer it, before any model is asked.

        `key` names the request: the same key in the same conversation gives the first one's
        ticket again, with `fresh=False`. `create` makes a conversation that is not there; the
        other arguments describe it and are ignored when it is. With a `budget` in tokens the ticket
        brings the `window` that fits into it. Raises ConversationNotFound, ConversationBusy while
        another turn holds the conversation, and InvalidText.
        """
        check_texts(
            text=text,
            key=key,
            agent_id=agent_id,
            channel=channel,
            model=model,
            website_domain=website_domain,
            ip_address=ip_address,
        )
        new = self._beginning(owner, session_id, key, model)
        origin = turns.Origin(agent_id, channel, website_domain, ip_address) if create else None
        return await self._begin(
            new, partial(turns.begin, new=new, text=text, origin=origin), budget
        )

    async def begin_retry(
        self,
        owner: str,
        session_id: str,
        *,
        key: str,
        text: str | None = None,
        seen: int | None = None,
        budget: int | None = None,
    ) -> TurnTicket:
        """Begin a turn that answers the last user message anew, or `text` in its place.

        What it replaces is kept in the table and no longer shown. Raises as `begin_turn`;
        ConversationNotFound also when there is nothing to answer, and ConversationMoved when the
        last question is not the one with the `seq` that the caller has `seen`.
        """
        check_texts(text=text, key=key)
        new = self._beginning(owner, session_id, key, None)
        work = partial(turns.begin_again, new=new, text=text, seen=seen)
        return await self._begin(new, work, budget)

    async def window(
        self, owner: str, session_id: str, *, budget: int, before_seq: int
    ) -> list[Said]:
        """What the model sees, oldest first: the newest messages that fit into `budget` tokens.

        Only messages below `before_seq` count, which is a ticket's `answer_seq`; `memory.window`
        says how they are chosen. Raises ConversationNotFound.
        """
        check_owner(owner)
        check_id(session_id)
        return await self._database.read(
            lambda connection: reading.window(connection, owner, session_id, budget, before_seq)
        )

    async def checkpoint(
        self, owner: str, turn_id: str, *, content: str, tool_calls: Sequence[ToolRecord]
    ) -> bool:
        """Keep what has come of an answer so far, and renew the lease.

        False when the turn is not running any more: its lease was lost, and the caller must stop.
        Raises InvalidText.
        """
        check_owner(owner)
        answer = self._written(content, tool_calls)
        lease_expires_at = self._clock() + self._lease
        if not is_id(turn_id):
            return False
        return await self._database.write(
            lambda connection: turns.checkpoint(
                connection, owner, turn_id, lease_expires_at=lease_expires_at, answer=answer
            )
        )

    async def finish_turn(
        self,
        owner: str,
        turn_id: str,
        *,
        status: MessageStatus,
        content: str,
        tool_calls: Sequence[ToolRecord],
        tokens_used: int | None,
        latency_ms: int | None,
        model_used: str | None,
        error_id: str | None,
    ) -> bool:
        """Commit an answer as it is now and release the conversation.

        False, and nothing written, when the turn is not running any more. Raises InvalidText.
        """
        check_owner(owner)
        check_texts(model_used=model_used, error_id=error_id)
        answer = self._written(content, tool_calls) | {
            "tokens_used": tokens_used,
            "latency_ms": latency_ms,
            "model_used": model_used,
        }
        if not is_id(turn_id):
            return False
        end = turns.End(self._clock(), status, error_id)
        return await self._database.write(
            lambda connection: turns.finish(connection, owner, turn_id, end, answer)
        )

    async def conversation(self, owner: str, session_id: str) -> Conversation:
        """One conversation without its messages. Raises ConversationNotFound."""
        check_owner(owner)
        check_id(session_id)
        return await self._database.read(
            lambda connection: reading.conversation(connection, owner, session_id)
        )

    async def messages(
        self, owner: str, session_id: str, *, limit: int = 40, before_seq: int | None = None
    ) -> list[StoredMessage]:
        """The newest messages, or the newest below `before_seq`, oldest first.

        At least one and at most 500, whatever `limit` says. Raises ConversationNotFound.
        """
        check_owner(owner)
        check_id(session_id)
        newest_first = await self._database.read(
            lambda connection: reading.messages(
                connection, owner, session_id, _rows(limit), before_seq
            )
        )
        return newest_first[::-1]

    async def conversations(
        self, owner: str, *, limit: int = 50, before: tuple[datetime, str] | None = None
    ) -> list[Conversation]:
        """The owner's conversations, newest activity first; empty for an owner without any.

        At least one and at most 500, whatever `limit` says. `before` is the `position` of the
        last one of the page before.
        """
        check_owner(owner)
        if before is not None and not is_id(before[1]):
            return []
        return await self._database.read(
            lambda connection: reading.conversations(connection, owner, _rows(limit), before)
        )

    async def forget(self, owner: str) -> int:
        """Delete every row of this owner, running turns too; return how many conversations went.

        Repeating it is harmless and returns 0.
        """
        check_owner(owner)
        return await self._database.write(lambda connection: turns.forget(connection, owner))

    async def rename(self, owner: str, session_id: str, title: str) -> None:
        """Give a conversation another title, cut like the first one.

        Raises ConversationNotFound, and InvalidText for an empty title.
        """
        check_texts(title=title)
        if not (shown := title_of(title)):
            raise InvalidText("title")
        await self._change(owner, session_id, partial(history.rename, title=shown))

    async def delete(self, owner: str, session_id: str) -> None:
        """Put a conversation out of sight, to be gone for good a while later.

        Nothing finds, shows or continues it, but `restore` brings it back. Raises
        ConversationNotFound.
        """
        await self._change(owner, session_id, partial(history.delete, at=self._clock()))

    async def restore(self, owner: str, session_id: str) -> None:
        """Take a deletion back. Raises ConversationNotFound when there is none."""
        await self._change(owner, session_id, history.restore)

    async def rate(self, owner: str, session_id: str, seq: int, feedback: Feedback | None) -> None:
        """Keep what the owner thinks of an answer. Raises ConversationNotFound."""
        await self._change(owner, session_id, partial(history.rate, seq=seq, feedback=feedback))

    async def end(self, owner: str, session_id: str) -> bool:
        """Mark a conversation as inactive until its next turn; whether it was active."""
        check_owner(owner)
        if not is_id(session_id):
            return False
        at = self._clock()
        return await self._database.write(
            lambda connection: history.end(connection, owner, session_id, at)
        )

    async def search(self, owner: str, query: str, *, limit: int = 20) -> list[Found]:
        """Conversations whose title or messages hold the words of `query`; titles first.

        A word also finds longer ones that begin with it. Raises InvalidText.
        """
        check_owner(owner)
        check_texts(query=query)
        return await self._database.read(
            lambda connection: history.search(connection, owner, query, _rows(limit))
        )

    async def take_over(self, owner: str, from_owner: str) -> int:
        """Make all conversations of `from_owner` those of `owner`; return how many.

        Repeating it is harmless: there is nothing left to take.
        """
        check_owner(owner)
        check_owner(from_owner)
        return await self._database.write(
            lambda connection: history.take_over(connection, owner, from_owner)
        )

    async def answer(self, owner: str, turn_id: str) -> StoredMessage:
        """The answer that belongs to a turn, as far as it is stored.

        Raises ConversationNotFound when there is no such turn.
        """
        check_owner(owner)
        check_id(turn_id)
        return await self._database.read(
            lambda connection: reading.answer(connection, owner, turn_id)
        )

    async def claim_older(
        self, owner: str, session_id: str, *, before_seq: int, least: int
    ) -> summaries.Part | None:
        """Take the part below `before_seq` that no summary covers yet, to summarise it.

        None where it has fewer than `least` tokens or another process has taken it; a claim
        that was not stored ends by itself after two minutes.
        """
        check_owner(owner)
        check_id(session_id)
        at = self._clock()
        return await self._database.write(
            lambda connection: summaries.claim(
                connection,
                owner,
                session_id,
                before_seq=before_seq,
                least=least,
                at=at,
                until=at + CLAIM,
            ),
            undo=lambda part: (
                lambda connection: (
                    part is not None and summaries.release(connection, owner, session_id)
                )
            ),
        )

    async def store_summary(
        self, owner: str, session_id: str, part: summaries.Part, summary: str | None
    ) -> bool:
        """Keep the summary of a claimed part, or with None give the claim back.

        False when nothing was kept. Raises InvalidText.
        """
        check_owner(owner)
        check_texts(summary=summary)
        if summary is None:
            await self._database.write(
                lambda connection: summaries.release(connection, owner, session_id)
            )
            return False
        return await self._database.write(
            lambda connection: summaries.store(connection, owner, session_id, part, summary)
        )

    async def _change(
        self, owner: str, session_id: str, work: Callable[[sa.Connection, str, str], None]
    ) -> None:
        check_owner(owner)
        check_id(session_id)
        await self._database.write(lambda connection: work(connection, owner, session_id))

    def _beginning(
        self, owner: str, session_id: str, key: str, model: str | None
    ) -> turns.Beginning:
        check_owner(owner)
        check_id(session_id)
        now = self._clock()
        return turns.Beginning(owner, session_id, key, self._holder, now, now + self._lease, model)

    async def _begin(
        self,
        new: turns.Beginning,
        work: Callable[[sa.Connection], TurnTicket],
        budget: int | None,
    ) -> TurnTicket:
        def begun(connection: sa.Connection) -> TurnTicket:
            ticket = work(connection)
            if budget is None:
                return ticket
            seen = reading.window(connection, new.owner, new.session_id, budget, ticket.answer_seq)
            summary, summarised = None, 0
            if seen and seen[0].seq > 1:
                own = {"of_owner": new.owner, "of_session": new.session_id}
                summary, summarised = connection.execute(summaries.SUMMARY, own).one()
            return replace(ticket, window=tuple(seen), summary=summary, summarised=summarised)

        def undo(ticket: TurnTicket) -> Callable[[sa.Connection], bool]:
            end = turns.End(self._clock(), "interrupted", None)
            return lambda connection: turns.finish(connection, new.owner, ticket.turn_id, end, {})

        try:
            return await self._database.write(begun, undo=undo)
        except turns.TurnKnown as known:
            if known.stale:
                await self._database.write(partial(turns.interrupt_stale, new=new))
            return known.ticket

    @staticmethod
    def _written(content: str, tool_calls: Sequence[ToolRecord]) -> dict[str, Any]:
        check_texts(content=content)
        return {"content": content, "tool_calls": pack_tools(tool_calls)}


def _rows(limit: int) -> int:
    return min(max(limit, 1), MOST_ROWS)
