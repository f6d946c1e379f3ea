"""Token usage and cost: stored with each answer and summed for its owner, on each database."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from memory.engine.database import migrate, open_database
from memory.records import Usage
from tests.contract.conftest import ALICE, BOB, Clock, Store

NOTHING = Usage(0, None)


async def answered(
    store: Store,
    conversation_id: str,
    *,
    owner: str = ALICE,
    tokens: tuple[int, int] | None = (3, 4),
    cost: int | None = None,
    again: bool = False,
) -> None:
    if again:
        key = f"{conversation_id}-again"
        ticket = await store.begin_retry(owner, conversation_id, key=key)
    else:
        ticket = await store.begin(owner, conversation_id, "question")
    asked, said = tokens or (None, None)
    assert await store.finish_turn(
        owner,
        ticket.turn_id,
        status="complete",
        content="answer",
        tool_calls=[],
        tokens_used=None if tokens is None else sum(tokens),
        latency_ms=1,
        model_used="m",
        error_id=None,
        input_tokens=asked,
        output_tokens=said,
        cost_micros=cost,
    )


async def test_an_answer_keeps_what_it_used(store: Store) -> None:
    cost = 2**40  # more than 32 bits
    await answered(store, "s1", tokens=(1000, 20), cost=cost)
    question, answer = await store.messages(ALICE, "s1")
    assert (answer.input_tokens, answer.output_tokens) == (1000, 20)
    assert (answer.tokens_used, answer.cost_micros) == (1020, cost)
    assert (question.input_tokens, question.output_tokens, question.cost_micros) == (None,) * 3


async def test_who_says_nothing_of_it_stores_nothing_of_it(store: Store) -> None:
    await store.exchange(ALICE, "s1", "question", "answer")
    answer = (await store.messages(ALICE, "s1"))[-1]
    assert (answer.input_tokens, answer.output_tokens, answer.cost_micros) == (None,) * 3
    assert await store.cost(ALICE, "s1") == Usage(7, None)


async def test_a_conversation_adds_up_and_what_was_replaced_was_paid(store: Store) -> None:
    await answered(store, "s1", tokens=(10, 1), cost=100)
    await answered(store, "s1", tokens=None, cost=None)
    await answered(store, "s1", tokens=(20, 2), cost=30)
    await answered(store, "other", tokens=(500, 500), cost=9999)
    assert await store.cost(ALICE, "s1") == Usage(33, 130)
    await answered(store, "s1", tokens=(40, 4), cost=0, again=True)
    assert await store.cost(ALICE, "s1") == Usage(77, 130)


async def test_what_cost_nothing_and_what_has_no_price_are_told_apart(store: Store) -> None:
    await answered(store, "free", cost=0)
    await answered(store, "unpriced")
    assert (await store.cost(ALICE, "free")).cost_micros == 0
    assert (await store.cost(ALICE, "unpriced")).cost_micros is None


@pytest.mark.parametrize("conversation_id", ["s1", "absent", "", "no id at all", "x" * 129])
async def test_of_another_s_and_of_what_is_not_there_nothing_is_told(
    store: Store, conversation_id: str
) -> None:
    await answered(store, "s1", cost=100)
    assert await store.cost(BOB, conversation_id) == NOTHING


async def test_of_a_deleted_conversation_nothing_is_told(store: Store) -> None:
    await answered(store, "s1", cost=100)
    await store.delete(ALICE, "s1")
    assert await store.cost(ALICE, "s1") == NOTHING
    # It was paid today all the same.
    assert await store.usage_since(ALICE, datetime(2030, 1, 1, tzinfo=UTC)) == Usage(7, 100)


async def test_a_time_counts_all_conversations_from_then_on(store: Store, clock: Clock) -> None:
    midnight = datetime(2030, 2, 1, tzinfo=UTC)
    await answered(store, "old", tokens=(1, 0), cost=1)
    await answered(store, "both", tokens=(2, 0), cost=2)
    clock.now = midnight
    await answered(store, "both", tokens=(4, 0), cost=4)
    clock.advance(60)
    await answered(store, "new", tokens=(8, 0), cost=8)
    await answered(store, "new", tokens=(16, 0), cost=16, again=True)
    await answered(store, "bobs", owner=BOB, tokens=(32, 0), cost=32)
    assert await store.usage_since(ALICE, midnight) == Usage(28, 28)
    assert await store.usage_since(BOB, midnight) == Usage(32, 32)
    assert await store.usage_since(ALICE, midnight - timedelta(days=1)) == Usage(31, 31)
    assert await store.usage_since(ALICE, midnight + timedelta(days=1)) == NOTHING
    assert await store.usage_since("user:nobody", midnight) == NOTHING


async def test_an_account_that_takes_over_takes_what_was_used(store: Store, clock: Clock) -> None:
    await answered(store, "s1", cost=5)
    assert await store.take_over(BOB, ALICE) == 1
    assert await store.cost(BOB, "s1") == await store.usage_since(BOB, clock.now) == Usage(7, 5)
    assert await store.usage_since(ALICE, clock.now) == NOTHING


async def test_nobody_uses_nothing(store: Store, clock: Clock) -> None:
    with pytest.raises(ValueError, match="owner"):
        await store.cost("", "s1")
    with pytest.raises(ValueError, match="owner"):
        await store.usage_since("", clock.now)


async def test_the_sum_of_a_day_goes_by_the_index(tmp_path: Path) -> None:
    # SQLite alone: PostgreSQL's plans depend on how much is stored.
    from memory.conversations.usage import _SINCE

    database = open_database(f"sqlite:///{tmp_path / 'plans.db'}")
    await migrate(database)

    def plan(connection: sa.Connection) -> str:
        text = str(_SINCE.compile(connection)).replace("?", "''")
        return str(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}").all())

    found = await database.read(plan)
    await database.dispose()
    assert "agent_sessions_by_owner (owner_id=? AND last_activity_at>?)" in found
    assert "SCAN" not in found
