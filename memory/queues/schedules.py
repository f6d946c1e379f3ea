"""Recurring tasks: each is one owner's, belongs to one conversation of theirs, and goes with it.

Functions of one connection, and `Schedules`, which runs them. What an owner does names the owner
in each statement. Any number of processes may claim what is due: each occasion is one's alone.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any, Final, Literal

import sqlalchemy as sa

from memory.engine.database import Database
from memory.engine.scopes import EVERYONE
from memory.errors import ConversationNotFoundError, TooManySchedulesError
from memory.records import utcnow
from memory.schema import UtcDateTime, agent_schedules, agent_sessions, columns_of, row_of
from memory.validation import check_id, check_owner, check_texts, is_id

MAX_FAILURES = 5  # in a row; then a task runs no more
LATE = timedelta(hours=1)  # what was missed by more is left out
MAX_MISSED = 100  # tasks that one claim puts off to their next time
RUNNING_OF_NETWORK = 2  # at once, of the visitors of one network
NOTED = timedelta(hours=1)  # how exactly a last visit is known
_CLAIMS_LOCK, _ADDING_LOCK = 0x636D78, 0x636D79  # of PostgreSQL, any numbers of this program's own

RunOutcome = Literal["running", "complete", "failed", "interrupted", "limited", "postponed"]
NextTime = Callable[[str, str, datetime], datetime | None]

_schedules, _sessions = agent_schedules.c, agent_sessions.c
_OWN = sa.and_(
    _schedules.owner_id == sa.bindparam("owner_id_"),
    _schedules.schedule_id == sa.bindparam("schedule_id_"),
)
_SHOWN = sa.exists().where(
    _sessions.session_id == _schedules.session_id,
    _sessions.owner_id == _schedules.owner_id,
    _sessions.deleted_at.is_(None),
)


@dataclass(frozen=True, slots=True)
class Schedule:
    """A recurring task as it is stored.

    It runs at the times of `cron` in its `time_zone`. `last_outcome` is ``running`` while a
    process is at it, and ``interrupted`` where that has died.
    """

    schedule_id: str
    conversation_id: str
    recipient: str | None
    text: str
    cron: str
    time_zone: str
    next_run_at: datetime
    created_at: datetime
    last_run_at: datetime | None
    last_outcome: RunOutcome | None
    runs: int
    failures: int

    @property
    def is_paused(self) -> bool:
        """Whether it has failed too often to be run again."""
        return self.failures >= MAX_FAILURES and self.last_outcome != "running"


@dataclass(frozen=True, slots=True)
class ClaimedRun:
    """One occasion of one task, which `holder` alone runs.

    `occasion` is when it was due; `agent_id`, `channel` and `tenant_id` are those of its
    conversation.
    """

    owner: str
    schedule: Schedule
    occasion: datetime
    holder: str
    agent_id: str
    channel: str
    tenant_id: str | None


@dataclass(frozen=True, slots=True)
class RunEnd:
    """How a run ended. With `retry_at` it was not begun, and is due then, if not before."""

    outcome: RunOutcome
    retry_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class UsedTasks:
    """How many tasks there are: the owner's, those of their network where one counts, and all."""

    owner: int
    network: int | None
    total: int


# says whose bound keeps a further task from being added; None where it may be
ScheduleBound = Callable[[UsedTasks], str | None]


@dataclass(frozen=True, slots=True)
class Unvisited:
    """A task whose owner has not been here for long."""

    owner: str
    schedule_id: str
    conversation_id: str
    text: str


