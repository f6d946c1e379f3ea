"""Counts what is stored, over all owners, by design without an owner argument.

The database counts; what comes out of it are sums and the names of sites, channels, models and
tools.
"""

from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from typing import Any

import sqlalchemy as sa

from memory.engine.database import Database
from memory.engine.scopes import EVERYONE
from memory.records import utcnow
from memory.reports import percentiles
from memory.reports.statistics import Answers, Day, Messages, Sessions, Share, Spread, Statistics
from memory.reports.tool_usage import tools
from memory.schema import agent_messages, agent_sessions, agent_turns

DAYS = 30
MAX_SHARES = 20  # of sites, channels and models: the largest

_sessions, _messages, _turns = agent_sessions.c, agent_messages.c, agent_turns.c
_THERE = _sessions.deleted_at == sa.null()
_ORIGINAL = _messages.turn_id != ""  # not copied or imported: nobody has sent or answered it here
_ANSWERS = sa.join(agent_messages, agent_sessions, _messages.session_id == _sessions.session_id)
_TURNS = sa.join(agent_turns, agent_sessions, _turns.session_id == _sessions.session_id)


async def statistics(database: Database, *, clock: Callable[[], datetime] = utcnow) -> Statistics:
    """Return the statistics of this moment. Raises DatabaseUnavailableError."""
    now = clock()
    return await database.read(lambda connection: _statistics(connection, now), owner=EVERYONE)


def _statistics(connection: sa.Connection, now: datetime) -> Statistics:
    _one_snapshot(connection)
    tokens, cost = _used(connection)
    return Statistics(
        made_at=now,
        sessions=_counted_sessions(connection),
        messages=_counted_messages(connection),
        tokens=tokens,
        cost_micros=cost,
        latency_ms=_latency(connection),
        answers=Answers(**_by_state(connection, "complete", "failed", "interrupted", "running")),
        days=_days(connection, now),
        sites=_shares(connection, _sessions.website_domain),
        channels=_shares(connection, _sessions.channel),
        models=_models(connection),
        tools=tools(connection),
    )


