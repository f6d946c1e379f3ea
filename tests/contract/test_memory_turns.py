"""Turns: committed before the model is called, one at a time, one per idempotency key."""

import asyncio
import dataclasses
from datetime import timedelta, timezone

import pytest

from memory.conversations.turn_store import WATCH_SECONDS
from memory.engine.database import Database
from memory.errors import ConversationBusyError, ConversationNotFoundError
from memory.maintenance.recovery import interrupt_abandoned
from memory.records import ConversationOrigin, NewTurn, TurnSignals, TurnTicket
from tests.contract.conftest import ALICE, BOB, LEASE, TOOL, Clock, Store, rows_of

Outcome = TurnTicket | BaseException


async def test_a_turn_is_stored_before_it_is_answered(
    store: Store, database: Database, clock: Clock
) -> None:
    ticket = await store.begin_turn(
        ALICE,
        NewTurn("s1", "Hello", key="k1", origin=ConversationOrigin(channel="api"), model="model-1"),
    )
    assert ticket == TurnTicket(
        ticket.turn_id,
        "s1",
        user_seq=1,
        answer_seq=2,
        fresh=True,
        agent_id="assistant",
        conversation_created_at=clock(),
        has_title=False,
        parent_seq=0,
    )
    question, answer = await Store(database).messages(ALICE, "s1")
    assert (question.role, question.content, question.status) == ("user", "Hello", "complete")
    assert (answer.role, answer.content, answer.status) == ("assistant", "", "interrupted")
    assert answer.model_used == "model-1"
    assert question.turn_id == answer.turn_id == ticket.turn_id


async def test_the_first_message_makes_the_conversation(store: Store, clock: Clock) -> None:
    await store.begin_turn(
        ALICE,
        NewTurn(
            "s1",
            "  What is\n\tthe   weather " + "x" * 80,
            key="k1",
            origin=ConversationOrigin(
                agent_id="agent-7",
                channel="embed",
                website_domain="example.org",
                ip_address="192.0.2.1",
            ),
        ),
    )
    made = await store.conversation(ALICE, "s1")
    assert made.title == ("What is the weather " + "x" * 80)[:59] + "…"
    assert (made.agent_id, made.channel) == ("agent-7", "embed")
    assert (made.website_domain, made.ip_address) == ("example.org", "192.0.2.1")
    assert (made.message_count, made.status) == (2, "active")
    assert made.started_at == made.last_activity_at == clock.now
    assert made.started_at.utcoffset() == timedelta(0)


async def test_further_messages_leave_the_conversation_as_it_was_made(
    store: Store, clock: Clock
) -> None:
    await store.exchange(ALICE, "s1", "first", "one")
    made = await store.conversation(ALICE, "s1")
    clock.advance(60)
    await store.begin_turn(
        ALICE, NewTurn("s1", "2", key="k", origin=ConversationOrigin(agent_id="b", channel="api"))
    )
    assert await store.conversation(ALICE, "s1") == dataclasses.replace(
        made, message_count=4, last_activity_at=clock.now
    )


async def test_without_create_an_absent_conversation_stays_absent(
    store: Store, database: Database
) -> None:
    with pytest.raises(ConversationNotFoundError):
        await store.begin_turn(ALICE, NewTurn("s1", "Hello", key="k1"))
    assert not any((await rows_of(database)).values())


async def test_without_create_an_existing_conversation_goes_on(store: Store) -> None:
    await store.exchange(ALICE, "s1", "first", "one")
    ticket = await store.begin_turn(ALICE, NewTurn("s1", "second", key="k2"))
    assert (ticket.user_seq, ticket.answer_seq, ticket.fresh) == (3, 4, True)
    assert (await store.conversation(ALICE, "s1")).message_count == 4


async def test_a_finished_turn_keeps_all_that_is_known_of_its_answer(store: Store) -> None:
    ticket = await store.begin(ALICE, "s1", "Hello")
    assert await store.finish_turn(
        ALICE,
        ticket.turn_id,
        status="failed",
        content="Half an ans",
        tool_calls=[TOOL],
        tokens_used=42,
        latency_ms=1234,
        model_used="model-2",
        error_id="E-1",
    )
    answer = await store.answer(ALICE, ticket.turn_id)
    assert (answer.content, answer.status, answer.tool_calls) == ("Half an ans", "failed", (TOOL,))
    assert (answer.tokens_used, answer.latency_ms) == (42, 1234)
    assert (answer.model_used, answer.error_id) == ("model-2", "E-1")


