"""Titles of a model, pins, folders and archive: on each database."""

import pytest

from memory.conversations.share_store import ShareStore
from memory.engine.database import Database
from memory.errors import ConversationNotFoundError, InvalidTextError
from memory.records import Arrangement, Section
from memory.share_records import NewShare
from tests.contract.conftest import ALICE, BOB, Clock, Store

SECTIONS: tuple[Section, ...] = ("recent", "arranged", "archived")


async def name(store: Store, owner: str, conversation_id: str, title: str) -> bool:
    """Store a title that a model gave to Alice's conversation, as this owner."""
    created_at = (await store.conversation(ALICE, conversation_id)).started_at
    return await store.store_title(
        owner, conversation_id, title, conversation_created_at=created_at
    )


async def title_of(store: Store, conversation_id: str = "a") -> str:
    return (await store.conversation(ALICE, conversation_id)).title


async def sections(store: Store, owner: str = ALICE) -> dict[str, list[str]]:
    return {
        section: [item.conversation_id for item in await store.listed(owner, section)]
        for section in SECTIONS
    }


async def test_a_model_s_title_replaces_the_first_message_once(store: Store) -> None:
    await store.exchange(ALICE, "a", "first words", "answer")
    assert not await name(store, BOB, "a", "his")
    assert not await name(store, ALICE, "a", " \n")
    assert await name(store, ALICE, "a", " A\ntitle ")
    assert not await name(store, ALICE, "a", "another")
    assert await title_of(store) == "A title"
    with pytest.raises(InvalidTextError):
        await name(store, ALICE, "a", "a\0b")


async def test_a_ticket_says_whether_the_conversation_has_a_title(store: Store) -> None:
    ticket = await store.exchange(ALICE, "a", "first words", "answer")
    assert not ticket.has_title
    assert await name(store, ALICE, "a", "title")
    assert (await store.begin(ALICE, "a", "more words")).has_title


async def test_a_title_of_the_owner_stays_whatever_a_model_gives_and_is_edited(
    store: Store,
) -> None:
    await store.exchange(ALICE, "a", "first words", "answer")
    await store.rename(ALICE, "a", "mine")
    assert not await name(store, ALICE, "a", "a model's")
    ticket = await store.begin_retry(ALICE, "a", key="edit", text="other words")
    assert ticket.has_title
    assert await title_of(store) == "mine"


async def test_the_title_is_that_of_the_first_message_that_is_shown(
    store: Store, database: Database
) -> None:
    await store.exchange(ALICE, "a", "secret words", "one")
    await store.exchange(ALICE, "a", "second", "two")
    assert await name(store, ALICE, "a", "A secret")
    again = await store.begin_retry(ALICE, "a", key="edit", seq=1, text="other words")
    assert not again.has_title
    await store.finish(ALICE, again.turn_id, "three")
    await store.exchange(ALICE, "a", "fourth", "four")
    await ShareStore(database).create_share(ALICE, NewShare("a", "s1", "reader-s1", None))
    assert (await ShareStore(database).snapshot("reader-s1")).title == "other words"
    fork = await store.fork(ALICE, "a", 5, context={}, copies={})
    assert await title_of(store, fork) == "Fork: other words"
    await store.select_version(ALICE, "a", 1)
    assert await title_of(store) == "secret words"
    await store.rename(ALICE, "a", "mine")
    await store.select_version(ALICE, "a", 5)
    ticket = await store.begin_retry(ALICE, "a", key="once more", seq=5, text="others")
    assert ticket.has_title
    assert await title_of(store) == "mine"


async def test_an_edited_first_message_is_the_title_until_a_model_gives_another(
    store: Store,
) -> None:
    await store.exchange(ALICE, "a", "first words", "answer")
    assert await name(store, ALICE, "a", "old title")
    again = await store.begin_retry(ALICE, "a", key="again")
    assert again.has_title
    assert await title_of(store) == "old title"
    await store.finish(ALICE, again.turn_id, "answer")
    assert not (await store.begin_retry(ALICE, "a", key="edit", text="other words")).has_title
    assert await title_of(store) == "other words"
    assert await name(store, ALICE, "a", "new title")


async def test_a_title_of_a_deleted_conversation_is_not_given_to_its_successor(
    store: Store, clock: Clock
) -> None:
    await store.exchange(ALICE, "a", "secret words", "answer")
    created_at = (await store.conversation(ALICE, "a")).started_at
    await store.forget(ALICE)
    clock.advance(1)
    await store.exchange(ALICE, "a", "new words", "answer")
    assert not await store.store_title(
        ALICE, "a", "secret title", conversation_created_at=created_at
    )
    assert await title_of(store) == "new words"


