"""Connected accounts: the real client against Composio's double."""

import asyncio
import dataclasses
import json
import logging
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from itertools import pairwise
from typing import Any

import pytest
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import SecretStr

from cmw_agent.config.settings import Settings
from cmw_agent.core.errors import UserError
from cmw_agent.identity.principals import Identities, Principal, new_login
from cmw_agent.tools.composio import client
from cmw_agent.tools.composio.accounts import ConnectionUser, OwnAccount, Toolkit
from cmw_agent.tools.composio.catalog import ConnectedTool, connected_tool
from cmw_agent.tools.composio.connections import (
    Connections,
    ConnectionsError,
    UnknownToolkitError,
    open_connections,
)
from cmw_agent.tools.composio.tool_calls import MAX_RESULT, NotConnectedError
from tests.doubles.composio_server import Composio, Drop, Hold, Refusal, Reply, composio_server
from tests.doubles.composio_shapes import Tool
from tests.doubles.openai_server import refused_url

CALLBACK = "https://chat.example/connected"
AT_ONCE = {"retry-after-ms": "1"}  # the client's pause before it reads again
ALICE = ConnectionUser.of(Principal("v" + "a" * 32, "visitor"))
BOB = ConnectionUser.of(Principal("v" + "b" * 32, "visitor"))


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def composio() -> AsyncIterator[Composio]:
    async with composio_server() as double:
        double.add_toolkit("big", 40)
        yield double


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def connections(composio: Composio, clock: Clock) -> AsyncIterator[Connections]:
    async with opened(composio, clock=clock) as made:
        yield made


def opened(
    composio: Composio,
    *,
    toolkits: Sequence[str] = ("asana", "big"),
    seconds: float = 30.0,
    clock: Callable[[], float] | None = None,
    url: str | None = None,
) -> AbstractAsyncContextManager[Connections]:
    settings = Settings(
        composio_api_key=SecretStr(composio.key),
        composio_base_url=url or composio.url,
        toolkits=",".join(toolkits),
    )
    return open_connections(settings, seconds=seconds, clock=clock or Clock())


async def tool(connections: Connections, slug: str, toolkit: str = "asana") -> ConnectedTool:
    (found,) = [one for one in await connections.tools([toolkit]) if one.slug == slug]
    return found


async def create(
    connections: Connections, user: ConnectionUser, name: str, account: str | None = None
) -> None:
    outcome = await connections.run(
        user, await tool(connections, "ASANA_CREATE_TASK"), {"name": name}, account_id=account
    )
    assert outcome.ok, outcome.text


async def tasks(
    connections: Connections, user: ConnectionUser, account: str | None = None
) -> list[str]:
    listing = await tool(connections, "ASANA_GET_TASKS")
    outcome = await connections.run(user, listing, {}, account_id=account)
    assert outcome.ok, outcome.text
    found: list[str] = json.loads(outcome.text)["tasks"]
    return found


async def disconnect(connections: Connections, user: ConnectionUser) -> bool:
    """Delete all accounts that Composio lists of a user; return whether one was."""
    listed = await connections.accounts(user, ("asana",))
    return any([await connections.delete(account) for account in listed])


def states(toolkits: Sequence[Toolkit]) -> dict[str, str]:
    return {toolkit.slug: toolkit.state for toolkit in toolkits}


# Whose is it?


async def test_two_users_get_different_links_and_their_own_tasks(
    composio: Composio, connections: Connections
) -> None:
    hers, her_account = await connections.link(ALICE, "asana", CALLBACK)
    his, his_account = await connections.link(BOB, "asana", CALLBACK)
    assert hers != his
    for link in (hers, his):
        assert re.fullmatch(r"https://connect\.composio\.dev/link/lk_[\w-]+", link)
    composio.connect(ALICE.value)
    await create(connections, ALICE, "hers", her_account)
    for account in (his_account, her_account):
        with pytest.raises(NotConnectedError):
            await tasks(connections, BOB, account)
    composio.connect(BOB.value)
    await create(connections, BOB, "his", his_account)
    assert await tasks(connections, ALICE, her_account) == ["hers"]
    assert await tasks(connections, BOB, his_account) == ["his"]
    for call in composio.to("POST /connected_accounts/link"):
        assert call.body["callback_url"] == CALLBACK


