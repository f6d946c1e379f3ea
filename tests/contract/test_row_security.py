"""PostgreSQL's row-level security: a transaction reaches only rows of the owner that it names."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from memory.connections import ConnectionStore
from memory.conversations import share_files
from memory.conversations.share_store import ShareStore
from memory.engine.database import Database, bypasses_row_security, migrate, open_database
from memory.engine.scopes import EVERYONE, Handover, RowScope
from memory.errors import ConversationNotFoundError, StoreError
from memory.logins import Logins
from memory.maintenance.retention import Retention
from memory.mcp_servers import McpServerStore
from memory.queues.inbox import Inbox, NewInboxMessage
from memory.queues.outbox import NewSend, Outbox
from memory.queues.schedules import Schedules
from memory.queues.window_store import ServiceWindows
from memory.records import StoredFile
from memory.schema import metadata
from memory.share_records import NewShare
from memory.threads import StoredThread, ThreadStore
from tests.contract.conftest import ALICE, BOB, Clock, Store, emptied

OWNED = [table for table in metadata.sorted_tables if "owner_id" in table.columns]
NAMES = [table.name for table in OWNED]
SNAPSHOTS = [
    table
    for table in metadata.sorted_tables
    if "reader_id" in table.columns and "owner_id" not in table.columns
]


@pytest.fixture
async def filled(postgres_server: str, clock: Clock) -> AsyncIterator[Database]:
    """A database in which Alice and Bob have a row in each table."""
    async with emptied(postgres_server) as database:
        for owner in (ALICE, BOB):
            await fill(database, owner, clock)
        yield database
        await Retention(database, clock=lambda: clock() + timedelta(days=500)).clean(
            days=1, idle_seconds=1
        )


async def fill(database: Database, owner: str, clock: Clock) -> None:
    store, name = Store(database, clock=clock), owner.removeprefix("user:")
    await store.exchange(owner, f"of-{name}", "a question", "an answer")
    file = StoredFile(
        f"{ord(name[0]):032x}", None, None, "a.txt", "text/plain", "document", 1, 1, "a", clock()
    )
    await store.create_prompt(owner, f"of-{name}", "a prompt")
    await store.add_file(owner, file, bound_of=lambda *_: None)
    tasks = Schedules(database, following=lambda *_: clock() + timedelta(days=1), clock=clock)
    await tasks.add(
        owner, f"of-{name}", text="a", cron="0 7 * * *", time_zone="UTC", bound_of=lambda *_: None
    )
    inbox, outbox = Inbox(database, "c", clock=clock), Outbox(database, "c", clock=clock)
    await inbox.add(owner, NewInboxMessage(f"m-{name}", {"text": "a"}))
    await outbox.add(owner, [NewSend(f"s-{name}", "them", "text", "a")])
    await ServiceWindows(database, "c", clock=clock).opened(owner, [f"r-{name}"], clock())
    await store.set_language(owner, "ru")
    await store.set_consent(owner, "ratings", is_given=True)
    await Logins(database, clock=clock).begin(owner, f"l-{name}")
    await ConnectionStore(database, clock=clock).offer(owner, f"k-{name}", "asana", "u")
    thread = StoredThread("graph", f"t-{name}")
    await ThreadStore(database, clock=clock).keep(owner, f"of-{name}", thread)
    await McpServerStore(database, clock=clock).seal(owner, "wiki", "sealed")
    share = NewShare(f"of-{name}", f"share-{name}", f"reader-{name}", None)
    await ShareStore(database, clock=clock).create_share(owner, share)
    shared = replace(file, file_id=f"{ord(name[0]) + 1:032x}", seq=1)
    await database.write(
        lambda connection: share_files.add(
            connection, share.reader_id, [shared], {shared.file_id: shared.file_id}, {1: 1}
        ),
        owner=owner,
    )


async def owners(database: Database, table: sa.Table, scope: RowScope) -> set[Any]:
    """Whose rows a statement without an owner finds."""
    forgetful = sa.select(table.c.owner_id)
    return await database.read(
        lambda connection: set(connection.execute(forgetful).scalars()), owner=scope
    )


async def test_each_table_with_an_owner_has_a_policy_that_holds_for_its_own_role(
    filled: Database,
) -> None:
    secured = sa.text(
        "SELECT relname FROM pg_class c WHERE relrowsecurity AND relforcerowsecurity"
        " AND EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid)"
    )
    found = await filled.read(lambda connection: set(connection.execute(secured).scalars()))
    assert set(NAMES) <= found
    assert {table.name for table in SNAPSHOTS} <= found


@pytest.mark.parametrize("table", OWNED, ids=NAMES)
async def test_a_statement_that_forgets_its_owner_finds_nothing_of_others(
    filled: Database, table: sa.Table
) -> None:
    assert await owners(filled, table, EVERYONE) == {ALICE, BOB}
    assert await owners(filled, table, BOB) == {BOB}
    assert await owners(filled, table, "user:o'brien\\") == set()
    assert await owners(filled, table, None) == set()
    assert await owners(filled, table, BOB) == {BOB}


@pytest.mark.parametrize("table", OWNED, ids=NAMES)
async def test_a_statement_that_forgets_its_owner_changes_nothing_of_others(
    filled: Database, table: sa.Table
) -> None:
    taken = sa.update(table).values(owner_id=BOB)
    await filled.write(lambda connection: connection.execute(taken), owner=BOB)
    assert await owners(filled, table, EVERYONE) == {ALICE, BOB}
    deleted = sa.delete(table)
    await filled.write(lambda connection: connection.execute(deleted), owner=BOB)
    assert await owners(filled, table, EVERYONE) == {ALICE}
    await filled.write(lambda connection: connection.execute(deleted))
    assert await owners(filled, table, EVERYONE) == {ALICE}


@pytest.mark.parametrize("table", SNAPSHOTS, ids=[table.name for table in SNAPSHOTS])
async def test_a_link_s_principal_reaches_its_snapshot_and_no_row_of_an_owner(
    filled: Database, table: sa.Table
) -> None:
    async def readers(scope: RowScope) -> set[Any]:
        forgetful = sa.select(table.c.reader_id)
        return await filled.read(
            lambda connection: set(connection.execute(forgetful).scalars()), owner=scope
        )

    assert await readers(EVERYONE) == {"reader-alice", "reader-bob"}
    assert await readers(ALICE) == await readers("reader-alice") == {"reader-alice"}
    assert await readers(None) == await readers("reader-nobody") == set()
    for owned in OWNED:
        free = {None} if owned.name.startswith("channel_") else set()
        assert await owners(filled, owned, "reader-alice") <= free
    planted = sa.update(table).values(reader_id="reader-alice")
    for scope in (BOB, "reader-bob"):
        with pytest.raises(StoreError):
            await filled.write(lambda connection: connection.execute(planted), owner=scope)


async def test_a_row_cannot_be_written_for_another(filled: Database) -> None:
    login = {"login_id": "planted", "owner_id": ALICE, "created_at": Clock()()}
    insert = sa.insert(metadata.tables["agent_logins"]).values(login)
    with pytest.raises(StoreError):
        await filled.write(lambda connection: connection.execute(insert), owner=BOB)
    given = sa.update(metadata.tables["agent_sessions"]).values(owner_id=ALICE)
    with pytest.raises(StoreError):
        await filled.write(lambda connection: connection.execute(given), owner=BOB)


async def test_a_scope_ends_with_its_transaction(postgres_server: str, filled: Database) -> None:
    one = open_database(postgres_server)
    try:
        table = metadata.tables["agent_messages"]
        for scope, found in ((EVERYONE, {ALICE, BOB}), (None, set()), (ALICE, {ALICE})):
            assert await owners(one, table, scope) == found
        # Without a scope of its own, on the connection that the others have used:
        async with one.engine.connect() as connection:  # type: ignore[attr-defined]
            assert (await connection.execute(sa.select(table.c.owner_id))).all() == []
        both = [owners(one, table, (ALICE, BOB)[number % 2]) for number in range(40)]
        assert await asyncio.gather(*both) == [{(ALICE, BOB)[n % 2]} for n in range(40)]
    finally:
        await one.dispose()


async def test_what_is_another_s_is_as_if_it_were_not_there(filled: Database) -> None:
    store = Store(filled)
    with pytest.raises(ConversationNotFoundError):
        await store.begin(BOB, "of-alice", "mine now")
    assert await store.texts(ALICE, "of-alice") == [
        ("user", "a question"),
        ("assistant", "an answer"),
    ]


async def test_a_handover_reaches_two_owners_and_no_third(filled: Database) -> None:
    table = metadata.tables["agent_sessions"]
    scope = Handover("user:nobody", BOB)
    assert await owners(filled, table, scope) == {BOB}
    assert await Store(filled).take_over(BOB, ALICE) == 1
    assert await owners(filled, table, EVERYONE) == {BOB}


async def test_who_is_above_the_policies_is_known(postgres_server: str) -> None:
    superuser = postgres_server.replace("//cmw:", "//postgres:")
    assert superuser != postgres_server
    for url, expected in ((postgres_server, False), (superuser, True), ("sqlite://", False)):
        database = open_database(url)
        try:
            await migrate(database)
            assert await bypasses_row_security(database) is expected
        finally:
            await database.dispose()
