"""Backup and restore: complete or absent, refused in doubtful cases, without loss of other data."""

import asyncio
import contextlib
import errno
import json
import os
import shutil
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from cmw_agent.cli import commands
from cmw_agent.cli.backup import back_up, check, restore
from cmw_agent.cli.backup_folder import MANIFEST, BackupError, measure, read_manifest
from cmw_agent.config.settings import Settings
from memory.engine import sqlite_backup
from memory.engine.database import Database, SqliteDatabase, migrate, open_database
from memory.engine.process_lock import FileLock, sole_use
from memory.records import utcnow
from memory.schema import agent_files
from tests.contract.conftest import ALICE, Store, check_consistent
from tests.harness import Browser, canary, last_text, served, settings_for
from tests.logbook import restored
from tests.processes import HOUSE, START
from tests.rows import count, messages, rows, sound
from tests.service import wait_until

STORED = "ab" + "0" * 30
POSTGRES = "postgresql+asyncpg://app:secret@db/chat"


@contextlib.asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Database]:
    database = open_database(f"sqlite:///{folder / 'chat.db'}")
    try:
        await migrate(database)
        yield database
    finally:
        await database.dispose()


async def fill(folder: Path, *words: str) -> Settings:
    """Store an exchange for each word, and for the first time a file; return the settings."""
    folder.mkdir(exist_ok=True)  # noqa: ASYNC240 (nobody waits)
    async with opened(folder) as database:
        for word in words:
            await Store(database).exchange(ALICE, word, word, f"answer to {word}")
        if not stored(folder).exists():
            stored(folder).parent.mkdir(parents=True)
            stored(folder).write_bytes(b"bytes of a file")
            await add_file(database)
    return settings_for(folder)


async def add_file(database: Database) -> None:
    row = {"file_id": STORED, "owner_id": ALICE, "name": "n", "media_type": "t", "kind": "image"}
    sizes = {"size_bytes": 15, "kept_bytes": 15, "created_at": utcnow()}
    insert = agent_files.insert().values(row | sizes)
    await database.write(lambda connection: connection.execute(insert), owner=ALICE)


def stored(folder: Path) -> Path:
    return folder / "files" / STORED[:2] / STORED


def beside(folder: Path) -> list[str]:
    """What lies where a backup is made, half or whole."""
    return sorted(path.name for path in folder.glob("backup*"))


