"""Migrations: from nothing, repeated, concurrent, after a kill; newer schemas are refused."""

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory

from memory.engine.database import Database, migrate, open_database, ping
from memory.engine.scopes import EVERYONE
from memory.errors import DatabaseTooNewError, DatabaseUnavailableError
from memory.maintenance.integrity import faults
from memory.manager import ConversationMemoryManager
from memory.migrations import HERE
from memory.records import ConversationOrigin, NewTurn, Usage
from memory.schema import metadata
from tests.contract.conftest import postgres_server
from tests.databases import take_over

__all__ = ["postgres_server"]  # a fixture is found by its name here

ROOT = Path(__file__).parents[2]


def schema_of(path: Path) -> list[Any]:
    connection = sqlite3.connect(path)
    try:
        query = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name"
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def wal_of(path: Path) -> Path:
    """Return the path of a SQLite file's log, whose pages belong to what is stored."""
    return path.with_name(f"{path.name}-wal")


async def migrated(path: Path) -> None:
    database = open_database(f"sqlite:///{path}")
    try:
        await migrate(database)
        await ping(database)
    finally:
        await database.dispose()


def is_modelled(name: str | None, kind: str, _parents: object) -> bool:
    """Whether SQLAlchemy's models know of it: the search index is the database's own affair."""
    return kind == "schema" or not (name == "search" or "search" in str(name))


async def differences(database: Database) -> list[Any]:
    def compare(connection: sa.Connection) -> list[Any]:
        opts = {"compare_type": True, "include_name": is_modelled}
        context = MigrationContext.configure(connection, opts=opts)
        return list(compare_metadata(context, metadata))

    return await database.read(compare)


@pytest.mark.parametrize("url", ["sqlite:///:memory:", "sqlite+aiosqlite://"])
async def test_the_revisions_make_the_tables_that_the_code_uses(url: str) -> None:
    database = open_database(url)
    await migrate(database)
    assert await differences(database) == []
    await database.dispose()


async def test_replicas_that_start_together_make_one_schema(
    request: pytest.FixtureRequest,
) -> None:
    address: str = request.getfixturevalue("postgres_server")
    server = await asyncpg.connect(address)
    await server.execute("CREATE DATABASE replicas")
    replicas = [open_database(address.replace("/cmw?", "/replicas?")) for _ in range(4)]
    await asyncio.gather(*(migrate(replica) for replica in replicas))
    await migrate(replicas[0])
    assert await differences(replicas[0]) == []
    for replica in replicas:
        await replica.dispose()
    await server.execute("DROP DATABASE replicas WITH (FORCE)")
    await server.close()


def parts(sql: str) -> list[str]:
    """A table's columns and constraints; another statement as it is."""
    plain = " ".join(sql.split())
    if not plain.startswith("CREATE TABLE"):
        return [plain]
    found, depth = [""], 0
    for character in plain[plain.index("(") + 1 : plain.rindex(")")]:
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            found.append("")
        else:
            found[-1] += character
    return [" ".join(part.replace("(", " ( ").replace(")", " ) ").split()) for part in found]


async def test_what_the_revisions_make_is_what_the_models_say(tmp_path: Path) -> None:
    await migrated(tmp_path / "migrated.db")
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'modelled.db'}")
    metadata.create_all(engine)
    engine.dispose()

    def spelled(path: Path) -> dict[str, list[str]]:
        # the order of columns and constraints within a table means nothing
        return {
            name: sorted(
                parts(
                    sql.replace("agent_turns.", "").replace("agent_sessions.", "").replace('"', "")
                )
            )
            for _, name, _, sql in schema_of(path)
            if sql and name != "alembic_version" and is_modelled(name, "table", None)
        }

    assert spelled(tmp_path / "migrated.db") == spelled(tmp_path / "modelled.db")


async def test_migrating_twice_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "chat.db"
    await migrated(path)
    before = schema_of(path)
    database = open_database(f"sqlite:///{path}")
    memory = ConversationMemoryManager(database)
    ticket = await memory.begin_turn(
        "alice", NewTurn("s1", "kept", key="k", origin=ConversationOrigin())
    )
    await migrate(database)
    assert (await memory.messages("alice", "s1"))[0].content == "kept"
    assert await memory.checkpoint("alice", ticket.turn_id, content="on", tool_calls=[])
    await database.dispose()
    await migrated(path)
    assert schema_of(path) == before


