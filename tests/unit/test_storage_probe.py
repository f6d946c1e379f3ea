"""Storage where SQLite cannot lock is refused at the start, with one line."""

import sys
from pathlib import Path

import pytest

from cmw_agent.cli.serve import check_storage
from cmw_agent.core.errors import StartupError
from memory.engine.storage_probe import can_lock
from tests.harness import settings_for

# SQLite's own way to reach files that cannot be locked.
NO_LOCKS = "unix-none"


def test_a_disk_can_be_locked_and_keeps_nothing_of_the_probe(tmp_path: Path) -> None:
    assert can_lock(tmp_path)
    assert list(tmp_path.iterdir()) == []
    check_storage(settings_for(tmp_path))


@pytest.mark.skipif(sys.platform == "win32", reason="a name of Unix")
def test_storage_without_locks_stops_the_start_with_one_line(tmp_path: Path) -> None:
    assert not can_lock(tmp_path, NO_LOCKS)
    with pytest.raises(StartupError) as raised:
        check_storage(settings_for(tmp_path), NO_LOCKS)
    line = str(raised.value)
    assert line.startswith("CMW_DATABASE_URL: SQLite cannot lock files in")
    assert len(line.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_at_all_is_another_error(tmp_path: Path) -> None:
    assert can_lock(tmp_path / "nowhere")


def test_postgres_needs_no_locks_here(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, database_url="postgresql://me:secret@db.example/chat")
    check_storage(settings, NO_LOCKS)
    assert list(tmp_path.iterdir()) == []
