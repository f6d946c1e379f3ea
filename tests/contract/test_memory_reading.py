"""Reading: pages of messages, the context window and the list of conversations."""

import pytest
import sqlalchemy as sa

from memory.conversations.context_window import max_rows
from memory.engine.database import SqliteDatabase
from memory.errors import ConversationNotFoundError
from tests.contract.conftest import ALICE, BOB, Clock, Store


async def test_messages_come_in_pages_oldest_first(store: Store) -> None:
    for i in range(1, 6):
        await store.exchange(ALICE, "s1", f"q{i}", f"a{i}")
    newest = await store.messages(ALICE, "s1", limit=4)
    assert [message.content for message in newest] == ["q4", "a4", "q5", "a5"]
    older = await store.messages(ALICE, "s1", limit=4, before_seq=newest[0].seq)
    assert [message.content for message in older] == ["q2", "a2", "q3", "a3"]
    assert [m.content for m in await store.messages(ALICE, "s1", limit=-1)] == ["a5"]
    assert await store.messages(ALICE, "s1", before_seq=1) == []


async def test_an_absent_conversation_is_not_an_empty_one(store: Store) -> None:
    for reading in (
        store.messages(ALICE, "s1"),
        store.window(ALICE, "s1", budget=10, before_seq=5),
        store.conversation(ALICE, "s1"),
        store.answer(ALICE, "t1"),
    ):
        with pytest.raises(ConversationNotFoundError):
            await reading


async def test_the_window_ends_with_the_question_at_hand(store: Store) -> None:
    await store.exchange(ALICE, "s1", "My name is Alice", "Hello Alice")
    failed = await store.begin(ALICE, "s1", "And?")
    await store.finish(ALICE, failed.turn_id, "", "failed")
    broken = await store.begin(ALICE, "s1", "Tell me more")
    await store.finish(ALICE, broken.turn_id, "Once upon", "interrupted")
    ticket = await store.begin(ALICE, "s1", "What is my name?")
    window = await store.window(ALICE, "s1", budget=1000, before_seq=ticket.answer_seq)
    assert [(message.role, message.content) for message in window] == [
        ("user", "My name is Alice"),
        ("assistant", "Hello Alice"),
        ("user", "And?"),
        ("user", "Tell me more"),
        ("assistant", "Once upon"),
        ("user", "What is my name?"),
    ]
    (only,) = await store.window(ALICE, "s1", budget=0, before_seq=ticket.answer_seq)
    assert only.content == "What is my name?"


@pytest.mark.parametrize("words", [1, 400])
async def test_the_window_of_a_long_conversation_reads_no_more_rows(
    sqlite_file: SqliteDatabase, words: int
) -> None:
    store, budget = Store(sqlite_file), 4000
    fetched = {}
    for length in (60, 240):
        for _ in range(length // 2):
            await store.exchange(ALICE, f"s{length}", "q " * words, "a " * words)
        statements: list[str] = []

        def note(*event: object, into: list[str] = statements) -> None:
            into.append(str(event[2]) + str(event[3]))

        sa.event.listen(sqlite_file.engine, "before_cursor_execute", note)
        window = await store.window(ALICE, f"s{length}", budget=budget, before_seq=10**6)
        sa.event.remove(sqlite_file.engine, "before_cursor_execute", note)
        assert 2 <= len(window) <= max_rows(budget)
        assert all("LIMIT" in statement for statement in statements)
        fetched[length] = (len(window), len(statements))
    assert fetched[60] == fetched[240]
    if words == 1:
        assert fetched[60][0] == max_rows(budget)
    else:
        assert fetched[60][1] == 1


async def test_conversations_come_in_pages_newest_activity_first(
    store: Store, clock: Clock
) -> None:
    for i in range(5):
        clock.advance(1 if i != 3 else 0)  # two of them at the same moment
        await store.exchange(ALICE, f"s{i}", f"text {i}", "ok")
    await store.exchange(BOB, "b", "Bob's", "ok")
    clock.advance(1)
    await store.exchange(ALICE, "s1", "again", "ok")
    seen = []
    page = await store.conversations(ALICE, limit=2)
    while page:
        seen += [conversation.conversation_id for conversation in page]
        page = await store.conversations(ALICE, limit=2, before=page[-1].position)
    assert seen == ["s1", "s4", "s3", "s2", "s0"]
    assert await store.conversations("user:nobody") == []


async def test_an_answer_is_found_by_its_turn(store: Store) -> None:
    ticket = await store.exchange(ALICE, "s1", "one", "first")
    await store.begin_retry(ALICE, "s1", key="k")
    assert (await store.answer(ALICE, ticket.turn_id)).content == "first"
