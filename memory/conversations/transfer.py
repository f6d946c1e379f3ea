"""Transfers what one owner has to another: a visitor's conversations to the account that signs in.

Functions of one connection; each statement names the owner. What is transferred is exactly what
was shown: see ``docs/adr/0022-consent-at-sign-in.md``.
"""

import hmac
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, Final

import sqlalchemy as sa

from memory import connection_rows, mcp_rows
from memory.connection_rows import StoredConnection
from memory.conversations import files, prompts
from memory.errors import HoldingsChangedError
from memory.mcp_rows import Reseal, StoredMcpServer
from memory.schema import UNATTACHED, agent_files, agent_schedules, agent_sessions, agent_shares

MAX_LISTED = 100  # conversations that are named; the others are counted

_sessions, _files, _schedules = agent_sessions.c, agent_files.c, agent_schedules.c
_shares = agent_shares.c
_OF_OWNER = sa.and_(_sessions.owner_id == sa.bindparam("owner_id_"), _sessions.deleted_at.is_(None))
_NEWEST: Final = (
    sa.select(_sessions.session_id, _sessions.title, _sessions.last_activity_at)
    .where(_OF_OWNER)
    .order_by(_sessions.last_activity_at.desc(), _sessions.session_id.desc())
    .limit(MAX_LISTED)
)
_COUNT: Final = sa.select(
    sa.func.count(),
    # grows with each message, also where one takes another's place
    sa.func.coalesce(sa.func.sum(_sessions.last_seq), 0),
    sa.func.max(_sessions.started_at),
).where(_OF_OWNER)
_IS_SHOWN = sa.exists().where(
    _sessions.session_id == _files.session_id,
    _sessions.owner_id == _files.owner_id,
    _sessions.deleted_at.is_(None),
)
_FILES: Final = sa.select(sa.func.count(), sa.func.max(_files.created_at)).where(
    _files.owner_id == sa.bindparam("owner_id_"), sa.or_(UNATTACHED, _IS_SHOWN)
)
_FREE_FILES: Final = sa.select(sa.func.count()).where(
    _files.owner_id == sa.bindparam("owner_id_"), UNATTACHED
)
_TASKS: Final = sa.select(sa.func.count()).where(_schedules.owner_id == sa.bindparam("owner_id_"))
# They follow their conversations by a foreign key.
_SHARES: Final = sa.select(sa.func.count()).where(
    _shares.owner_id == sa.bindparam("owner_id_"),
    sa.exists().where(
        _sessions.session_id == _shares.session_id,
        _sessions.owner_id == _shares.owner_id,
        _sessions.deleted_at.is_(None),
    ),
)
# PostgreSQL: no message and no task comes to a locked conversation. SQLite has one writer.
_LOCK: Final = sa.select(_sessions.last_seq).where(_OF_OWNER).with_for_update()
_END_TASKS: Final = sa.delete(agent_schedules).where(
    _schedules.owner_id == sa.bindparam("owner_id_")
)
# Messages, turns and files follow by their foreign key. Of the context only the chosen model
# comes along: what else stands there, whoever wrote the conversation has allowed.
_TRANSFER: Final = {
    "sqlite": sa.text("""
        UPDATE agent_sessions SET owner_id = :new_owner, context_data =
        CASE WHEN json_extract(context_data, '$.model') IS NULL THEN NULL
        ELSE json_object('model', json_extract(context_data, '$.model')) END
        WHERE owner_id = :owner_id_ AND deleted_at IS NULL"""),
    "postgresql": sa.text("""
        UPDATE agent_sessions SET owner_id = :new_owner, context_data =
        CASE WHEN context_data ->> 'model' IS NULL THEN NULL
        ELSE json_build_object('model', context_data -> 'model') END
        WHERE owner_id = :owner_id_ AND deleted_at IS NULL"""),
}


