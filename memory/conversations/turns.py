"""Stores turns: their beginning, checkpoints and end.

Functions of one connection, each run inside one transaction. The caller has checked the texts.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from memory import connection_rows, mcp_rows
from memory.conversations import files, preferences, prompts, receipt_chain, turn_statements
from memory.engine.prepared import Prepared
from memory.errors import (
    ConversationBusyError,
    ConversationMovedError,
    ConversationNotFoundError,
    MessageNotShownError,
    NotOwnMessageError,
    TooManyVersionsError,
)
from memory.queues import inbox_rows, outbox_rows, windows
from memory.records import ConversationOrigin, MessageStatus, NewTurn, TurnSignals, TurnTicket
from memory.validation import title_of, unpack_decisions

MAX_VERSIONS = 2_000  # of one message that can be made; an import may bring more


@dataclass(frozen=True, slots=True)
class TurnLease:
    """The lease of a turn that begins: its owner, conversation, idempotency key and holder."""

    owner: str
    conversation_id: str
    key: str
    holder: str
    now: datetime
    lease_expires_at: datetime


@dataclass(frozen=True, slots=True)
class TurnEnd:
    """How and when a turn ended."""

    now: datetime
    status: MessageStatus
    error_id: str | None


class DuplicateRequestError(Exception):
    """The idempotency key was used before; rolls back what the repeated request began.

    `stale` says that the conversation has a running turn whose lease has ended.
    """

    def __init__(self, ticket: TurnTicket, *, stale: bool) -> None:
        super().__init__()
        self.ticket = ticket
        self.stale = stale


def begin(
    connection: sa.Connection, lease: TurnLease, new: NewTurn, file_ids: Sequence[str]
) -> TurnTicket:
    """Store the user's message and an empty answer, and lease the conversation to this turn.

    With an origin, a conversation that does not exist is created, whose title is the message, or the
    names of its files where it has no text. The files become the message's.

    Raises:
        ConversationNotFoundError, ConversationBusyError, UnknownFileError, DuplicateRequestError:
            As for `ConversationMemoryManager.begin_turn`; the last brings the earlier ticket.
    """
    with_files = {"with_files": bool(file_ids)}
    if new.origin is None:
        parameters = _own(lease) | {"at": lease.now} | with_files
        row = turn_statements.EXTEND.one_or_none(connection, parameters)
    else:
        title = title_of(new.text)
        if not title and file_ids:
            title = title_of(files.names(connection, lease.owner, file_ids))
        conversation = _conversation(lease, title, new.origin) | with_files
        row = turn_statements.CREATE_OR_EXTEND.one_or_none(connection, conversation)
    if row is None:
        raise ConversationNotFoundError
    _settle_other_turns(connection, lease)
    user_seq = row.last_seq - 1
    last = turn_statements.LAST_SHOWN.one_or_none(connection, _own(lease)) if user_seq > 1 else None
    parent_seq = last.seq if last is not None else 0
    ticket = _ticket(lease, user_seq=user_seq, answer_seq=row.last_seq, parent_seq=parent_seq)
    rows = [_question(lease, ticket, new.text), _answer(lease, ticket, new.model)]
    turn_statements.ADD_MESSAGES.run(connection, *rows)
    _add_turn(connection, lease, ticket)
    if file_ids:
        files.attach(
            connection,
            lease.owner,
            file_ids,
            conversation_id=lease.conversation_id,
            seq=ticket.user_seq,
        )
    return _with_conversation(ticket, row)


def begin_again(
    connection: sa.Connection,
    lease: TurnLease,
    text: str | None,
    *,
    seq: int | None,
    expected_seq: int | None,
) -> TurnTicket:
    """Add a version of an answer, or with `text` of a question, and lease the conversation.

    The path that is shown then leads to the new version and ends there. `seq` is as for
    `ConversationMemoryManager.begin_retry`.

    Raises:
        ConversationNotFoundError, ConversationBusyError, DuplicateRequestError: As `begin`.
        ConversationMovedError: The last question is not at `expected_seq`.
        MessageNotShownError, NotOwnMessageError, TooManyVersionsError: As
            `ConversationMemoryManager.begin_retry`.
    """
    added = 1 if text is None else 2
    row = connection.execute(
        turn_statements.REPLACE, _own(lease) | {"at": lease.now, "added": added}
    ).one_or_none()
    if row is None:
        raise ConversationNotFoundError
    _settle_other_turns(connection, lease)
    question = _question_at(connection, lease, seq, expected_seq, is_edit=text is not None)
    _check_versions(connection, lease, question, is_edit=text is not None)
    from_seq = question.seq + 1 if text is None else question.seq
    is_summary_kept = _cut(connection, lease, row, from_seq, added)
    user_seq = question.seq if text is None else row.last_seq - 1
    ticket = _ticket(
        lease, user_seq=user_seq, answer_seq=row.last_seq, parent_seq=question.parent_seq
    )
    # The files stay the older version's, which has them still when it is shown again.
    files_seq = (question.files_seq or question.seq) if row.has_files else None
    edited = [] if text is None else [_question(lease, ticket, text) | {"files_seq": files_seq}]
    turn_statements.ADD_MESSAGES.run(connection, *edited, _answer(lease, ticket, None))
    _add_turn(connection, lease, ticket)
    begun = _with_conversation(ticket, row)
    if text is not None and question.parent_seq == 0:
        begun = replace(begun, has_title=not _retitle(connection, lease, text))
    return begun if is_summary_kept else replace(begun, summarized_through_seq=0)


def _check_versions(
    connection: sa.Connection, lease: TurnLease, question: Any, *, is_edit: bool
) -> None:
    """Raise TooManyVersionsError where what is to get a further version has as many as it may."""
    parent, role = (question.parent_seq, "user") if is_edit else (question.seq, "assistant")
    # the one that is shown is on the path, and there must be room for another
    parameters = _own(lease) | {"parent": parent, "of_role": role, "skipped": MAX_VERSIONS - 2}
    if connection.execute(turn_statements.VERSIONS_OFF_THE_PATH, parameters).first() is not None:
        raise TooManyVersionsError


def _question_at(
    connection: sa.Connection,
    lease: TurnLease,
    seq: int | None,
    expected_seq: int | None,
    *,
    is_edit: bool,
) -> Any:
    """Return the links of the question that is answered again, or edited."""
    last = connection.execute(turn_statements.LAST_QUESTION, _own(lease)).one_or_none()
    if last is None:
        raise ConversationNotFoundError
    if expected_seq is not None and expected_seq != last.seq:
        raise ConversationMovedError
    if seq is None:
        return last
    chosen = _shown(connection, lease, seq)
    if chosen.role == "user":
        return chosen
    if is_edit:
        raise NotOwnMessageError
    # In an imported conversation several answers may follow one question, or none stand before.
    before = _own(lease) | {"seq_": seq}
    question = connection.execute(turn_statements.QUESTION_BEFORE, before).one_or_none()
    if question is None:
        raise ConversationNotFoundError
    return question


def _retitle(connection: sa.Connection, lease: TurnLease, text: str) -> bool:
    """Give a conversation the title of its edited first message; return whether it has it now."""
    retitled = _own(lease) | {"new_title": title_of(text)}
    return connection.execute(turn_statements.RETITLE, retitled).rowcount > 0


def _shown(connection: sa.Connection, lease: TurnLease, seq: int) -> Any:
    row = connection.execute(turn_statements.MESSAGE, _own(lease) | {"seq_": seq}).one_or_none()
    if row is None:
        raise ConversationNotFoundError
    if row.superseded:
        raise MessageNotShownError
    return row


def _cut(connection: sa.Connection, lease: TurnLease, row: Any, from_seq: int, added: int) -> bool:
    """Supersede what is shown from `from_seq` on; return whether the summary stays."""
    cut = _own(lease) | {"from_seq": from_seq}
    superseded = connection.execute(turn_statements.SUPERSEDE, cut).rowcount
    is_summary_kept = (row.summarised_seq or 0) < from_seq
    if superseded != added or not is_summary_kept:
        connection.execute(turn_statements.CUT, cut | {"added": added - superseded})
    return is_summary_kept


def interrupt_stale(connection: sa.Connection, lease: TurnLease) -> None:
    """Mark the running turn of this conversation as interrupted if its lease has ended."""
    connection.execute(turn_statements.INTERRUPT_STALE, _own(lease) | {"at": lease.now})


def checkpoint(
    connection: sa.Connection,
    owner: str,
    turn_id: str,
    *,
    now: datetime,
    lease_expires_at: datetime,
    answer: dict[str, Any],
) -> TurnSignals | None:
    """Store the answer so far and renew the lease; return None when the turn has ended."""
    turn = {"lease_expires_at": lease_expires_at}
    row = _change_turn(connection, owner, turn_id, turn_statements.RENEW_TURN, turn)
    if row is None:
        return None
    turn_statements.KEEP_ANSWER.run(connection, answer | _of_answer(owner, row))
    is_watched = row.watched_until is not None and row.watched_until > now
    decisions = unpack_decisions(row.decisions)
    return TurnSignals(is_watched, row.stop_requested_at is not None, decisions)


def watch(
    connection: sa.Connection, owner: str, conversation_id: str, at: datetime, until: datetime
) -> bool:
    """Mark the running turn of a conversation as watched; return whether there is one."""
    own = {"conversation_id_": conversation_id, "owner_id_": owner}
    parameters = own | {"at": at, "until": until}
    return connection.execute(turn_statements.WATCH_TURN, parameters).rowcount > 0


def request_stop(connection: sa.Connection, owner: str, conversation_id: str, at: datetime) -> bool:
    """Ask whoever runs the turn of a conversation to stop it; return whether one runs."""
    own = {"conversation_id_": conversation_id, "owner_id_": owner, "at": at}
    return connection.execute(turn_statements.REQUEST_STOP, own).rowcount > 0


def finish(
    connection: sa.Connection,
    owner: str,
    turn_id: str,
    end: TurnEnd,
    answer: dict[str, Any],
    picture_ids: Sequence[str] = (),
) -> bool:
    """Store the final answer and release the lease; return False when the turn has ended.

    `answer` holds the further columns of the answer's row; without them it stays as it is. The
    owner's unattached files with `picture_ids` become the answer's.
    """
    turn = {"state": end.status, "finished_at": end.now, "error_id": end.error_id}
    row = _change_turn(connection, owner, turn_id, turn_statements.END_TURN, turn)
    if row is not None:
        answer = receipt_chain.chained(connection, owner, row.session_id, row.answer_seq, answer)
        final = answer | {"status": end.status, "error_id": end.error_id}
        statement = turn_statements.END_ANSWER if answer else turn_statements.INTERRUPT_ANSWER
        statement.run(connection, final | _of_answer(owner, row))
        if picture_ids:
            files.attach_known(
                connection,
                owner,
                picture_ids,
                conversation_id=row.session_id,
                seq=row.answer_seq,
            )
    return row is not None


def forget(connection: sa.Connection, owner: str) -> int:
    """Delete an owner's conversations, files, prompts and preferences; messages and turns go too."""
    files.forget(connection, owner)
    inbox_rows.forget(connection, owner)
    outbox_rows.forget(connection, owner)
    windows.forget(connection, owner)
    preferences.forget(connection, owner)
    connection_rows.forget(connection, owner)
    mcp_rows.forget(connection, owner)
    prompts.forget(connection, owner)
    return connection.execute(turn_statements.FORGET, {"owner_id_": owner}).rowcount


