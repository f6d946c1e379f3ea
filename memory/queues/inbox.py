"""What came through a channel: each message is dealt with once, whoever delivers it how often.

A message is *received* until one process takes it (*running*); it ends as *done* or *failed*, or,
where that process has died, as *lost*: it is never taken again, since nobody knows what was done.
Messages of one owner are taken one after the other. One that has ended keeps its id alone.

Functions of one connection, and `Inbox`, which runs them.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from memory.engine.database import Database
from memory.engine.scopes import EVERYONE
from memory.queues import outbox
from memory.queues.outbox import NewSend
from memory.records import utcnow
from memory.schema import channel_messages
from memory.validation import check_owner, check_texts

RUNNING_SECONDS = 60.0  # after its last renewal
MAX_WAITING = 20  # messages of one owner
MAX_READ = 50
UNDATED_SECONDS = 30 * 86_400.0  # for which the id of a message without a time is kept at least

ArrivalState = Literal["new", "seen", "full"]
InboxState = Literal["done", "failed"]
_messages = channel_messages.c
_FREE = {"holder": None, "lease_until": None}
_EMPTIED = {"owner_id": None, "payload": None, "media": None, **_FREE}
# without the bytes, which are fetched where they are read
_SHOWN = [_messages.message_id, _messages.owner_id, _messages.payload]


@dataclass(frozen=True, slots=True)
class NewInboxMessage:
    """A message as it came; `is_dated` says that its own age bounds how long it can be repeated."""

    message_id: str
    payload: Mapping[str, Any]
    media: bytes | None = None
    is_dated: bool = True


@dataclass(frozen=True, slots=True)
class InboxMessage:
    """One that was taken; `holder` names that claim, and nobody else may end it."""

    message_id: str
    owner: str
    payload: Mapping[str, Any]
    holder: str = ""


@dataclass(frozen=True, slots=True)
class InboxStatistics:
    """How many messages are in each state, and since when the oldest waits."""

    counts: Mapping[str, int]
    oldest: datetime | None


def add(
    connection: sa.Connection,
    owner: str,
    channel: str,
    new: NewInboxMessage,
    values: dict[str, Any],
) -> ArrivalState:
    """Keep a message unless its id is known or too many of its owner's wait."""
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
    """Take messages, the first of each owner without a running one, oldest first."""
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
    found = sa.select(_messages.message_id).where(waiting, ~before)
    found = found.order_by(_messages.received_at, _messages.message_id).limit(limit)
    ids = list(
        connection.execute(found.with_for_update(of=channel_messages, skip_locked=True)).scalars()
    )
    if not ids:
        return []
    taken = (
        sa.update(channel_messages)
        .where(waiting, _messages.message_id.in_(ids))
        .values(state="running", holder=holder, lease_until=until)
        .returning(*_SHOWN, _messages.holder)
    )
    return [InboxMessage(*row) for row in connection.execute(taken)]


def put_back(connection: sa.Connection, channel: str, taken: Sequence[InboxMessage]) -> None:
    """Take a claim back of which nobody has learnt."""
    statement = (
        sa.update(channel_messages).where(_held(channel, taken)).values(state="received", **_FREE)
    )
    connection.execute(statement)


def waiting(
    connection: sa.Connection, owner: str, channel: str, since: datetime
) -> list[InboxMessage]:
    """Return what an owner has sent since then and nobody has taken, oldest first."""
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
    """Return the bytes that came with an owner's message, as long as it has not ended."""
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
    """Change an owner's message that this holder has taken, or nobody if empty; whether it was."""
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
    connection: sa.Connection, channel: str, taken: Sequence[InboxMessage], until: datetime
) -> None:
    """Keep messages that are being dealt with."""
    statement = sa.update(channel_messages).where(_held(channel, taken))
    connection.execute(statement.values(lease_until=until))


def lose(
    connection: sa.Connection, channel: str, now: datetime, own: Sequence[InboxMessage]
) -> list[InboxMessage]:
    """Give up the messages whose process has died, which `own` are not; return them as they were."""
    dead = sa.and_(
        _messages.channel == channel,
        _messages.state == "running",
        _messages.lease_until <= now,
        ~_held(channel, own),
    )
    found = [
        InboxMessage(*row)
        for row in connection.execute(
            sa.select(*_SHOWN).where(dead).with_for_update(skip_locked=True)
        )
    ]
    ids = [item.message_id for item in found]
    statement = (
        sa.update(channel_messages)
        .where(dead, _messages.message_id.in_(ids))
        .values(state="lost", ended_at=now, **_EMPTIED)
    )
    if ids:
        connection.execute(statement)
    return found


