"""Daily token limits: used tokens are charged, however an answer ends."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from cmw_agent.agent.agent import SUMMARISE
from cmw_agent.chat.turn import TurnReader
from cmw_agent.conversations.sessions import LiveSession
from cmw_agent.core.events import TextDelta
from cmw_agent.limits.limiter import RateLimitError, _digest
from cmw_agent.llm.chat_model import HistoryMessage
from cmw_agent.runtime.runtime import Runtime
from tests.doubles.openai_server import OpenAIDouble
from tests.doubles.openai_steps import Gate, Plain, Request, Step, Stop, Text
from tests.harness import canary, settings_for
from tests.rows import rows
from tests.service import all_events, running_app, session_of, turn_end, wait_until

LONG = "lorem ipsum dolor sit amet " * 40  # some 270 tokens
DAY = 200


def slow(_request: Request) -> Sequence[Step]:
    return [Text(["one ", "two "]), Gate(), Text(["three"])]


def silent(_request: Request) -> Sequence[Step]:
    return [Text(["one ", "two "]), Stop()]


def refusing(_request: Request) -> Sequence[Step]:
    return [Plain(401, b"{}")]


def is_summary(request: Request) -> bool:
    return bool(request.body["messages"][0]["content"] == SUMMARISE)


SCRIPTS = {"slow": slow, "silent": silent, "refusing": refusing}


@contextlib.asynccontextmanager
async def limited(
    folder: Path, model: str = "slow", **changes: Any
) -> AsyncIterator[tuple[Runtime, OpenAIDouble]]:
    """The app's insides with a limit of tokens, before an endpoint that the test holds."""
    async with OpenAIDouble(scripts=SCRIPTS) as endpoint:
        settings = settings_for(
            folder,
            **{"openai_base_url": endpoint.base_url, "model": model, "tokens_per_day": DAY}
            | changes,
        )
        async with running_app(settings) as runtime:
            yield runtime, endpoint


def begun(runtime: Runtime, session: LiveSession, channel: str) -> TurnReader:
    if channel == "stateless":
        return runtime.chat.complete(session, [HistoryMessage("user", LONG)])
    return runtime.chat.turn(session, LONG, key=canary())


async def charged(runtime: Runtime, session: LiveSession) -> int:
    """Return how many tokens of the day the session's owner has been charged."""
    limits = runtime.chat._dependencies.limits
    tokens = limits._tokens
    assert tokens is not None
    counters = limits._backend._local
    key = _digest(session.owner)
    return (
        tokens.amount
        - (await counters.fixed.get_window_stats(tokens, key, limits._day())).remaining
    )


async def stopped(turn: TurnReader) -> None:
    """Read a turn to its first words, then stop it."""
    async with turn:
        async for event in turn:
            if isinstance(event, TextDelta):
                turn.stop()
                return


@pytest.mark.parametrize("channel", ["kept", "stateless"])
async def test_an_answer_that_is_stopped_is_charged_what_it_took(
    tmp_path: Path, channel: str
) -> None:
    async with limited(tmp_path) as (runtime, _):
        session = await session_of(runtime)
        await runtime.chat.admit(session.principal, None)
        await stopped(begun(runtime, session, channel))
        with pytest.raises(RateLimitError, match="You have used today's 200 tokens"):
            await runtime.chat.admit(session.principal, None)
        await runtime.chat.admit((await session_of(runtime, "bob")).principal, None)


@pytest.mark.parametrize("channel", ["kept", "stateless"])
async def test_an_answer_that_is_stopped_before_its_first_word_is_charged_its_prompt(
    tmp_path: Path, channel: str
) -> None:
    async with limited(tmp_path, "gated-0") as (runtime, endpoint):
        session = await session_of(runtime)
        turn = begun(runtime, session, channel)
        await endpoint.wait_held()
        turn.stop()
        await turn.ended()
        with pytest.raises(RateLimitError):
            await runtime.chat.admit(session.principal, None)


