"""The choice of model, instructions and price of a turn, and a user's limits."""

from pathlib import Path

import pytest

from cmw_agent.core.errors import StartupError
from cmw_agent.limits.limiter import RateLimitError
from cmw_agent.server.build import build_app
from tests.doubles.openai_server import OpenAIDouble
from tests.harness import Browser, RefusedError, Tab, canary, last_text, served, settings_for
from tests.rows import rows
from tests.service import all_events, running_app, session_of, turn_end

NOON = 20_000.5 * 86_400  # of some day, in seconds

AGENTS = """
[[agents]]
id = "tutor"
name = "Tutor"
prompt = "You teach."
model = "memory"
"""


async def say(tab: Tab, text: str, model: str | None) -> str:
    return last_text((await tab.run("send", [text, "", "", model])).value)


async def test_a_conversation_keeps_the_model_that_its_user_chose(tmp_path: Path) -> None:
    async with (
        OpenAIDouble() as endpoint,
        served(
            settings_for(
                tmp_path, openai_base_url=endpoint.base_url, model="echo", models="memory,strict"
            )
        ) as app,
        Browser(app.url) as browser,
    ):
        tab = await browser.open()
        await say(tab, "one", "memory")
        await say(tab, "two", None)
        await say(tab, "three", "not-offered")
        await say(tab, "four", "echo")
        await tab.run("retry", [""])
        assert [r.model for r in endpoint.requests] == [
            "memory",
            "memory",
            "memory",
            "echo",
            "echo",
        ]
        (row,) = rows(tmp_path, "SELECT session_id FROM agent_sessions")
        again = await browser.open(query=f"?c={row['session_id']}")
        opened = await again.run("open_page", [])
        assert opened.values[-1][2] == "echo"
        used = [
            r["model_used"]
            for r in rows(
                tmp_path,
                "SELECT model_used FROM agent_messages WHERE role = 'assistant' ORDER BY seq",
            )
        ]
        assert used == ["memory", "memory", "memory", "echo", "echo"]


async def test_each_agent_has_its_own_instructions_and_model(tmp_path: Path) -> None:
    (tmp_path / "agents.toml").write_text(AGENTS)
    async with (
        OpenAIDouble() as endpoint,
        served(
            settings_for(
                tmp_path,
                openai_base_url=endpoint.base_url,
                model="echo",
                models="memory",
                system_prompt="You assist.",
            )
        ) as app,
        Browser(app.url) as browser,
    ):
        tutor = await browser.open(query="?agent=tutor")
        await tutor.run("open_page", [])
        await tutor.send("teach me")
        other = await browser.open(query="?agent=nobody")
        await other.send("help me")
        prompts = [(r.body["messages"][0]["content"], r.model) for r in endpoint.requests]
        assert prompts == [("You teach.", "memory"), ("You assist.", "echo")]
        (row,) = rows(tmp_path, "SELECT session_id FROM agent_sessions WHERE agent_id = 'tutor'")
        # A conversation stays with its agent, wherever it is gone on with.
        again = await browser.open(query=f"?c={row['session_id']}")
        await again.send("more")
        assert endpoint.requests[-1].body["messages"][0]["content"] == "You teach."


def test_a_wrong_file_of_agents_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "agents.toml").write_text(AGENTS)
    with pytest.raises(StartupError, match="tutor"):
        build_app(settings_for(tmp_path, openai_base_url="http://127.0.0.1:1/v1", model="echo"))


async def test_an_answer_is_stored_with_its_tokens_and_its_cost(tmp_path: Path) -> None:
    async with OpenAIDouble() as endpoint:
        settings = settings_for(
            tmp_path, openai_base_url=endpoint.base_url, model="echo", prices="echo=100000/200000"
        )
        async with running_app(settings) as runtime:
            session = await session_of(runtime)
            events = await all_events(runtime.chat.turn(session, "hello there", key=canary()))
            tokens = turn_end(events).tokens
            used = await session.memory.cost(session.owner, str(session.conversation_id))
    (row,) = rows(
        tmp_path,
        "SELECT tokens_used, input_tokens, output_tokens, cost_micros FROM agent_messages "
        "WHERE role = 'assistant'",
    )
    assert row["tokens_used"] == tokens == row["input_tokens"] + row["output_tokens"]
    assert row["cost_micros"] == 100_000 * (row["input_tokens"] + 2 * row["output_tokens"])
    assert (used.tokens, used.cost_micros) == (tokens, row["cost_micros"])