async def test_users_who_work_at_once_never_see_each_others_tasks(
    composio: Composio, connections: Connections
) -> None:
    users = [ConnectionUser.of(Principal(f"v{n:032x}", "visitor")) for n in range(40)]

    async def work(user: ConnectionUser) -> None:
        _, account = await connections.link(user, "asana", CALLBACK)
        composio.connect(user.value)
        for number in range(3):
            await create(connections, user, f"{number} of {user}", account)
            done = [f"{n} of {user}" for n in range(number + 1)]
            assert await tasks(connections, user, account) == done

    await asyncio.gather(*map(work, users))
    assert all(
        all(name.endswith(owner) for name in names) for owner, names in composio.tasks.items()
    )
    assert len(composio.auth_configs) == 1


async def test_every_request_about_somebody_names_them_and_nobody_else(
    composio: Composio, connections: Connections
) -> None:
    composio.add_account(BOB.value)
    await connections.link(ALICE, "asana", CALLBACK)
    account = composio.connect(ALICE.value)
    await create(connections, ALICE, "hers", account)
    await connections.toolkits(ALICE, [OwnAccount(ALICE, "asana", account)])
    assert await connections.is_active(ALICE, "asana", account)
    assert await disconnect(connections, ALICE)
    impersonal = (
        "GET /tools",
        "GET /auth_configs",
        "POST /auth_configs",
        "GET /connected_accounts/",
        "DELETE /connected_accounts/",
    )
    named = [call for call in composio.calls if not call.route.startswith(impersonal)]
    assert len(named) == 4
    assert all(call.user_ids == [ALICE.value] for call in named)
    assert not any(call.user_ids for call in composio.calls if call not in named)


async def test_no_request_carries_default(composio: Composio, connections: Connections) -> None:
    await connections.link(ALICE, "asana", CALLBACK)
    composio.connect(ALICE.value)
    await tasks(connections, ALICE)
    await connections.toolkits(ALICE, ())
    await disconnect(connections, ALICE)
    assert len(composio.calls) > 5
    for call in composio.calls:
        assert "default" not in f"{call.route} {call.query} {call.body}"
        assert "entity_id" not in call.body


async def test_a_model_cannot_name_another_user(
    composio: Composio, connections: Connections
) -> None:
    bobs = composio.add_account(BOB.value)
    composio.add_account(ALICE.value)
    composio.tasks[BOB.value] = ["secret"]
    reading = await tool(connections, "ASANA_GET_TASKS")
    forged = {
        "user_id": BOB.value,
        "entity_id": BOB.value,
        "connected_account_id": bobs,
        "custom_auth_params": {"parameters": []},
        "custom_connection_data": {"val": {}},
        "version": "old",
        "arguments": {"user_id": BOB.value},
    }
    outcome = await connections.run(ALICE, reading, forged, account_id=None)
    assert outcome.ok
    assert json.loads(outcome.text) == {"tasks": []}
    (call,) = composio.to("POST /tools/execute")
    assert call.body == {
        "user_id": ALICE.value,
        "version": "latest",
        "arguments": {"version": "old", "arguments": {"user_id": BOB.value}},
    }


async def test_what_a_tool_itself_calls_user_id_stays_among_its_arguments(
    composio: Composio, connections: Connections
) -> None:
    composio.toolkits["asana"].append(Tool("ASANA_FIND", "Finds.", {"user_id": {"type": "string"}}))
    composio.add_account(ALICE.value)
    await connections.run(
        ALICE, await tool(connections, "ASANA_FIND"), {"user_id": "7"}, account_id=None
    )
    (call,) = composio.to("POST /tools/execute")
    assert (call.body["user_id"], call.body["arguments"]) == (ALICE.value, {"user_id": "7"})


async def test_nobody_s_account_is_deleted_by_another(
    composio: Composio, connections: Connections
) -> None:
    bobs = composio.add_account(BOB.value)
    assert not await disconnect(connections, ALICE)
    composio.leaky = True  # a list that leaks others' accounts
    assert not await disconnect(connections, ALICE)
    composio.leaky = False
    composio.listed_owner[bobs] = ALICE.value  # a list that names the wrong owner
    assert not await disconnect(connections, ALICE)
    assert not composio.to("DELETE")
    assert list(composio.accounts) == [bobs]