def _change_turn(
    connection: sa.Connection,
    owner: str,
    turn_id: str,
    statement: Prepared,
    turn: dict[str, Any],
) -> Any:
    return statement.one_or_none(connection, turn | {"turn_id_": turn_id, "owner_id_": owner})


def _of_answer(owner: str, turn: Any) -> dict[str, Any]:
    return {"conversation_id_": turn.session_id, "owner_id_": owner, "seq_": turn.answer_seq}


def _settle_other_turns(connection: sa.Connection, lease: TurnLease) -> None:
    rows = turn_statements.KNOWN_OR_RUNNING.rows(connection, _own(lease) | {"key": lease.key})
    running = [row for row in rows if row.state == "running"]
    stale = [row for row in running if row.lease_expires_at <= lease.now]
    for row in rows:
        if row.idempotency_key == lease.key:
            ticket = TurnTicket(
                row.turn_id, lease.conversation_id, row.user_seq, row.answer_seq, False
            )
            raise DuplicateRequestError(ticket, stale=bool(stale))
    if len(running) > len(stale):
        raise ConversationBusyError(elsewhere=all(row.holder != lease.holder for row in running))
    if stale:
        interrupt_stale(connection, lease)


def _own(lease: TurnLease) -> dict[str, Any]:
    return {"conversation_id_": lease.conversation_id, "owner_id_": lease.owner}


