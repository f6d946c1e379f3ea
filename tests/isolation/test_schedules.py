"""Isolation: a recurring task belongs to its owner alone and runs as that owner."""

import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from cmw_agent.conversations.sessions import LiveSession
from cmw_agent.identity.principals import Principal, SessionKey
from cmw_agent.runtime.runtime import Runtime
from cmw_agent.schedules.toolset import NAMES
from memory.records import new_conversation_id
from tests.doubles.openai_server import OpenAIDouble
from tests.harness import Browser, canary, last_text, settings_for
from tests.isolation.test_tools import asked, conversation_of
from tests.isolation.toolhouse import app_with_tools, new_visitor, obedient, settle_approval
from tests.logbook import logbook
from tests.rows import rows
from tests.scheduled import FakeClock, RecordingObserver, run_due, schedule_store, scheduler_of
from tests.service import (
    all_events,
    answer_text,
    live_sessions,
    running_app,
    session_of,
    wait_until,
)

EVERY_TASK = "SELECT * FROM agent_schedules"
FAR = FakeClock().far


def scheduling(task: str, **more: str) -> str:
    arguments = {"when": FAR, "task": task, **more}
    return f"do schedule_task {json.dumps(arguments)}"


async def test_nobody_sees_or_cancels_another_s_task(tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        house = await stack.enter_async_context(app_with_tools(tmp_path, approval="none"))
        a, b = [await new_visitor(stack, house) for _ in range(2)]
        secret = canary()
        assert "Scheduled" in last_text((await a.send(f"/schedule {FAR}: {secret}")).value)
        (row,) = rows(tmp_path, EVERY_TASK)
        hers = row["schedule_id"]
        assert secret in last_text((await a.send("/schedule list")).value)
        for text in ("/schedule list", "/schedule", "do list_schedules {}"):
            assert "no recurring tasks" in last_text((await b.send(text)).value)
        for which in ("1", hers):
            refused = last_text((await b.send(f"/schedule cancel {which}")).value)
            assert "no recurring task of that number" in refused
            await b.send(f"do cancel_schedule {json.dumps({'number': which})}")
        assert rows(tmp_path, EVERY_TASK) == [row]
        assert secret.encode() not in b.received
        assert "Cancelled" in last_text((await a.send(f"/schedule cancel {hers}")).value)
        assert rows(tmp_path, EVERY_TASK) == []


async def test_a_model_that_names_another_user_schedules_for_its_own(tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        house = await stack.enter_async_context(app_with_tools(tmp_path, approval="none"))
        a, b = [await new_visitor(stack, house) for _ in range(2)]
        theirs = conversation_of(await b.send("hello"))
        (victim,) = rows(tmp_path, "SELECT * FROM agent_sessions")
        named = {"user_id": victim["owner_id"], "owner": victim["owner_id"]}
        event = await a.send(scheduling("x", **named, conversation=theirs, session_id=theirs))
        (row,) = rows(tmp_path, EVERY_TASK)
        assert row["owner_id"] != victim["owner_id"]
        assert row["session_id"] == conversation_of(event)
        assert row["session_id"] != theirs


async def test_scheduling_waits_for_its_user_s_word(tmp_path: Path) -> None:
    async with app_with_tools(tmp_path) as house, Browser(house.app.url) as browser:
        tab = await browser.open()
        for answer, count in (("denied", 0), ("approved", 1)):
            running, conversation, call = await asked(house, tab, scheduling("news"))
            assert rows(tmp_path, EVERY_TASK) == []
            assert await settle_approval(tab, conversation, call, answer) == 200
            await running
            assert len(rows(tmp_path, EVERY_TASK)) == count
        listed = last_text((await tab.send("do list_schedules {}")).value)
        assert f"every day at {int(FAR.split()[-1]):02}:00" in listed


async def test_a_run_is_its_owner_s_in_every_respect(tmp_path: Path) -> None:
    """Model, tools and memory get to know the owner who made the task, and nobody else."""
    async with contextlib.AsyncExitStack() as stack:
        house = await stack.enter_async_context(app_with_tools(tmp_path))
        runtime, clock, heard = house.app.application.runtime, FakeClock(), RecordingObserver()
        tabs = {name: await new_visitor(stack, house) for name in ("alice", "bob", "carol")}
        secrets = {name: canary() for name in tabs}
        for name, tab in tabs.items():
            await house.connect(tab)
            house.composio.tasks[house.user_of(tab)] = [secrets[name]]
            await tab.send(f"My secret word is {name}-{secrets[name]}.")
            task = f"{name} do ASANA_GET_TASKS {{}} and ASANA_CREATE_TASK {{}}"
            await tab.send(f"/schedule {clock.far}: {task}")
        before = len(house.endpoint.requests)
        clock.jump()
        scheduler = scheduler_of(runtime, clock, heard)
        await run_due(scheduler)
        assert heard.outcomes == ["complete"] * 3
        owners = {}
        for name, tab in tabs.items():
            (turn,) = rows(
                tmp_path,
                "SELECT m.*, s.owner_id AS owner FROM agent_messages m JOIN agent_sessions s"
                " ON s.session_id = m.session_id WHERE m.role = 'user' AND m.content LIKE ?",
                f"⏰ {name}%",
            )
            owners[name] = turn["owner"]
            own = rows(
                tmp_path,
                "SELECT * FROM agent_messages WHERE session_id = ? ORDER BY seq",
                turn["session_id"],
            )
            whole = json.dumps(own)
            assert secrets[name] in own[-1]["content"]
            assert not [
                other for other in secrets.values() if other != secrets[name] and other in whole
            ]
            assert house.user_of(tab) in {
                user for call in house.composio.to("POST /tools/execute") for user in call.user_ids
            }
        # Nobody was there to approve, so nothing was changed.
        assert all(len(tasks) == 1 for tasks in house.composio.tasks.values())
        asked_for = house.endpoint.requests[before:]
        assert len(asked_for) == 6
        for request in asked_for:
            (name,) = [name for name in tabs if f"⏰ {name}" in request.last_user]
            said = json.dumps(request.body, ensure_ascii=False)
            assert [s for s in secrets.values() if s in said] == [secrets[name]]
        identifiers = {
            name: {r.body["safety_identifier"] for r in asked_for if f"⏰ {name}" in r.last_user}
            for name in tabs
        }
        assert all(len(found) == 1 for found in identifiers.values())
        assert len(set.union(*identifiers.values())) == 3
        for name in tabs:
            told = {
                r.body["safety_identifier"]
                for r in house.endpoint.requests[:before]
                if f"{name}-" in r.last_user
            }
            assert told == identifiers[name]
        assert len(set(owners.values())) == 3
        live = live_sessions(runtime).values()
        assert all(session.can_ask for session in live)  # the runs' own sessions are gone


@contextlib.asynccontextmanager
async def obeying(folder: Path, **changes: Any) -> AsyncIterator[tuple[Runtime, OpenAIDouble]]:
    """The app's insides with a model that calls the tools it is told to."""
    async with OpenAIDouble(scripts={"obedient": obedient}) as endpoint:
        values = {"openai_base_url": endpoint.base_url, "model": "obedient", **changes}
        async with running_app(settings_for(folder, **values)) as runtime:
            yield runtime, endpoint


async def say(runtime: Runtime, session: LiveSession, text: str) -> str:
    return answer_text(await all_events(runtime.chat.turn(session, text, key=canary())))


async def test_with_nobody_there_no_task_schedules_another(tmp_path: Path) -> None:
    clock, heard = FakeClock(), RecordingObserver()
    async with obeying(tmp_path) as (runtime, _):
        session = await session_of(runtime)
        await say(runtime, session, f"/schedule {clock.far}: {scheduling('more')}")
        clock.jump()
        await run_due(scheduler_of(runtime, clock, heard))
        assert heard.outcomes == ["complete"]
        assert len(rows(tmp_path, EVERY_TASK)) == 1
        (answer,) = rows(tmp_path, "SELECT content FROM agent_messages ORDER BY seq DESC LIMIT 1")
        assert "denied" in answer["content"]


async def test_the_tools_of_all_runs_are_the_same_and_name_nobody(tmp_path: Path) -> None:
    async with obeying(tmp_path) as (runtime, endpoint):
        for name in ("alice", "bob"):
            await say(runtime, await session_of(runtime, name), "hello")
        first, second = [request.body["tools"] for request in endpoint.requests]
        assert first == second
        mine = [tool for tool in first if tool["function"]["name"] in NAMES]
        assert len(mine) == len(NAMES)
        parameters = {key for tool in mine for key in tool["function"]["parameters"]["properties"]}
        assert parameters == {"when", "task", "time_zone", "number"}


async def test_who_is_not_kept_can_schedule_nothing(tmp_path: Path) -> None:
    async with obeying(tmp_path, approval="none") as (runtime, endpoint):
        stranger = Principal("e" + "0" * 32, "ephemeral")
        session = await runtime.registry.session(SessionKey("0" * 64), stranger)
        session.conversation_id = new_conversation_id()
        assert "keeps no cookie" in await say(runtime, session, "/schedule every hour: x")
        await say(runtime, session, scheduling("x"))
        assert rows(tmp_path, EVERY_TASK) == []
        names = {tool["function"]["name"] for tool in endpoint.requests[-1].body["tools"]}
        assert not names & set(NAMES)


async def test_deleting_everything_deletes_one_s_own_tasks(tmp_path: Path) -> None:
    clock, heard = FakeClock(), RecordingObserver()
    async with obeying(tmp_path) as (runtime, _):
        a, b = [await session_of(runtime, name) for name in ("alice", "bob")]
        for session in (a, b):
            await say(runtime, session, f"/schedule {clock.far}: news")
        await runtime.history.forget(a.principal)
        (left,) = rows(tmp_path, EVERY_TASK)
        assert left["owner_id"] == b.owner
        clock.jump()
        await run_due(scheduler_of(runtime, clock, heard))
        assert heard.outcomes == ["complete"]
        (session_row,) = rows(tmp_path, "SELECT * FROM agent_sessions")
        assert session_row["owner_id"] == b.owner


async def test_a_run_s_line_names_its_task_and_its_owner_and_nobody_else_s(tmp_path: Path) -> None:
    clock, heard = FakeClock(), RecordingObserver()
    async with obeying(tmp_path) as (runtime, _):
        sessions = [await session_of(runtime, name) for name in ("alice", "bob")]
        for session in sessions:
            await say(runtime, session, f"/schedule {clock.far}: news")
        tasks = {row["owner_id"]: row["schedule_id"] for row in rows(tmp_path, EVERY_TASK)}
        clock.jump()
        with logbook() as book:
            await run_due(scheduler_of(runtime, clock, heard))
            # a turn's line comes after its last event, which its run waits for
            await wait_until(lambda: book.text.count("turn ended") == 2)
        assert heard.outcomes == ["complete"] * 2
        lines = [line for line in book.lines if "turn ended" in line]
        assert len(lines) == 2
        for session in sessions:
            (line,) = [line for line in lines if session.principal.log_name in line]
            assert f" request={tasks[session.owner][:12]} " in line
            assert not any(task in book.text for task in tasks.values())  # which cancels it


async def test_a_run_that_fails_names_its_owner_as_all_lines_do(tmp_path: Path) -> None:
    clock, heard = FakeClock(), RecordingObserver()
    async with obeying(tmp_path) as (runtime, _):
        await say(runtime, await session_of(runtime), f"/schedule {clock.far}: news")
        clock.jump()
        claimed = await schedule_store(runtime, clock).claim_due()
        assert claimed is not None
        stranger = Principal("e" + "0" * 32, "ephemeral")  # as whom no task can run
        with logbook() as book:
            await scheduler_of(runtime, clock, heard)._run(replace(claimed, owner=stranger.id))
        assert heard.outcomes == ["failed"]
        (line,) = [line for line in book.lines if "recurring task failed" in line]
        assert f" principal={stranger.log_name} cause=ValueError" in line
        assert stranger.id not in book.text
