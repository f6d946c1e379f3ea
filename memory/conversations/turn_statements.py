"""The statements that begin and end turns. Each names the owner."""

from typing import Any, Final, cast

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from memory.engine.prepared import Prepared
from memory.schema import (
    OFF_THE_PATH,
    RUNNING,
    UtcDateTime,
    agent_messages,
    agent_sessions,
    agent_turns,
)

_sessions, _messages, _turns = agent_sessions.c, agent_messages.c, agent_turns.c
_SESSION: Final = sa.bindparam("conversation_id_", type_=sa.Text)
_OWNER: Final = sa.bindparam("owner_id_", type_=sa.Text)
_OWN_SESSION = sa.and_(
    _sessions.session_id == _SESSION,
    _sessions.owner_id == _OWNER,
    _sessions.deleted_at.is_(None),
)
_OWN_MESSAGES = sa.and_(_messages.session_id == _SESSION, _messages.owner_id == _OWNER)
_OWN_TURNS = sa.and_(_turns.session_id == _SESSION, _turns.owner_id == _OWNER)
_ACTIVE: Final = {"status": "active", "ended_at": None}
_AT = sa.bindparam("at", type_=UtcDateTime)
_CONTINUED: Final = (
    _sessions.last_seq,
    _sessions.summarised_seq,
    _sessions.has_files,
    _sessions.agent_id,
    _sessions.context_data,
    _sessions.started_at,
    _sessions.title_origin,
)
_WITH_FILES = sa.bindparam("with_files", type_=sa.Boolean)


def _create_or_extend(insert: Any) -> sa.Executable:
    new = insert(agent_sessions).values(
        message_count=2, last_seq=2, has_files=_WITH_FILES, title_origin="message", **_ACTIVE
    )
    return cast(
        sa.Executable,
        new.on_conflict_do_update(
            index_elements=["session_id"],
            set_={
                "message_count": _sessions.message_count + 2,
                "last_seq": _sessions.last_seq + 2,
                "last_activity_at": new.excluded.last_activity_at,
                "has_files": sa.or_(_sessions.has_files, new.excluded.has_files),
                **_ACTIVE,
            },
            where=sa.and_(
                _sessions.owner_id == new.excluded.owner_id, _sessions.deleted_at.is_(None)
            ),
        ).returning(*_CONTINUED),
    )


# Makes the conversation, or counts two more messages when it is this owner's; no row comes back
# when it is another's. Either way its row stays locked until the commit, so that on PostgreSQL
# too the turns of one conversation begin one after the other.
CREATE_OR_EXTEND: Final = Prepared(
    _create_or_extend(sqlite.insert),
    (
        "session_id",
        "owner_id",
        "agent_id",
        "title",
        "channel",
        "website_domain",
        "ip_address",
        "context_data",
        "tenant_id",
        "external_id",
        "started_at",
        "last_activity_at",
    ),
    postgresql=_create_or_extend(postgresql.insert),
)

EXTEND: Final = Prepared(
    sa.update(agent_sessions)
    .where(_OWN_SESSION)
    .values(
        message_count=_sessions.message_count + 2,
        last_seq=_sessions.last_seq + 2,
        last_activity_at=_AT,
        has_files=sa.or_(_sessions.has_files, _WITH_FILES),
        # what its owner has ended goes on for a recurring task alone, and stays ended
        status=sa.case((_sessions.status == "ended", "ended"), else_="active"),
        ended_at=sa.case((_sessions.status == "ended", _sessions.ended_at), else_=None),
    )
    .returning(*_CONTINUED)
)

# `CUT` corrects the count where more is superseded than added.
REPLACE: Final = (
    sa.update(agent_sessions)
    .where(_OWN_SESSION)
    .values(
        last_seq=_sessions.last_seq + sa.bindparam("added", type_=sa.Integer),
        last_activity_at=_AT,
        **_ACTIVE,
    )
    .returning(*_CONTINUED)
)
# Another first message is shown. The title follows it, unless the user has given one: it would
# show readers of a share what the former version said.
RETITLE: Final = (
    sa.update(agent_sessions)
    .where(_OWN_SESSION, sa.func.coalesce(_sessions.title_origin, "") != "user")
    .values(title=sa.bindparam("new_title", type_=sa.Text), title_origin="message")
)
FIRST_SHOWN: Final = (
    sa.select(_messages.seq, _messages.role, _messages.content)
    .where(_OWN_MESSAGES, _messages.superseded.is_(False))
    .order_by(_messages.seq)
    .limit(1)
)

_LINKS: Final = (
    _messages.seq,
    _messages.role,
    _messages.parent_seq,
    _messages.files_seq,
    _messages.superseded,
)
LAST_QUESTION: Final = (
    sa.select(*_LINKS)
    .where(_OWN_MESSAGES, _messages.role == "user", _messages.superseded.is_(False))
    .order_by(_messages.seq.desc())
    .limit(1)
)
QUESTION_BEFORE: Final = (
    sa.select(*_LINKS)
    .where(
        _OWN_MESSAGES,
        _messages.seq < sa.bindparam("seq_", type_=sa.Integer),
        _messages.role == "user",
        _messages.superseded.is_(False),
    )
    .order_by(_messages.seq.desc())
    .limit(1)
)
# A statement of its own, once the conversation's row is locked: on PostgreSQL the one that locks it,
# where it has to wait, still sees the messages as they were before.
LAST_SHOWN: Final = Prepared(
    sa.select(_messages.seq)
    .where(_OWN_MESSAGES, _messages.superseded.is_(False))
    .order_by(_messages.seq.desc())
    .limit(1)
)
MESSAGE: Final = sa.select(*_LINKS).where(
    _OWN_MESSAGES, _messages.seq == sa.bindparam("seq_", type_=sa.Integer)
)

