"""Recurring tasks run once for each due time, also when processes die, restart or are busy."""

import asyncio
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cmw_agent.conversations.sessions import LiveSession
from cmw_agent.core.errors import ServiceUnavailableError
from cmw_agent.runtime.runtime import Runtime
from cmw_agent.runtime.scheduler import Delivery
from cmw_agent.schedules.service import ScheduleService, ScheduleTarget
from memory.queues.schedules import MAX_FAILURES, Schedule
from tests.doubles.openai_server import OpenAIDouble
from tests.harness import Browser, canary, served, settings_for, texts
from tests.logbook import logbook
from tests.rows import messages, rows, sound
from tests.scheduled import (
    LEASE,
    FakeClock,
    RecordingObserver,
    run_due,
    schedule_store,
    scheduler_of,
)
from tests.service import all_events, answer_text, running_app, session_of

EVERY_TASK = "SELECT * FROM agent_schedules"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC).timestamp()


async def say(runtime: Runtime, session: LiveSession, text: str) -> str:
    return answer_text(await all_events(runtime.chat.turn(session, text, key=canary())))


async def scheduled(
    runtime: Runtime, clock: FakeClock, task: str = "the news", name: str = "alice"
) -> LiveSession:
    """A session of a user who has scheduled a task for a time that is far."""
    session = await session_of(runtime, name)
    assert "Scheduled" in await say(runtime, session, f"/schedule {clock.far}: {task}")
    return session


async def stored(runtime: Runtime, clock: FakeClock, session: LiveSession) -> Schedule:
    (found,) = await schedule_store(runtime, clock).of_owner(session.owner)
    return found


async def test_of_two_processes_one_runs_each_occasion(tmp_path: Path) -> None:
    clock, heard = FakeClock(), RecordingObserver()
    async with OpenAIDouble() as endpoint:
        settings = settings_for(tmp_path, openai_base_url=endpoint.base_url, model="echo")
        async with running_app(settings) as here, running_app(settings) as there:
            for n in range(10):
                await scheduled(here, clock, f"task {n}.", f"user {n}")
            schedulers = [scheduler_of(runtime, clock, heard) for runtime in (here, there)]
            for _ in range(2):
                clock.jump() if not heard.outcomes else clock.advance(days=1)
                await asyncio.gather(*(run_due(scheduler) for scheduler in schedulers))
            asked = [request.last_user for request in endpoint.requests]
            assert sorted(asked) == sorted(f"⏰ task {n}." for n in range(10) for _ in range(2))
            assert heard.outcomes == ["complete"] * 20
            assert {row["runs"] for row in rows(tmp_path, EVERY_TASK)} == {2}
    assert sound(tmp_path)


async def test_after_a_crash_an_occasion_is_not_run_again_and_the_list_says_so(
    tmp_path: Path,
) -> None:
    clock, heard = FakeClock(), RecordingObserver()
    async with running_app(settings_for(tmp_path)) as runtime:
        session = await scheduled(runtime, clock)
        clock.jump()
        assert await schedule_store(runtime, clock).claim_due() is not None  # and its process dies
        scheduler = scheduler_of(runtime, clock, heard)
        clock.advance(seconds=LEASE + 1)
        await run_due(scheduler)
        assert heard.outcomes == []
        book = ScheduleService(
            schedule_store(runtime, clock), runtime.settings, runtime.budgets.budget("tasks"), clock
        )
        assert ": interrupted" in await book.overview(session.owner, session.language)
        clock.advance(days=1)
        await run_due(scheduler)
        assert heard.outcomes == ["complete"]
        assert (await stored(runtime, clock, session)).failures == 0


async def test_a_task_that_cannot_be_stored_is_logged_under_the_error_id(tmp_path: Path) -> None:
    clock = FakeClock()
    with logbook() as log:
        async with running_app(settings_for(tmp_path)) as runtime:
            session = await scheduled(runtime, clock)
            with closing(sqlite3.connect(tmp_path / "chat.db")) as connection, connection:
                connection.execute("DROP TABLE agent_schedules")
            service = ScheduleService(
                schedule_store(runtime, clock),
                runtime.settings,
                runtime.budgets.budget("tasks"),
                clock,
            )
            assert session.conversation_id is not None
            target = ScheduleTarget(session.conversation_id)
            with pytest.raises(ServiceUnavailableError) as failed:
                await service.add(session.owner, target, "every day at 9", "the news")
    (line,) = log.naming(failed.value.error_id)
    assert "store failed" in line


async def test_an_occasion_that_is_claimed_twice_is_one_turn(tmp_path: Path) -> None:
    clock, heard = FakeClock(), RecordingObserver()
    async with running_app(settings_for(tmp_path)) as runtime:
        await scheduled(runtime, clock)
        clock.jump()
        claimed = await schedule_store(runtime, clock).claim_due()
        assert claimed is not None
        scheduler = scheduler_of(runtime, clock, heard)
        for _ in range(2):
            await scheduler._run(claimed)
        assert [row["content"] for row in messages(tmp_path, "⏰")].count("⏰ the news") == 1