async def test_another_s_account_never_counts_as_one_s_own(
    composio: Composio, connections: Connections
) -> None:
    bobs = composio.add_account(BOB.value)
    composio.leaky = True
    assert await connections.accounts(ALICE) == []
    assert await connections.accounts(BOB) == [OwnAccount(BOB, "asana", bobs)]
    assert (
        states(await connections.toolkits(ALICE, [OwnAccount(ALICE, "asana", bobs)]))["asana"]
        == "none"
    )
    assert (
        states(await connections.toolkits(BOB, [OwnAccount(BOB, "asana", bobs)]))["asana"]
        == "connected"
    )
    assert not await connections.is_active(ALICE, "asana", bobs)
    assert await connections.is_active(BOB, "asana", bobs)
    await connections.delete(OwnAccount(ALICE, "asana", bobs))
    assert list(composio.accounts) == [bobs]


async def test_a_tool_runs_on_the_account_that_is_named_and_on_no_other_one_of_its_user(
    composio: Composio, connections: Connections
) -> None:
    mine = [composio.add_account(ALICE.value) for _ in range(2)]
    await create(connections, ALICE, "one", mine[1])
    (call,) = composio.to("POST /tools/execute")
    assert call.body["connected_account_id"] == mine[1]
    composio.accounts[mine[1]].status = "EXPIRED"
    for account in (mine[1], composio.add_account(BOB.value), "ca_never"):
        with pytest.raises(NotConnectedError):
            await create(connections, ALICE, "two", account)
    assert composio.tasks == {ALICE.value: ["one"]}


async def test_disconnecting_takes_every_account_of_that_toolkit_and_no_other(
    composio: Composio, connections: Connections
) -> None:
    composio.page_size = 2
    for status in ("ACTIVE", "EXPIRED", "INITIATED", "REVOKED"):
        composio.add_account(ALICE.value, status=status)
    others = {composio.add_account(ALICE.value, "big"), composio.add_account(BOB.value)}
    assert await disconnect(connections, ALICE)
    assert set(composio.accounts) == others
    assert not await disconnect(connections, ALICE)
    with pytest.raises(NotConnectedError):
        await tasks(connections, ALICE)


async def test_an_account_that_goes_meanwhile_is_gone_all_the_same(
    composio: Composio, connections: Connections
) -> None:
    composio.add_account(ALICE.value)
    composio.answer("DELETE", Reply(404, {"error": {"message": "gone"}}))
    assert await disconnect(connections, ALICE)


async def test_one_client_keeps_no_cookies(composio: Composio, connections: Connections) -> None:
    await connections.toolkits(ALICE, ())
    await connections.toolkits(BOB, ())
    assert len(composio.calls) > 2
    assert not any("cookie" in call.headers for call in composio.calls)


# Who are they to Composio?


def test_a_user_is_the_same_on_each_replica_and_after_a_change_of_keys() -> None:
    def of_token(signed_by: tuple[str, ...], read_by: tuple[str, ...]) -> ConnectionUser:
        principal = Principal("v" + "c" * 32, "visitor")
        token = Identities(signed_by).sign(principal, "cookie")
        read = Identities(read_by).verify(token, "cookie")
        assert read is not None
        return ConnectionUser.of(read)

    first = of_token(("k" * 20,), ("k" * 20,))
    assert first == of_token(("k" * 20,), ("new-" * 6, "k" * 20))
    assert hash(first) == hash(of_token(("k" * 20,), ("k" * 20,)))
    accounts = [new_login("https://op.example", "subject", name) for name in ("one", "two")]
    assert ConnectionUser.of(accounts[0]) == ConnectionUser.of(accounts[1])


def test_a_user_tells_nothing_and_is_no_other() -> None:
    principals = [Principal(f"v{n:032x}", "visitor") for n in range(1000)]
    users = {str(ConnectionUser.of(principal)) for principal in principals}
    assert len(users) == 1000
    assert all(principal.id[1:] not in " ".join(users) for principal in principals)
    assert all(re.fullmatch(r"cmw-[0-9a-f]{48}", user) for user in users)


def test_an_ephemeral_visitor_has_no_connections() -> None:
    ephemeral = Identities(("k" * 20,)).ephemeral("hash", "192.0.2.1")
    with pytest.raises(ValueError, match="ephemeral"):
        ConnectionUser.of(ephemeral)
    with pytest.raises(ValueError, match="ephemeral"):
        ConnectionUser.of(Principal("", "visitor"))


