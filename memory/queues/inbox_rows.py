"""The rows of messages that came through a channel. Functions of one connection.

A message is *received* until one process claims it (*running*). It ends as *done* or *failed*, or
as *lost* where that process has died: it is not claimed again, since nobody knows how far it came.
Messages of one owner are claimed one after the other. A message that has ended keeps only its id.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from memory.schema import channel_messages

MAX_WAITING = 20  # messages of one owner
MAX_READ = 50

ArrivalState = Literal["new", "seen", "full"]
InboxState = Literal["done", "failed"]
_messages = channel_messages.c
FREE = {"holder": None, "lease_until": None}
EMPTIED = {"owner_id": None, "payload": None, "media": None, **FREE}
# without the bytes, which are fetched where they are read
_SHOWN = [_messages.message_id, _messages.owner_id, _messages.payload]


@dataclass(frozen=True, slots=True)
class NewInboxMessage:
    """A message as it arrived.

    `is_dated` says that its own time bounds how long it can be redelivered.
    """

    message_id: str
    payload: Mapping[str, Any]
    media: bytes | None = None
    is_dated: bool = True


@dataclass(frozen=True, slots=True)
class InboxMessage:
    """A claimed message; only the claim that `holder` names may end it."""

    message_id: str
    owner: str
    payload: Mapping[str, Any]
    holder: str = ""


@dataclass(frozen=True, slots=True)
class InboxStatistics:
    """How many messages are in each state, and when the oldest waiting one arrived."""

    counts: Mapping[str, int]
    oldest: datetime | None


def add(
    connection: sa.Connection,
    owner: str,
    channel: str,
    new: NewInboxMessage,
    values: dict[str, Any],
) -> ArrivalState:
    """Store a message unless its id is stored already; say whether too many of the owner wait."""
    row: dict[str, Any] = {
        "channel": channel,
        "message_id": new.message_id,
        "owner_id": owner,
        "payload": dict(new.payload),
        "media": new.media,
        "is_dated": new.is_dated,
        **values,
    }
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    inserted = dialect.insert(channel_messages).values(**row).on_conflict_do_nothing()
    if connection.execute(inserted).rowcount == 0:
        return "seen"
    waiting = sa.select(sa.func.count()).where(
        _messages.channel == channel, _messages.owner_id == owner, _messages.state == "received"
    )
    return "full" if connection.execute(waiting).scalar_one() > MAX_WAITING else "new"


def claim(
    connection: sa.Connection, channel: str, holder: str, *, limit: int, until: datetime
) -> list[InboxMessage]:
    """Claim messages, oldest first: of each owner without a running one, the first."""
    other = channel_messages.alias()
    is_earlier = sa.tuple_(other.c.received_at, other.c.message_id) < sa.tuple_(
        _messages.received_at, _messages.message_id
    )
    before = sa.exists().where(
        other.c.channel == _messages.channel,
        other.c.owner_id == _messages.owner_id,
        sa.or_(other.c.state == "running", sa.and_(other.c.state == "received", is_earlier)),
    )
    waiting = sa.and_(_messages.channel == channel, _messages.state == "received")
    candidates = sa.select(_messages.message_id).where(waiting, ~before)
    candidates = candidates.order_by(_messages.received_at, _messages.message_id).limit(limit)
    ids = list(
        connection.execute(
            candidates.with_for_update(of=channel_messages, skip_locked=True)
        ).scalars()
    )
    if not ids:
        return []
    update = (
        sa.update(channel_messages)
        .where(waiting, _messages.message_id.in_(ids))
        .values(state="running", holder=holder, lease_until=until)
        .returning(*_SHOWN, _messages.holder)
    )
    return [InboxMessage(*row) for row in connection.execute(update)]


def put_back(connection: sa.Connection, channel: str, messages: Sequence[InboxMessage]) -> None:
    """Release claims that their caller never received."""
    statement = (
        sa.update(channel_messages).where(_held(channel, messages)).values(state="received", **FREE)
    )
    connection.execute(statement)


def waiting(
    connection: sa.Connection, owner: str, channel: str, since: datetime
) -> list[InboxMessage]:
    """Return an owner's unclaimed messages that arrived since then, oldest first."""
    statement = (
        sa.select(*_SHOWN)
        .where(
            _messages.channel == channel,
            _messages.owner_id == owner,
            _messages.state == "received",
            _messages.received_at >= since,
        )
        .order_by(_messages.received_at, _messages.message_id)
        .limit(MAX_READ)
    )
    return [InboxMessage(*row) for row in connection.execute(statement)]


