"""Statements that are compiled once and then run by SQLite's driver directly.

SQLAlchemy's way from a compiled statement to the driver and back takes several times as long as
SQLite takes for one row, and a turn has six of them. It still makes the SQL, and turns values into
what the database holds and back. See ``docs/adr/0021-commits-in-groups.md``.
"""

from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import pysqlite

_Processor = Callable[[Any], Any] | None


class Prepared:
    """A statement with the names of all its parameters.

    Args:
        statement: An insert, update, delete or select without lists for ``IN``.
        names: Of the columns that it sets, where it does not say so itself.
        postgresql: What is run there, where that differs.

    `statement` and `elsewhere` are the two, `sql` what SQLite's driver is given.
    """

    def __init__(
        self, statement: Any, names: Sequence[str] | None = None, *, postgresql: Any = None
    ) -> None:
        dialect = pysqlite.dialect()
        self.statement: sa.Executable = statement
        self.elsewhere: sa.Executable = statement if postgresql is None else postgresql
        compiled = statement.compile(dialect=dialect, column_keys=names)
        self.sql = str(compiled)
        self._takes = [
            _taken(compiled.binds[name], name, dialect) for name in compiled.positiontup or ()
        ]
        columns = _columns(statement)
        self._gives = [_from_database(column.type, dialect) for column in columns]
        self._row = _row_of([column.name for column in columns])

    def rows(self, connection: sa.Connection, parameters: Mapping[str, Any]) -> Sequence[Any]:
        """Run it and return all rows; their columns are attributes."""
        if not _is_sqlite(connection):
            return connection.execute(self.elsewhere, parameters).all()
        rows = _driver(connection).execute(self.sql, self._values(parameters)).fetchall()
        return [self._row._make(map(_converted, self._gives, row)) for row in rows]

    def one_or_none(self, connection: sa.Connection, parameters: Mapping[str, Any]) -> Any:
        """Run it and return its only row, or None."""
        rows = self.rows(connection, parameters)
        return rows[0] if rows else None

    def run(self, connection: sa.Connection, *rows: Mapping[str, Any]) -> None:
        """Run it with each of `rows`."""
        if not _is_sqlite(connection):
            connection.execute(self.elsewhere, list(rows))
        else:
            _driver(connection).executemany(self.sql, map(self._values, rows))

    def _values(self, parameters: Mapping[str, Any]) -> list[Any]:
        return [
            fixed if name is None else _converted(process, parameters[name])
            for name, process, fixed in self._takes
        ]


def _taken(
    parameter: sa.BindParameter[Any], name: str, dialect: sa.Dialect
) -> tuple[str | None, _Processor, Any]:
    """Return what stands in a parameter's place: its name and conversion, or its value."""
    kind: Any = parameter.type
    process: _Processor = kind.dialect_impl(dialect).bind_processor(dialect)
    if parameter.required:
        return name, process, None
    return None, None, _converted(process, parameter.value)


def _row_of(names: Sequence[str]) -> Any:
    return namedtuple("Row", names)


def _columns(statement: Any) -> Sequence[Any]:
    if isinstance(statement, sa.SelectBase):
        return list(statement.selected_columns)
    return [entry["expr"] for entry in statement.returning_column_descriptions]


def _from_database(kind: Any, dialect: sa.Dialect) -> _Processor:
    processor: _Processor = kind.dialect_impl(dialect).result_processor(dialect, None)
    return processor


def _converted(process: _Processor, value: Any) -> Any:
    return value if process is None else process(value)


def _is_sqlite(connection: sa.Connection) -> bool:
    return connection.dialect.name == "sqlite"


def _driver(connection: sa.Connection) -> Any:
    return connection.connection.driver_connection
