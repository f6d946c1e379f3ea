"""A conversation on the page is named by its own model, once, after its first complete answer."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from cmw_agent.agent.agent import NAME
from cmw_agent.chat.titler import MAX_TOKENS, title_in
from cmw_agent.config.settings import Settings
from cmw_agent.conversations.sessions import LiveSession
from cmw_agent.limits.limiter import _digest
from cmw_agent.runtime.runtime import Runtime
from tests.doubles.openai_server import OpenAIDouble
from tests.doubles.openai_steps import Cut, Gate, Request, Step, Text
from tests.harness import canary, settings_for
from tests.rows import rows
from tests.service import all_events, running_app, session_of, turn_end, wait_until

TITLE = "Ships in the harbour"


def is_naming(request: Request) -> bool:
    return bool(request.body["messages"][0]["content"] == NAME)


def script(*title: Step) -> Callable[[Request], Sequence[Step]]:
    """Return a script that gives a title in these steps, and an answer to all else."""
    return lambda request: title if is_naming(request) else [Text(["It is the Aurora."])]


def settings_of(folder: Path, endpoint: OpenAIDouble) -> Settings:
    return settings_for(folder, openai_base_url=endpoint.base_url, model="named", titles="on")


async def say(runtime: Runtime, session: LiveSession, text: str = "Which ship?") -> None:
    turn = runtime.chat.turn(session, text, key=canary())
    assert turn_end(await all_events(turn)).outcome == "complete"


async def title_of(session: LiveSession) -> str:
    return (await session.memory.conversation(session.owner, session.conversation_id or "")).title


async def at_rest(runtime: Runtime) -> None:
    await wait_until(lambda: not runtime.chat.titles._tasks)


async def test_the_first_answer_gives_a_conversation_its_title_by_one_short_request(
    tmp_path: Path,
) -> None:
    steps = script(Text([f'**Title: "{TITLE}"**\n\nBecause …']))
    async with OpenAIDouble(scripts={"named": steps}) as endpoint:
        async with running_app(settings_of(tmp_path, endpoint)) as runtime:
            alice, bob = await session_of(runtime), await session_of(runtime, "bob")
            first, hers = canary(), canary()
            await say(runtime, alice, first)
            await say(runtime, bob, hers)
            await at_rest(runtime)
            assert await title_of(alice) == await title_of(bob) == TITLE
            await say(runtime, alice)
            await at_rest(runtime)
        namings = [request for request in endpoint.requests if is_naming(request)]
        assert len(namings) == 2
        for request, own in zip(namings, (first, hers), strict=True):
            assert request.last_user == f"User: {own}\n\nAssistant: It is the Aurora."
            assert request.body["max_tokens"] == MAX_TOKENS
            assert "tools" not in request.body


async def test_a_title_of_the_user_is_never_replaced(tmp_path: Path) -> None:
    async with OpenAIDouble(scripts={"named": script(Gate(), Text([TITLE]))}) as endpoint:
        async with running_app(settings_of(tmp_path, endpoint)) as runtime:
            alice = await session_of(runtime)
            await say(runtime, alice)
            await endpoint.wait_held()
            await runtime.history.rename(alice.principal, alice.conversation_id or "", "Mine")
            endpoint.release_all()
            await at_rest(runtime)
            assert await title_of(alice) == "Mine"
            turn = runtime.chat.regenerate(alice, key=canary(), text="Another question")
            assert turn_end(await all_events(turn)).outcome == "complete"
            await at_rest(runtime)
            assert await title_of(alice) == "Mine"
        assert sum(map(is_naming, endpoint.requests)) == 1


async def test_an_edited_first_message_is_named_anew(tmp_path: Path) -> None:
    def titled(request: Request) -> Sequence[Step]:
        if not is_naming(request):
            return [Text(["yes"])]
        return [Text(["New"])] if "edited" in request.last_user else [Gate(), Text(["Old"])]

    async with (
        OpenAIDouble(scripts={"named": titled}) as endpoint,
        running_app(settings_of(tmp_path, endpoint)) as runtime,
    ):
        alice = await session_of(runtime)
        await say(runtime, alice, "first")
        await endpoint.wait_held()
        turn = runtime.chat.regenerate(alice, key=canary(), text="edited")
        assert turn_end(await all_events(turn)).outcome == "complete"
        await endpoint.wait_aborted(1)  # or the old title could come last
        await at_rest(runtime)
        assert await title_of(alice) == "New"


async def test_no_other_endpoint_than_the_conversation_s_names_it(tmp_path: Path) -> None:
    steps = {"named": script(Cut())}
    async with OpenAIDouble(scripts=steps) as own, OpenAIDouble(scripts=steps) as other:
        (tmp_path / "agents.toml").write_text(
            f"""
            [[models]]
            id = "own"
            name = "named"
            endpoint = "{own.base_url}"
            fallback = ["named"]
            [[agents]]
            id = "assistant"
            model = "own"
            """
        )
        async with running_app(settings_of(tmp_path, other)) as runtime:
            alice = await session_of(runtime)
            for number in range(5):
                await say(runtime, alice, f"Question {number}")
                await at_rest(runtime)
            assert await title_of(alice) == "Question 0"
        assert other.requests == []
        asked = {request.last_user for request in own.requests if is_naming(request)}
        assert len(asked) == 3  # and no more: what failed three times is left alone


async def test_the_end_of_the_app_waits_for_no_title(tmp_path: Path) -> None:
    async with OpenAIDouble(scripts={"named": script(Gate(), Text([TITLE]))}) as endpoint:
        async with running_app(settings_of(tmp_path, endpoint)) as runtime:
            await say(runtime, await session_of(runtime))
            await endpoint.wait_held()
            await runtime.chat.drain(60)
            await endpoint.wait_aborted(1)
        found = rows(tmp_path, "SELECT title, title_origin FROM agent_sessions")
        assert [(row["title"], row["title_origin"]) for row in found] == [
            ("Which ship?", "message")
        ]


async def test_nothing_is_named_where_titles_are_off_or_no_list_shows_them(tmp_path: Path) -> None:
    async with OpenAIDouble(scripts={"named": script(Text([TITLE]))}) as endpoint:
        settings = settings_of(tmp_path, endpoint)
        async with running_app(settings.model_copy(update={"titles": "off"})) as runtime:
            await say(runtime, await session_of(runtime))
        async with running_app(settings) as runtime:
            client = await session_of(runtime, "client")
            client.channel = "rest"
            await say(runtime, client)
            ephemeral = await session_of(runtime, "ephemeral")
            ephemeral.principal = replace(ephemeral.principal, kind="ephemeral")
            await say(runtime, ephemeral)
        assert not any(map(is_naming, endpoint.requests))


async def test_the_demo_model_names_nothing(tmp_path: Path) -> None:
    async with running_app(settings_for(tmp_path, titles="on")) as runtime:
        alice = await session_of(runtime)
        await say(runtime, alice, "My name is Alice")
        assert not runtime.chat.titles.is_naming(alice.owner)
        assert await title_of(alice) == "My name is Alice"


async def charged(runtime: Runtime, session: LiveSession) -> int:
    """Return the tokens of today that the session's owner has been charged."""
    limits = runtime.chat._dependencies.limits
    assert limits._tokens is not None
    stats = await limits._backend._local.fixed.get_window_stats(
        limits._tokens, _digest(session.owner), limits._day()
    )
    return limits._tokens.amount - stats.remaining


