"""The rows of connected accounts: each is one owner's, used only once its owner has finished it.

Functions of one connection to the database. Each statement names the owner, but for the one that
finds the owner of a link by the link's own secret.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, Literal

import sqlalchemy as sa

from memory.schema import UtcDateTime, agent_connections, columns_of, row_of

MAX_OPEN = 10  # links of one owner that may be finished; the oldest makes room
MAX_TRIES = 5  # wrong codes, after which all that wait for one are gone
OPEN_FOR = timedelta(minutes=15)

State = Literal["offered", "begun", "returned", "connected"]

_connections = agent_connections.c
_OF_OWNER = _connections.owner_id == sa.bindparam("owner_id_")
_OPEN = _connections.expires_at > sa.bindparam("now", type_=UtcDateTime)
_ONE = sa.and_(_OF_OWNER, _connections.connection_id == sa.bindparam("connection_id_"))
_OF_TOOLKIT = sa.and_(_OF_OWNER, _connections.toolkit == sa.bindparam("toolkit_"))


@dataclass(frozen=True, slots=True)
class StoredConnection:
    """A connection as it is stored.

    It is ``offered`` as a link, ``begun`` by a browser, ``returned`` where its owner has still to
    confirm it in a channel, and ``connected``. `place` is where that channel is, None on the page.
    `user_id` is the user at Composio for whom the link was made; it stays when the connection moves
    to another owner. `label` is what the provider calls the account. Of the connections of a toolkit the one with the latest `chosen_at` is used.
    """

    connection_id: str
    toolkit: str
    user_id: str
    place: str | None
    state: State
    account_id: str | None = None
    browser: str | None = None
    expires_at: datetime | None = None
    label: str | None = None
    chosen_at: datetime | None = None


_COLUMNS = tuple(columns_of(agent_connections, StoredConnection))
_ADD: Final = sa.insert(agent_connections)
_FIND: Final = sa.select(*_COLUMNS).where(_ONE, _OPEN)
_SURPLUS: Final = (
    sa.select(_connections.connection_id)
    .where(_OF_OWNER, _connections.state != "connected")
    .order_by(_connections.created_at.desc(), _connections.connection_id)
    .offset(sa.bindparam("max_open"))
)
_DROP: Final = sa.delete(agent_connections).where(_ONE)
# The columns to set are those that the parameters name.
_MOVE: Final = sa.update(agent_connections).where(
    _ONE, _OPEN, _connections.state == sa.bindparam("was")
)
_CONFIRM: Final = sa.select(*_COLUMNS).where(
    _OF_OWNER, _OPEN, _connections.state == "returned", _connections.code == sa.bindparam("code_")
)
_MISS: Final = (
    sa.update(agent_connections)
    .where(_OF_OWNER, _connections.state == "returned")
    .values(tries=_connections.tries + 1)
)
_GIVE_UP: Final = sa.delete(agent_connections).where(
    _OF_OWNER, _connections.state == "returned", _connections.tries >= MAX_TRIES
)
_IS_CONNECTED = sa.and_(_OF_OWNER, _connections.state == "connected")
_ORDER = (_connections.created_at, _connections.connection_id)
_CONNECTED: Final = sa.select(*_COLUMNS).where(_IS_CONNECTED).order_by(*_ORDER)
_CHOOSE: Final = (
    sa.update(agent_connections)
    .where(_ONE, _connections.state == "connected")
    .values(chosen_at=sa.bindparam("now", type_=UtcDateTime))
)
_LOCK: Final = _CONNECTED.with_for_update()
_ALL: Final = sa.select(*_COLUMNS).where(_OF_OWNER).order_by(*_ORDER)
# What is an account's own stays the one that it uses.
_TAKE_OVER: Final = (
    sa.update(agent_connections)
    .where(_IS_CONNECTED)
    .values(
        owner_id=sa.bindparam("new_owner"),
        chosen_at=sa.case(
            (_connections.toolkit.in_(sa.bindparam("toolkits", expanding=True)), None),
            else_=_connections.chosen_at,
        ),
    )
)
_WAITING: Final = sa.select(_connections.toolkit).where(
    _OF_OWNER, _OPEN, _connections.state.in_(("begun", "returned"))
)
_REMOVE: Final = sa.delete(agent_connections).where(_OF_TOOLKIT)
_FORGET: Final = sa.delete(agent_connections).where(_OF_OWNER)


def link_owner(connection: sa.Connection, connection_id: str) -> str | None:
    """Return the owner to whom a link was offered, by its unguessable id; None without one."""
    statement = sa.select(_connections.owner_id).where(_connections.connection_id == connection_id)
    return connection.execute(statement).scalar_one_or_none()


def offer(
    connection: sa.Connection,
    owner: str,
    new: StoredConnection,
    at: datetime,
    max_open: int = MAX_OPEN,
) -> None:
    """Store an offered link, and delete the oldest open ones beyond `max_open`."""
    row = row_of(new)
    row |= {"owner_id": owner, "tries": 0, "created_at": at, "expires_at": at + OPEN_FOR}
    connection.execute(_ADD, row)
    surplus = (
        connection.execute(_SURPLUS, {"owner_id_": owner, "max_open": max_open}).scalars().all()
    )
    for connection_id in surplus:
        drop(connection, owner, connection_id)


def find(
    connection: sa.Connection, owner: str, connection_id: str, now: datetime
) -> StoredConnection | None:
    """Return an owner's open link; None where there is none or it has expired."""
    parameters = {"owner_id_": owner, "connection_id_": connection_id, "now": now}
    row = connection.execute(_FIND, parameters).mappings().one_or_none()
    return StoredConnection(**row) if row is not None else None


