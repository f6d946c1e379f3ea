"""Counts what the database holds of one owner. A function of one connection."""

from typing import Final

import sqlalchemy as sa

from memory.schema import metadata

_COUNTS: Final = {
    table.name: sa.select(sa.func.count())
    .select_from(table)
    .where(table.c.owner_id == sa.bindparam("owner_id_"))
    for table in metadata.sorted_tables
    if "owner_id" in table.c
}


def row_counts(connection: sa.Connection, owner: str) -> dict[str, int]:
    """Return how many rows each table has of an owner, tables without any left out."""
    counts = {
        name: connection.execute(statement, {"owner_id_": owner}).scalar_one()
        for name, statement in _COUNTS.items()
    }
    return {name: count for name, count in counts.items() if count}
