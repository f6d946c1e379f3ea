"""The rows of messages that go out through a channel. Functions of one connection.

A send is *pending* until one process claims it (*sending*). It ends as *sent*, as *failed*, or as
*uncertain* where nobody can know whether it arrived; then it is not sent again. One that the other
side refuses for now is pending until it is tried again; where that side had passed it on all the
same, it arrives twice. What one owner sends to one recipient goes in order; in a group nobody
waits for what another's answer meets. A pending one may be *held* until its recipient's service
window opens, see `memory.queues.windows`. A send that has ended keeps neither its text nor its
owner nor its recipient; one that the other side may still refuse keeps them for some minutes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from memory.schema import channel_sends

MAX_NAMED = 20  # failures
SENDING_SECONDS = 120.0  # longer than a send may take

OutboxState = Literal["sent", "failed", "uncertain"]
NAMES = "#names"  # behind a channel's name: where the names are that sends were made under
_sends = channel_sends.c
EMPTIED = {"owner_id": None, "recipient": None, "payload": None, "lease_until": None}
_SEND = (
    _sends.send_id,
    _sends.owner_id,
    _sends.recipient,
    _sends.kind,
    _sends.payload,
    _sends.attempts,
)
AGAIN = {"state": "pending", "lease_until": None, "ended_at": None, "attempts": _sends.attempts - 1}


@dataclass(frozen=True, slots=True)
class NewSend:
    """A text for one recipient; `kind` names the route that delivers it, `send_id` is unique."""

    send_id: str
    recipient: str
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Send:
    """A claimed send; `attempts` counts the present one too."""

    send_id: str
    owner: str
    recipient: str
    kind: str
    text: str
    attempts: int


@dataclass(frozen=True, slots=True)
class SendState:
    """The state of a send, and when it ended."""

    state: str
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class SendFailure:
    """A send that failed, or whose arrival is uncertain."""

    send_id: str
    state: str
    kind: str | None
    attempts: int
    at: datetime


@dataclass(frozen=True, slots=True)
class OutboxStatistics:
    """How many sends are in each state, when the oldest pending one came, the newest failures."""

    counts: Mapping[str, int]
    oldest: datetime | None
    failures: tuple[SendFailure, ...]


def add(
    connection: sa.Connection, owner: str, channel: str, new: Sequence[NewSend], now: datetime
) -> None:
    """Store pending sends; one whose id is stored already changes nothing."""
    rows: list[dict[str, Any]] = [
        {
            "send_id": item.send_id,
            "channel": channel,
            "owner_id": owner,
            "recipient": item.recipient,
            "kind": item.kind,
            "payload": item.text,
            "state": "pending",
            "attempts": 0,
            "next_at": now,
            "created_at": now,
            "part": part,
        }
        for part, item in enumerate(new)
    ]
    if rows:
        dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
        connection.execute(dialect.insert(channel_sends).on_conflict_do_nothing(), rows)


def add_named(
    connection: sa.Connection,
    owner: str,
    channel: str,
    name: str,
    content: str,
    new: Sequence[NewSend],
    now: datetime,
) -> bool:
    """Store sends under a name, once; return False where the name has another content."""
    row = {
        "send_id": name,
        "channel": channel + NAMES,
        "kind": "name",
        "payload": content,
        "state": "sent",
        "attempts": 0,
        "next_at": now,
        "created_at": now,
        "ended_at": now,
        "part": 0,
    }
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    named = dialect.insert(channel_sends).values(**row).on_conflict_do_nothing()
    if connection.execute(named).rowcount == 0:
        stored = sa.select(_sends.payload).where(
            _sends.send_id == name, _sends.channel == channel + NAMES
        )
        return bool(connection.execute(stored).scalar_one_or_none() == content)
    add(connection, owner, channel, new, now)
    return True


def is_named(connection: sa.Connection, channel: str, name: str) -> bool:
    """Return whether a name is stored."""
    statement = sa.select(_sends.send_id).where(
        _sends.send_id == name, _sends.channel == channel + NAMES
    )
    return connection.execute(statement).first() is not None


def mark_undelivered(
    connection: sa.Connection, channel: str, send_id: str, kind: str, now: datetime
) -> bool:
    """Mark a send that was taken as failed; return whether there is one."""
    statement = (
        sa.update(channel_sends)
        .where(
            _sends.channel == channel,
            _sends.send_id == send_id,
            _sends.state.in_(["sending", "sent"]),
        )
        .values(state="failed", error_kind=kind, ended_at=now, **EMPTIED)
    )
    return connection.execute(statement).rowcount > 0


def begun(connection: sa.Connection, owner: str, send_id: str, now: datetime) -> datetime:
    """Return when a send was claimed that is being sent; `now` for another."""
    statement = sa.select(_sends.lease_until).where(
        _sends.send_id == send_id, _sends.owner_id == owner, _sends.state == "sending"
    )
    lease: datetime | None = connection.execute(statement).scalar_one_or_none()
    return now if lease is None else lease - timedelta(seconds=SENDING_SECONDS)


def take_back(
    connection: sa.Connection, channel: str, send_id: str, now: datetime
) -> tuple[Send, datetime] | None:
    """Let a send that was taken, and whose text is kept, be sent again.

    Returns it and when it was sent; None where there is none.
    """
    is_taken = sa.and_(
        _sends.channel == channel,
        _sends.send_id == send_id,
        _sends.state == "sent",
        _sends.payload.is_not(None),
    )
    ended_at = connection.execute(sa.select(_sends.ended_at).where(is_taken)).scalar_one_or_none()
    statement = sa.update(channel_sends).where(is_taken).values(**AGAIN, next_at=now)
    row = connection.execute(statement.returning(*_SEND)).first()
    return None if row is None else (Send(*row), ended_at or now)


def claim(
    connection: sa.Connection,
    channel: str,
    *,
    limit: int,
    now: datetime,
    until: datetime,
    unless: sa.ColumnElement[bool] | None = None,
) -> list[Send]:
    """Claim due sends, oldest first: of each owner the first to each recipient.

    Those for which `unless` holds are left.
    """
    other = channel_sends.alias()
    is_earlier = sa.tuple_(other.c.created_at, other.c.part, other.c.send_id) < sa.tuple_(
        _sends.created_at, _sends.part, _sends.send_id
    )
    earlier = sa.exists().where(
        other.c.channel == _sends.channel,
        other.c.owner_id == _sends.owner_id,
        other.c.recipient == _sends.recipient,
        other.c.state.in_(["pending", "sending"]),
        other.c.held_at.is_(None),
        is_earlier,
    )
    due = sa.and_(
        _sends.channel == channel,
        _sends.state == "pending",
        _sends.held_at.is_(None),
        _sends.next_at <= now,
    )
    candidates = sa.select(_sends.send_id).where(due, ~earlier)
    if unless is not None:
        candidates = candidates.where(~unless)
    candidates = candidates.order_by(_sends.created_at, _sends.part).limit(limit)
    ids = list(
        connection.execute(candidates.with_for_update(of=channel_sends, skip_locked=True)).scalars()
    )
    if not ids:
        return []
    update = (
        sa.update(channel_sends)
        .where(_sends.send_id.in_(ids), _sends.state == "pending")
        .values(state="sending", lease_until=until, attempts=_sends.attempts + 1)
        .returning(*_SEND)
    )
    return [Send(*row) for row in connection.execute(update)]


def put_back(connection: sa.Connection, sends: Sequence[Send], now: datetime) -> None:
    """Release claims that their caller never received."""
    ids = [item.send_id for item in sends]
    statement = (
        sa.update(channel_sends)
        .where(_sends.send_id.in_(ids), _sends.state == "sending")
        .values(state="pending", lease_until=None, next_at=now, attempts=_sends.attempts - 1)
    )
    connection.execute(statement)


def change(connection: sa.Connection, owner: str, send_id: str, values: dict[str, Any]) -> bool:
    """Change a claimed send; return whether it is still claimed."""
    statement = (
        sa.update(channel_sends)
        .where(_sends.send_id == send_id, _sends.owner_id == owner, _sends.state == "sending")
        .values(**values)
    )
    return connection.execute(statement).rowcount > 0


def states(
    connection: sa.Connection, owner: str, channel: str, ids: Sequence[str]
) -> list[SendState]:
    """Return the states of an owner's sends that exist, in order of `ids`."""
    # What has ended names no owner any more, and says nothing but this.
    own = sa.or_(_sends.owner_id == owner, _sends.ended_at.is_not(None))
    statement = sa.select(_sends.send_id, _sends.state, _sends.ended_at).where(
        _sends.channel == channel, _sends.send_id.in_(ids), own
    )
    states_by_id = {
        row.send_id: SendState(row.state, row.ended_at) for row in connection.execute(statement)
    }
    return [states_by_id[send_id] for send_id in ids if send_id in states_by_id]


