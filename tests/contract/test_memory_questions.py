"""Tool calls that wait for their owner: any process sees and decides them, once."""

import asyncio

import pytest
import sqlalchemy as sa

from memory.engine.database import Database
from memory.engine.scopes import EVERYONE
from memory.errors import InvalidTextError
from memory.maintenance.recovery import interrupt_abandoned
from memory.records import StoredDecision, StoredQuestion, TurnTicket
from memory.schema import agent_turns
from tests.contract.conftest import ALICE, BOB, LEASE, Clock, Store

YES = StoredDecision("one", "approved", {"to": "Łódź", "n": 2}, always=True)


def question(clock: Clock, name: str = "one", seconds: float = 60) -> StoredQuestion:
    return StoredQuestion(name, "call_0", "MAIL", {"to": "x"}, clock().timestamp() + seconds)


async def waiting(store: Store, owner: str = ALICE) -> list[str]:
    running = await store.running_answer(owner, "s1")
    return [item.approval_id for item in running.questions] if running is not None else []


async def decisions(store: Store, ticket: TurnTicket) -> tuple[StoredDecision, ...]:
    signals = await store.checkpoint(ALICE, ticket.turn_id, content="", tool_calls=[])
    assert signals is not None
    return signals.decisions


async def test_a_decision_reaches_who_runs_the_turn_with_the_next_checkpoint(
    store: Store, clock: Clock, database: Database
) -> None:
    ticket = await store.begin(ALICE, "s1", "Hello")
    elsewhere = Store(database, clock=clock)
    asked = [question(clock), question(clock, "two")]
    assert await store.store_questions(ALICE, ticket.turn_id, asked)
    running = await elsewhere.running_answer(ALICE, "s1")
    assert running is not None
    assert list(running.questions) == asked
    assert await decisions(store, ticket) == ()
    assert await elsewhere.decide(ALICE, "s1", YES)
    assert await waiting(elsewhere) == ["two"]
    assert await decisions(store, ticket) == (YES,)
    no = StoredDecision("two", "denied")
    assert await elsewhere.decide(ALICE, "s1", no)
    assert await decisions(store, ticket) == (YES, no)
    assert await store.store_questions(ALICE, ticket.turn_id, [])
    assert await waiting(elsewhere) == []


async def test_of_many_decisions_about_a_call_one_is_taken(store: Store, clock: Clock) -> None:
    ticket = await store.begin(ALICE, "s1", "Hello")
    await store.store_questions(ALICE, ticket.turn_id, [question(clock)])
    answers = ["approved", "denied"] * 4
    taken = await asyncio.gather(
        *(store.decide(ALICE, "s1", StoredDecision("one", answer)) for answer in answers)
    )
    assert taken.count(True) == 1
    winner = StoredDecision("one", answers[taken.index(True)])
    assert await decisions(store, ticket) == (winner,)


async def test_nobody_else_sees_asks_or_decides(store: Store, clock: Clock) -> None:
    ticket = await store.begin(ALICE, "s1", "Hello")
    await store.store_questions(ALICE, ticket.turn_id, [question(clock)])
    assert await waiting(store, BOB) == []
    assert not await store.decide(BOB, "s1", YES)
    assert not await store.store_questions(BOB, ticket.turn_id, [])
    await store.begin(BOB, "s2", "mine")
    assert not await store.decide(BOB, "s2", YES)
    assert await waiting(store) == ["one"]
    assert await decisions(store, ticket) == ()


async def test_what_is_unknown_late_or_of_an_ended_turn_is_not_decided(
    store: Store, clock: Clock, database: Database
) -> None:
    async def left() -> list[tuple[object, ...]]:
        columns = sa.select(agent_turns.c.questions, agent_turns.c.decisions)
        return await database.read(
            lambda connection: [tuple(row) for row in connection.execute(columns)], owner=EVERYONE
        )

    assert not await store.decide(ALICE, "s1", YES)
    ticket = await store.begin(ALICE, "s1", "Hello")
    assert not await store.decide(ALICE, "s1", YES)
    await store.store_questions(ALICE, ticket.turn_id, [question(clock, seconds=5)])
    assert not await store.decide(ALICE, "s1", StoredDecision("another", "approved"))
    clock.advance(5)
    assert not await store.decide(ALICE, "s1", YES)
    await store.store_questions(ALICE, ticket.turn_id, [question(clock)])
    assert await store.decide(ALICE, "s1", YES)
    assert await store.finish(ALICE, ticket.turn_id, "whole")
    assert not await store.store_questions(ALICE, ticket.turn_id, [question(clock)])
    assert not await store.decide(ALICE, "s1", YES)
    assert await left() == [(None, None)]

    lost = await store.begin(ALICE, "s1", "again")
    await store.store_questions(ALICE, lost.turn_id, [question(clock)])
    clock.advance(LEASE)
    assert not await store.decide(ALICE, "s1", YES)
    await interrupt_abandoned(database, everything=False, clock=clock)
    assert await left() == [(None, None)] * 2


async def test_what_cannot_be_stored_is_refused(store: Store, clock: Clock) -> None:
    ticket = await store.begin(ALICE, "s1", "Hello")
    for value in ("a\0b", "\ud800", float("nan"), object()):
        bad = StoredQuestion("one", "call_0", "MAIL", {"to": value}, clock().timestamp() + 5)
        with pytest.raises(InvalidTextError):
            await store.store_questions(ALICE, ticket.turn_id, [bad])
        with pytest.raises(InvalidTextError):
            await store.decide(ALICE, "s1", StoredDecision("one", "approved", {"to": value}))


async def test_deleting_a_conversation_stops_its_turn_wherever_it_runs(store: Store) -> None:
    ticket = await store.begin(ALICE, "s1", "Hello")
    other = await store.begin(ALICE, "s2", "elsewhere")
    theirs = await store.begin(BOB, "s3", "theirs")
    await store.delete(ALICE, "s1")
    for owner, one in ((ALICE, ticket), (ALICE, other), (BOB, theirs)):
        signals = await store.checkpoint(owner, one.turn_id, content="", tool_calls=[])
        assert signals is not None
        assert signals.is_stop_requested == (one is ticket)
