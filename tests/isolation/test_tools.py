"""Isolation 22, 41: tools run on the accounts of the turn's owner, whatever the model asks for."""

import asyncio
import contextlib
import json
from pathlib import Path

import pytest

from cmw_agent.tools.composio.accounts import ConnectionUser
from tests.accounts import TICKET, connected, finish, follow
from tests.harness import WAIT, Browser, Event, Tab, canary, last_text, texts
from tests.isolation.toolhouse import (
    AppWithTools,
    app_with_tools,
    new_visitor,
    pending_approvals,
    settle_approval,
)
from tests.rows import rows
from tests.service import all_events, answer_text, live_sessions, session_of, turn_end, wait_until

LIST = "do ASANA_GET_TASKS {}"


def create(name: str) -> str:
    return f"do ASANA_CREATE_TASK {json.dumps({'name': name})}"


def conversation_of(event: Event) -> str:
    return str(next(v[1] for v in reversed(event.values) if isinstance(v[1], str))).rstrip("+")


def linked(event: Event) -> str:
    """The link that came last."""
    return [m.group() for text in texts(event.value) for m in TICKET.finditer(text)][-1]


async def asked(house: AppWithTools, tab: Tab, text: str) -> tuple[asyncio.Task[Event], str, str]:
    """Send a message whose tool waits; return its event, the conversation and the call's id."""
    running = asyncio.create_task(tab.send(text))
    approvals = house.app.application.runtime.approvals
    await wait_until(lambda: len(approvals) > 0)
    (session,) = [
        s
        for s in live_sessions(house.app.application.runtime).values()
        if s.conversation_id and approvals.pending(s.owner, s.conversation_id)
    ]
    conversation = str(session.conversation_id)
    (call,) = await pending_approvals(tab, conversation)
    return running, conversation, call["call"]


# -- the morning of the earlier system ------------------------------------------------------


