"""The rows of recurring tasks: each is one owner's and goes with its conversation.

Functions of one connection. What an owner does names the owner in each statement.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final, Literal

import sqlalchemy as sa

from memory.errors import ConversationNotFoundError, TooManySchedulesError
from memory.schema import UtcDateTime, agent_schedules, agent_sessions, columns_of, row_of

MAX_FAILURES = 5  # in a row; then a task runs no more
_ADDING_LOCK = 0x636D79  # of PostgreSQL, any number of this program's own

RunOutcome = Literal["running", "complete", "failed", "interrupted", "limited", "postponed"]

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
        """Whether the task has failed too often to be run again."""
        return self.failures >= MAX_FAILURES and self.last_outcome != "running"


@dataclass(frozen=True, slots=True)
class RunEnd:
    """How a run ended.

    With `retry_at` the run was not begun, and the task is due then, if not before.
    """

    outcome: RunOutcome
    retry_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class UsedTasks:
    """How many tasks exist: of the owner, of their network where it has a bound, and of all."""

    owner: int
    network: int | None
    total: int


# returns the name of the bound that a further task would exceed; None where there is none
ScheduleBound = Callable[[UsedTasks], str | None]


@dataclass(frozen=True, slots=True)
class Unvisited:
    """A task whose owner has not visited for long."""

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
# The columns to set are those that the parameters name. The task must still be due at the time
# that its claimer has read: another process may have claimed it since.
MOVE: Final = (
    sa.update(agent_schedules)
    .where(_OWN, _schedules.next_run_at == sa.bindparam("was_due_at", type_=UtcDateTime))
    .returning(*_COLUMNS)
)
# The columns to set are those that the parameters name.
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
    """Store a new task.

    Raises:
        ConversationNotFoundError: The owner has no such conversation.
        TooManySchedulesError: `bound_of` names a bound that is reached.
    """
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
    owned = connection.execute(_COUNT, {"owner_id_": owner}).scalar_one()
    count = sa.select(sa.func.count()).select_from(agent_schedules)
    of_network = None
    if network is not None:
        of_network = connection.execute(count.where(_schedules.network == network)).scalar_one()
    return UsedTasks(owned, of_network, connection.execute(count).scalar_one())


def unvisited(
    connection: sa.Connection, before: datetime, prefix: str, limit: int
) -> list[Unvisited]:
    """Return tasks of all owners with this id prefix whose last visit was before then."""
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


def needs_visit(connection: sa.Connection, owner: str, noted_before: datetime) -> bool:
    """Return whether an owner has tasks whose last noted visit is older than that."""
    own = {"owner_id_": owner, "noted_before": noted_before}
    return connection.execute(_NEEDS_VISIT, own).first() is not None


def visit(connection: sa.Connection, owner: str, noted_before: datetime, now: datetime) -> int:
    """Note a visit of an owner at their tasks; return at how many."""
    own = {"owner_id_": owner, "noted_before": noted_before, "now": now}
    return connection.execute(_VISIT, own).rowcount


def of_owner(connection: sa.Connection, owner: str, now: datetime) -> list[Schedule]:
    """Return all tasks of an owner, oldest first."""
    rows = connection.execute(_LIST, {"owner_id_": owner}).mappings()
    return [schedule_of(row, row["lease_until"], now) for row in rows]


def cancel(connection: sa.Connection, owner: str, schedule_id: str) -> bool:
    """Delete a task; return whether this owner had it."""
    parameters = {"owner_id_": owner, "schedule_id_": schedule_id}
    return connection.execute(_CANCEL, parameters).rowcount > 0


def finish(
    connection: sa.Connection, owner: str, schedule_id: str, holder: str, ending: RunEnd
) -> bool:
    """Store how a run ended; return whether the holder still had the claim."""
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


def schedule_of(row: sa.RowMapping, lease_until: datetime | None, now: datetime) -> Schedule:
    """Return a row as a record; a run whose lease has ended counts as interrupted."""
    values = {field.name: row[field.name] for field in fields(Schedule)}
    if values["last_outcome"] == "running" and (lease_until is None or lease_until <= now):
        values["last_outcome"] = "interrupted"
    return Schedule(**values)
