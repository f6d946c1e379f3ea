"""What has changed at one process reaches the pages at the others that share its database."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from cmw_agent.conversations.change_feed import change_feed
from cmw_agent.conversations.changes import Change, ChangeReader, ConversationChanges
from memory.engine.database import Database
from memory.engine.notices import MAX_WAITING, Notices
from memory.engine.postgres import PostgresDatabase
from tests.harness import WAIT

pytestmark = pytest.mark.parametrize("database", ["postgresql"], indirect=True)


@contextlib.asynccontextmanager
async def process(database: Database) -> AsyncIterator[ConversationChanges]:
    """Run what a process shares of changes, and wait until it hears the others."""
    changes = ConversationChanges()
    async with change_feed(database, changes):
        yield changes


async def heard(reader: ChangeReader) -> list[Change]:
    async with asyncio.timeout(WAIT):
        await reader.arrived.wait()
    return reader.take()


async def until_heard(sender: ConversationChanges, *readers: ChangeReader) -> None:
    """Send until all readers hear: their processes may still be connecting."""
    async with asyncio.timeout(WAIT):
        for reader in readers:
            while not reader.arrived.is_set():
                sender.publish("alice", Change("listed", "first"))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(reader.arrived.wait(), 0.1)


async def test_a_change_reaches_the_owners_pages_at_the_other_processes_once(
    database: Database,
) -> None:
    async with process(database) as one, process(database) as two:
        with two.reading("alice") as hers, two.reading("bob") as his, one.reading("alice") as own:
            await until_heard(one, hers)
            done = Change("began", "c1", "tab-1")
            one.publish("alice", done)
            while done not in (changes := await heard(hers)):
                assert set(changes) <= {Change("listed", "first")}
            one.publish("bob", Change("deleted", None))
            assert await heard(his) == [Change("deleted", None)]
            assert own.take()[-1] == done
            assert not own.arrived.is_set()  # its own notice does not come back
            assert hers.take() == []


async def test_pages_ask_for_everything_once_a_lost_connection_is_back(
    database: Database,
) -> None:
    assert isinstance(database, PostgresDatabase)
    told: asyncio.Queue[str] = asyncio.Queue()
    lost = asyncio.Event()
    notices = database.notices(told.put_nowait, lost.set)
    other = database.notices(lambda _: None, lambda: None)
    assert isinstance(notices, Notices)
    assert isinstance(other, Notices)
    async with asyncio.timeout(WAIT), notices.running(), other.running():
        for one in (notices, other):
            await one.is_listening.wait()
        other.send("before")
        assert await told.get() == "before"
        assert not lost.is_set()
        connection = await database._connect()
        await connection.execute("SELECT pg_terminate_backend($1)", notices._own_pid)
        await connection.close()
        await lost.wait()
        other.send("after")
        assert await told.get() == "after"


async def test_too_many_notices_become_one_that_says_so(database: Database) -> None:
    lost = asyncio.Event()
    told: list[str] = []
    sender = database.notices(lambda _: None, lambda: None)
    hearer = database.notices(told.append, lost.set)
    assert isinstance(sender, Notices)
    assert isinstance(hearer, Notices)
    for number in range(MAX_WAITING + 1):
        sender.send(str(number))
    async with asyncio.timeout(WAIT), hearer.running():
        await hearer.is_listening.wait()
        async with sender.running():
            await lost.wait()
    assert told == []