async def test_what_was_missed_is_made_up_for_within_the_hour_and_reported_later(
    tmp_path: Path,
) -> None:
    clock, heard = FakeClock(), RecordingObserver()
    async with running_app(settings_for(tmp_path)) as runtime:
        session = await scheduled(runtime, clock)
        clock.jump()
        runs = [["complete"], ["interrupted"], ["interrupted"], ["complete"]]
        for hours, outcomes in zip((0.9, 24.2, 49.0, 22.5), runs, strict=True):
            heard.outcomes.clear()
            clock.advance(hours=hours)
            await run_due(scheduler_of(runtime, clock, heard))
            assert heard.outcomes == outcomes
            upcoming = (await stored(runtime, clock, session)).next_run_at
            assert clock.now < upcoming < clock.now + timedelta(days=1)


async def test_missed_runs_are_reported_where_the_task_answers_once(tmp_path: Path) -> None:
    clock, heard, sent = FakeClock(), RecordingObserver(), list[Delivery]()

    async def deliver(delivery: Delivery) -> None:
        sent.append(delivery)

    async with running_app(settings_for(tmp_path)) as runtime:
        session = await session_of(runtime)
        session.channel = "whatsapp"
        await say(runtime, session, f"/schedule {clock.far}: the news")
        clock.jump()
        clock.advance(days=2, hours=2)
        for _ in range(2):
            await run_due(scheduler_of(runtime, clock, heard, deliver=deliver))
        (report,) = sent
        assert "did not run 3 times, from " in report.text
        assert (report.owner, report.channel) == (session.owner, "whatsapp")
        conversation = session.conversation_id or ""
        *_, question, note = await session.memory.messages(session.owner, conversation)
        assert (question.content, note.content) == ("⏰ the news", report.text)
        assert (await stored(runtime, clock, session)).failures == 0


async def test_missed_runs_are_reported_when_the_conversation_is_free_again(
    tmp_path: Path,
) -> None:
    clock, heard = FakeClock(), RecordingObserver()
    async with OpenAIDouble() as endpoint:
        settings = settings_for(tmp_path, openai_base_url=endpoint.base_url, model="gated-1")
        async with running_app(settings) as runtime:
            session = await scheduled(runtime, clock)
            scheduler = scheduler_of(runtime, clock, heard)
            talking = asyncio.create_task(say(runtime, session, "one two"))
            await endpoint.wait_held()
            clock.jump()
            clock.advance(hours=2)
            await run_due(scheduler)
            assert heard.outcomes == ["postponed"]
            endpoint.release_all()
            await talking
            clock.advance(seconds=61)
            await run_due(scheduler)
            assert heard.outcomes == ["postponed", "interrupted"]
            assert "did not run on" in messages(tmp_path, "⏰")[-1]["content"]


async def test_a_starting_app_runs_what_is_due_by_itself(tmp_path: Path) -> None:
    clock = FakeClock()
    async with OpenAIDouble() as endpoint:
        settings = settings_for(tmp_path, openai_base_url=endpoint.base_url, model="echo")
        async with running_app(settings) as runtime:
            session = await scheduled(runtime, clock)
        with closing(sqlite3.connect(tmp_path / "chat.db")) as connection, connection:
            due = clock.now.strftime("%Y-%m-%d %H:%M:%S.%f")
            connection.execute("UPDATE agent_schedules SET next_run_at = ?", (due,))
        async with running_app(settings):
            await endpoint.wait_requests(1)
            await endpoint.wait_idle()
        assert [m["content"] for m in messages(tmp_path, "⏰")][-2] == "⏰ the news"
        assert session.owner == rows(tmp_path, EVERY_TASK)[0]["owner_id"]


async def test_a_run_that_the_end_of_the_app_cuts_off_is_kept_and_is_no_failure(
    tmp_path: Path,
) -> None:
    clock, heard = FakeClock(), RecordingObserver()
    async with OpenAIDouble() as endpoint:
        settings = settings_for(tmp_path, openai_base_url=endpoint.base_url, model="gated-1")
        async with running_app(settings) as runtime:
            session = await scheduled(runtime, clock, "one two three")
            clock.jump()
            scheduler = scheduler_of(runtime, clock, heard)
            await scheduler.tick()
            await endpoint.wait_held()
            await scheduler.close()
            task = await stored(runtime, clock, session)
            assert (task.last_outcome, task.failures, task.runs) == ("interrupted", 0, 0)
            await run_due(scheduler)
            assert endpoint.request_count == 1
    assert messages(tmp_path, "⏰")[-1]["status"] == "interrupted"
    assert {row["state"] for row in rows(tmp_path, "SELECT state FROM agent_turns")} == {
        "complete",
        "interrupted",
    }


