"""Renaming, deleting, restoring, rating, searching, transferring: on each database."""

import asyncio
from collections import Counter
from typing import Any

import pytest
import sqlalchemy as sa

from memory.conversations.editing import MAX_MATCHES
from memory.engine.database import Database
from memory.engine.scopes import EVERYONE
from memory.errors import ConversationNotFoundError, HoldingsChangedError, InvalidTextError
from memory.logins import Logins, Taking
from memory.records import NewTurn
from tests.contract.conftest import ALICE, BOB, Clock, Store, rows_of


async def found(store: Store, owner: str, query: str) -> list[tuple[str, int | None]]:
    return [(item.conversation_id, item.seq) for item in await store.search(owner, query)]


async def test_a_renamed_conversation_keeps_its_new_title(store: Store) -> None:
    await store.exchange(ALICE, "a", "first words", "answer")
    await store.rename(ALICE, "a", "  My\nown   title ")
    assert (await store.conversation(ALICE, "a")).title == "My own title"
    await store.exchange(ALICE, "a", "more words", "answer")
    assert (await store.conversation(ALICE, "a")).title == "My own title"


@pytest.mark.parametrize("title", ["", " \n\t ", "a\0b", "\ud800"])
async def test_a_title_that_is_none_is_refused_and_the_old_one_stays(
    store: Store, title: str
) -> None:
    await store.exchange(ALICE, "a", "first words", "answer")
    with pytest.raises(InvalidTextError):
        await store.rename(ALICE, "a", title)
    assert (await store.conversation(ALICE, "a")).title == "first words"


async def test_a_deleted_conversation_is_nowhere_until_it_is_restored(
    store: Store, database: Database
) -> None:
    await store.exchange(ALICE, "a", "needle in here", "answer")
    ticket = await store.begin(ALICE, "a", "running")
    before = await rows_of(database)
    await store.delete(ALICE, "a")
    assert await store.conversations(ALICE) == []
    assert await store.search(ALICE, "needle") == []
    for call in (
        store.conversation(ALICE, "a"),
        store.messages(ALICE, "a"),
        store.window(ALICE, "a", budget=1000, before_seq=99),
        store.begin(ALICE, "a", "again"),
        store.begin_turn(ALICE, NewTurn("a", "again", key="k")),
        store.begin_retry(ALICE, "a", key="k"),
        store.rename(ALICE, "a", "title"),
        store.rate(ALICE, "a", 2, "like"),
        store.delete(ALICE, "a"),
    ):
        with pytest.raises(ConversationNotFoundError):
            await call
    await store.restore(ALICE, "a")
    turns = "agent_turns"  # the running one was asked to stop, and is still
    assert await rows_of(database) | {turns: before[turns]} == before
    assert await found(store, ALICE, "needle") == [("a", None)]
    assert await store.finish(ALICE, ticket.turn_id, "done")
    with pytest.raises(ConversationNotFoundError):
        await store.restore(ALICE, "a")


async def test_an_answer_is_rated_and_the_rating_taken_back(store: Store) -> None:
    await store.exchange(ALICE, "a", "question", "answer")

    async def ratings() -> list[Any]:
        return [m.feedback for m in await store.messages(ALICE, "a")]

    await store.rate(ALICE, "a", 2, "like")
    assert await ratings() == [None, "like"]
    await store.rate(ALICE, "a", 2, "dislike")
    assert await ratings() == [None, "dislike"]
    await store.rate(ALICE, "a", 2, None)
    assert await ratings() == [None, None]
    for seq in (1, 3, -1):  # a question, and what is not there
        with pytest.raises(ConversationNotFoundError):
            await store.rate(ALICE, "a", seq, "like")


async def test_a_conversation_ends_once_and_goes_on_with_its_next_turn(store: Store) -> None:
    await store.exchange(ALICE, "a", "question", "answer")
    assert await store.mark_inactive(ALICE, "a")
    ended = await store.conversation(ALICE, "a")
    assert ended.status == "inactive"
    assert ended.ended_at is not None
    assert not await store.mark_inactive(ALICE, "a")
    await store.exchange(ALICE, "a", "back", "answer")
    assert (await store.conversation(ALICE, "a")).status == "active"


async def test_a_search_finds_words_and_their_beginnings_in_ones_own_alone(store: Store) -> None:
    await store.exchange(ALICE, "a", "Hello", "The Lighthouse keeper of Zürich, snake_case")
    await store.exchange(ALICE, "b", "Lighthouses at sea", "answer")
    await store.exchange(BOB, "c", "lighthouse", "lighthouse")
    assert await found(store, ALICE, "lightho") == [("b", None), ("a", 2)]
    assert await found(store, ALICE, "KEEPER light") == [("a", 2)]
    assert await found(store, ALICE, "zürich") == [("a", 2)]
    assert await found(store, ALICE, "snake_case") == [("a", 2)]
    assert await found(store, ALICE, "eeper") == []
    assert await found(store, ALICE, "house") == [("b", None)]  # a title, by any part of it
    assert await found(store, BOB, "lighthouse") == [("c", None)]
    (item,) = await store.search(ALICE, "keeper")
    assert item.title == "Hello"
    assert item.snippet == "The Lighthouse keeper of Zürich, snake_case"


