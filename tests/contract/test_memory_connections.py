"""Connection links: finished once, by their owner alone, before they expire, on each database."""

import secrets
from datetime import datetime, timedelta

import pytest

from memory.connection_rows import MAX_OPEN, MAX_TRIES, OPEN_FOR
from memory.connections import ConnectionStore, StoredConnection
from memory.engine.database import Database
from memory.errors import HoldingsChangedError
from memory.logins import Logins, Taking
from memory.maintenance.retention import Retention
from memory.manager import ConversationMemoryManager
from memory.records import utcnow
from tests.databases import take_over

ALICE, BOB, ACCOUNT = "v-alice", "v-bob", "a-alice"


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


def user_of(owner: str) -> str:
    return f"cmw-{owner}"


async def accounts(kept: ConnectionStore, owner: str) -> dict[str, str | None]:
    return {one.toolkit: one.account_id for one in await kept.connected(owner)}


async def begun(
    kept: ConnectionStore, owner: str, account: str = "ca_1", toolkit: str = "asana"
) -> StoredConnection:
    ticket = secrets.token_urlsafe(32)
    await kept.offer(owner, ticket, toolkit, user_of(owner))
    assert await kept.begin(owner, ticket, "browser", account)
    found = await kept.find(owner, ticket)
    assert found is not None
    return found


async def test_each_step_is_taken_once_and_in_order(kept: ConnectionStore) -> None:
    await kept.offer(ALICE, "t", "asana", user_of(ALICE), "a chat")
    assert not await kept.await_code(ALICE, "t", "code")
    assert await kept.link_owner("t") == ALICE
    assert await kept.begin(ALICE, "t", "browser", "ca_1")
    assert not await kept.begin(ALICE, "t", "another", "ca_2")
    found = await kept.find(ALICE, "t")
    assert found is not None
    assert (found.state, found.browser, found.account_id) == ("begun", "browser", "ca_1")
    assert await accounts(kept, ALICE) == {}
    assert await kept.waiting(ALICE) == {"asana"}
    assert await kept.await_code(ALICE, "t", "code")
    assert not await kept.await_code(ALICE, "t", "code")
    assert not await kept.finish(ALICE, found)
    confirmed = await kept.confirm(ALICE, "code")
    assert confirmed is not None
    assert await kept.confirm(ALICE, "code") is None
    assert await accounts(kept, ALICE) == {"asana": "ca_1"}
    assert await kept.waiting(ALICE) == set()


async def test_another_s_connection_is_one_that_is_not_there(kept: ConnectionStore) -> None:
    found = await begun(kept, ALICE)
    ticket = found.connection_id
    await kept.offer(ALICE, "offered", "asana", user_of(ALICE))
    assert await kept.find(BOB, ticket) is None
    assert not await kept.begin(BOB, "offered", "browser", "ca_2")
    assert not await kept.await_code(BOB, ticket, "code")
    assert not await kept.finish(BOB, found)
    assert not await kept.drop(BOB, ticket)
    assert await kept.await_code(ALICE, ticket, "code")
    assert await kept.confirm(BOB, "code") is None
    assert await kept.remove(BOB, "asana") == 0
    assert await accounts(kept, BOB) == {}
    assert await kept.confirm(ALICE, "code") is not None
    assert await accounts(kept, ALICE) == {"asana": "ca_1"}


async def test_a_link_has_its_time(kept: ConnectionStore, clock: Clock) -> None:
    found = await begun(kept, ALICE)
    await kept.offer(ALICE, "offered", "asana", user_of(ALICE))
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


async def test_of_several_accounts_the_one_that_was_chosen_last_is_used(
    kept: ConnectionStore, clock: Clock
) -> None:
    tickets = []
    for number in range(3):
        new = await begun(kept, ALICE, f"ca_{number}")
        assert await kept.finish(ALICE, new, f"{number}@example.com")
        tickets.append(new.connection_id)
        clock.now += timedelta(seconds=1)

    async def used() -> str | None:
        found = await kept.connected(ALICE)
        assert [one.label for one in found] == [f"{n}@example.com" for n in range(len(found))]
        return max(found, key=lambda one: one.chosen_at or clock.now).account_id

    assert await used() == "ca_2"
    assert await kept.choose(ALICE, tickets[0])
    assert await used() == "ca_0"
    # Nobody else chooses, and nothing but a finished connection is chosen.
    await kept.offer(ALICE, "offered", "asana", user_of(ALICE))
    clock.now += timedelta(seconds=1)
    for owner, ticket in ((BOB, tickets[1]), (ALICE, "offered"), (ALICE, "none"), (ALICE, "\0")):
        assert not await kept.choose(owner, ticket)
    assert await used() == "ca_0"
    assert await kept.drop(ALICE, tickets[2])
    assert await used() == "ca_0"
    assert await kept.remove(ALICE, "asana") == 3


async def test_what_the_provider_calls_an_account_is_kept_until_its_code_comes(
    kept: ConnectionStore,
) -> None:
    found = await begun(kept, ALICE)
    assert await kept.await_code(ALICE, found.connection_id, "code", "a@example.com")
    confirmed = await kept.confirm(ALICE, "code")
    assert confirmed is not None
    (connected,) = await kept.connected(ALICE)
    assert confirmed.label == connected.label == "a@example.com"


