"""Inbound queue: each message id is processed at most once, however often it is redelivered."""

import secrets
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from memory.engine.database import Database
from memory.engine.scopes import EVERYONE
from memory.queues import inbox_rows, outbox_rows
from memory.queues.inbox_rows import (
    ArrivalState,
    InboxMessage,
    InboxState,
    InboxStatistics,
    NewInboxMessage,
)
from memory.queues.outbox_rows import NewSend
from memory.records import utcnow
from memory.validation import check_owner, check_texts

__all__ = [
    "Inbox",
    "InboxMessage",
    "InboxState",
    "NewInboxMessage",
]

RUNNING_SECONDS = 60.0  # a claim's, after its last renewal
UNDATED_SECONDS = 30 * 86_400.0  # for which the id of a message without a time is kept at least


class Inbox:
    """The inbound queue of one channel.

    Each method may raise DatabaseUnavailableError, those that write DatabaseFullError.

    Args:
        database: The database.
        channel: The channel's name.
        clock: Returns the time, with its zone; clocks of replicas must agree to seconds.
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
        """Store a message until it is processed.

        With `taken_by` the caller claims it at once, as a holder of that name, which no other
        claim has. Where too many of an owner's messages wait, it ends as failed and `busy` is
        sent. Raises InvalidTextError.
        """
        check_owner(owner)
        check_texts(message_id=new.message_id)
        now, channel = self._clock(), self._channel
        lease = now + timedelta(seconds=RUNNING_SECONDS)
        values = {"state": "received", "received_at": now}
        if taken_by:
            values |= {"state": "running", "holder": taken_by, "lease_until": lease}

        def work(connection: sa.Connection) -> ArrivalState:
            arrival = inbox_rows.add(connection, owner, channel, new, values)
            if arrival == "full":
                ended = {"state": "failed", "ended_at": now, **inbox_rows.EMPTIED}
                inbox_rows.change(connection, owner, channel, new.message_id, "", ended)
                outbox_rows.add(connection, owner, channel, busy, now)
            return arrival

        return await self._database.write(work, owner=owner)

    async def answered(
        self, owner: str, new: NewInboxMessage, sends: Sequence[NewSend] = ()
    ) -> ArrivalState:
        """Store the id of a message that is answered by `sends` alone."""
        check_owner(owner)
        check_texts(message_id=new.message_id)
        now, channel = self._clock(), self._channel
        bare = NewInboxMessage(new.message_id, {}, None, new.is_dated)
        values = {"state": "done", "received_at": now, "ended_at": now, **inbox_rows.EMPTIED}

        def work(connection: sa.Connection) -> ArrivalState:
            arrival = inbox_rows.add(connection, owner, channel, bare, values)
            if arrival != "seen":
                outbox_rows.add(connection, owner, channel, sends, now)
            return arrival

        return await self._database.write(work, owner=owner)

    async def claim(self, limit: int) -> list[InboxMessage]:
        """Claim up to `limit` messages; the caller must end each."""
        now, channel = self._clock(), self._channel
        if not await self._database.read(
            lambda connection: inbox_rows.is_due(connection, channel, now), owner=EVERYONE
        ):
            return []
        until, holder = now + timedelta(seconds=RUNNING_SECONDS), secrets.token_hex(8)
        return await self._database.write(
            lambda connection: inbox_rows.claim(
                connection, channel, holder, limit=limit, until=until
            ),
            undo=lambda messages: (
                lambda connection: inbox_rows.put_back(connection, channel, messages)
            ),
            owner=EVERYONE,
        )

    async def waiting(self, owner: str, since: datetime) -> list[InboxMessage]:
        """Return the owner's unclaimed messages that arrived since then, oldest first."""
        check_owner(owner)
        channel = self._channel
        return await self._database.read(
            lambda connection: inbox_rows.waiting(connection, owner, channel, since), owner=owner
        )

    async def media(self, owner: str, message_id: str) -> bytes | None:
        """Return the bytes of the owner's message; None without any."""
        check_owner(owner)
        channel = self._channel
        return await self._database.read(
            lambda connection: inbox_rows.media(connection, owner, channel, message_id), owner=owner
        )

    async def take(self, owner: str, message_id: str) -> bool:
        """End an unclaimed message; return whether this caller did."""
        return await self._change(owner, message_id, "", self._ended("done"))

    async def give_back(self, owner: str, message_id: str, holder: str) -> bool:
        """Release a claimed message with which this holder has begun nothing."""
        values = {"state": "received", **inbox_rows.FREE}
        return await self._change(owner, message_id, holder, values)

    async def finish(
        self,
        owner: str,
        message_id: str,
        holder: str,
        state: InboxState,
        sends: Sequence[NewSend] = (),
    ) -> bool:
        """End a message and store its answer, both or neither.

        Returns False, and stores nothing, where the holder has lost the claim: the message was
        marked as lost, or released and claimed by another. Raises InvalidTextError.
        """
        check_owner(owner)
        for item in sends:
            check_texts(send_id=item.send_id, recipient=item.recipient, text=item.text)
        now, channel, values = self._clock(), self._channel, self._ended(state)

        def work(connection: sa.Connection) -> bool:
            own = inbox_rows.change(connection, owner, channel, message_id, holder, values)
            if own:
                outbox_rows.add(connection, owner, channel, sends, now)
            return own

        return await self._database.write(work, owner=owner)

    async def renew(self, messages: Sequence[InboxMessage]) -> None:
        """Extend the leases of the messages that this process works on."""
        until, channel = self._clock() + timedelta(seconds=RUNNING_SECONDS), self._channel
        if messages:
            await self._database.write(
                lambda connection: inbox_rows.renew(connection, channel, messages, until),
                owner=EVERYONE,
            )

    async def mark_lost(
        self, notice: Callable[[InboxMessage], Sequence[NewSend]], own: Sequence[InboxMessage] = ()
    ) -> int:
        """Mark the messages of dead processes as lost and notify their senders; return how many.

        `own` are the messages that the caller itself works on.
        """
        now, channel = self._clock(), self._channel
        if not await self._database.read(
            lambda connection: inbox_rows.is_due(connection, channel, now), owner=EVERYONE
        ):
            return 0

        def work(connection: sa.Connection) -> int:
            lost = inbox_rows.mark_lost(connection, channel, now, own)
            for message in lost:
                outbox_rows.add(connection, message.owner, channel, notice(message), now)
            return len(lost)

        return await self._database.write(work, owner=EVERYONE)

    async def backlog(self) -> int:
        """Return how many messages are unclaimed."""
        channel = self._channel
        return await self._database.read(
            lambda connection: inbox_rows.backlog(connection, channel), owner=EVERYONE
        )

    async def statistics(self) -> InboxStatistics:
        """Return statistics over all owners."""
        channel = self._channel
        return await self._database.read(
            lambda connection: inbox_rows.statistics(connection, channel), owner=EVERYONE
        )

    async def purge(self, seconds: float) -> int:
        """Delete the ids of messages that ended `seconds` ago or earlier; return how many.

        Ids of messages without a time of their own stay for at least thirty days: nothing says
        when they can no longer be redelivered, and a later redelivery counts as new.
        """
        now, channel = self._clock(), self._channel
        before = now - timedelta(seconds=seconds)
        undated = now - timedelta(seconds=max(seconds, UNDATED_SECONDS))
        return await self._database.write(
            lambda connection: inbox_rows.purge(connection, channel, before, undated),
            owner=EVERYONE,
        )

    async def _change(
        self, owner: str, message_id: str, holder: str, values: dict[str, Any]
    ) -> bool:
        check_owner(owner)
        channel = self._channel
        return await self._database.write(
            lambda connection: inbox_rows.change(
                connection, owner, channel, message_id, holder, values
            ),
            owner=owner,
        )

    def _ended(self, state: InboxState) -> dict[str, Any]:
        return {"state": state, "ended_at": self._clock(), **inbox_rows.EMPTIED}
