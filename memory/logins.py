"""Logins of accounts: which of them are live, so that signing out holds on every replica.

Functions of one connection, and `Logins`, which runs them; each statement names the owner.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from memory.database import Database
from memory.errors import LoginExists
from memory.records import utcnow
from memory.tables import UtcDateTime, metadata
from memory.text import check_owner
from memory.transfer import transfer

ENDED_KEPT = timedelta(days=1)
LONGEST = timedelta(days=401)  # no browser keeps a cookie for longer than 400 days

agent_logins = sa.Table(
    "agent_logins",
    metadata,
    sa.Column("login_id", sa.Text, primary_key=True),
    sa.Column("owner_id", sa.Text, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("ended_at", UtcDateTime),
)
_logins = agent_logins.c
_LIVE = sa.and_(
    _logins.login_id == sa.bindparam("of_login"),
    _logins.owner_id == sa.bindparam("of_owner"),
    _logins.ended_at.is_(None),
)
_PURGE: Final = sa.delete(agent_logins).where(
    sa.or_(
        _logins.ended_at <= sa.bindparam("ended", type_=UtcDateTime),
        _logins.created_at <= sa.bindparam("begun", type_=UtcDateTime),
    )
)
_FIND: Final = sa.select(_logins.login_id).where(_LIVE)
_END: Final = (
    sa.update(agent_logins).where(_LIVE).values(ended_at=sa.bindparam("at", type_=UtcDateTime))
)


@dataclass(frozen=True, slots=True)
class Taking:
    """What a sign-in transfers: all that `from_owner` has, as long as it has this `digest`."""

    from_owner: str
    digest: str


def begin(
    connection: sa.Connection,
    owner: str,
    login_id: str,
    at: datetime,
    taking: Taking | None = None,
) -> None:
    """Keep a new login, and make what it takes the owner's. Raises LoginExists, HoldingsChanged."""
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    new = dialect.insert(agent_logins).values(login_id=login_id, owner_id=owner, created_at=at)
    if connection.execute(new.on_conflict_do_nothing()).rowcount == 0:
        raise LoginExists
    if taking is not None:
        transfer(connection, owner, taking.from_owner, taking.digest)


def is_live(connection: sa.Connection, owner: str, login_id: str) -> bool:
    """Whether this owner's login has begun and not ended."""
    return connection.execute(_FIND, {"of_owner": owner, "of_login": login_id}).first() is not None


def end(connection: sa.Connection, owner: str, login_id: str, at: datetime) -> bool:
    """End a login for good; whether it was live."""
    parameters = {"of_owner": owner, "of_login": login_id, "at": at}
    return connection.execute(_END, parameters).rowcount > 0


def purge(connection: sa.Connection, at: datetime) -> int:
    """Delete the logins that nobody can use any more, of all owners; return how many."""
    return connection.execute(_PURGE, {"ended": at - ENDED_KEPT, "begun": at - LONGEST}).rowcount


class Logins:
    """The logins that one database keeps.

    Each method may raise DatabaseUnavailable, those that write DatabaseFull, and ValueError for
    an owner that is nobody.
    """

    def __init__(self, database: Database, *, clock: Callable[[], datetime] = utcnow) -> None:
        self._database = database
        self._clock = clock

    async def begin(self, owner: str, login_id: str, taking: Taking | None = None) -> None:
        """Keep a new login, live until it is ended, and transfer to its owner what it takes.

        Both or neither. Raises LoginExists where this login has begun before, HoldingsChanged
        where what it takes is not what was shown.
        """
        check_owner(owner)
        if taking is not None:
            check_owner(taking.from_owner)
        at = self._clock()
        await self._database.write(
            lambda connection: begin(connection, owner, login_id, at, taking)
        )

    async def is_live(self, owner: str, login_id: str) -> bool:
        """Whether this owner's login has begun and not ended."""
        check_owner(owner)
        return await self._database.read(lambda connection: is_live(connection, owner, login_id))

    async def end(self, owner: str, login_id: str) -> bool:
        """End a login for good; whether it was live."""
        check_owner(owner)
        at = self._clock()
        return await self._database.write(lambda connection: end(connection, owner, login_id, at))
