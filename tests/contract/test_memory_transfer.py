"""A sign-in transfers exactly the listed data, once; no permissions, no recurring tasks."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from memory.conversations.transfer import MAX_LISTED
from memory.engine.database import Database
from memory.errors import ConversationNotFoundError, HoldingsChangedError, LoginExistsError
from memory.logins import Logins, Taking
from memory.queues.schedules import Schedules
from memory.records import StoredFile
from tests.contract.conftest import ALICE, BOB, Clock, Store, rows_of
from tests.contract.test_memory_schedules import added as add_task
from tests.contract.test_memory_schedules import tasks

ACCOUNT = "account"


@pytest.fixture
def logins(database: Database, clock: Clock) -> Logins:
    return Logins(database, clock=clock)


def unreadable(_server: str, _sealed: str) -> None:
    """Seals nothing anew: nothing here is sealed."""


def a_file(clock: Clock, name: str) -> StoredFile:
    return StoredFile(
        file_id=name,
        conversation_id=None,
        seq=None,
        name="notes.txt",
        media_type="text/plain",
        kind="document",
        size_bytes=5,
        kept_bytes=5,
        text="notes",
        created_at=clock(),
    )


async def everything(store: Store, database: Database, clock: Clock) -> Schedules:
    """Give ALICE a bit of everything, and BOB a conversation."""
    await store.exchange(ALICE, "a", "first", "answer")
    await store.update_context(ALICE, "a", {"model": "möre", "always": ["PAY"], "other": 1})
    await store.exchange(ALICE, "bare", "second", "answer")
    await store.exchange(ALICE, "allowed", "third", "answer")
    await store.update_context(ALICE, "allowed", {"always": ["PAY"]})
    await store.exchange(ALICE, "gone", "deleted", "answer")
    await store.add_file(ALICE, a_file(clock, "f1"), bound_of=lambda *_: None)
    await store.exchange(BOB, "b", "bob's", "answer")
    schedules = tasks(database, clock)
    await add_task(schedules, store, ALICE, "a")
    await add_task(schedules, store, ALICE, "gone")
    await store.delete(ALICE, "gone")
    clock.advance(1)
    return schedules


async def test_what_an_owner_has_is_told_apart_from_what_others_have(
    store: Store, database: Database, clock: Clock
) -> None:
    await everything(store, database, clock)
    found = await store.holdings(ALICE)
    assert {item.conversation_id: item.title for item in found.newest} == {
        "a": "first",
        "bare": "second",
        "allowed": "third",
    }
    assert (found.conversations, found.files, found.tasks, found.is_empty) == (3, 1, 2, False)
    other = await store.holdings(BOB)
    assert ([i.conversation_id for i in other.newest], other.files, other.tasks) == (["b"], 0, 0)
    nothing = await store.holdings("user:nobody")
    assert nothing.is_empty
    assert len({found.digest, other.digest, nothing.digest}) == 3


async def test_tasks_end_and_permissions_and_deleted_conversations_stay_behind(
    store: Store, database: Database, clock: Clock
) -> None:
    schedules = await everything(store, database, clock)
    assert await store.take_over(ACCOUNT, ALICE) == 3
    contexts = {c.conversation_id: c.context_data for c in await store.conversations(ACCOUNT)}
    assert contexts == {"a": {"model": "möre"}, "bare": None, "allowed": None}
    assert await schedules.of_owner(ACCOUNT) == await schedules.of_owner(ALICE) == []
    assert (await store.file(ACCOUNT, "f1")).name == "notes.txt"
    with pytest.raises(ConversationNotFoundError):
        await store.restore(ACCOUNT, "gone")
    await store.restore(ALICE, "gone")
    assert [c.conversation_id for c in await store.conversations(BOB)] == ["b"]


CHANGES: dict[str, Callable[[Store, Clock], Awaitable[object]]] = {
    "another conversation": lambda store, _: store.exchange(ALICE, "new", "planted", "x"),
    "another message": lambda store, _: store.exchange(ALICE, "a", "planted", "x"),
    "a question in mid-answer": lambda store, _: store.begin(ALICE, "bare", "planted"),
    "an edited message": lambda store, _: store.begin_retry(ALICE, "a", key="e", text="planted"),
    "another title": lambda store, _: store.rename(ALICE, "a", "planted"),
    "another file": lambda store, clock: store.add_file(
        ALICE, a_file(clock, "f2"), bound_of=lambda *_: None
    ),
    "a conversation less": lambda store, _: store.delete(ALICE, "a"),
    "one restored": lambda store, _: store.restore(ALICE, "gone"),
    "nothing left": lambda store, _: store.forget(ALICE),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_what_was_not_shown_moves_nothing_and_signs_nobody_in(
    change: str, store: Store, database: Database, logins: Logins, clock: Clock
) -> None:
    await everything(store, database, clock)
    taking = Taking(ALICE, (await store.holdings(ALICE)).digest, unreadable)
    await CHANGES[change](store, clock)
    before = await rows_of(database)
    with pytest.raises(HoldingsChangedError):
        await logins.begin(ACCOUNT, "login", taking=taking)
    for wrong in (replace(taking, digest=""), replace(taking, from_owner=BOB)):
        with pytest.raises(HoldingsChangedError):
            await logins.begin(ACCOUNT, "login", taking=wrong)
    assert await rows_of(database) == before
    assert not await logins.is_live(ACCOUNT, "login")


async def test_a_login_begins_once_and_takes_nothing_the_second_time(
    store: Store, database: Database, logins: Logins, clock: Clock
) -> None:
    await everything(store, database, clock)
    taking = Taking(ALICE, (await store.holdings(ALICE)).digest, unreadable)
    await logins.begin(ACCOUNT, "login")
    for _ in range(2):
        before = await rows_of(database)
        for owner in (ACCOUNT, "other"):
            for what in (taking, None):
                with pytest.raises(LoginExistsError):
                    await logins.begin(owner, "login", taking=what)
        assert await rows_of(database) == before
        await logins.end(ACCOUNT, "login")


async def test_what_comes_while_a_sign_in_runs_moves_with_it_or_not_at_all(
    store: Store, database: Database, logins: Logins, clock: Clock
) -> None:
    """However the two meet, the account gets what was shown and no task."""
    schedules = tasks(database, clock)
    for n in range(12):
        visitor, account = f"visitor {n}", f"account {n}"
        await store.exchange(visitor, f"c{n}", "shown", "answer")
        taking = Taking(visitor, (await store.holdings(visitor)).digest, unreadable)
        outcome, *_ = await asyncio.gather(
            logins.begin(account, f"login {n}", taking=taking),
            schedules.add(
                visitor,
                f"c{n}",
                text="x",
                cron="0 * * * *",
                time_zone="UTC",
                bound_of=lambda *_: None,
            ),
            store.begin(visitor, f"late {n}", "planted"),
            return_exceptions=True,
        )
        assert outcome is None or isinstance(outcome, HoldingsChangedError)
        moved = [c.conversation_id for c in await store.conversations(account)]
        assert moved == ([] if outcome else [f"c{n}"])
        assert await schedules.of_owner(account) == []
        assert not await logins.is_live(account, f"login {n}") or outcome is None


async def test_of_many_conversations_the_newest_are_named_and_all_move(
    store: Store, clock: Clock
) -> None:
    count = MAX_LISTED + 2
    for n in range(count):
        await store.begin(ALICE, f"c{n}", f"chat {n}")
        clock.advance(1)
    found = await store.holdings(ALICE)
    assert [item.conversation_id for item in found.newest] == [
        f"c{n}" for n in range(count - 1, count - 1 - MAX_LISTED, -1)
    ]
    assert found.conversations == count
    await store.rename(ALICE, "c0", "not named, and so not agreed to by its title")
    assert (await store.holdings(ALICE)).digest == found.digest
    assert await store.take_over(ACCOUNT, ALICE) == count
    assert (await store.holdings(ALICE)).is_empty
