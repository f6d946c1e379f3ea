"""The rows of owners' MCP servers: the secrets of a sign-in, sealed, and addresses of their own servers.

Functions of one connection to the database; each statement names the owner.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa

from memory.schema import UtcDateTime, agent_mcp_servers

MAX_OWN = 5  # servers of one owner's own
UNUSED_FOR = timedelta(days=400)  # after which a sign-in is forgotten

_servers = agent_mcp_servers.c
_OF_OWNER = _servers.owner_id == sa.bindparam("owner_id_", type_=sa.Text)
_ONE = sa.and_(_OF_OWNER, _servers.server == sa.bindparam("server_", type_=sa.Text))


@dataclass(frozen=True, slots=True)
class StoredMcpServer:
    """What is stored of one owner's use of one server.

    Attributes:
        server: The server's name.
        url: Its address, where it is the owner's own; None for one of the operator's.
        sealed: The secrets of the owner's sign-in there, sealed; None without one.
    """

    server: str
    url: str | None
    sealed: str | None


_COLUMNS = (_servers.server, _servers.url, _servers.sealed)
_LIST: Final = sa.select(*_COLUMNS).where(_OF_OWNER).order_by(_servers.server)
_FIND: Final = sa.select(*_COLUMNS).where(_ONE)
_SEAL: Final = (
    sa.update(agent_mcp_servers)
    .where(_ONE)
    .values(
        sealed=sa.bindparam("new_sealed", type_=sa.Text),
        updated_at=sa.bindparam("now", type_=UtcDateTime),
    )
)
_OWN: Final = (
    sa.select(sa.func.count())
    .select_from(agent_mcp_servers)
    .where(_OF_OWNER, _servers.url.is_not(None))
)
_UNSEAL: Final = (
    sa.update(agent_mcp_servers).where(_ONE, _servers.url.is_not(None)).values(sealed=None)
)
_DROP: Final = sa.delete(agent_mcp_servers).where(_ONE)
_FORGET: Final = sa.delete(agent_mcp_servers).where(_OF_OWNER)
_LOCK: Final = _LIST.with_for_update()
_RENEW: Final = _SEAL.where(_servers.sealed.is_not(None))
_TAKE_OVER: Final = (
    sa.update(agent_mcp_servers)
    .where(_ONE)
    .values(owner_id=sa.bindparam("new_owner"), sealed=sa.bindparam("new_sealed", type_=sa.Text))
)

# Seals anew, for the owner to whom it moves, what was sealed at a server of this name; None where
# it cannot be read.
Reseal = Callable[[str, str], str | None]


def servers(connection: sa.Connection, owner: str) -> list[StoredMcpServer]:
    """Return what is stored of an owner's servers, by name."""
    return [StoredMcpServer(*row) for row in connection.execute(_LIST, {"owner_id_": owner})]


def find(connection: sa.Connection, owner: str, server: str) -> StoredMcpServer | None:
    """Return what is stored of an owner's use of a server; None for nothing."""
    row = connection.execute(_FIND, {"owner_id_": owner, "server_": server}).one_or_none()
    return StoredMcpServer(*row) if row is not None else None


def seal(connection: sa.Connection, owner: str, server: str, sealed: str, now: datetime) -> None:
    """Store the sealed secrets of an owner's sign-in, in place of earlier ones."""
    values = {"owner_id_": owner, "server_": server, "new_sealed": sealed, "now": now}
    if connection.execute(_SEAL, values).rowcount == 0:
        _insert(connection, owner, StoredMcpServer(server, None, sealed), now)


def renew(connection: sa.Connection, owner: str, server: str, sealed: str, now: datetime) -> bool:
    """Replace the sealed secrets of a sign-in; return whether the owner has one."""
    values = {"owner_id_": owner, "server_": server, "new_sealed": sealed, "now": now}
    return connection.execute(_RENEW, values).rowcount > 0


def lock(connection: sa.Connection, owner: str) -> None:
    """PostgreSQL: keep what an owner has as it is until the transaction ends."""
    connection.execute(_LOCK, {"owner_id_": owner}).all()


def take_over(connection: sa.Connection, owner: str, from_owner: str, reseal: Reseal) -> int:
    """Make the servers of `from_owner` those of `owner`; return how many `from_owner` had.

    A server of whose name `owner` has one, and a sign-in that cannot be read, stay behind.
    """
    moving, own = servers(connection, from_owner), servers(connection, owner)
    names = {one.server for one in own}
    for one in moving:
        sealed = reseal(one.server, one.sealed) if one.sealed is not None else None
        if one.server in names or (one.sealed is not None and sealed is None):
            continue
        values = {"owner_id_": from_owner, "server_": one.server, "new_owner": owner}
        connection.execute(_TAKE_OVER, values | {"new_sealed": sealed})
    return len(moving)


def add(connection: sa.Connection, owner: str, server: str, url: str, now: datetime) -> bool:
    """Store a server of an owner's own.

    Returns:
        Whether it was stored: the owner has none of the name, and fewer than `MAX_OWN`.
    """
    if connection.dialect.name == "postgresql":
        # Two at once would each see the room that only one of them may take.
        key = sa.func.hashtextextended(f"cmw.mcp\n{owner}", 0)
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(key)))
    count = connection.execute(_OWN, {"owner_id_": owner}).scalar_one()
    if count >= MAX_OWN or find(connection, owner, server) is not None:
        return False
    _insert(connection, owner, StoredMcpServer(server, url, None), now)
    return True


def unseal(connection: sa.Connection, owner: str, server: str) -> bool:
    """Delete the secrets of a sign-in at a server of the owner's own; return whether it is one."""
    return connection.execute(_UNSEAL, {"owner_id_": owner, "server_": server}).rowcount > 0


def _insert(connection: sa.Connection, owner: str, new: StoredMcpServer, now: datetime) -> None:
    row = {"owner_id": owner, "server": new.server, "url": new.url, "sealed": new.sealed}
    connection.execute(sa.insert(agent_mcp_servers), row | {"created_at": now, "updated_at": now})


def drop(connection: sa.Connection, owner: str, server: str) -> bool:
    """Delete what is stored of an owner's use of a server; return whether there was something."""
    return connection.execute(_DROP, {"owner_id_": owner, "server_": server}).rowcount > 0


def forget(connection: sa.Connection, owner: str) -> int:
    """Delete everything of an owner; return how many rows that was."""
    return connection.execute(_FORGET, {"owner_id_": owner}).rowcount


def purge(connection: sa.Connection, now: datetime) -> int:
    """Delete what no owner has used for long; return how many rows that was."""
    statement = sa.delete(agent_mcp_servers).where(_servers.updated_at <= now - UNUSED_FOR)
    return connection.execute(statement).rowcount
