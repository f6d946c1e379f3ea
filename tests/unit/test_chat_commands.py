"""Commands that begin with a slash: answered without a model, for their own user alone."""

from pathlib import Path

import pytest

from cmw_agent.chat.commands import COMMANDS, command_of
from cmw_agent.chat.turn import Command
from tests.doubles.openai_server import OpenAIDouble
from tests.harness import Browser, canary, last_text, served, settings_for, texts
from tests.isolation.toolhouse import toolhouse
from tests.rows import rows
from tests.service import answer_of, process, session_of, told


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("/help", Command("help", "")),
        ("  /Connect  Asana ", Command("connect", "Asana")),
        ("/forget everything", Command("forget", "everything")),
        ("/usr/bin/env python", None),
        ("/", None),
        ("// a comment", None),
        ("what does /help do?", None),
        ("/1", None),
        (None, None),
    ],
)
def test_a_command_is_a_word_after_a_slash_at_the_beginning(
    text: object, found: Command | None
) -> None:
    assert command_of(text) == found


async def said(tmp_path: Path, *commands: str) -> list[str]:
    async with process(settings_for(tmp_path)) as runtime:
        session = await session_of(runtime)
        return [
            answer_of(await told(runtime.chat.turn(session, text, key=canary())))
            for text in commands
        ]


async def test_an_unknown_command_suggests_the_nearest(tmp_path: Path) -> None:
    near, far = await said(tmp_path, "/hlep", "/xyzzy")
    assert "Did you mean `/help`?" in near
    assert "Did you mean" not in far
    assert "`/help` lists them all" in far


async def test_help_names_what_there_is_and_no_more(tmp_path: Path) -> None:
    (plain,) = await said(tmp_path, "/help")
    assert "/connect" not in plain
    (house_folder := tmp_path / "with tools").mkdir()
    async with toolhouse(house_folder) as house, Browser(house.app.url) as browser:
        tab = await browser.open()
        whole = last_text((await tab.send("/help")).value)
        assert all(command.usage in whole for command in COMMANDS.values())
        assert len(house.endpoint.requests) == 0


async def test_without_connections_the_commands_say_so(tmp_path: Path) -> None:
    answers = await said(tmp_path, "/connect asana", "/disconnect asana", "/status")
    assert set(answers) == {"No accounts can be connected here."}


async def test_status_tools_and_disconnect_are_one_s_own(tmp_path: Path) -> None:
    async with (
        toolhouse(tmp_path) as house,
        Browser(house.app.url) as alice,
        Browser(house.app.url) as bob,
    ):
        a, b = await alice.open(), await bob.open()
        for tab in (a, b):
            await house.connect(tab)
        for text in ("/status", "/status asana", "/connect list", "/connect"):
            assert "(`asana`): connected" in last_text((await a.send(text)).value)
        tools = last_text((await a.send("/tools")).value)
        assert "`ASANA_GET_TASKS` (asana)" in tools
        assert "`ASANA_CREATE_TASK` (asana, asks you first)" in tools
        assert "is disconnected" in last_text((await a.send("/disconnect asana")).value)
        assert "was not connected" in last_text((await a.send("/disconnect Asana")).value)
        assert "not connected" in last_text((await a.send("/status")).value)
        assert "(`asana`): connected" in last_text((await b.send("/status")).value)
        wrong = last_text((await a.send("/connect asanna")).value)
        assert "Did you mean asana?" in wrong


async def test_new_begins_another_conversation_and_keeps_the_old_one(tmp_path: Path) -> None:
    async with served(settings_for(tmp_path)) as app, Browser(app.url) as browser:
        tab = await browser.open()
        await tab.send("My name is Alice")
        event = await tab.send("/new")
        assert texts(event.value) == []
        assert "don't know your name" in last_text((await tab.send("What is my name?")).value)
        assert len(rows(tmp_path, "SELECT 1 FROM agent_sessions")) == 2


