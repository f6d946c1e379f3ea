"""The database on a PostgreSQL server, for any number of machines."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from memory.engine.interface import Database, T, Transaction, Undo, result_of, undo_unseen
from memory.engine.scopes import RowScope, begun_with

if TYPE_CHECKING:
    from memory.engine.notices import Notices

# A turn holds a connection for milliseconds at its beginning and end, so a few serve hundreds; the
# overflow is for peaks. PostgreSQL's own default is 100 connections for all processes together.
_POSTGRES_CONNECTIONS, _POSTGRES_OVERFLOW = 10, 5
# Those who insert the same row at once can meet at an index that ON CONFLICT does not name
# (unique_violation), or wait for each other (deadlock_detected): the next try finds the row.
_MET_ANOTHER, _POSTGRES_TRIES = frozenset({"23505", "40P01"}), 3


class PostgresDatabase(Database):
    """A pool of connections to a PostgreSQL server, every wait bounded."""

    def __init__(self, url: sa.URL, *, busy_timeout_ms: int) -> None:
        # The driver is no dependency of those who use SQLite.
        from memory.engine.scoped_connection import ScopedConnection  # noqa: PLC0415

        seconds = busy_timeout_ms / 1000
        self._url = url
        self.engine = create_async_engine(
            url,
            connect_args={
                "timeout": seconds,
                "command_timeout": seconds,
                "connection_class": ScopedConnection,
            },
            hide_parameters=True,
            pool_size=_POSTGRES_CONNECTIONS,
            max_overflow=_POSTGRES_OVERFLOW,
            pool_timeout=seconds,
        )

    def notices(self, received: Callable[[str], None], lost: Callable[[], None]) -> "Notices":
        from memory.engine.notices import Notices  # noqa: PLC0415 (as above)

        return Notices(self._connect, received, lost)

    async def _connect(self) -> Any:
        """Return a connection outside of the pool, which its caller keeps."""
        import asyncpg  # noqa: PLC0415 (as above)

        _, options = self.engine.dialect.create_connect_args(self._url)
        for name in ("prepared_statement_cache_size", "prepared_statement_name_func"):
            options.pop(name, None)  # SQLAlchemy's own
        return await asyncpg.connect(**options)

    async def dispose(self) -> None:
        await self.engine.dispose()

    async def _read(self, work: Transaction[T], owner: RowScope) -> T:
        return await self._write(work, owner, None, is_brief=True)

    async def _write(
        self, work: Transaction[T], owner: RowScope, undo: Undo[T] | None, *, is_brief: bool
    ) -> T:
        outcome = asyncio.ensure_future(self._transact(work, begun_with(owner)))
        try:
            await asyncio.wait({outcome})
        except asyncio.CancelledError:
            await undo_unseen(self, outcome, undo, owner)
            raise
        return await result_of(outcome)

    async def _transact(self, work: Transaction[T], scope_sql: str) -> T:
        for _ in range(_POSTGRES_TRIES - 1):
            try:
                return await self._attempt(work, scope_sql)
            except sa.exc.DBAPIError as error:
                if getattr(error.orig, "sqlstate", None) not in _MET_ANOTHER:
                    raise
        return await self._attempt(work, scope_sql)

    async def _attempt(self, work: Transaction[T], scope_sql: str) -> T:
        async with self.engine.begin() as connection:
            # SQLAlchemy sends BEGIN with the first statement.
            driver: Any = (await connection.get_raw_connection()).driver_connection
            driver.scope_sql = scope_sql
            return await connection.run_sync(work)
