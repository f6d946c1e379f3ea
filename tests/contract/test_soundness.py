"""The integrity checks of `check`: intact stores pass, each kind of damage is counted."""

from typing import Any

import pytest
import sqlalchemy as sa

from memory.engine.database import Database
from memory.engine.scopes import EVERYONE
from memory.maintenance.integrity import _faults, faults, file_ids
from memory.receipts import sealed
from memory.records import AnswerDetails
from memory.schema import agent_messages
from tests.contract.conftest import ALICE, BOB, Store

# statement, and the invariant that it breaks
BREAKS = {
    "a message of another owner": (
        "UPDATE agent_messages SET owner_id = 'user:mallory' WHERE role = 'user'",
        "agent_messages without a conversation of the same owner",
    ),
    "a turn of another owner": (
        "UPDATE agent_turns SET owner_id = 'user:bob' WHERE owner_id = 'user:alice'",
        "agent_turns without a conversation of the same owner",
    ),
    "a file of a conversation that is not there": (
        "UPDATE agent_files SET session_id = 'gone' WHERE owner_id = 'user:alice'",
        "agent_files without a conversation of the same owner",
    ),
    "a conversation of nobody": (
        "UPDATE agent_sessions SET owner_id = '' WHERE owner_id = 'user:bob'",
        "agent_sessions of nobody",
    ),
}
RECEIPTS = "receipts that were changed, left out or put in"
FILE = """INSERT INTO agent_files (file_id, owner_id, session_id, seq, name, media_type, kind,
    size_bytes, kept_bytes, created_at) VALUES ('{}', '{}', '{}', 1, 'n', 't', 'image', 1, 1,
    '2030-01-01 00:00:00')"""


class RollbackError(Exception):
    """Ends a transaction in which something was broken."""

    def __init__(self, found: dict[str, int]) -> None:
        self.found = found


@pytest.fixture
async def filled(database: Database) -> Database:
    """Two owners with a conversation and a file each."""
    store = Store(database)
    for owner, file_id in ((ALICE, "a" * 32), (BOB, "b" * 32)):
        conversation = f"of-{owner}"
        await store.exchange(owner, conversation, "question", "answer")
        insert = FILE.format(file_id, owner, conversation)
        await database.write(
            lambda connection, sql=insert: connection.execute(sa.text(sql)),  # type: ignore[misc]
            owner=EVERYONE,
        )
    return database


async def test_a_store_in_use_breaks_no_invariant(filled: Database) -> None:
    found = await faults(filled)
    assert set(found.values()) == {0}
    tables = ("agent_messages", "agent_turns", "agent_files")
    assert {f"{table} without a conversation of the same owner" for table in tables} <= set(found)


@pytest.mark.parametrize("name", sorted(BREAKS))
async def test_what_is_broken_is_counted(name: str, filled: Database) -> None:
    statement, invariant = BREAKS[name]

    def broken(connection: sa.Connection) -> Any:
        # both let a transaction break what its end, here, never has to answer for
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA defer_foreign_keys=ON")
        else:
            connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
        assert connection.execute(sa.text(statement)).rowcount >= 1
        raise RollbackError(_faults(connection))

    with pytest.raises(RollbackError) as caught:
        await filled.write(broken, owner=EVERYONE)
    assert caught.value.found[invariant] >= 1
    assert set((await faults(filled)).values()) == {0}


async def test_ids_of_files_come_in_pieces_and_all_of_them(filled: Database) -> None:
    assert await file_ids(filled, after="", limit=1) == ["a" * 32]
    assert await file_ids(filled, after="a" * 32, limit=1) == ["b" * 32]
    assert await file_ids(filled, after="b" * 32, limit=1) == []


async def answered(store: Store, conversation: str, text: str, *, has_receipt: bool = True) -> int:
    """Store an answer; return its sequence number."""
    ticket = await store.begin(ALICE, conversation, text)
    details = AnswerDetails(receipt={"of": text}) if has_receipt else None
    assert await store.finish(ALICE, ticket.turn_id, text, details=details)
    return ticket.answer_seq


async def test_receipts_follow_each_other_over_answers_that_have_none(database: Database) -> None:
    store = Store(database)
    await answered(store, "c", "first")
    for number in range(30):
        await answered(store, "c", f"command {number}", has_receipt=False)
    last = await answered(store, "c", "last")
    assert (await faults(database))[RECEIPTS] == 0
    messages = await store.messages(ALICE, "c", limit=500)
    first, second = (m.details.receipt for m in messages if m.details.receipt)
    assert second["previous"] == first["hash"]
    assert messages[-1].seq == last


async def test_receipts_of_a_fork_follow_each_other_and_name_what_they_are_copies_of(
    database: Database,
) -> None:
    store = Store(database)
    seq = await answered(store, "c", "first")
    ticket = await store.begin_retry(ALICE, "c", key="again", seq=seq)
    assert await store.finish(
        ALICE, ticket.turn_id, "again", details=AnswerDetails(receipt={"of": "again"})
    )
    await answered(store, "c", "second")
    *_, last = await store.messages(ALICE, "c", limit=500)
    fork = await store.fork(ALICE, "c", last.seq, context={}, copies={})
    await answered(store, fork, "in the fork")
    assert (await faults(database))[RECEIPTS] == 0
    copies = [m.details.receipt for m in await store.messages(ALICE, fork, limit=500)]
    again, second, own = (receipt for receipt in copies if receipt)
    assert last.details.receipt is not None
    assert second["copy_of"] == last.details.receipt["hash"]
    assert [again["previous"], own["previous"]] == [None, second["hash"]]


@pytest.mark.parametrize("name", ["changed", "left out", "put in"])
async def test_a_receipt_that_is_not_as_it_was_is_counted(name: str, database: Database) -> None:
    store = Store(database)
    seqs = [await answered(store, "c", text) for text in ("one", "two", "three")]
    receipts = [m.details.receipt for m in await store.messages(ALICE, "c") if m.details.receipt]
    new = {
        "changed": receipts[1] | {"of": "forged"},
        "left out": None,
        "put in": sealed({"of": "forged"}, None),
    }[name]
    values = {"details": {"receipt": new} if new else None}
    where = agent_messages.c.seq == seqs[1]
    await database.write(
        lambda connection: connection.execute(
            sa.update(agent_messages).where(where).values(values)
        ),
        owner=EVERYONE,
    )
    assert (await faults(database))[RECEIPTS] >= 1