async def test_a_turn_ends_once(store: Store, database: Database) -> None:
    ticket = await store.begin(ALICE, "s1", "Hello")
    assert await store.finish(ALICE, ticket.turn_id, "the answer")
    before = await rows_of(database)
    assert not await store.finish(ALICE, ticket.turn_id, "another", "failed")
    assert not await store.checkpoint(ALICE, ticket.turn_id, content="late", tool_calls=[])
    assert await rows_of(database) == before


async def test_a_checkpoint_keeps_what_came_as_interrupted(store: Store) -> None:
    ticket = await store.begin(ALICE, "s1", "Hello")
    assert await store.checkpoint(ALICE, ticket.turn_id, content="Half an", tool_calls=[TOOL])
    answer = await store.answer(ALICE, ticket.turn_id)
    assert (answer.content, answer.status, answer.tool_calls) == (
        "Half an",
        "interrupted",
        (TOOL,),
    )


async def test_one_conversation_has_one_turn_at_a_time(store: Store, database: Database) -> None:
    await store.begin(ALICE, "s1", "first")
    before = await rows_of(database)
    with pytest.raises(ConversationBusyError):
        await store.begin(ALICE, "s1", "second")
    with pytest.raises(ConversationBusyError):
        await store.begin_retry(ALICE, "s1", key="k2")
    assert await rows_of(database) == before
    await store.begin(ALICE, "s2", "elsewhere")


async def test_the_end_of_a_turn_frees_the_conversation(store: Store) -> None:
    for status in ("complete", "interrupted", "failed"):
        ticket = await store.begin(ALICE, "s1", "again")
        assert await store.finish(ALICE, ticket.turn_id, "", status)
    await store.begin(ALICE, "s1", "again")


async def test_a_lost_lease_lets_the_next_turn_begin(store: Store, clock: Clock) -> None:
    lost = await store.begin(ALICE, "s1", "first")
    clock.advance(LEASE - 0.001)
    with pytest.raises(ConversationBusyError):
        await store.begin(ALICE, "s1", "too early")
    clock.advance(0.001)
    ticket = await store.begin(ALICE, "s1", "second")
    assert ticket.fresh
    assert not await store.checkpoint(ALICE, lost.turn_id, content="late", tool_calls=[])
    assert not await store.finish(ALICE, lost.turn_id, "late")
    assert (await store.answer(ALICE, lost.turn_id)).status == "interrupted"
    assert await store.texts(ALICE, "s1") == [
        ("user", "first"),
        ("assistant", ""),
        ("user", "second"),
        ("assistant", ""),
    ]


async def test_a_checkpoint_renews_the_lease(store: Store, clock: Clock) -> None:
    ticket = await store.begin(ALICE, "s1", "first")
    for _ in range(3):
        clock.advance(LEASE - 1)
        assert await store.checkpoint(ALICE, ticket.turn_id, content="…", tool_calls=[])
    with pytest.raises(ConversationBusyError):
        await store.begin(ALICE, "s1", "second")


async def test_the_stored_part_of_a_running_answer_is_read_until_it_has_ended(
    store: Store, clock: Clock
) -> None:
    assert await store.running_answer(ALICE, "s1") is None
    ticket = await store.begin(ALICE, "s1", "Hello")
    for content in ("", "Half an", "Half an answer"):
        assert await store.checkpoint(ALICE, ticket.turn_id, content=content, tool_calls=[TOOL])
        running = await store.running_answer(ALICE, "s1")
        assert running is not None
        assert running.user_seq == 1
        assert running.answer == await store.answer(ALICE, ticket.turn_id)
        assert running.answer.content == content
    clock.advance(LEASE)
    assert await store.running_answer(ALICE, "s1") is None
    assert await store.checkpoint(ALICE, ticket.turn_id, content="late", tool_calls=[])
    assert await store.running_answer(ALICE, "s1") is not None
    await store.delete(ALICE, "s1")
    assert await store.running_answer(ALICE, "s1") is None
    await store.restore(ALICE, "s1")
    assert await store.finish(ALICE, ticket.turn_id, "whole")
    assert await store.running_answer(ALICE, "s1") is None


