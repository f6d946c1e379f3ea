"""Owners: for every method, another owner's conversation in any state is like an absent one.

A method such as restore finds nothing in most states, whoever calls it, and then shows nothing
about owners. Each method is therefore called on a conversation in each state, and must succeed for
its owner in one of them.
"""

import inspect
from collections.abc import Awaitable, Callable
from typing import Final

import pytest

from memory.engine.database import Database
from memory.manager import ConversationMemoryManager
from memory.records import Arrangement, NewTurn
from tests.contract.conftest import ALICE, BOB, Store, rows_of

ABSENT = "nothing-is-called-so"
Call = Callable[[Store, str, str], Awaitable[object]]

CALLS: Final[dict[str, Call]] = {
    "arrange": lambda s, o, i: s.arrange(o, i, Arrangement(is_pinned=True)),
    "begin_turn": lambda s, o, i: s.begin_turn(o, NewTurn(i, "mine", key=f"k {i}")),
    "begin_retry": lambda s, o, i: s.begin_retry(o, i, key=f"again {i}"),
    "close_conversation": lambda s, o, i: s.close_conversation(o, i),
    "claim_older": lambda s, o, i: s.claim_older(o, i, before_seq=3, min_tokens=1),
    "conversation": lambda s, o, i: s.conversation(o, i),
    "cost": lambda s, o, i: s.cost(o, i),
    "delete": lambda s, o, i: s.delete(o, i),
    "fork": lambda s, o, i: s.fork(o, i, 2, context={}, copies={}),
    "mark_inactive": lambda s, o, i: s.mark_inactive(o, i),
    "messages": lambda s, o, i: s.messages(o, i),
    "messages_after": lambda s, o, i: s.messages_after(o, i, after_seq=0),
    "path": lambda s, o, i: s.path(o, i),
    "plan_fork": lambda s, o, i: s.plan_fork(o, i, 2),
    "rate": lambda s, o, i: s.rate(o, i, 2, "dislike"),
    "rename": lambda s, o, i: s.rename(o, i, "mine"),
    "restore": lambda s, o, i: s.restore(o, i),
    "select_version": lambda s, o, i: s.select_version(o, i, 2),
    "update_context": lambda s, o, i: s.update_context(o, i, {"mine": 1}),
    "window": lambda s, o, i: s.window(o, i, budget=1000, before_seq=100),
}
# what they need is not there here: a claimed part, a conversation's time, files, messages with
# versions, and a running turn
ELSEWHERE = {
    "request_stop": "test_memory_turns.py",
    "decide": "test_memory_questions.py",
    "running_answer": "test_memory_turns.py",
    "watch_turn": "test_memory_turns.py",
    "store_summary": "test_memory_summaries.py",
    "store_title": "test_memory_order.py",
    "files_of": "test_memory_files.py",
    "versions": "test_memory_tree.py",
}
STATES: Final[dict[str, Call]] = {
    "active": CALLS["conversation"],
    "inactive": CALLS["mark_inactive"],
    "ended": CALLS["close_conversation"],
    "deleted": CALLS["delete"],
}


async def outcome(call: Awaitable[object]) -> object:
    try:
        return await call
    except Exception as error:  # noqa: BLE001 (whatever it is, it is compared)
        return type(error), str(error)


async def conversation_in(store: Store, state: str) -> str:
    """Give Alice a conversation in a state; return its id."""
    conversation_id = f"hers-{state}"
    await store.exchange(ALICE, conversation_id, "Alice's secret", "kept")
    await STATES[state](store, ALICE, conversation_id)
    return conversation_id


def test_every_method_that_names_a_conversation_is_tried() -> None:
    naming = {
        name
        for name, method in inspect.getmembers(ConversationMemoryManager, inspect.isfunction)
        if not name.startswith("_")
        and {"conversation_id", "new"} & set(inspect.signature(method).parameters)
    }
    assert naming == {*CALLS, *ELSEWHERE}


@pytest.mark.parametrize("state", STATES)
async def test_a_foreign_conversation_is_an_absent_one_in_every_state(
    store: Store, database: Database, state: str
) -> None:
    hers = await conversation_in(store, state)
    before = await rows_of(database)
    for name, call in CALLS.items():
        absent = await outcome(call(store, BOB, ABSENT))
        assert await outcome(call(store, BOB, hers)) == absent, name
        assert await rows_of(database) == before, name


@pytest.mark.parametrize("method", CALLS)
async def test_each_of_these_methods_finds_its_owner_s_conversation_in_a_state(
    store: Store, database: Database, method: str
) -> None:
    """Without this, the others would pass for a method that does nothing at all."""
    absent, found = await outcome(CALLS[method](store, ALICE, ABSENT)), False
    for state in STATES:
        hers = await conversation_in(store, state)
        before = await rows_of(database)
        answer = await outcome(CALLS[method](store, ALICE, hers))
        found = found or answer != absent or await rows_of(database) != before
    assert found
