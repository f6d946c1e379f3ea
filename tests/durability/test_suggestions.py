"""What the model suggests after an answer: one short request, of the owner alone, stored nowhere."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from cmw_agent.agent.agent import SUGGEST
from cmw_agent.chat.suggester import MAX_TOKENS, suggestions_in
from cmw_agent.config.settings import Settings
from cmw_agent.limits.limiter import _digest
from tests.doubles.openai_server import OpenAIDouble
from tests.doubles.openai_steps import Cut, Gate, Request, Step, Text
from tests.durability.test_titles import say
from tests.harness import canary, settings_for
from tests.service import running_app, session_of

NEXT = "What is her name?\nWhere does she sail?\nWho built her?"


def is_suggesting(request: Request) -> bool:
    return bool(request.body["messages"][0]["content"] == SUGGEST)


def script(*suggested: Step) -> Callable[[Request], Sequence[Step]]:
    return lambda request: suggested if is_suggesting(request) else [Text(["The Aurora."])]


def settings_of(folder: Path, endpoint: OpenAIDouble, **changes: Any) -> Settings:
    values = {"model": "named", "suggestions": "on", **changes}
    return settings_for(folder, openai_base_url=endpoint.base_url, **values)


async def test_an_answer_brings_suggestions_of_its_own_by_one_short_request(
    tmp_path: Path,
) -> None:
    async with OpenAIDouble(scripts={"named": script(Text([NEXT]))}) as endpoint:
        async with running_app(settings_of(tmp_path, endpoint, tokens_per_day=100_000)) as runtime:
            alice, bob = await session_of(runtime), await session_of(runtime, "bob")
            secret = canary()
            await say(runtime, alice, secret)
            suggester, conversation = runtime.chat.suggester, alice.conversation_id or ""
            found = await suggester.suggestions(alice.owner, conversation)
            assert found == NEXT.splitlines()
            assert await suggester.suggestions(bob.owner, conversation) == []
            assert await suggester.suggestions(alice.owner, "nothing-is-called-so") == []
            stored = await alice.memory.messages(alice.owner, conversation)
            assert [message.content for message in stored] == [secret, "The Aurora."]
            limits = runtime.services.dependencies.limits
            item, backend = limits._tokens, limits._backend
            assert item is not None

            async def used(store: Any) -> int:
                stats = await store.fixed.get_window_stats(
                    item, _digest(alice.owner), limits._day()
                )
                return int(item.amount - stats.remaining)

            charged = await backend.call(used)
        asked = [request for request in endpoint.requests if is_suggesting(request)]
        assert len(asked) == 1
        assert asked[0].last_user == f"User: {secret}\n\nAssistant: The Aurora."
        assert asked[0].body["max_tokens"] == MAX_TOKENS
        assert "tools" not in asked[0].body
        assert charged > 0


@pytest.mark.parametrize("changes", [{"suggestions": "off"}, {"model": "named"}])
async def test_nothing_is_suggested_unless_the_operator_has_said_so(
    tmp_path: Path, changes: dict[str, str]
) -> None:
    async with OpenAIDouble(scripts={"named": script(Text([NEXT]))}) as endpoint:
        settings = settings_for(
            tmp_path, openai_base_url=endpoint.base_url, **{"model": "named", **changes}
        )
        async with running_app(settings) as runtime:
            alice = await session_of(runtime)
            await say(runtime, alice)
            conversation = alice.conversation_id or ""
            assert await runtime.chat.suggester.suggestions(alice.owner, conversation) == []
        assert not any(map(is_suggesting, endpoint.requests))


async def test_the_next_message_ends_what_is_still_being_suggested(tmp_path: Path) -> None:
    async with (
        OpenAIDouble(scripts={"named": script(Gate(), Text([NEXT]))}) as endpoint,
        running_app(settings_of(tmp_path, endpoint)) as runtime,
    ):
        alice = await session_of(runtime)
        await say(runtime, alice)
        await endpoint.wait_held()
        await say(runtime, alice, "and on")
        await endpoint.wait_aborted(1)
        assert len(runtime.chat.suggester._tasks) == 1


async def test_an_endpoint_that_fails_suggests_nothing(tmp_path: Path) -> None:
    async with (
        OpenAIDouble(scripts={"named": script(Cut())}) as endpoint,
        running_app(settings_of(tmp_path, endpoint)) as runtime,
    ):
        alice = await session_of(runtime)
        await say(runtime, alice)
        conversation = alice.conversation_id or ""
        assert await runtime.chat.suggester.suggestions(alice.owner, conversation) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("one\ntwo\nthree\nfour", ["one", "two", "three"]),
        ("Here are three:\n1. **One?**\n2) “Two”\n- three", ["One?", "Two", "three"]),
        ("same\nsame\n\n  \n***", ["same"]),
        ("x" * 121 + "\nshort", ["short"]),
        ("a\u202eb\x00c", ["ab c"]),
        ("", []),
    ],
)
def test_suggestions_are_read_from_whatever_a_model_writes(text: str, found: list[str]) -> None:
    assert suggestions_in(text) == found
