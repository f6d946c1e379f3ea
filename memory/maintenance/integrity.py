"""Integrity checks of the stored data over all owners, by design without an owner argument.

For operators, such as after a restore. They return counts, and ids of files.
"""

from collections.abc import Iterator
from itertools import groupby

import sqlalchemy as sa

from memory.engine.database import Database
from memory.engine.scopes import EVERYONE
from memory.receipts import broken
from memory.schema import agent_files, agent_messages, agent_sessions, agent_share_files

ROWS = 500  # that are read at once
_RECEIPTS = (
    sa.select(agent_messages.c.session_id, agent_messages.c.details)
    .where(agent_messages.c.details["receipt"].as_string().is_not(None))
    .order_by(agent_messages.c.session_id, agent_messages.c.seq)
)
_SEARCH = "agent_search"  # the index of messages, and the tables that SQLite keeps for it


async def faults(database: Database) -> dict[str, int]:
    """Return how many rows violate each invariant, by a description of it.

    A row of a conversation needs a conversation of the same owner, and each reference its row, in
    all tables that the database has. A SQLite file must pass SQLite's own checks besides.
    Raises DatabaseUnavailableError.
    """
    return await database.read(_faults, owner=EVERYONE)


async def file_ids(database: Database, *, after: str, limit: int) -> list[str]:
    """Return at most `limit` ids of files and of snapshots' copies that follow `after`, in order.

    Raises DatabaseUnavailableError.
    """
    own, copies = (sa.select(table.c.file_id) for table in (agent_files, agent_share_files))
    every = sa.union_all(own, copies).subquery()
    statement = sa.select(every.c.file_id).where(every.c.file_id > after)
    ordered = statement.order_by(every.c.file_id).limit(limit)
    return await database.read(
        lambda connection: list(connection.execute(ordered).scalars()), owner=EVERYONE
    )


def _faults(connection: sa.Connection) -> dict[str, int]:
    counts = {}
    if connection.dialect.name == "sqlite":
        lines = connection.exec_driver_sql("PRAGMA integrity_check").scalars().all()
        counts["faults of the file"] = len(lines) if lines != ["ok"] else 0
        rows = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
        counts["foreign keys that lead nowhere"] = len(rows)
    stored = sa.MetaData()
    stored.reflect(connection, only=lambda name, _: not name.startswith(_SEARCH))
    for invariant, violations in _invariants(stored):
        number = sa.select(sa.func.count()).select_from(violations.subquery())
        counts[invariant] = connection.execute(number).scalar_one()
    messages = stored.tables[agent_messages.name]
    if "details" in messages.columns:
        counts["receipts that were changed, left out or put in"] = _broken_receipts(connection)
    return counts


def _broken_receipts(connection: sa.Connection) -> int:
    """Return how many faults the chains of all conversations' receipts have."""
    rows = connection.execute(_RECEIPTS, execution_options={"yield_per": ROWS})
    chains = groupby(rows, key=lambda row: row.session_id)
    return sum(len(broken([row.details["receipt"] for row in chain])) for _, chain in chains)


def _invariants(stored: sa.MetaData) -> Iterator[tuple[str, sa.Select[int]]]:
    """Yield each invariant with a select of the rows that violate it."""
    sessions = stored.tables[agent_sessions.name]
    for table in stored.sorted_tables:
        owned = {"session_id", "owner_id"} <= set(table.columns.keys())
        if owned and table is not sessions:
            names = ("session_id", "owner_id")
            pairs = [(table.c[name], sessions.c[name]) for name in names]
            yield (
                f"{table.name} without a conversation of the same owner",
                _without_target(table, pairs),
            )
        for key in table.foreign_key_constraints:
            target = key.referred_table
            if target is sessions and owned:
                continue
            pairs = [(part.parent, part.column) for part in key.elements]
            yield f"{table.name} without {target.name}", _without_target(table, pairs)
        if table.name == agent_messages.name and "parent_seq" in table.columns:
            yield "messages whose parent is missing or not shown", _without_parent(table)
        if "owner_id" in table.columns:
            nobody = sa.select(sa.literal(1)).select_from(table).where(table.c.owner_id == "")
            yield f"{table.name} of nobody", nobody


def _without_parent(table: sa.Table) -> sa.Select[int]:
    """Select the messages whose parent is missing or, where they are shown, is not shown."""
    parent = table.alias("parent")
    match = sa.exists().where(
        parent.c.session_id == table.c.session_id,
        parent.c.seq == table.c.parent_seq,
        parent.c.seq < table.c.seq,
        sa.or_(table.c.superseded, ~parent.c.superseded),
    )
    return sa.select(sa.literal(1)).select_from(table).where(table.c.parent_seq != 0, ~match)


def _without_target(
    table: sa.Table, pairs: list[tuple[sa.Column[object], sa.Column[object]]]
) -> sa.Select[int]:
    target = pairs[0][1].table
    match = sa.exists().where(*(theirs == own for own, theirs in pairs)).select_from(target)
    refers = [own.is_not(None) for own, _ in pairs]
    return sa.select(sa.literal(1)).select_from(table).where(*refers, ~match.correlate(table))
