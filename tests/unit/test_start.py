"""Startup: errors are one clear line with exit code 2; and what a start creates."""

import asyncio
import socket
import sqlite3
from contextlib import closing
from pathlib import Path

import aiohttp
import pytest

from memory.engine.database import migrate, open_database
from tests.processes import started

SECRET = "k" * 32


async def refused(folder: Path, **settings: str) -> list[str]:
    """Start the app, which must refuse; return the lines that it wrote to stderr."""
    async with started(folder, {"CMW_LOG_FORMAT": "text", **settings}) as process:
        assert await process.code() == 2
        assert not process.out
        lines = process.err.decode().strip().splitlines()
    assert not any("Traceback" in line or line.startswith("  ") for line in lines)
    return [line for line in lines if " INFO " not in line and " WARNING " not in line]


async def made(folder: Path) -> Path:
    """Return the file of a database of this version."""
    path = folder / "data" / "chat.db"
    path.parent.mkdir()
    database = open_database(f"sqlite+aiosqlite:///{path}")
    await migrate(database)
    await database.dispose()
    return path


async def test_a_wrong_value_is_named_with_what_is_allowed(tmp_path: Path) -> None:
    (line,) = await refused(tmp_path, CMW_PORT="seven")
    assert line.startswith("CMW_PORT")
    assert "65535" in line


async def test_several_wrong_values_are_all_named_at_once(tmp_path: Path) -> None:
    lines = await refused(tmp_path, CMW_PORT="-1", CMW_MODEL_TIMEOUT="soon", CMW_SECRET_KEY="short")
    assert len(lines) == 3
    for name in ("CMW_PORT", "CMW_MODEL_TIMEOUT", "CMW_SECRET_KEY"):
        assert any(line.startswith(name) for line in lines)
    assert not any("short" in line.replace("shorter", "") for line in lines)


@pytest.mark.parametrize("kind", ["not text", "a folder"])
async def test_an_unreadable_env_file_is_named(kind: str, tmp_path: Path) -> None:
    if kind == "a folder":
        (tmp_path / ".env").mkdir()
    else:
        (tmp_path / ".env").write_bytes(b"CMW_PORT=\xff\xfe\n")
    (line,) = await refused(tmp_path)
    assert ".env" in line


async def test_a_data_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    (line,) = await refused(tmp_path, CMW_DATA_DIR=str(tmp_path / "file" / "below"))
    assert line.startswith("CMW_DATA_DIR")
    assert (tmp_path / "file").read_text() == "in the way"


async def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        (line,) = await refused(tmp_path, CMW_PORT=str(port))
    assert line.startswith("CMW_PORT")
    assert str(port) in line


async def test_a_host_of_another_machine_is_named(tmp_path: Path) -> None:
    (line,) = await refused(tmp_path, CMW_HOST="192.0.2.1")
    assert "192.0.2.1" in line


async def test_a_database_from_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    path = await made(tmp_path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999_later'")
    before = path.read_bytes()
    (line,) = await refused(tmp_path)
    assert line.startswith("CMW_DATABASE_URL")
    assert "9999_later" in line
    assert path.read_bytes() == before


async def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "data" / "chat.db"
    path.parent.mkdir()
    path.write_text("notes of my own, nothing else\n" * 100)
    before = path.read_bytes()
    (line,) = await refused(tmp_path)
    assert line.startswith("CMW_DATABASE_URL")
    assert path.read_bytes() == before


@pytest.mark.slow
async def test_a_locked_database_is_named(tmp_path: Path) -> None:
    path = await made(tmp_path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("DELETE FROM alembic_version")  # so that the start must write
        connection.execute("BEGIN EXCLUSIVE")
        (line,) = await refused(tmp_path)
        connection.execute("ROLLBACK")
    assert line.startswith("CMW_DATABASE_URL")


async def test_an_unknown_setting_is_mentioned_and_the_app_serves(tmp_path: Path) -> None:
    async with started(tmp_path, {"CMW_MODLE": "x", "CMW_SECRET_KEY": SECRET}) as process:
        url = await process.url()
        async with aiohttp.ClientSession() as http:
            async with http.get(f"{url}/healthz") as answer:
                assert (answer.status, await answer.json()) == (200, {"status": "ok"})
            async with http.get(f"{url}/readyz") as answer:
                body = await answer.json()
                assert (answer.status, body) == (200, {"status": "ready", "model": "demo"})
        assert await process.stop() in (0, -15)
        assert "CMW_MODLE" in process.text
        assert "CMW_MODEL" in process.text
        assert SECRET not in process.text


async def test_the_made_key_is_kept_for_its_owner_alone(tmp_path: Path) -> None:
    keys = []
    for _ in range(2):
        async with started(tmp_path, {}) as process:
            await process.url()
            await asyncio.wait_for(process.stop(), 30)
        path = tmp_path / "data" / "secret.key"
        assert path.stat().st_mode & 0o777 == 0o600
        keys.append(path.read_text())
    assert keys[0] == keys[1] != ""