async def test_a_title_counts_among_its_user_s_tokens(tmp_path: Path) -> None:
    charges = []
    for mode in ("off", "on"):
        (tmp_path / mode).mkdir()
        async with OpenAIDouble(scripts={"named": script(Text([TITLE]))}) as endpoint:
            settings = settings_of(tmp_path / mode, endpoint).model_copy(
                update={"titles": mode, "tokens_per_day": 10**6}
            )
            async with running_app(settings) as runtime:
                alice = await session_of(runtime)
                await say(runtime, alice)
                await at_rest(runtime)
                charges.append(await charged(runtime, alice))
    assert charges[1] > charges[0] > 0


async def test_only_its_owner_learns_that_a_title_is_on_its_way(tmp_path: Path) -> None:
    async with (
        OpenAIDouble(scripts={"named": script(Gate(), Text([TITLE]))}) as endpoint,
        running_app(settings_of(tmp_path, endpoint)) as runtime,
    ):
        alice, bob = await session_of(runtime), await session_of(runtime, "bob")
        await say(runtime, alice)
        await endpoint.wait_held()
        assert runtime.chat.titles.is_naming(alice.owner)
        assert not runtime.chat.titles.is_naming(bob.owner)
        endpoint.release_all()
        await at_rest(runtime)
        assert not runtime.chat.titles.is_naming(alice.owner)


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("Ships", "Ships"),
        ("  \n\n## Ships and **boats**\nmore", "Ships and boats"),
        ("“Ships”.", "Ships"),
        ("Title: 'Ships'", "Ships"),
        ("1. Ships", "Ships"),
        ("<b onclick=x>Ships</b> <script>", "Ships"),
        ("C# and snake_case", "C# and snake_case"),
        ("Ships \u202eand\x00 boats", "Ships and boats"),
        ("word " * 40, "word " * 11 + "word…"),
        ("x" * 100, "x" * 59 + "…"),
        ("\n" * 10_000 + "Ships", None),
        ("***", None),
        ("", None),
        ("\ud800", None),
    ],
)
def test_a_title_is_one_short_line_without_markup(text: str, title: str | None) -> None:
    assert title_in(text) == title
