"""Imports through the service: limits, times, and what ends them."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cmw_agent.conversations.importing.job import ImportJob
from cmw_agent.conversations.importing.records import ImportLimits, UnreadableError
from cmw_agent.conversations.importing.run import ImportTarget
from cmw_agent.conversations.importing.service import ImportService
from cmw_agent.conversations.importing.worker_client import read_events
from cmw_agent.core.errors import NotFoundError, ServiceUnavailableError, UserError
from cmw_agent.identity.principals import Principal
from cmw_agent.runtime.runtime import Runtime
from memory.validation import title_of
from tests.harness import settings_for
from tests.service import running_app, wait_until

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


def gated(runtime: Runtime) -> ImportService:
    """Return a service over a process's parts whose worker holds where a title says so."""
    services, settings = runtime.services, runtime.settings
    maker, budgets = services.session_maker, runtime.budgets
    return ImportService(
        settings, maker.memory, services.files, budgets, worker="tests.doubles.gated_worker"
    )


@contextlib.asynccontextmanager
async def held_import(
    folder: Path, principal: Principal = ALICE
) -> AsyncGenerator[tuple[Runtime, ImportService, ImportJob, Path]]:
    """Run an import of three conversations that holds at the second one, after the first is stored."""
    async with running_app(settings_for(folder)) as runtime:
        imports, gate = gated(runtime), folder / "gate"
        os.mkfifo(gate)
        body = pieces(own("first"), own(f"hold {gate}"), own("third"))
        job = await imports.begin(principal, TARGET, body, name="x.json")
        await wait_until(lambda: job.state["imported"] == 1)
        yield runtime, imports, job, gate
        await imports.drain(0)


async def titles(runtime: Runtime, principal: Principal = ALICE) -> list[str]:
    return sorted([item.title async for item in runtime.history.conversations(principal)])


async def test_an_import_goes_on_with_nobody_reading_and_its_owner_alone_reads_the_result(
    tmp_path: Path,
) -> None:
    async with held_import(tmp_path) as (runtime, imports, job, gate):
        state = imports.state(ALICE)
        assert state is not None
        assert (state["name"], state["result"], imports.state(BOB)) == ("x.json", None, None)
        for principal, import_id in ((BOB, job.id), (ALICE, "another")):
            with pytest.raises(NotFoundError):
                await imports.dismiss(principal, import_id)
        await asyncio.to_thread(gate.write_bytes, b"go on")
        await job.wait()
        state = imports.state(ALICE)
        assert state is not None
        assert state["result"]["sentence"] == "3 conversations from this app were imported."
        assert await titles(runtime) == ["first", title_of(f"hold {gate}"), "third"]
        assert runtime.budgets.used("imports") == 0
        await imports.dismiss(ALICE, job.id)
        assert imports.state(ALICE) is None


async def test_what_is_deleted_while_it_is_imported_does_not_come_back(tmp_path: Path) -> None:
    async with held_import(tmp_path) as (runtime, imports, job, _):
        await imports.stop(BOB)
        assert not job.has_ended
        await imports.stop(ALICE)
        await runtime.history.forget(ALICE)
        last = job.state["result"]
        assert last["sentence"].endswith("The rest was not read: Everything was deleted meanwhile.")
        assert await titles(runtime) == []
        assert (await done(runtime, own()))["imported"] == 1


async def test_everything_that_is_deleted_stops_the_import_that_runs(tmp_path: Path) -> None:
    async with running_app(settings_for(tmp_path)) as runtime:
        many = pieces(*[own(str(number)) for number in range(3_000)])
        job = await runtime.imports.begin(ALICE, TARGET, many)
        await runtime.history.forget(ALICE)
        assert job.state["result"]["is_complete"] is False
        assert await titles(runtime) == []