def drop(connection: sa.Connection, owner: str, connection_id: str) -> bool:
    """Delete an owner's link or connection; return whether there was one."""
    parameters = {"owner_id_": owner, "connection_id_": connection_id}
    return connection.execute(_DROP, parameters).rowcount > 0


def begin(
    connection: sa.Connection,
    owner: str,
    connection_id: str,
    browser: str,
    account_id: str,
    now: datetime,
) -> bool:
    """Note the browser and the account of an offered link, once; return whether it was open."""
    changes = {"state": "begun", "browser": browser, "account_id": account_id}
    return _move(connection, owner, connection_id, "offered", now, **changes)


def await_code(
    connection: sa.Connection,
    owner: str,
    connection_id: str,
    code: str,
    label: str | None,
    now: datetime,
) -> bool:
    """Let a begun connection wait for a code of this digest, once; return whether it does."""
    changes = {"state": "returned", "code": code, "label": label}
    return _move(connection, owner, connection_id, "begun", now, **changes)


def finish(
    connection: sa.Connection,
    owner: str,
    begun: StoredConnection,
    label: str | None,
    now: datetime,
) -> bool:
    """Make a begun connection the owner's, and the one that is used; return whether it was begun."""
    return _connect(connection, owner, replace(begun, label=label), "begun", now)


def confirm(
    connection: sa.Connection, owner: str, code: str, now: datetime
) -> StoredConnection | None:
    """Make the connection that waits for the code of this digest the owner's, and return it.

    A wrong code counts against all that wait for one.
    """
    parameters = {"owner_id_": owner, "code_": code, "now": now}
    row = connection.execute(_CONFIRM, parameters).mappings().first()
    if row is None:
        connection.execute(_MISS, {"owner_id_": owner})
        connection.execute(_GIVE_UP, {"owner_id_": owner})
        return None
    returned = StoredConnection(**row)
    return returned if _connect(connection, owner, returned, "returned", now) else None


def connected(connection: sa.Connection, owner: str) -> list[StoredConnection]:
    """Return the connections that an owner has finished, oldest first."""
    return _read(connection, _CONNECTED, owner)


def lock(connection: sa.Connection, owner: str) -> None:
    """PostgreSQL: keep what an owner has connected as it is until the transaction ends."""
    _read(connection, _LOCK, owner)


def list_all(connection: sa.Connection, owner: str) -> list[StoredConnection]:
    """Return all links and connections of an owner, oldest first."""
    return _read(connection, _ALL, owner)


def take_over(connection: sa.Connection, owner: str, from_owner: str) -> int:
    """Make the finished connections of `from_owner` those of `owner`; return how many there were.

    Where `owner` has a connection of the same toolkit, that one goes on being used.
    """
    toolkits = [one.toolkit for one in connected(connection, owner)]
    values = {"owner_id_": from_owner, "new_owner": owner, "toolkits": toolkits}
    return connection.execute(_TAKE_OVER, values).rowcount


def choose(connection: sa.Connection, owner: str, connection_id: str, now: datetime) -> bool:
    """Use a finished connection from now on; return whether the owner has it."""
    values = {"owner_id_": owner, "connection_id_": connection_id, "now": now}
    return connection.execute(_CHOOSE, values).rowcount > 0


def named(connection: sa.Connection, account_ids: Collection[str]) -> set[str]:
    """Return those of the accounts that a link or connection of any owner names."""
    statement = sa.select(_connections.account_id).where(_connections.account_id.in_(account_ids))
    return set(connection.execute(statement).scalars())


def waiting(connection: sa.Connection, owner: str, now: datetime) -> set[str]:
    """Return the toolkits that an owner is about to connect."""
    return set(connection.execute(_WAITING, {"owner_id_": owner, "now": now}).scalars())


def remove(connection: sa.Connection, owner: str, toolkit: str) -> int:
    """Delete all links and connections of an owner to a toolkit; return how many."""
    return connection.execute(_REMOVE, {"owner_id_": owner, "toolkit_": toolkit}).rowcount


def forget(connection: sa.Connection, owner: str) -> int:
    """Delete all links and connections of an owner; return how many."""
    return connection.execute(_FORGET, {"owner_id_": owner}).rowcount


def purge(connection: sa.Connection, now: datetime) -> int:
    """Delete the expired links of all owners; return how many."""
    statement = sa.delete(agent_connections).where(_connections.expires_at <= now)
    return connection.execute(statement).rowcount


def _read(
    connection: sa.Connection, statement: sa.Select[Any], owner: str
) -> list[StoredConnection]:
    rows = connection.execute(statement, {"owner_id_": owner}).mappings()
    return [StoredConnection(**row) for row in rows]


def _move(
    connection: sa.Connection,
    owner: str,
    connection_id: str,
    was: State,
    now: datetime,
    **changes: object,
) -> bool:
    parameters = {"owner_id_": owner, "connection_id_": connection_id, "was": was, "now": now}
    return connection.execute(_MOVE.values(**changes), parameters).rowcount > 0


def _connect(
    connection: sa.Connection, owner: str, stored: StoredConnection, was: State, now: datetime
) -> bool:
    changes = {
        "state": "connected",
        "code": None,
        "browser": None,
        "expires_at": None,
        "label": stored.label,
        "chosen_at": now,
    }
    return _move(connection, owner, stored.connection_id, was, now, **changes)