async def test_each_conversation_stands_in_one_section_of_its_owner_s_list(store: Store) -> None:
    for owner, name_ in ((ALICE, "a"), (ALICE, "b"), (ALICE, "c"), (ALICE, "d"), (BOB, "his")):
        await store.exchange(owner, name_, f"about {name_}", "answer")
    await store.arrange(ALICE, "a", Arrangement(is_pinned=True))
    await store.arrange(ALICE, "b", Arrangement(folder=" My\nwork "))
    await store.arrange(ALICE, "c", Arrangement(is_pinned=True, is_archived=True))
    assert await sections(store) == {"recent": ["d"], "arranged": ["b", "a"], "archived": ["c"]}
    assert await sections(store, BOB) == {"recent": ["his"], "arranged": [], "archived": []}
    assert (await store.conversation(ALICE, "b")).folder == "My work"
    assert {item.conversation_id for item in await store.conversations(ALICE)} == set("abcd")

    await store.arrange(ALICE, "a", Arrangement(is_pinned=False))
    await store.arrange(ALICE, "b", Arrangement(folder="  "))
    await store.arrange(ALICE, "c", Arrangement(is_archived=False))
    await store.arrange(ALICE, "d", Arrangement())
    assert await sections(store) == {"recent": ["d", "b", "a"], "arranged": ["c"], "archived": []}


async def test_sections_are_read_page_by_page_without_what_is_deleted(
    store: Store, clock: Clock
) -> None:
    for number in range(5):
        clock.advance(1)
        await store.exchange(ALICE, f"c{number}", "words", "answer")
        await store.arrange(ALICE, f"c{number}", Arrangement(folder="work"))
    await store.delete(ALICE, "c2")
    first = await store.listed(ALICE, "arranged", limit=2)
    rest = await store.listed(ALICE, "arranged", limit=9, before=first[-1].position)
    assert [item.conversation_id for item in (*first, *rest)] == ["c4", "c3", "c1", "c0"]
    assert await store.listed(ALICE, "arranged", before=(first[0].last_activity_at, "ü")) == []


async def test_what_is_archived_is_found_and_says_so(store: Store) -> None:
    await store.exchange(ALICE, "a", "about ships", "answer")
    await store.exchange(ALICE, "b", "hello", "ships and boats")
    await store.arrange(ALICE, "b", Arrangement(is_archived=True))
    hits = await store.search(ALICE, "ships")
    assert [(hit.conversation_id, hit.is_archived) for hit in hits] == [("a", False), ("b", True)]


async def test_another_s_conversation_is_not_arranged(store: Store) -> None:
    await store.exchange(ALICE, "a", "words", "answer")
    for refused in ("a", "absent", "ü"):
        with pytest.raises(ConversationNotFoundError):
            await store.arrange(BOB, refused, Arrangement(is_archived=True))
    with pytest.raises(InvalidTextError):
        await store.arrange(ALICE, "a", Arrangement(folder="a\0b"))
    assert await sections(store) == {"recent": ["a"], "arranged": [], "archived": []}


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("photo\u202egnp.exe", "photognp.exe"),
        ("\u2066\u2067a\u2068 b\u2069\u202a\u202b\u202c\u202d\u200e\u200f\u061c", "a b"),
        ("a\x07\x1b[31mb\x7f\x9fc", "a[31mbc"),
        ("one\u2028two\tthree", "one two three"),
        (
            "\U0001f468\u200d\U0001f469 \u05e9\u05dc\u05d5\u05dd",
            "\U0001f468\u200d\U0001f469 \u05e9\u05dc\u05d5\u05dd",
        ),
    ],
)
async def test_nothing_in_a_title_or_folder_turns_or_hides_the_text_around_it(
    store: Store, text: str, title: str
) -> None:
    await store.exchange(ALICE, "a", text, "answer")
    assert await title_of(store) == title
    await store.rename(ALICE, "a", "another")
    await store.rename(ALICE, "a", text)
    await store.arrange(ALICE, "a", Arrangement(folder=text))
    stored = await store.conversation(ALICE, "a")
    assert (stored.title, stored.folder) == (title, title)
    for hidden in ("\u202e", "\x07", "\u2066 \u2069"):
        with pytest.raises(InvalidTextError):
            await store.rename(ALICE, "a", hidden)
