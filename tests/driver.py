"""Lets tests observe SQLite's driver: count its statements, make them fail, or end the process."""

import sqlite3
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from memory.engine.database import Database, SqliteDatabase

Listener = Callable[[sqlite3.Connection, str], None]


class StatementListener:
    """Calls `listener` before each statement, BEGIN and COMMIT of a database's connections.

    An authorizer that the listener sets is removed after the statement that it refuses. Create
    this before the database's first use.

    Args:
        database: A SQLite database.
        listener: Gets the connection and the SQL; None observes nothing. May be replaced at any time.
    """

    def __init__(self, database: Database, listener: Listener | None = None) -> None:
        assert isinstance(database, SqliteDatabase)
        self.listener = listener
        sa.event.listen(database.engine, "do_connect", self._connect)

    def _connect(
        self, _dialect: Any, _record: Any, _arguments: Any, options: dict[str, Any]
    ) -> None:
        outer = self

        class Cursor(sqlite3.Cursor):
            def execute(self, sql: str, *values: Any) -> Any:
                return outer.observe(self.connection, sql, super().execute, sql, *values)

            def executemany(self, sql: str, *values: Any) -> Any:
                return outer.observe(self.connection, sql, super().executemany, sql, *values)

        class Connection(sqlite3.Connection):
            def cursor(self, _factory: Any = Cursor) -> Any:
                return super().cursor(Cursor)

            def execute(self, sql: str, *values: Any) -> Any:
                return outer.observe(self, sql, super().execute, sql, *values)

            def executemany(self, sql: str, *values: Any) -> Any:
                return outer.observe(self, sql, super().executemany, sql, *values)

            def commit(self) -> None:
                if self.in_transaction:
                    outer.observe(self, "COMMIT", super().commit)

        options["factory"] = Connection

    def observe(self, connection: sqlite3.Connection, sql: str, run: Any, *values: Any) -> Any:
        """Call the listener, then `run`."""
        if self.listener is None:
            return run(*values)
        self.listener(connection, sql)
        try:
            return run(*values)
        except sqlite3.Error:
            connection.set_authorizer(None)
            raise
