"""Owners who have deleted everything are deleted again from a database that was restored."""

from datetime import UTC, datetime
from pathlib import Path

from cmw_agent.conversations.tombstones import Tombstones, erase_again
from memory.engine.database import Database
from memory.records import StoredFile
from tests.contract.conftest import ALICE, BOB, Clock, Store, rows_of

BEGIN = datetime(2030, 1, 1, tzinfo=UTC)


async def test_a_restored_database_loses_who_was_erased_and_nobody_else(
    store: Store, database: Database, clock: Clock, tmp_path: Path
) -> None:
    for owner in (ALICE, BOB):
        await store.exchange(owner, f"of-{owner[5:]}", "question", "answer")
        await store.set_language(owner, "ru")
        file = StoredFile(owner[5:], None, None, "n", "text/plain", "document", 1, 1, "x", clock())
        await store.add_file(owner, file, bound_of=lambda *_: None)
    tombstones = Tombstones(tmp_path)
    tombstones.erased(ALICE, BEGIN)
    assert await erase_again(database, tombstones, BEGIN) == [ALICE]
    left = await rows_of(database)
    assert any(BOB in row for row in left["agent_sessions"])
    assert not any(ALICE in row for table in left.values() for row in table)
    assert await erase_again(database, tombstones, BEGIN) == []
