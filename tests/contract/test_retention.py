"""Retention: due rows are deleted, rows in use stay, and concurrent jobs do not conflict."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from functools import partial

import pytest
import sqlalchemy as sa

from memory.engine.database import Database, open_database
from memory.engine.scopes import EVERYONE, begun_with
from memory.maintenance.retention import BATCH, DELETED_KEPT, Cleaned, Retention
from memory.schema import agent_messages, agent_sessions, agent_turns
from tests.contract.conftest import ALICE, BOB, LEASE, Clock, Store, emptied, rows_of
from tests.doubles.waiting import WAIT

DAY = 86_400.0
IDLE = 3600.0
OF_CONVERSATIONS = (agent_sessions, agent_messages, agent_turns)
NOTHING = Cleaned(0, 0, 0, 0)
Clean = Callable[..., Awaitable[Cleaned]]


@pytest.fixture
def clean(database: Database, clock: Clock) -> Clean:
    return partial(Retention(database, clock=clock).clean, days=30, idle_seconds=IDLE)


async def conversations(database: Database) -> set[str]:
    return {str(row[0]) for row in (await rows_of(database))["agent_sessions"]}


async def no_orphans(database: Database) -> None:
    def orphans(connection: sa.Connection) -> int:
        kept = sa.select(agent_sessions.c.session_id)
        return sum(
            connection.execute(
                sa.select(sa.func.count()).select_from(table).where(table.c.session_id.not_in(kept))
            ).scalar_one()
            for table in OF_CONVERSATIONS
        )

    assert await database.read(orphans, owner=EVERYONE) == 0


async def test_what_its_owner_deleted_goes_for_good_an_hour_later(
    store: Store, database: Database, clock: Clock, clean: Clean
) -> None:
    await store.exchange(ALICE, "gone", "one", "two")
    await store.exchange(BOB, "kept", "one", "two")
    await store.delete(ALICE, "gone")
    clock.advance(DELETED_KEPT - 1)
    assert await clean() == NOTHING
    await store.restore(ALICE, "gone")
    await store.delete(ALICE, "gone")
    clock.advance(DELETED_KEPT - 1)
    assert (await clean()).purged == 0  # the hour counts from the last deletion
    clock.advance(1)
    assert (await clean()).purged == 1
    assert await conversations(database) == {"kept"}
    await no_orphans(database)
    assert await store.texts(BOB, "kept") == [("user", "one"), ("assistant", "two")]


async def test_what_was_not_used_for_so_many_days_goes(
    store: Store, database: Database, clock: Clock, clean: Clean
) -> None:
    await store.exchange(ALICE, "old", "one", "two")
    await store.exchange(ALICE, "used-again", "one", "two")
    clock.advance(20 * DAY)
    await store.exchange(ALICE, "used-again", "three", "four")
    clock.advance(10 * DAY)
    assert (await clean()).expired == 0  # thirty days to the second are not more
    clock.advance(1)
    assert await clean() == Cleaned(purged=0, expired=1, interrupted=0, idle=0)
    assert await conversations(database) == {"used-again"}
    await no_orphans(database)
    assert await clean() == NOTHING


async def test_without_a_number_of_days_nothing_is_too_old(
    store: Store, database: Database, clock: Clock, clean: Clean
) -> None:
    await store.exchange(ALICE, "old", "one", "two")
    clock.advance(36_500 * DAY)
    assert await clean(days=0) == Cleaned(0, 0, 0, idle=1)
    assert await conversations(database) == {"old"}


@pytest.mark.parametrize("deleted", [False, True])
async def test_what_has_a_running_turn_stays(
    deleted: bool, store: Store, database: Database, clock: Clock, clean: Clean
) -> None:
    ticket = await store.begin(ALICE, "in-use", "one")
    if deleted:
        await store.delete(ALICE, "in-use")
    clock.advance(31 * DAY)
    assert await store.checkpoint(ALICE, ticket.turn_id, content="two", tool_calls=[])
    before = await rows_of(database)
    assert await clean() == NOTHING
    assert await clean(dry_run=True) == NOTHING
    assert await rows_of(database) == before
    assert await store.finish(ALICE, ticket.turn_id, "two")
    done = await clean()
    assert (done.purged, done.expired) == (deleted, not deleted)
    assert await clean() == NOTHING
    assert not await conversations(database)


async def test_a_turn_that_lost_its_lease_is_interrupted_and_holds_nothing(
    store: Store, database: Database, clock: Clock, clean: Clean
) -> None:
    ticket = await store.begin(ALICE, "left", "one")
    clock.advance(LEASE - 1)
    assert await clean() == NOTHING
    clock.advance(1)
    assert await clean(dry_run=True) == Cleaned(0, 0, interrupted=1, idle=0)
    assert await clean() == Cleaned(0, 0, interrupted=1, idle=0)
    assert not await store.finish(ALICE, ticket.turn_id, "late")
    await store.begin(ALICE, "left-too", "one")
    clock.advance(31 * DAY)
    assert await clean() == Cleaned(0, expired=2, interrupted=1, idle=0)
    assert not await conversations(database)


async def test_what_was_idle_too_long_is_inactive_until_its_next_turn(
    store: Store, clock: Clock, clean: Clean
) -> None:
    await store.exchange(ALICE, "s1", "one", "two")
    clock.advance(IDLE)
    assert await clean() == NOTHING
    clock.advance(1)
    assert await clean() == Cleaned(0, 0, 0, idle=1)
    assert await clean() == NOTHING
    shown = await store.conversation(ALICE, "s1")
    assert (shown.status, shown.ended_at) == ("inactive", clock.now)
    await store.exchange(ALICE, "s1", "three", "four")
    shown = await store.conversation(ALICE, "s1")
    assert (shown.status, shown.ended_at) == ("active", None)


async def due(store: Store, clock: Clock) -> Cleaned:
    """Make rows of each kind; return what a run is to change."""
    deleted, old, idle = 3, 4, 5
    for number in range(old):
        await store.exchange(ALICE, f"old-{number}", "one", "two")
    clock.advance(31 * DAY)
    for number in range(deleted):
        await store.exchange(BOB, f"deleted-{number}", "one", "two")
        await store.delete(BOB, f"deleted-{number}")
    for number in range(idle - 1):
        await store.exchange(ALICE, f"idle-{number}", "one", "two")
    await store.begin(BOB, "left", "one")
    clock.advance(2 * DELETED_KEPT)
    await store.exchange(ALICE, "fresh", "one", "two")
    return Cleaned(deleted, old, 1, idle)


async def test_a_dry_run_counts_the_same_and_changes_nothing(
    store: Store, database: Database, clock: Clock, clean: Clean
) -> None:
    wanted = await due(store, clock)
    before = await rows_of(database)
    assert await clean(dry_run=True) == wanted
    assert await rows_of(database) == before
    assert await clean() == wanted
    assert await clean(dry_run=True) == NOTHING
    await no_orphans(database)


async def copies(database: Database, number: int) -> None:
    """Make `number` conversations out of the one that is there."""

    def work(connection: sa.Connection) -> None:
        for table in OF_CONVERSATIONS:
            rows = [dict(row) for row in connection.execute(sa.select(table)).mappings()]
            made = []
            for row in rows:
                row.pop("message_id", None)
                for copy in range(number):
                    new = row | {"session_id": f"copy-{copy}"}
                    if "turn_id" in table.c and table.name == "agent_turns":
                        new["turn_id"] = uuid.uuid4().hex
                    made.append(new)
            connection.execute(sa.insert(table), made)

    await database.write(work, owner=EVERYONE)


async def test_more_than_a_batch_goes_in_one_run(
    store: Store, database: Database, clock: Clock, clean: Clean
) -> None:
    await store.exchange(ALICE, "first", "one", "two")
    await copies(database, 2 * BATCH - 1)
    clock.advance(2 * IDLE)
    assert await clean() == Cleaned(0, 0, 0, idle=2 * BATCH)
    clock.advance(31 * DAY)
    assert await clean() == Cleaned(0, expired=2 * BATCH, interrupted=0, idle=0)
    assert not await conversations(database)
    await no_orphans(database)


async def test_many_in_use_do_not_keep_the_others(
    database: Database, clock: Clock, clean: Clean
) -> None:
    store = Store(database, lease_seconds=100 * DAY, clock=clock)
    await store.begin(ALICE, "in-use", "one")
    await copies(database, BATCH)
    await store.exchange(BOB, "old", "one", "two")
    clock.advance(31 * DAY)
    async with asyncio.timeout(WAIT):
        assert await clean() == Cleaned(0, expired=1, interrupted=0, idle=0)
    assert len(await conversations(database)) == BATCH + 1


async def test_four_cleaners_at_once_share_the_work(
    store: Store, database: Database, clock: Clock
) -> None:
    await store.exchange(ALICE, "first", "one", "two")
    await copies(database, 3 * BATCH)
    await store.begin(BOB, "left", "one")
    clock.advance(31 * DAY)
    await store.exchange(ALICE, "fresh", "one", "two")
    in_memory = database.engine.url.database in (None, ":memory:")  # type: ignore[attr-defined]
    url = database.engine.url.render_as_string(hide_password=False)  # type: ignore[attr-defined]
    others = [] if in_memory else [open_database(url) for _ in range(3)]
    try:
        four = [database, *(others or [database] * 3)]
        done = await asyncio.gather(
            *(Retention(d, clock=clock).clean(days=30, idle_seconds=IDLE) for d in four)
        )
    finally:
        for other in others:
            await other.dispose()
    assert sum(each.expired for each in done) == 3 * BATCH + 2
    assert sum(each.interrupted for each in done) == 1
    assert await conversations(database) == {"fresh"}
    await no_orphans(database)


async def test_turns_that_begin_meanwhile_keep_their_conversations(
    postgres_server: str, clock: Clock
) -> None:
    async with emptied(postgres_server) as database:
        store = Store(database, lease_seconds=LEASE, clock=clock)
        names = [f"s{number}" for number in range(40)]
        for name in names:
            await store.exchange(ALICE, name, "one", "two")
        clock.advance(31 * DAY)
        retention = Retention(database, clock=clock)
        cleaners = (retention.clean(days=30, idle_seconds=IDLE) for _ in range(4))
        # `create` makes the conversation anew where the cleaner was first.
        begun = [store.begin(ALICE, name, "again") for name in names]
        tickets, _ = await asyncio.gather(asyncio.gather(*begun), asyncio.gather(*cleaners))
        assert await conversations(database) == set(names)
        for ticket in tickets:
            assert await store.finish(ALICE, ticket.turn_id, "done")
        await no_orphans(database)


async def test_what_another_transaction_holds_is_left_to_the_next_run(
    postgres_server: str, clock: Clock
) -> None:
    async with emptied(postgres_server) as database:
        store = Store(database, lease_seconds=LEASE, clock=clock)
        for name in ("held", "free"):
            await store.exchange(ALICE, name, "one", "two")
        clock.advance(31 * DAY)
        retention = Retention(database, clock=clock)
        wanted = sa.select(agent_sessions).where(agent_sessions.c.session_id == "held")
        async with database.engine.begin() as other:  # type: ignore[attr-defined]
            await other.execute(sa.text(begun_with(EVERYONE)))
            await other.execute(wanted.with_for_update())
            async with asyncio.timeout(WAIT):
                done = await retention.clean(days=30, idle_seconds=IDLE)
            assert done.expired == 1
            assert await conversations(database) == {"held"}
        assert (await retention.clean(days=30, idle_seconds=IDLE)).expired == 1