async def test_a_busy_conversation_is_tried_again_a_minute_later(tmp_path: Path) -> None:
    clock, heard = FakeClock(), RecordingObserver()
    async with OpenAIDouble() as endpoint:
        settings = settings_for(tmp_path, openai_base_url=endpoint.base_url, model="gated-1")
        async with running_app(settings) as runtime:
            session = await scheduled(runtime, clock)
            scheduler = scheduler_of(runtime, clock, heard)
            talking = asyncio.create_task(say(runtime, session, "one two"))
            await endpoint.wait_held()
            clock.jump()
            await run_due(scheduler)
            await run_due(scheduler)
            assert heard.outcomes == ["postponed"]
            endpoint.release_all()
            await talking
            clock.advance(seconds=61)
            await scheduler.tick()
            await endpoint.wait_held("⏰")
            endpoint.release_all()
            await scheduler.rest()
            assert heard.outcomes == ["postponed", "complete"]
            assert (await stored(runtime, clock, session)).next_run_at > clock.now


async def test_while_the_app_drains_a_task_stays_due_for_another_process(tmp_path: Path) -> None:
    clock, heard = FakeClock(), RecordingObserver()
    settings = settings_for(tmp_path)
    async with running_app(settings) as leaving, running_app(settings) as staying:
        await scheduled(leaving, clock)
        clock.jump()
        await leaving.chat.drain(0)
        await run_due(scheduler_of(leaving, clock, heard))
        assert heard.outcomes == []
        assert await schedule_store(leaving, clock).is_due()
        await run_due(scheduler_of(staying, clock, heard))
        assert heard.outcomes == ["complete"]


async def test_the_owner_s_limits_hold_and_are_no_failure(tmp_path: Path) -> None:
    clock, heard = FakeClock(), RecordingObserver()
    async with OpenAIDouble() as endpoint:
        settings = settings_for(
            tmp_path, openai_base_url=endpoint.base_url, model="echo", tokens_per_day=5
        )
        async with running_app(settings) as runtime:
            # In the last minute of a day the next one would be near enough to wait for.
            runtime.services.dependencies.limits._clock = lambda: NOON
            session = await scheduled(runtime, clock)
            scheduler = scheduler_of(runtime, clock, heard)
            clock.jump()
            await run_due(scheduler)
            clock.advance(days=1)  # but the day of the limits stays
            await run_due(scheduler)
            assert heard.outcomes == ["complete", "limited"]
            assert endpoint.request_count == 1
            task = await stored(runtime, clock, session)
            assert (task.failures, task.runs, task.last_outcome) == (0, 1, "limited")


async def test_a_task_that_always_fails_is_stopped_and_its_user_is_told(tmp_path: Path) -> None:
    clock, heard = FakeClock(), RecordingObserver()
    async with OpenAIDouble() as endpoint:
        settings = settings_for(tmp_path, openai_base_url=endpoint.base_url, model="fail-401")
        async with running_app(settings) as runtime:
            session = await scheduled(runtime, clock)
            scheduler = scheduler_of(runtime, clock, heard)
            clock.jump()
            for _ in range(MAX_FAILURES + 2):
                await run_due(scheduler)
                clock.advance(days=1)
            assert heard.outcomes == ["failed"] * MAX_FAILURES
            assert "**stopped**" in await say(runtime, session, "/schedule list")


async def test_a_task_whose_conversation_is_gone_makes_none(tmp_path: Path) -> None:
    clock, heard = FakeClock(), RecordingObserver()
    async with running_app(settings_for(tmp_path)) as runtime:
        session = await scheduled(runtime, clock)
        clock.jump()
        claimed = await schedule_store(runtime, clock).claim_due()
        assert claimed is not None
        await runtime.history.forget(session.principal)
        await scheduler_of(runtime, clock, heard)._run(claimed)
        assert rows(tmp_path, "SELECT * FROM agent_sessions") == []
        assert rows(tmp_path, EVERY_TASK) == []


async def test_the_answer_is_handed_to_the_channel_with_whom_it_is_for(tmp_path: Path) -> None:
    clock, heard, sent = FakeClock(), RecordingObserver(), list[Delivery]()

    async def deliver(delivery: Delivery) -> None:
        sent.append(delivery)

    async with running_app(settings_for(tmp_path)) as runtime:
        session = await session_of(runtime)
        session.channel = "whatsapp"
        await say(runtime, session, f"/schedule {clock.far}: What is 2 + 2?")
        clock.jump()
        await run_due(scheduler_of(runtime, clock, heard, deliver=deliver))
        (delivery,) = sent
        assert (delivery.owner, delivery.channel) == (session.owner, "whatsapp")
        assert "4" in delivery.text


async def test_an_open_page_shows_what_came_meanwhile_with_its_next_turn(tmp_path: Path) -> None:
    clock, heard = FakeClock(), RecordingObserver()
    async with served(settings_for(tmp_path)) as app, Browser(app.url) as browser:
        tab = await browser.open()
        asked = f"/schedule {clock.far}: the news"
        await tab.send(asked)
        clock.jump()
        await run_due(scheduler_of(app.application.runtime, clock, heard))
        shown = texts((await tab.send("and now")).value, "user")
        assert shown == [asked, "⏰ the news", "and now"]
