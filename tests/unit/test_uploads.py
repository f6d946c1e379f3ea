"""Uploads: limits of one owner, one network address and all, and of the slowest rate."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cmw_agent.core.errors import UserError
from cmw_agent.files.extraction import Extraction
from cmw_agent.files.service import Files
from cmw_agent.files.uploads import paced
from cmw_agent.identity.principals import Principal
from cmw_agent.limits.budget_sizes import EXTRACTIONS, BudgetFullError
from cmw_agent.limits.budgets import Budgets
from cmw_agent.limits.limiter import RateLimitError
from cmw_agent.limits.pace import Pace
from tests.harness import settings_for
from tests.service import process, until

ATTACKER, OFFICE = "192.0.2.1", "198.51.100.7"
BOB = Principal("v" + "b" * 32, "visitor")


def visitor(number: int) -> Principal:
    return Principal(f"v{number:032x}", "visitor")


async def body(content: bytes) -> AsyncIterator[bytes]:
    yield content


async def trickle(gone: asyncio.Event) -> AsyncIterator[bytes]:
    yield b"a"
    await gone.wait()


@contextlib.asynccontextmanager
async def files_of(
    folder: Path, *, module: str | None = None, **changes: Any
) -> AsyncIterator[tuple[Files, Budgets]]:
    """Everybody's files, where one network address has half of everything."""
    settings = settings_for(folder, address_share=0.5, disk_spare_bytes=0, **changes)
    async with process(settings) as runtime:
        if module is None:
            yield runtime.files, runtime.budgets
            return
        reader = Extraction(settings, module=module)

        async def known(_ids: object) -> set[str]:
            return set()

        yield Files(settings, runtime.memory_of, known, runtime.budgets, reader), runtime.budgets


async def added(files: Files, owner: Principal, content: bytes, address: str) -> int:
    return (await files.add(owner, "a.txt", "", body(content), address)).size_bytes


async def test_uploads_that_trickle_from_one_address_leave_room_for_others(tmp_path: Path) -> None:
    gone = asyncio.Event()
    async with files_of(tmp_path) as (files, budgets):
        held = [
            asyncio.create_task(files.add(visitor(number), "a.txt", "", trickle(gone), ATTACKER))
            for number in range(100)
        ]
        await until(lambda: sum(not task.done() for task in held) == budgets.used("uploads"))
        assert budgets.used("uploads") <= 16
        assert await added(files, BOB, b"hello", OFFICE) == 5
        gone.set()
        await asyncio.gather(*held, return_exceptions=True)
        assert budgets.used("uploads") == 0


async def test_one_owner_has_a_few_uploads_at_once(tmp_path: Path) -> None:
    gone = asyncio.Event()
    async with files_of(tmp_path) as (files, budgets):
        held = [
            asyncio.create_task(files.add(BOB, "a.txt", "", trickle(gone), None)) for _ in range(6)
        ]
        await until(lambda: sum(task.done() for task in held) == 2)
        assert budgets.used("uploads") == 4
        gone.set()
        told = await asyncio.gather(*held, return_exceptions=True)
        assert sum(isinstance(error, RateLimitError) for error in told) == 2


async def test_an_upload_that_comes_too_slowly_ends_though_something_always_comes() -> None:
    count = 0

    async def slow() -> AsyncIterator[bytes]:
        nonlocal count
        while True:
            await asyncio.sleep(0.001)
            count += 1
            yield b"a"

    with pytest.raises(TimeoutError):
        async for _ in paced(slow(), Pace(0.05, 10**6)):
            assert count < 5_000
    quick = [part async for part in paced(body(b"abc"), Pace(10, 1))]
    assert quick == [b"abc"]


async def test_a_network_s_visitors_have_half_of_the_disk_also_after_a_restart(
    tmp_path: Path,
) -> None:
    # A text counts twice: as the file and as what a model reads of it.
    changes: dict[str, Any] = {"file_quota_bytes": 2_000, "file_total_bytes": 8_000}
    async with files_of(tmp_path, **changes) as (files, _):
        for number in range(4):
            await added(files, visitor(number), b"x" * 500, ATTACKER)
    async with files_of(tmp_path, **changes) as (files, _):
        with pytest.raises(RateLimitError, match="your network"):
            await added(files, visitor(9), b"x" * 500, ATTACKER)
        await added(files, BOB, b"x" * 500, OFFICE)
        # An account answers for itself, wherever it is.
        await added(files, Principal("a" + "1" * 32, "account"), b"x" * 500, ATTACKER)


async def test_all_files_together_have_a_bound(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"file_quota_bytes": 4_000, "file_total_bytes": 4_000}
    async with files_of(tmp_path, **changes) as (files, _):
        account = Principal("a" + "1" * 32, "account")
        await added(files, account, b"x" * 1_500, ATTACKER)
        with pytest.raises(BudgetFullError, match="no room for further files"):
            await added(files, Principal("a" + "2" * 32, "account"), b"x" * 600, OFFICE)


async def test_some_of_the_disk_always_stays_free(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, disk_spare_bytes=10**15)
    async with process(settings) as runtime:
        with pytest.raises(UserError, match="no room for further files"):
            await added(runtime.files, BOB, b"hello", OFFICE)
    assert not list((tmp_path / "files").rglob("*"))


async def test_slow_documents_of_one_network_never_hold_all_workers(tmp_path: Path) -> None:
    async with files_of(tmp_path, module="tests.unit.choosy_worker", extraction_seconds=600) as (
        files,
        budgets,
    ):
        held = [
            asyncio.create_task(added(files, visitor(number % 3), b"slow", ATTACKER))
            for number in range(12)
        ]
        await until(lambda: budgets.used("extraction") == EXTRACTIONS // 2)
        assert budgets.used_by_owner("extraction", visitor(0).id) <= 1
        assert await added(files, BOB, b"hello", OFFICE) == 5
        for task in held:
            task.cancel()
        await asyncio.gather(*held, return_exceptions=True)
        assert budgets.used("extraction") == 0


async def test_two_slow_documents_of_one_owner_take_one_worker(tmp_path: Path) -> None:
    async with files_of(tmp_path, module="tests.unit.choosy_worker", extraction_seconds=600) as (
        files,
        budgets,
    ):
        held = [asyncio.create_task(added(files, visitor(1), b"slow", ATTACKER)) for _ in range(3)]
        await until(lambda: budgets.used("uploads") == 3 and budgets.used("extraction") == 1)
        assert await added(files, visitor(2), b"hello", ATTACKER) == 5
        assert budgets.used("extraction") == 1
        for task in held:
            task.cancel()
        await asyncio.gather(*held, return_exceptions=True)
