"""Tombstones: who has deleted everything is in no database that a restore brings back."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest

from cmw_agent.cli.backup import back_up, restore
from cmw_agent.conversations.tombstones import KEY, TOMBSTONES, Tombstones
from tests.contract.conftest import ALICE, BOB
from tests.harness import Browser, canary, served, settings_for
from tests.isolation.test_files import put
from tests.isolation.test_history import chatted, listed, post
from tests.rows import rows
from tests.unit.test_commands import run

BEGIN = datetime(2030, 1, 1, tzinfo=UTC)


def holding(folder: Path, secret: str) -> list[str]:
    """Return the files below a folder that hold a text, without those that a restore put aside."""
    return [
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file()
        and "before-restore" not in str(path)
        and secret.encode() in path.read_bytes()
    ]


async def test_a_backup_brings_nobody_back_who_has_deleted_everything_since(
    tmp_path: Path,
) -> None:
    secret, kept, again = canary(), canary(), canary()
    (data := tmp_path / "data").mkdir()
    settings = settings_for(data)
    async with (
        served(settings) as app,
        Browser(app.url) as alice,
        Browser(app.url) as bob,
    ):
        await chatted(alice, secret)
        await put(alice, f"{secret} in a file".encode())
        await chatted(bob, kept)
        await put(bob, f"{kept} in a file".encode())
        await asyncio.to_thread(back_up, settings, tmp_path / "old")
        assert (await post(alice, "history/forget", {"sure": True}))[0] == 200
        await chatted(alice, again)
        await asyncio.to_thread(back_up, settings, tmp_path / "new")
    assert holding(tmp_path / "old", secret)
    restored = await asyncio.to_thread(restore, settings, tmp_path / "old", force=True)
    assert restored.erased_again == 1
    assert holding(data, secret) == []
    assert len(holding(data, kept)) >= 2  # the database and the file
    async with served(settings) as app, Browser(app.url) as bob:
        assert len(rows(data, "SELECT * FROM agent_sessions")) == 1
        assert await listed(bob) == []  # a browser of its own
    # What she has written since stands in the newer backup, and is hers to keep.
    restored = await asyncio.to_thread(restore, settings, tmp_path / "new", force=True)
    assert restored.erased_again == 0
    assert "chat.db" in holding(data, again)
    assert holding(data, secret) == []


async def test_a_database_that_other_tools_have_restored_is_cleared_by_a_command(
    tmp_path: Path,
) -> None:
    secret, kept = canary(), canary()
    async with (
        served(settings_for(tmp_path)) as app,
        Browser(app.url) as alice,
        Browser(app.url) as bob,
    ):
        await chatted(alice, secret)
        await chatted(bob, kept)
        (owner,) = {
            row["owner_id"]
            for row in rows(tmp_path, "SELECT * FROM agent_messages WHERE content = ?", secret)
        }
    Tombstones(tmp_path).erased(owner, BEGIN)
    late = await run(tmp_path, "erase-again", "2030-01-01T00:00:01Z")
    assert (late.code, late.out) == (0, "owners erased again: 0\n"), late.err
    done = await run(tmp_path, "erase-again", "2029-12-31T23:59:59+00:00")
    assert (done.code, done.out) == (0, "owners erased again: 1\n"), done.err
    assert [
        row["content"]
        for row in rows(tmp_path, "SELECT content FROM agent_messages WHERE role = 'user'")
    ] == [kept]
    for wrong in ("yesterday", "2030-01-01T00:00:00"):
        refused = await run(tmp_path, "erase-again", wrong)
        assert refused.code == 2


async def test_an_erasure_leaves_a_digest_and_a_time_and_nothing_of_who_had_nothing(
    tmp_path: Path,
) -> None:
    async with (
        served(settings_for(tmp_path)) as app,
        Browser(app.url) as alice,
        Browser(app.url) as nobody,
    ):
        await chatted(alice, "hello")
        (row,) = rows(tmp_path, "SELECT owner_id FROM agent_sessions")
        await nobody.open()
        await post(nobody, "history/forget", {"sure": True})
        assert not (tmp_path / TOMBSTONES).exists()
        for _ in range(2):  # the second finds nothing
            await post(alice, "history/forget", {"sure": True})
    written = (tmp_path / TOMBSTONES).read_text("utf-8")
    before, after = (orjson.loads(line) for line in written.split())
    assert before["owner"] == after["owner"]
    assert before["erased_at"] < after["erased_at"]
    assert set(before) == set(after) == {"owner", "erased_at"}
    assert len(before["owner"]) == 64
    assert row["owner_id"] not in written
    for name in (TOMBSTONES, KEY):
        assert (tmp_path / name).stat().st_mode & 0o77 == 0


def test_a_line_that_was_not_written_to_its_end_hides_no_other(tmp_path: Path) -> None:
    tombstones = Tombstones(tmp_path)
    tombstones.erased(ALICE, BEGIN)
    with (tmp_path / TOMBSTONES).open("ab") as file:
        file.write(b'{"owner": "ab')
    tombstones.erased(BOB, BEGIN)
    assert tombstones.find([ALICE, BOB, "carol"], BEGIN) == [ALICE, BOB]


def test_who_was_erased_is_dead_in_older_backups_alone(tmp_path: Path) -> None:
    tombstones = Tombstones(tmp_path)
    assert not tombstones.are_any(BEGIN)
    assert tombstones.find([ALICE], BEGIN) == []
    tombstones.erased(ALICE, BEGIN)
    before, after = BEGIN - timedelta(seconds=1), BEGIN + timedelta(seconds=1)
    assert tombstones.are_any(before)
    assert tombstones.find([ALICE, BOB], before) == [ALICE]
    assert not tombstones.are_any(after)
    assert tombstones.find([ALICE, BOB], after) == []


def test_what_a_visitor_has_given_to_an_account_is_erased_with_the_account(
    tmp_path: Path,
) -> None:
    tombstones = Tombstones(tmp_path)
    hour = timedelta(hours=1)
    tombstones.moved(ALICE, "account", BEGIN + hour)
    assert tombstones.find([ALICE, "account"], BEGIN) == []
    tombstones.erased("account", BEGIN + 3 * hour)
    assert tombstones.find([ALICE, BOB, "account"], BEGIN) == [ALICE, "account"]
    # What the visitor has written after the move is not the account's.
    assert tombstones.find([ALICE, "account"], BEGIN + 2 * hour) == ["account"]


def test_without_the_key_nobody_is_restored_unnoticed(tmp_path: Path) -> None:
    Tombstones(tmp_path).erased(ALICE, BEGIN)
    assert Tombstones(tmp_path).find([ALICE, BOB], BEGIN) == [ALICE]
    (tmp_path / KEY).unlink()
    with pytest.raises(FileNotFoundError):
        Tombstones(tmp_path).find([ALICE, BOB], BEGIN)