# Whether there are more than `skipped`: it reads the index of what is off the path.
VERSIONS_OFF_THE_PATH: Final = (
    sa.select(_messages.seq)
    .where(
        _OWN_MESSAGES,
        OFF_THE_PATH,
        _messages.parent_seq == sa.bindparam("parent", type_=sa.Integer),
        _messages.role == sa.bindparam("of_role", type_=sa.Text),
    )
    .order_by(_messages.seq)
    .limit(1)
    .offset(sa.bindparam("skipped", type_=sa.Integer))
)

SUPERSEDE: Final = (
    sa.update(agent_messages)
    .where(
        _OWN_MESSAGES,
        _messages.seq >= sa.bindparam("from_seq"),
        _messages.superseded.is_(False),
    )
    .values(superseded=True)
)

# What a summary says must not reach beyond the point where the shown path has changed.
_STALE_SUMMARY: Final = _sessions.summarised_seq >= sa.bindparam("from_seq", type_=sa.Integer)
CUT: Final = (
    sa.update(agent_sessions)
    .where(_OWN_SESSION)
    .values(
        message_count=_sessions.message_count + sa.bindparam("added", type_=sa.Integer),
        summary=sa.case((_STALE_SUMMARY, None), else_=_sessions.summary),
        summarised_seq=sa.case((_STALE_SUMMARY, None), else_=_sessions.summarised_seq),
    )
)

_KEY: Final = sa.bindparam("key", type_=sa.Text)
# A conversation has at most one running turn, and an index that holds no other. SQLite would
# rather use the one of owner and session, and read every turn of the conversation: what is
# compared is therefore not the bare column.
_OWN_RUNNING: Final = sa.and_(
    _turns.session_id == _SESSION, _turns.owner_id.concat("") == _OWNER, RUNNING
)
_TURN: Final = (
    _turns.turn_id,
    _turns.idempotency_key,
    _turns.state,
    _turns.holder,
    _turns.lease_expires_at,
    _turns.user_seq,
    _turns.answer_seq,
)
# Two searches, each by an index of its own: one with OR reads every turn of the conversation.
KNOWN_OR_RUNNING: Final = Prepared(
    sa.union_all(
        sa.select(*_TURN).where(_OWN_TURNS, _turns.idempotency_key == _KEY),
        sa.select(*_TURN).where(_OWN_RUNNING, _turns.idempotency_key != _KEY),
    )
)

# Of an ended turn nothing waits; what was decided is in its answer, as far as the call was made.
_SETTLED: Final = {"questions": sa.null(), "decisions": sa.null()}
INTERRUPT_STALE: Final = (
    sa.update(agent_turns)
    .where(_OWN_RUNNING, _turns.lease_expires_at <= _AT)
    .values(state="interrupted", finished_at=_AT, **_SETTLED)
)

ADD_MESSAGES: Final = Prepared(
    sa.insert(agent_messages),
    (
        "session_id",
        "owner_id",
        "seq",
        "role",
        "content",
        "status",
        "created_at",
        "turn_id",
        "superseded",
        "model_used",
        "parent_seq",
        "files_seq",
    ),
)
ADD_TURN: Final = Prepared(
    sa.insert(agent_turns),
    (
        "turn_id",
        "session_id",
        "owner_id",
        "idempotency_key",
        "state",
        "holder",
        "lease_expires_at",
        "user_seq",
        "answer_seq",
        "started_at",
    ),
)

_CHANGE_RUNNING_TURN: Final = (
    sa.update(agent_turns)
    .where(_turns.turn_id == sa.bindparam("turn_id_"), _turns.owner_id == _OWNER, RUNNING)
    .returning(_turns.session_id, _turns.answer_seq)
)
RENEW_TURN: Final = Prepared(
    _CHANGE_RUNNING_TURN.returning(
        _turns.watched_until, _turns.stop_requested_at, _turns.decisions
    ),
    ("lease_expires_at",),
)
END_TURN: Final = Prepared(
    _CHANGE_RUNNING_TURN.values(**_SETTLED), ("state", "finished_at", "error_id")
)

OWN_LEASED: Final = sa.and_(_OWN_RUNNING, _turns.lease_expires_at > _AT)
WATCH_TURN: Final = (
    sa.update(agent_turns)
    .where(OWN_LEASED)
    .values(watched_until=sa.bindparam("until", type_=UtcDateTime))
)
REQUEST_STOP: Final = sa.update(agent_turns).where(OWN_LEASED).values(stop_requested_at=_AT)

_CHANGE_ANSWER: Final = sa.update(agent_messages).where(
    _OWN_MESSAGES, _messages.seq == sa.bindparam("seq_")
)
_CONTENT: Final = ("content", "tool_calls", "thinking", "details")
_COUNTED: Final = (
    "tokens_used",
    "latency_ms",
    "model_used",
    "input_tokens",
    "output_tokens",
    "cost_micros",
    "tokens_estimated",
)
_ENDED: Final = ("status", "error_id")
_FINISHED: Final = ("finish_reason",)
KEEP_ANSWER: Final = Prepared(_CHANGE_ANSWER, _CONTENT)
END_ANSWER: Final = Prepared(_CHANGE_ANSWER, (*_CONTENT, *_COUNTED, *_FINISHED, *_ENDED))
INTERRUPT_ANSWER: Final = Prepared(_CHANGE_ANSWER, _ENDED)

FORGET: Final = sa.delete(agent_sessions).where(_sessions.owner_id == _OWNER)