@pytest.mark.parametrize("value", ["", "default", "default_user", "cmw-", "v" + "a" * 32])
def test_a_user_cannot_be_made_from_nothing(value: str) -> None:
    with pytest.raises(ValueError, match="derived"):
        ConnectionUser(value)
    with pytest.raises(TypeError):
        ConnectionUser()  # type: ignore[call-arg]
    with pytest.raises(dataclasses.FrozenInstanceError):
        ALICE.value = value  # type: ignore[misc]


# State


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("ACTIVE", "connected"),
        ("INITIATED", "waiting"),
        ("INITIALIZING", "waiting"),
        ("EXPIRED", "expired"),
        ("REVOKED", "expired"),
        ("INACTIVE", "expired"),
        ("FAILED", "expired"),
        ("SOMETHING_NEW", "none"),
    ],
)
async def test_the_state_is_that_of_the_account_that_counts_whatever_others_there_are(
    composio: Composio, connections: Connections, status: str, state: str
) -> None:
    composio.add_account(BOB.value)
    composio.add_account(ALICE.value, status="EXPIRED")
    other = composio.add_account(ALICE.value)
    mine = composio.add_account(ALICE.value, status=status)
    known = [OwnAccount(ALICE, "asana", mine), OwnAccount(ALICE, "big", other)]
    found = await connections.toolkits(ALICE, known)
    assert states(found) == {"asana": state, "big": "none"}
    assert states(await connections.toolkits(ALICE, ()))["asana"] == "none"


async def test_the_state_is_read_again_each_time(
    composio: Composio, connections: Connections
) -> None:
    async def state() -> str:
        return states(await connections.toolkits(ALICE, [OwnAccount(ALICE, "asana", account)]))[
            "asana"
        ]

    _, account = await connections.link(ALICE, "asana", CALLBACK)
    seen = [await state()]
    assert account == composio.connect(ALICE.value)
    seen.append(await state())
    composio.accounts[account].disabled = True
    seen.append(await state())
    del composio.accounts[account]
    seen.append(await state())
    assert seen == ["waiting", "connected", "expired", "none"]


async def test_a_toolkit_says_its_name_and_whether_it_needs_an_account(composio: Composio) -> None:
    composio.add_toolkit("hackernews", 2, no_auth=True)
    async with opened(composio, toolkits=("asana", "hackernews", "no_tools")) as connections:
        found = await connections.toolkits(ALICE, ())
    assert [(one.slug, one.name, one.needs_account) for one in found] == [
        ("asana", "Asana", True),
        ("hackernews", "Hackernews", False),
        ("no_tools", "No Tools", True),
    ]


# Links


@pytest.mark.parametrize(
    "address",
    [
        "https://evil.example/link/lk_1",
        "http://connect.composio.dev/link/lk_1",
        "https://connect.composio.dev.evil.example/link/lk_1",
        "https://connect.composio.dev@evil.example/link/lk_1",
        "https://connect.composio.dev/other/lk_1",
        "https://connect.composio.dev/link/../other",
        "https://connect.composio.dev/link/",
        "https://connect.composio.dev/link/lk_1\nhttps://evil.example",
        'https://connect.composio.dev/link/lk_1"onclick=',
        "https://connect.composio.dev/link/lk_1](https://evil.example)",
        "javascript:alert(1)",
        "",
        None,
        7,
    ],
)
async def test_a_link_elsewhere_is_never_shown(
    composio: Composio, connections: Connections, address: object
) -> None:
    composio.answer(
        "POST /connected_accounts/link",
        Reply(201, {"redirect_url": address, "connected_account_id": "ca_1"}),
    )
    with pytest.raises(ConnectionsError) as failed:
        await connections.link(ALICE, "asana", CALLBACK)
    assert failed.value.status == 502
    assert "evil" not in str(failed.value)


async def test_only_what_is_configured_can_be_connected(
    composio: Composio, connections: Connections
) -> None:
    composio.add_toolkit("gmail")
    for toolkit in ("gmail", "", "default", "ASANA", "../asana"):
        with pytest.raises(UnknownToolkitError):
            await connections.link(ALICE, toolkit, CALLBACK)
        with pytest.raises(UnknownToolkitError):
            connections.check(toolkit)
        assert await connections.tools([toolkit]) == ()
    assert composio.calls == []


