"""The older part of a long conversation, claimed for summarising by one process at a time.

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
    sa.func.coalesce(_sessions.summarised_seq, 0) == sa.bindparam("seen"),
    _sessions.started_at == sa.bindparam("born", type_=UtcDateTime),
)
SUMMARY: Final = sa.select(_sessions.summary, sa.func.coalesce(_sessions.summarised_seq, 0)).where(
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
_STORE: Final = (
    sa.update(agent_sessions)
    .where(_OWN, _UNCHANGED)
    .values(
        summary=sa.bindparam("new_summary"),
        summarised_seq=sa.bindparam("upto"),
        summarising_until=None,
    )
)
_RELEASE: Final = sa.update(agent_sessions).where(_OWN).values(summarising_until=None)


@dataclass(frozen=True, slots=True)
class SummaryPart:
    """Messages that no summary covers yet, and the summary of all before them.

    `seen` and `upto` are the last places that the old and the new summary cover; `born` is when
    the conversation began.
    """

    summary: str | None
    messages: tuple[ContextMessage, ...]
    seen: int
    upto: int
    born: datetime


def claim(
    connection: sa.Connection,
    owner: str,
    conversation_id: str,
    *,
    before_seq: int,
    least: int,
    at: datetime,
    until: datetime,
) -> SummaryPart | None:
    """Take the part below `before_seq` that no summary covers, if it has `least` tokens.

    None where there is less, or where another process is at it.
    """
    own = {"owner_id_": owner, "conversation_id_": conversation_id}
    row = connection.execute(_STATE, own).one_or_none()
    if row is None:
        return None
    summary, seen, born = row
    places = {"after_seq": seen, "before_seq": before_seq}
    found = tuple(ContextMessage(*row) for row in connection.execute(_OLDER, own | places))
    if not found or sum(map(windows.cost, found)) < least:
        return None
    taken = connection.execute(_CLAIM, own | {"seen": seen, "born": born, "at": at, "until": until})
    return SummaryPart(summary, found, seen, found[-1].seq, born) if taken.rowcount else None


def store(
    connection: sa.Connection, owner: str, conversation_id: str, part: SummaryPart, summary: str
) -> bool:
    """Keep a part's summary; False when the part was summarised meanwhile."""
    parameters: dict[str, Any] = {
        "owner_id_": owner,
        "conversation_id_": conversation_id,
        "seen": part.seen,
        "born": part.born,
        "upto": part.upto,
        "new_summary": summary,
    }
    return connection.execute(_STORE, parameters).rowcount > 0


def release(connection: sa.Connection, owner: str, conversation_id: str) -> bool:
    """Give a claim back; whether there was such a conversation."""
    own = {"owner_id_": owner, "conversation_id_": conversation_id}
    return connection.execute(_RELEASE, own).rowcount > 0