async def test_a_checkpoint_tells_who_writes_what_others_want(store: Store, clock: Clock) -> None:
    async def signals() -> TurnSignals | None:
        return await store.checkpoint(ALICE, ticket.turn_id, content="", tool_calls=[])

    ticket = await store.begin(ALICE, "s1", "Hello")
    other = await store.begin(ALICE, "s2", "elsewhere")
    assert await signals() == TurnSignals(is_watched=False, is_stop_requested=False)
    assert await store.watch_turn(ALICE, "s1")
    assert await signals() == TurnSignals(is_watched=True, is_stop_requested=False)
    clock.advance(WATCH_SECONDS)
    assert await signals() == TurnSignals(is_watched=False, is_stop_requested=False)
    assert await store.request_stop(ALICE, "s1")
    assert await signals() == TurnSignals(is_watched=False, is_stop_requested=True)
    elsewhere = await store.checkpoint(ALICE, other.turn_id, content="", tool_calls=[])
    assert elsewhere == TurnSignals(is_watched=False, is_stop_requested=False)
    assert await store.finish(ALICE, ticket.turn_id, "", "interrupted")
    assert not await store.watch_turn(ALICE, "s1")
    assert not await store.request_stop(ALICE, "s1")
    ticket = await store.begin(ALICE, "s1", "again")
    assert await signals() == TurnSignals(is_watched=False, is_stop_requested=False)


async def test_a_late_turn_that_nobody_replaced_still_ends_well(store: Store, clock: Clock) -> None:
    ticket = await store.begin(ALICE, "s1", "first")
    clock.advance(10 * LEASE)
    assert await store.checkpoint(ALICE, ticket.turn_id, content="a", tool_calls=[])
    clock.advance(10 * LEASE)
    assert await store.finish(ALICE, ticket.turn_id, "answer")


async def test_leases_compare_right_across_time_zones(database: Database, clock: Clock) -> None:
    store = Store(database, lease_seconds=LEASE, clock=clock)
    await store.begin(ALICE, "s1", "first")

    def elsewhere() -> object:
        return clock.now.astimezone(timezone(timedelta(hours=9)))

    other = Store(database, lease_seconds=LEASE, clock=elsewhere)  # type: ignore[arg-type]
    with pytest.raises(ConversationBusyError):
        await other.begin(ALICE, "s1", "second")
    clock.advance(LEASE)
    assert (await other.begin(ALICE, "s1", "second")).fresh
    assert (await store.conversation(ALICE, "s1")).last_activity_at == clock.now


async def test_a_key_gives_the_first_ticket_again(store: Store, database: Database) -> None:
    first = await store.begin(ALICE, "s1", "Hello", key="k1")
    before = await rows_of(database)
    assert await store.begin(ALICE, "s1", "Hello", key="k1") == dataclasses.replace(
        first,
        fresh=False,
        agent_id="",
        conversation_created_at=None,
        has_title=True,
        parent_seq=None,
    )
    assert await rows_of(database) == before
    await store.finish(ALICE, first.turn_id, "answer")
    assert not (await store.begin(ALICE, "s1", "other text", key="k1")).fresh
    assert await store.texts(ALICE, "s1") == [("user", "Hello"), ("assistant", "answer")]


async def test_a_key_is_known_even_while_another_turn_runs(store: Store) -> None:
    first = await store.begin(ALICE, "s1", "Hello", key="k1")
    await store.finish(ALICE, first.turn_id, "answer")
    await store.begin(ALICE, "s1", "more", key="k2")
    assert (await store.begin(ALICE, "s1", "Hello", key="k1")).turn_id == first.turn_id


