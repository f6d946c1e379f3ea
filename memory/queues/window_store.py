"""Service windows of one channel's recipients, and the sends that wait for them."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa

from memory.engine.database import Database
from memory.engine.scopes import EVERYONE
from memory.queues import outbox_rows, windows
from memory.queues.windows import WindowRule
from memory.records import utcnow
from memory.validation import check_owner, check_texts

WINDOW = timedelta(hours=24) - timedelta(minutes=5)  # the other side's clock may be ahead
CROSSING = timedelta(seconds=2)  # arrivals have whole seconds
RETRY_SECONDS = 2.0


class ServiceWindows:
    """Opens and closes windows, and holds and releases sends by them.

    Each method may raise DatabaseUnavailableError and DatabaseFullError.

    Args:
        database: The database.
        channel: The channel's name.
        clock: Returns the time, with its zone.
    """

    def __init__(
        self, database: Database, channel: str, *, clock: Callable[[], datetime] = utcnow
    ) -> None:
        self._database = database
        self._channel = channel
        self._clock = clock

    async def opened(self, owner: str, recipients: Sequence[str], at: datetime) -> None:
        """Store that an owner has written at this time, from where these addresses lead."""
        check_owner(owner)
        for recipient in recipients:
            check_texts(recipient=recipient)
        channel, closes_at = self._channel, min(at, self._clock()) + WINDOW

        def work(connection: sa.Connection) -> None:
            for recipient in sorted(recipients):
                windows.open_until(connection, owner, channel, recipient, closes_at)

        # a recipient may be a group, whose window another member has opened before
        await self._database.write(work, owner=EVERYONE)

    async def refused(self, owner: str, send_id: str, recipient: str) -> bool:
        """Store that a claimed send needs a window that is closed; it waits for it then.

        Where the recipient has written since the send was begun, it is sent again instead.
        Returns False where another process has given the send up.
        """
        check_owner(owner)
        now, channel = self._clock(), self._channel

        def work(connection: sa.Connection) -> bool:
            begun = outbox_rows.begun(connection, owner, send_id, now)
            pause = RETRY_SECONDS
            if windows.close(connection, owner, channel, recipient, now, begun + WINDOW - CROSSING):
                pause = 0
            values = outbox_rows.AGAIN | {"next_at": now + timedelta(seconds=pause)}
            return outbox_rows.change(connection, owner, send_id, values)

        return await self._database.write(work, owner=EVERYONE)

    async def refused_later(self, send_id: str) -> bool:
        """Store the same of a send that was taken and whose text is still kept.

        Returns False where there is no such send.
        """
        now, channel = self._clock(), self._channel

        def work(connection: sa.Connection) -> bool:
            sent = outbox_rows.take_back(connection, channel, send_id, now)
            if sent is None:
                return False
            send, begun = sent
            is_open_since = begun + WINDOW - CROSSING
            windows.close(connection, send.owner, channel, send.recipient, now, is_open_since)
            return True

        return await self._database.write(work, owner=EVERYONE)

    async def settle(self, rule: WindowRule) -> int:
        """Hold what needs a closed window, release what waits for an open one.

        Returns how many were held.
        """
        now, channel = self._clock(), self._channel
        if await self._database.read(
            lambda connection: windows.is_settled(connection, channel, rule, now), owner=EVERYONE
        ):
            return 0
        return await self._database.write(
            lambda connection: windows.settle(connection, channel, rule, now), owner=EVERYONE
        )

    async def give_up(self) -> int:
        """End what has been held for too long, and forget old windows; return how many ended."""
        now, channel = self._clock(), self._channel
        return await self._database.write(
            lambda connection: windows.give_up(connection, channel, now), owner=EVERYONE
        )
