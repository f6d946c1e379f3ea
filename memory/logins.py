"""Logins of accounts. They are stored, so that signing out holds on every replica.

Functions of one connection, and `Logins`, which runs them; each statement names the owner.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from memory.conversations.transfer import transfer
from memory.engine.database import Database
from memory.engine.scopes import Handover, RowScope
from memory.errors import LoginExistsError
from memory.mcp_rows import Reseal
from memory.records import utcnow
from memory.schema import UtcDateTime, metadata
from memory.validation import check_owner

ENDED_KEPT = timedelta(days=1)
LONGEST = timedelta(days=401)  # no browser keeps a cookie for longer than 400 days

agent_logins = sa.Table(
    "agent_logins",
    metadata,
    sa.Column("login_id", sa.Text, primary_key=True),
    sa.Column("owner_id", sa.Text, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("ended_at", UtcDateTime),
    sa.Column("names", sa.JSON(none_as_null=True)),
    sa.Index("agent_logins_by_owner", "owner_id"),
)
_logins = agent_logins.c
_LIVE = sa.and_(
    _logins.login_id == sa.bindparam("login_id_"),
    _logins.owner_id == sa.bindparam("owner_id_"),
    _logins.ended_at.is_(None),
)
_PURGE: Final = sa.delete(agent_logins).where(
    sa.or_(
        _logins.ended_at <= sa.bindparam("ended", type_=UtcDateTime),
        _logins.created_at <= sa.bindparam("begun", type_=UtcDateTime),
    )
)
_RENAME: Final = sa.update(agent_logins).where(
    _logins.owner_id == sa.bindparam("owner_id_"), _logins.ended_at.is_(None)
)
_NAMES: Final = (
    sa.select(_logins.names)
    .where(_logins.owner_id == sa.bindparam("owner_id_"), _logins.ended_at.is_(None))
    .order_by(_logins.created_at.desc())
    .limit(1)
)
_FIND: Final = sa.select(_logins.login_id).where(_LIVE)
_END: Final = (
    sa.update(agent_logins).where(_LIVE).values(ended_at=sa.bindparam("at", type_=UtcDateTime))
)

_FORGET: Final = sa.delete(agent_logins).where(_logins.owner_id == sa.bindparam("owner_id_"))


@dataclass(frozen=True, slots=True)
class Taking:
    """What a sign-in transfers: all holdings of `from_owner`, while they have this `digest`.

    `reseal` seals secrets of `from_owner` anew for who signs in.
    """

    from_owner: str
    digest: str
    reseal: Reseal


def begin(
    connection: sa.Connection,
    owner: str,
    login_id: str,
    at: datetime,
    names: Collection[str] = (),
    taking: Taking | None = None,
) -> None:
    """Store a new login, and transfer to its owner what it takes.

    Its names replace those of all logins of the owner.

    Raises LoginExistsError, HoldingsChangedError.
    """
    sorted_names = sorted(names)
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    new = dialect.insert(agent_logins).values(
        login_id=login_id, owner_id=owner, created_at=at, names=sorted_names
    )
    if connection.execute(new.on_conflict_do_nothing()).rowcount == 0:
        raise LoginExistsError
    connection.execute(_RENAME.values(names=sorted_names), {"owner_id_": owner})
    if taking is not None:
        transfer(connection, owner, taking.from_owner, taking.digest, taking.reseal)


def names(connection: sa.Connection, owner: str) -> frozenset[str] | None:
    """Return the names of the owner's newest sign-in; None where no login of theirs is live."""
    row = connection.execute(_NAMES, {"owner_id_": owner}).one_or_none()
    return frozenset(row.names or ()) if row is not None else None


def is_live(connection: sa.Connection, owner: str, login_id: str) -> bool:
    """Return whether this owner's login has begun and not ended."""
    return (
        connection.execute(_FIND, {"owner_id_": owner, "login_id_": login_id}).first() is not None
    )


def end(connection: sa.Connection, owner: str, login_id: str, at: datetime) -> bool:
    """End a login; return whether it was live."""
    parameters = {"owner_id_": owner, "login_id_": login_id, "at": at}
    return connection.execute(_END, parameters).rowcount > 0


def forget(connection: sa.Connection, owner: str) -> None:
    """Delete all logins of an owner."""
    connection.execute(_FORGET, {"owner_id_": owner})


def purge(connection: sa.Connection, at: datetime) -> int:
    """Delete the unusable logins of all owners; return how many."""
    return connection.execute(_PURGE, {"ended": at - ENDED_KEPT, "begun": at - LONGEST}).rowcount


class Logins:
    """The logins of one database.

    Each method may raise DatabaseUnavailableError, those that write DatabaseFullError, and
    ValueError for an empty owner.
    """

    def __init__(self, database: Database, *, clock: Callable[[], datetime] = utcnow) -> None:
        self._database = database
        self._clock = clock

    async def begin(
        self,
        owner: str,
        login_id: str,
        names: Collection[str] = (),
        taking: Taking | None = None,
    ) -> None:
        """Store a new login, and transfer to its owner what it takes.

        Both or neither. `names` are what the provider calls the owner and the owner's groups. They
        hold for all logins of the owner: a changed group counts from the next sign-in, in whatever
        browser.

        Raises:
            LoginExistsError: A login of this id exists.
            HoldingsChangedError: What it takes has changed since it was shown.
        """
        check_owner(owner)
        if taking is not None:
            check_owner(taking.from_owner)
        sorted_names, at = tuple(names), self._clock()
        scope: RowScope = owner if taking is None else Handover(taking.from_owner, owner)
        await self._database.write(
            lambda connection: begin(connection, owner, login_id, at, sorted_names, taking),
            owner=scope,
        )

    async def names(self, owner: str) -> frozenset[str] | None:
        """Return the names that came with the owner's newest sign-in.

        None where no login of the owner is live; none at all where it began before names were
        stored.
        """
        check_owner(owner)
        return await self._database.read(lambda connection: names(connection, owner), owner=owner)

    async def is_live(self, owner: str, login_id: str) -> bool:
        """Return whether this owner's login has begun and not ended."""
        check_owner(owner)
        return await self._database.read(
            lambda connection: is_live(connection, owner, login_id), owner=owner
        )

    async def end(self, owner: str, login_id: str) -> bool:
        """End a login; return whether it was live."""
        check_owner(owner)
        at = self._clock()
        return await self._database.write(
            lambda connection: end(connection, owner, login_id, at), owner=owner
        )

    async def forget(self, owner: str) -> None:
        """Delete all logins of an owner, who is signed in nowhere any more."""
        check_owner(owner)
        await self._database.write(lambda connection: forget(connection, owner), owner=owner)