def backlog(connection: sa.Connection, channel: str) -> int:
    """How many messages of a channel wait for a process."""
    waiting = sa.select(sa.func.count()).where(
        _messages.channel == channel, _messages.state == "received"
    )
    return int(connection.execute(waiting).scalar_one())


def figures(connection: sa.Connection, channel: str) -> InboxStatistics:
    """What is stored of all owners, without a text or a name."""
    own = _messages.channel == channel
    counted = sa.select(_messages.state, sa.func.count()).where(own).group_by(_messages.state)
    counts = {state: int(count) for state, count in connection.execute(counted)}
    oldest = sa.select(sa.func.min(_messages.received_at)).where(own, _messages.state == "received")
    return InboxStatistics(counts, connection.execute(oldest).scalar_one())


def is_due(connection: sa.Connection, channel: str, now: datetime) -> bool:
    """Whether there may be anything to claim or to give up."""
    dead = sa.and_(_messages.state == "running", _messages.lease_until <= now)
    found = sa.select(_messages.message_id).where(
        _messages.channel == channel, sa.or_(_messages.state == "received", dead)
    )
    return connection.execute(found.limit(1)).first() is not None


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
    """Drop what is kept of an owner's messages, in every channel, but for the bare ids.

    One that is being dealt with, such as the wish to be forgotten itself, loses its owner when
    it ends.
    """
    own = _messages.owner_id == owner
    gone = {"state": "done", "ended_at": _messages.received_at, **_EMPTIED}
    connection.execute(
        sa.update(channel_messages).where(own, _messages.state == "received").values(**gone)
    )
    connection.execute(sa.update(channel_messages).where(own).values(payload=None, media=None))


def _held(channel: str, taken: Sequence[InboxMessage]) -> sa.ColumnElement[bool]:
    """Return the condition that a message is one of these, and still with whom has taken it."""
    return sa.and_(
        _messages.channel == channel,
        _messages.state == "running",
        _messages.message_id.in_([item.message_id for item in taken]),
        _messages.holder.in_({item.holder for item in taken}),
    )


