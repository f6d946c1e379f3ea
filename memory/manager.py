"""The store as the rest of the program sees it: every method takes the owner first."""

import contextlib
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import sqlalchemy as sa

from memory.conversations import editing, reading, summaries, tenants, transfer, turns, usage
from memory.conversations import files as stored_files
from memory.conversations.transfer import Holdings
from memory.engine.database import Database
from memory.engine.scopes import EVERYONE
from memory.errors import InvalidTextError, StoreError, UnknownFileError
from memory.records import (
    ContextMessage,
    ContextState,
    Conversation,
    Feedback,
    MessageStatus,
    SearchHit,
    StoredFile,
    StoredMessage,
    ToolRecord,
    TurnTicket,
    Usage,
    utcnow,
)
from memory.validation import check_id, check_owner, check_texts, is_id, pack_tools, title_of

MAX_ROWS = 500
ERASE_SECONDS = 1.0  # that whoever deletes everything waits for it at most
CLAIM = timedelta(minutes=2)  # longer than a summary may take


class ConversationMemoryManager:
    """Conversations, messages and turns of many owners in one database.

    What is another owner's and what does not exist are the same to every method: the same
    ConversationNotFoundError, False or nothing. Each method may raise DatabaseUnavailableError, those that
    write DatabaseFullError, and ValueError for an owner that is nobody. A method that was cancelled
    either has changed nothing or, when a turn had begun, leaves that turn interrupted.

    A turn holds its conversation for `lease_seconds` after its beginning and after each
    checkpoint. The clocks of processes that share a database must agree to well within that.
    """

    def __init__(
        self,
        database: Database,
        *,
        lease_seconds: float = 10.0,
        clock: Callable[[], datetime] = utcnow,
    ) -> None:
        self._database = database
        self._lease = timedelta(seconds=lease_seconds)
        self._clock = clock
        self._holder = secrets.token_hex(8)

    async def begin_turn(
        self,
        owner: str,
        conversation_id: str,
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
        known: ContextState | None = None,
        files: Sequence[str] = (),
        context: dict[str, Any] | None = None,
        tenant_id: str | None = None,
        external_id: str | None = None,
    ) -> TurnTicket:
        """Commit a user's message and the right to answer it, before any model is asked.

        `key` names the request: the same key in the same conversation gives the first one's
        ticket again, with `fresh=False`. `create` makes a conversation that is not there; the
        other arguments describe it and are ignored when it is. With a `budget` in tokens the ticket
        brings the `window` that fits into it, or only what is new in it to a caller who has said
        what it has `known` so far; see `TurnTicket.follows`. The message gets `files`, at most 10
        of the owner's own that no message has. Raises ConversationNotFoundError, ConversationBusyError while
        another turn holds the conversation, UnknownFileError and InvalidTextError.
        """
        check_texts(
            text=text,
            key=key,
            agent_id=agent_id,
            channel=channel,
            model=model,
            website_domain=website_domain,
            ip_address=ip_address,
            tenant_id=tenant_id,
            external_id=external_id,
        )
        new = self._beginning(owner, conversation_id, key, model)
        described = turns.ConversationOrigin(
            agent_id, channel, website_domain, ip_address, context, tenant_id, external_id
        )
        origin = described if create else None
        attached = tuple(dict.fromkeys(files))
        if len(attached) > stored_files.MAX_FILES or not all(map(is_id, attached)):
            raise UnknownFileError
        work = partial(turns.begin, new=new, text=text, origin=origin, attached=attached)
        return await self._begin(new, work, budget, asked=text, known=known)

    async def begin_retry(
        self,
        owner: str,
        conversation_id: str,
        *,
        key: str,
        text: str | None = None,
        seen: int | None = None,
        budget: int | None = None,
    ) -> TurnTicket:
        """Begin a turn that answers the last user message anew, or `text` in its place.

        What it replaces is kept in the table and no longer shown. Raises as `begin_turn`;
        ConversationNotFoundError also when there is nothing to answer, and ConversationMovedError when the
        last question is not the one with the `seq` that the caller has `seen`.
        """
        check_texts(text=text, key=key)
        new = self._beginning(owner, conversation_id, key, None)
        work = partial(turns.begin_again, new=new, text=text, seen=seen)
        return await self._begin(new, work, budget)

    async def window(
        self, owner: str, conversation_id: str, *, budget: int, before_seq: int
    ) -> list[ContextMessage]:
        """What the model sees, oldest first: the newest messages that fit into `budget` tokens.

        Only messages below `before_seq` count, which is a ticket's `answer_seq`; `memory.conversations.context_window`
        says how they are chosen. Raises ConversationNotFoundError.
        """
        check_owner(owner)
        check_id(conversation_id)
        return await self._database.read(
            lambda connection: reading.window(
                connection, owner, conversation_id, budget, before_seq
            ),
            owner=owner,
        )

    async def checkpoint(
        self, owner: str, turn_id: str, *, content: str, tool_calls: Sequence[ToolRecord]
    ) -> bool:
        """Keep what has come of an answer so far, and renew the lease.

        False when the turn is not running any more: its lease was lost, and the caller must stop.
        Raises InvalidTextError.
        """
        check_owner(owner)
        answer = self._written(content, tool_calls)
        lease_expires_at = self._clock() + self._lease
        if not is_id(turn_id):
            return False
        return await self._database.write(
            lambda connection: turns.checkpoint(
                connection, owner, turn_id, lease_expires_at=lease_expires_at, answer=answer
            ),
            is_brief=True,
            owner=owner,
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
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        cost_micros: int | None = None,
        tokens_estimated: bool = False,
    ) -> bool:
        """Commit an answer as it is now and release the conversation.

        `cost_micros` are millionths of a dollar. False, and nothing written, when the turn is
        not running any more. Raises InvalidTextError.
        """
        check_owner(owner)
        check_texts(model_used=model_used, error_id=error_id)
        answer = self._written(content, tool_calls) | {
            "tokens_used": tokens_used,
            "latency_ms": latency_ms,
            "model_used": model_used,
            "input_tokens": input_tokens,
            "output_tokens": output_tokens,
            "cost_micros": cost_micros,
            "tokens_estimated": tokens_estimated,
        }
        if not is_id(turn_id):
            return False
        end = turns.TurnEnd(self._clock(), status, error_id)
        return await self._database.write(
            lambda connection: turns.finish(connection, owner, turn_id, end, answer),
            is_brief=True,
            owner=owner,
        )

    async def conversation(self, owner: str, conversation_id: str) -> Conversation:
        """One conversation without its messages. Raises ConversationNotFoundError."""
        check_owner(owner)
        check_id(conversation_id)
        return await self._database.read(
            lambda connection: reading.conversation(connection, owner, conversation_id), owner=owner
        )

    async def messages(
        self, owner: str, conversation_id: str, *, limit: int = 40, before_seq: int | None = None
    ) -> list[StoredMessage]:
        """The newest messages, or the newest below `before_seq`, oldest first.

        At least one and at most 500, whatever `limit` says. Raises ConversationNotFoundError.
        """
        check_owner(owner)
        check_id(conversation_id)
        newest_first = await self._database.read(
            lambda connection: reading.messages(
                connection, owner, conversation_id, _rows(limit), before_seq
            ),
            owner=owner,
        )
        return newest_first[::-1]

    async def messages_after(
        self, owner: str, conversation_id: str, *, after_seq: int, limit: int = 40
    ) -> list[StoredMessage]:
        """The oldest messages above `after_seq`, oldest first; none at the end.

        At least one and at most 500, whatever `limit` says. Raises ConversationNotFoundError.
        """
        check_owner(owner)
        check_id(conversation_id)
        return await self._database.read(
            lambda connection: reading.messages_after(
                connection, owner, conversation_id, _rows(limit), after_seq
            ),
            owner=owner,
        )

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
            lambda connection: reading.conversations(connection, owner, _rows(limit), before),
            owner=owner,
        )

    async def clients(
        self,
        owner: str,
        agent_id: str,
        *,
        limit: int = 50,
        before: tuple[datetime, str] | None = None,
    ) -> list[Conversation]:
        """The conversations of those who came to an agent through `owner`, newest activity first.

        Here `owner` is the tenant that `begin_turn` was told; the conversations are others'.
        `limit` and `before` are as for `conversations`.
        """
        check_owner(owner)
        if not is_id(agent_id) or (before is not None and not is_id(before[1])):
            return []
        return await self._database.read(
            lambda connection: list(
                tenants.conversations(connection, owner, agent_id, _rows(limit), before)
            ),
            owner=owner,
        )

    async def forget(self, owner: str) -> int:
        """Delete every row of this owner, running turns too; return how many conversations went.

        Repeating it is harmless and returns 0. The database's files are rid of its text at once
        where that takes no longer than a moment, and by the next `Retention.clean` otherwise.
        """
        check_owner(owner)
        gone = await self._database.write(
            lambda connection: turns.forget(connection, owner), owner=owner
        )
        with contextlib.suppress(StoreError):  # the rows are gone all the same
            await self._database.erase(ERASE_SECONDS)
        return gone

    async def rename(self, owner: str, conversation_id: str, title: str) -> None:
        """Give a conversation another title, cut like the first one.

        Raises ConversationNotFoundError, and InvalidTextError for an empty title.
        """
        check_texts(title=title)
        if not (shown := title_of(title)):
            raise InvalidTextError("title")
        await self._change(owner, conversation_id, partial(editing.rename, title=shown))

    async def delete(self, owner: str, conversation_id: str) -> None:
        """Put a conversation out of sight, to be gone for good a while later.

        Nothing finds, shows or continues it, but `restore` brings it back. Raises
        ConversationNotFoundError.
        """
        await self._change(owner, conversation_id, partial(editing.delete, at=self._clock()))

    async def restore(self, owner: str, conversation_id: str) -> None:
        """Take a deletion back. Raises ConversationNotFoundError when there is none."""
        await self._change(owner, conversation_id, editing.restore)

    async def rate(
        self, owner: str, conversation_id: str, seq: int, feedback: Feedback | None
    ) -> None:
        """Keep what the owner thinks of an answer. Raises ConversationNotFoundError."""
        await self._change(
            owner, conversation_id, partial(editing.rate, seq=seq, feedback=feedback)
        )

    async def update_context(
        self, owner: str, conversation_id: str, changes: Mapping[str, Any]
    ) -> None:
        """Merge `changes` into a conversation's context, JSON values by name.

        Raises ConversationNotFoundError, and InvalidTextError for what is not storable.
        """
        check_texts(context=json.dumps(dict(changes), ensure_ascii=False))
        await self._change(owner, conversation_id, partial(editing.update_context, changes=changes))

    async def end(self, owner: str, conversation_id: str) -> bool:
        """Mark a conversation as inactive until its next turn; whether it was active."""
        check_owner(owner)
        if not is_id(conversation_id):
            return False
        at = self._clock()
        return await self._database.write(
            lambda connection: editing.end(connection, owner, conversation_id, at),
            is_brief=True,
            owner=owner,
        )

    async def conclude(self, owner: str, conversation_id: str) -> None:
        """Mark a conversation as ended by its owner: what comes next begins another.

        Raises ConversationNotFoundError.
        """
        await self._change(owner, conversation_id, partial(editing.conclude, at=self._clock()))

    async def search(self, owner: str, query: str, *, limit: int = 20) -> list[SearchHit]:
        """Conversations whose title or messages hold the words of `query`; titles first.

        A word also finds longer ones that begin with it. Raises InvalidTextError.
        """
        check_owner(owner)
        check_texts(query=query)
        return await self._database.read(
            lambda connection: editing.search(connection, owner, query, _rows(limit)), owner=owner
        )

    async def holdings(self, owner: str) -> Holdings:
        """What an owner has that a sign-in can transfer to another (`Logins.begin`)."""
        check_owner(owner)
        return await self._database.read(
            lambda connection: transfer.holdings(connection, owner), owner=owner
        )

    async def answer(self, owner: str, turn_id: str) -> StoredMessage:
        """The answer that belongs to a turn, as far as it is stored.

        Raises ConversationNotFoundError when there is no such turn.
        """
        check_owner(owner)
        check_id(turn_id)
        return await self._database.read(
            lambda connection: reading.answer(connection, owner, turn_id), owner=owner
        )

    async def cost(self, owner: str, conversation_id: str) -> Usage:
        """What the answers of a conversation used; nothing for one that is not there."""
        check_owner(owner)
        if not is_id(conversation_id):
            return Usage(0, None)
        return await self._database.read(
            lambda connection: usage.of_conversation(connection, owner, conversation_id),
            owner=owner,
        )

    async def usage_since(self, owner: str, since: datetime) -> Usage:
        """What the owner's answers used from a moment on, in all conversations still stored."""
        check_owner(owner)
        return await self._database.read(
            lambda connection: usage.since(connection, owner, since), owner=owner
        )

    async def add_file(
        self,
        owner: str,
        file: StoredFile,
        *,
        bound_of: stored_files.FileBound,
        network: str | None = None,
    ) -> None:
        """Keep what is known of an uploaded file, which belongs to no message yet.

        `network` names where it came from, where that counts. Raises QuotaExceededError when
        `bound_of` says that the file is too much, however many come at once, and InvalidTextError.
        """
        check_owner(owner)
        check_texts(
            file_id=file.file_id,
            name=file.name,
            media_type=file.media_type,
            text=file.text,
            network=network,
        )
        await self._database.write(
            lambda connection: stored_files.add(connection, owner, file, network, bound_of),
            undo=lambda _: lambda connection: stored_files.remove(connection, owner, file.file_id),
            owner=EVERYONE,  # the files of a network and of all are counted too
        )

    async def file(self, owner: str, file_id: str) -> StoredFile:
        """One file. Raises UnknownFileError, also where its conversation was deleted."""
        check_owner(owner)
        if not is_id(file_id):
            raise UnknownFileError
        return await self._database.read(
            lambda connection: stored_files.file(connection, owner, file_id), owner=owner
        )

    async def files_of(
        self, owner: str, conversation_id: str, seqs: Sequence[int] | None = None
    ) -> list[StoredFile]:
        """The files of a conversation's messages, or of those at `seqs`, oldest first.

        The newest 200; nothing for a conversation that is not there.
        """
        check_owner(owner)
        if not is_id(conversation_id):
            return []
        return await self._database.read(
            lambda connection: stored_files.of_conversation(
                connection, owner, conversation_id, seqs
            ),
            owner=owner,
        )

    async def remove_file(self, owner: str, file_id: str) -> None:
        """Forget a file that belongs to no message. Raises UnknownFileError."""
        check_owner(owner)
        if not is_id(file_id):
            raise UnknownFileError
        await self._database.write(
            lambda connection: stored_files.remove(connection, owner, file_id), owner=owner
        )

    async def used_bytes(self, owner: str, network: str | None = None) -> stored_files.UsedBytes:
        """How much the files of an owner take, those from a network, and all."""
        check_owner(owner)
        return await self._database.read(
            lambda connection: stored_files.used_bytes(connection, owner, network), owner=EVERYONE
        )

    async def forget_files(self, owner: str) -> list[str]:
        """Delete what is known of all files of an owner; return their ids."""
        check_owner(owner)
        return await self._database.write(
            lambda connection: stored_files.forget(connection, owner), owner=owner
        )

    async def claim_older(
        self, owner: str, conversation_id: str, *, before_seq: int, least: int
    ) -> summaries.SummaryPart | None:
        """Take the part below `before_seq` that no summary covers yet, to summarise it.

        None where it has fewer than `least` tokens or another process has taken it; a claim
        that was not stored ends by itself after two minutes.
        """
        check_owner(owner)
        check_id(conversation_id)
        at = self._clock()
        return await self._database.write(
            lambda connection: summaries.claim(
                connection,
                owner,
                conversation_id,
                before_seq=before_seq,
                least=least,
                at=at,
                until=at + CLAIM,
            ),
            undo=lambda part: (
                lambda connection: (
                    part is not None and summaries.release(connection, owner, conversation_id)
                )
            ),
            owner=owner,
        )

    async def store_summary(
        self, owner: str, conversation_id: str, part: summaries.SummaryPart, summary: str | None
    ) -> bool:
        """Keep the summary of a claimed part, or with None give the claim back.

        False when nothing was kept. Raises InvalidTextError.
        """
        check_owner(owner)
        check_texts(summary=summary)
        if summary is None:
            await self._database.write(
                lambda connection: summaries.release(connection, owner, conversation_id),
                owner=owner,
            )
            return False
        return await self._database.write(
            lambda connection: summaries.store(connection, owner, conversation_id, part, summary),
            owner=owner,
        )

    async def _change(
        self, owner: str, conversation_id: str, work: Callable[[sa.Connection, str, str], None]
    ) -> None:
        check_owner(owner)
        check_id(conversation_id)
        await self._database.write(
            lambda connection: work(connection, owner, conversation_id), owner=owner
        )

    def _beginning(
        self, owner: str, conversation_id: str, key: str, model: str | None
    ) -> turns.NewTurn:
        check_owner(owner)
        check_id(conversation_id)
        now = self._clock()
        return turns.NewTurn(
            owner, conversation_id, key, self._holder, now, now + self._lease, model
        )

    async def _begin(
        self,
        new: turns.NewTurn,
        work: Callable[[sa.Connection], TurnTicket],
        budget: int | None,
        *,
        asked: str = "",
        known: ContextState | None = None,
    ) -> TurnTicket:
        def begun(connection: sa.Connection) -> TurnTicket:
            ticket = work(connection)
            if budget is None:
                return ticket
            # Whatever went on meanwhile took a place of its own.
            goes_on = known is not None and known.born == ticket.born
            if known is not None and goes_on and ticket.user_seq == known.seq + 1:
                return self._following(connection, new, ticket, asked, known)
            if asked and ticket.user_seq == 1:
                return replace(ticket, window=(ContextMessage(1, "user", asked),))
            seen = reading.window(
                connection, new.owner, new.conversation_id, budget, ticket.answer_seq
            )
            summary, summarised = None, 0
            if seen and seen[0].seq > 1:
                own = {"owner_id_": new.owner, "conversation_id_": new.conversation_id}
                summary, summarised = connection.execute(summaries.SUMMARY, own).one()
            return replace(ticket, window=tuple(seen), summary=summary, summarised=summarised)

        def undo(ticket: TurnTicket) -> Callable[[sa.Connection], bool]:
            end = turns.TurnEnd(self._clock(), "interrupted", None)
            return lambda connection: turns.finish(connection, new.owner, ticket.turn_id, end, {})

        try:
            return await self._database.write(begun, undo=undo, is_brief=True, owner=new.owner)
        except turns.DuplicateRequestError as seen_before:
            if seen_before.stale:
                await self._database.write(partial(turns.interrupt_stale, new=new), owner=new.owner)
            return seen_before.ticket

    @staticmethod
    def _following(
        connection: sa.Connection,
        new: turns.NewTurn,
        ticket: TurnTicket,
        text: str,
        known: ContextState,
    ) -> TurnTicket:
        window = (ContextMessage(ticket.user_seq, "user", text),)
        summary = None
        if ticket.summarised != known.summarised:
            own = {"owner_id_": new.owner, "conversation_id_": new.conversation_id}
            summary, _ = connection.execute(summaries.SUMMARY, own).one()
        return replace(ticket, window=window, summary=summary, follows=True)

    @staticmethod
    def _written(content: str, tool_calls: Sequence[ToolRecord]) -> dict[str, Any]:
        check_texts(content=content)
        return {"content": content, "tool_calls": pack_tools(tool_calls)}


def _rows(limit: int) -> int:
    return min(max(limit, 1), MAX_ROWS)
