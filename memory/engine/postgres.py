"""The database on a PostgreSQL server, for any number of machines."""

import asyncio
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from memory.engine.driver_errors import UnusableAddressError
from memory.engine.interface import Database, T, Transaction, Undo, result_of, undo_unseen
from memory.engine.postgres_address import PostgresAddress
from memory.engine.scopes import RowScope, begun_with

if TYPE_CHECKING:
    from memory.engine.notices import Notices

# A turn holds a connection for milliseconds at its beginning and end, so a few serve hundreds; the
# overflow is for peaks. PostgreSQL's own default is 100 connections for all processes together.
_POSTGRES_CONNECTIONS, _POSTGRES_OVERFLOW = 10, 5
# Those who insert the same row at once can meet at an index that ON CONFLICT does not name
# (unique_violation), or wait for each other (deadlock_detected): the next try finds the row.
_MET_ANOTHER, _POSTGRES_TRIES = frozenset({"23505", "40P01"}), 3

_STATEMENTS = 100  # that a connection prepares and uses again; SQLAlchemy's own number
POOLED = (
    "the database is behind a pooler: statements are not prepared beyond a transaction, and pages "
    "on other replicas learn of changes when they ask, not at once"
)
IGNORED = "the database URL's parameter {name} has no effect"


class PostgresDatabase(Database):
    """A pool of connections to a PostgreSQL server, every wait bounded.

    A pooler between (PgBouncer, Supavisor) may give each transaction another connection of the
    server's, which does not know what an earlier one has prepared: then no statement is prepared
    beyond its own execution. Whether there is one is found out before the first transaction.
    """

    def __init__(self, address: PostgresAddress, *, busy_timeout_ms: int) -> None:
        self._seconds = busy_timeout_ms / 1000
        self._address = address
        self._is_pooled: bool | None = address.is_pooled or None
        self._finding_out = asyncio.Lock()
        self.engine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=self._for_pool,
            hide_parameters=True,
            pool_size=_POSTGRES_CONNECTIONS,
            max_overflow=_POSTGRES_OVERFLOW,
            pool_timeout=self._seconds,
        )
        sa.event.listen(self.engine.sync_engine, "do_connect", self._set_cache)

    def notices(
        self, received: Callable[[str], None], lost: Callable[[], None]
    ) -> "Notices | None":
        if self._is_pooled:
            return None  # a pooler's connection cannot LISTEN
        from memory.engine.notices import Notices  # noqa: PLC0415 (see `_connect`)

        return Notices(self._connect, received, lost)

    async def _connect(self, *, caches: bool = True, **more: Any) -> Any:
        """Return a connection outside of the pool, which its caller keeps."""
        # The driver is no dependency of those who use SQLite.
        import asyncpg  # noqa: PLC0415

        if self._address.needs_known_server:
            more["ssl"] = ssl.create_default_context()
        if not caches:
            more["statement_cache_size"] = 0
        try:
            return await asyncpg.connect(
                self._address.dsn,
                timeout=self._address.timeout or self._seconds,
                command_timeout=self._seconds,
                **more,
            )
        except asyncpg.InterfaceError:
            raise
        except ValueError as error:  # of the resolver or the TLS library
            raise UnusableAddressError from error

    async def _for_pool(self) -> Any:
        from memory.engine.scoped_connection import ScopedConnection  # noqa: PLC0415 (as above)

        return await self._connect(
            caches=self._is_pooled is False, connection_class=ScopedConnection
        )

    def _set_cache(self, _dialect: Any, _record: Any, _args: Any, options: dict[str, Any]) -> None:
        options["prepared_statement_cache_size"] = _STATEMENTS if self._is_pooled is False else 0

    async def _find_pooler(self) -> None:
        """Find out whether a pooler answers: the process that it names is not the one that works."""
        async with self._finding_out:
            if self._is_pooled is not None:
                return
            async with self.engine.connect() as connection:
                driver: Any = (await connection.get_raw_connection()).driver_connection
                found = await connection.scalar(sa.text("SELECT pg_backend_pid()"))
                self._is_pooled = found != driver.get_server_pid()
                await connection.invalidate()  # it was made to prepare nothing

    @property
    def remarks(self) -> tuple[str, ...]:
        ignored = (IGNORED.format(name=name) for name in self._address.ignored)
        return (*ignored, POOLED) if self._is_pooled else tuple(ignored)

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
        if self._is_pooled is None:
            await self._find_pooler()
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