_COLUMNS = tuple(columns_of(agent_schedules, Schedule))
_COUNT: Final = (
    sa.select(sa.func.count())
    .select_from(agent_schedules)
    .where(_schedules.owner_id == sa.bindparam("owner_id_"))
)
_VISIT: Final = (
    sa.update(agent_schedules)
    .where(
        _schedules.owner_id == sa.bindparam("owner_id_"),
        _schedules.visited_at < sa.bindparam("noted_before", type_=UtcDateTime),
    )
    .values(visited_at=sa.bindparam("now", type_=UtcDateTime))
)
_NEEDS_VISIT: Final = (
    sa.select(_schedules.schedule_id)
    .where(
        _schedules.owner_id == sa.bindparam("owner_id_"),
        _schedules.visited_at < sa.bindparam("noted_before", type_=UtcDateTime),
    )
    .limit(1)
)
_PARENT: Final = sa.select(_sessions.session_id).where(
    _sessions.session_id == sa.bindparam("conversation_id_"),
    _sessions.owner_id == sa.bindparam("owner_id_"),
    _sessions.deleted_at.is_(None),
)
_ADD: Final = sa.insert(agent_schedules)
_LIST: Final = (
    sa.select(*_COLUMNS, _schedules.lease_until)
    .where(_schedules.owner_id == sa.bindparam("owner_id_"), _SHOWN)
    .order_by(_schedules.created_at, _schedules.schedule_id)
)
_CANCEL: Final = sa.delete(agent_schedules).where(_OWN, _SHOWN)
# The columns to set are those that the parameters name. That nobody has claimed it since is
# asked for again: the first select may have seen what another process changed meanwhile.
_MOVE: Final = (
    sa.update(agent_schedules)
    .where(_OWN, _schedules.next_run_at == sa.bindparam("was_due_at", type_=UtcDateTime))
    .returning(*_COLUMNS)
)
_FINISH: Final = sa.update(agent_schedules).where(
    _OWN, _schedules.holder == sa.bindparam("holder_")
)


def add(
    connection: sa.Connection,
    owner: str,
    new: Schedule,
    *,
    bound_of: ScheduleBound,
    network: str | None,
    visited_at: datetime | None,
) -> None:
    """Keep a new task. Raises ConversationNotFoundError, and TooManySchedulesError as `bound_of` says."""
    if connection.dialect.name == "postgresql":
        # Two at once would each see the room that only one of them may take.
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADDING_LOCK)))
    parent = {"owner_id_": owner, "conversation_id_": new.conversation_id}
    if connection.execute(_PARENT, parent).first() is None:
        raise ConversationNotFoundError
    # Those of a conversation that can still be restored count too.
    if (bound := bound_of(_used(connection, owner, network))) is not None:
        raise TooManySchedulesError(bound)
    more = {"owner_id": owner, "network": network, "visited_at": visited_at}
    connection.execute(_ADD, row_of(new) | more)


def _used(connection: sa.Connection, owner: str, network: str | None) -> UsedTasks:
    own = connection.execute(_COUNT, {"owner_id_": owner}).scalar_one()
    every = sa.select(sa.func.count()).select_from(agent_schedules)
    near = None
    if network is not None:
        near = connection.execute(every.where(_schedules.network == network)).scalar_one()
    return UsedTasks(own, near, connection.execute(every).scalar_one())


def unvisited(
    connection: sa.Connection, before: datetime, prefix: str, limit: int
) -> list[Unvisited]:
    """Return tasks of anybody who was last here before then and whose id begins so."""
    statement = (
        sa.select(
            _schedules.owner_id, _schedules.schedule_id, _schedules.session_id, _schedules.text
        )
        .where(
            _schedules.visited_at < before,
            _schedules.owner_id.startswith(prefix, autoescape=True),
            _SHOWN,
        )
        .order_by(_schedules.visited_at, _schedules.schedule_id)
        .limit(limit)
    )
    return [Unvisited(*row) for row in connection.execute(statement)]


def of_owner(connection: sa.Connection, owner: str, now: datetime) -> list[Schedule]:
    """Return all tasks of an owner, oldest first."""
    rows = connection.execute(_LIST, {"owner_id_": owner}).mappings()
    return [_schedule(row, row["lease_until"], now) for row in rows]


def cancel(connection: sa.Connection, owner: str, schedule_id: str) -> bool:
    """Delete a task; whether this owner had it."""
    parameters = {"owner_id_": owner, "schedule_id_": schedule_id}
    return connection.execute(_CANCEL, parameters).rowcount > 0