class Inbox:
    """The messages of one channel.

    Each method may raise DatabaseUnavailableError, those that write DatabaseFullError.

    Args:
        database: Where they are.
        channel: Its name.
        clock: The time, with its zone; those of replicas must agree to seconds.
    """

    def __init__(
        self, database: Database, channel: str, *, clock: Callable[[], datetime] = utcnow
    ) -> None:
        self._database = database
        self._channel = channel
        self._clock = clock

    async def add(
        self, owner: str, new: NewInboxMessage, *, busy: Sequence[NewSend] = (), taken_by: str = ""
    ) -> ArrivalState:
        """Keep a message until it is dealt with.

        With `taken_by`, the caller deals with it at once, as a holder of that name, which no other
        claim has. One too many of an owner's is answered with `busy` and nothing else. Raises
        InvalidTextError.
        """
        check_owner(owner)
        check_texts(message_id=new.message_id)
        now, channel = self._clock(), self._channel
        lease = now + timedelta(seconds=RUNNING_SECONDS)
        values = {"state": "received", "received_at": now}
        if taken_by:
            values |= {"state": "running", "holder": taken_by, "lease_until": lease}

        def work(connection: sa.Connection) -> ArrivalState:
            arrival = add(connection, owner, channel, new, values)
            if arrival == "full":
                ended = {"state": "failed", "ended_at": now, **_EMPTIED}
                change(connection, owner, channel, new.message_id, "", ended)
                outbox.add(connection, owner, channel, busy, now)
            return arrival

        return await self._database.write(work, owner=owner)

    async def answered(
        self, owner: str, new: NewInboxMessage, sends: Sequence[NewSend] = ()
    ) -> ArrivalState:
        """Keep the id of a message that needs no more than `sends` as its answer."""
        check_owner(owner)
        check_texts(message_id=new.message_id)
        now, channel = self._clock(), self._channel
        bare = NewInboxMessage(new.message_id, {}, None, new.is_dated)
        values = {"state": "done", "received_at": now, "ended_at": now, **_EMPTIED}

        def work(connection: sa.Connection) -> ArrivalState:
            arrival = add(connection, owner, channel, bare, values)
            if arrival != "seen":
                outbox.add(connection, owner, channel, sends, now)
            return arrival

        return await self._database.write(work, owner=owner)

    async def claim(self, limit: int) -> list[InboxMessage]:
        """Take up to so many messages, which are then to be ended by the caller."""
        now, channel = self._clock(), self._channel
        if not await self._database.read(
            lambda connection: is_due(connection, channel, now), owner=EVERYONE
        ):
            return []
        until, holder = now + timedelta(seconds=RUNNING_SECONDS), secrets.token_hex(8)
        return await self._database.write(
            lambda connection: claim(connection, channel, holder, limit=limit, until=until),
            undo=lambda taken: lambda connection: put_back(connection, channel, taken),
            owner=EVERYONE,
        )

    async def waiting(self, owner: str, since: datetime) -> list[InboxMessage]:
        """Return what the owner has sent since then and nobody has taken, oldest first."""
        check_owner(owner)
        channel = self._channel
        return await self._database.read(
            lambda connection: waiting(connection, owner, channel, since), owner=owner
        )

    async def media(self, owner: str, message_id: str) -> bytes | None:
        """Return the bytes that came with the owner's message; None where none are there."""
        check_owner(owner)
        channel = self._channel
        return await self._database.read(
            lambda connection: media(connection, owner, channel, message_id), owner=owner
        )

    async def take(self, owner: str, message_id: str) -> bool:
        """End a message that nobody has taken yet; whether it was this caller who did."""
        return await self._change(owner, message_id, "", self._ended("done"))

    async def give_back(self, owner: str, message_id: str, holder: str) -> bool:
        """Let another take a message with which this holder has begun nothing."""
        values = {"state": "received", **_FREE}
        return await self._change(owner, message_id, holder, values)

    async def finish(
        self,
        owner: str,
        message_id: str,
        holder: str,
        state: InboxState,
        sends: Sequence[NewSend] = (),
    ) -> bool:
        """End a message and keep its answer, both or neither.

        False, and nothing kept, where it is not with this holder any more: it was given up, or
        given back and taken by another. Raises InvalidTextError.
        """
        check_owner(owner)
        for item in sends:
            check_texts(send_id=item.send_id, recipient=item.recipient, text=item.text)
        now, channel, values = self._clock(), self._channel, self._ended(state)

        def work(connection: sa.Connection) -> bool:
            own = change(connection, owner, channel, message_id, holder, values)
            if own:
                outbox.add(connection, owner, channel, sends, now)
            return own

        return await self._database.write(work, owner=owner)

    async def renew(self, taken: Sequence[InboxMessage]) -> None:
        """Keep messages that this process deals with."""
        until, channel = self._clock() + timedelta(seconds=RUNNING_SECONDS), self._channel
        if taken:
            await self._database.write(
                lambda connection: renew(connection, channel, taken, until), owner=EVERYONE
            )

    async def lose(
        self, notice: Callable[[InboxMessage], Sequence[NewSend]], own: Sequence[InboxMessage] = ()
    ) -> int:
        """Give up the messages of dead processes, and tell who sent them; return how many.

        `own` are those that the caller deals with, which lives.
        """
        now, channel = self._clock(), self._channel
        if not await self._database.read(
            lambda connection: is_due(connection, channel, now), owner=EVERYONE
        ):
            return 0

        def work(connection: sa.Connection) -> int:
            lost = lose(connection, channel, now, own)
            for message in lost:
                outbox.add(connection, message.owner, channel, notice(message), now)
            return len(lost)

        return await self._database.write(work, owner=EVERYONE)

    async def backlog(self) -> int:
        """How many messages wait for a process."""
        channel = self._channel
        return await self._database.read(
            lambda connection: backlog(connection, channel), owner=EVERYONE
        )

    async def figures(self) -> InboxStatistics:
        """What is stored, in numbers."""
        channel = self._channel
        return await self._database.read(
            lambda connection: figures(connection, channel), owner=EVERYONE
        )

    async def purge(self, seconds: float) -> int:
        """Delete the ids of messages that ended so long ago; return how many.

        Those of messages without a time of their own are kept for thirty days at least: no age
        tells that they can come no more, and one that is repeated later counts as new.
        """
        now, channel = self._clock(), self._channel
        before = now - timedelta(seconds=seconds)
        undated = now - timedelta(seconds=max(seconds, UNDATED_SECONDS))
        return await self._database.write(
            lambda connection: purge(connection, channel, before, undated), owner=EVERYONE
        )

    async def _change(
        self, owner: str, message_id: str, holder: str, values: dict[str, Any]
    ) -> bool:
        check_owner(owner)
        channel = self._channel
        return await self._database.write(
            lambda connection: change(connection, owner, channel, message_id, holder, values),
            owner=owner,
        )

    def _ended(self, state: InboxState) -> dict[str, Any]:
        return {"state": state, "ended_at": self._clock(), **_EMPTIED}
