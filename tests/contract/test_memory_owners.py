"""Owners: another owner's rows are not found, and no statement can change them."""

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import sqlalchemy as sa

from memory.engine.database import Database
from memory.engine.scopes import EVERYONE
from memory.errors import ConversationNotFoundError, StoreError
from memory.manager import ConversationMemoryManager
from memory.records import Arrangement, NewTurn, StoredDecision
from memory.schema import agent_messages, agent_turns
from tests.contract.conftest import ALICE, BOB, Store, rows_of

THEIRS = "AbC-123_theirs"
Call = Callable[[Store, str], Awaitable[object]]

BY_CONVERSATION: dict[str, Call] = {
    "begin_turn": lambda s, i: s.begin_turn(BOB, NewTurn(i, "mine", key="k")),
    "begin_retry": lambda s, i: s.begin_retry(BOB, i, key="k"),
    "begin_retry_edited": lambda s, i: s.begin_retry(BOB, i, key="k", text="mine"),
    "window": lambda s, i: s.window(BOB, i, budget=1000, before_seq=100),
    "conversation": lambda s, i: s.conversation(BOB, i),
    "messages": lambda s, i: s.messages(BOB, i),
    "messages_after": lambda s, i: s.messages_after(BOB, i, after_seq=0),
    "all versions": lambda s, i: s.messages(BOB, i, all_versions=True),
    "fork": lambda s, i: s.fork(BOB, i, 2, context={}, copies={}),
    "path": lambda s, i: s.path(BOB, i),
    "plan_fork": lambda s, i: s.plan_fork(BOB, i, 2),
    "select_version": lambda s, i: s.select_version(BOB, i, 2),
    "older messages": lambda s, i: s.messages(BOB, i, before_seq=100),
    "rename": lambda s, i: s.rename(BOB, i, "mine"),
    "arrange": lambda s, i: s.arrange(BOB, i, Arrangement(folder="mine")),
    "delete": lambda s, i: s.delete(BOB, i),
    "restore": lambda s, i: s.restore(BOB, i),
    "rate": lambda s, i: s.rate(BOB, i, 2, "dislike"),
}
BY_TURN: dict[str, Call] = {
    "checkpoint": lambda s, i: s.checkpoint(BOB, i, content="mine", tool_calls=[]),
    "finish_turn": lambda s, i: s.finish(BOB, i, "mine"),
    "answer": lambda s, i: s.answer(BOB, i),
    "store_questions": lambda s, i: s.store_questions(BOB, i, []),
    # False, too, for a conversation of another
    "mark_inactive": lambda s, i: s.mark_inactive(BOB, THEIRS[: len(i)]),
}
BY_RUNNING_CONVERSATION: dict[str, Call] = {
    "running_answer": lambda s, i: s.running_answer(BOB, i),
    "watch_turn": lambda s, i: s.watch_turn(BOB, i),
    "request_stop": lambda s, i: s.request_stop(BOB, i),
    "decide": lambda s, i: s.decide(BOB, i, StoredDecision("a", "approved")),
}
VARIANTS: dict[str, Callable[[str], str]] = {
    "another's": lambda other: other,
    "prefix": lambda other: other[:-1],
    "longer": lambda other: other + "0",
    "case": lambda other: other.swapcase(),
    "space": lambda other: f" {other}",
    "line end": lambda other: f"{other}\n",
    "NUL": lambda other: f"{other}\0",
    "surrogate": lambda other: f"{other}\udcff",
    "empty": lambda _: "",
    "path": lambda _: "../",
    "number": lambda _: "1",
    "pattern": lambda _: "%",
    "quote": lambda other: f"x' OR session_id='{other}",
    "huge": lambda _: "x" * 100_000,
}


async def outcome(call: Awaitable[object]) -> object:
    try:
        return await call
    except Exception as error:  # noqa: BLE001 (whatever it is, it is compared)
        return type(error), str(error)


