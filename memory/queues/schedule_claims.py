"""Claims of due recurring tasks: each occasion is run by one process alone.

Functions of one connection, over all owners; a claim names the owner as whom the task is to run.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from memory.queues.schedule_rows import MAX_FAILURES, MOVE, Schedule, schedule_of
from memory.schema import agent_schedules, agent_sessions

LATE = timedelta(hours=1)  # what was missed by more is reported instead of run
MAX_MISSED = 100  # occasions of one task that are counted
CLAIM_TRIES = 100  # where other processes take what this one has read
RUNNING_OF_NETWORK = 2  # at once, of the visitors of one network
_CLAIMS_LOCK = 0x636D78  # of PostgreSQL, any number of this program's own

NextTime = Callable[[str, str, datetime], datetime | None]

_schedules, _sessions = agent_schedules.c, agent_sessions.c


@dataclass(frozen=True, slots=True)
class MissedRuns:
    """Occasions of a task that nobody ran in time.

    Attributes:
        count: How many, at most `MAX_MISSED`.
        last: When the last one was due.
    """

    count: int
    last: datetime


@dataclass(frozen=True, slots=True)
class ClaimedRun:
    """One occasion of one task, which `holder` alone runs.

    `occasion` is when it was due; `agent_id`, `channel` and `tenant_id` are those of its
    conversation. With `missed` it is the first of those, and to be reported instead of run.
    """

    owner: str
    schedule: Schedule
    occasion: datetime
    holder: str
    agent_id: str
    channel: str
    tenant_id: str | None
    missed: MissedRuns | None = None


def is_due(connection: sa.Connection, now: datetime) -> bool:
    """Return whether any task is due."""
    return connection.execute(_due(now).limit(1)).first() is not None


def claim_due(
    connection: sa.Connection, now: datetime, lease_until: datetime, following: NextTime
) -> ClaimedRun | None:
    """Claim one due occasion of any owner's task, and move the task to its next time.

    The claimant whose last claim is oldest is next: an owner, or all visitors of a network
    together. An owner has at most one running task. Occasions that were missed by more than an
    hour are claimed together, to be reported.
    """
    if connection.dialect.name == "postgresql":
        # Two at once would each see that an owner has none running.
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_CLAIMS_LOCK)))
    for _ in range(CLAIM_TRIES):
        # Another process's claim holds its row. SQLite has one writer and no row locks.
        due = connection.execute(
            _in_turn(now).limit(1).with_for_update(skip_locked=True, of=agent_schedules)
        ).one_or_none()
        if due is None:
            return None
        # A run that was postponed is still that of its own time.
        occasion = due.last_run_at if due.last_outcome == "postponed" else due.next_run_at
        missed, upcoming = None, following(due.cron, due.time_zone, now)
        if now - occasion > LATE:
            missed, upcoming = _missed(occasion, now, due.cron, due.time_zone, following)
        holder = secrets.token_hex(8)
        claim = {
            "owner_id_": due.owner_id,
            "schedule_id_": due.schedule_id,
            "was_due_at": due.next_run_at,
            # a time that never comes again lies far ahead
            "next_run_at": upcoming or now + timedelta(days=36_500),
            "holder": holder,
            "lease_until": lease_until,
            "claimed_at": now,
            "last_run_at": occasion,
            "last_outcome": "running",
            # until it is finished: a task that kills its process is paused like one that fails
            "failures": due.failures + 1,
        }
        row = connection.execute(MOVE, claim).mappings().one_or_none()
        if row is not None:
            return ClaimedRun(
                due.owner_id,
                schedule_of(row, lease_until, now),
                occasion,
                holder,
                due.agent_id,
                due.channel,
                due.tenant_id,
                missed,
            )
    return None


def _missed(
    first: datetime, now: datetime, cron: str, zone: str, following: NextTime
) -> tuple[MissedRuns, datetime | None]:
    """Return the occasions from `first` on that are too late now, and the first that is not."""
    count, last = 1, first
    for _ in range(MAX_MISSED):
        upcoming = following(cron, zone, last)
        if upcoming is None or now - upcoming <= LATE:
            return MissedRuns(count, last), upcoming
        count, last = count + 1, upcoming
    return MissedRuns(MAX_MISSED, last), following(cron, zone, now - LATE)


def _due(now: datetime) -> sa.Select[Any]:
    of_conversation = _sessions.session_id == _schedules.session_id
    return (
        sa.select(
            _schedules.schedule_id,
            _schedules.owner_id,
            _schedules.cron,
            _schedules.time_zone,
            _schedules.next_run_at,
            _schedules.failures,
            _schedules.last_run_at,
            _schedules.last_outcome,
            _sessions.agent_id,
            _sessions.channel,
            _sessions.tenant_id,
        )
        .join_from(agent_schedules, agent_sessions, of_conversation)
        .where(
            _sessions.owner_id == _schedules.owner_id,
            _schedules.next_run_at <= now,
            sa.or_(_schedules.lease_until.is_(None), _schedules.lease_until <= now),
            _schedules.failures < MAX_FAILURES,
            _sessions.deleted_at.is_(None),
        )
    )


def _in_turn(now: datetime) -> sa.Select[Any]:
    """Select the due tasks of claimants that may run a further one, in fair order."""
    all_tasks, running = agent_schedules.alias(), agent_schedules.alias()
    claimant = sa.func.coalesce(all_tasks.c.network, all_tasks.c.owner_id)
    is_running = sa.case((all_tasks.c.lease_until > now, 1))
    claimants = (
        sa.select(
            claimant.label("claimant"),
            sa.func.max(all_tasks.c.claimed_at).label("claimed_at"),
            sa.func.count(is_running).label("running"),
        )
        .group_by(claimant)
        .subquery()
    )
    none_of_owner = ~sa.exists().where(
        running.c.owner_id == _schedules.owner_id, running.c.lease_until > now
    )
    own_claimant = sa.func.coalesce(_schedules.network, _schedules.owner_id)
    return (
        _due(now)
        .join(claimants, claimants.c.claimant == own_claimant)
        .where(none_of_owner, claimants.c.running < RUNNING_OF_NETWORK)
        .order_by(
            claimants.c.claimed_at.asc().nulls_first(),
            _schedules.next_run_at,
            _schedules.schedule_id,
        )
    )
