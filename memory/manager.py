"""Conversations of many owners in one database. Every method takes the owner first."""

import contextlib
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Concatenate, ParamSpec, TypeVar

import sqlalchemy as sa

from memory.conversations import (
    editing,
    reading,
    summaries,
    tenants,
    transfer,
    turn_context,
    turns,
    usage,
)
from memory.conversations import files as stored_files
from memory.conversations.transfer import Holdings
from memory.engine.database import Database
from memory.engine.scopes import EVERYONE
from memory.errors import InvalidTextError, StoreError, UnknownFileError
from memory.records import (
    ContextMessage,
    Conversation,
    ConversationOrigin,
    Feedback,
    MessageStatus,
    NewTurn,
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
ERASE_SECONDS = 1.0  # that `forget` waits at most for the erasure of what was deleted
SUMMARY_LEASE = timedelta(minutes=2)  # longer than a summary may take

P = ParamSpec("P")
T = TypeVar("T")
OwnerWork = Callable[Concatenate[sa.Connection, str, P], T]


class ConversationMemoryManager:
    """Stores and reads the conversations, messages, turns and files of each owner.

    What belongs to another owner and what does not exist give the same result in every method:
    ConversationNotFoundError, False or nothing. Each method may raise DatabaseUnavailableError,
    those that write DatabaseFullError, and ValueError for an empty owner. A method that was
    cancelled has changed nothing or, when a turn had begun, leaves that turn interrupted.

    Args:
        database: The database; its tables are migrated.
        lease_seconds: How long a turn holds its conversation after its beginning and after each
            checkpoint.
        clock: Returns the current time, with its zone. The clocks of processes that share a
            database must agree to well within the lease.
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

    # -- turns --------------------------------------------------------------------

    async def begin_turn(self, owner: str, new: NewTurn) -> TurnTicket:
        """Commit a user's message and the right to answer it, before any model is asked.

        The same key in the same conversation returns the first ticket again, with `fresh=False`.

        Raises:
            ConversationNotFoundError: There is no such conversation, and `new` has no origin.
            ConversationBusyError: Another turn holds the conversation.
            UnknownFileError: A file is not the owner's, belongs to a message, or is one too many.
            InvalidTextError: A text cannot be stored.
        """
        check_texts(text=new.text, key=new.key, model=new.model)
        if new.origin is not None:
            _check_origin(new.origin)
        lease = self._new_lease(owner, new.conversation_id, new.key)
        files = tuple(dict.fromkeys(new.files))
        if len(files) > stored_files.MAX_FILES or not all(map(is_id, files)):
            raise UnknownFileError

        def work(connection: sa.Connection) -> TurnTicket:
            ticket = turns.begin(connection, lease, new, files)
            if new.budget is None:
                return ticket
            return turn_context.with_context(
                connection, owner, ticket, new.budget, text=new.text, known=new.known
            )

        return await self._begin(lease, work)

    async def begin_retry(
        self,
        owner: str,
        conversation_id: str,
        *,
        key: str,
        text: str | None = None,
        expected_seq: int | None = None,
        budget: int | None = None,
    ) -> TurnTicket:
        """Begin a turn that answers the last user message again, or `text` in its place.

        The messages that it replaces stay in the table as superseded ones. Raises as
        `begin_turn`; ConversationNotFoundError also when there is no message to answer, and
        ConversationMovedError when the last user message is not at `expected_seq`.
        """
        check_texts(text=text, key=key)
        lease = self._new_lease(owner, conversation_id, key)

        def work(connection: sa.Connection) -> TurnTicket:
            ticket = turns.begin_again(connection, lease, text, expected_seq)
            if budget is None:
                return ticket
            return turn_context.with_context(connection, owner, ticket, budget)

        return await self._begin(lease, work)

    async def checkpoint(
        self, owner: str, turn_id: str, *, content: str, tool_calls: Sequence[ToolRecord]
    ) -> bool:
        """Store the part of an answer that exists so far, and renew the lease.

        Returns:
            False when the turn is no longer running: its lease was lost, and the caller must stop.

        Raises:
            InvalidTextError: A text cannot be stored.
        """
        check_owner(owner)
        answer = _answer_columns(content, tool_calls)
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

        `cost_micros` are millionths of a dollar.

        Returns:
            False when the turn is no longer running; nothing is written then.

        Raises:
            InvalidTextError: A text cannot be stored.
        """
        check_owner(owner)
        check_texts(model_used=model_used, error_id=error_id)
        answer = _answer_columns(content, tool_calls) | {
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

    async def answer(self, owner: str, turn_id: str) -> StoredMessage:
        """Return the answer of a turn, as far as it is stored.

        Raises ConversationNotFoundError when there is no such turn.
        """
        _check(owner, turn_id)
        return await self._read(owner, reading.answer, turn_id)

    # -- reading ------------------------------------------------------------------

    async def window(
        self, owner: str, conversation_id: str, *, budget: int, before_seq: int
    ) -> list[ContextMessage]:
        """Return the newest messages that fit into `budget` tokens, oldest first.

        Only messages below `before_seq` count, which is a ticket's `answer_seq`.
        `memory.conversations.context_window` says how they are chosen. Raises
        ConversationNotFoundError.
        """
        _check(owner, conversation_id)
        return await self._read(owner, reading.window, conversation_id, budget, before_seq)

    async def conversation(self, owner: str, conversation_id: str) -> Conversation:
        """Return one conversation without its messages. Raises ConversationNotFoundError."""
        _check(owner, conversation_id)
        return await self._read(owner, reading.conversation, conversation_id)

    async def messages(
        self, owner: str, conversation_id: str, *, limit: int = 40, before_seq: int | None = None
    ) -> list[StoredMessage]:
        """Return the newest messages, or the newest below `before_seq`, oldest first.

        `limit` is brought into 1 to 500. Raises ConversationNotFoundError.
        """
        _check(owner, conversation_id)
        newest_first = await self._read(
            owner, reading.messages, conversation_id, _row_limit(limit), before_seq
        )
        return newest_first[::-1]

    async def messages_after(
        self, owner: str, conversation_id: str, *, after_seq: int, limit: int = 40
    ) -> list[StoredMessage]:
        """Return the oldest messages above `after_seq`, oldest first; none at the end.

        `limit` is brought into 1 to 500. Raises ConversationNotFoundError.
        """
        _check(owner, conversation_id)
        return await self._read(
            owner, reading.messages_after, conversation_id, _row_limit(limit), after_seq
        )

    async def conversations(
        self, owner: str, *, limit: int = 50, before: tuple[datetime, str] | None = None
    ) -> list[Conversation]:
        """Return the owner's conversations, newest activity first.

        `limit` is brought into 1 to 500. `before` is the `position` of the last conversation of
        the previous page.
        """
        check_owner(owner)
        if before is not None and not is_id(before[1]):
            return []
        return await self._read(owner, reading.conversations, _row_limit(limit), before)

    async def clients(
        self,
        owner: str,
        agent_id: str,
        *,
        limit: int = 50,
        before: tuple[datetime, str] | None = None,
    ) -> list[Conversation]:
        """Return the conversations with an agent whose tenant is `owner`, newest activity first.

        The conversations have other owners; `ConversationOrigin.tenant_id` names the tenant.
        `limit` and `before` are as for `conversations`.
        """
        check_owner(owner)
        if not is_id(agent_id) or (before is not None and not is_id(before[1])):
            return []
        return await self._read(owner, tenants.conversations, agent_id, _row_limit(limit), before)

    async def search(self, owner: str, query: str, *, limit: int = 20) -> list[SearchHit]:
        """Return the conversations whose title or messages hold the words of `query`.

        Titles come first. A word also matches longer words that begin with it. Raises
        InvalidTextError.
        """
        check_texts(query=query)
        return await self._read(owner, editing.search, query, _row_limit(limit))

    async def holdings(self, owner: str) -> Holdings:
        """Return what a sign-in can transfer from this owner to another (`Logins.begin`)."""
        return await self._read(owner, transfer.holdings)

    async def cost(self, owner: str, conversation_id: str) -> Usage:
        """Return what the answers of a conversation used; nothing for an unknown one."""
        check_owner(owner)
        if not is_id(conversation_id):
            return Usage(0, None)
        return await self._read(owner, usage.of_conversation, conversation_id)

    async def usage_since(self, owner: str, since: datetime) -> Usage:
        """Return what the owner's answers used since then, in all conversations still stored."""
        return await self._read(owner, usage.since, since)

    # -- changing -----------------------------------------------------------------

    async def forget(self, owner: str) -> int:
        """Delete every row of this owner, running turns too; return how many conversations.

        A repetition returns 0. The deleted text is removed from the database's files at once
        where that takes no longer than a second, and by the next `Retention.clean` otherwise.
        """
        deleted = await self._write(owner, turns.forget)
        with contextlib.suppress(StoreError):  # the rows are deleted all the same
            await self._database.erase(ERASE_SECONDS)
        return deleted

    async def rename(self, owner: str, conversation_id: str, title: str) -> None:
        """Give a conversation another title, cut to the length of a title.

        Raises ConversationNotFoundError, and InvalidTextError for an empty title.
        """
        check_texts(title=title)
        if not (cut := title_of(title)):
            raise InvalidTextError("title")
        _check(owner, conversation_id)
        await self._write(owner, editing.rename, conversation_id, cut)

    async def delete(self, owner: str, conversation_id: str) -> None:
        """Hide a conversation until `Retention.clean` deletes it; `restore` brings it back.

        Raises ConversationNotFoundError.
        """
        _check(owner, conversation_id)
        await self._write(owner, editing.delete, conversation_id, self._clock())

    async def restore(self, owner: str, conversation_id: str) -> None:
        """Bring back a deleted conversation. Raises ConversationNotFoundError."""
        _check(owner, conversation_id)
        await self._write(owner, editing.restore, conversation_id)

    async def rate(
        self, owner: str, conversation_id: str, seq: int, feedback: Feedback | None
    ) -> None:
        """Store the owner's feedback on an answer. Raises ConversationNotFoundError."""
        _check(owner, conversation_id)
        await self._write(owner, editing.rate, conversation_id, seq, feedback)

    async def update_context(
        self, owner: str, conversation_id: str, changes: Mapping[str, Any]
    ) -> None:
        """Merge `changes`, JSON values by name, into a conversation's context.

        Raises ConversationNotFoundError, and InvalidTextError for what cannot be stored.
        """
        check_texts(context=json.dumps(dict(changes), ensure_ascii=False))
        _check(owner, conversation_id)
        await self._write(owner, editing.update_context, conversation_id, changes=changes)

    async def mark_inactive(self, owner: str, conversation_id: str) -> bool:
        """Mark a conversation as inactive until its next turn; return whether it was active."""
        check_owner(owner)
        if not is_id(conversation_id):
            return False
        at = self._clock()
        return await self._database.write(
            lambda connection: editing.mark_inactive(connection, owner, conversation_id, at),
            is_brief=True,
            owner=owner,
        )

    async def close_conversation(self, owner: str, conversation_id: str) -> None:
        """Mark a conversation as ended by its owner: their next message begins another.

        Raises ConversationNotFoundError.
        """
        _check(owner, conversation_id)
        await self._write(owner, editing.close, conversation_id, self._clock())

    # -- files --------------------------------------------------------------------

    async def add_file(
        self,
        owner: str,
        file: StoredFile,
        *,
        bound_of: stored_files.FileBound,
        network: str | None = None,
    ) -> None:
        """Store the record of an uploaded file, which belongs to no message yet.

        Args:
            owner: The owner.
            file: The record; the file's bytes are stored elsewhere.
            bound_of: Says whether the file would exceed a quota, also where many come at once.
            network: A digest of the uploader's network, where the network has a quota.

        Raises:
            QuotaExceededError: `bound_of` refuses the file.
            InvalidTextError: A text cannot be stored.
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
        """Return one file. Raises UnknownFileError, also where its conversation was deleted."""
        check_owner(owner)
        if not is_id(file_id):
            raise UnknownFileError
        return await self._read(owner, stored_files.file, file_id)

    async def files_of(
        self, owner: str, conversation_id: str, seqs: Sequence[int] | None = None
    ) -> list[StoredFile]:
        """Return the files of a conversation, or of its messages at `seqs`, oldest first.

        At most the newest 200; nothing for an unknown conversation.
        """
        check_owner(owner)
        if not is_id(conversation_id):
            return []
        return await self._read(owner, stored_files.of_conversation, conversation_id, seqs)

    async def remove_file(self, owner: str, file_id: str) -> None:
        """Delete the record of a file that belongs to no message. Raises UnknownFileError."""
        check_owner(owner)
        if not is_id(file_id):
            raise UnknownFileError
        await self._write(owner, stored_files.remove, file_id)

    async def used_bytes(self, owner: str, network: str | None = None) -> stored_files.UsedBytes:
        """Return how many bytes the files of an owner, of a network and of all take."""
        check_owner(owner)
        return await self._database.read(
            lambda connection: stored_files.used_bytes(connection, owner, network), owner=EVERYONE
        )

    async def forget_files(self, owner: str) -> list[str]:
        """Delete the records of all files of an owner; return their ids."""
        return await self._write(owner, stored_files.forget)

    # -- summaries ----------------------------------------------------------------

    async def claim_older(
        self, owner: str, conversation_id: str, *, before_seq: int, min_tokens: int
    ) -> summaries.SummaryPart | None:
        """Claim the messages below `before_seq` that no summary covers, to summarize them.

        A claim that leads to no summary ends by itself after two minutes.

        Returns:
            None where they have fewer than `min_tokens` or another process has the claim.
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
                min_tokens=min_tokens,
                at=at,
                until=at + SUMMARY_LEASE,
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
        """Store the summary of a claimed part, or release the claim when it is None.

        Returns:
            Whether the summary was stored.

        Raises:
            InvalidTextError: The summary cannot be stored.
        """
        check_texts(summary=summary)
        if summary is None:
            await self._write(owner, summaries.release, conversation_id)
            return False
        return await self._write(owner, summaries.store, conversation_id, part, summary)

    # -- helpers ------------------------------------------------------------------

    async def _read(
        self, owner: str, work: OwnerWork[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        check_owner(owner)
        return await self._database.read(
            lambda connection: work(connection, owner, *args, **kwargs), owner=owner
        )

    async def _write(
        self, owner: str, work: OwnerWork[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        check_owner(owner)
        return await self._database.write(
            lambda connection: work(connection, owner, *args, **kwargs), owner=owner
        )

    def _new_lease(self, owner: str, conversation_id: str, key: str) -> turns.TurnLease:
        check_owner(owner)
        check_id(conversation_id)
        now = self._clock()
        return turns.TurnLease(owner, conversation_id, key, self._holder, now, now + self._lease)

    async def _begin(
        self, lease: turns.TurnLease, work: Callable[[sa.Connection], TurnTicket]
    ) -> TurnTicket:
        def undo(ticket: TurnTicket) -> Callable[[sa.Connection], bool]:
            end = turns.TurnEnd(self._clock(), "interrupted", None)
            return lambda connection: turns.finish(connection, lease.owner, ticket.turn_id, end, {})

        try:
            return await self._database.write(work, undo=undo, is_brief=True, owner=lease.owner)
        except turns.DuplicateRequestError as duplicate:
            if duplicate.stale:
                await self._database.write(
                    partial(turns.interrupt_stale, lease=lease), owner=lease.owner
                )
            return duplicate.ticket


def _check(owner: str, identifier: str) -> None:
    check_owner(owner)
    check_id(identifier)


def _check_origin(origin: ConversationOrigin) -> None:
    check_texts(
        agent_id=origin.agent_id,
        channel=origin.channel,
        website_domain=origin.website_domain,
        ip_address=origin.ip_address,
        tenant_id=origin.tenant_id,
        external_id=origin.external_id,
    )


def _answer_columns(content: str, tool_calls: Sequence[ToolRecord]) -> dict[str, Any]:
    check_texts(content=content)
    return {"content": content, "tool_calls": pack_tools(tool_calls)}


def _row_limit(limit: int) -> int:
    return min(max(limit, 1), MAX_ROWS)
