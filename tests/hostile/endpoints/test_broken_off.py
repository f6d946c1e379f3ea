"""Answers that break off, endpoints that fail again and again, and models with habits."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cmw_agent.core.events import TextDelta, ThinkingDelta, TurnEvent
from cmw_agent.llm.retries import MAX_FAILED_REQUESTS
from cmw_agent.runtime.runtime import Runtime
from tests.doubles.raw_endpoint import RawEndpoint, RawReply
from tests.harness import canary, settings_for
from tests.hostile.endpoints.case import ended, event, refused, said, stream, whole
from tests.rows import messages
from tests.service import all_events, answer_text, running_app, session_of, turn_end

BUSY = refused(503, "Busy", headers={"retry_after_ms": "1"})
HELD = {
    "a tag": (["The an", "swer <thi"], "The answer <thi"),
    "text that begins like a call": (['{"name": "calcu'], '{"name": "calcu'),
}


@asynccontextmanager
async def running(
    folder: Path, replies: Mapping[str, Sequence[RawReply]], models: str
) -> AsyncIterator[tuple[Runtime, RawEndpoint]]:
    async with RawEndpoint(replies) as endpoint:
        (folder / "agents.toml").write_text(models, encoding="utf-8")
        settings = settings_for(folder, openai_base_url=endpoint.base_url, model="m")
        async with running_app(settings) as runtime:
            yield runtime, endpoint


@pytest.mark.parametrize("way", HELD)
async def test_text_that_was_held_back_is_given_out_when_the_stream_breaks(
    way: str, tmp_path: Path
) -> None:
    pieces, text = HELD[way]
    secret = canary()
    model = '[[models]]\nid = "m"\ntext_calls = true\n'
    async with running(tmp_path, {"m": [stream(said(*pieces))]}, model) as (runtime, _):
        session = await session_of(runtime)
        events = await all_events(runtime.chat.turn(session, f"Please {secret}", key="k"))
    assert answer_text(events) == text
    assert turn_end(events).outcome == "interrupted"
    assert messages(tmp_path, secret)[-1]["content"] == text


async def test_text_that_was_held_back_is_given_out_when_the_user_stops(tmp_path: Path) -> None:
    secret, events = canary(), list[TurnEvent]()
    replies = {"m": [stream(said("The an", "swer <thi"), stays_open=True)]}
    async with running(tmp_path, replies, "") as (runtime, _):
        session = await session_of(runtime)
        async with runtime.chat.turn(session, f"Please {secret}", key="k") as turn:
            async with asyncio.timeout(60):
                async for item in turn:
                    events.append(item)
                    if answer_text(events) == "The answer ":
                        turn.stop()
    assert answer_text(events) == "The answer <thi"
    assert messages(tmp_path, secret)[-1]["content"] == "The answer <thi"


async def test_text_that_was_held_back_is_not_shown_where_another_model_answers(
    tmp_path: Path,
) -> None:
    replies = {"m": [stream(said("<thi"))], "n": [whole("Yes.")]}
    models = '[[models]]\nid = "m"\nfallback = ["n"]\n[[models]]\nid = "n"\n'
    async with running(tmp_path, replies, models) as (runtime, _):
        session = await session_of(runtime)
        events = await all_events(runtime.chat.turn(session, "Please", key="k"))
    assert answer_text(events) == "Yes."


@pytest.mark.parametrize("reply", ["refused", "in the stream", "blank"])
async def test_the_failed_requests_of_one_answer_are_bounded_in_sum(
    reply: str, tmp_path: Path
) -> None:
    failing = {"refused": BUSY, "in the stream": stream(event({"error": {"message": "Busy"}})),
               "blank": stream(ended())}[reply]  # fmt: skip
    names = [f"m{number}" for number in range(30)]
    line = ", ".join(f'"{name}"' for name in names)
    models = f'[[models]]\nid = "m"\nfallback = [{line}]\n'
    models += "\n".join(f'[[models]]\nid = "{name}"' for name in names)
    replies = {name: [failing] for name in ("m", *names)}
    async with running(tmp_path, replies, models) as (runtime, endpoint):
        session = await session_of(runtime)
        events = await all_events(runtime.chat.turn(session, "Please", key="k"))
        assert len(endpoint.requests) == MAX_FAILED_REQUESTS
        assert turn_end(events).outcome == "failed"
        await all_events(runtime.chat.turn(session, "Once more", key="l"))
        assert len(endpoint.requests) == 2 * MAX_FAILED_REQUESTS


async def test_what_one_user_made_a_model_write_delays_no_text_of_another(tmp_path: Path) -> None:
    replies = {"m": [whole("hm", "</think>", "Hello"), whole("Hi")]}
    async with running(tmp_path, replies, "") as (runtime, endpoint):
        eve = await session_of(runtime, "eve")
        for _ in range(3):
            await all_events(runtime.chat.turn(eve, f"Please {canary()}", key=canary()))
        endpoint.requests.clear()
        bob = await session_of(runtime, "bob")
        events = await all_events(runtime.chat.turn(bob, f"Please {canary()}", key="k"))
        first = next(e for e in events if isinstance(e, TextDelta | ThinkingDelta))
        assert isinstance(first, TextDelta)
        again = await all_events(runtime.chat.turn(eve, f"Please {canary()}", key=canary()))
        first = next(e for e in again if isinstance(e, TextDelta | ThinkingDelta))
        assert isinstance(first, ThinkingDelta)