def expire(connection: sa.Connection, channel: str, now: datetime) -> int:
    """Mark sends whose lease has ended as uncertain, and empty those that were sent.

    Returns how many are uncertain.
    """
    statement = (
        sa.update(channel_sends)
        .where(_sends.channel == channel, _sends.state == "sent", _sends.lease_until <= now)
        .values(EMPTIED)
    )
    connection.execute(statement)
    statement = (
        sa.update(channel_sends)
        .where(_sends.channel == channel, _sends.state == "sending", _sends.lease_until <= now)
        .values(state="uncertain", error_kind="crashed", ended_at=now, **EMPTIED)
    )
    return connection.execute(statement).rowcount


def statistics(connection: sa.Connection, channel: str) -> OutboxStatistics:
    """Return statistics over all owners, without a text or a name."""
    own = _sends.channel == channel
    state = sa.case((_sends.held_at.is_not(None), "held"), else_=_sends.state)
    counted = sa.select(state, sa.func.count()).where(own).group_by(state)
    counts = {name: int(count) for name, count in connection.execute(counted)}
    is_waiting = sa.and_(own, _sends.state == "pending", _sends.held_at.is_(None))
    waiting = sa.select(sa.func.min(_sends.created_at)).where(is_waiting)
    failed = (
        sa.select(_sends.send_id, _sends.state, _sends.error_kind, _sends.attempts, _sends.ended_at)
        .where(own, _sends.state.in_(["failed", "uncertain"]))
        .order_by(_sends.ended_at.desc())
        .limit(MAX_NAMED)
    )
    failures = tuple(SendFailure(*row) for row in connection.execute(failed))
    return OutboxStatistics(counts, connection.execute(waiting).scalar_one(), failures)


def is_due(connection: sa.Connection, channel: str, now: datetime) -> bool:
    """Return whether there are sends to claim or to mark as uncertain."""
    pending = sa.and_(_sends.state == "pending", _sends.held_at.is_(None), _sends.next_at <= now)
    ended = sa.and_(_sends.state.in_(["sending", "sent"]), _sends.lease_until <= now)
    return any(
        connection.execute(
            sa.select(_sends.send_id).where(_sends.channel == channel, condition).limit(1)
        ).first()
        is not None
        for condition in (pending, ended)
    )


def purge(connection: sa.Connection, channel: str, before: datetime) -> int:
    """Delete the sends that ended before then; return how many."""
    own = _sends.channel.in_([channel, channel + NAMES])
    statement = sa.delete(channel_sends).where(own, _sends.ended_at < before)
    return connection.execute(statement).rowcount


def forget(connection: sa.Connection, owner: str) -> None:
    """Delete an owner's sends that have not ended, in every channel."""
    connection.execute(sa.delete(channel_sends).where(_sends.owner_id == owner))