def finish(
    connection: sa.Connection, owner: str, schedule_id: str, holder: str, ending: RunEnd
) -> bool:
    """Keep how a run ended; whether it was still this holder's."""
    ran, failures = int(ending.outcome in ("complete", "failed")), _schedules.failures
    values: dict[str, Any] = {
        "holder": None,
        "lease_until": None,
        "last_outcome": ending.outcome,
        "runs": _schedules.runs + ran,
    }
    if ending.outcome == "complete":
        values["failures"] = 0
    elif ending.outcome != "failed":
        values["failures"] = failures - 1  # what the claim counted ahead was none
    if ending.retry_at is not None:
        retry = sa.bindparam("retry_at", ending.retry_at, UtcDateTime)
        due = _schedules.next_run_at
        values["next_run_at"] = sa.case((due > retry, retry), else_=due)
    parameters = {"owner_id_": owner, "schedule_id_": schedule_id, "holder_": holder}
    return connection.execute(_FINISH.values(values), parameters).rowcount > 0


def is_due(connection: sa.Connection, now: datetime) -> bool:
    """Whether any task waits to be claimed."""
    return connection.execute(_due(now).limit(1)).first() is not None


def claim_due(
    connection: sa.Connection, now: datetime, lease_until: datetime, following: NextTime
) -> ClaimedRun | None:
    """Take one due occasion of anybody's task, and put the task off to its next time.

    Whoever had none begun for longest is next: an owner, or all visitors of a network together.
    An owner has one running at most. What was missed by more than an hour is put off only.
    """
    if connection.dialect.name == "postgresql":
        # Two at once would each see that an owner has none running.
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_CLAIMS_LOCK)))
    for _ in range(MAX_MISSED):
        # Another process's claim holds its row. SQLite has one writer and no row locks.
        found = connection.execute(
            _in_turn(now).limit(1).with_for_update(skip_locked=True, of=agent_schedules)
        ).one_or_none()
        if found is None:
            return None
        upcoming = following(found.cron, found.time_zone, now)
        parameters: dict[str, Any] = {
            "owner_id_": found.owner_id,
            "schedule_id_": found.schedule_id,
            "was_due_at": found.next_run_at,
            # a time that never comes again lies far ahead
            "next_run_at": upcoming or now + timedelta(days=36_500),
        }
        if now - found.next_run_at > LATE:
            connection.execute(_MOVE, parameters)
            continue
        holder = secrets.token_hex(8)
        taken = {
            "holder": holder,
            "lease_until": lease_until,
            "claimed_at": now,
            "last_run_at": found.next_run_at,
            "last_outcome": "running",
            # until it is finished: a task that kills its process is paused like one that fails
            "failures": found.failures + 1,
        }
        row = connection.execute(_MOVE, {**parameters, **taken}).mappings().one_or_none()
        if row is not None:
            schedule = _schedule(row, lease_until, now)
            return ClaimedRun(
                found.owner_id,
                schedule,
                found.next_run_at,
                holder,
                found.agent_id,
                found.channel,
                found.tenant_id,
            )
    return None


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
    """Select what is due, of those that may have a further one running, in fair order."""
    all_tasks, running = agent_schedules.alias(), agent_schedules.alias()
    party = sa.func.coalesce(all_tasks.c.network, all_tasks.c.owner_id)
    is_running = sa.case((all_tasks.c.lease_until > now, 1))
    parties = (
        sa.select(
            party.label("party"),
            sa.func.max(all_tasks.c.claimed_at).label("claimed_at"),
            sa.func.count(is_running).label("running"),
        )
        .group_by(party)
        .subquery()
    )
    none_of_owner = ~sa.exists().where(
        running.c.owner_id == _schedules.owner_id, running.c.lease_until > now
    )
    own_party = sa.func.coalesce(_schedules.network, _schedules.owner_id)
    return (
        _due(now)
        .join(parties, parties.c.party == own_party)
        .where(none_of_owner, parties.c.running < RUNNING_OF_NETWORK)
        .order_by(
            parties.c.claimed_at.asc().nulls_first(),
            _schedules.next_run_at,
            _schedules.schedule_id,
        )
    )


