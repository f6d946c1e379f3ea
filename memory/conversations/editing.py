"""Changes and searches one owner's conversations: rename, delete and restore, rate, search.

Functions of one connection; each statement names the owner.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from memory.conversations import shares, turn_statements
from memory.errors import ConversationNotFoundError
from memory.records import Feedback, RatingExplanation, SearchHit
from memory.schema import UtcDateTime, agent_messages, agent_sessions
from memory.validation import snippet

MAX_WORDS = 10
MAX_MATCHES = 200  # messages that are looked at, newest first, for one search
_WORD = re.compile(r"\w+")

_sessions, _messages = agent_sessions.c, agent_messages.c
_OWN = sa.and_(
    _sessions.session_id == sa.bindparam("conversation_id_"),
    _sessions.owner_id == sa.bindparam("owner_id_"),
)
_RENAME: Final = (
    sa.update(agent_sessions)
    .where(_OWN, _sessions.deleted_at.is_(None))
    .values(title=sa.bindparam("new_title"), title_origin="user")
)
_CONTEXT: Final = (
    sa.select(_sessions.context_data).where(_OWN, _sessions.deleted_at.is_(None)).with_for_update()
)
_SET_CONTEXT: Final = (
    sa.update(agent_sessions)
    .where(_OWN, _sessions.deleted_at.is_(None))
    .values(context_data=sa.bindparam("new_context", type_=agent_sessions.c.context_data.type))
)
_DELETE: Final = (
    sa.update(agent_sessions)
    .where(_OWN, _sessions.deleted_at.is_(None))
    .values(deleted_at=sa.bindparam("at", type_=UtcDateTime))
)
_RESTORE: Final = (
    sa.update(agent_sessions).where(_OWN, _sessions.deleted_at.is_not(None)).values(deleted_at=None)
)
_RATED_AT: Final = sa.case(
    (sa.bindparam("new_feedback", type_=sa.Text).is_(None), sa.null()),
    else_=sa.bindparam("at", type_=UtcDateTime),
)


def _unless_rerated(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """Return what stays of an explanation: all of it with the same rating, with another nothing."""
    return sa.case((_messages.feedback == sa.bindparam("new_feedback", type_=sa.Text), column))


_ANSWER = sa.and_(
    _messages.session_id == sa.bindparam("conversation_id_"),
    _messages.owner_id == sa.bindparam("owner_id_"),
    _messages.seq == sa.bindparam("seq_"),
    _messages.role == "assistant",
    sa.exists().where(_OWN, _sessions.deleted_at.is_(None)),
)
_RATE: Final = (
    sa.update(agent_messages)
    .where(_ANSWER)
    .values(
        feedback=sa.bindparam("new_feedback"),
        feedback_reason=_unless_rerated(_messages.feedback_reason),
        feedback_comment=_unless_rerated(_messages.feedback_comment),
        rated_at=_RATED_AT,
    )
)
_EXPLAIN: Final = (
    sa.update(agent_messages)
    .where(_ANSWER)
    .values(
        feedback=sa.bindparam("new_feedback"),
        feedback_reason=sa.bindparam("new_reason"),
        feedback_comment=sa.bindparam("new_comment"),
        rated_at=sa.bindparam("at", type_=UtcDateTime),
    )
)
_MARK_INACTIVE: Final = (
    sa.update(agent_sessions)
    .where(_OWN, _sessions.status == "active")
    .values(status="inactive", ended_at=sa.bindparam("at", type_=UtcDateTime))
)
_CLOSE: Final = (
    sa.update(agent_sessions)
    .where(_OWN, _sessions.deleted_at.is_(None))
    .values(status="ended", ended_at=sa.bindparam("at", type_=UtcDateTime))
)
_FOUND = (
    _sessions.session_id,
    _sessions.title,
    _sessions.last_activity_at,
    _sessions.is_archived,
    _sessions.is_pinned,
    _sessions.folder,
)
_BY_TITLE: Final = (
    sa.select(*_FOUND)
    .where(
        _sessions.owner_id == sa.bindparam("owner_id_"),
        _sessions.deleted_at.is_(None),
        sa.func.lower(_sessions.title).like(sa.bindparam("pattern"), escape="\\"),
    )
    .order_by(_sessions.last_activity_at.desc())
    .limit(sa.bindparam("rows"))
)
# The index matches owner and words together; the join compares the owner again.
_MATCHES: Final = {
    "sqlite": """
        SELECT m.session_id, m.seq, m.content FROM agent_search
        JOIN agent_messages m ON m.message_id = agent_search.rowid
        WHERE agent_search MATCH :words AND m.owner_id = :owner_id_ AND NOT m.superseded
        ORDER BY agent_search.rowid DESC LIMIT :rows""",
    "postgresql": """
        SELECT m.session_id, m.seq, m.content FROM agent_messages m
        WHERE m.search @@ (CAST(:owner_lexeme AS tsquery) && to_tsquery('simple', :words))
        AND m.owner_id = :owner_id_ AND NOT m.superseded
        ORDER BY m.message_id DESC LIMIT :rows""",
}
_BY_ID: Final = sa.select(*_FOUND).where(
    _sessions.owner_id == sa.bindparam("owner_id_"),
    _sessions.deleted_at.is_(None),
    _sessions.session_id.in_(sa.bindparam("ids", expanding=True)),
)


def rename(connection: sa.Connection, owner: str, conversation_id: str, title: str) -> None:
    """Give a conversation another title. Raises ConversationNotFoundError."""
    _change(connection, _RENAME, owner, conversation_id, new_title=title)


def update_context(
    connection: sa.Connection, owner: str, conversation_id: str, *, changes: Mapping[str, Any]
) -> None:
    """Merge `changes` into the conversation's context. Raises ConversationNotFoundError."""
    own = {"conversation_id_": conversation_id, "owner_id_": owner}
    row = connection.execute(_CONTEXT, own).one_or_none()
    if row is None:
        raise ConversationNotFoundError
    merged = {**(row.context_data or {}), **changes}
    connection.execute(_SET_CONTEXT, {**own, "new_context": merged})


