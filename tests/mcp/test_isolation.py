"""Each user's session with an MCP server is their own, bounded, and gone with the user."""

import asyncio
from pathlib import Path

import pytest

from cmw_agent.config.mcp_servers import McpServer
from cmw_agent.language import languages
from tests.doubles.mcp_server import mcp_double
from tests.harness import canary, settings_for
from tests.isolation.storm import canaries
from tests.mcp.house import app_with_servers, sessions_with
from tests.rest import client
from tests.service import wait_until

USERS, ROUNDS = 12, 3


async def storm(url: str) -> set[str]:
    """Have users write at once; return the canaries that reached another than who wrote them."""
    leaked: set[str] = set()

    async def talk(name: str) -> None:
        own = [canary() for _ in range(ROUNDS)]
        async with client(url) as user:
            for word in own:
                order = f'do house_echo {{"text": "{word}"}} and house_said {{}}'
                assert word in (await user.say(order, name)).json["response"]
            await user.say("do house_said {}", name)
            leaked.update(canaries(user.received.decode()) - set(own))

    async with asyncio.TaskGroup() as group:
        for number in range(USERS):
            group.create_task(talk(f"user{number}"))
    return leaked


async def test_a_storm_of_users_finds_no_word_of_another(tmp_path: Path) -> None:
    async with mcp_double() as double:
        table = {"name": "house", "url": double.url}
        async with app_with_servers(tmp_path, table) as (app, _):
            assert not await storm(app.url)
            assert len(double.sessions) == USERS


async def test_the_storm_finds_the_words_that_a_shared_session_mixes(tmp_path: Path) -> None:
    async with mcp_double() as double:
        table = {"name": "house", "url": double.url, "shared": True}
        async with app_with_servers(tmp_path, table) as (app, _):
            assert await storm(app.url)
            assert len(double.sessions) == 1


async def test_a_user_who_is_forgotten_has_no_session(tmp_path: Path) -> None:
    async with mcp_double() as double:
        table = {"name": "house", "url": double.url}
        async with app_with_servers(tmp_path, table) as (app, _), client(app.url) as shop:
            await shop.say('do house_echo {"text": "one"}', "first")
            await shop.say('do house_echo {"text": "two"}', "second")
            assert len(double.sessions) == 2
            runtime = app.application.runtime
            gone = next(iter(runtime.registry._sessions.values())).principal
            await runtime.history.forget(gone)
            await wait_until(lambda: len(double.sessions) == 1)


async def test_the_session_unused_for_longest_makes_room(tmp_path: Path) -> None:
    async with mcp_double() as double:
        server = McpServer(name="house", url=double.url)
        settings = settings_for(tmp_path, mcp_sessions=2)
        async with sessions_with(settings, [server]) as sessions:
            for owner in ("a", "b", "c"):
                (listing,) = await sessions.listings(owner, "assistant")
                assert [tool.name for tool in listing.tools] == ["house_echo", "house_said"]
            await wait_until(lambda: len(sessions) == 2)
            assert len(double.sessions) == 2


async def test_an_unused_session_ends(tmp_path: Path) -> None:
    async with mcp_double() as double:
        server = McpServer(name="house", url=double.url)
        async with sessions_with(settings_for(tmp_path), [server]) as sessions:
            sessions._idle_seconds = 0.05
            await sessions.listings("a", "assistant")
            await wait_until(lambda: len(sessions) == 0)
            assert not double.sessions


async def test_users_to_whom_a_server_lists_the_same_share_one_copy(tmp_path: Path) -> None:
    async with mcp_double() as double:
        server = McpServer(name="house", url=double.url)
        async with sessions_with(settings_for(tmp_path), [server]) as sessions:
            (first,) = await sessions.listings("a", "assistant")
            (second,) = await sessions.listings("b", "assistant")
            assert first is second


async def test_nobody_s_session_is_everybody_s(tmp_path: Path) -> None:
    async with mcp_double() as double:
        server = McpServer(name="house", url=double.url)
        async with sessions_with(settings_for(tmp_path), [server]) as sessions:
            with pytest.raises(ValueError, match="owner"):
                await sessions.listings("", "assistant")
            (listing,) = await sessions.listings("a", "assistant")
            with pytest.raises(ValueError, match="owner"):
                await sessions.use(
                    "",
                    listing.tools[0],
                    {},
                    conversation=None,
                    questions=None,
                    language=languages().of("en"),
                )
            assert len(double.sessions) == 1
