"""Retention job: permanently deletes expired and soft-deleted conversations of all owners.

For operators, by design without an owner argument; it returns counts alone. Any number of processes
may run it on one database at once; each row is counted by the process that changed it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import sqlalchemy as sa

from memory import connection_rows, logins, mcp_rows
from memory.conversations import files, shares
from memory.engine.database import Database
from memory.engine.scopes import EVERYONE
from memory.maintenance.recovery import abandoned, interrupt_abandoned
from memory.records import utcnow
from memory.schema import RUNNING, agent_sessions, agent_turns

DELETED_KEPT = 3600.0  # seconds in which a deletion can be taken back
UNSENT_KEPT = 86_400.0  # seconds that a file may wait for its message
ERASE_SECONDS = 60.0  # of each run
BATCH = 200  # conversations in one transaction: other writers wait no longer than that takes

_sessions, _turns = agent_sessions.c, agent_turns.c
_OF_CONVERSATION = sa.and_(
    _turns.session_id == _sessions.session_id, _turns.owner_id == _sessions.owner_id
)


@dataclass(frozen=True, slots=True)
class Cleaned:
    """How many rows a run changed, or would change.

    Attributes:
        purged: Conversations that their owners had deleted.
        expired: Conversations older than the retention time.
        interrupted: Turns that had lost their lease.
        idle: Conversations that became inactive.
        is_erased: Whether the database's files hold nothing of the deleted rows; if not, the next
            run tries again.
    """

    purged: int
    expired: int
    interrupted: int
    idle: int
    is_erased: bool = field(default=True, compare=False)


@dataclass(frozen=True, slots=True)
class _Due:
    """The conditions by which one run chooses conversations."""

    deleted: sa.ColumnElement[bool]
    old: sa.ColumnElement[bool]
    idle: sa.ColumnElement[bool]


class Retention:
    """Deletes what was soft-deleted or has expired, and marks what is idle or abandoned."""

    def __init__(self, database: Database, *, clock: Callable[[], datetime] = utcnow) -> None:
        self._database = database
        self._clock = clock

    async def clean(self, *, days: float, idle_seconds: float, dry_run: bool = False) -> Cleaned:
        """Delete and mark what is due now, or with `dry_run` only count it.

        Conversations without activity for `days` are deleted, with 0 none; those without for
        `idle_seconds` become inactive. Conversations with a running turn are left alone. Raises
        DatabaseUnavailableError; what was done before stays done, and the next run does the rest.
        """
        now = self._clock()
        due = _due(now, days, idle_seconds)
        if dry_run:
            return await self._database.read(
                lambda connection: count(connection, due, now), owner=EVERYONE
            )
        interrupted = await interrupt_abandoned(self._database, everything=False, clock=lambda: now)
        purged = await self._in_batches(lambda connection: delete(connection, due.deleted))
        expired = 0
        if days > 0:
            expired = await self._in_batches(lambda connection: delete(connection, due.old))
        idle = await self._in_batches(lambda connection: mark_inactive(connection, due.idle, now))
        await self._database.write(lambda connection: logins.purge(connection, now), owner=EVERYONE)
        await self._database.write(
            lambda connection: connection_rows.purge(connection, now), owner=EVERYONE
        )
        await self._database.write(
            lambda connection: mcp_rows.purge(connection, now), owner=EVERYONE
        )
        await self._database.write(lambda connection: shares.purge(connection, now), owner=EVERYONE)
        unsent = now - timedelta(seconds=UNSENT_KEPT)
        await self._database.write(
            lambda connection: files.purge(connection, unsent), owner=EVERYONE
        )
        is_erased = await self._database.erase(ERASE_SECONDS)
        return Cleaned(purged, expired, interrupted, idle, is_erased)

    async def existing_files(self, ids: Sequence[str]) -> set[str]:
        """Return which of these ids are those of stored files. Raises DatabaseUnavailableError."""
        return await self._database.read(
            lambda connection: files.existing(connection, ids), owner=EVERYONE
        )

    async def _in_batches(self, work: Callable[[sa.Connection], tuple[int, int]]) -> int:
        total, batch_size = 0, BATCH
        while batch_size == BATCH:
            batch_size, changed = await self._database.write(work, owner=EVERYONE)
            total += changed
        return total


def delete(connection: sa.Connection, due: sa.ColumnElement[bool]) -> tuple[int, int]:
    """Delete a batch of the conversations that are `due`; return how many it had and how many were deleted.

    Once its row is locked, no turn of a conversation can begin. The delete looks for running
    turns again, with a snapshot taken after that: what began in between is seen.
    """
    ids = _locked(connection, due)
    statement = sa.delete(agent_sessions).where(_sessions.session_id.in_(ids), due, _unused())
    return len(ids), connection.execute(statement).rowcount if ids else 0


def mark_inactive(
    connection: sa.Connection, due: sa.ColumnElement[bool], now: datetime
) -> tuple[int, int]:
    """Mark a batch of the conversations that are `due` as inactive; return as `delete` does."""
    ids = _locked(connection, due)
    statement = (
        sa.update(agent_sessions)
        .where(_sessions.session_id.in_(ids), due, _unused())
        .values(status="inactive", ended_at=now)
    )
    return len(ids), connection.execute(statement).rowcount if ids else 0


def count(connection: sa.Connection, due: _Due, now: datetime) -> Cleaned:
    """Return what a run at this moment would change."""
    # A turn without a lease would be interrupted first, and then hold nothing.
    unused = _unused(_turns.lease_expires_at > now)

    def conversations(*conditions: sa.ColumnElement[bool]) -> int:
        statement = sa.select(sa.func.count()).select_from(agent_sessions)
        return connection.execute(statement.where(unused, *conditions)).scalar_one()

    turns = sa.select(sa.func.count()).select_from(agent_turns).where(abandoned(now))
    return Cleaned(
        purged=conversations(due.deleted),
        expired=conversations(due.old, _not(due.deleted)),
        interrupted=connection.execute(turns).scalar_one(),
        idle=conversations(due.idle, _not(due.deleted), _not(due.old)),
    )


def _due(now: datetime, days: float, idle_seconds: float) -> _Due:
    since_deletion = now - timedelta(seconds=DELETED_KEPT)
    return _Due(
        deleted=_sessions.deleted_at <= since_deletion,
        old=_sessions.last_activity_at < now - timedelta(days=days) if days > 0 else sa.false(),
        idle=sa.and_(
            _sessions.status == "active",
            _sessions.last_activity_at < now - timedelta(seconds=idle_seconds),
        ),
    )


def _not(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    """That a condition does not hold, also where it is unknown because of a NULL."""
    return sa.not_(sa.func.coalesce(condition, sa.false()))


def _unused(*conditions: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    running = sa.select(sa.literal(1)).select_from(agent_turns)
    return ~running.where(_OF_CONVERSATION, RUNNING, *conditions).correlate(agent_sessions).exists()


def _locked(connection: sa.Connection, due: sa.ColumnElement[bool]) -> list[str]:
    # What another holds is in use, or another cleaner's. SQLite has one writer and no row locks.
    statement = sa.select(_sessions.session_id).where(due, _unused()).limit(BATCH)
    return list(connection.execute(statement.with_for_update(skip_locked=True)).scalars())