async def test_a_repeated_key_marks_a_stale_turn(
    store: Store, clock: Clock, database: Database
) -> None:
    first = await store.begin(ALICE, "s1", "Hello", key="k1")
    clock.advance(LEASE + 1)
    again = await store.begin(ALICE, "s1", "Hello", key="k1")
    assert (again.turn_id, again.fresh) == (first.turn_id, False)
    assert not await store.checkpoint(ALICE, first.turn_id, content="late", tool_calls=[])
    assert await interrupt_abandoned(database, everything=True) == 0


async def test_a_key_is_of_one_owner_and_one_conversation(store: Store) -> None:
    tickets = [
        await store.begin(owner, conversation_id, "Hello", key="same")
        for owner, conversation_id in ((ALICE, "a1"), (ALICE, "a2"), (BOB, "b1"))
    ]
    assert all(ticket.fresh for ticket in tickets)
    assert len({ticket.turn_id for ticket in tickets}) == 3


async def test_ten_requests_with_one_key_are_one_turn(store: Store) -> None:
    tickets = await asyncio.gather(*(store.begin(ALICE, "s1", "Hi", key="k") for _ in range(10)))
    assert sorted(ticket.fresh for ticket in tickets) == [False] * 9 + [True]
    assert len({ticket.turn_id for ticket in tickets}) == 1
    assert await store.texts(ALICE, "s1") == [("user", "Hi"), ("assistant", "")]


async def test_many_who_begin_one_conversation_at_once_begin_it_once(store: Store) -> None:
    for round_ in range(40):
        conversation_id = f"s{round_}"
        tickets = await asyncio.gather(
            *(store.begin(ALICE, conversation_id, "Hi", key="k") for _ in range(10))
        )
        assert sorted(ticket.fresh for ticket in tickets) == [False] * 9 + [True]
        assert len({ticket.turn_id for ticket in tickets}) == 1


async def test_ten_retries_with_one_key_are_one_turn(store: Store) -> None:
    await store.exchange(ALICE, "s1", "Hi", "one")
    tickets = await asyncio.gather(*(store.begin_retry(ALICE, "s1", key="k") for _ in range(10)))
    assert sorted(ticket.fresh for ticket in tickets) == [False] * 9 + [True]
    assert await store.texts(ALICE, "s1") == [("user", "Hi"), ("assistant", "")]


async def test_of_ten_different_requests_one_wins_and_nine_hear_busy(store: Store) -> None:
    outcomes: list[Outcome] = await asyncio.gather(
        *(store.begin(ALICE, "s1", f"text {i}") for i in range(10)), return_exceptions=True
    )
    assert sum(isinstance(outcome, TurnTicket) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, ConversationBusyError) for outcome in outcomes) == 9
    assert len(await store.texts(ALICE, "s1")) == 2


async def test_fifty_first_messages_at_once_meet_no_error(store: Store) -> None:
    tickets = await asyncio.gather(
        *(store.begin(f"user:{i}", f"s{i}", f"I am {i}") for i in range(50))
    )
    assert all(ticket.fresh for ticket in tickets)
    ended = await asyncio.gather(
        *(
            store.finish(f"user:{i}", ticket.turn_id, f"Hello {i}")
            for i, ticket in enumerate(tickets)
        )
    )
    assert all(ended)
    for i in range(50):
        assert await store.texts(f"user:{i}", f"s{i}") == [
            ("user", f"I am {i}"),
            ("assistant", f"Hello {i}"),
        ]


async def test_abandoned_turns_become_interrupted(
    store: Store, database: Database, clock: Clock
) -> None:
    old = await store.begin(ALICE, "s1", "old")
    clock.advance(LEASE)
    young = await store.begin(BOB, "s2", "young")
    assert await interrupt_abandoned(database, everything=False, clock=clock) == 1
    assert not await store.finish(ALICE, old.turn_id, "late")
    assert await store.checkpoint(BOB, young.turn_id, content="a", tool_calls=[])
    assert await interrupt_abandoned(database, everything=True, clock=clock) == 1
    assert not await store.finish(BOB, young.turn_id, "late")
    assert (await store.answer(BOB, young.turn_id)).content == "a"
    assert await interrupt_abandoned(database, everything=True, clock=clock) == 0
