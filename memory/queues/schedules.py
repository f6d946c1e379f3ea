"""Recurring tasks of owners, and the claims by which processes share the work of running them."""

import secrets
from collections.abc import Callable
from datetime import datetime, timedelta

import sqlalchemy as sa

from memory.engine.database import Database
from memory.engine.scopes import EVERYONE
from memory.queues import schedule_claims, schedule_rows
from memory.queues.schedule_claims import ClaimedRun, MissedRuns, NextTime
from memory.queues.schedule_rows import (
    MAX_FAILURES,
    RunEnd,
    RunOutcome,
    Schedule,
    ScheduleBound,
    Unvisited,
    UsedTasks,
)
from memory.records import utcnow
from memory.validation import check_id, check_owner, check_texts, is_id

__all__ = [
    "MAX_FAILURES",
    "ClaimedRun",
    "MissedRuns",
    "RunEnd",
    "RunOutcome",
    "Schedule",
    "ScheduleBound",
    "Schedules",
    "Unvisited",
    "UsedTasks",
]

VISIT_PRECISION = timedelta(hours=1)  # how exactly the time of a last visit is known


class Schedules:
    """The recurring tasks of one database.

    Each method may raise DatabaseUnavailableError, those that write DatabaseFullError, and those
    with an owner ValueError for an empty owner.

    Args:
        database: The database.
        following: Returns the first time after a moment for a crontab text and a time zone.
        lease_seconds: How long a run may take.
        clock: Returns the time, with its zone; clocks of all processes must agree to well within
            a minute.
    """

    def __init__(
        self,
        database: Database,
        *,
        following: NextTime,
        lease_seconds: float = 600.0,
        clock: Callable[[], datetime] = utcnow,
    ) -> None:
        self._database = database
        self._following = following
        self._lease = timedelta(seconds=lease_seconds)
        self._clock = clock

    async def add(
        self,
        owner: str,
        conversation_id: str,
        *,
        text: str,
        cron: str,
        time_zone: str,
        recipient: str | None = None,
        bound_of: ScheduleBound,
        network: str | None = None,
        needs_visits: bool = False,
    ) -> Schedule:
        """Store a new task in a conversation of the owner.

        `network` is a digest of the owner's network, where networks have a bound. A task that
        `needs_visits` is returned by `unvisited` when its owner has not visited for long.

        Raises:
            ConversationNotFoundError: The owner has no such conversation.
            TooManySchedulesError: `bound_of` names a bound that is reached.
            InvalidTextError: A text cannot be stored.
            ValueError: The time never comes.
        """
        check_owner(owner)
        check_id(conversation_id)
        check_texts(text=text, cron=cron, time_zone=time_zone, recipient=recipient, network=network)
        now = self._clock()
        upcoming = self._following(cron, time_zone, now)
        if upcoming is None:
            raise ValueError("a time that never comes")
        new = Schedule(
            schedule_id=secrets.token_hex(8),
            conversation_id=conversation_id,
            recipient=recipient,
            text=text,
            cron=cron,
            time_zone=time_zone,
            next_run_at=upcoming,
            created_at=now,
            last_run_at=None,
            last_outcome=None,
            runs=0,
            failures=0,
        )
        await self._database.write(
            lambda connection: schedule_rows.add(
                connection,
                owner,
                new,
                bound_of=bound_of,
                network=network,
                visited_at=now if needs_visits else None,
            ),
            undo=lambda _: (
                lambda connection: schedule_rows.cancel(connection, owner, new.schedule_id)
            ),
            owner=EVERYONE,  # the tasks of a network and of all are counted too
        )
        return new

    async def of_owner(self, owner: str) -> list[Schedule]:
        """Return all tasks of an owner, oldest first; not those of deleted conversations."""
        check_owner(owner)
        now = self._clock()
        return await self._database.read(
            lambda connection: schedule_rows.of_owner(connection, owner, now), owner=owner
        )

    async def cancel(self, owner: str, schedule_id: str) -> bool:
        """Delete a task; return whether this owner had it."""
        check_owner(owner)
        if not is_id(schedule_id):
            return False
        return await self._database.write(
            lambda connection: schedule_rows.cancel(connection, owner, schedule_id), owner=owner
        )

    async def finish(self, owner: str, schedule_id: str, holder: str, ending: RunEnd) -> bool:
        """Store how a claimed run ended; return whether the holder still had the claim."""
        check_owner(owner)
        return await self._database.write(
            lambda connection: schedule_rows.finish(connection, owner, schedule_id, holder, ending),
            owner=owner,
        )

    async def visit(self, owner: str) -> None:
        """Note a visit of an owner, so that their tasks go on."""
        check_owner(owner)
        now = self._clock()
        noted_before = now - VISIT_PRECISION
        if await self._database.read(
            lambda connection: schedule_rows.needs_visit(connection, owner, noted_before),
            owner=owner,
        ):
            await self._database.write(
                lambda connection: schedule_rows.visit(connection, owner, noted_before, now),
                owner=owner,
            )

    async def unvisited(self, *, since: datetime, prefix: str, limit: int = 100) -> list[Unvisited]:
        """Return tasks of owners with this id prefix who have not visited since then."""
        max_rows = min(max(limit, 1), 100)
        return await self._database.read(
            lambda connection: schedule_rows.unvisited(connection, since, prefix, max_rows),
            owner=EVERYONE,
        )

    async def is_due(self) -> bool:
        """Return whether any task of any owner is due."""
        now = self._clock()
        return await self._database.read(
            lambda connection: schedule_claims.is_due(connection, now), owner=EVERYONE
        )

    async def claim_due(self) -> ClaimedRun | None:
        """Claim one due occasion of any owner's task, to be run as that owner; None for none.

        No other process gets it, and it is not due again, whatever happens to the caller.
        """
        now = self._clock()
        return await self._database.write(
            lambda connection: schedule_claims.claim_due(
                connection, now, now + self._lease, self._following
            ),
            undo=_given_back,
            owner=EVERYONE,
        )


def _given_back(claimed: ClaimedRun | None) -> Callable[[sa.Connection], bool]:
    """Return the work that makes an occasion due again whose claim the caller never received."""
    if claimed is None:
        return lambda _: False
    ending = RunEnd("postponed", retry_at=claimed.occasion)
    schedule_id = claimed.schedule.schedule_id
    return lambda connection: schedule_rows.finish(
        connection, claimed.owner, schedule_id, claimed.holder, ending
    )
