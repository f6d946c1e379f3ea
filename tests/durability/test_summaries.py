"""Messages outside the context window are summarised in the background, once, for their owner."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from cmw_agent.agent.agent import SUMMARISE
from cmw_agent.chat.service import ChatService
from cmw_agent.conversations.sessions import LiveSession
from tests.doubles.openai_server import OpenAIDouble
from tests.doubles.openai_steps import Gate, Request, Step, Text
from tests.harness import canary, settings_for
from tests.rows import rows
from tests.service import all_events, running_app, session_of, turn_end, wait_until

BACK = "I am back"
LONG = "lorem ipsum dolor sit amet " * 12


def is_summary(request: Request) -> bool:
    return bool(request.body["messages"][0]["content"] == SUMMARISE)


def system(request: Request) -> str:
    return str(request.body["messages"][0]["content"])


def notes(request: Request) -> Sequence[Step]:
    """Notes that tell what they were made of; answers as long as the questions."""
    if not is_summary(request):
        return [Text([LONG])]
    found = [word for word in request.last_user.split() if word.startswith("canary-")]
    return [Text([f"NOTES {' '.join(dict.fromkeys(found))}"])]


def held_notes(request: Request) -> Sequence[Step]:
    is_held = is_summary(request) or request.last_user == BACK
    return [Gate(), *notes(request)] if is_held else notes(request)


def at_rest(chat: ChatService) -> bool:
    """Whether no summary is being made and none waits for a pause."""
    return not chat._summaries._tasks and not chat._summaries._pauses


async def talk(chat: ChatService, session: LiveSession, *said: str) -> None:
    for text in said:
        assert (
            turn_end(await all_events(chat.turn(session, text, key=canary()))).outcome == "complete"
        )


@pytest.mark.parametrize("turns", [12])
async def test_the_agent_still_knows_the_beginning_of_a_long_chat(
    tmp_path: Path, turns: int
) -> None:
    first, hers = canary(), canary()
    async with OpenAIDouble(scripts={"notes": notes}) as endpoint:
        settings = settings_for(
            tmp_path, openai_base_url=endpoint.base_url, model="notes", history_tokens=600
        )
        async with running_app(settings) as runtime:
            alice = await session_of(runtime, "alice")
            bob = await session_of(runtime, "bob")
            await talk(runtime.chat, bob, hers, *(LONG for _ in range(turns)))
            await talk(runtime.chat, alice, first, *(LONG for _ in range(turns)))
            await wait_until(lambda: at_rest(runtime.chat))
            await talk(runtime.chat, alice, *(LONG for _ in range(turns)))
            await wait_until(lambda: at_rest(runtime.chat))
            await talk(runtime.chat, alice, "What did I say first?")
        asked = endpoint.requests[-1]
        assert not is_summary(asked)
        assert first not in str(asked.body["messages"][1:])
        assert first in system(asked)
        for request in endpoint.requests:
            whole = str(request.body)
            assert not (first in whole and hers in whole)
        parts = [r.last_user for r in endpoint.requests if is_summary(r) and first in r.last_user]
        assert len(parts) > 1
        # A later part is made of the notes before it and of new messages, never of old ones.
        assert sum(f"User: {first}" in part for part in parts) == 1


async def test_a_conversation_is_summarised_by_the_model_that_answers_in_it(
    tmp_path: Path,
) -> None:
    scripts = {"notes": notes}
    async with OpenAIDouble(scripts=scripts) as first, OpenAIDouble(scripts=scripts) as own:
        (tmp_path / "agents.toml").write_text(
            f"""
            [[models]]
            id = "own"
            name = "notes"
            endpoint = "{own.base_url}"
            [[agents]]
            id = "assistant"
            model = "own"
            """
        )
        settings = settings_for(
            tmp_path, openai_base_url=first.base_url, model="notes", history_tokens=600
        )
        async with running_app(settings) as runtime:
            await talk(runtime.chat, await session_of(runtime), *(LONG for _ in range(12)))
            await wait_until(lambda: at_rest(runtime.chat))
        assert any(map(is_summary, own.requests))
        assert not first.requests


async def test_nobody_waits_for_a_summary_and_a_new_turn_stops_it(tmp_path: Path) -> None:
    async with OpenAIDouble(scripts={"notes": held_notes}) as endpoint:
        settings = settings_for(
            tmp_path, openai_base_url=endpoint.base_url, model="notes", history_tokens=600
        )
        async with running_app(settings) as runtime:
            alice = await session_of(runtime, "alice")
            while not any(is_summary(r) for r in endpoint.requests):
                await talk(runtime.chat, alice, LONG)
                await asyncio.sleep(0)
                await wait_until(
                    lambda: at_rest(runtime.chat) or any(is_summary(r) for r in endpoint.requests)
                )
            await endpoint.wait_held()
            aborted = endpoint.aborted_count
            talking = asyncio.create_task(talk(runtime.chat, alice, BACK))
            await endpoint.wait_held(BACK)  # though nobody has let the summary go on
            await endpoint.wait_aborted(aborted + 1)
            await wait_until(lambda: at_rest(runtime.chat))
            endpoint.release(BACK)
            await talking
            await endpoint.wait_held()  # and is taken up again after the turn
        # The end of the app waits for none either, and leaves no claim behind.
        found = rows(tmp_path, "SELECT summary, summarising_until FROM agent_sessions")
        assert [(row["summary"], row["summarising_until"]) for row in found] == [(None, None)]


async def test_a_summary_that_fails_is_no_failure_of_the_chat(tmp_path: Path) -> None:
    def failing(request: Request) -> Sequence[Step]:
        if is_summary(request):
            return [Text(["   "])]
        return notes(request)

    async with OpenAIDouble(scripts={"notes": failing}) as endpoint:
        settings = settings_for(
            tmp_path, openai_base_url=endpoint.base_url, model="notes", history_tokens=600
        )
        async with running_app(settings) as runtime:
            alice = await session_of(runtime, "alice")
            await talk(runtime.chat, alice, *(LONG for _ in range(10)))
            await wait_until(lambda: at_rest(runtime.chat))
        assert any(is_summary(r) for r in endpoint.requests)
        assert rows(tmp_path, "SELECT 1 FROM agent_sessions WHERE summary IS NOT NULL") == []