@pytest.mark.parametrize(
    ("stop", "sentence"),
    [
        (lambda imports, job: imports.dismiss(ALICE, job.id), "You stopped the import."),
        (lambda imports, _: imports.stop_login(ALICE), "You signed in or out meanwhile"),
        (lambda imports, _: imports.drain(0), "The app restarts; please import the file again"),
    ],
)
async def test_an_import_that_is_stopped_keeps_whole_conversations_and_says_why(
    tmp_path: Path, stop: Any, sentence: str
) -> None:
    async with held_import(tmp_path) as (runtime, imports, job, _):
        await stop(imports, job)
        result = job.state["result"]
        assert (result["is_complete"], result["imported"]) == (False, 1)
        assert (
            f"1 conversation from this app was imported. The rest was not read: {sentence}"
            in (result["sentence"])
        )
        assert await titles(runtime) == ["first"]
        assert runtime.budgets.used("imports") == 0
        assert list((tmp_path / "imports").iterdir()) == []
        # What is here already is skipped, so that the rest comes with a repetition.
        last = await done(runtime, own("first"), own("third"))
        assert (last["imported"], last["skipped"]) == (1, 1)


async def test_another_login_of_an_account_leaves_its_import(tmp_path: Path) -> None:
    account = Principal("u" + "a" * 32, "account", login="one")
    async with held_import(tmp_path, account) as (_, imports, job, _):
        await imports.stop_login(replace(account, login="two"))
        assert not job.has_ended
        await imports.stop_login(account)
        assert job.has_ended


async def test_no_import_begins_in_an_app_that_ends(tmp_path: Path) -> None:
    async with running_app(settings_for(tmp_path)) as runtime:
        await runtime.imports.drain(0)
        with pytest.raises(ServiceUnavailableError):
            await done(runtime, own())
        assert runtime.budgets.used("imports") == 0


async def test_a_file_that_comes_after_all_was_deleted_is_not_imported(tmp_path: Path) -> None:
    async with running_app(settings_for(tmp_path)) as runtime:

        async def body() -> AsyncGenerator[bytes]:
            await runtime.history.forget(ALICE)
            yield json.dumps(own()).encode()

        with pytest.raises(UserError, match="Everything was deleted meanwhile"):
            await runtime.imports.begin(ALICE, TARGET, body())
        assert await titles(runtime) == []
        assert (runtime.imports.state(ALICE), runtime.budgets.used("imports")) == (None, 0)


async def test_an_import_that_is_left_by_a_program_ends_and_shows_no_half(tmp_path: Path) -> None:
    async with running_app(settings_for(tmp_path)) as runtime:
        imports, gate = gated(runtime), tmp_path / "gate"
        os.mkfifo(gate)
        run = imports.run(ALICE, TARGET, pieces(own(f"hold {gate}")))
        await anext(run)
        await run.aclose()
        assert runtime.budgets.used("imports") == 0
        assert imports.state(ALICE) is None
        assert await titles(runtime) == []
        assert list((tmp_path / "imports").iterdir()) == []


async def test_a_source_that_has_grown_is_imported_beside_the_former_one_and_that_is_said(
    tmp_path: Path,
) -> None:
    async with running_app(settings_for(tmp_path)) as runtime:
        first, more = ({"role": "user", "content": text} for text in ("x", "more"))
        await done(runtime, own("t", first, id="its"))
        again = await done(runtime, own("renamed", first, id="its"))
        assert again["sentence"] == "Nothing new: the conversation from this app was here already."
        grown = await done(runtime, own("t", first, more, id="its"), own("t", first, id="its"))
        assert grown["sentence"] == (
            "1 conversation from this app was imported. 1 was here already and was skipped. 1 "
            "conversation differs from the one that is here already; it was imported beside it."
        )
        other = await done(runtime, own("t", first, id="its"), principal=BOB)
        assert (other["imported"], other["skipped"]) == (1, 0)
        for item in [item async for item in runtime.history.conversations(ALICE)]:
            await runtime.history.delete(ALICE, item.conversation_id)
        assert (await done(runtime, own("t", first, id="its")))["imported"] == 1


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
        assert last["sentence"].endswith("2,500 were not: 2,500 have a form that is not known.")


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