def _one_snapshot(connection: sa.Connection) -> None:
    """Let all following statements read one snapshot, so that the numbers fit together."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN")
    else:
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")


def _counted_sessions(connection: sa.Connection) -> Sessions:
    rows = connection.execute(
        sa.select(_sessions.status, sa.func.count()).where(_THERE).group_by(_sessions.status)
    )
    counts = {status: number for status, number in rows}  # noqa: C416 (rows are not pairs to mypy)
    by_status = {name: counts.get(name, 0) for name in ("active", "inactive", "ended")}
    return Sessions(total=sum(by_status.values()), **by_status)


def _counted_messages(connection: sa.Connection) -> Messages:
    total, mean = connection.execute(
        sa.select(
            sa.func.coalesce(sa.func.sum(_sessions.message_count), 0),
            sa.func.avg(_sessions.message_count),
        ).where(_THERE)
    ).one()
    values = sa.select(sa.literal(0), _sessions.message_count).where(_THERE)
    p50, p95 = percentiles.by_key(connection, values).get(0, (None, None))
    return Messages(int(total), Spread(_number(mean), p50, p95))


def _used(connection: sa.Connection) -> tuple[int, int]:
    sums = (_sum(_messages.tokens_used), _sum(_messages.cost_micros))
    statement = sa.select(*sums).select_from(_ANSWERS).where(_THERE)
    tokens, cost = connection.execute(statement).one()
    return int(tokens), int(cost)


def _latency(connection: sa.Connection) -> Spread:
    return _latencies(connection, sa.literal(0)).get(0, Spread(None, None, None))


def _latencies(
    connection: sa.Connection, key: sa.ColumnElement[Any], *conditions: sa.ColumnElement[bool]
) -> dict[Any, Spread]:
    """How long complete answers took, for each value of `key`."""
    values = (
        sa.select(key.label("key"), _messages.latency_ms.label("value"))
        .select_from(_ANSWERS)
        .where(_THERE, _messages.latency_ms.is_not(None), _messages.status == "complete")
        .where(*conditions)
    )
    each = values.subquery()
    means = connection.execute(
        sa.select(each.c.key, sa.func.avg(each.c.value)).group_by(each.c.key)
    )
    ranks = percentiles.by_key(connection, values)
    return {value: Spread(_number(mean), *ranks[value]) for value, mean in means}


def _by_state(connection: sa.Connection, *states: str) -> dict[str, int]:
    rows = connection.execute(
        sa.select(_turns.state, sa.func.count())
        .select_from(_TURNS)
        .where(_THERE)
        .group_by(_turns.state)
    )
    counts = {row[0]: row[1] for row in rows}
    return {state: counts.get(state, 0) for state in states}


def _days(connection: sa.Connection, now: datetime) -> tuple[Day, ...]:
    days = [now.date() - timedelta(days=back) for back in reversed(range(DAYS))]
    since = datetime.combine(days[0], time(), now.tzinfo)
    begun, sent, ended = (
        _grouped(connection, statement) for statement in _daily(connection, since)
    )
    key = _day(connection, _messages.created_at)
    latencies = _latencies(connection, key, _messages.created_at >= since)

    def one(day: date) -> Day:
        at = day.isoformat()
        messages, tokens, cost = sent.get(at, (0, 0, 0))
        failed, interrupted = ended.get(at, (0, 0))
        latency = latencies.get(at, Spread(None, None, None))
        (sessions,) = begun.get(at, (0,))
        return Day(day, sessions, messages, tokens, failed, interrupted, latency, cost)

    return tuple(one(day) for day in days)


def _daily(connection: sa.Connection, since: datetime) -> list[sa.Select[Any]]:
    """Select by day: sessions; messages, tokens and cost; failed and interrupted answers."""
    begun, sent, ended = (
        _day(connection, column)
        for column in (_sessions.started_at, _messages.created_at, _turns.started_at)
    )
    return [
        sa.select(begun, sa.func.count())
        .where(_THERE, _sessions.started_at >= since)
        .group_by(begun),
        sa.select(
            sent,
            _number_of(~_messages.superseded),
            _sum(_messages.tokens_used),
            _sum(_messages.cost_micros),
        )
        .select_from(_ANSWERS)
        .where(_THERE, _ORIGINAL, _messages.created_at >= since)
        .group_by(sent),
        sa.select(
            ended, _number_of(_turns.state == "failed"), _number_of(_turns.state == "interrupted")
        )
        .select_from(_TURNS)
        .where(_THERE, _turns.started_at >= since)
        .group_by(ended),
    ]


def _grouped(connection: sa.Connection, statement: sa.Select[Any]) -> dict[str, tuple[int, ...]]:
    rows = connection.execute(statement)
    return {key: tuple(int(number) for number in numbers) for key, *numbers in rows}


def _day(connection: sa.Connection, at: sa.ColumnElement[Any]) -> sa.ColumnElement[str]:
    """A moment's day in UTC as a text, such as 2030-01-31."""
    if connection.dialect.name == "sqlite":
        return sa.func.date(at, type_=sa.Text)
    # Written out: as parameters they would be others in SELECT than in GROUP BY.
    zone: sa.ColumnElement[str] = sa.literal_column("'UTC'")
    form: sa.ColumnElement[str] = sa.literal_column("'YYYY-MM-DD'")
    return sa.func.to_char(sa.func.timezone(zone, at), form, type_=sa.Text)


def _shares(connection: sa.Connection, name: sa.Column[Any]) -> tuple[Share, ...]:
    # Tokens are added up for each conversation first: a join would count its messages again.
    used = (
        sa.select(
            _messages.session_id,
            _sum(_messages.tokens_used).label("tokens"),
            _sum(_messages.cost_micros).label("cost"),
        )
        .group_by(_messages.session_id)
        .subquery()
    )
    messages = _sum(_sessions.message_count)
    statement = (
        sa.select(name, sa.func.count(), messages, _sum(used.c.tokens), _sum(used.c.cost))
        .select_from(agent_sessions.outerjoin(used, used.c.session_id == _sessions.session_id))
        .where(_THERE)
        .group_by(name)
    )
    return _largest(connection, statement, messages, name)


def _models(connection: sa.Connection) -> tuple[Share, ...]:
    name, answers = _messages.model_used, sa.func.count()
    statement = (
        sa.select(
            name, sa.func.count(_messages.session_id.distinct()), answers,
            _sum(_messages.tokens_used), _sum(_messages.cost_micros),
        )
        .select_from(_ANSWERS)
        .where(_THERE, _ORIGINAL, _messages.role == "assistant")
        .group_by(name)
    )  # fmt: skip
    return _largest(connection, statement, answers, name)


def _largest(
    connection: sa.Connection,
    statement: sa.Select[Any],
    size: sa.ColumnElement[Any],
    name: sa.ColumnElement[Any],
) -> tuple[Share, ...]:
    rows = connection.execute(statement.order_by(size.desc(), name).limit(MAX_SHARES))
    return tuple(Share(value, *(int(number) for number in numbers)) for value, *numbers in rows)


def _sum(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    return sa.func.coalesce(sa.func.sum(column), 0)


def _number_of(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
    return sa.func.count(sa.case((condition, 1)))


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
