"""Turns of owners: a message is stored before a model is asked, and its answer as it comes."""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import sqlalchemy as sa

from memory.conversations import files as stored_files
from memory.conversations import questions as question_rows
from memory.conversations import reading, turn_context, turns
from memory.conversations.owner_store import OwnerStore
from memory.engine.database import Database
from memory.errors import UnknownFileError
from memory.records import (
    AnswerDetails,
    ConversationOrigin,
    MessageStatus,
    NewTurn,
    RunningAnswer,
    StoredDecision,
    StoredMessage,
    StoredQuestion,
    ToolRecord,
    TurnSignals,
    TurnTicket,
    utcnow,
)
from memory.validation import (
    check_id,
    check_owner,
    check_seq,
    check_texts,
    check_values,
    is_id,
    pack_details,
    pack_tools,
)

WATCH_SECONDS = 15.0  # for which one reader elsewhere keeps a turn watched


class TurnStore(OwnerStore):
    """Begins, checkpoints and ends turns; one turn at a time has a conversation's lease.

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
        super().__init__(database, clock=clock)
        self._lease = timedelta(seconds=lease_seconds)
        self._holder = secrets.token_hex(8)

    async def begin_turn(self, owner: str, new: NewTurn) -> TurnTicket:
        """Commit a user's message and the right to answer it, before any model is question_rows.

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
        seq: int | None = None,
        expected_seq: int | None = None,
        budget: int | None = None,
    ) -> TurnTicket:
        """Begin a turn that answers a user message again, or `text` in its place.

        The answer, and with `text` the question too, is a further version beside the former one.
        The path that is shown then ends with the new answer; what followed stays stored.

        Args:
            owner: The owner.
            conversation_id: The conversation.
            key: The idempotency key, as of `NewTurn`.
            text: The edited message.
            seq: The message to be edited, or the answer or question to be answered again; the
                last question of the path without it.
            expected_seq: The last question that the caller knows of, where that is checked.
            budget: The size of the ticket's window in tokens; no window without it.

        Raises:
            ConversationNotFoundError, ConversationBusyError, InvalidTextError: As `begin_turn`;
                the first also where there is no such message.
            MessageNotShownError: The message is not on the path that is shown.
            NotOwnMessageError: `text` is to replace an answer.
            TooManyVersionsError: There are as many versions of it as there may be.
            ConversationMovedError: The last user message is not at `expected_seq`.
        """
        check_texts(text=text, key=key)
        lease = self._new_lease(owner, conversation_id, key)
        if seq is not None:
            check_seq(seq)

        def work(connection: sa.Connection) -> TurnTicket:
            ticket = turns.begin_again(connection, lease, text, seq=seq, expected_seq=expected_seq)
            if budget is None:
                return ticket
            return turn_context.with_context(connection, owner, ticket, budget)

        return await self._begin(lease, work)

    async def checkpoint(
        self,
        owner: str,
        turn_id: str,
        *,
        content: str,
        tool_calls: Sequence[ToolRecord],
        thinking: str | None = None,
        details: AnswerDetails | None = None,
    ) -> TurnSignals | None:
        """Store the part of an answer that exists so far, and renew the lease.

        Returns:
            None when the turn is no longer running: its lease was lost, and the caller must stop.

        Raises:
            InvalidTextError: A text cannot be stored.
        """
        check_owner(owner)
        answer = _answer_columns(content, tool_calls, thinking, details)
        now = self._clock()
        if not is_id(turn_id):
            return None
        return await self._database.write(
            lambda connection: turns.checkpoint(
                connection,
                owner,
                turn_id,
                now=now,
                lease_expires_at=now + self._lease,
                answer=answer,
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
        thinking: str | None = None,
        finish_reason: str | None = None,
        details: AnswerDetails | None = None,
    ) -> bool:
        """Commit an answer as it is now and release the conversation.

        `cost_micros` are millionths of a dollar. The pictures that `details` names become the
        answer's, as far as they are the owner's unattached files; those that are not are left out.

        Returns:
            False when the turn is no longer running; nothing is written then.

        Raises:
            InvalidTextError: A text cannot be stored.
        """
        check_owner(owner)
        check_texts(model_used=model_used, error_id=error_id, finish_reason=finish_reason)
        answer = _answer_columns(content, tool_calls, thinking, details) | {
            "tokens_used": tokens_used,
            "latency_ms": latency_ms,
            "model_used": model_used,
            "input_tokens": input_tokens,
            "output_tokens": output_tokens,
            "cost_micros": cost_micros,
            "tokens_estimated": tokens_estimated,
            "finish_reason": finish_reason,
        }
        pictures = details.pictures if details is not None else ()
        picture_ids = tuple(picture.file_id for picture in pictures)
        if not is_id(turn_id):
            return False
        end = turns.TurnEnd(self._clock(), status, error_id)
        return await self._database.write(
            lambda connection: turns.finish(connection, owner, turn_id, end, answer, picture_ids),
            is_brief=True,
            owner=owner,
        )

    async def running_answer(self, owner: str, conversation_id: str) -> RunningAnswer | None:
        """Return the stored part of the answer that some process is writing in a conversation.

        None where none is being written, and for a conversation that is another's or not there.
        """
        check_owner(owner)
        if not is_id(conversation_id):
            return None
        return await self._read(owner, reading.running_answer, conversation_id, self._clock())

    async def watch_turn(self, owner: str, conversation_id: str) -> bool:
        """Have the running turn of a conversation stored each second, until `WATCH_SECONDS` from now.

        Returns:
            Whether one runs in a conversation of this owner.
        """
        check_owner(owner)
        if not is_id(conversation_id):
            return False
        now = self._clock()
        until = now + timedelta(seconds=WATCH_SECONDS)
        return await self._write(owner, turns.watch, conversation_id, now, until)

    async def request_stop(self, owner: str, conversation_id: str) -> bool:
        """Ask the process that runs the turn of a conversation to stop it, at its next checkpoint.

        Returns:
            Whether one runs in a conversation of this owner.
        """
        check_owner(owner)
        if not is_id(conversation_id):
            return False
        return await self._write(owner, turns.request_stop, conversation_id, self._clock())

    async def store_questions(
        self, owner: str, turn_id: str, questions: Sequence[StoredQuestion]
    ) -> bool:
        """Store which tool calls of a turn wait for their owner, in place of those that waited.

        Returns:
            Whether the turn is running.

        Raises:
            InvalidTextError: Something in them cannot be stored.
        """
        check_owner(owner)
        check_values(questions=[asdict(question) for question in questions])
        if not is_id(turn_id):
            return False
        return await self._write(owner, question_rows.store, turn_id, questions)

    async def decide(self, owner: str, conversation_id: str, decision: StoredDecision) -> bool:
        """Store an owner's decision about a tool call that waits, for the process that runs its turn.

        Returns:
            False where no such call waits in a conversation of this owner, or one was decided.

        Raises:
            InvalidTextError: Something in it cannot be stored.
        """
        check_owner(owner)
        check_values(decision=asdict(decision))
        if not is_id(conversation_id):
            return False
        return await self._write(
            owner, question_rows.decide, conversation_id, decision, self._clock()
        )

    async def answer(self, owner: str, turn_id: str) -> StoredMessage:
        """Return the answer of a turn, as far as it is stored.

        Raises ConversationNotFoundError when there is no such turn.
        """
        check_owner(owner)
        check_id(turn_id)
        return await self._read(owner, reading.answer, turn_id)

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


def _check_origin(origin: ConversationOrigin) -> None:
    check_texts(
        agent_id=origin.agent_id,
        channel=origin.channel,
        website_domain=origin.website_domain,
        ip_address=origin.ip_address,
        tenant_id=origin.tenant_id,
        external_id=origin.external_id,
    )


def _answer_columns(
    content: str,
    tool_calls: Sequence[ToolRecord],
    thinking: str | None,
    details: AnswerDetails | None,
) -> dict[str, Any]:
    check_texts(content=content, thinking=thinking)
    return {
        "content": content,
        "tool_calls": pack_tools(tool_calls),
        "thinking": thinking or None,
        "details": pack_details(details),
    }
