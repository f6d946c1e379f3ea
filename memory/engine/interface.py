"""The interface of a database: runs work in transactions.

Work is a plain function of one `sqlalchemy.Connection`, the same for SQLite and PostgreSQL.
"""

import abc
import asyncio
import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa

from memory.engine.driver_errors import DRIVER_ERRORS, translated
from memory.engine.scopes import RowScope
from memory.errors import DatabaseFullError, StoreError

if TYPE_CHECKING:
    from memory.engine.notices import Notices

T = TypeVar("T")
Transaction = Callable[[sa.Connection], T]
Undo = Callable[[T], Transaction[Any]]


class Database(abc.ABC):
    """Runs work in transactions of one database. `open_database` creates it.

    Work that has begun always runs to its end, also when the calling task is cancelled: no
    connection is reused while an answer for another caller is under way in it.
    Work must be repeatable until it is committed, and must not touch the event loop.
    """

    # Whether the last write has found no room, and none since has found some.
    is_full = False

    def has_room(self) -> bool:
        """Return whether a write may find room: False only where the disk is known to be full.

        It reads the state of a disk, so call it in a thread.
        """
        return not self.is_full

    async def read(self, work: Transaction[T], *, owner: RowScope = None) -> T:
        """Run work that changes nothing, on the rows of `owner`. Raises DatabaseUnavailableError.

        On PostgreSQL other rows are out of its reach, whatever its statements say.
        """
        return await self._read(work, owner)

    async def write(
        self,
        work: Transaction[T],
        *,
        owner: RowScope = None,
        undo: Undo[T] | None = None,
        is_brief: bool = False,
    ) -> T:
        """Run work on the rows of `owner` in one transaction and commit it.

        An exception rolls it back. On PostgreSQL other rows are out of its reach.

        `undo` makes, of what was committed, the work that takes it back when the caller was
        cancelled and so never learns of it. Work that `is_brief` may share its transaction with
        other such work, and neither learns of the other's exceptions. Raises DatabaseFullError or
        DatabaseUnavailableError.
        """
        try:
            result = await self._write(work, owner, undo, is_brief=is_brief)
        except DatabaseFullError:
            self.is_full = True
            raise
        self.is_full = False
        return result

    async def erase(self, seconds: float) -> bool:
        """Remove from the files what deleted rows have left in them, in about `seconds` at most.

        Others read and write meanwhile. False where it is not done: time was too short, another
        caller is at it, or somebody reads; call it again later. Raises DatabaseFullError or
        DatabaseUnavailableError.
        """
        del seconds
        return True

    @property
    def remarks(self) -> tuple[str, ...]:
        """Sentences for the operator on how the database is reached, once it has been used."""
        return ()

    def notices(
        self, received: Callable[[str], None], lost: Callable[[], None]
    ) -> "Notices | None":
        """Return what exchanges short texts with the other processes; None where there are none.

        The arguments are those of `memory.engine.notices.Notices`.
        """
        del received, lost
        return None

    @abc.abstractmethod
    async def dispose(self) -> None:
        """Wait for running work and close every connection. Afterwards nothing can be run."""

    @abc.abstractmethod
    async def _read(self, work: Transaction[T], owner: RowScope) -> T: ...

    @abc.abstractmethod
    async def _write(
        self, work: Transaction[T], owner: RowScope, undo: Undo[T] | None, *, is_brief: bool
    ) -> T: ...


async def result_of(outcome: asyncio.Future[T]) -> T:
    """Return what work returned; a driver's error is raised as one of `memory.errors`."""
    try:
        return await outcome
    except DRIVER_ERRORS as error:
        raise translated(error) from None


async def undo_unseen(
    database: Database, outcome: asyncio.Future[T], undo: Undo[T] | None, owner: RowScope
) -> None:
    """Wait for the end of work whose caller was cancelled, and undo it where it asks for that.

    What cannot be undone now is left to the lease: the caller is to see its cancellation.
    """
    await asyncio.wait({outcome})
    if not outcome.cancelled() and outcome.exception() is None and undo is not None:
        with contextlib.suppress(StoreError):
            await database.write(undo(outcome.result()), owner=owner)