def _ticket(lease: TurnLease, *, user_seq: int, answer_seq: int, parent_seq: int) -> TurnTicket:
    turn_id = secrets.token_urlsafe(16)
    return TurnTicket(
        turn_id, lease.conversation_id, user_seq, answer_seq, True, parent_seq=parent_seq
    )


def _with_conversation(ticket: TurnTicket, row: Any) -> TurnTicket:
    return replace(
        ticket,
        summarized_through_seq=row.summarised_seq or 0,
        has_files=row.has_files,
        agent_id=row.agent_id,
        context=row.context_data or {},
        conversation_created_at=row.started_at,
        has_title=row.title_origin != "message",
    )


def _conversation(lease: TurnLease, title: str, origin: ConversationOrigin) -> dict[str, Any]:
    return {
        "session_id": lease.conversation_id,
        "owner_id": lease.owner,
        "agent_id": origin.agent_id,
        "title": title,
        "channel": origin.channel,
        "website_domain": origin.website_domain,
        "ip_address": origin.ip_address,
        "context_data": origin.context,
        "tenant_id": origin.tenant_id,
        "external_id": origin.external_id,
        "started_at": lease.now,
        "last_activity_at": lease.now,
    }


def _question(lease: TurnLease, ticket: TurnTicket, text: str) -> dict[str, Any]:
    row = _message(lease, ticket, ticket.user_seq, role="user", content=text, status="complete")
    return row | {"parent_seq": ticket.parent_seq}


