"""The process lock of a database file, on which recovery at start relies."""

from pathlib import Path

import pytest

from memory.engine.process_lock import FileLock, sole_use


async def test_the_first_is_alone_and_those_who_come_while_it_lives_are_not(
    tmp_path: Path,
) -> None:
    path = tmp_path / "lock"
    with FileLock(path) as first:
        assert first.alone
        await first.share()
        with FileLock(path) as second:
            assert not second.alone
            await second.share()
    with FileLock(path) as later:
        assert later.alone


async def test_one_that_shares_is_seen_after_the_first_has_gone(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with FileLock(path) as second:
        with FileLock(path) as first:
            await second.share()
            assert not first.alone
        with FileLock(path) as third:
            assert not third.alone


async def test_nobody_shares_with_one_that_is_still_alone(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with FileLock(path) as first, FileLock(path) as second:
        with pytest.raises(TimeoutError):
            await second.share(within=0.01)
        await first.share()
        await second.share()


@pytest.mark.parametrize("url", ["postgresql://u:p@h/n", "sqlite:///:memory:", "sqlite://"])
async def test_nobody_is_alone_where_there_is_no_file(url: str) -> None:
    with sole_use(url) as lock:
        assert not lock.alone
        await lock.share()


async def test_nobody_is_alone_where_the_file_cannot_be_made(tmp_path: Path) -> None:
    with FileLock(tmp_path / "no" / "folder") as lock:
        assert not lock.alone
        await lock.share()


async def test_the_lock_stands_beside_the_database_and_nobody_else_may_read_it(
    tmp_path: Path,
) -> None:
    with sole_use(f"sqlite+aiosqlite:///{tmp_path}/chat.db?timeout=1") as lock:
        assert lock.alone
    assert (tmp_path / "chat.db.lock").stat().st_mode & 0o077 == 0
