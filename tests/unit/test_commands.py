"""The commands of ``python -m cmw_agent``, as real processes; failures are one line."""

import asyncio
import json
import os
import sqlite3
import sys
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from memory.engine.database import migrate, open_database
from memory.manager import ConversationMemoryManager
from memory.records import ConversationOrigin, NewTurn, ToolRecord
from tests.harness import canary
from tests.rows import count, sound

ROOT = Path(__file__).parents[2]
MAX_SECONDS = 240  # of a command; storms run four at once on a busy machine


@dataclass(frozen=True, slots=True)
class Done:
    """What a process wrote and how it ended."""

    code: int
    out: str
    err: str


async def run(folder: Path, *arguments: str, **settings: str) -> Done:
    """Run ``python -m cmw_agent`` in `folder`, with data in `folder` too."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-W",
        "error",
        "-m",
        "cmw_agent",
        *arguments,
        cwd=folder,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "PYTHONUTF8": "1",
            "CMW_DATA_DIR": str(folder),
            **settings,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(MAX_SECONDS):
        out, err = await process.communicate()
    assert process.returncode is not None
    return Done(process.returncode, out.decode(), err.decode())


@pytest.fixture
async def secret(tmp_path: Path) -> str:
    """Fill a database; return what stands in every text and name in it."""
    word = canary()
    database = open_database(f"sqlite:///{tmp_path / 'chat.db'}")
    await migrate(database)
    for days in (40, 20, 0):
        moment = datetime.now(UTC) - timedelta(days=days)
        # what runs shall still run when the last command has started
        store = ConversationMemoryManager(
            database,
            lease_seconds=3600,
            clock=lambda moment=moment: moment,  # type: ignore[misc]
        )
        owner, name = f"user:{word}", f"{word}-{days}"
        ticket = await store.begin_turn(
            owner, NewTurn(name, word, key=word, origin=ConversationOrigin())
        )
        if days:
            assert await store.finish_turn(
                owner,
                ticket.turn_id,
                status="complete",
                content=word,
                tool_calls=[ToolRecord("c", "calculate", {"x": word}, word, days < 30, 12)],
                tokens_used=5,
                latency_ms=1500,
                model_used="model-1",
                error_id=None,
                cost_micros=750_000,
            )
    await database.dispose()
    return word


async def test_a_dry_run_counts_and_a_run_deletes(tmp_path: Path, secret: str) -> None:
    keep = {"CMW_RETENTION_DAYS": "30", "CMW_LOG_LEVEL": "WARNING"}
    dry = await run(tmp_path, "cleanup", "--dry-run", **keep)
    assert (dry.code, dry.err) == (0, "")
    numbers = [line.split()[0] for line in dry.out.splitlines()]
    assert numbers == ["0", "1", "0", "1"]
    assert "would be" in dry.out
    assert count(tmp_path) == (3, 6, 3)
    done = await run(tmp_path, "cleanup", **keep)
    assert (done.code, done.err) == (0, "")
    assert [line.split()[0] for line in done.out.splitlines()] == numbers
    assert "would be" not in done.out
    assert count(tmp_path) == (2, 4, 2)
    assert sound(tmp_path)
    assert secret not in dry.out + done.out


async def test_without_the_setting_nothing_is_too_old(tmp_path: Path, secret: str) -> None:
    assert (await run(tmp_path, "cleanup")).code == 0
    assert count(tmp_path) == (3, 6, 3)
    (tmp_path / ".env").write_text("CMW_RETENTION_DAYS=30\n")
    assert (await run(tmp_path, "cleanup")).code == 0
    assert count(tmp_path) == (2, 4, 2)


async def test_the_figures_come_as_a_table_and_as_json(tmp_path: Path, secret: str) -> None:
    quiet = {"CMW_LOG_LEVEL": "WARNING"}
    table = await run(tmp_path, "stats", **quiet)
    assert (table.code, table.err) == (0, "")
    assert "conversations   3" in table.out
    assert "█" in table.out
    assert "cost            $1.50" in table.out
    (model,) = [line for line in table.out.splitlines() if line.startswith("model-1")]
    assert model.split() == ["model-1", "2", "2", "10", "$1.50"]
    (tool,) = [line for line in table.out.splitlines() if line.startswith("calculate")]
    assert tool.split() == ["calculate", "2", "1", "12", "12"]
    written = await run(tmp_path, "stats", "--json", **quiet)
    assert (written.code, written.err) == (0, "")
    found = json.loads(written.out)
    assert found["sessions"]["total"] == 3
    assert found["answers"] == {"complete": 2, "failed": 0, "interrupted": 0, "running": 1}
    assert [share["name"] for share in found["models"]] == ["model-1", None]
    assert found["cost_micros"] == 1_500_000
    spread = {"mean": 12, "p50": 12, "p95": 12}
    (tool,) = found["tools"]
    assert tool == {"name": "calculate", "calls": 2, "errors": 1, "latency_ms": spread}
    assert secret not in table.out + written.out


async def test_without_a_command_the_commands_are_listed(tmp_path: Path) -> None:
    done = await run(tmp_path)
    assert (done.code, done.out) == (2, "")
    assert "cleanup" in done.err
    assert "stats" in done.err
    assert not (tmp_path / "chat.db").exists()


@pytest.mark.parametrize("arguments", [("clean",), ("cleanup", "--dry"), ("stats", "extra")])
async def test_what_is_no_command_does_nothing(
    arguments: tuple[str, ...], tmp_path: Path, secret: str
) -> None:
    done = await run(tmp_path, *arguments, CMW_RETENTION_DAYS="1")
    assert (done.code, done.out) == (2, "")
    assert "Traceback" not in done.err
    assert count(tmp_path) == (3, 6, 3)


@pytest.mark.parametrize("days", ["-1", "36501", "nan", "inf", "week"])
async def test_a_wrong_setting_is_named_in_one_line(days: str, tmp_path: Path, secret: str) -> None:
    done = await run(tmp_path, "cleanup", CMW_RETENTION_DAYS=days)
    assert (done.code, done.out) == (2, "")
    assert (
        done.err == f"CMW_RETENTION_DAYS must be a number of days from 0 to 36500, not '{days}'\n"
    )
    assert count(tmp_path) == (3, 6, 3)


async def test_a_database_that_cannot_be_used_is_named_and_left_alone(
    tmp_path: Path, secret: str
) -> None:
    path = tmp_path / "chat.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999_later'")
    before = path.read_bytes()
    for command in ("cleanup", "stats"):
        done = await run(tmp_path, command, CMW_LOG_LEVEL="WARNING", CMW_RETENTION_DAYS="1")
        assert (done.code, done.out) == (2, "")
        (line,) = done.err.splitlines()
        assert line.startswith("CMW_DATABASE_URL")
        assert "9999_later" in line
    assert path.read_bytes() == before