@dataclass(frozen=True, slots=True)
class Listed:
    """A conversation by which its owner recognises it."""

    conversation_id: str
    title: str
    last_activity_at: datetime


@dataclass(frozen=True, slots=True)
class Holdings:
    """What an owner has that can be transferred, and the recurring tasks, which cannot.

    `shares` counts the links to snapshots of the conversations, with which they move; `prompts`
    the saved prompts. `connections` are the connected accounts, `servers` the MCP servers of the
    owner's own or at which the owner has signed in. `newest`
    names up to `MAX_LISTED` of the `conversations`. `messages` and the times change with
    everything that is added, so that `digest` stands for one state of it all.
    """

    newest: tuple[Listed, ...]
    conversations: int
    messages: int
    begun_at: datetime | None
    files: int
    stored_at: datetime | None
    tasks: int
    shares: int
    prompts: int
    connections: tuple[StoredConnection, ...] = ()
    servers: tuple[StoredMcpServer, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to transfer."""
        counts = (self.conversations, self.files, self.prompts)
        return not any(counts) and not self.connections and not self.servers

    @property
    def digest(self) -> str:
        """SHA-256, in hex, of what is shown to the person who decides, and of all counts."""
        times = [str(at and at.timestamp()) for at in (self.begun_at, self.stored_at)]
        counts = (
            self.conversations,
            self.messages,
            self.files,
            self.tasks,
            self.shares,
            self.prompts,
        )
        listed = [(item.conversation_id, item.title) for item in self.newest]
        connected = [(one.connection_id, one.toolkit) for one in self.connections]
        servers = [(one.server, one.url) for one in self.servers]
        shown = repr((listed, counts, times, connected, servers))
        return sha256(shown.encode("utf-8", "surrogatepass")).hexdigest()


def holdings(connection: sa.Connection, owner: str) -> Holdings:
    """Return what an owner has."""
    own = {"owner_id_": owner}
    count, messages, begun_at = connection.execute(_COUNT, own).one()
    stored, stored_at = connection.execute(_FILES, own).one()
    return Holdings(
        newest=tuple(Listed(*row) for row in connection.execute(_NEWEST, own)),
        conversations=count,
        messages=int(messages),
        begun_at=begun_at,
        files=stored,
        stored_at=stored_at,
        tasks=connection.execute(_TASKS, own).scalar_one(),
        shares=connection.execute(_SHARES, own).scalar_one(),
        prompts=prompts.count(connection, owner),
        connections=tuple(connection_rows.connected(connection, owner)),
        servers=tuple(mcp_rows.servers(connection, owner)),
    )


def transfer(
    connection: sa.Connection, owner: str, from_owner: str, digest: str, reseal: Reseal
) -> int:
    """Make what `from_owner` has `owner`'s, end its tasks; return how many conversations moved.

    Deleted conversations and connections that are not finished stay.
    Raises HoldingsChangedError where it is not what has this digest.
    """
    own: dict[str, Any] = {"owner_id_": from_owner}
    connection.execute(_LOCK, own).all()
    connection_rows.lock(connection, from_owner)
    mcp_rows.lock(connection, from_owner)
    current = holdings(connection, from_owner)
    if not hmac.compare_digest(current.digest, digest):
        raise HoldingsChangedError
    free_files = connection.execute(_FREE_FILES, own).scalar_one()
    connection.execute(_END_TASKS, own)
    statement = _TRANSFER[connection.dialect.name]
    moved = connection.execute(statement, {**own, "new_owner": owner}).rowcount
    # PostgreSQL: what came since, be it a conversation, a file or a connection, was not shown.
    if (
        moved != current.conversations
        or files.take_over(connection, owner, from_owner) != free_files
        or prompts.take_over(connection, owner, from_owner) != current.prompts
        or connection_rows.take_over(connection, owner, from_owner) != len(current.connections)
        or mcp_rows.take_over(connection, owner, from_owner, reseal) != len(current.servers)
    ):
        raise HoldingsChangedError
    return moved