def _answer(lease: TurnLease, ticket: TurnTicket, model: str | None) -> dict[str, Any]:
    """Return the row of the answer: interrupted, which stays true if the process dies."""
    row = _message(
        lease, ticket, ticket.answer_seq, role="assistant", content="", status="interrupted"
    )
    return row | {"model_used": model, "parent_seq": ticket.user_seq}


def _message(
    lease: TurnLease,
    ticket: TurnTicket,
    seq: int,
    *,
    role: str,
    content: str,
    status: MessageStatus,
) -> dict[str, Any]:
    return {
        "session_id": lease.conversation_id,
        "owner_id": lease.owner,
        "seq": seq,
        "role": role,
        "content": content,
        "status": status,
        "created_at": lease.now,
        "turn_id": ticket.turn_id,
        "superseded": False,
        "model_used": None,
        "files_seq": None,
    }


def _add_turn(connection: sa.Connection, lease: TurnLease, ticket: TurnTicket) -> None:
    turn_statements.ADD_TURN.run(
        connection,
        {
            "turn_id": ticket.turn_id,
            "session_id": lease.conversation_id,
            "owner_id": lease.owner,
            "idempotency_key": lease.key,
            "state": "running",
            "holder": lease.holder,
            "lease_expires_at": lease.lease_expires_at,
            "user_seq": ticket.user_seq,
            "answer_seq": ticket.answer_seq,
            "started_at": lease.now,
        },
    )
