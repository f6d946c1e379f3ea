"""Imports through the service: limits, times, and what ends them."""

import json
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cmw_agent.conversations.importing.records import ImportLimits, UnreadableError
from cmw_agent.conversations.importing.run import ImportTarget
from cmw_agent.conversations.importing.worker_client import read_events
from cmw_agent.core.errors import UserError
from cmw_agent.identity.principals import Principal
from cmw_agent.runtime.runtime import Runtime
from tests.harness import settings_for
from tests.service import running_app

ALICE, BOB = Principal("v" + "a" * 32, "visitor"), Principal("v" + "b" * 32, "visitor")
TARGET = ImportTarget("assistant", frozenset({"assistant"}))
LIMITS = ImportLimits(1_000, 1_000, 100, 10**6, 10**6)


def own(title: str = "t", *messages: dict[str, Any], **more: Any) -> dict[str, Any]:
    stored = messages or ({"role": "user", "content": "x"},)
    return {"title": title, "started_at": "2020-01-01T00:00:00+00:00", "messages": stored} | more


async def pieces(*values: Any) -> AsyncGenerator[bytes]:
    for value in values:
        yield json.dumps(value).encode() + b"\n"


async def done(runtime: Runtime, *values: Any, principal: Principal = ALICE) -> dict[str, Any]:
    run = runtime.imports.run(principal, TARGET, pieces(*values))
    return [line async for line in run][-1]


async def test_what_is_deleted_while_it_is_imported_does_not_come_back(tmp_path: Path) -> None:
    async with running_app(settings_for(tmp_path)) as runtime:
        run = runtime.imports.run(ALICE, TARGET, pieces(own("a"), own("b")))
        assert await anext(run) == {"imported": 0, "skipped": 0, "refused": 0}
        await runtime.history.forget(BOB)
        await runtime.history.forget(ALICE)
        last = [line async for line in run][-1]
        assert last["sentence"].endswith("The rest was not read: Everything was deleted meanwhile.")
        assert [item async for item in runtime.history.conversations(ALICE)] == []
        assert (await done(runtime, own()))["imported"] == 1


async def test_an_import_that_is_left_keeps_what_came_and_shows_no_half(tmp_path: Path) -> None:
    async with running_app(settings_for(tmp_path)) as runtime:
        run = runtime.imports.run(ALICE, TARGET, pieces(*map(own, map(str, range(50)))))
        await anext(run)
        await run.aclose()
        assert runtime.budgets.used("imports") == 0
        shown = [item async for item in runtime.history.conversations(ALICE)]
        assert all(item.message_count == 1 for item in shown)
        assert list((tmp_path / "imports").iterdir()) == []


@pytest.mark.parametrize("retention_days", [0, 30])
async def test_an_old_conversation_is_not_deleted_as_soon_as_it_is_imported(
    tmp_path: Path, retention_days: float
) -> None:
    now = datetime.now(UTC)
    async with running_app(settings_for(tmp_path, retention_days=retention_days)) as runtime:
        await done(runtime, own(last_activity_at="2020-01-02T00:00:00+00:00"))
        cleaned = await runtime.services.retention.clean(days=retention_days, idle_seconds=1e9)
        assert cleaned.expired == 0
        (item,) = [item async for item in runtime.history.conversations(ALICE)]
        assert item.started_at == datetime(2020, 1, 1, tzinfo=UTC)
        assert (item.last_activity_at >= now) == (retention_days > 0)


async def test_no_time_of_a_file_is_later_than_now_and_that_is_said(tmp_path: Path) -> None:
    async with running_app(settings_for(tmp_path)) as runtime:
        future = (datetime.now(UTC) + timedelta(days=400)).isoformat()
        message = {"role": "user", "content": "x", "created_at": future}
        last = await done(runtime, own("t", message, started_at=future, last_activity_at=1e300))
        assert "1 message had a time in the future, which was set to now." in last["sentence"]
        (item,) = [item async for item in runtime.history.conversations(ALICE)]
        assert item.last_activity_at <= datetime.now(UTC)
        assert item.started_at <= item.last_activity_at


async def test_more_text_than_an_hour_s_share_ends_an_import_and_is_said(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, max_import_mb=1)
    async with running_app(settings) as runtime:
        answer = {"role": "assistant", "content": "y" * 400_000}
        found = [await done(runtime, own(str(n), answer, answer)) for n in range(3)]
        assert [line["is_complete"] for line in found] == [True, True, False]
        assert "please import the rest in an hour" in found[-1]["sentence"]
        assert (await done(runtime, own(), principal=BOB))["is_complete"]


async def test_short_messages_count_for_the_rows_that_they_take(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, max_import_mb=1)
    async with running_app(settings) as runtime:
        messages = [{"role": "user", "content": "y"}] * 5_000
        last = await done(runtime, *[own(str(n), *messages) for n in range(3)])
        assert (last["imported"], last["is_complete"]) == (2, False)
        assert "please import the rest in an hour" in last["sentence"]


async def test_all_refused_conversations_are_counted(tmp_path: Path) -> None:
    async with running_app(settings_for(tmp_path)) as runtime:
        last = await done(runtime, own(), *[{}] * 2_500)
        assert (last["imported"], last["refused"]) == (1, 2_500)
        assert len(last["problems"]) == 100
        assert last["sentence"].endswith("2,500 were not: in 2,500 the form is not known.")


async def test_who_keeps_nothing_imports_nothing(tmp_path: Path) -> None:
    async with running_app(settings_for(tmp_path)) as runtime:
        nobody = Principal("e" + "a" * 32, "ephemeral")
        with pytest.raises(UserError, match="kept"):
            await done(runtime, own(), principal=nobody)


async def test_a_file_of_more_parts_than_are_read_ends_there(tmp_path: Path) -> None:
    with (tmp_path / "x").open("w+b") as source:
        source.write(json.dumps(own()).encode() * 3)
        source.seek(0)
        found: list[str] = []
        with pytest.raises(UnreadableError, match="events"):
            async for event in read_events(source, LIMITS, max_events=6):
                found += [event["event"]]
    assert found == ["source", *("conversation", "messages", "end"), "conversation", "messages"]


async def test_a_worker_that_ends_early_is_a_reason(tmp_path: Path) -> None:
    with (tmp_path / "x").open("w+b") as source:
        for module, reason in (("this", "worker"), ("no.such.module", "memory")):
            events = read_events(source, LIMITS, module=module)
            with pytest.raises(UnreadableError, match=reason):
                await anext(events)
