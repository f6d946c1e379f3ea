"""Sums the tokens and the cost of one owner's answers. Each statement names the owner.

Superseded answers count, since they were paid for all the same.
"""

from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from memory.records import Usage
from memory.schema import UtcDateTime, agent_messages, agent_sessions

_sessions, _messages = agent_sessions.c, agent_messages.c
_SUMS: Final = (
    sa.func.coalesce(sa.func.sum(_messages.tokens_used), 0),
    sa.func.sum(_messages.cost_micros),
)
_OF_CONVERSATION: Final = sa.select(*_SUMS).where(
    _messages.session_id == sa.bindparam("conversation_id_"),
    _messages.owner_id == sa.bindparam("owner_id_"),
    sa.exists().where(
        _sessions.session_id == sa.bindparam("conversation_id_"),
        _sessions.owner_id == sa.bindparam("owner_id_"),
        _sessions.deleted_at.is_(None),
    ),
)
# A message is never younger than its conversation's last activity, and by that there is an
# index: only conversations that were in use since then are looked into.
_SINCE: Final = (
    sa.select(*_SUMS)
    .join_from(
        agent_sessions,
        agent_messages,
        sa.and_(
            _messages.session_id == _sessions.session_id, _messages.owner_id == _sessions.owner_id
        ),
    )
    .where(
        _sessions.owner_id == sa.bindparam("owner_id_"),
        _sessions.last_activity_at >= sa.bindparam("since", type_=UtcDateTime),
        _messages.created_at >= sa.bindparam("since", type_=UtcDateTime),
    )
)


def of_conversation(connection: sa.Connection, owner: str, conversation_id: str) -> Usage:
    """Return the usage of a conversation; nothing for an unknown one."""
    return _usage(
        connection, _OF_CONVERSATION, {"owner_id_": owner, "conversation_id_": conversation_id}
    )


def since(connection: sa.Connection, owner: str, moment: datetime) -> Usage:
    """Return the usage of all conversations from `moment` on."""
    return _usage(connection, _SINCE, {"owner_id_": owner, "since": moment})


def _usage(
    connection: sa.Connection, statement: sa.Executable, parameters: dict[str, Any]
) -> Usage:
    tokens, cost = connection.execute(statement, parameters).one()
    return Usage(int(tokens), None if cost is None else int(cost))
