"""Outbound queue: messages are stored first, then sent by one process at a time."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from memory.engine.database import Database
from memory.engine.scopes import EVERYONE
from memory.queues import outbox_rows
from memory.queues.outbox_rows import (
    NewSend,
    OutboxState,
    OutboxStatistics,
    Send,
    SendState,
)
from memory.records import utcnow
from memory.validation import check_owner, check_texts

__all__ = [
    "NewSend",
    "Outbox",
    "Send",
    "SendState",
]

SENDING_SECONDS = 120.0  # longer than a send may take


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

    async def claim(self, limit: int) -> list[Send]:
        """Claim up to `limit` due sends; the caller must end each or retry it later."""
        now, channel = self._clock(), self._channel
        if not await self._database.read(
            lambda connection: outbox_rows.is_due(connection, channel, now), owner=EVERYONE
        ):
            return []
        until = now + timedelta(seconds=SENDING_SECONDS)
        return await self._database.write(
            lambda connection: outbox_rows.claim(
                connection, channel, limit=limit, now=now, until=until
            ),
            undo=lambda sends: lambda connection: outbox_rows.put_back(connection, sends, now),
            owner=EVERYONE,
        )

    async def end(
        self, owner: str, send_id: str, state: OutboxState, kind: str | None = None
    ) -> bool:
        """Store the outcome of a send; return False where another process has given it up."""
        check_owner(owner)
        values = {
            "state": state,
            "error_kind": kind,
            "ended_at": self._clock(),
            **outbox_rows.EMPTIED,
        }
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