def delete(connection: sa.Connection, owner: str, conversation_id: str, at: datetime) -> None:
    """Hide a conversation until retention deletes it, and have whoever runs a turn in it stop that.

    Raises ConversationNotFoundError.
    """
    _change(connection, _DELETE, owner, conversation_id, at=at)
    own = {"owner_id_": owner, "conversation_id_": conversation_id, "at": at}
    connection.execute(turn_statements.REQUEST_STOP, own)
    shares.suspend(connection, owner, conversation_id, is_suspended=True)


def restore(connection: sa.Connection, owner: str, conversation_id: str) -> None:
    """Bring back a deleted conversation. Raises ConversationNotFoundError without one."""
    _change(connection, _RESTORE, owner, conversation_id)
    shares.suspend(connection, owner, conversation_id, is_suspended=False)


def rate(
    connection: sa.Connection,
    owner: str,
    conversation_id: str,
    seq: int,
    feedback: Feedback | None,
    explanation: RatingExplanation | None,
    at: datetime,
) -> None:
    """Store feedback on an answer. Raises ConversationNotFoundError without such an answer.

    Without an explanation, an earlier one stays as long as the rating does.
    """
    rating: dict[str, Any] = {"seq_": seq, "new_feedback": feedback, "at": at}
    if explanation is None or feedback is None:
        _change(connection, _RATE, owner, conversation_id, **rating)
        return
    rating |= {"new_reason": explanation.reason, "new_comment": explanation.comment}
    _change(connection, _EXPLAIN, owner, conversation_id, **rating)


def mark_inactive(
    connection: sa.Connection, owner: str, conversation_id: str, at: datetime
) -> bool:
    """Mark a conversation as inactive; return whether it was active."""
    parameters = {"owner_id_": owner, "conversation_id_": conversation_id, "at": at}
    return connection.execute(_MARK_INACTIVE, parameters).rowcount > 0


def close(connection: sa.Connection, owner: str, conversation_id: str, at: datetime) -> None:
    """Mark a conversation as ended. Raises ConversationNotFoundError."""
    _change(connection, _CLOSE, owner, conversation_id, at=at)


def search(connection: sa.Connection, owner: str, query: str, limit: int) -> list[SearchHit]:
    """Return conversations whose title or messages hold the words of `query`.

    In messages a word also matches the beginning of a longer one; in titles the whole query
    matches anywhere. Titles come first, each group newest first.
    """
    words = _WORD.findall(query)[:MAX_WORDS]
    if not words:
        return []
    titled = connection.execute(
        _BY_TITLE, {"owner_id_": owner, "pattern": f"%{_escaped(query)}%", "rows": limit}
    )
    hits = {row[0]: SearchHit(row[0], row[1], None, "", *row[2:]) for row in titled}
    matches: dict[str, tuple[int, str]] = {}
    for conversation_id, seq, content in _matches(connection, owner, words):
        matches.setdefault(conversation_id, (seq, snippet(content, words)))
    others = [conversation_id for conversation_id in matches if conversation_id not in hits]
    rows = connection.execute(_BY_ID, {"owner_id_": owner, "ids": others}).all() if others else []
    rows_by_id = {row[0]: row for row in rows}
    for conversation_id in others:
        if conversation_id in rows_by_id:
            _, title, *rest = rows_by_id[conversation_id]
            hits[conversation_id] = SearchHit(
                conversation_id, title, *matches[conversation_id], *rest
            )
    return list(hits.values())[:limit]


def _matches(connection: sa.Connection, owner: str, words: list[str]) -> list[Any]:
    dialect = connection.dialect.name
    parameters: dict[str, Any] = {"owner_id_": owner, "rows": MAX_MATCHES}
    if dialect == "sqlite":
        wanted = " AND ".join(f'content : "{word}" *' for word in words)
        quoted = owner.replace('"', '""')
        parameters["words"] = f'owner_id : "{quoted}" AND {wanted}'
    else:
        quoted = owner.replace("\\", "\\\\").replace("'", "''")
        parameters["owner_lexeme"] = f"'owner:{quoted}'"
        parameters["words"] = " & ".join(f"'{word}':*" for word in words)
    return list(connection.execute(sa.text(_MATCHES[dialect]), parameters))


def _escaped(query: str) -> str:
    folded = query.strip().lower()
    return folded.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _change(
    connection: sa.Connection,
    statement: sa.Executable,
    owner: str,
    conversation_id: str,
    **parameters: Any,
) -> None:
    own = {"owner_id_": owner, "conversation_id_": conversation_id}
    if connection.execute(statement, own | parameters).rowcount == 0:
        raise ConversationNotFoundError
