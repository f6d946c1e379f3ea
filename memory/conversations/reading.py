"""Reads one owner's rows. Functions of one connection; each statement names the owner."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from memory.conversations import context_window as windows
from memory.errors import ConversationNotFoundError
from memory.records import ContextMessage, Conversation, RunningAnswer, StoredMessage
from memory.schema import (
    RUNNING,
    UtcDateTime,
    agent_messages,
    agent_sessions,
    agent_turns,
    columns_of,
)
from memory.validation import unpack_details, unpack_open_questions, unpack_tools

_sessions, _messages, _turns = agent_sessions.c, agent_messages.c, agent_turns.c
# an ordinary conversation's share of an ordinary budget; only longer windows read again
_FIRST_PAGE = 40

_CONVERSATION_COLUMNS = tuple(columns_of(agent_sessions, Conversation))
_MESSAGE_COLUMNS = tuple(columns_of(agent_messages, StoredMessage))
_OF_OWNER = sa.and_(_sessions.owner_id == sa.bindparam("owner_id_"), _sessions.deleted_at.is_(None))

_CONVERSATION: Final = sa.select(*_CONVERSATION_COLUMNS).where(
    _sessions.session_id == sa.bindparam("conversation_id_"), _OF_OWNER
)
_NEWEST_CONVERSATIONS: Final = (
    sa.select(*_CONVERSATION_COLUMNS)
    .where(_OF_OWNER)
    .order_by(_sessions.last_activity_at.desc(), _sessions.session_id.desc())
    .limit(sa.bindparam("rows"))
)
_OLDER_CONVERSATIONS: Final = _NEWEST_CONVERSATIONS.where(
    sa.tuple_(_sessions.last_activity_at, _sessions.session_id)
    < sa.tuple_(
        sa.bindparam("before_at", type_=UtcDateTime), sa.bindparam("before_id", type_=sa.Text)
    )
)
_STORED = sa.and_(
    _messages.session_id == sa.bindparam("conversation_id_"),
    _messages.owner_id == sa.bindparam("owner_id_"),
    sa.exists().where(_sessions.session_id == sa.bindparam("conversation_id_"), _OF_OWNER),
)
_SHOWN = sa.and_(_STORED, _messages.superseded.is_(False))
_BEFORE = _messages.seq < sa.bindparam("before_seq")


def _newest(*conditions: sa.ColumnElement[bool]) -> sa.Select[Any]:
    return (
        sa.select(*_MESSAGE_COLUMNS)
        .where(*conditions)
        .order_by(_messages.seq.desc())
        .limit(sa.bindparam("rows"))
    )


def _oldest(condition: sa.ColumnElement[bool]) -> sa.Select[Any]:
    return (
        sa.select(*_MESSAGE_COLUMNS)
        .where(condition, _messages.seq > sa.bindparam("after_seq"))
        .order_by(_messages.seq)
        .limit(sa.bindparam("rows"))
    )


_NEWEST_SHOWN: Final = _newest(_SHOWN)
_OLDER_SHOWN: Final = _newest(_SHOWN, _BEFORE)
_SHOWN_AFTER: Final = _oldest(_SHOWN)
_NEWEST_STORED: Final = _newest(_STORED)
_OLDER_STORED: Final = _newest(_STORED, _BEFORE)
_STORED_AFTER: Final = _oldest(_STORED)
# A conversation may have many rows in the window: of each only what the model is to see.
_CONTEXT_MESSAGES: Final = _OLDER_SHOWN.with_only_columns(
    _messages.seq, _messages.role, _messages.content
)
_ANSWER: Final = (
    sa.select(*_MESSAGE_COLUMNS)
    .join_from(
        agent_turns,
        agent_messages,
        sa.and_(
            _messages.session_id == _turns.session_id,
            _messages.owner_id == _turns.owner_id,
            _messages.seq == _turns.answer_seq,
        ),
    )
    .where(_turns.turn_id == sa.bindparam("turn_id_"), _turns.owner_id == sa.bindparam("owner_id_"))
)

_RUNNING_ANSWER: Final = (
    sa.select(_turns.user_seq, _turns.questions, _turns.decisions, *_MESSAGE_COLUMNS)
    .join_from(
        agent_turns,
        agent_messages,
        sa.and_(
            _messages.session_id == _turns.session_id,
            _messages.owner_id == _turns.owner_id,
            _messages.seq == _turns.answer_seq,
        ),
    )
    .where(
        # not the bare column: see `turn_statements`
        _turns.session_id == sa.bindparam("conversation_id_"),
        _turns.owner_id.concat("") == sa.bindparam("owner_id_", type_=sa.Text),
        RUNNING,
        _turns.lease_expires_at > sa.bindparam("at", type_=UtcDateTime),
        sa.exists().where(_sessions.session_id == sa.bindparam("conversation_id_"), _OF_OWNER),
    )
)


def conversation(connection: sa.Connection, owner: str, conversation_id: str) -> Conversation:
    """Return one conversation. Raises ConversationNotFoundError."""
    row = connection.execute(
        _CONVERSATION, {"conversation_id_": conversation_id, "owner_id_": owner}
    ).one_or_none()
    if row is None:
        raise ConversationNotFoundError
    return Conversation(*row)


def conversations(
    connection: sa.Connection, owner: str, limit: int, before: tuple[datetime, str] | None
) -> list[Conversation]:
    """Return the owner's conversations, newest activity first."""
    parameters: dict[str, Any] = {"owner_id_": owner, "rows": limit}
    if before is None:
        rows = connection.execute(_NEWEST_CONVERSATIONS, parameters)
    else:
        parameters |= {"before_at": before[0], "before_id": before[1]}
        rows = connection.execute(_OLDER_CONVERSATIONS, parameters)
    return [Conversation(*row) for row in rows]


