"""PostgreSQL: what waited for a transaction that changed the shown path goes by the new path.

SQLite has one writer, so that nothing waits within a transaction there.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest
import sqlalchemy as sa

from memory.conversations import tree
from memory.engine.database import Database, PostgresDatabase
from memory.engine.scopes import begun_with
from memory.records import ConversationOrigin, NewTurn
from tests.contract.conftest import ALICE, Clock, Store, emptied
from tests.contract.test_memory_tree import again, path, three_exchanges
from tests.harness import WAIT

WAITING = sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted")


@pytest.fixture
async def database(postgres_server: str) -> AsyncIterator[Database]:
    """A migrated, empty database on a server."""
    async with emptied(postgres_server) as opened:
        yield opened


async def while_selected(
    database: Database, seq: int, clock: Clock, waiter: Coroutine[Any, Any, Any]
) -> Any:
    """Select a version, start `waiter`, and commit once it waits; return what it gave."""
    assert isinstance(database, PostgresDatabase)
    async with contextlib.AsyncExitStack() as ending:
        connection = await ending.enter_async_context(database.engine.begin())
        driver: Any = (await connection.get_raw_connection()).driver_connection
        driver.scope_sql = begun_with(ALICE)
        await connection.run_sync(tree.select_version, ALICE, "s", seq, clock())
        task = asyncio.ensure_future(waiter)
        async with asyncio.timeout(WAIT):
            while not await database.read(lambda one: one.execute(WAITING).scalar_one()):
                assert not task.done()
    return await task


@pytest.mark.parametrize("origin", [None, ConversationOrigin()])
async def test_a_turn_that_waited_for_a_selection_follows_the_path_that_is_shown_then(
    store: Store, database: Database, clock: Clock, origin: ConversationOrigin | None
) -> None:
    await three_exchanges(store)
    await again(store, 3, "other")  # 7, 8
    new = NewTurn("s", "next", key="n", origin=origin, budget=1000)
    ticket = await while_selected(database, 3, clock, store.begin_turn(ALICE, new))
    assert ticket.parent_seq == 6
    assert [message.seq for message in ticket.window] == [1, 2, 3, 4, 5, 6, 9]
    await store.finish(ALICE, ticket.turn_id, "answer")
    stored = {m.seq: m.parent_seq for m in await store.messages(ALICE, "s")}
    assert stored == {1: 0, 2: 1, 3: 2, 4: 3, 5: 4, 6: 5, 9: 6, 10: 9}


async def test_a_summary_that_waited_for_a_selection_is_not_of_another_path(
    store: Store, database: Database, clock: Clock
) -> None:
    await three_exchanges(store)
    await again(store, 3, "other")  # 7, 8
    part = await store.claim_older(ALICE, "s", before_seq=8, min_tokens=1)
    assert part is not None
    storing = store.store_summary(ALICE, "s", part, "what was said there")
    assert not await while_selected(database, 3, clock, storing)
    assert (await store.conversation(ALICE, "s")).summary is None
    assert await path(store) == [1, 2, 3, 4, 5, 6]