async def test_a_flood_of_one_user_is_told_to_wait_and_reaches_nobody_else(tmp_path: Path) -> None:
    async with (
        OpenAIDouble() as endpoint,
        served(
            settings_for(
                tmp_path, openai_base_url=endpoint.base_url, model="echo", turns_per_minute=3
            )
        ) as app,
        Browser(app.url) as flooding,
        Browser(app.url) as quiet,
    ):
        tab, other = await flooding.open(), await quiet.open()
        statuses: list[int] = []
        sentences: set[str] = set()
        for number in range(8):
            # A forged address gains nothing.
            tab.headers["x-forwarded-for"] = f"203.0.113.{number}"
            try:
                await tab.send(f"flood {number}")
                statuses.append(200)
            except RefusedError as refused:
                statuses.append(refused.status)
                sentences.add(str(refused.detail).partition(";")[0])
        assert statuses == [200] * 3 + [429] * 5
        assert sentences == {"You have sent 3 messages in a minute"}
        assert len(endpoint.requests) == 3
        assert last_text((await other.send("hello")).value) == "You said: hello"
        body = {
            "data": ["x", "", "", None],
            "fn_index": tab.function("send"),
            "session_hash": tab.hash,
        }
        async with tab.http.post(f"{tab.url}/gradio_api/queue/join", json=body) as answer:
            assert answer.status == 429
            assert 1 <= int(answer.headers["retry-after"]) <= 60


async def test_invented_sessions_from_one_address_are_counted_together(tmp_path: Path) -> None:
    async with (
        OpenAIDouble() as endpoint,
        served(
            settings_for(
                tmp_path, openai_base_url=endpoint.base_url, model="echo", turns_per_address=4
            )
        ) as app,
    ):
        refused = 0
        for number in range(7):
            async with Browser(app.url) as browser:
                tab = await browser.open()
                tab.headers["x-forwarded-for"] = f"203.0.113.{number}"
                try:
                    await tab.send("hello")
                except RefusedError as error:
                    refused += error.status == 429
        assert refused == 3


async def test_the_tokens_of_a_day_are_used_up_by_their_user_alone(tmp_path: Path) -> None:
    async with OpenAIDouble() as endpoint:
        settings = settings_for(
            tmp_path, openai_base_url=endpoint.base_url, model="tokens-200", tokens_per_day=100
        )
        async with running_app(settings) as runtime:
            runtime.services.dependencies.limits._clock = lambda: NOON
            alice, bob = [await session_of(runtime, name) for name in ("alice", "bob")]
            await runtime.chat.admit(alice.principal, None)
            await all_events(runtime.chat.turn(alice, "hello", key=canary()))
            with pytest.raises(Exception, match="today's 100 tokens"):
                await runtime.chat.admit(alice.principal, None)
            await runtime.chat.admit(bob.principal, None)


async def test_one_user_has_so_many_answers_written_at_once(tmp_path: Path) -> None:
    async with OpenAIDouble() as endpoint:
        settings = settings_for(
            tmp_path, openai_base_url=endpoint.base_url, model="gated", turns_at_once=1
        )
        async with running_app(settings) as runtime:
            one, two = [await session_of(runtime, page=page) for page in ("one", "two")]
            other = await session_of(runtime, "bob")
            first = runtime.chat.turn(one, "first", key=canary())
            await endpoint.wait_held("first")
            with pytest.raises(RateLimitError, match=r"answers? (is|are) being written|at once"):
                await all_events(runtime.chat.turn(two, "second", key=canary()))
            theirs = runtime.chat.turn(other, "theirs", key=canary())
            await endpoint.wait_held("theirs")
            endpoint.release("first")
            endpoint.release("theirs")
            assert turn_end(await all_events(first)).outcome == "complete"
            assert turn_end(await all_events(theirs)).outcome == "complete"
            third = runtime.chat.turn(two, "third", key=canary())
            await endpoint.wait_held("third")
            endpoint.release("third")
            assert turn_end(await all_events(third)).outcome == "complete"
        stored = [row["content"] for row in rows(tmp_path, "SELECT content FROM agent_messages")]
        assert "second" not in stored
