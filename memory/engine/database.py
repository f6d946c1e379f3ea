"""Opens, migrates and checks the database that a URL names: SQLite or PostgreSQL."""

import asyncio

import sqlalchemy as sa

from memory import migrations
from memory.engine.interface import Database
from memory.engine.postgres import PostgresDatabase
from memory.engine.postgres_address import is_postgres, parse_address
from memory.engine.scopes import EVERYONE
from memory.engine.sqlite import SqliteDatabase
from memory.errors import DatabaseFullError, DatabaseUnavailableError

__all__ = [
    "Database",
    "PostgresDatabase",
    "SqliteDatabase",
    "bypasses_row_security",
    "migrate",
    "open_database",
    "ping",
]

_MIGRATION_TRIES, _NO_WAIT = 5, 1.0  # seconds


def open_database(url: str, *, busy_timeout_ms: int = 10_000) -> Database:
    """Return the database that a SQLAlchemy URL names; it connects at its first use.

    `sqlite:///path`, `sqlite:///:memory:` (gone with `dispose`) or a PostgreSQL address of any
    form (`memory.engine.postgres_address`); the driver named in the URL, if any, is replaced by the
    one used here. `busy_timeout_ms` bounds each wait for a lock, a free connection or the server.
    Raises ValueError for anything else.
    """
    if is_postgres(url):
        return PostgresDatabase(parse_address(url), busy_timeout_ms=busy_timeout_ms)
    try:
        parsed = sa.make_url(url)
        backend = parsed.get_backend_name()
    except sa.exc.ArgumentError:
        raise ValueError("not a database URL") from None
    if backend != "sqlite":
        raise ValueError("the database must be sqlite or postgresql")
    return SqliteDatabase(parsed.set(drivername="sqlite+pysqlite"), busy_timeout_ms=busy_timeout_ms)


async def migrate(database: Database) -> None:
    """Bring the tables to this version's schema; harmless when they are.

    Raises:
        DatabaseTooNewError: A later version of this program made the tables.
        DatabaseUnavailableError: The database is locked, unreadable or no database.
    """
    script = await asyncio.to_thread(migrations.load)
    clock = asyncio.get_running_loop().time
    for tries_left in range(_MIGRATION_TRIES - 1, -1, -1):
        began = clock()
        try:
            await database.write(
                lambda connection: migrations.upgrade(connection, script), owner=EVERYONE
            )
        except DatabaseUnavailableError:
            # SQLite does not wait for its lock while the journal's mode is being changed, as
            # happens where several processes meet an empty file. What did wait has failed.
            if not tries_left or clock() - began > _NO_WAIT:
                raise
        else:
            return


async def ping(database: Database) -> None:
    """Return when the tables can be read and written.

    Raises:
        DatabaseUnavailableError: They cannot be read.
        DatabaseFullError: The last write found no room, and there seems to be none yet.
    """
    await database.read(_ping)
    if not await asyncio.to_thread(database.has_room):
        raise DatabaseFullError("the database's disk is full")


async def bypasses_row_security(database: Database) -> bool:
    """Return whether PostgreSQL lets the app's role read all rows, whatever the policies say.

    It does where the role is a superuser or has BYPASSRLS. False on SQLite, which has no policies.
    Raises DatabaseUnavailableError.
    """
    return await database.read(_bypasses)


def _bypasses(connection: sa.Connection) -> bool:
    if connection.dialect.name != "postgresql":
        return False
    role = "SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user"
    return bool(connection.execute(sa.text(role)).scalar_one())


def _ping(connection: sa.Connection) -> None:
    connection.execute(sa.text("SELECT version_num FROM alembic_version")).all()
