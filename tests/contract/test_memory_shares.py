"""Shares: a snapshot holds what was shown when it was made, and ends when its owner says so."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from memory.conversations.files import UsedBytes
from memory.conversations.share_store import ShareStore
from memory.conversations.shares import MAX_CHARS, MAX_MESSAGES, MAX_SHARES
from memory.engine.database import Database, SqliteDatabase
from memory.errors import (
    ConversationBusyError,
    ConversationMovedError,
    ConversationNotFoundError,
    QuotaExceededError,
    ShareNotFoundError,
    ShareTooLargeError,
    TooManySharesError,
    UnknownFileError,
)
from memory.maintenance.integrity import faults, file_ids
from memory.maintenance.retention import DELETED_KEPT, Retention
from memory.records import (
    AnswerDetails,
    ConversationOrigin,
    NewTurn,
    SourceRecord,
    StoredFile,
)
from memory.schema import metadata
from memory.share_records import NewShare, SharedCopy
from tests.contract.conftest import ALICE, BOB, LEASE, Clock, Store, rows_of
from tests.contract.test_memory_survival import Pause, patient_file

__all__ = ["patient_file"]  # a fixture is found by its name here

SHARES = [table for table in metadata.sorted_tables if "reader_id" in table.columns]


@pytest.fixture
def links(database: Database, clock: Clock) -> ShareStore:
    return ShareStore(database, clock=clock)


def new(
    name: str,
    conversation: str = "c1",
    *,
    ends: timedelta | None = None,
    clock: Clock | None = None,
    copies: Mapping[str, str] | None = None,
) -> NewShare:
    expires_at = clock() + ends if clock is not None and ends is not None else None
    return NewShare(conversation, name, f"reader-{name}", expires_at, copies)


async def texts(links: ShareStore, reader: str) -> list[str]:
    _, messages, _ = await links.snapshot_page(reader, from_seq=1, limit=100)
    return [message.content for message in messages]


async def with_file(store: Store, owner: str, conversation: str, file_id: str) -> None:
    """Store an exchange whose question has a file."""
    file = StoredFile(
        file_id, None, None, "a.txt", "text/plain", "document", 3, 7, "text of it", store._clock()
    )
    await store.add_file(owner, file, bound_of=lambda *_: None)
    turn = NewTurn(conversation, "look", "with-file", origin=ConversationOrigin(), files=[file_id])
    ticket = await store.begin_turn(owner, turn)
    assert await store.finish(owner, ticket.turn_id, "seen")


async def test_a_snapshot_holds_the_shown_messages_and_nothing_that_came_later(
    store: Store, links: ShareStore
) -> None:
    await store.exchange(ALICE, "c1", "first", "one")
    ticket = await store.begin(ALICE, "c1", "second")
    await store.finish(ALICE, ticket.turn_id, "two", "interrupted")
    again = await store.begin_retry(ALICE, "c1", key="again", text="second, edited")
    await store.finish(ALICE, again.turn_id, "two, again")
    share = await links.create_share(ALICE, new("s1"))
    await store.exchange(ALICE, "c1", "third", "three")
    await store.rename(ALICE, "c1", "renamed")
    snapshot, messages, files = await links.snapshot_page("reader-s1", from_seq=1, limit=100)
    shown = ["first", "one", "second, edited", "two, again"]
    assert [message.content for message in messages] == shown
    assert [message.seq for message in messages] == [1, 2, 3, 4]
    assert (snapshot.title, share.title, snapshot.message_count) == ("first", "first", 4)
    assert files == []
    _, page, _ = await links.snapshot_page("reader-s1", from_seq=3, limit=1)
    assert [message.content for message in page] == ["second, edited"]


@pytest.mark.parametrize("what", ["page", "files"])
async def test_a_link_that_ends_while_it_is_read_is_not_there(
    what: str, patient_file: SqliteDatabase, tmp_path: Path
) -> None:
    store, links = Store(patient_file), ShareStore(patient_file)
    await store.exchange(ALICE, "c1", "first", "one")
    await links.create_share(ALICE, new("s1"))
    seen = 0

    def end(_connection: Any, _cursor: Any, sql: str, *_: Any) -> None:
        nonlocal seen
        seen += "FROM agent_share_" in sql
        if seen == 2:  # between the first statement of the read and the second one
            with contextlib.closing(sqlite3.connect(tmp_path / "chat.db")) as other, other:
                other.execute("PRAGMA foreign_keys=ON")
                other.execute("DELETE FROM agent_shares")

    sa.event.listen(patient_file.engine, "before_cursor_execute", end)
    with pytest.raises(ShareNotFoundError):
        if what == "page":
            await links.snapshot_page("reader-s1", from_seq=1, limit=100)
        else:
            await links.snapshot_files("reader-s1")
    assert seen >= 2


async def test_sources_and_the_end_of_an_answer_are_part_of_the_snapshot(
    store: Store, links: ShareStore
) -> None:
    ticket = await store.begin(ALICE, "c1", "first")
    source = SourceRecord("https://a.example/", "A")
    await store.finish(
        ALICE,
        ticket.turn_id,
        "one",
        "interrupted",
        details=AnswerDetails(sources=(source,), note="for the owner"),
        thinking="a secret thought",
        finish_reason="length",
    )
    await links.create_share(ALICE, new("s1"))
    _, (_, answer), _ = await links.snapshot_page("reader-s1", from_seq=1, limit=100)
    assert (answer.sources, answer.finish_reason) == ((source,), "length")
    assert (answer.status, answer.model_used) == ("interrupted", "model-1")
    database = links._database
    rows = await rows_of(database)
    stored = repr([rows[table.name] for table in SHARES])
    assert "secret thought" not in stored
    assert "for the owner" not in stored


async def test_only_the_owner_shares_lists_and_revokes(store: Store, links: ShareStore) -> None:
    await store.exchange(ALICE, "c1", "first", "one")
    await store.exchange(ALICE, "c2", "other", "two")
    with pytest.raises(ConversationNotFoundError):
        await links.create_share(BOB, new("s0"))
    hers = [await links.create_share(ALICE, new("s1"))]
    hers.append(await links.create_share(ALICE, new("s2", "c2")))
    assert {share.share_id for share in await links.shares(ALICE)} == {"s1", "s2"}
    assert [share.share_id for share in await links.shares(ALICE, "c2")] == ["s2"]
    for stranger in (BOB, "reader-s1"):
        assert await links.shares(stranger) == []
        with pytest.raises(ShareNotFoundError):
            await links.revoke_share(stranger, "s1")
    assert await texts(links, "reader-s1") == ["first", "one"]
    assert await links.revoke_share(ALICE, "s1") == []
    with pytest.raises(ShareNotFoundError):
        await texts(links, "reader-s1")
    with pytest.raises(ShareNotFoundError):
        await links.revoke_share(ALICE, "s1")
    assert await texts(links, "reader-s2") == ["other", "two"]


async def test_a_link_ends_at_its_date_and_the_clean_up_deletes_it(
    store: Store, links: ShareStore, clock: Clock, database: Database
) -> None:
    await store.exchange(ALICE, "c1", "first", "one")
    await links.create_share(ALICE, new("s1", ends=timedelta(days=1), clock=clock))
    await links.create_share(ALICE, new("s2"))
    clock.advance(86_399)
    assert await texts(links, "reader-s1") == ["first", "one"]
    clock.advance(1)
    with pytest.raises(ShareNotFoundError):
        await links.snapshot("reader-s1")
    assert [share.share_id for share in await links.shares(ALICE)] == ["s2"]
    await Retention(database, clock=clock).clean(days=0, idle_seconds=1)
    rows = await rows_of(database)
    assert {row[1] for row in rows["agent_shares"]} == {"reader-s2"}
    assert {row[0] for row in rows["agent_share_messages"]} == {"reader-s2"}


async def test_a_deleted_conversation_closes_its_links_and_a_restored_one_opens_them(
    store: Store, links: ShareStore, clock: Clock, database: Database
) -> None:
    await store.exchange(ALICE, "c1", "first", "one")
    await store.exchange(ALICE, "c2", "other", "two")
    await links.create_share(ALICE, new("s1"))
    await links.create_share(ALICE, new("s2", "c2"))
    await store.delete(ALICE, "c1")
    with pytest.raises(ShareNotFoundError):
        await links.snapshot("reader-s1")
    with pytest.raises(ShareNotFoundError):
        await links.copy_snapshot(BOB, "reader-s1", SharedCopy("b1", "assistant", {}))
    assert [share.share_id for share in await links.shares(ALICE)] == ["s2"]
    await store.restore(ALICE, "c1")
    assert await texts(links, "reader-s1") == ["first", "one"]
    await store.delete(ALICE, "c1")
    clock.advance(DELETED_KEPT + 1)
    await Retention(database, clock=clock).clean(days=0, idle_seconds=1)
    rows = await rows_of(database)
    for table in SHARES:
        assert "s1" not in repr(rows[table.name]), table.name
    assert await texts(links, "reader-s2") == ["other", "two"]


async def test_all_of_an_owner_takes_the_shares_with_it_and_the_sign_in_hands_them_on(
    store: Store, links: ShareStore, database: Database
) -> None:
    for owner, conversation in ((ALICE, "c1"), (BOB, "c2")):
        await store.exchange(owner, conversation, "first", "one")
        await links.create_share(owner, new(f"of-{conversation}", conversation))
    await store.take_over("user:account", BOB)
    assert [share.share_id for share in await links.shares("user:account")] == ["of-c2"]
    assert await links.shares(BOB) == []
    await store.forget(ALICE)
    rows = await rows_of(database)
    assert {row[0] for row in rows["agent_share_messages"]} == {"reader-of-c2"}
    assert set((await faults(database)).values()) == {0}


async def test_nothing_is_shared_while_an_answer_is_written(
    store: Store, links: ShareStore
) -> None:
    await store.exchange(ALICE, "c1", "first", "one")
    ticket = await store.begin(ALICE, "c1", "second")
    with pytest.raises(ConversationBusyError):
        await links.create_share(ALICE, new("s1"))
    await store.finish(ALICE, ticket.turn_id, "two")
    await links.create_share(ALICE, new("s1"))
    assert await texts(links, "reader-s1") == ["first", "one", "second", "two"]


async def test_an_answer_whose_writer_has_died_is_shared_as_it_is(
    store: Store, links: ShareStore, clock: Clock
) -> None:
    await store.begin(ALICE, "c1", "first")
    clock.advance(LEASE)
    await links.create_share(ALICE, new("s1"))
    _, (_, answer), _ = await links.snapshot_page("reader-s1", from_seq=1, limit=100)
    assert answer.status == "interrupted"


async def test_the_number_of_shares_is_bounded_for_each_owner(
    store: Store, links: ShareStore
) -> None:
    await store.exchange(ALICE, "c1", "first", "one")
    await store.exchange(BOB, "c2", "first", "one")
    for number in range(MAX_SHARES - 2):
        await links.create_share(ALICE, new(f"s{number}"))
    attempts = [links.create_share(ALICE, new(f"late{number}")) for number in range(5)]
    made = await asyncio.gather(*attempts, return_exceptions=True)
    assert (
        sorted(type(each).__name__ for each in made) == ["Share"] * 2 + ["TooManySharesError"] * 3
    )
    with pytest.raises(TooManySharesError):
        await links.create_share(ALICE, new("one-more"))
    await links.create_share(BOB, new("his", "c2"))
    await links.revoke_share(ALICE, "s0")
    await links.create_share(ALICE, new("one-more"))


async def test_the_size_of_a_snapshot_is_bounded(
    store: Store, links: ShareStore, database: Database, clock: Clock
) -> None:
    await store.exchange(ALICE, "c1", "first", "x" * (MAX_CHARS - 4))
    with pytest.raises(ShareTooLargeError):
        await links.create_share(ALICE, new("s1"))
    await store.exchange(ALICE, "c2", "first", "one")
    template: dict[str, Any] = {
        "session_id": "c2",
        "owner_id": ALICE,
        "role": "user",
        "content": "more",
    }
    template |= {"status": "complete", "created_at": clock(), "turn_id": "t", "superseded": False}
    rows = [template | {"seq": seq} for seq in range(3, MAX_MESSAGES + 1)]
    insert = sa.insert(metadata.tables["agent_messages"])
    await database.write(lambda connection: connection.execute(insert, rows), owner=ALICE)
    await links.create_share(ALICE, new("s2", "c2"))
    assert (await links.snapshot("reader-s2")).message_count == MAX_MESSAGES
    last = template | {"seq": MAX_MESSAGES + 1}
    await database.write(lambda connection: connection.execute(insert, last), owner=ALICE)
    with pytest.raises(ShareTooLargeError):
        await links.create_share(ALICE, new("s3", "c2"))
    assert {share.share_id for share in await links.shares(ALICE)} == {"s2"}


async def test_files_are_copies_of_their_own_and_count_for_who_shared_them(
    store: Store, links: ShareStore, database: Database
) -> None:
    await with_file(store, ALICE, "c1", "a" * 32)
    await links.create_share(ALICE, new("bare"))
    assert (await links.snapshot("reader-bare")).files_left_out == 1
    assert await links.snapshot_files("reader-bare") == []
    with pytest.raises(ConversationMovedError):
        await links.create_share(ALICE, new("late", copies={}))
    await links.create_share(ALICE, new("s1", copies={"a" * 32: "b" * 32}))
    (shared,) = await links.snapshot_files("reader-s1")
    assert (shared.number, shared.file.file_id, shared.file.seq) == (1, "b" * 32, 1)
    assert (shared.file.text, shared.file.conversation_id) == ("text of it", None)
    _, _, (listed,) = await links.snapshot_page("reader-s1", from_seq=1, limit=9)
    assert listed == await links.snapshot_file("reader-s1", 1)
    assert listed == replace(shared, file=replace(shared.file, text=None))
    for reader, number in (("reader-s1", 2), ("reader-bare", 1), ("reader-none", 1)):
        with pytest.raises(ShareNotFoundError):
            await links.snapshot_file(reader, number)
    used = await store.used_bytes(ALICE)
    assert (used.owner, used.total) == (14, 14)
    assert (await store.used_bytes(BOB)).owner == 0
    assert await file_ids(database, after="", limit=9) == ["a" * 32, "b" * 32]
    existing = await Retention(database).existing_files(["a" * 32, "b" * 32, "c" * 32])
    assert existing == {"a" * 32, "b" * 32}
    assert await links.revoke_share(ALICE, "s1") == ["b" * 32]
    await links.create_share(ALICE, new("s2", copies={"a" * 32: "d" * 32}))
    assert sorted(await store.forget_files(ALICE)) == ["a" * 32, "d" * 32]
    assert await links.shares(ALICE) == []


async def test_who_continues_gets_a_conversation_and_files_of_their_own(
    store: Store, links: ShareStore, clock: Clock, database: Database
) -> None:
    await with_file(store, ALICE, "c1", "a" * 32)
    await links.create_share(ALICE, new("s1", copies={"a" * 32: "b" * 32}))
    await store.add_file(
        BOB,
        replace((await links.snapshot_files("reader-s1"))[0].file, file_id="c" * 32, seq=None),
        bound_of=lambda *_: None,
    )
    with pytest.raises(UnknownFileError):
        await links.copy_snapshot(ALICE, "reader-s1", SharedCopy("a2", "main", {1: "c" * 32}))
    await links.copy_snapshot(BOB, "reader-s1", SharedCopy("b1", "main", {1: "c" * 32}))
    assert await store.texts(BOB, "b1") == [("user", "look"), ("assistant", "seen")]
    (file,) = await store.files_of(BOB, "b1")
    assert (file.file_id, file.seq) == ("c" * 32, 1)
    conversation = await store.conversation(BOB, "b1")
    assert (conversation.agent_id, conversation.message_count) == ("main", 2)
    assert conversation.context_data is None
    # Each goes its own way from here on.
    await store.exchange(BOB, "b1", "his own", "his answer")
    again = await store.begin_retry(BOB, "b1", key="again")
    await store.finish(BOB, again.turn_id, "another answer")
    await links.revoke_share(ALICE, "s1")
    await store.forget(ALICE)
    assert [text for _, text in await store.texts(BOB, "b1")] == [
        "look",
        "seen",
        "his own",
        "another answer",
    ]
    with pytest.raises(ConversationNotFoundError):
        await store.conversation(ALICE, "b1")
    assert [hit.conversation_id for hit in await store.search(BOB, "look")] == ["b1"]
    assert set((await faults(database)).values()) == {0}


async def test_what_a_cancelled_caller_made_is_taken_back(patient_file: SqliteDatabase) -> None:
    store, links = Store(patient_file), ShareStore(patient_file)
    await store.exchange(ALICE, "c1", "first", "one")
    await links.create_share(ALICE, new("s1"))
    works: list[Callable[[], Coroutine[Any, Any, object]]] = [
        lambda: links.create_share(ALICE, new("s2")),
        lambda: links.copy_snapshot(BOB, "reader-s1", SharedCopy("b1", "main", {})),
    ]
    for work in works:
        pause = Pause(patient_file)
        task = asyncio.create_task(work())
        await pause.arrival()
        task.cancel()
        pause.opened.set()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert [share.share_id for share in await links.shares(ALICE)] == ["s1"]
    assert await store.conversations(BOB) == []


async def test_the_quota_holds_for_links_that_are_made_at_once(
    store: Store, links: ShareStore
) -> None:
    def bound_of(used: UsedBytes, size: int) -> str | None:
        return "owner" if used.owner + size > 21 else None

    await with_file(store, ALICE, "c1", "a" * 32)  # of 7 bytes
    made = await asyncio.gather(
        *(
            links.create_share(
                ALICE, new(f"s{n}", copies={"a" * 32: f"{n}" * 32}), bound_of=bound_of
            )
            for n in range(5)
        ),
        return_exceptions=True,
    )
    assert sum(isinstance(one, QuotaExceededError) for one in made) == 3
    assert len(await links.shares(ALICE)) == 2
    assert (await store.used_bytes(ALICE)).owner == 21
    await links.create_share(ALICE, new("bare"), bound_of=bound_of)  # takes no bytes