async def test_users_who_connect_at_once_share_one_auth_config(
    composio: Composio, connections: Connections
) -> None:
    users = [ConnectionUser.of(Principal(f"v{n:032x}", "visitor")) for n in range(20)]
    links = await asyncio.gather(*(connections.link(one, "asana", CALLBACK) for one in users))
    assert len(set(links)) == 20
    assert len(composio.to("POST /auth_configs")) == 1


async def test_the_newest_auth_config_that_is_enabled_is_taken(
    composio: Composio, connections: Connections
) -> None:
    for number, status in enumerate(["ENABLED", "ENABLED", "DISABLED"]):
        await connections.link(ALICE, "asana", CALLBACK)
        (first, *_) = composio.auth_configs.values()
        made = {"id": f"ac_{number}", "created_at": f"2026-0{number + 2}-01", "status": status}
        composio.auth_configs[made["id"]] = {**first, **made}
    await connections.link(ALICE, "asana", CALLBACK)
    assert composio.calls[-1].body["auth_config_id"] == "ac_1"
    assert len(composio.to("POST /auth_configs")) == 1


# Running a tool


@pytest.mark.parametrize("refusal", ["404", "400", "unsuccessful"])
async def test_not_connected_is_understood_in_each_way_it_is_told(
    composio: Composio, connections: Connections, refusal: Refusal
) -> None:
    composio.refusal = refusal
    account = composio.add_account(ALICE.value, status="EXPIRED")
    composio.add_account(BOB.value)
    with pytest.raises(NotConnectedError) as told:
        await tasks(connections, ALICE, account)
    assert told.value.toolkit == "asana"
    assert len(composio.to("POST /tools/execute")) == 1


async def test_a_tools_own_words_are_not_taken_for_a_missing_account(
    composio: Composio, connections: Connections
) -> None:
    account = composio.add_account(ALICE.value)
    words = "This workspace has no connected account for billing."
    body = {"data": {}, "error": words, "successful": False}
    composio.answer("POST /tools/execute", Reply(200, body))
    listing = await tool(connections, "ASANA_GET_TASKS")
    outcome = await connections.run(ALICE, listing, {}, account_id=account)
    assert (outcome.ok, outcome.text) == (False, f"ASANA_GET_TASKS failed: {words}")


@pytest.mark.parametrize(
    "step",
    [
        Reply(500, {"error": {"message": "internal"}}, AT_ONCE),
        Reply(503, b"<html>busy</html>", {"x-should-retry": "true", **AT_ONCE}),
        Reply(429, {"error": {"message": "slow down"}}, AT_ONCE),
        Reply(408, {"error": {"message": "late"}}, AT_ONCE),
        Reply(409, {"error": {"message": "conflict"}}, AT_ONCE),
        Reply(401, {"error": {"message": "key"}}),
        Reply(307, {}, {"location": "/api/v3.1/tools/execute/ASANA_CREATE_TASK"}),
        Reply(200, b"no json"),
        Reply(200, []),
        Reply(200, {"data": {}, "error": "quota", "successful": False}),
        Drop(),
        Drop(done=True),
    ],
    ids=repr,
)
async def test_an_action_is_never_tried_again(
    composio: Composio, connections: Connections, step: Reply | Drop
) -> None:
    composio.add_account(ALICE.value)
    creating = await tool(connections, "ASANA_CREATE_TASK")
    composio.answer("POST /tools/execute", step)
    outcome = await connections.run(ALICE, creating, {"name": "once"}, account_id=None)
    assert not outcome.ok
    assert composio.key not in outcome.text
    assert len(composio.to("POST")) == 1
    assert len(composio.tasks.get(ALICE.value, [])) == (1 if step == Drop(done=True) else 0)


async def test_a_link_and_a_deletion_are_never_tried_again(
    composio: Composio, connections: Connections
) -> None:
    composio.add_account(ALICE.value)
    for route in ("POST /auth_configs", "POST /connected_accounts/link", "DELETE"):
        composio.answer(route, Reply(500, {}, AT_ONCE))
        with pytest.raises(ConnectionsError):
            if route == "DELETE":
                await disconnect(connections, ALICE)
            else:
                await connections.link(ALICE, "asana", CALLBACK)
        assert len(composio.to(route)) == 1


