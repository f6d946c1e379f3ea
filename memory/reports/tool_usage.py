"""Counts calls, failures and durations of each tool over all owners.

A tool's name is what a model wrote, so it may be anything: what does not look like the name of a
tool is counted under one heading, and long names are cut, before anything leaves the database.
"""

from typing import Any

import sqlalchemy as sa

from memory.reports import percentiles
from memory.reports.statistics import Spread, ToolStatistics
from memory.schema import agent_messages, agent_sessions

MAX_TOOLS = 50
NAME_CHARS = 64
OTHER = "other"

_sessions, _messages = agent_sessions.c, agent_messages.c


def tools(connection: sa.Connection) -> tuple[ToolStatistics, ...]:
    """Return the most used tools, most calls first. Superseded answers count too."""
    calls = _calls(connection)
    each = calls.subquery().c
    number = sa.func.count()
    most_used = connection.execute(
        sa.select(each.name, number, sa.func.sum(each.failed), sa.func.avg(each.milliseconds))
        .group_by(each.name)
        .order_by(number.desc(), each.name)
        .limit(MAX_TOOLS)
    ).all()
    values = calls.subquery().c
    # Models may make up any number of names: percentiles are worked out for those shown alone.
    ranks = percentiles.by_key(
        connection,
        sa.select(values.name, values.milliseconds).where(
            values.name.in_([row[0] for row in most_used])
        ),
    )
    return tuple(
        ToolStatistics(name, int(count), int(failed), Spread(float(mean), *ranks[name]))
        for name, count, failed, mean in most_used
    )


def _calls(connection: sa.Connection) -> sa.Select[Any]:
    """One row for each call: its tool's name, 1 where it failed, its milliseconds."""
    if connection.dialect.name == "sqlite":
        call = sa.func.json_each(_messages.tool_calls).table_valued("value")
        name, ok, duration = (
            sa.func.json_extract(call.c.value, f"$.{field}")
            for field in ("name", "ok", "duration_ms")
        )
        is_name = sa.and_(name != "", name.op("NOT GLOB")("*[^A-Za-z0-9_.-]*"))
        failed = sa.case((ok == 1, 0), else_=1)
    else:
        call = sa.func.json_array_elements(_messages.tool_calls).table_valued(
            sa.column("value", sa.JSON)
        )
        name, ok, duration = (
            call.c.value[field].as_string() for field in ("name", "ok", "duration_ms")
        )
        is_name = name.op("~")("^[A-Za-z0-9_.-]+$")
        failed = sa.case((ok == "true", 0), else_=1)
    label = sa.case((is_name, sa.func.substr(name, 1, NAME_CHARS)), else_=OTHER)
    return (
        sa.select(
            label.label("name"),
            failed.label("failed"),
            sa.cast(duration, sa.BigInteger).label("milliseconds"),
        )
        .select_from(
            sa.join(agent_messages, agent_sessions, _messages.session_id == _sessions.session_id)
        )
        .join(call, sa.true())
        .where(
            _sessions.deleted_at.is_(None),
            _messages.tool_calls.is_not(None),
            _messages.turn_id != "",  # neither copied nor imported
        )
    )