def messages(
    connection: sa.Connection,
    owner: str,
    conversation_id: str,
    limit: int,
    before_seq: int | None,
    *,
    all_versions: bool,
) -> list[StoredMessage]:
    """Return the newest messages, newest first. Raises ConversationNotFoundError."""
    parameters = {"conversation_id_": conversation_id, "owner_id_": owner, "rows": limit}
    if before_seq is None:
        rows = connection.execute(_NEWEST_STORED if all_versions else _NEWEST_SHOWN, parameters)
    else:
        older = _OLDER_STORED if all_versions else _OLDER_SHOWN
        rows = connection.execute(older, parameters | {"before_seq": before_seq})
    page = [_message(row) for row in rows]
    if not page:
        conversation(connection, owner, conversation_id)
    return page


def messages_after(
    connection: sa.Connection,
    owner: str,
    conversation_id: str,
    limit: int,
    after_seq: int,
    *,
    all_versions: bool,
) -> list[StoredMessage]:
    """Return the oldest messages above `after_seq`. Raises ConversationNotFoundError."""
    own = {
        "conversation_id_": conversation_id,
        "owner_id_": owner,
        "rows": limit,
        "after_seq": after_seq,
    }
    after = _STORED_AFTER if all_versions else _SHOWN_AFTER
    page = [_message(row) for row in connection.execute(after, own)]
    if not page:
        conversation(connection, owner, conversation_id)
    return page


def window(
    connection: sa.Connection, owner: str, conversation_id: str, budget: int, before_seq: int
) -> list[ContextMessage]:
    """Return the newest messages below `before_seq` that fit into the budget, oldest first.

    Reads newest first and stops when the budget is used up, so that the length of the rest of
    the conversation does not matter. Raises ConversationNotFoundError.
    """
    newest_first: list[ContextMessage] = []
    max_rows, page_size = windows.max_rows(budget), _FIRST_PAGE
    while len(newest_first) < max_rows:
        parameters = {
            "conversation_id_": conversation_id,
            "owner_id_": owner,
            "rows": min(page_size, max_rows - len(newest_first)),
            "before_seq": before_seq,
        }
        page = [ContextMessage(*row) for row in connection.execute(_CONTEXT_MESSAGES, parameters)]
        newest_first += page
        if len(page) < page_size or windows.exceeds(newest_first, budget):
            break
        before_seq, page_size = page[-1].seq, 2 * page_size
    if not newest_first:
        conversation(connection, owner, conversation_id)
    return windows.fit(newest_first, budget)


def answer(connection: sa.Connection, owner: str, turn_id: str) -> StoredMessage:
    """Return the answer of a turn. Raises ConversationNotFoundError."""
    row = connection.execute(_ANSWER, {"turn_id_": turn_id, "owner_id_": owner}).one_or_none()
    if row is None:
        raise ConversationNotFoundError
    return _message(row)


def running_answer(
    connection: sa.Connection, owner: str, conversation_id: str, at: datetime
) -> RunningAnswer | None:
    """Return the stored part of the answer that is being written in a conversation, if one is."""
    own = {"conversation_id_": conversation_id, "owner_id_": owner, "at": at}
    row = connection.execute(_RUNNING_ANSWER, own).one_or_none()
    if row is None:
        return None
    waiting = unpack_open_questions(row.questions, row.decisions)
    return RunningAnswer(row.user_seq, _message(row[3:]), waiting)


def _message(row: Sequence[Any]) -> StoredMessage:
    seq, role, content, tool_calls, *rest = row
    rest[-1] = unpack_details(rest[-1])
    return StoredMessage(seq, role, content, unpack_tools(tool_calls), *rest)