async def test_reading_is_tried_a_second_time(composio: Composio, connections: Connections) -> None:
    account = [OwnAccount(ALICE, "asana", composio.add_account(ALICE.value))]
    composio.answer("GET /connected_accounts", Reply(500, {}, AT_ONCE))
    assert states(await connections.toolkits(ALICE, account))["asana"] == "connected"
    for _ in range(2):
        composio.answer("GET /connected_accounts", Reply(500, {}, AT_ONCE))
    with pytest.raises(ConnectionsError):
        await connections.toolkits(ALICE, ())


async def test_a_tool_that_does_not_answer_is_given_up(composio: Composio) -> None:
    creating = connected_tool({"slug": "ASANA_CREATE_TASK"}, "asana")
    async with opened(composio, seconds=5) as connections:
        composio.add_account(ALICE.value)
        composio.answer("POST /tools/execute", Hold())
        outcome = await connections.run(ALICE, creating, {"name": "late"}, account_id=None)
    assert not outcome.ok
    assert "not known" in outcome.text
    assert len(composio.to("POST /tools/execute")) == 1


async def test_cancelling_a_run_lets_the_next_one_go_on(
    composio: Composio, connections: Connections
) -> None:
    composio.add_account(ALICE.value)
    reading = await tool(connections, "ASANA_GET_TASKS")
    composio.answer("POST /tools/execute", Hold())
    running = asyncio.create_task(connections.run(ALICE, reading, {}, account_id=None))
    await composio.until(lambda: len(composio.to("POST /tools/execute")) == 1)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (await connections.run(ALICE, reading, {}, account_id=None)).ok


@pytest.mark.parametrize(
    "arguments", [{"name": float("nan")}, {"name": "\ud800"}, {"name": float("inf")}]
)
async def test_an_action_whose_arguments_json_cannot_carry_is_not_run(
    composio: Composio, connections: Connections, arguments: dict[str, Any]
) -> None:
    composio.add_account(ALICE.value)
    creating = await tool(connections, "ASANA_CREATE_TASK")
    outcome = await connections.run(ALICE, creating, arguments, account_id=None)
    assert not outcome.ok
    assert not composio.to("POST")


async def test_a_failure_is_told_in_short_words(
    composio: Composio, connections: Connections
) -> None:
    composio.add_account(ALICE.value)
    deleting = await tool(connections, "ASANA_DELETE_TASK")
    outcome = await connections.run(ALICE, deleting, {"name": "none"}, account_id=None)
    assert outcome.text == "ASANA_DELETE_TASK failed: There is no such task."
    long = {"error": {"message": "x" * 50_000, "slug": "s", "code": 1, "status": 400}}
    composio.answer("POST /tools/execute", Reply(400, long))
    outcome = await connections.run(ALICE, deleting, {}, account_id=None)
    assert (outcome.ok, len(outcome.text)) == (False, MAX_RESULT)


async def test_a_result_is_cut_and_can_be_stored(
    composio: Composio, connections: Connections
) -> None:
    composio.add_account(ALICE.value)
    reading = await tool(connections, "ASANA_GET_TASKS")
    data = {"text": "é\ud800\x00" * 20_000}
    composio.answer("POST /tools/execute", Reply(200, {"data": data, "successful": True}))
    outcome = await connections.run(ALICE, reading, {}, account_id=None)
    assert outcome.ok
    assert len(outcome.text) == MAX_RESULT
    outcome.text.encode()
    assert "\x00" not in outcome.text
    composio.answer("POST /tools/execute", Reply(200, b" " * (client.MAX_BODY + 1)))
    outcome = await connections.run(ALICE, reading, {}, account_id=None)
    assert not outcome.ok
    assert "too_large" in outcome.text


async def test_running_a_tool_changes_nothing_that_others_share(
    composio: Composio, connections: Connections
) -> None:
    composio.add_account(ALICE.value)
    before = json.dumps([one.schema for one in await connections.tools(["asana", "big"])])
    await create(connections, ALICE, "one")
    arguments = {"name": "two", "user_id": "x"}
    await connections.run(
        ALICE, await tool(connections, "ASANA_CREATE_TASK"), arguments, account_id=None
    )
    assert arguments == {"name": "two", "user_id": "x"}
    assert json.dumps([one.schema for one in await connections.tools(["asana", "big"])]) == before