@pytest.fixture
async def turn_of_alice(store: Store) -> str:
    """Alice has a conversation with a running turn; Bob has one of his own."""
    await store.exchange(ALICE, THEIRS, "Alice's secret", "kept")
    await store.exchange(BOB, "bobs", "Bob's", "ok")
    return (await store.begin(ALICE, THEIRS, "Alice's second secret")).turn_id


@pytest.mark.parametrize("method", BY_CONVERSATION)
async def test_a_foreign_conversation_is_an_absent_one(
    store: Store, database: Database, turn_of_alice: str, method: str
) -> None:
    before = await rows_of(database)
    absent = await outcome(BY_CONVERSATION[method](store, "nothing-is-called-so"))
    assert absent == (ConversationNotFoundError, "no such conversation")
    for name, variant in VARIANTS.items():
        assert await outcome(BY_CONVERSATION[method](store, variant(THEIRS))) == absent, name
        assert turn_of_alice
    assert await rows_of(database) == before


@pytest.mark.parametrize("method", BY_TURN)
async def test_a_foreign_turn_is_an_absent_one(
    store: Store, database: Database, turn_of_alice: str, method: str
) -> None:
    before = await rows_of(database)
    absent = await outcome(BY_TURN[method](store, "nothing-is-called-so"))
    assert absent in (None, False, (ConversationNotFoundError, "no such conversation"))
    for name, variant in VARIANTS.items():
        assert await outcome(BY_TURN[method](store, variant(turn_of_alice))) == absent, name
    assert await rows_of(database) == before


@pytest.mark.parametrize("method", BY_RUNNING_CONVERSATION)
async def test_in_a_foreign_conversation_no_turn_runs(
    store: Store, database: Database, turn_of_alice: str, method: str
) -> None:
    before = await rows_of(database)
    call = BY_RUNNING_CONVERSATION[method]
    absent = await outcome(call(store, "nothing-is-called-so"))
    assert absent in (False, None)
    for name, variant in VARIANTS.items():
        assert await outcome(call(store, variant(THEIRS))) == absent, name
    assert await rows_of(database) == before
    assert turn_of_alice


async def test_a_foreign_conversation_cannot_be_made_again(
    store: Store, database: Database, turn_of_alice: str
) -> None:
    before = await rows_of(database)
    with pytest.raises(ConversationNotFoundError):
        await store.begin(BOB, THEIRS, "mine")
    assert await rows_of(database) == before
    assert turn_of_alice


@pytest.mark.parametrize("malformed", ["", " ", "a b", "a\0", "\ud800", "x" * 129])
async def test_no_conversation_is_made_under_what_cannot_be_an_id(
    store: Store, database: Database, malformed: str
) -> None:
    with pytest.raises(ConversationNotFoundError):
        await store.begin(BOB, malformed, "mine")
    assert not any((await rows_of(database)).values())


async def test_one_owner_is_not_another_that_looks_alike(store: Store, turn_of_alice: str) -> None:
    for alike in (ALICE.upper(), ALICE + " ", ALICE[:-1], "%", "' OR 1=1 --"):
        assert await store.conversations(alike) == []
        assert await store.forget(alike) == 0
        assert not await store.finish(alike, turn_of_alice, "mine")
    assert len(await store.texts(ALICE, THEIRS)) == 4


