"""The user fields of model requests: an opaque id, where the endpoint accepts one."""

from pathlib import Path

import pytest

from tests.doubles.openai_server import OpenAIDouble
from tests.harness import canary, settings_for
from tests.service import all_events, answer_text, running_app, session_of, turn_end, wait_until

FIELDS = {
    ("safety_identifier", "off"): ["safety_identifier"],
    ("user", "on"): ["cache_salt", "user"],
    ("off", "prompt_cache_key"): ["prompt_cache_key"],
    ("off", "off"): [],
}


@pytest.mark.parametrize(("user_field", "salt"), FIELDS)
async def test_each_user_has_opaque_names_of_their_own(
    tmp_path: Path, user_field: str, salt: str
) -> None:
    wanted = FIELDS[user_field, salt]
    async with OpenAIDouble() as endpoint:
        settings = settings_for(
            tmp_path,
            openai_base_url=endpoint.base_url,
            model="echo",
            user_field=user_field,
            cache_salt=salt,
        )
        async with running_app(settings) as runtime:
            owners = []
            for name in ("alice", "bob", "alice"):
                session = await session_of(runtime, name)
                owners.append(session.owner)
                await all_events(runtime.chat.turn(session, f"I am {name}", key=canary()))
    first, second, third = ([r.body.get(name) for name in wanted] for r in endpoint.requests)
    assert first == third
    assert not set(first) & set(second)
    assert len(set(first)) == len(wanted)
    for request in endpoint.requests:
        known = {"model", "messages", "stream", "stream_options", "tools"}
        assert sorted(set(request.body) - known) == wanted
        assert not any(owner in str(request.body) for owner in owners)


@pytest.mark.parametrize(("model", "found"), [("echo", "safety_identifier"), ("strict", "user")])
async def test_what_the_server_takes_is_found_out_at_the_start(
    tmp_path: Path, model: str, found: str
) -> None:
    async with OpenAIDouble() as endpoint:
        settings = settings_for(
            tmp_path,
            openai_base_url=endpoint.base_url,
            model=model,
            user_field="auto",
            stream_usage=False,
        )
        async with running_app(settings) as runtime:
            fields = runtime.services.dependencies.catalog.fields()
            await wait_until(lambda: fields.user_field is not None)
            assert fields.user_field == found
            asked = len(endpoint.requests)
            events = await all_events(
                runtime.chat.turn(await session_of(runtime), "hello", key=canary())
            )
            assert turn_end(events).outcome == "complete"
            assert answer_text(events) == "You said: hello"
        assert len(endpoint.requests) == asked + 1
        assert found in endpoint.requests[-1].body


@pytest.mark.parametrize(("model", "sent"), [("echo", True), ("strict", False)])
async def test_a_cache_key_that_the_server_refuses_is_not_sent(
    tmp_path: Path, model: str, sent: bool
) -> None:
    async with OpenAIDouble() as endpoint:
        settings = settings_for(
            tmp_path,
            openai_base_url=endpoint.base_url,
            model=model,
            user_field="auto",
            cache_salt="on",
            stream_usage=False,
        )
        async with running_app(settings) as runtime:
            await wait_until(lambda: any("cache_salt" in r.body for r in endpoint.requests))
            fields = runtime.services.dependencies.catalog.fields()
            await wait_until(lambda: ("cache_salt" in fields.of("v1")) is sent)
            events = await all_events(
                runtime.chat.turn(await session_of(runtime), "hello", key=canary())
            )
            assert turn_end(events).outcome == "complete"
        assert ("cache_salt" in endpoint.requests[-1].body) is sent


async def test_a_server_that_fails_is_told_of_nobody_and_the_chat_goes_on(tmp_path: Path) -> None:
    async with OpenAIDouble() as endpoint:
        settings = settings_for(
            tmp_path, openai_base_url=endpoint.base_url, model="fail-401", user_field="auto"
        )
        async with running_app(settings) as runtime:
            await wait_until(lambda: len(endpoint.requests) == 1)
            await all_events(runtime.chat.turn(await session_of(runtime), "hello", key=canary()))
        assert "safety_identifier" not in endpoint.requests[-1].body


async def test_the_same_words_of_two_users_are_two_requests(tmp_path: Path) -> None:
    async with OpenAIDouble() as endpoint:
        settings = settings_for(tmp_path, openai_base_url=endpoint.base_url, model="echo")
        async with running_app(settings) as runtime:
            for name in ("alice", "bob", "alice"):
                session = await session_of(runtime, name)
                await all_events(runtime.chat.turn(session, "the same words", key=canary()))
    assert len(endpoint.requests) == 3
