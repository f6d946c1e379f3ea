"""Two processes on one PostgreSQL: one turn at a time, one answer per request; its restart."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from cmw_agent.config.settings import Settings
from cmw_agent.core.errors import ConversationInUseError, ServiceUnavailableError
from cmw_agent.runtime.runtime import Runtime
from tests.contract.conftest import postgres_server
from tests.databases import postgres
from tests.doubles.openai_server import OpenAIDouble
from tests.harness import WAIT, settings_for
from tests.service import all_events, answer_text, running_app, session_of, turn_end, wait_until

__all__ = ["postgres_server"]  # a fixture is found by its name here

pytestmark = pytest.mark.slow


def with_postgres(folder: Path, url: str, endpoint: OpenAIDouble, model: str) -> Settings:
    return settings_for(folder, database_url=url, openai_base_url=endpoint.base_url, model=model)


async def texts(runtime: Runtime, conversation: str) -> list[tuple[str, str]]:
    session = await session_of(runtime, conversation=conversation)
    stored = await session.memory.messages(session.owner, conversation)
    return [(item.content, item.status) for item in stored]


async def test_of_two_processes_one_at_a_time_answers_in_a_conversation(
    tmp_path: Path, postgres_server: str
) -> None:
    async with OpenAIDouble() as endpoint:
        settings = with_postgres(tmp_path, postgres_server, endpoint, "gated-1")
        async with running_app(settings) as here, running_app(settings) as there:
            first = await session_of(here)
            conversation = str(first.conversation_id)
            second = await session_of(there, conversation=conversation)
            turn = here.chat.turn(first, "one two three", key="k1")
            running = asyncio.create_task(all_events(turn))
            await endpoint.wait_held()
            with pytest.raises(ConversationInUseError):
                await all_events(there.chat.turn(second, "another", key="k2"))
            endpoint.release_all()
            assert answer_text(await running) == "You said: one two three"
            # The other process goes on at once, with what the first one stored.
            following = asyncio.create_task(all_events(there.chat.turn(second, "four", key="k3")))
            await endpoint.wait_held()
            endpoint.release_all()
            assert answer_text(await following) == "You said: four"
            assert len(endpoint.requests) == 2
            seen = [m["content"] for m in endpoint.requests[-1].body["messages"][1:]]
            assert seen == ["one two three", "You said: one two three", "four"]


async def test_the_same_request_at_both_processes_is_answered_once(
    tmp_path: Path, postgres_server: str
) -> None:
    async with OpenAIDouble() as endpoint:
        settings = with_postgres(tmp_path, postgres_server, endpoint, "echo")
        async with running_app(settings) as here, running_app(settings) as there:
            first = await session_of(here)
            conversation = str(first.conversation_id)
            sessions = [
                (runtime, await session_of(runtime, conversation=conversation, page=str(n)))
                for runtime in (here, there)
                for n in range(5)
            ]
            answers = await asyncio.gather(
                *(
                    all_events(runtime.chat.turn(session, "once", key="k"))
                    for runtime, session in sessions
                )
            )
            assert endpoint.request_count == 1
            assert [text for text, _ in await texts(here, conversation)] == [
                "once",
                "You said: once",
            ]
            # Those who came while the first was being answered are told what there was then.
            found = [answer_text(events) for events in answers]
            assert "You said: once" in found
            assert all("You said: once".startswith(text) for text in found)


@pytest.fixture
def own_server() -> Iterator[Any]:
    with postgres() as server:
        yield server


async def test_a_restart_of_the_database_costs_the_turns_meanwhile_and_nothing_else(
    tmp_path: Path, own_server: Any
) -> None:
    async with OpenAIDouble() as endpoint:
        settings = with_postgres(tmp_path, own_server.get_uri(), endpoint, "echo")
        async with running_app(settings) as runtime:
            session = await session_of(runtime)
            assert answer_text(await all_events(runtime.chat.turn(session, "before", key="k1")))
            await asyncio.to_thread(own_server.stop)
            with pytest.raises(ServiceUnavailableError):
                await all_events(runtime.chat.turn(session, "meanwhile", key="k2"))
            assert await runtime.readiness() == "not ready"
            await asyncio.to_thread(own_server.start)
            async with asyncio.timeout(WAIT):
                while await runtime.readiness() != "ready":  # noqa: ASYNC110 (there is no event to wait for)
                    await asyncio.sleep(0.1)
            events = await all_events(runtime.chat.turn(session, "meanwhile", key="k2"))
            assert turn_end(events).outcome == "complete"
            assert await texts(runtime, str(session.conversation_id)) == [
                ("before", "complete"),
                ("You said: before", "complete"),
                ("meanwhile", "complete"),
                ("You said: meanwhile", "complete"),
            ]


async def test_connections_that_the_server_cuts_are_made_again(
    tmp_path: Path, postgres_server: str
) -> None:
    async with OpenAIDouble() as endpoint:
        settings = with_postgres(tmp_path, postgres_server, endpoint, "gated-1")
        async with running_app(settings) as runtime:
            session = await session_of(runtime)
            running = asyncio.create_task(
                all_events(runtime.chat.turn(session, "held here", key="k1"))
            )
            await endpoint.wait_held()
            server = await asyncpg.connect(postgres_server)
            await server.execute(
                "SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity "  # and is waited for
                "WHERE pid <> pg_backend_pid() AND usename = current_user AND datname = current_database()"
            )
            await server.close()
            endpoint.release_all()
            ended = turn_end(await running)
            if ended.outcome != "complete":  # it was told, and the lease runs out
                assert ended.error_id
            fresh = await session_of(runtime, page="next")
            following = asyncio.create_task(all_events(runtime.chat.turn(fresh, "again", key="k2")))
            await endpoint.wait_held("again")
            endpoint.release_all()
            assert turn_end(await following).outcome == "complete"
            await wait_until(lambda: runtime.chat.running == 0)