async def test_two_users_connect_and_list_their_own_tasks(tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        house = await stack.enter_async_context(app_with_tools(tmp_path))
        a, b = [await new_visitor(stack, house) for _ in range(2)]
        hers, his = canary(), canary()
        # 10:00: A connects
        first = await follow(a, linked(await a.send("/connect asana")))
        assert await finish(a, house.composio) == 200
        # 10:05: B asks too, and gets another link
        second = await follow(b, linked(await b.send("/connect asana")))
        assert first != second
        # before he has connected he is asked to, and gets a link of his own again
        refused = await b.send(LIST)
        third = await follow(b, linked(refused))
        assert third not in (first, second)
        assert "has not connected asana" in last_text(refused.value)
        house.composio.tasks = {house.user_of(a): [hers], house.user_of(b): [his]}
        # 10:10: A lists her tasks
        assert hers in last_text((await a.send(LIST)).value)
        assert await finish(b, house.composio) == 200
        # 10:15: B lists his
        assert his in last_text((await b.send(LIST)).value)
        assert hers not in bytes(b.received).decode()
        assert his not in bytes(a.received).decode()
        said = json.dumps([[dict(call.query), dict(call.body)] for call in house.composio.calls])
        assert "default" not in said


async def test_a_model_that_names_another_user_reaches_nothing_of_theirs(tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        house = await stack.enter_async_context(app_with_tools(tmp_path, approval="none"))
        a, b = [await new_visitor(stack, house) for _ in range(2)]
        secret = canary()
        victim = house.user_of(b)
        await house.connect(b)
        await house.connect(a)
        house.composio.tasks[victim] = [secret]
        for name in ("user_id", "entity_id", "connected_account_id"):
            for tool in ("ASANA_GET_TASKS", "ASANA_CREATE_TASK", "ASANA_DELETE_TASK"):
                await a.send(f"do {tool} {json.dumps({name: victim, 'name': secret})}")
        assert house.composio.tasks[victim] == [secret]
        executed = house.composio.to("POST /tools/execute")
        assert {user for call in executed for user in call.user_ids} <= {house.user_of(a)}
        own = [text for text in texts((await a.send(LIST)).value) if "The tools said" in text]
        assert own
        assert b.received.count(secret.encode()) == 0


async def test_two_hundred_users_at_once_use_their_own_accounts(tmp_path: Path) -> None:
    async with app_with_tools(tmp_path, approval="none") as house:
        runtime = house.app.application.runtime
        secrets = {f"user-{n}": canary() for n in range(200)}
        users = {}
        for name in secrets:
            session = await session_of(runtime, name)
            users[name] = ConnectionUser.of(session.principal).value
            await connected(house.app, house.composio, session.owner)
        answers: dict[str, str] = {}

        async def talk(name: str) -> None:
            session = await session_of(runtime, name)
            for text in (create(secrets[name]), LIST):
                events = await all_events(runtime.chat.turn(session, text, key=canary()))
                assert turn_end(events).outcome == "complete"
                answers[name] = answer_text(events)

        async with asyncio.timeout(WAIT * 4):
            await asyncio.gather(*(talk(name) for name in secrets))
        assert house.composio.tasks == {users[n]: [secret] for n, secret in secrets.items()}
        for name, answer in answers.items():
            assert {c for c in secrets.values() if c in answer} == {secrets[name]}


async def test_a_visitor_who_proves_nothing_has_no_connections(tmp_path: Path) -> None:
    async with app_with_tools(tmp_path) as house:
        async with Browser(house.app.url, cookies=False) as browser:
            tab = browser.tab()
            tab._functions = {}
            async with tab.http.get(f"{tab.url}/config") as answer:
                for found in (await answer.json())["dependencies"]:
                    tab._functions.setdefault(found.get("api_name") or "", found["id"])
            event = await tab.send(LIST)
            assert "no account can be connected" in last_text(event.value)
            assert "no account can be connected" in last_text((await tab.send("/status")).value)
        assert house.composio.to("POST") == []


# -- approval -------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", ["approved", "denied"])
async def test_a_call_that_changes_something_waits_for_its_user(
    tmp_path: Path, answer: str
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        house = await stack.enter_async_context(app_with_tools(tmp_path))
        a, b = [await new_visitor(stack, house) for _ in range(2)]
        user, name = house.user_of(a), canary()
        await house.connect(a)
        running, conversation, call = await asked(house, a, create(name))
        assert house.composio.to("POST /tools/execute") == []
        assert await pending_approvals(b, conversation) == []
        assert await settle_approval(b, conversation, call, "approved") == 404
        assert await settle_approval(a, conversation, call, answer) == 200
        event = await running
        assert house.composio.tasks.get(user, []) == ([name] if answer == "approved" else [])
        denied = "denied this call" in house.endpoint.requests[-1].tool_results[0]
        assert denied == (answer == "denied")
        assert last_text(event.value).startswith("The tools said")
        assert await settle_approval(a, conversation, call, answer) == 404


async def test_what_the_user_has_changed_is_what_is_sent_and_stored(tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        house = await stack.enter_async_context(app_with_tools(tmp_path))
        tab = await new_visitor(stack, house)
        user, mended = house.user_of(tab), canary()
        await house.connect(tab)
        running, conversation, call = await asked(house, tab, create("as the model wrote it"))
        assert (
            await settle_approval(tab, conversation, call, "approved", arguments={"name": mended})
            == 200
        )
        event = await running
        assert house.composio.tasks[user] == [mended]
        assert any(mended in text for text in texts(event.value))
        (row,) = rows(tmp_path, "SELECT tool_calls FROM agent_messages WHERE role = 'assistant'")
        assert json.loads(row["tool_calls"])[0]["arguments"] == {"name": mended}


async def test_calls_of_one_id_are_decided_run_and_stored_each_with_its_own_arguments(
    tmp_path: Path,
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        house = await stack.enter_async_context(app_with_tools(tmp_path, model="forgetful"))
        tab = await new_visitor(stack, house)
        user = house.user_of(tab)
        await house.connect(tab)
        approvals = house.app.application.runtime.approvals
        both = 'ASANA_CREATE_TASK {"name": "one"} and ASANA_CREATE_TASK {"name": "two"}'
        running = asyncio.create_task(tab.send(f"do {both}"))
        await wait_until(lambda: len(approvals) == 2)
        (session,) = live_sessions(house.app.application.runtime).values()
        conversation = str(session.conversation_id)
        by_name = {
            c["arguments"]["name"]: c["call"] for c in await pending_approvals(tab, conversation)
        }
        stale = by_name["two"]
        assert await settle_approval(tab, conversation, stale, "denied") == 200
        edited = {"name": "one, mended"}
        assert (
            await settle_approval(tab, conversation, by_name["one"], "approved", arguments=edited)
            == 200
        )
        await running
        assert house.composio.tasks[user] == ["one, mended"]
        (row,) = rows(tmp_path, "SELECT tool_calls FROM agent_messages WHERE role = 'assistant'")
        stored = {call["arguments"]["name"]: call["ok"] for call in json.loads(row["tool_calls"])}
        assert stored == {"one, mended": True, "two": False}
        # The next turn's call has the same id again; the cards of this one say nothing about it.
        running, conversation, call = await asked(house, tab, create("three"))
        for earlier in (stale, by_name["one"], "call_0"):
            assert await settle_approval(tab, conversation, earlier, "approved") == 404
        assert await settle_approval(tab, conversation, call, "denied") == 200
        await running
        assert house.composio.tasks[user] == ["one, mended"]


async def test_always_holds_in_its_conversation_and_for_its_tool_alone(tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        house = await stack.enter_async_context(app_with_tools(tmp_path))
        tab = await new_visitor(stack, house)
        await house.connect(tab)
        running, conversation, call = await asked(house, tab, create("one"))
        await settle_approval(tab, conversation, call, "approved", always=True)
        await running
        assert "tools said" in last_text((await tab.send(create("two"))).value)
        running, _, call = await asked(house, tab, 'do ASANA_DELETE_TASK {"name": "one"}')
        await settle_approval(tab, conversation, call, "denied")
        await running
        await tab.run("new_chat", [])
        running, conversation, call = await asked(house, tab, create("three"))
        await settle_approval(tab, conversation, call, "denied")
        await running
        assert house.composio.tasks[house.user_of(tab)] == ["one", "two"]


async def test_nobody_s_word_in_time_is_a_denial(tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        house = await stack.enter_async_context(app_with_tools(tmp_path, approval_seconds=0.2))
        tab = await new_visitor(stack, house)
        await house.connect(tab)
        event = await tab.send(create("late"))
        assert "did not approve this call in time" in last_text(event.value)
        assert house.composio.to("POST /tools/execute") == []


async def test_the_wait_does_not_use_up_the_turn_s_time(tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        house = await stack.enter_async_context(
            app_with_tools(tmp_path, approval_seconds=3, turn_timeout=2)
        )
        tab = await new_visitor(stack, house)
        await house.connect(tab)
        event = await tab.send(create("late"))
        assert "did not approve this call in time" in last_text(event.value)


async def test_a_reload_in_the_middle_of_an_approval_loses_nothing(tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        house = await stack.enter_async_context(app_with_tools(tmp_path))
        registry = house.app.application.runtime.registry
        browser = await stack.enter_async_context(Browser(house.app.url))
        tab = await browser.open()
        user, name = house.user_of(tab), canary()
        await house.connect(tab)
        running, conversation, call = await asked(house, tab, create(name))
        await tab.close()
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        await wait_until(lambda: len(registry) == 0)
        again = browser.tab(query=f"?c={conversation}")
        await again.open()
        joining = asyncio.create_task(again.run("join", []))
        await wait_until(lambda: b"needs your approval" in again.received)
        assert [item["call"] for item in await pending_approvals(again, conversation)] == [call]
        assert await settle_approval(again, conversation, call, "approved") == 200
        event = await joining
        assert house.composio.tasks[user] == [name]
        assert "tools said" in last_text(event.value)
        assert len(house.endpoint.requests) == 2
        (row,) = rows(tmp_path, "SELECT status FROM agent_messages WHERE role = 'assistant'")
        assert row["status"] == "complete"
        assert "You said: on" in last_text((await again.send("on")).value)


async def test_stop_ends_the_wait(tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        house = await stack.enter_async_context(app_with_tools(tmp_path))
        tab = await new_visitor(stack, house)
        await house.connect(tab)
        running, conversation, call = await asked(house, tab, create("never"))
        await tab.join("stop", [])
        await running
        assert await pending_approvals(tab, conversation) == []
        assert await settle_approval(tab, conversation, call, "approved") == 404
        assert house.composio.to("POST /tools/execute") == []


# -- bounds ---------------------------------------------------------------------------------


async def test_a_turn_makes_no_more_calls_than_it_may(tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        house = await stack.enter_async_context(
            app_with_tools(tmp_path, approval="none", max_tool_calls=3)
        )
        tab = await new_visitor(stack, house)
        await house.connect(tab)
        many = " and ".join(f'ASANA_CREATE_TASK {{"name": "{n}"}}' for n in range(8))
        await tab.send(f"do {many}")
        assert len(house.composio.to("POST /tools/execute")) <= 3