async def test_an_owner_has_so_many_open_links_and_no_more(
    kept: ConnectionStore, clock: Clock
) -> None:
    assert await kept.finish(ALICE, await begun(kept, ALICE))
    await kept.offer(BOB, "bobs", "asana", user_of(BOB))
    for number in range(MAX_OPEN + 3):
        clock.now += timedelta(seconds=1)
        await kept.offer(ALICE, f"t{number}", "gmail", user_of(ALICE))
    found = [await kept.find(ALICE, f"t{number}") for number in range(MAX_OPEN + 3)]
    assert [one is not None for one in found] == [False] * 3 + [True] * MAX_OPEN
    assert await accounts(kept, ALICE) == {"asana": "ca_1"}
    assert await kept.find(BOB, "bobs") is not None


async def test_what_is_an_owner_s_goes_with_the_owner(
    kept: ConnectionStore, database: Database
) -> None:
    for owner in (ALICE, BOB):
        assert await kept.finish(owner, await begun(kept, owner))
        await kept.offer(owner, f"of {owner}", "asana", user_of(owner))
    await ConversationMemoryManager(database).forget(ALICE)
    assert await accounts(kept, ALICE) == {}
    assert await kept.link_owner(f"of {ALICE}") is None
    assert await accounts(kept, BOB) == {"asana": "ca_1"}


async def test_what_nobody_can_finish_any_more_is_cleaned_up(
    kept: ConnectionStore, database: Database, clock: Clock
) -> None:
    assert await kept.finish(ALICE, await begun(kept, ALICE))
    await kept.offer(ALICE, "late", "asana", user_of(ALICE))
    cleaning = Retention(database, clock=clock)
    await cleaning.clean(days=0, idle_seconds=3600)
    assert await kept.link_owner("late") == ALICE
    clock.now += OPEN_FOR
    await cleaning.clean(days=0, idle_seconds=3600)
    assert await kept.link_owner("late") is None
    assert await accounts(kept, ALICE) == {"asana": "ca_1"}


async def test_finished_connections_move_with_a_sign_in_and_keep_their_user(
    kept: ConnectionStore, database: Database
) -> None:
    assert await kept.finish(ALICE, await begun(kept, ALICE))
    assert await kept.finish(BOB, await begun(kept, BOB, "ca_bob"))
    assert await take_over(database, ACCOUNT, ALICE) == 0
    (moved,) = await kept.connected(ACCOUNT)
    assert (moved.account_id, moved.user_id) == ("ca_1", user_of(ALICE))
    assert await kept.connected(ALICE) == await kept.list_all(ALICE) == []
    # Nobody but the account has it now.
    for owner in (ALICE, BOB):
        assert not await kept.drop(owner, moved.connection_id)
    assert await kept.remove(ALICE, "asana") == 0
    assert await accounts(kept, BOB) == {"asana": "ca_bob"}
    await ConversationMemoryManager(database).forget(ALICE)
    assert await accounts(kept, ACCOUNT) == {"asana": "ca_1"}
    await ConversationMemoryManager(database).forget(ACCOUNT)
    assert await kept.named(["ca_1", "ca_bob", "ca_none"]) == {"ca_bob"}


async def test_what_is_not_finished_stays_and_is_finished_for_nobody_else(
    kept: ConnectionStore, database: Database
) -> None:
    await kept.offer(ALICE, "offered", "asana", user_of(ALICE))
    found, returned = await begun(kept, ALICE), await begun(kept, ALICE, "ca_2")
    assert await kept.await_code(ALICE, returned.connection_id, "code")
    assert await kept.finish(ALICE, await begun(kept, ALICE, "ca_mail", "gmail"))
    await take_over(database, ACCOUNT, ALICE)
    assert await accounts(kept, ACCOUNT) == {"gmail": "ca_mail"}
    assert not await kept.finish(ACCOUNT, found)
    assert await kept.confirm(ACCOUNT, "code") is None
    assert await kept.link_owner("offered") == await kept.link_owner(found.connection_id) == ALICE


async def test_what_an_account_has_connected_itself_goes_on_being_used(
    kept: ConnectionStore, database: Database, clock: Clock
) -> None:
    assert await kept.finish(ACCOUNT, await begun(kept, ACCOUNT, "ca_own"))
    clock.now += timedelta(seconds=1)
    assert await kept.finish(ALICE, await begun(kept, ALICE))
    assert await kept.finish(ALICE, await begun(kept, ALICE, "ca_mail", "gmail"))
    await take_over(database, ACCOUNT, ALICE)
    chosen = {one.account_id: one.chosen_at for one in await kept.connected(ACCOUNT)}
    assert chosen.pop("ca_1") is None
    assert set(chosen) == {"ca_own", "ca_mail"}
    assert None not in chosen.values()


async def test_a_connection_that_was_not_shown_moves_nothing(
    kept: ConnectionStore, database: Database
) -> None:
    store, logins = ConversationMemoryManager(database), Logins(database)
    taking = Taking(ALICE, (await store.holdings(ALICE)).digest, lambda *_: None)
    assert await kept.finish(ALICE, await begun(kept, ALICE))
    shown = await store.holdings(ALICE)
    assert not shown.is_empty
    assert [one.toolkit for one in shown.connections] == ["asana"]
    with pytest.raises(HoldingsChangedError):
        await logins.begin(ACCOUNT, "login", taking=taking)
    assert await kept.connected(ACCOUNT) == []
    assert not await logins.is_live(ACCOUNT, "login")
