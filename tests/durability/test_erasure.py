"""Data deleted for good is in no byte of the data folder."""

import os
import random
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from cmw_agent.identity.principals import Principal
from cmw_agent.runtime.runtime import Runtime
from memory.engine.database import SqliteDatabase
from memory.maintenance.retention import Retention
from memory.records import ConversationOrigin, NewTurn, utcnow
from tests.contract.conftest import (
    ALICE,
    BOB,
    Clock,
    Store,
    clock,
    file_store,
    overheard_file,
    sqlite_file,
)
from tests.harness import canary, settings_for
from tests.service import all_events, running_app, session_of

__all__ = [
    "clock",
    "file_store",
    "overheard_file",
    "sqlite_file",
]  # fixtures are found by their names here


@pytest.fixture
def busy_timeout_ms() -> int:
    return 10_000


def holding(folder: Path, word: str) -> list[str]:
    """The files in a folder that hold a word, or the middle of it, in any letters' case."""
    found = [path for path in folder.rglob("*") if path.is_file()]
    needles = (word.encode(), word[6:-2].encode())
    return [
        str(path.relative_to(folder))
        for path in found
        if any(needle in path.read_bytes().lower() for needle in needles)
    ]


async def body(content: bytes) -> AsyncIterator[bytes]:
    yield content


async def tell(runtime: Runtime, name: str, word: str) -> str:
    """Have a user write a word, bring it in a file, and begin another conversation with it."""
    session = await session_of(runtime, name)
    principal, first = session.principal, str(session.conversation_id)
    file = await runtime.files.add(principal, f"{word}.txt", "", body(word.encode()))
    await all_events(
        runtime.chat.turn(session, f"my secret is {word}", key="1", files=[file.file_id])
    )
    await all_events(runtime.chat.turn(session, f"say it: {word}", key="2"))
    await runtime.history.rename(principal, first, f"about {word}")
    unsent = await runtime.files.add(principal, "unsent.txt", "", body(word.encode()))
    assert unsent.text == word
    other = await session_of(runtime, name, page="other")
    await all_events(runtime.chat.turn(other, f"again {word}", key="3"))
    return first


async def test_after_delete_everything_no_byte_of_it_is_left(tmp_path: Path) -> None:
    gone, stays = canary(), canary()
    async with running_app(settings_for(tmp_path, extraction_seconds=200)) as runtime:
        await tell(runtime, "alice", gone)
        await tell(runtime, "bob", stays)
        alice = (await session_of(runtime, "alice")).principal
        assert holding(tmp_path, gone)
        assert await runtime.history.forget(alice) == 2
        assert holding(tmp_path, gone) == []
        assert {"chat.db"} <= set(holding(tmp_path, stays))


async def test_after_the_clean_up_no_byte_of_what_was_due_is_left(tmp_path: Path) -> None:
    gone, stays = canary(), canary()
    async with running_app(settings_for(tmp_path, extraction_seconds=200)) as runtime:
        for word, name in ((gone, "alice"), (stays, "bob")):
            session = await session_of(runtime, name)
            file = await runtime.files.add(session.principal, "a.txt", "", body(word.encode()))
            await all_events(
                runtime.chat.turn(session, f"is {word}", key="1", files=[file.file_id])
            )
        alice = await session_of(runtime, "alice")
        (one,) = await runtime.history.page(alice.principal)
        await runtime.history.delete(alice.principal, one.conversation_id)
        later = Retention(runtime.services.database, clock=lambda: utcnow() + timedelta(hours=2))
        cleaned = await later.clean(days=0, idle_seconds=10**9)
        assert (cleaned.purged, cleaned.is_erased) == (1, True)
        # The bytes of files wait for uploads that may still be about to get their row.
        for path in (tmp_path / "files").glob("*/*"):
            os.utime(path, (0, 0))
        assert await runtime.files.sweep() == 1
        assert holding(tmp_path, gone) == []
        assert len(holding(tmp_path, stays)) == 2


async def test_texts_that_grew_beside_another_s_leave_nothing_of_their_own(
    tmp_path: Path, file_store: Store
) -> None:
    chance, gone, stays = random.Random(7), canary(), canary()
    for number in range(150):
        owner, word = chance.choice([(ALICE, gone), (BOB, stays)])
        size = chance.choice([1, 3, 30, 300, 3000])
        where = f"{owner[5:]}-{chance.randrange(5)}"
        ticket = await file_store.begin(owner, where, f"{word} {number}")
        await file_store.checkpoint(
            owner, ticket.turn_id, content=word * size, tool_calls=[], thinking=word * size
        )
        answer = " ".join(f"{word}{chance.randrange(size)}" for _ in range(size))
        assert await file_store.finish(owner, ticket.turn_id, answer)
    await file_store.forget(ALICE)
    assert holding(tmp_path, gone) == []
    assert holding(tmp_path, stays)
    assert await file_store.search(BOB, f"{stays} 1") != []


async def test_while_somebody_reads_the_log_stays_and_the_next_clean_up_empties_it(
    tmp_path: Path, sqlite_file: SqliteDatabase, file_store: Store, clock: Clock
) -> None:
    gone = canary()
    await file_store.exchange(ALICE, "one", gone, "answer")
    retention = Retention(sqlite_file, clock=clock)
    with closing(sqlite3.connect(tmp_path / "chat.db", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM agent_messages").fetchone() == (2,)
        assert await file_store.forget(ALICE) == 1
        assert not (await retention.clean(days=0, idle_seconds=10**9)).is_erased
        # Others go on meanwhile.
        await file_store.exchange(BOB, "two", "hello", "answer")
        assert "chat.db-wal" in holding(tmp_path, gone)
    assert (await retention.clean(days=0, idle_seconds=10**9)).is_erased
    assert holding(tmp_path, gone) == []
    assert await file_store.texts(BOB, "two") == [("user", "hello"), ("assistant", "answer")]


async def test_an_ephemeral_visitor_s_database_has_nothing_to_erase(tmp_path: Path) -> None:
    word = canary()
    async with running_app(settings_for(tmp_path)) as runtime:
        short_lived = runtime.memory_of(Principal("e1", "ephemeral"))
        await short_lived.begin_turn(
            "e1", NewTurn("one", word, key="1", origin=ConversationOrigin())
        )
        assert await short_lived.forget("e1") == 1
    assert holding(tmp_path, word) == []
