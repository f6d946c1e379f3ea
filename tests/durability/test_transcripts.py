"""A session's cached context window gives the model the same messages as a fresh read."""

import contextlib
import random
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from cmw_agent.agent.agent import SUMMARISE
from cmw_agent.chat.context_cache import CachedContext
from cmw_agent.conversations.sessions import LiveSession
from cmw_agent.runtime.runtime import Runtime
from tests.doubles.openai_server import OpenAIDouble
from tests.doubles.openai_steps import Cut, Request, Step, Text
from tests.harness import canary, settings_for
from tests.service import ending, process, session_of, told, until

BUDGET = 600


def of_length(request: Request) -> Sequence[Step]:
    """Answers as long as the question says; one that is to break breaks."""
    if request.messages[0]["content"] == SUMMARISE:
        return [Text(["notes"])]
    words = request.last_user.split()
    if words[0] == "break":
        return [Text(["half an "]), Cut()]
    return [Text(["answer "] * int(words[1]))]


def shown(request: Request) -> list[tuple[str, str]]:
    return [(m["role"], str(m["content"])) for m in request.messages[1:]]


async def stored(session: LiveSession) -> list[tuple[str, str]]:
    """What the memory would show the model of the last turn."""
    conversation = str(session.conversation_id)
    newest = (await session.memory.messages(session.owner, conversation, limit=1))[-1]
    window = await session.memory.window(
        session.owner, conversation, budget=BUDGET, before_seq=newest.seq
    )
    return [(item.role, item.content) for item in window]


async def say(runtime: Runtime, session: LiveSession, text: str) -> str:
    return ending(await told(runtime.chat.turn(session, text, key=canary()))).outcome


@contextlib.asynccontextmanager
async def house(folder: Path) -> AsyncIterator[tuple[OpenAIDouble, Runtime]]:
    async with OpenAIDouble(scripts={"lengths": of_length}) as endpoint:
        settings = settings_for(
            folder, openai_base_url=endpoint.base_url, model="lengths", history_tokens=BUDGET
        )
        async with process(settings) as runtime:
            yield endpoint, runtime


async def test_what_is_kept_is_what_would_be_read(tmp_path: Path) -> None:
    chance = random.Random(7)
    async with house(tmp_path) as (endpoint, runtime):
        session = await session_of(runtime)
        kept = 0
        for number in range(60):
            length = chance.choice([1, 1, 2, 5, 40, 300])
            text = f"{'word ' * chance.choice([1, 1, 3, 120])}".split()
            kept += isinstance(session.transcript, CachedContext)
            await say(runtime, session, f"n{number} {length} {' '.join(text)}")
            asked = [r for r in endpoint.requests if r.last_user.startswith(f"n{number} ")]
            assert shown(asked[-1]) == await stored(session), number
        assert kept == 59


async def test_what_another_page_has_done_is_seen(tmp_path: Path) -> None:
    async with house(tmp_path) as (endpoint, runtime):
        one = await session_of(runtime, page="one")
        await say(runtime, one, "first 1")
        other = await session_of(runtime, page="two", conversation=one.conversation_id)
        await say(runtime, other, "second 1")
        await say(runtime, one, "third 1")
        assert [t for r, t in shown(endpoint.requests[-1]) if r == "user"] == [
            "first 1",
            "second 1",
            "third 1",
        ]
        # The other page has an old window now, and edits what it sees last.
        await told(runtime.chat.regenerate(other, key=canary(), text="edited 2"))
        await say(runtime, one, "fourth 1")
        assert shown(endpoint.requests[-1]) == await stored(one)
        assert "edited 2" in str(shown(endpoint.requests[-1]))
        assert "third 1" not in str(shown(endpoint.requests[-1]))


async def test_a_turn_that_broke_leaves_nothing_to_go_on_from(tmp_path: Path) -> None:
    async with house(tmp_path) as (endpoint, runtime):
        session = await session_of(runtime)
        await say(runtime, session, "first 1")
        assert await say(runtime, session, "break it") == "interrupted"
        assert session.transcript is None
        await say(runtime, session, "third 1")
        assert ("assistant", "half an ") in shown(endpoint.requests[-1])
        assert shown(endpoint.requests[-1]) == await stored(session)


async def test_another_conversation_begins_with_nothing_of_the_last(tmp_path: Path) -> None:
    secret = canary()
    async with house(tmp_path) as (endpoint, runtime):
        session = await session_of(runtime)
        await say(runtime, session, f"first 1 {secret}")
        session.conversation_id = "another-conversation"
        await say(runtime, session, "second 1")
        assert shown(endpoint.requests[-1]) == [("user", "second 1")]


async def test_a_conversation_of_the_same_length_is_not_taken_for_the_last_one(
    tmp_path: Path,
) -> None:
    secret = canary()
    async with house(tmp_path) as (endpoint, runtime):
        one, two = [await session_of(runtime, page=page) for page in ("one", "two")]
        await say(runtime, one, f"first 1 {secret}")
        await say(runtime, two, "second 1")
        one.conversation_id = two.conversation_id
        await say(runtime, one, "third 1")
        assert shown(endpoint.requests[-1]) == await stored(one)
        assert secret not in str(shown(endpoint.requests[-1]))


async def test_a_session_that_left_takes_its_window_along(tmp_path: Path) -> None:
    async with house(tmp_path) as (_endpoint, runtime):
        session = await session_of(runtime)
        await say(runtime, session, "first 1")
        held = runtime.chat._contexts._sessions
        assert len(held) == 1
        await runtime.registry.release(session.key, session.principal)
        del session
        await until(lambda: not held)