@pytest.mark.parametrize(
    "query",
    [
        "",
        "   ",
        '"',
        "'",
        "*",
        "a AND",
        "owner_id:x",
        "NEAR(",
        "^",
        "-x",
        "(",
        "!x",
        "x:*",
        "&",
        "\\",
        "%",
        "_",
        "' OR 1=1 --",
        "a" * 5_000,
        "🙂",
        "語",
    ],
)
async def test_no_query_is_an_error_and_none_finds_what_is_anothers(
    store: Store, query: str
) -> None:
    await store.exchange(BOB, "b", "x near owner_id and or", "語 🙂 % _ '")
    assert await store.search(ALICE, query) == []


async def test_what_was_edited_stopped_or_deleted_is_found_as_it_is_now(store: Store) -> None:
    ticket = await store.begin(ALICE, "a", "alpha")
    assert await store.checkpoint(ALICE, ticket.turn_id, content="gamma gam", tool_calls=[])
    assert await found(store, ALICE, "gamma") == [("a", 2)]
    assert await store.finish(ALICE, ticket.turn_id, "delta")
    assert await found(store, ALICE, "gamma") == []
    assert await found(store, ALICE, "delta") == [("a", 2)]
    again = await store.begin_retry(ALICE, "a", key="k", text="epsilon")
    assert await store.finish(ALICE, again.turn_id, "zeta")
    assert await found(store, ALICE, "delta") == []
    assert await found(store, ALICE, "zeta") == [("a", 4)]
    await store.forget(ALICE)
    assert await found(store, ALICE, "zeta") == []


async def test_one_conversation_is_found_once_at_its_newest_place(store: Store) -> None:
    for n in range(3):
        await store.exchange(ALICE, "a", f"turn {n}", "needle")
    assert await found(store, ALICE, "needle") == [("a", 6)]


async def test_a_search_looks_at_so_many_messages_and_no_more(store: Store) -> None:
    await store.exchange(ALICE, "old", "question", "word")
    for _ in range(MAX_MATCHES // 2):
        await store.exchange(ALICE, "a", "word", "word")
    assert await found(store, ALICE, "word") == [("a", None)]


async def test_what_a_visitor_wrote_becomes_the_accounts_whole_and_once(
    store: Store, database: Database
) -> None:
    await store.exchange(ALICE, "a", "needle", "answer")
    ticket = await store.begin(ALICE, "a2", "running")
    await store.exchange(BOB, "b", "bob's", "answer")
    before = await rows_of(database)
    seen = await store.holdings(ALICE)
    logins, taking = Logins(database), Taking(ALICE, seen.digest, lambda *_: None)
    taken = await asyncio.gather(
        *(logins.begin("account", f"login-{n}", taking=taking) for n in range(4)),
        return_exceptions=True,
    )
    assert Counter(map(type, taken)) == {HoldingsChangedError: 3, type(None): 1}
    after = await rows_of(database)
    assert len(after.pop("agent_logins")) == 1
    del before["agent_logins"]
    assert {
        table: sorted(
            (tuple("account" if value == ALICE else value for value in row) for row in rows),
            key=str,
        )
        for table, rows in before.items()
    } == after
    assert await store.conversations(ALICE) == []
    assert await found(store, ALICE, "needle") == []
    assert await found(store, "account", "needle") == [("a", None)]
    assert not await store.finish(ALICE, ticket.turn_id, "late")
    assert await store.finish("account", ticket.turn_id, "done")
    assert await store.texts(BOB, "b") == [("user", "bob's"), ("assistant", "answer")]


async def test_a_list_is_the_newest_first_without_what_is_deleted(
    store: Store, clock: Clock
) -> None:
    for name in "abc":
        await store.exchange(ALICE, name, name, "answer")
        clock.advance(60)
    await store.delete(ALICE, "b")
    assert [c.conversation_id for c in await store.conversations(ALICE)] == ["c", "a"]


async def test_the_search_index_holds_what_the_messages_hold(
    store: Store, database: Database
) -> None:
    await store.exchange(ALICE, "a", "one", "two")
    await store.take_over("account", ALICE)
    await store.forget("account")
    await store.exchange(ALICE, "a", "three", "four")

    def check(connection: sa.Connection) -> None:
        if connection.dialect.name == "sqlite":
            # raises when index and messages differ
            connection.exec_driver_sql(
                "INSERT INTO agent_search (agent_search, rank) VALUES ('integrity-check', 1)"
            )

    await database.write(check, owner=EVERYONE)