# The catalogue


async def test_500_users_at_once_cause_one_fetch_and_share_its_tools(
    composio: Composio, connections: Connections
) -> None:
    held = composio.hold("GET /tools")
    asking = [asyncio.create_task(connections.tools(["big"])) for _ in range(500)]
    await composio.until(lambda: len(composio.to("GET /tools")) == 1)
    asking[0].cancel()  # who goes away takes nothing from the others
    held.release()
    found = await asyncio.gather(*asking[1:])
    assert len(found[0]) == 40
    assert all(first is second for first, second in pairwise(found))
    assert len(composio.to("GET /tools")) == 1


async def test_all_pages_are_read(composio: Composio, connections: Connections) -> None:
    composio.page_size = 7
    assert {one.slug for one in await connections.tools(["big"])} == {
        f"BIG_ACTION_{number}" for number in range(40)
    }
    assert len(composio.to("GET /tools")) == 6


async def test_tools_are_fetched_again_after_an_hour_without_anybody_waiting(
    composio: Composio, connections: Connections, clock: Clock
) -> None:
    before = await connections.tools(["asana"])
    clock.now += 3599
    assert await connections.tools(["asana"]) is before
    assert len(composio.to("GET /tools")) == 1
    composio.toolkits["asana"].append(Tool("ASANA_NEW", "Is new."))
    clock.now += 2
    held = composio.hold("GET /tools")
    assert await connections.tools(["asana"]) is before  # while the fetch is held
    await composio.until(lambda: len(composio.to("GET /tools")) == 2)
    held.release()
    await connections.load()
    after = await connections.tools(["asana"])
    assert [one.slug for one in after if one not in before] == ["ASANA_NEW"]
    assert all(old is new for old in before for new in after if old.slug == new.slug)


