"""Service windows: until when a recipient may be sent any text. Functions of one connection.

A window closes some time after the recipient's last message. While it is closed, texts of a kind
that needs it are *held*: pending, and not to be claimed. The first of them calls the recipient, by
a text of another kind that may be sent at any time. A recipient of whom nothing is known has an open
window: whether that is right is seen when something is sent.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from memory.queues import outbox_rows
from memory.queues.outbox_rows import EMPTIED, NewSend
from memory.schema import channel_sends, channel_windows

MAX_HELD = 100  # of one owner to one recipient
HELD_DAYS = 30  # after which a held text is given up
CALL_PAUSE = timedelta(hours=24)  # between two calls of one recipient

_windows, _sends = channel_windows.c, channel_sends.c


@dataclass(frozen=True, slots=True)
class Call:
    """How recipients are asked to write: the kind of such a send, its text for a held one, new ids."""

    kind: str
    text_of: Callable[[str], str]
    new_id: Callable[[], str]


@dataclass(frozen=True, slots=True)
class WindowRule:
    """The kind of sends that need an open window, and how recipients are called, if they are."""

    kind: str
    call: Call | None = None


def open_until(
    connection: sa.Connection, owner: str, channel: str, recipient: str, closes_at: datetime
) -> None:
    """Store that a recipient has written, as this owner; a window is never shortened by it."""
    row = {"channel": channel, "recipient": recipient, "owner_id": owner, "closes_at": closes_at}
    statement = _insert(connection).values(row)
    is_later = statement.excluded.closes_at > _windows.closes_at
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["channel", "recipient"],
            set_={
                "owner_id": statement.excluded.owner_id,
                "closes_at": statement.excluded.closes_at,
            },
            where=is_later,
        )
    )


def close(
    connection: sa.Connection,
    owner: str,
    channel: str,
    recipient: str,
    now: datetime,
    unless_after: datetime,
) -> bool:
    """Close a window, unless it lasts longer than `unless_after`; return whether it is closed."""
    row = {"channel": channel, "recipient": recipient, "owner_id": owner, "closes_at": now}
    statement = _insert(connection).values(row)
    statement = statement.on_conflict_do_update(
        index_elements=["channel", "recipient"],
        set_={"closes_at": now},
        where=_windows.closes_at <= unless_after,
    )
    return connection.execute(statement).rowcount > 0


def is_settled(connection: sa.Connection, channel: str, rule: WindowRule, now: datetime) -> bool:
    """Return whether `settle` would change nothing."""
    statement = sa.select(_sends.send_id).where(
        sa.or_(to_hold(channel, rule, now), _to_release(channel, now))
    )
    return connection.execute(statement.limit(1)).first() is None


def settle(connection: sa.Connection, channel: str, rule: WindowRule, now: datetime) -> int:
    """Hold what needs a window that is closed, and release what is held for one that is open.

    Returns how many were held. Calls the recipients of those, each once a day.
    """
    release = sa.update(channel_sends).where(_to_release(channel, now))
    connection.execute(release.values(held_at=None, next_at=now))
    hold = (
        sa.update(channel_sends)
        .where(to_hold(channel, rule, now))
        .values(held_at=now)
        .returning(_sends.owner_id, _sends.recipient, _sends.payload, _sends.created_at)
    )
    rows = sorted(connection.execute(hold), key=lambda row: row.created_at)
    first: dict[str, Any] = {}
    for row in rows:
        first.setdefault(row.recipient, row)
    for owner, recipient in {(row.owner_id, row.recipient) for row in rows}:
        _bound(connection, owner, channel, recipient, now)
    if rule.call is not None:
        for row in first.values():
            if _may_call(connection, channel, row.recipient, now):
                send = NewSend(
                    rule.call.new_id(),
                    row.recipient,
                    rule.call.kind,
                    rule.call.text_of(row.payload),
                )
                outbox_rows.add(connection, row.owner_id, channel, [send], now)
    return len(rows)


def give_up(connection: sa.Connection, channel: str, now: datetime) -> int:
    """End what has been held for too long, and forget old windows; return how many ended."""
    before = now - timedelta(days=HELD_DAYS)
    held = sa.and_(_sends.channel == channel, _sends.held_at <= before)
    ended = connection.execute(_failed(held, "window_closed", now)).rowcount
    is_old = sa.and_(
        _windows.channel == channel,
        _windows.closes_at <= before,
        sa.or_(_windows.called_at.is_(None), _windows.called_at <= before),
    )
    connection.execute(sa.delete(channel_windows).where(is_old))
    return ended


def forget(connection: sa.Connection, owner: str) -> None:
    """Delete the windows that an owner has opened, in every channel."""
    connection.execute(sa.delete(channel_windows).where(_windows.owner_id == owner))


def to_hold(channel: str, rule: WindowRule, now: datetime) -> sa.ColumnElement[bool]:
    """Return the condition that a pending send needs a window that is closed."""
    return sa.and_(
        _sends.channel == channel,
        _sends.state == "pending",
        _sends.next_at <= now,
        _sends.held_at.is_(None),
        _sends.kind == rule.kind,
        _is_closed(now),
    )


def _to_release(channel: str, now: datetime) -> sa.ColumnElement[bool]:
    return sa.and_(
        _sends.channel == channel,
        _sends.state == "pending",
        _sends.held_at.is_not(None),
        ~_is_closed(now),
    )


def _is_closed(now: datetime) -> sa.ColumnElement[bool]:
    return sa.exists().where(
        _windows.channel == _sends.channel,
        _windows.recipient == _sends.recipient,
        _windows.closes_at <= now,
    )


def _may_call(connection: sa.Connection, channel: str, recipient: str, now: datetime) -> bool:
    """Store that a recipient is called, and return True; False where that was done lately."""
    statement = (
        sa.update(channel_windows)
        .where(
            _windows.channel == channel,
            _windows.recipient == recipient,
            sa.or_(_windows.called_at.is_(None), _windows.called_at <= now - CALL_PAUSE),
        )
        .values(called_at=now)
    )
    return connection.execute(statement).rowcount > 0


def _bound(
    connection: sa.Connection, owner: str, channel: str, recipient: str, now: datetime
) -> None:
    """End the oldest of too many texts that an owner's recipient is held for."""
    surplus = (
        sa.select(_sends.send_id)
        .where(
            _sends.channel == channel,
            _sends.owner_id == owner,
            _sends.recipient == recipient,
            _sends.held_at.is_not(None),
        )
        .order_by(_sends.created_at.desc(), _sends.part.desc(), _sends.send_id.desc())
        .offset(MAX_HELD)
    )
    ids = list(connection.execute(surplus).scalars())
    if ids:
        connection.execute(_failed(_sends.send_id.in_(ids), "too_many_held", now))


def _failed(condition: sa.ColumnElement[bool], kind: str, now: datetime) -> sa.Update:
    values = {"state": "failed", "error_kind": kind, "ended_at": now, "held_at": None, **EMPTIED}
    return sa.update(channel_sends).where(condition, _sends.state == "pending").values(**values)


def _insert(connection: sa.Connection) -> Any:
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    return dialect.insert(channel_windows)