def _schedule(row: sa.RowMapping, lease_until: datetime | None, now: datetime) -> Schedule:
    values = {field.name: row[field.name] for field in fields(Schedule)}
    if values["last_outcome"] == "running" and (lease_until is None or lease_until <= now):
        values["last_outcome"] = "interrupted"
    return Schedule(**values)


class Schedules:
    """The recurring tasks that one database keeps.

    Each method may raise DatabaseUnavailableError, those that write DatabaseFullError, and those with an
    owner ValueError for an owner that is nobody.

    Args:
        database: Where they are.
        following: Gives the first time after a moment for a crontab text and a time zone.
        lease_seconds: How long a process may be at one run.
        clock: The time, with its zone; those of all processes must agree to well within a minute.
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
        """Keep a new task in a conversation of the owner's own.

        `network` names where it came from, where that counts; one that `needs_visits` is found by
        `unvisited` when its owner has not come for long. Raises ConversationNotFoundError,
        TooManySchedulesError where `bound_of` says so, InvalidTextError, and ValueError for a time that
        never comes.
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
            lambda connection: add(
                connection,
                owner,
                new,
                bound_of=bound_of,
                network=network,
                visited_at=now if needs_visits else None,
            ),
            undo=lambda _: lambda connection: cancel(connection, owner, new.schedule_id),
            owner=EVERYONE,  # the tasks of a network and of all are counted too
        )
        return new

    async def of_owner(self, owner: str) -> list[Schedule]:
        """Return all tasks of an owner, oldest first; not those of deleted conversations."""
        check_owner(owner)
        now = self._clock()
        return await self._database.read(
            lambda connection: of_owner(connection, owner, now), owner=owner
        )

    async def cancel(self, owner: str, schedule_id: str) -> bool:
        """Delete a task for good; whether this owner had it."""
        check_owner(owner)
        if not is_id(schedule_id):
            return False
        return await self._database.write(
            lambda connection: cancel(connection, owner, schedule_id), owner=owner
        )

    async def finish(self, owner: str, schedule_id: str, holder: str, ending: RunEnd) -> bool:
        """Keep how a claimed run ended; False where it was not this holder's any more."""
        check_owner(owner)
        return await self._database.write(
            lambda connection: finish(connection, owner, schedule_id, holder, ending), owner=owner
        )

    async def visit(self, owner: str) -> None:
        """Note that an owner is here, so that their tasks go on."""
        check_owner(owner)
        now = self._clock()
        own = {"owner_id_": owner, "noted_before": now - NOTED}

        def needed(connection: sa.Connection) -> bool:
            return connection.execute(_NEEDS_VISIT, own).first() is not None

        if await self._database.read(needed, owner=owner):
            await self._database.write(
                lambda connection: connection.execute(_VISIT, own | {"now": now}).rowcount,
                owner=owner,
            )

    async def unvisited(self, *, since: datetime, prefix: str, limit: int = 100) -> list[Unvisited]:
        """Return tasks whose owners have not been here since then, of those whose ids begin so."""
        most = min(max(limit, 1), 100)
        return await self._database.read(
            lambda connection: unvisited(connection, since, prefix, most), owner=EVERYONE
        )

    async def is_due(self) -> bool:
        """Whether any task, of anybody, waits to be claimed."""
        now = self._clock()
        return await self._database.read(lambda connection: is_due(connection, now), owner=EVERYONE)

    async def claim_due(self) -> ClaimedRun | None:
        """Take one due occasion of anybody's task, to be run as its owner; None for none.

        Nobody else gets it, and it is not due again, whatever becomes of the caller.
        """
        now = self._clock()
        return await self._database.write(
            lambda connection: claim_due(connection, now, now + self._lease, self._following),
            undo=_given_back,
            owner=EVERYONE,
        )


def _given_back(claimed: ClaimedRun | None) -> Callable[[sa.Connection], bool]:
    """The work that makes an occasion due again whose claimer never learned of it."""
    if claimed is None:
        return lambda _: False
    ending = RunEnd("postponed", retry_at=claimed.occasion)
    taken = claimed.schedule.schedule_id
    return lambda connection: finish(connection, claimed.owner, taken, claimed.holder, ending)
