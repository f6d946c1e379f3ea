"""A process that dies while it replaces a backup always leaves a complete one."""

import asyncio
import sys
from pathlib import Path

import pytest

from cmw_agent.cli.backup import back_up, restore
from cmw_agent.cli.backup_folder import MANIFEST, BackupError, draft
from memory.engine.process_lock import FileLock
from tests.durability.test_backup import beside, fill, stored
from tests.harness import settings_for
from tests.processes import HOUSE
from tests.rows import count


async def killed(folder: Path) -> list[Path]:
    """Return the copies of a folder in each of which a backup died, by its steps; the last did not."""
    command = [sys.executable, "-m", "tests.durability.killed_backups", str(folder)]
    process = await asyncio.create_subprocess_exec(*command, cwd=HOUSE)
    assert await process.wait() == 0
    found = folder.parent.glob(f"{folder.name}-*")
    return sorted(found, key=lambda path: int(path.name.rpartition("-")[2]))


def turns_of(backup: Path, elsewhere: Path) -> int:
    """Restore a backup to a new place; return how many turns it holds."""
    restore(settings_for(elsewhere), backup)
    assert stored(elsewhere).read_bytes() == b"bytes of a file"
    return count(elsewhere)[2]


def one_is_whole(folder: Path) -> bool:
    """Whether a backup is there under whatever name, and can be restored."""
    found = [path for path in sorted(folder.glob("backup*")) if (path / MANIFEST).is_file()]
    return bool(found) and turns_of(found[0], folder / "proved") in (1, 2)


async def replaced(folder: Path) -> None:
    """Make a backup of one turn, and data of two."""
    folder.mkdir()  # noqa: ASYNC240 (nobody waits)
    back_up(await fill(folder / "data", "one"), folder / "backup")
    await fill(folder / "data", "two")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
async def test_a_whole_backup_is_there_before_each_step_of_its_replacement(tmp_path: Path) -> None:
    await replaced(tmp_path / "house")
    *died, ended = await killed(tmp_path / "house")
    assert beside(ended) == ["backup"]
    away = 0
    for copy in died:
        assert one_is_whole(copy)
        away += not (copy / "backup").exists()
        settings = settings_for(copy / "data")
        with pytest.raises(BackupError, match="--force"):
            back_up(settings, copy / "backup")
        assert turns_of(copy / "backup", copy / "before") in (1, 2)
        back_up(settings, copy / "backup", force=True)
        assert turns_of(copy / "backup", copy / "after") == 2
        assert beside(copy) == ["backup"]
    # the moment that matters: the old one has lost its name and the new one has not got it
    assert away


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
async def test_a_second_backup_that_dies_too_leaves_a_whole_one(tmp_path: Path) -> None:
    await replaced(tmp_path / "house")
    copies = await killed(tmp_path / "house")
    (first, *_) = [copy for copy in copies if not (copy / "backup").exists()]
    *died, ended = await killed(first)
    assert turns_of(ended / "backup", ended / "after") == 2
    for copy in died:
        assert one_is_whole(copy)
        back_up(settings_for(copy / "data"), copy / "backup", force=True)
        assert beside(copy) == ["backup"]


async def test_a_backup_that_appeared_meanwhile_is_not_replaced_unasked(tmp_path: Path) -> None:
    settings = await fill(tmp_path / "data", "one")
    with (
        pytest.raises(BackupError, match="--force"),
        draft(tmp_path / "backup", force=False) as folder,
    ):
        (folder / MANIFEST).write_text("later")
        back_up(settings, tmp_path / "backup")
    assert turns_of(tmp_path / "backup", tmp_path / "new") == 1
    assert beside(tmp_path) == ["backup"]


async def test_a_whole_draft_stays_until_another_backup_stands(tmp_path: Path) -> None:
    settings = await fill(tmp_path / "data", "one")
    left = tmp_path / "backup.part-0123abcd"
    back_up(settings, left)
    with pytest.raises(OSError, match="full"), draft(tmp_path / "backup", force=False):
        raise OSError("the disk is full")
    assert turns_of(left, tmp_path / "new") == 1
    back_up(settings, tmp_path / "backup")
    assert beside(tmp_path) == ["backup"]


async def test_folders_of_others_are_left_alone_whatever_their_names(tmp_path: Path) -> None:
    settings = await fill(tmp_path / "data", "one")
    for name in ("backup.old-papers", "backup.old-0123abcd", "backup.part-two", "backup.older"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "diary").write_text("mine")
    back_up(settings, tmp_path / "backup")
    back_up(settings, tmp_path / "backup", force=True)
    others = [name for name in beside(tmp_path) if name != "backup"]
    assert {(tmp_path / name / "diary").read_text() for name in others} == {"mine"}
    assert len(others) == 4


async def test_a_whole_backup_of_a_process_that_still_runs_is_left_alone(tmp_path: Path) -> None:
    settings = await fill(tmp_path / "data", "one")
    back_up(settings, tmp_path / "backup")
    other = tmp_path / "backup.part-0123abcd"
    back_up(settings, other)
    with FileLock(other / ".lock"):
        back_up(settings, tmp_path / "backup", force=True)
        assert (other / MANIFEST).exists()
    back_up(settings, tmp_path / "backup", force=True)
    assert beside(tmp_path) == ["backup"]
