"""Owners' MCP servers in the database: each owner's alone, replaced whole, and forgotten."""

from datetime import timedelta

from memory.engine.database import Database
from memory.logins import Logins, Taking
from memory.maintenance.retention import Retention
from memory.mcp_rows import UNUSED_FOR
from memory.mcp_servers import McpServerStore, StoredMcpServer
from tests.contract.conftest import ALICE, BOB, Clock, Store
from tests.databases import take_over

ACCOUNT = "account"


async def test_a_sign_in_is_its_owner_s_and_the_newest_counts(
    database: Database, clock: Clock
) -> None:
    store = McpServerStore(database, clock=clock)
    await store.seal(ALICE, "wiki", "first")
    await store.seal(ALICE, "wiki", "second")
    await store.seal(BOB, "wiki", "his")
    assert await store.find(ALICE, "wiki") == StoredMcpServer("wiki", None, "second")
    assert await store.servers(BOB) == [StoredMcpServer("wiki", None, "his")]
    assert await store.find(ALICE, "other") is None
    assert await store.drop(ALICE, "wiki")
    assert not await store.drop(ALICE, "wiki")
    assert await store.find(BOB, "wiki") is not None


async def test_what_nobody_has_used_for_long_is_deleted(database: Database, clock: Clock) -> None:
    await McpServerStore(database, clock=clock).seal(ALICE, "wiki", "old")
    now = clock() + UNUSED_FOR - timedelta(days=1)
    recent = McpServerStore(database, clock=lambda: now)
    await recent.seal(BOB, "wiki", "new")
    later = now + timedelta(days=1)
    await Retention(database, clock=lambda: later).clean(days=0, idle_seconds=1)
    assert await recent.find(ALICE, "wiki") is None
    assert await recent.find(BOB, "wiki") is not None


async def test_forgetting_an_owner_takes_the_sign_ins(
    store: Store, database: Database, clock: Clock
) -> None:
    servers = McpServerStore(database, clock=clock)
    await servers.seal(ALICE, "wiki", "hers")
    await servers.seal(BOB, "wiki", "his")
    await store.forget(ALICE)
    assert await servers.servers(ALICE) == []
    assert await servers.servers(BOB) != []


async def test_servers_move_with_a_sign_in_sealed_anew_but_for_those_that_the_account_has(
    store: Store, database: Database, clock: Clock
) -> None:
    servers = McpServerStore(database, clock=clock)
    await servers.seal(ALICE, "wiki", "hers")
    await servers.seal(ALICE, "mail", "hers")
    assert await servers.add(ALICE, "notes", "https://notes.example.com")
    await servers.seal(BOB, "wiki", "his")
    await servers.seal(ACCOUNT, "mail", "own")
    shown = await store.holdings(ALICE)
    assert [one.server for one in shown.servers] == ["mail", "notes", "wiki"]
    assert not shown.is_empty
    assert await take_over(database, ACCOUNT, ALICE) == 0
    assert await servers.servers(ACCOUNT) == [
        StoredMcpServer("mail", None, "own"),
        StoredMcpServer("notes", "https://notes.example.com", None),
        StoredMcpServer("wiki", None, "hers for account"),
    ]
    assert await servers.servers(ALICE) == [StoredMcpServer("mail", None, "hers")]
    assert await servers.servers(BOB) == [StoredMcpServer("wiki", None, "his")]


async def test_a_token_that_is_renewed_after_it_has_moved_brings_nothing_back(
    database: Database, clock: Clock
) -> None:
    servers = McpServerStore(database, clock=clock)
    await servers.seal(ALICE, "wiki", "hers")
    assert await servers.renew(ALICE, "wiki", "renewed")
    await take_over(database, ACCOUNT, ALICE)
    assert not await servers.renew(ALICE, "wiki", "late")
    assert await servers.servers(ALICE) == []
    assert await servers.servers(ACCOUNT) == [StoredMcpServer("wiki", None, "renewed for account")]


async def test_a_sign_in_that_cannot_be_read_stays_behind(
    store: Store, database: Database, clock: Clock
) -> None:
    servers = McpServerStore(database, clock=clock)
    await servers.seal(ALICE, "wiki", "of a forgotten key")
    taking = Taking(ALICE, (await store.holdings(ALICE)).digest, lambda *_: None)
    await Logins(database).begin(ACCOUNT, "login", taking=taking)
    assert await servers.servers(ACCOUNT) == []
    assert await servers.find(ALICE, "wiki") is not None