async def test_forget_asks_first_and_then_deletes_one_s_own(tmp_path: Path) -> None:
    async with (
        served(settings_for(tmp_path)) as app,
        Browser(app.url) as alice,
        Browser(app.url) as bob,
    ):
        a, b = await alice.open(), await bob.open()
        await a.send("hers")
        await b.send("his")
        assert "/forget everything" in last_text((await a.send("/forget")).value)
        assert len(rows(tmp_path, "SELECT 1 FROM agent_sessions")) == 2
        assert texts((await a.send("/forget everything")).value) == []
        (row,) = rows(tmp_path, "SELECT title FROM agent_sessions")
        assert row["title"] == "his"


async def test_export_is_a_link_on_the_page_and_a_text_elsewhere(tmp_path: Path) -> None:
    async with served(settings_for(tmp_path)) as app, Browser(app.url) as browser:
        tab = await browser.open()
        await tab.send("My name is Alice")
        shown = last_text((await tab.send("/export")).value)
        link = shown.partition("](")[2].partition(")")[0]
        async with tab.http.get(f"{app.url}/{link}") as answer:
            assert "My name is Alice" in await answer.text()
    (elsewhere := tmp_path / "elsewhere").mkdir()
    async with process(settings_for(elsewhere)) as runtime:
        session = await session_of(runtime)
        session.channel = "whatsapp"
        await told(runtime.chat.turn(session, "My name is Alice", key=canary()))
        told_text = answer_of(await told(runtime.chat.turn(session, "/export", key=canary())))
        assert "My name is Alice" in told_text


async def test_a_command_asks_no_model(tmp_path: Path) -> None:
    async with OpenAIDouble() as endpoint:
        settings = settings_for(tmp_path, openai_base_url=endpoint.base_url, model="echo")
        async with process(settings) as runtime:
            session = await session_of(runtime)
            for name in COMMANDS:
                await told(runtime.chat.turn(session, f"/{name}", key=canary()))
        assert endpoint.requests == []


async def test_a_schedule_is_made_listed_and_cancelled(tmp_path: Path) -> None:
    made, listed, numbered, gone, empty = await said(
        tmp_path,
        "/schedule every day at 8:30 in Berlin: write me: a summary",
        "/schedule LIST",
        "/schedule",
        "/schedule cancel 1",
        "/schedule list",
    )
    assert "Scheduled every day at 08:30 (Europe/Berlin): write me: a summary" in made
    assert made.count(", 08:30") == 3
    for text in (listed, numbered):
        assert "1. write me: a summary – every day at 08:30 (Europe/Berlin); next " in text
    assert "`every monday at 8:30`" in numbered
    assert gone == "Cancelled: write me: a summary"
    assert empty == "You have no recurring tasks."


async def test_what_cannot_be_scheduled_is_refused_in_a_sentence(tmp_path: Path) -> None:
    often, unknown, nothing, never, long, missing = await said(
        tmp_path,
        "/schedule every 10 minutes: x",
        "/schedule now and then: x",
        "/schedule every day at 9",
        "/schedule 0 9 30 2 *: x",
        f"/schedule every day at 9: {'x' * 3000}",
        "/schedule cancel 1",
    )
    assert often == "That is too often: at least 15 minutes must lie between two runs."
    assert "write it like `every day at 9`" in unknown
    assert nothing == "Say behind a colon what is to be done then."
    assert never == "That day never comes."
    assert "too long" in long
    assert missing == "You have no recurring task of that number."
    assert rows(tmp_path, "SELECT * FROM agent_schedules") == []


async def test_where_nobody_may_have_schedules_there_are_none(tmp_path: Path) -> None:
    async with OpenAIDouble() as endpoint:
        settings = settings_for(
            tmp_path, openai_base_url=endpoint.base_url, model="echo", schedules_per_user=0
        )
        async with process(settings) as runtime:
            session = await session_of(runtime)
            for text, told_text in (
                ("/schedule every day at 9: x", "Nothing can be scheduled here."),
                ("/help", "/help"),
                ("/tools", "calculate"),
            ):
                answer = answer_of(await told(runtime.chat.turn(session, text, key=canary())))
                assert told_text in answer
                assert "/schedule" not in answer
                assert "schedule_task" not in answer
            await told(runtime.chat.turn(session, "hello", key=canary()))
        (request,) = endpoint.requests
        assert "schedule" not in str(request.body["tools"])
