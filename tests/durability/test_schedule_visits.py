"""Visitors' recurring tasks end, with a note, when their owners have not come for a month."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from cmw_agent.identity.principals import Principal
from cmw_agent.runtime.scheduler import ENDED
from tests.harness import Browser, canary, served, settings_for
from tests.rows import rows
from tests.scheduled import FakeClock, RecordingObserver, schedule_store, scheduler_of
from tests.service import all_events, answer_text, live_sessions, running_app, session_of

OLD = "2001-01-01 00:00:00.000000"
VISITED = "SELECT visited_at FROM agent_schedules"


async def test_an_unvisited_task_ends_with_a_note_and_an_accounts_goes_on(tmp_path: Path) -> None:
    clock, heard = FakeClock(), RecordingObserver()
    async with running_app(settings_for(tmp_path)) as runtime:
        session = await session_of(runtime)
        turn = runtime.chat.turn(session, "/schedule every day at 9: the news", key=canary())
        assert "Scheduled" in answer_text(await all_events(turn))
        scheduler = scheduler_of(runtime, clock, heard)
        clock.advance(days=29)
        assert await scheduler.end_unvisited() == 0
        clock.advance(days=2)
        assert await scheduler.end_unvisited() == 1
        assert await scheduler.end_unvisited() == 0
        assert await schedule_store(runtime, clock).of_owner(session.owner) == []
        conversation = session.conversation_id or ""
        *_, question, note = await session.memory.messages(session.owner, conversation)
        assert (question.content, note.content) == ("⏰ the news", ENDED)
        assert (note.status, note.tokens_used) == ("complete", None)


async def test_who_writes_or_opens_the_page_has_been_here(tmp_path: Path) -> None:
    async with served(settings_for(tmp_path)) as app, Browser(app.url) as alice:
        tab = await alice.open()
        await tab.send("/schedule every day at 9: the news")
        assert len(rows(tmp_path, VISITED)) == 1
        for visit in ("page", "message"):
            with closing(sqlite3.connect(tmp_path / "chat.db")) as connection, connection:
                connection.execute("UPDATE agent_schedules SET visited_at = ?", (OLD,))
            for session in live_sessions(app.application.runtime).values():
                session.visited_at = None
            if visit == "page":
                async with alice.http.get(f"{app.url}/history") as answer:
                    assert answer.status == 200
            else:
                await tab.send("hello")
            assert rows(tmp_path, VISITED)[0]["visited_at"] > OLD


@pytest.mark.parametrize(("kind", "visited"), [("visitor", True), ("account", False)])
async def test_only_a_visitors_task_needs_visits(
    tmp_path: Path, kind: str, *, visited: bool
) -> None:
    async with running_app(settings_for(tmp_path)) as runtime:
        session = await session_of(runtime)
        if kind == "account":
            owner = Principal("a" + "1" * 32, "account")
            key = session.key
            await runtime.registry.release(key, session.principal)
            session = await runtime.registry.session(key, owner)
            session.conversation_id = "c" * 22
        turn = runtime.chat.turn(session, "/schedule every day at 9: the news", key=canary())
        assert "Scheduled" in answer_text(await all_events(turn))
    (row,) = rows(tmp_path, VISITED)
    assert (row["visited_at"] is not None) == visited