def picture_of(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, and its bytes; without what only locks or says who reads."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    kept = [path for path in paths if not path.name.endswith((".lock", "-shm"))]
    return {str(path.relative_to(folder)): path.read_bytes() for path in kept}


async def laws_broken(settings: Settings) -> dict[str, int]:
    async with opened(settings.data_dir) as database:
        found = await check(settings, database)
        assert isinstance(database, SqliteDatabase)
        await check_consistent(database)
    return {invariant: times for invariant, times in found.items() if times}


async def test_a_restored_backup_holds_all_and_breaks_no_invariant(tmp_path: Path) -> None:
    settings = await fill(tmp_path / "old", "one", "two")
    made = back_up(settings, tmp_path / "backup")
    assert {entry.path for entry in made.entries} == {"chat.db", f"files/ab/{STORED}"}
    assert read_manifest(tmp_path / "backup") == made
    elsewhere = settings_for(tmp_path / "new")
    assert restore(elsewhere, tmp_path / "backup").aside is None
    assert await laws_broken(elsewhere) == {}
    assert count(tmp_path / "new") == (2, 4, 2)
    assert stored(tmp_path / "new").read_bytes() == b"bytes of a file"


async def test_a_backup_stands_by_itself_and_is_for_its_owner_alone(tmp_path: Path) -> None:
    settings = await fill(tmp_path / "data", "one")
    back_up(settings, tmp_path / "backup")
    names = {path.name for path in (tmp_path / "backup").rglob("*") if path.is_file()}
    assert names == {"chat.db", MANIFEST, STORED}
    assert beside(tmp_path) == ["backup"]
    if os.name != "nt":
        assert (tmp_path / "backup").stat().st_mode & 0o777 == 0o700
        assert (tmp_path / "backup" / "chat.db").stat().st_mode & 0o777 == 0o600


async def test_the_secret_key_is_copied_only_when_asked_for(tmp_path: Path) -> None:
    settings = await fill(tmp_path / "data", "one")
    (tmp_path / "data" / "secret.key").write_text("k" * 32)
    back_up(settings, tmp_path / "without")
    assert not (tmp_path / "without" / "secret.key").exists()
    back_up(settings, tmp_path / "with", with_secret_key=True)
    (tmp_path / "data" / "secret.key").write_text("n" * 32)
    restore(settings, tmp_path / "without", force=True)
    assert (tmp_path / "data" / "secret.key").read_text() == "n" * 32
    restore(settings, tmp_path / "with", force=True)
    assert (tmp_path / "data" / "secret.key").read_text() == "k" * 32
    (aside,) = (tmp_path / "data").glob("secret.key.before-restore-*")
    assert aside.read_text() == "n" * 32


async def test_backups_made_while_turns_are_written_are_whole(tmp_path: Path) -> None:
    settings = await fill(tmp_path / "data", "first")
    over, written = asyncio.Event(), 0

    async def write(database: Database, writer: int) -> None:
        nonlocal written
        number = 0
        while not over.is_set():
            number += 1
            await Store(database).exchange(ALICE, f"{writer}-{number % 7}", "question", "answer")
            written += 1

    async with opened(tmp_path / "data") as database, asyncio.TaskGroup() as group:
        for number in range(3):
            group.create_task(write(database, number))
        before = []
        for number in range(4):
            seen = written
            await wait_until(lambda seen=seen: written > seen)  # type: ignore[misc]
            before.append(count(tmp_path / "data")[2])
            await asyncio.to_thread(back_up, settings, tmp_path / f"backup-{number}")
        over.set()
    sizes = []
    for number in range(4):
        copy = settings_for(tmp_path / f"restored-{number}")
        restore(copy, tmp_path / f"backup-{number}")
        assert await laws_broken(copy) == {}
        sizes.append(count(copy.data_dir)[2])
    # What was committed when a backup began is in it, whether it was in the file or its log.
    assert all(size >= least for size, least in zip(sizes, before, strict=True))


async def test_a_running_app_is_backed_up_and_not_overwritten(tmp_path: Path) -> None:
    word = canary()
    settings = settings_for(tmp_path / "data")
    settings.data_dir.mkdir()
    async with served(settings) as app, Browser(app.url) as browser:
        tab = await browser.open()
        assert last_text((await tab.send(word)).value)
        await asyncio.to_thread(back_up, settings, tmp_path / "backup")
        await tab.send("what the backup does not hold")
        before = picture_of(tmp_path / "data")
        with pytest.raises(BackupError, match="stop it first"):
            await asyncio.to_thread(restore, settings, tmp_path / "backup", force=True)
        assert picture_of(tmp_path / "data") == before
    restore(settings, tmp_path / "backup", force=True)
    assert [row["role"] for row in messages(tmp_path / "data", word)] == ["user", "assistant"]
    assert count(tmp_path / "data") == (1, 2, 1)
    async with served(settings):
        assert sound(tmp_path / "data")


async def test_any_program_that_has_the_database_open_is_noticed(tmp_path: Path) -> None:
    settings = await fill(tmp_path / "data", "one")
    back_up(settings, tmp_path / "backup")
    with closing(sqlite3.connect(tmp_path / "data" / "chat.db")) as other:
        other.execute("SELECT count(*) FROM agent_turns").fetchall()
        with pytest.raises(BackupError, match="another program has it open"):
            restore(settings, tmp_path / "backup", force=True)
    assert not list((tmp_path / "data").glob("*.restoring"))
    assert count(tmp_path / "data") == (1, 2, 1)


async def test_the_app_cannot_start_in_the_middle_of_a_restore(tmp_path: Path) -> None:
    settings = await fill(tmp_path / "data", "one")
    back_up(settings, tmp_path / "backup")
    with sole_use(settings.database_url.get_secret_value()) as lock:
        assert lock.alone
        with pytest.raises(BackupError, match="stop it first"):
            restore(settings, tmp_path / "backup", force=True)


async def test_what_is_replaced_stays_aside_with_its_files(tmp_path: Path) -> None:
    settings = await fill(tmp_path / "data", "old")
    back_up(settings, tmp_path / "backup")
    await fill(tmp_path / "data", "newer")
    later = stored(tmp_path / "data").with_name("ab" + "1" * 30)
    later.write_bytes(b"later")
    stored(tmp_path / "data").write_bytes(b"spoilt")
    with pytest.raises(BackupError, match="--force"):
        restore(settings, tmp_path / "backup")
    assert count(tmp_path / "data")[2] == 2
    done = restore(settings, tmp_path / "backup", force=True)
    assert count(tmp_path / "data")[2] == 1
    assert stored(tmp_path / "data").read_bytes() == b"bytes of a file"
    assert done.aside is not None
    with closing(sqlite3.connect(done.aside)) as connection:
        assert connection.execute("SELECT count(*) FROM agent_turns").fetchone() == (2,)
    (files,) = (tmp_path / "data").glob("files.before-restore-*")
    assert (files / "ab" / later.name).read_bytes() == b"later"
    assert (files / "ab" / STORED).read_bytes() == b"spoilt"


@pytest.mark.parametrize("state", ["whole", "damaged"])
async def test_a_log_that_a_killed_app_left_is_not_read_into_the_restored_database(
    tmp_path: Path, state: str
) -> None:
    await fill(tmp_path / "data", "old")
    back_up(settings_for(tmp_path / "data"), tmp_path / "backup")
    killed = settings_for(tmp_path / "killed")
    killed.data_dir.mkdir()
    with closing(sqlite3.connect(tmp_path / "data" / "chat.db")) as connection:
        connection.execute("UPDATE agent_messages SET content = 'newest'")
        connection.commit()
        for name in ("chat.db", "chat.db-wal", "chat.db-shm"):
            shutil.copy(tmp_path / "data" / name, killed.data_dir / name)
    if state == "damaged":
        (killed.data_dir / "chat.db").write_bytes(b"\xff" * 8192)
    log = (killed.data_dir / "chat.db-wal").read_bytes()
    done = restore(killed, tmp_path / "backup", force=True)
    assert done.aside is not None
    assert sorted(p.name for p in killed.data_dir.glob("chat.db-*")) == []
    assert rows(killed.data_dir, "SELECT 1 FROM agent_messages WHERE content = 'newest'") == []
    assert await laws_broken(killed) == {}
    if state == "whole":
        with closing(sqlite3.connect(done.aside)) as connection:
            found = connection.execute("SELECT DISTINCT content FROM agent_messages").fetchall()
        assert found == [("newest",)]
    else:
        assert done.aside.with_name(f"{done.aside.name}-wal").read_bytes() == log


def spoil_database(folder: Path) -> None:
    content = bytearray((folder / "chat.db").read_bytes())
    content[5000:9000] = b"\xff" * 4000
    (folder / "chat.db").write_bytes(content)


def spoil_knowingly(folder: Path) -> None:
    """Damage the database and make the manifest agree: SQLite itself has to notice."""
    spoil_database(folder)
    agree(folder)


def agree(folder: Path) -> None:
    """Let the manifest say what the database is."""
    measured = measure(folder / "chat.db")._asdict()
    edit_manifest(folder, lambda entry: entry | measured if entry["path"] == "chat.db" else entry)


def edit_manifest(folder: Path, change: Any) -> None:
    written = json.loads((folder / MANIFEST).read_bytes())
    written["entries"] = [change(entry) for entry in written["entries"]]
    (folder / MANIFEST).write_text(json.dumps(written))


def from_the_future(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "chat.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999_later'")
    agree(folder)


def another_program_s(folder: Path) -> None:
    (folder / "chat.db").unlink()
    with closing(sqlite3.connect(folder / "chat.db")) as connection, connection:
        connection.execute("CREATE TABLE other (x)")
    agree(folder)


SPOILT: dict[str, Callable[[Path], Any]] = {
    "a damaged database": spoil_database,
    "a damaged database that the manifest covers": spoil_knowingly,
    "a database cut short": lambda f: os.truncate(f / "chat.db", 4096),
    "a database of a later version": from_the_future,
    "another program's database": another_program_s,
    "no database": lambda f: (f / "chat.db").unlink(),
    "a changed file": lambda f: stored(f).write_bytes(b"bytes of a life"),
    "a file too few": lambda f: stored(f).unlink(),
    "no manifest": lambda f: (f / MANIFEST).unlink(),
    "half a manifest": lambda f: os.truncate(f / MANIFEST, 60),
    "a path that leads out": lambda f: edit_manifest(f, lambda e: e | {"path": "../x"}),
    "an empty manifest": lambda f: (f / MANIFEST).write_text(
        '{"version": 1, "made_at": "", "revision": "0001", "entries": []}'
    ),
}


@pytest.mark.parametrize("name", sorted(SPOILT))
async def test_what_is_not_whole_is_refused_and_nothing_is_replaced(
    tmp_path: Path, name: str
) -> None:
    settings = await fill(tmp_path / "data", "one")
    back_up(settings, tmp_path / "backup")
    SPOILT[name](tmp_path / "backup")
    before = picture_of(tmp_path / "data")
    with pytest.raises(BackupError) as caught:
        restore(settings, tmp_path / "backup", force=True)
    assert "\n" not in str(caught.value)
    assert picture_of(tmp_path / "data") == before


async def test_a_damaged_database_is_not_backed_up(tmp_path: Path) -> None:
    settings = await fill(tmp_path / "data", "one")
    spoil_database(tmp_path / "data")
    with pytest.raises(BackupError, match="damaged"):
        back_up(settings, tmp_path / "backup")
    assert not (tmp_path / "backup").exists()
    assert beside(tmp_path) == []


async def test_a_target_in_use_is_replaced_only_where_it_is_a_backup_and_forced(
    tmp_path: Path,
) -> None:
    settings = await fill(tmp_path / "data", "one")
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "diary").write_text("mine")
    for force in (False, True):
        with pytest.raises(BackupError, match="no backup"):
            back_up(settings, precious, force=force)
    assert (precious / "diary").read_text() == "mine"
    back_up(settings, tmp_path / "backup")
    first = (tmp_path / "backup" / MANIFEST).read_bytes()
    await fill(tmp_path / "data", "two")
    with pytest.raises(BackupError, match="--force"):
        back_up(settings, tmp_path / "backup")
    assert (tmp_path / "backup" / MANIFEST).read_bytes() == first
    back_up(settings, tmp_path / "backup", force=True)
    restore(settings_for(tmp_path / "new"), tmp_path / "backup")
    assert count(tmp_path / "new") == (2, 4, 2)
    assert beside(tmp_path) == ["backup"]