@pytest.mark.parametrize("nobody", ["", "a\0b", "\ud800"])
async def test_nobody_owns_anything(store: Store, database: Database, nobody: str) -> None:
    for call in (
        store.begin(nobody, "s1", "text"),
        store.begin_retry(nobody, "s1", key="k"),
        store.window(nobody, "s1", budget=1, before_seq=1),
        store.checkpoint(nobody, "t1", content="", tool_calls=[]),
        store.finish(nobody, "t1", ""),
        store.conversation(nobody, "s1"),
        store.messages(nobody, "s1"),
        store.conversations(nobody),
        store.forget(nobody),
        store.answer(nobody, "t1"),
        store.rename(nobody, "s1", "title"),
        store.delete(nobody, "s1"),
        store.restore(nobody, "s1"),
        store.rate(nobody, "s1", 2, "like"),
        store.select_version(nobody, "s1", 2),
        store.path(nobody, "s1"),
        store.plan_fork(nobody, "s1", 2),
        store.fork(nobody, "s1", 2, context={}, copies={}),
        store.versions(nobody, "s1", []),
        store.mark_inactive(nobody, "s1"),
        store.running_answer(nobody, "s1"),
        store.watch_turn(nobody, "s1"),
        store.request_stop(nobody, "s1"),
        store.store_questions(nobody, "t1", []),
        store.decide(nobody, "s1", StoredDecision("a", "approved")),
        store.search(nobody, "word"),
        store.consents(nobody),
        store.set_consent(nobody, "ratings", is_given=True),
        store.prompts(nobody),
        store.create_prompt(nobody, "name", "text"),
        store.update_prompt(nobody, "p1", "name", "text"),
        store.delete_prompt(nobody, "p1"),
        store.take_over(nobody, ALICE),
        store.take_over(ALICE, nobody),
    ):
        with pytest.raises(ValueError, match="owner"):
            await call
    assert not any((await rows_of(database)).values())


def test_every_method_asks_for_the_owner_first() -> None:
    methods = {
        name: method
        for name, method in inspect.getmembers(ConversationMemoryManager, inspect.isfunction)
        if not name.startswith("_")
    }
    assert len(methods) == 56
    for name, method in methods.items():
        _self, first, *_ = inspect.signature(method).parameters.values()
        assert first.name == "owner", name
        assert first.default is inspect.Parameter.empty, name


async def test_forgetting_takes_all_of_one_owner_and_nothing_else(
    store: Store, database: Database, turn_of_alice: str
) -> None:
    await store.begin(ALICE, "alices-other", "more")
    before = await rows_of(database)
    assert (await store.row_counts(ALICE))["agent_sessions"] == 2
    assert await store.forget(ALICE) == 2
    assert await store.row_counts(ALICE) == {}
    after = await rows_of(database)
    assert after == {
        table: [row for row in rows if BOB in row and ALICE not in row]
        for table, rows in before.items()
    }
    others = {
        "agent_connections",
        "agent_files",
        "agent_logins",
        "agent_mcp_servers",
        "agent_preferences",
        "agent_prompts",
        "agent_consents",
        "agent_schedules",
        "agent_share_files",
        "agent_share_messages",
        "agent_share_snapshots",
        "agent_shares",
        "agent_threads",
        "channel_messages",
        "channel_sends",
        "channel_windows",
    }
    assert all(rows for table, rows in after.items() if table not in others)
    assert not await store.finish(ALICE, turn_of_alice, "late")
    assert await store.conversations(ALICE) == []
    assert await store.forget(ALICE) == 0
    assert await rows_of(database) == after


async def test_what_was_forgotten_can_begin_anew(store: Store) -> None:
    await store.begin(ALICE, "s1", "Hello", key="k1")
    await store.forget(ALICE)
    assert (await store.begin(ALICE, "s1", "Hello", key="k1")).fresh


async def test_the_database_itself_refuses_a_row_with_two_owners(
    store: Store, database: Database, turn_of_alice: str
) -> None:
    before = await rows_of(database)

    def copy_of(table: sa.Table, **changes: Any) -> sa.Insert:
        names = [column.name for column in table.columns]
        values = [sa.literal(changes[n]) if n in changes else table.c[n] for n in names]
        source = sa.select(*values).where(table.c.session_id == THEIRS).limit(1)
        return sa.insert(table).from_select(names, source)

    for statement in (
        copy_of(agent_messages, owner_id=BOB, seq=99),
        copy_of(agent_turns, owner_id=BOB, turn_id="t", state="complete"),
        copy_of(agent_turns, turn_id="t", idempotency_key="k", state="running"),
        copy_of(agent_messages, seq=99, status="done"),
    ):
        with pytest.raises(StoreError):
            await database.write(
                lambda connection, s=statement: connection.execute(s),  # type: ignore[misc]
                owner=EVERYONE,
            )
    assert await rows_of(database) == before
    assert turn_of_alice
