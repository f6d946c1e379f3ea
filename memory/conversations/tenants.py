"""Lists the conversations of a tenant: those of the users of one key of the REST interface.

Each user is an owner of their own; the tenant knows the conversations by its external ids.
"""

from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from memory.records import Conversation
from memory.schema import UtcDateTime, agent_sessions, columns_of

_sessions = agent_sessions.c
_NEWEST: Final = (
    sa.select(*columns_of(agent_sessions, Conversation))
    .where(
        _sessions.tenant_id == sa.bindparam("tenant_id_"),
        _sessions.agent_id == sa.bindparam("agent_id_"),
        _sessions.deleted_at.is_(None),
    )
    .order_by(_sessions.last_activity_at.desc(), _sessions.session_id.desc())
    .limit(sa.bindparam("rows"))
)
_OLDER: Final = _NEWEST.where(
    sa.tuple_(_sessions.last_activity_at, _sessions.session_id)
    < sa.tuple_(
        sa.bindparam("before_at", type_=UtcDateTime), sa.bindparam("before_id", type_=sa.Text)
    )
)


def conversations(
    connection: sa.Connection,
    owner: str,
    agent_id: str,
    limit: int,
    before: tuple[datetime, str] | None,
) -> list[Conversation]:
    """Return those that came through the tenant `owner` to an agent, newest activity first."""
    parameters: dict[str, Any] = {"tenant_id_": owner, "agent_id_": agent_id, "rows": limit}
    if before is not None:
        parameters |= {"before_at": before[0], "before_id": before[1]}
    statement = _NEWEST if before is None else _OLDER
    return [Conversation(*row) for row in connection.execute(statement, parameters)]