async def opened_to_write(pipe: Path) -> BinaryIO:
    """Open a pipe as soon as somebody reads it."""
    async with asyncio.timeout(START):
        while True:
            # Waiting for a reader in a thread could not be given up.
            try:
                return os.fdopen(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK), "wb")
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
            await asyncio.sleep(0.01)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
async def test_a_killed_backup_leaves_no_half_one_and_the_next_clears_up(tmp_path: Path) -> None:
    settings = await fill(tmp_path / "data", "one")
    # Reading a pipe waits for a writer: the backup is held in the middle of its files.
    pipe = stored(tmp_path / "data").with_name("ab" + "f" * 30)
    os.mkfifo(pipe)
    command = [sys.executable, "-m", "cmw_agent", "backup", str(tmp_path / "backup")]
    environment = {"PYTHONPATH": str(HOUSE), "CMW_DATA_DIR": str(tmp_path / "data")}
    process = await asyncio.create_subprocess_exec(*command, cwd=tmp_path, env=environment)
    try:
        with await opened_to_write(pipe):
            process.kill()
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert not (tmp_path / "backup").exists()
    (left,) = (tmp_path / name for name in beside(tmp_path))
    assert not (left / MANIFEST).exists()
    pipe.unlink()
    back_up(settings, tmp_path / "backup")
    assert not left.exists()
    assert beside(tmp_path) == ["backup"]


