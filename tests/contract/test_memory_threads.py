"""Threads of agents: noted for their owner, orphaned once that owner has the conversation no more."""

from memory.engine.database import Database
from memory.maintenance.retention import DELETED_KEPT, Retention
from memory.threads import StoredThread, ThreadStore
from tests.contract.conftest import ALICE, BOB, Clock, Store

HERS, HIS = StoredThread("graph", "thread-hers"), StoredThread("graph", "thread-his")
AGENTS = ["graph", "other"]


async def two_threads(store: Store, threads: ThreadStore) -> None:
    """Let Alice and Bob each have a conversation, and a thread of it."""
    for owner, conversation, thread in ((ALICE, "hers", HERS), (BOB, "his", HIS)):
        await store.exchange(owner, conversation, "one", "two")
        await threads.keep(owner, conversation, thread)
        await threads.keep(owner, conversation, thread)  # the next turn


async def test_a_thread_is_orphaned_when_its_owner_s_conversation_is_gone(
    store: Store, database: Database, clock: Clock
) -> None:
    threads = ThreadStore(database, clock=clock)
    await two_threads(store, threads)
    assert await threads.owners_of_orphaned(AGENTS) == []
    await store.forget(ALICE)
    assert await threads.orphaned(ALICE, AGENTS) == [HERS]
    assert await threads.orphaned(ALICE, ["other"]) == []
    assert await threads.orphaned(BOB, AGENTS) == []
    assert await threads.owners_of_orphaned(AGENTS) == [ALICE]
    assert await threads.owners_of_orphaned(["other"]) == []
    assert await threads.orphaned_counts() == {"graph": 1}
    await threads.forget(BOB, HERS.thread_id)
    assert await threads.orphaned(ALICE, AGENTS) == [HERS]
    await threads.forget(ALICE, HERS.thread_id)
    assert await threads.owners_of_orphaned(AGENTS) == []
    assert await threads.orphaned_counts() == {}


async def test_a_deletion_that_can_be_taken_back_leaves_the_thread(
    store: Store, database: Database, clock: Clock
) -> None:
    threads = ThreadStore(database, clock=clock)
    await two_threads(store, threads)
    await store.delete(ALICE, "hers")
    assert await threads.owners_of_orphaned(AGENTS) == []
    clock.advance(DELETED_KEPT + 1)
    await Retention(database, clock=clock).clean(days=0, idle_seconds=10**6)
    assert await threads.owners_of_orphaned(AGENTS) == [ALICE]


async def test_a_conversation_that_begins_anew_under_its_id_has_not_the_old_thread(
    store: Store, database: Database, clock: Clock
) -> None:
    threads = ThreadStore(database, clock=clock)
    await two_threads(store, threads)
    await store.forget(ALICE)
    clock.advance(1)
    await store.exchange(ALICE, "hers", "three", "four")
    assert await threads.orphaned(ALICE, AGENTS) == [HERS]
    await threads.forget(ALICE, HERS.thread_id)
    await threads.keep(ALICE, "hers", HERS)
    assert await threads.orphaned(ALICE, AGENTS) == []


async def test_a_thread_is_orphaned_when_its_conversation_becomes_another_owner_s(
    store: Store, database: Database, clock: Clock
) -> None:
    threads = ThreadStore(database, clock=clock)
    await two_threads(store, threads)
    await store.take_over(ALICE, BOB)
    assert await threads.orphaned(BOB, AGENTS) == [HIS]
    assert await threads.orphaned(ALICE, AGENTS) == []
