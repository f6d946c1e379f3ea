"""Connection links: finished once, by their owner alone, before they expire, on each database."""

import secrets
from datetime import datetime, timedelta

import pytest

from memory.connection_rows import MAX_OPEN, MAX_TRIES, OPEN_FOR
from memory.connections import ConnectionStore, StoredConnection
from memory.engine.database import Database
from memory.maintenance.retention import Retention
from memory.manager import ConversationMemoryManager
from memory.records import utcnow

ALICE, BOB = "v-alice", "v-bob"


class Clock:
    """A time that a test moves on."""

    def __init__(self) -> None:
        self.now = utcnow()

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def kept(database: Database, clock: Clock) -> ConnectionStore:
    return ConnectionStore(database, clock=clock)


async def begun(
    kept: ConnectionStore, owner: str, account: str = "ca_1", toolkit: str = "asana"
) -> StoredConnection:
    ticket = secrets.token_urlsafe(32)
    await kept.offer(owner, ticket, toolkit)
    assert await kept.begin(owner, ticket, "browser", account)
    found = await kept.find(owner, ticket)
    assert found is not None
    return found


async def test_each_step_is_taken_once_and_in_order(kept: ConnectionStore) -> None:
    await kept.offer(ALICE, "t", "asana", "a chat")
    assert not await kept.await_code(ALICE, "t", "code")
    assert await kept.whose("t") == ALICE
    assert await kept.begin(ALICE, "t", "browser", "ca_1")
    assert not await kept.begin(ALICE, "t", "another", "ca_2")
    found = await kept.find(ALICE, "t")
    assert found is not None
    assert (found.state, found.browser, found.account_id) == ("begun", "browser", "ca_1")
    assert await kept.connected(ALICE) == {}
    assert await kept.waiting(ALICE) == {"asana"}
    assert await kept.await_code(ALICE, "t", "code")
    assert not await kept.await_code(ALICE, "t", "code")
    assert not await kept.finish(ALICE, found)
    confirmed = await kept.confirm(ALICE, "code")
    assert confirmed is not None
    assert await kept.confirm(ALICE, "code") is None
    assert await kept.connected(ALICE) == {"asana": "ca_1"}
    assert await kept.waiting(ALICE) == set()


async def test_another_s_connection_is_one_that_is_not_there(kept: ConnectionStore) -> None:
    found = await begun(kept, ALICE)
    ticket = found.connection_id
    await kept.offer(ALICE, "offered", "asana")
    assert await kept.find(BOB, ticket) is None
    assert not await kept.begin(BOB, "offered", "browser", "ca_2")
    assert not await kept.await_code(BOB, ticket, "code")
    assert not await kept.finish(BOB, found)
    assert not await kept.drop(BOB, ticket)
    assert await kept.await_code(ALICE, ticket, "code")
    assert await kept.confirm(BOB, "code") is None
    assert await kept.remove(BOB, "asana") == 0
    assert await kept.connected(BOB) == {}
    assert await kept.confirm(ALICE, "code") is not None
    assert await kept.connected(ALICE) == {"asana": "ca_1"}


async def test_a_link_has_its_time(kept: ConnectionStore, clock: Clock) -> None:
    found = await begun(kept, ALICE)
    await kept.offer(ALICE, "offered", "asana")
    clock.now += OPEN_FOR
    assert await kept.find(ALICE, "offered") is None
    assert not await kept.begin(ALICE, "offered", "browser", "ca_2")
    assert not await kept.finish(ALICE, found)
    assert await kept.waiting(ALICE) == set()


async def test_a_code_has_its_time(kept: ConnectionStore, clock: Clock) -> None:
    found = await begun(kept, ALICE)
    assert await kept.await_code(ALICE, found.connection_id, "code")
    clock.now += OPEN_FOR
    assert await kept.confirm(ALICE, "code") is None


async def test_wrong_codes_end_all_that_wait_for_one(kept: ConnectionStore) -> None:
    found, other = await begun(kept, ALICE), await begun(kept, BOB)
    for owner, one in ((ALICE, found), (BOB, other)):
        assert await kept.await_code(owner, one.connection_id, "code")
    for _ in range(MAX_TRIES):
        assert await kept.confirm(ALICE, "wrong") is None
    assert await kept.confirm(ALICE, "code") is None
    assert await kept.confirm(BOB, "code") is not None


async def test_a_connection_takes_the_place_of_the_one_before(kept: ConnectionStore) -> None:
    gmail = await begun(kept, ALICE, "ca_mail", "gmail")
    assert await kept.finish(ALICE, gmail)
    for account in ("ca_1", "ca_2"):
        assert await kept.finish(ALICE, await begun(kept, ALICE, account))
    assert await kept.connected(ALICE) == {"gmail": "ca_mail", "asana": "ca_2"}
    assert await kept.remove(ALICE, "asana") == 1
    assert await kept.connected(ALICE) == {"gmail": "ca_mail"}


async def test_an_owner_has_so_many_open_links_and_no_more(
    kept: ConnectionStore, clock: Clock
) -> None:
    assert await kept.finish(ALICE, await begun(kept, ALICE))
    await kept.offer(BOB, "bobs", "asana")
    for number in range(MAX_OPEN + 3):
        clock.now += timedelta(seconds=1)
        await kept.offer(ALICE, f"t{number}", "gmail")
    found = [await kept.find(ALICE, f"t{number}") for number in range(MAX_OPEN + 3)]
    assert [one is not None for one in found] == [False] * 3 + [True] * MAX_OPEN
    assert await kept.connected(ALICE) == {"asana": "ca_1"}
    assert await kept.find(BOB, "bobs") is not None


async def test_what_is_an_owner_s_goes_with_the_owner(
    kept: ConnectionStore, database: Database
) -> None:
    for owner in (ALICE, BOB):
        assert await kept.finish(owner, await begun(kept, owner))
        await kept.offer(owner, f"of {owner}", "asana")
    await ConversationMemoryManager(database).forget(ALICE)
    assert await kept.connected(ALICE) == {}
    assert await kept.whose(f"of {ALICE}") is None
    assert await kept.connected(BOB) == {"asana": "ca_1"}


async def test_what_nobody_can_finish_any_more_is_cleaned_up(
    kept: ConnectionStore, database: Database, clock: Clock
) -> None:
    assert await kept.finish(ALICE, await begun(kept, ALICE))
    await kept.offer(ALICE, "late", "asana")
    cleaning = Retention(database, clock=clock)
    await cleaning.clean(days=0, idle_seconds=3600)
    assert await kept.whose("late") == ALICE
    clock.now += OPEN_FOR
    await cleaning.clean(days=0, idle_seconds=3600)
    assert await kept.whose("late") is None
    assert await kept.connected(ALICE) == {"asana": "ca_1"}
