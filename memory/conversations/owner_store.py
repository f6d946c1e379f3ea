"""The base of the classes that store what one owner has: each transaction names the owner."""

from collections.abc import Callable
from datetime import datetime
from typing import Concatenate, ParamSpec, TypeVar

import sqlalchemy as sa

from memory.engine.database import Database
from memory.records import utcnow
from memory.validation import check_owner

P = ParamSpec("P")
T = TypeVar("T")
OwnerWork = Callable[Concatenate[sa.Connection, str, P], T]


class OwnerStore:
    """Runs functions of a connection and an owner in transactions on that owner's rows.

    Args:
        database: The database; its tables are migrated.
        clock: Returns the current time, with its zone.
    """

    def __init__(self, database: Database, *, clock: Callable[[], datetime] = utcnow) -> None:
        self._database = database
        self._clock = clock

    async def _read(
        self, owner: str, work: OwnerWork[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        check_owner(owner)
        return await self._database.read(
            lambda connection: work(connection, owner, *args, **kwargs), owner=owner
        )

    async def _write(
        self, owner: str, work: OwnerWork[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        check_owner(owner)
        return await self._database.write(
            lambda connection: work(connection, owner, *args, **kwargs), owner=owner
        )
