"""SQLite's driver, overheard: a law can count what it is asked to do, refuse it, or die of it."""

import sqlite3
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from memory.engine.database import Database, SqliteDatabase

Hearer = Callable[[sqlite3.Connection, str], None]


class Overheard:
    """Calls `hearer` before each statement, begin and commit of a database's connections.

    A refusal that the hearer has set up (an authorizer) ends with the statement that it meets.
    Make it before the database is first used.
    """

    def __init__(self, database: Database, hearer: Hearer | None = None) -> None:
        assert isinstance(database, SqliteDatabase)
        self.hearer = hearer
        sa.event.listen(database.engine, "do_connect", self._connect)

    def _connect(self, _dialect: Any, _record: Any, _given: Any, named: dict[str, Any]) -> None:
        overheard = self

        class Cursor(sqlite3.Cursor):
            def execute(self, sql: str, *values: Any) -> Any:
                return overheard.heard(self.connection, sql, super().execute, sql, *values)

            def executemany(self, sql: str, *values: Any) -> Any:
                return overheard.heard(self.connection, sql, super().executemany, sql, *values)

        class Connection(sqlite3.Connection):
            def cursor(self, _factory: Any = Cursor) -> Any:
                return super().cursor(Cursor)

            def execute(self, sql: str, *values: Any) -> Any:
                return overheard.heard(self, sql, super().execute, sql, *values)

            def executemany(self, sql: str, *values: Any) -> Any:
                return overheard.heard(self, sql, super().executemany, sql, *values)

            def commit(self) -> None:
                if self.in_transaction:
                    overheard.heard(self, "COMMIT", super().commit)

        named["factory"] = Connection

    def heard(self, connection: sqlite3.Connection, sql: str, run: Any, *values: Any) -> Any:
        """Let the hearer hear, then run it."""
        if self.hearer is None:
            return run(*values)
        self.hearer(connection, sql)
        try:
            return run(*values)
        except sqlite3.Error:
            connection.set_authorizer(None)
            raise