@pytest.mark.parametrize("channel", ["kept", "stateless"])
@pytest.mark.parametrize("model", ["cut-3", "truncated-3", "silent"])
async def test_an_answer_that_breaks_or_is_not_counted_is_charged(
    tmp_path: Path, model: str, channel: str
) -> None:
    async with limited(tmp_path, model) as (runtime, _):
        session = await session_of(runtime)
        await all_events(begun(runtime, session, channel))
        with pytest.raises(RateLimitError):
            await runtime.chat.admit(session.principal, None)


@pytest.mark.parametrize("channel", ["kept", "stateless"])
async def test_a_request_that_the_endpoint_refuses_is_not_charged(
    tmp_path: Path, channel: str
) -> None:
    async with limited(tmp_path, "refusing") as (runtime, _):
        session = await session_of(runtime)
        assert turn_end(await all_events(begun(runtime, session, channel))).outcome == "failed"
        await runtime.chat.admit(session.principal, None)


@pytest.mark.parametrize(("model", "is_estimate"), [("slow", 1), ("echo", 0)])
async def test_an_estimate_is_stored_as_one(tmp_path: Path, model: str, is_estimate: int) -> None:
    async with limited(tmp_path, model) as (runtime, _):
        session = await session_of(runtime)
        turn = begun(runtime, session, "kept")
        await (stopped(turn) if is_estimate else all_events(turn))
        conversation = session.conversation_id or ""
        kept = (await session.memory.messages(session.owner, conversation))[-1]
        assert kept.tokens_estimated == bool(is_estimate)
    (row,) = rows(tmp_path, "SELECT * FROM agent_messages WHERE role = 'assistant'")
    assert row["tokens_estimated"] == is_estimate
    assert row["tokens_used"] == row["input_tokens"] + row["output_tokens"] > DAY
    assert row["output_tokens"] > 0


async def test_answers_at_once_cannot_all_pass_before_the_first_is_counted(tmp_path: Path) -> None:
    async with limited(tmp_path, "gated-1", tokens_per_day=20_000) as (runtime, endpoint):
        # Each may take 10,000 tokens: as much as its window, and an answer.
        sessions = [await session_of(runtime, page=f"{number}") for number in range(20)]
        turns = [runtime.chat.turn(session, "hi", key="k") for session in sessions]
        reading = [asyncio.create_task(all_events(turn)) for turn in turns]
        await endpoint.wait_held(count=2)
        await wait_until(lambda: sum(task.done() for task in reading) == 18)
        endpoint.release_all()
        outcomes = await asyncio.gather(*reading, return_exceptions=True)
        refused = [found for found in outcomes if isinstance(found, RateLimitError)]
        assert len(refused) == 18
        assert "what is left of today's tokens" in str(refused[0])
        assert endpoint.request_count == 2


@pytest.mark.parametrize("is_stopped", [False, True])
async def test_a_summary_is_charged_also_when_it_is_stopped(
    tmp_path: Path, *, is_stopped: bool
) -> None:
    def notes(request: Request) -> Sequence[Step]:
        return [*([Gate()] if is_summary(request) and is_stopped else []), Text(["notes"])]

    async with OpenAIDouble(scripts={"notes": notes}) as endpoint:
        settings = settings_for(
            tmp_path,
            openai_base_url=endpoint.base_url,
            model="notes",
            history_tokens=600,
            tokens_per_day=10**6,
        )
        async with running_app(settings) as runtime:
            session = await session_of(runtime)
            while not any(is_summary(request) for request in endpoint.requests):
                await all_events(runtime.chat.turn(session, LONG, key=canary()))
                await wait_until(lambda: not runtime.chat._summaries._pauses)
            if is_stopped:
                await endpoint.wait_held()
                runtime.chat._summaries._due.clear()
                runtime.chat._summaries.stop(session)
            await wait_until(lambda: not runtime.chat._summaries._tasks)
            found = await session.memory.messages(session.owner, session.conversation_id or "")
            answers = sum(message.tokens_used or 0 for message in found)
            assert await charged(runtime, session) > answers + 100