async def test_a_failed_fetch_breaks_no_chat_and_is_soon_forgotten(
    composio: Composio, connections: Connections, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        composio.answer("GET /tools", Reply(500, {"error": {"message": "m"}}, AT_ONCE))
    assert await connections.tools(["asana"]) == ()
    assert "could not be read toolkit=asana error_id=" in caplog.text
    clock.now += 29
    assert await connections.tools(["asana"]) == ()
    clock.now += 2
    await connections.tools(["asana"])
    await connections.load()
    assert len(await connections.tools(["asana"])) == 3


async def test_what_was_known_outlives_a_failed_fetch(
    composio: Composio, connections: Connections, clock: Clock
) -> None:
    before = await connections.tools(["asana"])
    clock.now += 3601
    for _ in range(2):
        composio.answer("GET /tools", Reply(200, b"<html>"))
    await connections.load()
    assert await connections.tools(["asana"]) is before


async def test_an_unreachable_service_gives_no_tools_and_one_sentence(composio: Composio) -> None:
    with refused_url() as url:
        async with opened(composio, url=url) as connections:
            assert await connections.tools(["asana"]) == ()
            with pytest.raises(ConnectionsError) as failed:
                await connections.toolkits(ALICE, ())
    assert isinstance(failed.value, UserError)
    assert composio.key not in str(failed.value)


async def test_closing_ends_what_is_fetched(composio: Composio) -> None:
    composio.answer("GET /tools", Hold())
    async with opened(composio) as connections:
        asking = asyncio.create_task(connections.tools(["asana"]))
        await composio.until(lambda: len(composio.to("GET /tools")) == 1)
    assert await asking == ()


async def test_neither_key_nor_words_of_others_are_logged(
    composio: Composio, connections: Connections, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "cmw_agent")
    composio.add_account(ALICE.value)
    secret = {"error": {"message": "canary-7", "slug": "S", "code": 1, "status": 400}}
    composio.answer("POST /tools/execute", Reply(400, secret))
    await connections.run(
        ALICE, await tool(connections, "ASANA_GET_TASKS"), {"a": "canary-8"}, account_id=None
    )
    composio.answer("POST /connected_accounts/link", Reply(400, secret))
    with pytest.raises(ConnectionsError) as failed:
        await connections.link(ALICE, "asana", CALLBACK)
    ours = "\n".join(
        record.getMessage() for record in caplog.records if record.name.startswith("cmw_agent")
    )
    assert f"error_id={failed.value.error_id}" in ours
    assert "tool=ASANA_GET_TASKS kind=refused status=400" in ours
    assert "slug='S'" in ours
    assert "canary" not in ours
    assert composio.key not in ours + repr(connections)


@pytest.mark.parametrize(
    ("tags", "changes"),
    [
        (["readOnlyHint"], False),
        (["important", "readOnlyHint", "idempotentHint"], False),
        (["readOnlyHint", "updateHint"], True),
        (["readOnlyHint", "createHint"], True),
        (["readOnlyHint", "destructiveHint"], True),
        (["destructiveHint"], True),
        (["idempotentHint"], True),
        (["READONLYHINT"], True),
        ([], True),
        (None, True),
        ("readOnlyHint", True),
        ([["readOnlyHint"]], True),
    ],
)
def test_a_tool_changes_something_unless_it_is_said_only_to_read(
    tags: object, changes: bool
) -> None:
    assert connected_tool({"slug": "X", "tags": tags}, "x").changes is changes


async def test_a_schema_goes_to_the_model_as_it_is(connections: Connections) -> None:
    for one in await connections.tools(["asana", "big"]):
        schema = dict(one.schema)
        assert convert_to_openai_tool(schema) == schema
        assert set(schema["function"]) == {"name", "description", "parameters"}
        assert schema["function"]["name"] == one.name == one.slug
        assert schema["function"]["parameters"]["type"] == "object"
        json.dumps(schema)


def test_a_name_that_no_model_takes_is_shortened_and_stays_its_own() -> None:
    long = [connected_tool({"slug": "A" * 70 + end}, "x") for end in ("B", "C")]
    names = {one.name for one in long}
    assert len(names) == 2
    assert all(re.fullmatch(r"[A-Z0-9a-f_]{64}", name) for name in names)
    assert [one.slug for one in long] == ["A" * 70 + "B", "A" * 70 + "C"]


async def test_important_tools_come_first_and_unusable_ones_not_at_all(
    composio: Composio, connections: Connections
) -> None:
    composio.toolkits["asana"] += [
        Tool("ASANA_OLD", "Is old.", deprecated=True),
        Tool("../../admin", "Is no slug."),
        Tool("ASANA_GET_TASKS", "Is there already."),
    ]
    found = [one.slug for one in await connections.tools(["asana"])]
    assert found == ["ASANA_GET_TASKS", "ASANA_DELETE_TASK", "ASANA_CREATE_TASK"]


@pytest.mark.parametrize("parameters", [None, [], {}, {"type": "string"}])
def test_a_tool_without_usable_parameters_takes_none(parameters: object) -> None:
    made = connected_tool({"slug": "X", "input_parameters": parameters}, "x")
    assert made.schema["function"]["parameters"] == {"type": "object", "properties": {}}


@pytest.mark.slow
def test_composio_s_client_is_imported_when_it_is_opened_and_its_sdk_never() -> None:
    code = (
        "import asyncio, sys\n"
        "from cmw_agent.config.settings import Settings\n"
        "from cmw_agent.tools.composio.connections import open_connections\n"
        "def seen(): return {n.partition('.')[0] for n in sys.modules if 'composio' in n[:8]}\n"
        "async def main():\n"
        "    print(sorted(seen()))\n"
        "    async with open_connections(Settings(composio_api_key='k', toolkits='asana')):\n"
        "        print(sorted(seen()))\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100
    )
    assert done.stdout.splitlines() == ["[]", "['composio_client']"]


async def test_an_account_of_another_user_counts_where_it_is_stored_of_its_owner_and_as_that_alone(
    composio: Composio, connections: Connections
) -> None:
    """A connection that has moved with a sign-in is of the visitor's user at Composio."""
    moved, other = composio.add_account(BOB.value), composio.add_account(BOB.value)
    for names_users in (True, False):
        composio.names_users = names_users
        known = [OwnAccount(BOB, "asana", moved)]
        assert states(await connections.toolkits(ALICE, known))["asana"] == "connected"
    composio.names_users = True
    for wrong in (OwnAccount(ALICE, "asana", moved), OwnAccount(BOB, "big", moved)):
        assert states(await connections.toolkits(ALICE, [wrong]))["asana"] == "none"
        assert not await connections.delete(wrong)
    assert await connections.accounts(ALICE) == []
    assert await connections.delete(OwnAccount(BOB, "asana", moved))
    assert list(composio.accounts) == [other]
