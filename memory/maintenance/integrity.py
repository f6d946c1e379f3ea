"""Whether what is stored hangs together: over all owners, by design without an owner argument.

For whoever runs the app, such as after a restore; it returns counts alone.
"""

from collections.abc import Iterator

import sqlalchemy as sa

from memory.engine.database import Database
from memory.engine.scopes import EVERYONE
from memory.schema import agent_files, agent_sessions

_SEARCH = "agent_search"  # with the tables that SQLite keeps for it: made of messages, no rows' own
_files = agent_files.c


async def faults(database: Database) -> dict[str, int]:
    """Return how often each law is broken, by the law; 0 where all is well.

    What belongs to a conversation must find one of the same owner, and each reference its row;
    the tables are those that the database has. A SQLite file must be sound besides.
    Raises DatabaseUnavailableError.
    """
    return await database.read(_faults, owner=EVERYONE)


async def file_ids(database: Database, *, after: str, most: int) -> list[str]:
    """Return ids of files, whoever owns them, in order from behind `after`.

    Raises DatabaseUnavailableError.
    """
    statement = sa.select(_files.file_id).where(_files.file_id > after)
    ordered = statement.order_by(_files.file_id).limit(most)
    return await database.read(
        lambda connection: list(connection.execute(ordered).scalars()), owner=EVERYONE
    )


def _faults(connection: sa.Connection) -> dict[str, int]:
    found = {}
    if connection.dialect.name == "sqlite":
        lines = connection.exec_driver_sql("PRAGMA integrity_check").scalars().all()
        found["faults of the file"] = len(lines) if lines != ["ok"] else 0
        rows = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
        found["foreign keys that lead nowhere"] = len(rows)
    stored = sa.MetaData()
    stored.reflect(connection, only=lambda name, _: not name.startswith(_SEARCH))
    for law, broken in _laws(stored):
        counted = sa.select(sa.func.count()).select_from(broken.subquery())
        found[law] = connection.execute(counted).scalar_one()
    return found


def _laws(stored: sa.MetaData) -> Iterator[tuple[str, sa.Select[int]]]:
    """What is selected here should not be there."""
    sessions = stored.tables[agent_sessions.name]
    for table in stored.sorted_tables:
        owned = {"session_id", "owner_id"} <= set(table.columns.keys())
        if owned and table is not sessions:
            names = ("session_id", "owner_id")
            pairs = [(table.c[name], sessions.c[name]) for name in names]
            yield f"{table.name} without a conversation of the same owner", _widows(table, pairs)
        for key in table.foreign_key_constraints:
            target = key.referred_table
            if target is sessions and owned:
                continue
            pairs = [(part.parent, part.column) for part in key.elements]
            yield f"{table.name} without {target.name}", _widows(table, pairs)
        if "owner_id" in table.columns:
            nobody = sa.select(sa.literal(1)).select_from(table).where(table.c.owner_id == "")
            yield f"{table.name} of nobody", nobody


def _widows(
    table: sa.Table, pairs: list[tuple[sa.Column[object], sa.Column[object]]]
) -> sa.Select[int]:
    target = pairs[0][1].table
    match = sa.exists().where(*(theirs == own for own, theirs in pairs)).select_from(target)
    refers = [own.is_not(None) for own, _ in pairs]
    return sa.select(sa.literal(1)).select_from(table).where(*refers, ~match.correlate(table))
