"""Many concurrent users: complete answers, no foreign canaries, clear refusals at the limit."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cmw_agent.chat.turn import TurnReader
from cmw_agent.core.events import ApprovalRequested, TurnEvent
from tests.doubles.openai_models import tokens_answer
from tests.doubles.openai_server import OpenAIDouble
from tests.harness import (
    WAIT,
    Browser,
    Event,
    RefusedError,
    canary,
    last_text,
    served,
    settings_for,
    texts,
)
from tests.isolation.toolhouse import obedient
from tests.rows import rows
from tests.service import all_events, answer_text, running_app, session_of

USERS = 50
TOKENS = 120


@pytest.mark.slow
async def test_fifty_users_stream_at_once_and_each_gets_their_own_answer_whole(
    tmp_path: Path,
) -> None:
    secrets = [canary() for _ in range(USERS)]

    async def one(url: str, secret: str) -> bytes:
        async with Browser(url) as browser:
            tab = await browser.open()
            event = await tab.send(f"Count off, {secret}.")
            assert event.error is None
            assert last_text(event.value) == "".join(tokens_answer(TOKENS, secret))
            return bytes(tab.received)

    async with (
        OpenAIDouble(rate=60) as endpoint,
        served(
            settings_for(tmp_path, openai_base_url=endpoint.base_url, model=f"tokens-{TOKENS}")
        ) as app,
    ):
        async with asyncio.timeout(WAIT * 4):
            received = await asyncio.gather(*(one(app.url, secret) for secret in secrets))
        assert endpoint.request_count == USERS
    for own, delivered in zip(secrets, received, strict=True):
        found = [secret for secret in secrets if secret.encode() in delivered]
        assert found == [own]
    stored = rows(tmp_path, "SELECT status, count(*) AS n FROM agent_messages GROUP BY status")
    assert [dict(row) for row in stored] == [{"status": "complete", "n": 2 * USERS}]


async def test_a_full_house_says_so_stores_nothing_and_opens_again(tmp_path: Path) -> None:
    async with (
        OpenAIDouble() as endpoint,
        served(
            settings_for(tmp_path, openai_base_url=endpoint.base_url, model="gated-1", max_turns=3)
        ) as app,
        Browser(app.url) as browser,
    ):
        tabs = [await browser.open() for _ in range(4)]
        running = [asyncio.create_task(tab.send(f"turn {n}")) for n, tab in enumerate(tabs[:3])]
        await endpoint.wait_held(count=3)
        with pytest.raises(RefusedError) as refused:
            await tabs[3].send("one too many")
        assert refused.value.status == 503
        assert "The app has too many answers" in str(refused.value.detail)
        assert rows(tmp_path, "SELECT 1 FROM agent_messages WHERE content = 'one too many'") == []
        assert endpoint.request_count == 3
        endpoint.release_all()
        done: list[Event] = await asyncio.gather(*running)
        assert [last_text(event.value) for event in done] == [
            f"You said: turn {n}" for n in range(3)
        ]
        again = asyncio.create_task(tabs[3].send("one too many"))
        await endpoint.wait_held()
        endpoint.release_all()
        assert texts((await again).value) == ["one too many", "You said: one too many"]


async def test_the_refusal_of_a_full_house_says_when_to_come_again(tmp_path: Path) -> None:
    async with (
        OpenAIDouble() as endpoint,
        served(
            settings_for(tmp_path, openai_base_url=endpoint.base_url, model="gated-1", max_turns=1)
        ) as app,
        Browser(app.url) as browser,
    ):
        first, second = await browser.open(), await browser.open()
        running = asyncio.create_task(first.send("turn"))
        await endpoint.wait_held()
        body = {
            "data": ["late", "", "", None],
            "fn_index": second.function("send"),
            "session_hash": second.hash,
        }
        async with browser.http.post(f"{app.url}/gradio_api/queue/join", json=body) as answer:
            assert answer.status == 503
            assert int(answer.headers["Retry-After"]) > 0
        # What is no turn goes on: stopping, a new chat.
        await first.join("stop", [])
        done = await running
        assert done.done
        assert done.error is None


async def test_who_waits_for_a_word_takes_nobody_s_place(tmp_path: Path) -> None:
    ask = 'do schedule_task {"when": "every day at 9", "task": "a summary"}'
    async with OpenAIDouble(scripts={"obedient": obedient}) as endpoint:
        settings = settings_for(
            tmp_path, openai_base_url=endpoint.base_url, model="obedient", max_turns=1
        )
        async with running_app(settings) as runtime:
            waiting = runtime.chat.turn(await session_of(runtime, "alice"), ask, key="1")
            asked = [event async for event in until_asked(waiting)]
            assert any(isinstance(event, ApprovalRequested) for event in asked)
            other = await session_of(runtime, "bob")
            assert answer_text(
                await all_events(runtime.chat.turn(other, "hello", key="2"))
            ).endswith("hello")
            waiting.stop()
            await waiting.ended()


async def until_asked(turn: TurnReader) -> AsyncIterator[TurnEvent]:
    """Return a turn's events up to a question."""
    async with asyncio.timeout(WAIT):
        async for event in turn:
            yield event
            if isinstance(event, ApprovalRequested):
                return