async def test_a_draft_of_another_backup_that_still_runs_is_left_alone(tmp_path: Path) -> None:
    settings = await fill(tmp_path / "data", "one")
    other = tmp_path / "backup.part-1"
    other.mkdir()
    with FileLock(other / ".lock"):
        back_up(settings, tmp_path / "backup")
        assert other.exists()


async def test_a_file_whose_bytes_are_gone_is_counted(tmp_path: Path) -> None:
    settings = await fill(tmp_path / "data", "one")
    assert await laws_broken(settings) == {}
    stored(tmp_path / "data").unlink()
    assert await laws_broken(settings) == {"files without their bytes": 1}


def test_of_postgresql_each_says_what_to_use(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, database_url=POSTGRES)
    for act in (back_up, restore):
        with pytest.raises(BackupError, match="pg_dump") as caught:
            act(settings, tmp_path / "backup")
        assert "docs/deployment.md" in str(caught.value)
        assert "secret" not in str(caught.value)


def test_only_a_file_of_sqlite_has_a_path() -> None:
    assert sqlite_backup.sqlite_path("sqlite+aiosqlite:////data/chat.db") == Path("/data/chat.db")
    assert sqlite_backup.sqlite_path("sqlite://") is None
    assert sqlite_backup.sqlite_path(POSTGRES) is None


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with restored():
        code = commands.main(arguments, None)
    written = capsys.readouterr()
    return code, written.out, written.err


def test_the_commands_do_it_and_their_exit_codes_tell(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CMW_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("CMW_LOG_LEVEL", "WARNING")
    target = str(tmp_path / "backup")
    assert run(capsys, "backup", target)[0] == 2
    asyncio.run(fill(tmp_path / "data", "one"))
    code, out, _ = run(capsys, "backup", target)
    assert (code, out.count("\n")) == (0, 1)
    assert run(capsys, "backup", target)[0] == 2
    assert run(capsys, "restore", target)[0] == 2
    code, out, _ = run(capsys, "restore", target, "--force")
    assert code == 0
    assert "before-restore" in out
    code, out, _ = run(capsys, "check")
    assert code == 0
    assert "all is well" in out
    with closing(sqlite3.connect(tmp_path / "data" / "chat.db")) as connection, connection:
        connection.execute("UPDATE agent_turns SET owner_id = 'user:mallory'")
    code, out, err = run(capsys, "check")
    assert (code, err) == (1, "")
    assert "1 agent_turns without a conversation of the same owner" in out
    assert "mallory" not in out