def media(connection: sa.Connection, owner: str, channel: str, message_id: str) -> bytes | None:
    """Return the bytes of an owner's message that has not ended; None without any."""
    statement = sa.select(_messages.media).where(
        _messages.channel == channel,
        _messages.message_id == message_id,
        _messages.owner_id == owner,
    )
    return connection.execute(statement).scalar_one_or_none()


def change(
    connection: sa.Connection,
    owner: str,
    channel: str,
    message_id: str,
    holder: str,
    values: dict[str, Any],
) -> bool:
    """Change an owner's message that this holder has claimed; return whether it has.

    An empty holder stands for an unclaimed message.
    """
    is_so = sa.and_(_messages.state == "running", _messages.holder == holder)
    if not holder:
        is_so = _messages.state == "received"
    statement = (
        sa.update(channel_messages)
        .where(
            _messages.channel == channel,
            _messages.message_id == message_id,
            _messages.owner_id == owner,
            is_so,
        )
        .values(**values)
    )
    return connection.execute(statement).rowcount > 0


def renew(
    connection: sa.Connection, channel: str, messages: Sequence[InboxMessage], until: datetime
) -> None:
    """Extend the leases of claimed messages."""
    statement = sa.update(channel_messages).where(_held(channel, messages))
    connection.execute(statement.values(lease_until=until))


def mark_lost(
    connection: sa.Connection, channel: str, now: datetime, own: Sequence[InboxMessage]
) -> list[InboxMessage]:
    """Mark the messages whose lease has ended as lost, except `own`; return them as they were."""
    expired = sa.and_(
        _messages.channel == channel,
        _messages.state == "running",
        _messages.lease_until <= now,
        ~_held(channel, own),
    )
    messages = [
        InboxMessage(*row)
        for row in connection.execute(
            sa.select(*_SHOWN).where(expired).with_for_update(skip_locked=True)
        )
    ]
    ids = [item.message_id for item in messages]
    statement = (
        sa.update(channel_messages)
        .where(expired, _messages.message_id.in_(ids))
        .values(state="lost", ended_at=now, **EMPTIED)
    )
    if ids:
        connection.execute(statement)
    return messages


def backlog(connection: sa.Connection, channel: str) -> int:
    """Return how many messages of a channel are unclaimed."""
    waiting = sa.select(sa.func.count()).where(
        _messages.channel == channel, _messages.state == "received"
    )
    return int(connection.execute(waiting).scalar_one())


def statistics(connection: sa.Connection, channel: str) -> InboxStatistics:
    """Return statistics over all owners, without a text or a name."""
    own = _messages.channel == channel
    counted = sa.select(_messages.state, sa.func.count()).where(own).group_by(_messages.state)
    counts = {state: int(count) for state, count in connection.execute(counted)}
    oldest = sa.select(sa.func.min(_messages.received_at)).where(own, _messages.state == "received")
    return InboxStatistics(counts, connection.execute(oldest).scalar_one())


def is_due(connection: sa.Connection, channel: str, now: datetime) -> bool:
    """Return whether there may be messages to claim or to mark as lost."""
    expired = sa.and_(_messages.state == "running", _messages.lease_until <= now)
    due = sa.select(_messages.message_id).where(
        _messages.channel == channel, sa.or_(_messages.state == "received", expired)
    )
    return connection.execute(due.limit(1)).first() is not None


def purge(
    connection: sa.Connection, channel: str, before: datetime, undated_before: datetime
) -> int:
    """Delete the ids of messages that ended before then; return how many."""
    dated = sa.and_(_messages.is_dated, _messages.ended_at < before)
    statement = sa.delete(channel_messages).where(
        _messages.channel == channel, sa.or_(dated, _messages.ended_at < undated_before)
    )
    return connection.execute(statement).rowcount


def forget(connection: sa.Connection, owner: str) -> None:
    """Delete the content of an owner's messages in every channel; their ids stay.

    A running message, such as the command to forget itself, loses its owner when it ends.
    """
    own = _messages.owner_id == owner
    done = {"state": "done", "ended_at": _messages.received_at, **EMPTIED}
    connection.execute(
        sa.update(channel_messages).where(own, _messages.state == "received").values(**done)
    )
    connection.execute(sa.update(channel_messages).where(own).values(payload=None, media=None))


def _held(channel: str, messages: Sequence[InboxMessage]) -> sa.ColumnElement[bool]:
    """Return the condition that a message is one of these and still has the same holder."""
    return sa.and_(
        _messages.channel == channel,
        _messages.state == "running",
        _messages.message_id.in_([item.message_id for item in messages]),
        _messages.holder.in_({item.holder for item in messages}),
    )
