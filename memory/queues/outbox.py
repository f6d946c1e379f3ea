"""Outbound queue: messages are stored first, then sent by one process at a time."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from memory.engine.database import Database
from memory.engine.scopes import EVERYONE
from memory.queues import outbox_rows, windows
from memory.queues.outbox_rows import (
    SENDING_SECONDS,
    NewSend,
    OutboxState,
    OutboxStatistics,
    Send,
    SendState,
)
from memory.queues.windows import WindowRule
from memory.records import utcnow
from memory.validation import check_owner, check_texts

__all__ = [
    "SENDING_SECONDS",
    "NewSend",
    "Outbox",
    "Send",
    "SendState",
]


class Outbox:
    """The outbound queue of one channel.

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

    async def add(self, owner: str, new: Sequence[NewSend]) -> None:
        """Store sends in their order; one whose id is stored already changes nothing.

        Raises InvalidTextError.
        """
        check_owner(owner)
        for item in new:
            check_texts(send_id=item.send_id, recipient=item.recipient, text=item.text)
        now, channel = self._clock(), self._channel
        await self._database.write(
            lambda connection: outbox_rows.add(connection, owner, channel, new, now), owner=owner
        )

    async def add_named(self, owner: str, name: str, content: str, new: Sequence[NewSend]) -> bool:
        """Store sends like `add`, under a name that stands for this content until it is purged.

        A repetition with the same content changes nothing. Returns False, and stores nothing,
        where the name has another content. Raises InvalidTextError.
        """
        check_owner(owner)
        check_texts(name=name, content=content)
        for item in new:
            check_texts(send_id=item.send_id, recipient=item.recipient, text=item.text)
        now, channel = self._clock(), self._channel
        return await self._database.write(
            lambda connection: outbox_rows.add_named(
                connection, owner, channel, name, content, new, now
            ),
            owner=owner,
        )

    async def is_named(self, name: str) -> bool:
        """Whether something was stored under this name, by any owner; names are unguessable."""
        channel = self._channel
        return await self._database.read(
            lambda connection: outbox_rows.is_named(connection, channel, name), owner=EVERYONE
        )

    async def mark_undelivered(self, send_id: str, kind: str) -> bool:
        """Mark a text that was sent as failed, since the other side says so afterwards.

        Returns False where no such text was sent. What was sent has no owner any more: ids are
        unguessable, and only the other side has got them.
        """
        now, channel = self._clock(), self._channel
        return await self._database.write(
            lambda connection: outbox_rows.mark_undelivered(
                connection, channel, send_id, kind, now
            ),
            owner=EVERYONE,
        )

    async def claim(self, limit: int, rule: WindowRule | None = None) -> list[Send]:
        """Claim up to `limit` due sends; the caller must end each or retry it later.

        What by the rule needs a service window that is closed is left.
        """
        now, channel = self._clock(), self._channel
        if not await self._database.read(
            lambda connection: outbox_rows.is_due(connection, channel, now), owner=EVERYONE
        ):
            return []
        until = now + timedelta(seconds=SENDING_SECONDS)
        unless = None if rule is None else windows.to_hold(channel, rule, now)
        return await self._database.write(
            lambda connection: outbox_rows.claim(
                connection, channel, limit=limit, now=now, until=until, unless=unless
            ),
            undo=lambda sends: lambda connection: outbox_rows.put_back(connection, sends, now),
            owner=EVERYONE,
        )

    async def end(
        self,
        owner: str,
        send_id: str,
        state: OutboxState,
        kind: str | None = None,
        *,
        keep_seconds: float = 0,
    ) -> bool:
        """Store the outcome of a send; return False where another process has given it up.

        Its text is kept for so many seconds, in which the other side may refuse it after all.
        """
        check_owner(owner)
        now = self._clock()
        values = {"state": state, "error_kind": kind, "ended_at": now}
        if keep_seconds:
            values["lease_until"] = now + timedelta(seconds=keep_seconds)
        else:
            values |= outbox_rows.EMPTIED
        return await self._database.write(
            lambda connection: outbox_rows.change(connection, owner, send_id, values), owner=owner
        )

    async def retry_later(self, owner: str, send_id: str, seconds: float, kind: str) -> bool:
        """Let a failed send be tried again after so many seconds."""
        check_owner(owner)
        at = self._clock() + timedelta(seconds=seconds)
        values = {"state": "pending", "next_at": at, "lease_until": None, "error_kind": kind}
        return await self._database.write(
            lambda connection: outbox_rows.change(connection, owner, send_id, values), owner=owner
        )

    async def states(self, owner: str, ids: Sequence[str]) -> list[SendState]:
        """Return the states of sends, in order of their ids.

        Sends of other owners that have not ended, and unknown ones, are left out. A send that
        has ended has no owner any more: the caller's ids must be unguessable.
        """
        check_owner(owner)
        channel = self._channel
        return await self._database.read(
            lambda connection: outbox_rows.states(connection, owner, channel, ids), owner=owner
        )

    async def expire(self) -> int:
        """Mark the sends of dead processes as uncertain; return how many."""
        now, channel = self._clock(), self._channel
        if not await self._database.read(
            lambda connection: outbox_rows.is_due(connection, channel, now), owner=EVERYONE
        ):
            return 0
        return await self._database.write(
            lambda connection: outbox_rows.expire(connection, channel, now), owner=EVERYONE
        )

    async def statistics(self) -> OutboxStatistics:
        """Return statistics over all owners."""
        channel = self._channel
        return await self._database.read(
            lambda connection: outbox_rows.statistics(connection, channel), owner=EVERYONE
        )

    async def purge(self, seconds: float) -> int:
        """Delete the sends that ended `seconds` ago or earlier; return how many."""
        before, channel = self._clock() - timedelta(seconds=seconds), self._channel
        return await self._database.write(
            lambda connection: outbox_rows.purge(connection, channel, before), owner=EVERYONE
        )