async def test_processes_that_start_together_make_one_schema(tmp_path: Path) -> None:
    path = tmp_path / "chat.db"
    await asyncio.gather(*(migrated(path) for _ in range(8)))
    assert len({name for _, name, _, _ in schema_of(path)}) == len(schema_of(path))
    await migrated(path)


async def test_tables_of_a_later_version_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "chat.db"
    await migrated(path)
    connection = sqlite3.connect(path)
    connection.execute("UPDATE alembic_version SET version_num = 'from-the-future'")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    with pytest.raises(DatabaseTooNewError, match="from-the-future"):
        await migrated(path)
    assert path.read_bytes() == before


async def test_what_is_no_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("dear diary " * 1000)
    with pytest.raises(DatabaseUnavailableError):
        await migrated(path)
    assert path.read_text() == "dear diary " * 1000


async def test_what_cannot_be_opened_is_unavailable(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent" / "chat.db"):
        with pytest.raises(DatabaseUnavailableError):
            await migrated(path)
    assert not (tmp_path / "absent").exists()


async def test_a_database_that_others_keep_locked_is_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "chat.db"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    database = open_database(f"sqlite:///{path}", busy_timeout_ms=100)
    with pytest.raises(DatabaseUnavailableError):
        await migrate(database)
    other.execute("ROLLBACK")
    other.close()
    await migrate(database)
    await ping(database)
    await database.dispose()


OLD_ROWS = (
    """INSERT INTO agent_sessions (session_id, owner_id, agent_id, title, channel, message_count,
    last_seq, status, started_at, last_activity_at) VALUES ('s1', 'alice', 'assistant', 'an old one',
    'web', 2, 2, 'active', '2026-01-01 00:00:00', '2026-01-01 00:00:00')""",
    """INSERT INTO agent_messages (session_id, seq, owner_id, role, content, status, created_at,
    turn_id, superseded) VALUES ('s1', 1, 'alice', 'user', 'needle', 'complete',
    '2026-01-01 00:00:00', 't1', false), ('s1', 2, 'alice', 'assistant', 'answer', 'complete',
    '2026-01-01 00:00:00', 't1', false)""",
    """INSERT INTO agent_turns (turn_id, session_id, owner_id, idempotency_key, state, holder,
    lease_expires_at, user_seq, answer_seq, started_at) VALUES ('t1', 's1', 'alice', 'k', 'complete',
    'h', '2026-01-01 00:00:00', 1, 2, '2026-01-01 00:00:00')""",
)


def as_of(revision: str, rows: tuple[str, ...]) -> Callable[[sa.Connection], None]:
    """What makes the schema of an old version, with rows in it."""

    def make(connection: sa.Connection) -> None:
        script = ScriptDirectory(str(HERE))
        context = MigrationContext.configure(connection)
        for step in reversed(list(script.iterate_revisions(revision, None))):
            step.module.upgrade(Operations(context))
            context.stamp(script, step.revision)
        for row in rows:
            connection.execute(sa.text(row))

    return make


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
async def test_a_database_of_the_first_version_keeps_its_rows_and_gains_the_rest(
    tmp_path: Path, backend: str, request: pytest.FixtureRequest
) -> None:
    url, server = f"sqlite:///{tmp_path / 'old.db'}", None
    if backend == "postgresql":
        address: str = request.getfixturevalue("postgres_server")
        server = await asyncpg.connect(address)
        await server.execute("CREATE DATABASE first_version")
        url = address.replace("/cmw?", "/first_version?")
    database = open_database(url)
    await database.write(as_of("0001", OLD_ROWS))
    await asyncio.gather(migrate(database), migrate(database))
    assert await differences(database) == []
    memory = ConversationMemoryManager(database)
    assert [m.content for m in await memory.messages("alice", "s1")] == ["needle", "answer"]
    assert await memory.cost("alice", "s1") == Usage(0, None)
    assert [found.seq for found in await memory.search("alice", "needl")] == [1]
    assert await take_over(database, "bob", "alice") == 1
    assert [m.content for m in await memory.messages("bob", "s1")] == ["needle", "answer"]
    assert not (await memory.begin_turn("bob", NewTurn("s1", "again", key="k"))).fresh
    assert (await memory.begin_turn("bob", NewTurn("s1", "again", key="k2"))).user_seq == 3
    await database.dispose()
    if server is not None:
        await server.execute("DROP DATABASE first_version WITH (FORCE)")
        await server.close()


# What the versions before the tree stored of three retries and edits of the last exchange.
REPLACED = (
    """INSERT INTO agent_sessions (session_id, owner_id, agent_id, title, channel, message_count,
    last_seq, status, started_at, last_activity_at) VALUES ('s1', 'alice', 'assistant', 'one',
    'web', 4, 10, 'active', '2026-01-01 00:00:00', '2026-01-01 00:00:00')""",
    *(
        f"""INSERT INTO agent_messages (session_id, seq, owner_id, role, content, status, created_at,
        turn_id, superseded) VALUES ('s1', {seq}, 'alice', '{role}', 'text {seq}', 'complete',
        '2026-01-01 00:00:00', 't{seq}', {superseded})"""  # noqa: S608 (a test's own values)
        for seq, role, superseded in (
            (1, "user", "true"),
            (2, "assistant", "true"),
            (3, "user", "false"),
            (4, "assistant", "true"),
            (5, "assistant", "false"),
            (6, "user", "true"),
            (7, "assistant", "true"),
            (8, "assistant", "true"),
            (9, "user", "false"),
            (10, "assistant", "false"),
        )
    ),
)


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
async def test_what_was_replaced_before_becomes_versions(
    tmp_path: Path, backend: str, request: pytest.FixtureRequest
) -> None:
    url, server = f"sqlite:///{tmp_path / 'old.db'}", None
    if backend == "postgresql":
        address: str = request.getfixturevalue("postgres_server")
        server = await asyncpg.connect(address)
        await server.execute("CREATE DATABASE before_the_tree")
        url = address.replace("/cmw?", "/before_the_tree?")
    database = open_database(url)
    await database.write(as_of("0014", REPLACED), owner=EVERYONE)
    await migrate(database)
    assert await differences(database) == []
    assert not any((await faults(database)).values())
    memory = ConversationMemoryManager(database)
    stored = await memory.messages("alice", "s1", all_versions=True)
    assert {m.seq: m.parent_seq for m in stored} == {
        1: 0,
        2: 1,
        3: 0,
        4: 3,
        5: 3,
        6: 5,
        7: 6,
        8: 6,
        9: 5,
        10: 9,
    }
    shown = await memory.messages("alice", "s1")
    assert [m.seq for m in shown] == [3, 5, 9, 10]
    versions = await memory.versions("alice", "s1", shown)
    assert versions == {3: (1, 3), 5: (4, 5), 9: (6, 9)}
    await memory.select_version("alice", "s1", 6)
    assert [m.seq for m in await memory.messages("alice", "s1")] == [3, 5, 6, 8]
    await database.dispose()
    if server is not None:
        await server.execute("DROP DATABASE before_the_tree WITH (FORCE)")
        await server.close()


MIGRATION_KILLED_AT_EACH_CALL = """
import asyncio, os, signal, sys
from memory import migrate, open_database
from tests.driver import StatementListener

async def scene(path, die_at):
    database = open_database("sqlite:///" + path)
    seen = 0
    def count(*_):
        nonlocal seen
        seen += 1
        if seen == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
    StatementListener(database, count)
    await migrate(database)
    await database.dispose()
    os._exit(0)

for die_at in range(1, 1_000):
    child = os.fork()
    if child == 0:
        asyncio.run(scene(f"{sys.argv[1]}/{die_at}.db", die_at))
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0:
        break
print(die_at)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
async def test_a_migration_killed_at_any_call_leaves_all_or_nothing(tmp_path: Path) -> None:
    finished = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", MIGRATION_KILLED_AT_EACH_CALL, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=240,
    )
    rounds = int(finished.stdout)
    whole = schema_of(tmp_path / f"{rounds}.db")
    assert rounds > 8
    assert whole
    gone_on: set[tuple[bytes, ...]] = set()
    for die_at in range(1, rounds):
        path = tmp_path / f"{die_at}.db"
        found = tuple(each.read_bytes() for each in (path, wal_of(path)) if each.exists())
        assert schema_of(path) in ([], whole)
        if found in gone_on:  # the same bytes would go on the same way
            continue
        gone_on.add(found)
        await migrated(path)
        assert schema_of(path) == whole
    assert len(gone_on) > 1
