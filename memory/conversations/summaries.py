"""Summaries of the older part of a long conversation; one process at a time claims a part.

Functions of one connection; each statement names the owner.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from memory.conversations import context_window as windows
from memory.records import ContextMessage
from memory.schema import UtcDateTime, agent_messages, agent_sessions

MAX_MESSAGES = 200  # of one part; what is beyond comes with the next
_sessions, _messages = agent_sessions.c, agent_messages.c
_OWN = sa.and_(
    _sessions.session_id == sa.bindparam("conversation_id_"),
    _sessions.owner_id == sa.bindparam("owner_id_"),
    _sessions.deleted_at.is_(None),
)
# The same one, too: one that was deleted may have been begun anew under the same id.
_UNCHANGED = sa.and_(
    sa.func.coalesce(_sessions.summarised_seq, 0) == sa.bindparam("expected_seq"),
    _sessions.started_at == sa.bindparam("conversation_created_at", type_=UtcDateTime),
)
_SUMMARY: Final = sa.select(_sessions.summary, sa.func.coalesce(_sessions.summarised_seq, 0)).where(
    _OWN
)
_STATE: Final = sa.select(
    _sessions.summary, sa.func.coalesce(_sessions.summarised_seq, 0), _sessions.started_at
).where(_OWN)
_OLDER: Final = (
    sa.select(_messages.seq, _messages.role, _messages.content)
    .where(
        _messages.session_id == sa.bindparam("conversation_id_"),
        _messages.owner_id == sa.bindparam("owner_id_"),
        _messages.superseded.is_(False),
        _messages.content != "",
        _messages.seq > sa.bindparam("after_seq"),
        _messages.seq < sa.bindparam("before_seq"),
    )
    .order_by(_messages.seq)
    .limit(MAX_MESSAGES)
)
_CLAIM: Final = (
    sa.update(agent_sessions)
    .where(
        _OWN,
        _UNCHANGED,
        sa.or_(
            _sessions.summarising_until.is_(None),
            _sessions.summarising_until <= sa.bindparam("at", type_=UtcDateTime),
        ),
    )
    .values(summarising_until=sa.bindparam("until", type_=UtcDateTime))
)
# PostgreSQL: an update that has to wait for the row still sees the messages as they were before.
_LOCK: Final = sa.select(_sessions.session_id).where(_OWN).with_for_update()
# Where the last message is on the path that is shown, those before it are too.
_STILL_SHOWN: Final = sa.exists().where(
    _messages.session_id == sa.bindparam("conversation_id_"),
    _messages.owner_id == sa.bindparam("owner_id_"),
    _messages.seq == sa.bindparam("summarized_through_seq"),
    _messages.superseded.is_(False),
)
_STORE: Final = (
    sa.update(agent_sessions)
    .where(_OWN, _UNCHANGED, _STILL_SHOWN)
    .values(
        summary=sa.bindparam("new_summary"),
        summarised_seq=sa.bindparam("summarized_through_seq"),
        summarising_until=None,
    )
)
_RELEASE: Final = sa.update(agent_sessions).where(_OWN).values(summarising_until=None)


@dataclass(frozen=True, slots=True)
class SummaryPart:
    """Messages that no summary covers yet, and the summary of all before them.

    Attributes:
        summary: The present summary.
        messages: The messages to add to it, oldest first.
        expected_seq: The last message that the present summary covers. The new one is stored
            only where that is still so.
        summarized_through_seq: The last message that the new summary will cover.
        conversation_created_at: Tells the conversation from a deleted one of the same id.
    """

    summary: str | None
    messages: tuple[ContextMessage, ...]
    expected_seq: int
    summarized_through_seq: int
    conversation_created_at: datetime


def current(connection: sa.Connection, owner: str, conversation_id: str) -> tuple[str | None, int]:
    """Return the summary of a conversation that exists, and the last seq that it covers."""
    own = {"owner_id_": owner, "conversation_id_": conversation_id}
    row = connection.execute(_SUMMARY, own).one()
    return row[0], row[1]


def claim(
    connection: sa.Connection,
    owner: str,
    conversation_id: str,
    *,
    before_seq: int,
    min_tokens: int,
    at: datetime,
    until: datetime,
) -> SummaryPart | None:
    """Claim the messages below `before_seq` that no summary covers.

    Returns None where they have fewer than `min_tokens`, or another process has the claim.
    """
    own = {"owner_id_": owner, "conversation_id_": conversation_id}
    row = connection.execute(_STATE, own).one_or_none()
    if row is None:
        return None
    summary, expected_seq, created_at = row
    bounds = {"after_seq": expected_seq, "before_seq": before_seq}
    messages = tuple(ContextMessage(*row) for row in connection.execute(_OLDER, own | bounds))
    if not messages or sum(map(windows.cost, messages)) < min_tokens:
        return None
    unchanged = {"expected_seq": expected_seq, "conversation_created_at": created_at}
    times = {"at": at, "until": until}
    if not connection.execute(_CLAIM, own | unchanged | times).rowcount:
        return None
    return SummaryPart(summary, messages, expected_seq, messages[-1].seq, created_at)


def store(
    connection: sa.Connection, owner: str, conversation_id: str, part: SummaryPart, summary: str
) -> bool:
    """Store a part's summary.

    Returns False when another process has summarized the part meanwhile, or its messages are no
    longer on the path that is shown.
    """
    parameters: dict[str, Any] = {
        "owner_id_": owner,
        "conversation_id_": conversation_id,
        "expected_seq": part.expected_seq,
        "conversation_created_at": part.conversation_created_at,
        "summarized_through_seq": part.summarized_through_seq,
        "new_summary": summary,
    }
    connection.execute(_LOCK, {"owner_id_": owner, "conversation_id_": conversation_id})
    return connection.execute(_STORE, parameters).rowcount > 0


def release(connection: sa.Connection, owner: str, conversation_id: str) -> bool:
    """Release a claim; return whether there is such a conversation."""
    own = {"owner_id_": owner, "conversation_id_": conversation_id}
    return connection.execute(_RELEASE, own).rowcount > 0
