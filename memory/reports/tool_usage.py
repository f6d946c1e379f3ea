"""How often each tool was called, how often in vain, and how long it took: sums over everybody.

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
    """The most used tools, most calls first. Replaced answers count: their tools did run."""
    calls = _calls(connection)
    each = calls.subquery().c
    number = sa.func.count()
    most = connection.execute(
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
            values.name.in_([row[0] for row in most])
        ),
    )
    return tuple(
        ToolStatistics(name, int(count), int(failed), Spread(float(mean), *ranks[name]))
        for name, count, failed, mean in most
    )


def _calls(connection: sa.Connection) -> sa.Select[Any]:
    """One row for each call: its tool's name, 1 where it failed, its milliseconds."""
    if connection.dialect.name == "sqlite":
        call = sa.func.json_each(_messages.tool_calls).table_valued("value")
        name, ok, spent = (
            sa.func.json_extract(call.c.value, f"$.{field}")
            for field in ("name", "ok", "duration_ms")
        )
        usual = sa.and_(name != "", name.op("NOT GLOB")("*[^A-Za-z0-9_.-]*"))
        failed = sa.case((ok == 1, 0), else_=1)
    else:
        call = sa.func.json_array_elements(_messages.tool_calls).table_valued(
            sa.column("value", sa.JSON)
        )
        name, ok, spent = (
            call.c.value[field].as_string() for field in ("name", "ok", "duration_ms")
        )
        usual = name.op("~")("^[A-Za-z0-9_.-]+$")
        failed = sa.case((ok == "true", 0), else_=1)
    shown = sa.case((usual, sa.func.substr(name, 1, NAME_CHARS)), else_=OTHER)
    return (
        sa.select(
            shown.label("name"),
            failed.label("failed"),
            sa.cast(spent, sa.BigInteger).label("milliseconds"),
        )
        .select_from(
            sa.join(agent_messages, agent_sessions, _messages.session_id == _sessions.session_id)
        )
        .join(call, sa.true())
        .where(_sessions.deleted_at.is_(None), _messages.tool_calls.is_not(None))
    )
