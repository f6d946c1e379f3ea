"""Regenerating an answer: the replaced messages are stored but no longer shown."""

import pytest
import sqlalchemy as sa

from memory.engine.database import Database
from memory.engine.scopes import EVERYONE
from memory.errors import ConversationNotFoundError
from memory.schema import agent_messages
from tests.contract.conftest import ALICE, LEASE, Clock, Store, rows_of


async def superseded(database: Database) -> list[tuple[str, str]]:
    column = agent_messages.c
    query = sa.select(column.role, column.content).where(column.superseded).order_by(column.seq)
    return [
        (role, content)
        for role, content in await database.read(lambda c: c.execute(query).all(), owner=EVERYONE)
    ]


async def test_a_retry_takes_the_place_of_the_last_answer(store: Store, database: Database) -> None:
    await store.exchange(ALICE, "s1", "one", "first")
    await store.exchange(ALICE, "s1", "two", "second")
    retry = await store.begin_retry(ALICE, "s1", key="k")
    assert (retry.user_seq, retry.answer_seq, retry.fresh) == (3, 5, True)
    window = await store.window(ALICE, "s1", budget=1000, before_seq=retry.answer_seq)
    assert [message.content for message in window] == ["one", "first", "two"]
    assert await store.finish(ALICE, retry.turn_id, "better")
    assert await store.texts(ALICE, "s1") == [
        ("user", "one"),
        ("assistant", "first"),
        ("user", "two"),
        ("assistant", "better"),
    ]
    assert await superseded(database) == [("assistant", "second")]


async def test_an_edited_message_takes_question_and_answer_along(
    store: Store, database: Database
) -> None:
    await store.exchange(ALICE, "s1", "one", "first")
    await store.exchange(ALICE, "s1", "two", "second")
    retry = await store.begin_retry(ALICE, "s1", key="k", text="two, please")
    assert (retry.user_seq, retry.answer_seq) == (5, 6)
    window = await store.window(ALICE, "s1", budget=1000, before_seq=retry.answer_seq)
    assert [message.content for message in window] == ["one", "first", "two, please"]
    assert await store.finish(ALICE, retry.turn_id, "better")
    assert [text for _, text in await store.texts(ALICE, "s1")] == [
        "one",
        "first",
        "two, please",
        "better",
    ]
    assert await superseded(database) == [("user", "two"), ("assistant", "second")]


async def test_retries_can_follow_each_other(store: Store) -> None:
    await store.exchange(ALICE, "s1", "one", "first")
    for i, text in enumerate([None, "one, please", None, "uno"]):
        ticket = await store.begin_retry(ALICE, "s1", key=f"k{i}", text=text)
        assert await store.finish(ALICE, ticket.turn_id, f"answer {i}")
    assert [text for _, text in await store.texts(ALICE, "s1")] == ["uno", "answer 3"]
    assert (await store.exchange(ALICE, "s1", "two", "second")).fresh
    assert [text for _, text in await store.texts(ALICE, "s1")] == [
        "uno",
        "answer 3",
        "two",
        "second",
    ]


async def test_the_count_is_of_what_is_shown(store: Store) -> None:
    await store.exchange(ALICE, "s1", "one", "first")
    await store.begin_retry(ALICE, "s1", key="k")
    assert (await store.conversation(ALICE, "s1")).message_count == 2


async def test_the_title_follows_an_edited_first_message_only(store: Store) -> None:
    ticket = await store.exchange(ALICE, "s1", "one", "first")
    edited = await store.begin_retry(ALICE, "s1", key="k1", text="uno")
    await store.finish(ALICE, edited.turn_id, "primo")
    assert (await store.conversation(ALICE, "s1")).title == "uno"
    again = await store.begin_retry(ALICE, "s1", key="k2")
    await store.finish(ALICE, again.turn_id, "primo")
    await store.exchange(ALICE, "s1", "two", "second")
    await store.begin_retry(ALICE, "s1", key="k3", text="due")
    assert (await store.conversation(ALICE, "s1")).title == "uno"
    assert ticket.fresh


async def test_a_key_of_a_turn_is_known_to_a_retry(store: Store, database: Database) -> None:
    ticket = await store.begin(ALICE, "s1", "one", key="k")
    await store.finish(ALICE, ticket.turn_id, "first")
    before = await rows_of(database)
    again = await store.begin_retry(ALICE, "s1", key="k")
    assert (again.turn_id, again.fresh) == (ticket.turn_id, False)
    assert await rows_of(database) == before


async def test_a_turn_with_a_lost_lease_can_be_retried(store: Store, clock: Clock) -> None:
    lost = await store.begin(ALICE, "s1", "one")
    clock.advance(LEASE + 1)
    retry = await store.begin_retry(ALICE, "s1", key="k")
    assert not await store.finish(ALICE, lost.turn_id, "late")
    assert await store.finish(ALICE, retry.turn_id, "first")
    assert await store.texts(ALICE, "s1") == [("user", "one"), ("assistant", "first")]


async def test_without_a_conversation_there_is_nothing_to_retry(
    store: Store, database: Database
) -> None:
    with pytest.raises(ConversationNotFoundError):
        await store.begin_retry(ALICE, "s1", key="k", text="one")
    assert not any((await rows_of(database)).values())
