"""Turns whose model thinks for long, is stopped, fails, or is replaced by another one."""

import asyncio
import json
from pathlib import Path

import pytest

from cmw_agent.core.events import ThinkingDelta, TurnFinished
from tests.doubles.raw_endpoint import RawEndpoint, RawReply
from tests.harness import canary, served, settings_for
from tests.hostile.endpoints.case import (
    CALL,
    assistant_calls,
    calling,
    chunk,
    ended,
    event,
    refused,
    said,
    stream,
    tool_results,
    whole,
)
from tests.logbook import logbook
from tests.rest import KEYS, client
from tests.rows import messages
from tests.service import all_events, answer_text, running_app, session_of, turn_end

THOUGHT = "I wonder whether this is so. "
SIGNED = {**CALL, "extra_content": {"google": {"thought_signature": "sig"}}}
BROKEN = {
    "down": refused(503, "Busy"),
    "blank": stream(ended()),
    "thoughts": stream(chunk({"reasoning_content": THOUGHT}), ended()),
    "error": stream(event({"error": {"message": "no", "code": 400}})),
    "half thoughts": stream(chunk({"reasoning_content": THOUGHT}), event({"error": "no"})),
    "page": RawReply([b"<html></html>"]),
    "closed": stream(calling({**CALL, "id": "other"})),
}


@pytest.mark.parametrize("way", BROKEN)
async def test_another_model_goes_on_and_no_tool_runs_twice(way: str, tmp_path: Path) -> None:
    secret = canary()
    replies = {
        "first": [stream(chunk({"reasoning_content": THOUGHT}), calling(SIGNED),
                         ended("tool_calls")), BROKEN[way]],
        "second": [whole("It is 42.")],
    }  # fmt: skip
    async with RawEndpoint(replies) as endpoint:
        tables = f"""
[[models]]
id = "first"
endpoint = "{endpoint.base_url}"
fallback = ["second"]
[[models]]
id = "second"
endpoint = "{endpoint.base_url}"
"""
        (tmp_path / "agents.toml").write_text(tables, encoding="utf-8")
        settings = settings_for(
            tmp_path, api_keys=KEYS, openai_base_url=endpoint.base_url, model="first"
        )
        async with served(settings) as app, client(app.url) as program:
            reply = await program.say(f"Please {secret}", "mine-" + secret)
        assert reply.status == 200, reply.body
        assert reply.json["response"] == "It is 42."
        answer = messages(tmp_path, secret)[-1]
        assert [call["name"] for call in json.loads(answer["tool_calls"])] == ["calculate"]
        assert (answer["status"], answer["model_used"]) == ("complete", "second")
        last = endpoint.requests[-1]
        assert last.body["model"] == "second"
        assert ["42" in result for result in tool_results(last)] == [True]
        (call,) = assistant_calls(last)
        assert "extra_content" not in call
        assert "reasoning_content" not in json.dumps(last.body)


@pytest.mark.parametrize("way", ["thoughts alone", "thoughts then text", "a long thought"])
async def test_a_stopped_thought_is_kept_apart_and_charged(way: str, tmp_path: Path) -> None:
    secret = canary()
    pieces = [chunk({"reasoning_content": THOUGHT})] * (3000 if way == "a long thought" else 3)
    text = said("The answer ") if way == "thoughts then text" else []
    replies = {"m": [stream(pieces, text, stays_open=True), whole("Here I am.")]}
    async with RawEndpoint(replies) as endpoint:
        settings = settings_for(
            tmp_path, openai_base_url=endpoint.base_url, model="m", tokens_per_day=100_000
        )
        async with running_app(settings) as runtime:
            session = await session_of(runtime)
            turn = runtime.chat.turn(session, f"Please {secret}", key=canary())
            thoughts, end = "", None
            async with turn, asyncio.timeout(60):
                async for item in turn:
                    if isinstance(item, ThinkingDelta):
                        thoughts += item.text
                    if isinstance(item, TurnFinished):
                        end = item
                    is_all = len(thoughts) >= len(THOUGHT) * len(pieces)
                    if is_all and (not text or answer_text([item])):
                        turn.stop()
            assert end is not None
            assert end.outcome == "interrupted"
            stored = messages(tmp_path, secret)[-1]
            assert stored["content"] == "".join("The answer " for _ in text)
            assert stored["thinking"] == THOUGHT * len(pieces)
            assert stored["status"] == "interrupted"
            assert stored["tokens_used"] > len(pieces)
            events = await all_events(
                runtime.chat.turn(session, f"And now, {secret}", key=canary())
            )
        assert (answer_text(events), turn_end(events).outcome) == ("Here I am.", "complete")
        assert THOUGHT.strip() not in json.dumps(endpoint.requests[-1].body)


async def test_a_long_thought_reaches_the_reader_before_its_answer(tmp_path: Path) -> None:
    count = 5000
    replies = {
        "m": [stream([chunk({"reasoning_content": THOUGHT})] * count, said("Yes."), ended())]
    }
    with logbook() as book:
        async with RawEndpoint(replies) as endpoint:
            settings = settings_for(tmp_path, openai_base_url=endpoint.base_url, model="m")
            async with running_app(settings) as runtime:
                session = await session_of(runtime)
                events = await all_events(runtime.chat.turn(session, "Well?", key=canary()))
    thoughts = [item.text for item in events if isinstance(item, ThinkingDelta)]
    assert "".join(thoughts) == THOUGHT * count
    assert len(thoughts) < count / 10, "thoughts are coalesced"
    assert (answer_text(events), turn_end(events).outcome) == ("Yes.", "complete")
    assert THOUGHT.strip() not in book.text


@pytest.mark.parametrize(
    "reply",
    [
        stream(said("Half"), ended("length")),
        stream(said("Half")),
        stream(chunk({"reasoning_content": THOUGHT * 9}), ended()),
        stream(chunk({"reasoning_content": THOUGHT * 9}), event({"error": "no"})),
        stream(calling(CALL), ended("length")),
        stream(said("All."), ended(usage={})),
        stream(said("All."), ended(usage={"prompt_tokens": 0, "completion_tokens": 0})),
    ],
)
async def test_no_way_of_ending_escapes_the_limit_of_tokens(
    reply: RawReply, tmp_path: Path
) -> None:
    async with RawEndpoint({"m": [reply]}) as endpoint:
        settings = settings_for(
            tmp_path, api_keys=KEYS, openai_base_url=endpoint.base_url, model="m", tokens_per_day=40
        )
        async with served(settings) as app, client(app.url) as program:
            first = await program.say("One " + canary(), "mine")
            again = await program.say("Two " + canary(), "mine")
        assert first.status in (200, 502)
        assert again.status == 429, again.body
        assert len(endpoint.requests) == 1
