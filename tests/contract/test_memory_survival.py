"""The memory after cancelled calls, killed processes, broken connections; and two processes."""

import asyncio
import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from memory.engine.database import Database, SqliteDatabase, migrate, open_database
from memory.errors import ConversationBusyError, ConversationNotFoundError, DatabaseUnavailableError
from memory.maintenance.recovery import interrupt_abandoned
from tests.contract.conftest import ALICE, BOB, Store, check_consistent, path_of

ROOT = Path(__file__).parents[2]
PATIENCE = 10.0


class Pause:
    """Holds the writing thread of a database after each begin, until it is opened."""

    def __init__(self, database: SqliteDatabase) -> None:
        self.reached, self.opened = threading.Event(), threading.Event()
        sa.event.listen(database._writing_engine, "begin", self._wait)

    def _wait(self, _connection: object) -> None:
        self.reached.set()
        assert self.opened.wait(PATIENCE)

    async def arrival(self) -> None:
        assert await asyncio.to_thread(self.reached.wait, PATIENCE)


@pytest.fixture
async def patient_file(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    opened = open_database(f"sqlite:///{tmp_path / 'chat.db'}")
    assert isinstance(opened, SqliteDatabase)
    await migrate(opened)
    yield opened
    await opened.dispose()


async def test_a_turn_cancelled_while_it_is_stored_holds_no_lease(
    patient_file: SqliteDatabase,
) -> None:
    store, pause = Store(patient_file), Pause(patient_file)
    turn = asyncio.create_task(store.begin(ALICE, "s1", "one", key="k"))
    await pause.arrival()
    turn.cancel()
    pause.opened.set()
    with pytest.raises(asyncio.CancelledError):
        await turn
    assert await store.texts(ALICE, "s1") == [("user", "one"), ("assistant", "")]
    assert await interrupt_abandoned(patient_file, everything=True) == 0
    assert (await store.begin(ALICE, "s1", "two")).fresh


async def test_a_turn_cancelled_before_its_turn_came_leaves_nothing(
    patient_file: SqliteDatabase,
) -> None:
    store, pause = Store(patient_file), Pause(patient_file)
    first = asyncio.create_task(store.begin(BOB, "s1", "first"))
    await pause.arrival()
    queued = asyncio.create_task(store.begin(ALICE, "s2", "never"))
    await asyncio.sleep(0)
    queued.cancel()
    with pytest.raises(asyncio.CancelledError):
        await queued
    pause.opened.set()
    assert (await first).fresh
    with pytest.raises(ConversationNotFoundError):
        await store.conversation(ALICE, "s2")


@pytest.mark.parametrize("busy_timeout_ms", [1000])
async def test_a_queue_that_does_not_move_is_not_waited_for(
    sqlite_file: SqliteDatabase, file_store: Store
) -> None:
    pause = Pause(sqlite_file)
    first = asyncio.create_task(file_store.begin(BOB, "s1", "first"))
    await pause.arrival()
    with pytest.raises(DatabaseUnavailableError):
        await file_store.begin(ALICE, "s2", "never")
    pause.opened.set()
    assert (await first).fresh
    with pytest.raises(ConversationNotFoundError):
        await file_store.conversation(ALICE, "s2")


@pytest.mark.parametrize("steps", range(8))
async def test_wherever_a_call_is_cancelled_the_next_one_is_sound(
    store: Store, database: Database, steps: int
) -> None:
    await store.exchange(ALICE, "a", "Alice's", "hers")
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: store.begin(ALICE, "a", "cancelled"),
        lambda: store.begin_retry(ALICE, "a", key=f"k{steps}"),
        lambda: store.messages(ALICE, "a"),
        lambda: store.window(ALICE, "a", budget=100, before_seq=9),
    ]
    for call in calls:
        task: asyncio.Future[Any] = asyncio.ensure_future(call())
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        if not task.cancelled() and hasattr(task.result(), "turn_id"):
            assert await store.finish(ALICE, task.result().turn_id, "")
        await store.forget(BOB)
        assert (await store.exchange(BOB, "b", "Bob's", "his")).fresh
        assert await store.texts(BOB, "b") == [("user", "Bob's"), ("assistant", "his")]
        assert await interrupt_abandoned(database, everything=True) == 0


async def test_two_processes_write_one_file_without_error(sqlite_file: SqliteDatabase) -> None:
    other = open_database(f"sqlite:///{path_of(sqlite_file)}")
    patient = open_database(f"sqlite:///{path_of(sqlite_file)}")
    stores = [Store(other), Store(patient)]
    tickets = await asyncio.gather(
        *(stores[i % 2].exchange(f"user:{i}", f"s{i}", "hi", "ok") for i in range(40))
    )
    assert all(ticket.fresh for ticket in tickets)
    first, second = await asyncio.gather(
        *(store.begin(ALICE, "shared", "hi") for store in stores), return_exceptions=True
    )
    assert {type(first), type(second)} > {ConversationBusyError}
    await other.dispose()
    await patient.dispose()


async def test_broken_connections_are_replaced(postgres_server: str) -> None:
    database, admin = open_database(postgres_server), open_database(postgres_server)
    await migrate(database)
    store, conversation_id = Store(database), "broken-connections"
    await store.forget(ALICE)
    await asyncio.gather(
        *(store.exchange(ALICE, f"{conversation_id}{i}", "1", "2") for i in range(5))
    )
    kill = sa.text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE pid != pg_backend_pid() AND backend_type = 'client backend'"
    )
    await admin.read(lambda connection: connection.execute(kill).all())
    with pytest.raises(DatabaseUnavailableError):
        await store.begin(ALICE, conversation_id, "while it is down")
    tickets = await asyncio.gather(
        *(store.exchange(ALICE, f"{conversation_id}{i}", "3", "4") for i in range(5))
    )
    assert all(ticket.fresh for ticket in tickets)
    assert await store.forget(ALICE) == 5
    await database.dispose()
    await admin.dispose()


KILLED_AT_EACH_CALL = """
import asyncio, os, signal, sys
from memory import ConversationMemoryManager, ConversationOrigin, NewTurn, open_database
from tests.driver import StatementListener

def say(*words):
    os.write(1, (" ".join(words) + "\\n").encode())

async def turn(memory, conversation_id):
    ticket = await memory.begin_turn(
        "alice", NewTurn(conversation_id, "kept", key="k", origin=ConversationOrigin()))
    say("kept", conversation_id)
    await memory.checkpoint("alice", ticket.turn_id, content="part", tool_calls=[])
    await memory.finish_turn("alice", ticket.turn_id, status="complete", content="all",
        tool_calls=[], tokens_used=1, latency_ms=1, model_used="m", error_id=None)

async def scene(path, die_at, at_once):
    database = open_database("sqlite:///" + path)
    seen = 0
    def count(_connection, sql):
        nonlocal seen
        seen += 1
        if seen == die_at:
            say("died", sql.split()[0])
            os.kill(os.getpid(), signal.SIGKILL)
    StatementListener(database, count)
    memory = ConversationMemoryManager(database)
    await asyncio.gather(*(turn(memory, f"s{die_at}.{i}") for i in range(at_once)))
    await database.dispose()
    os._exit(0)

for die_at in range(1, 200):
    child = os.fork()
    if child == 0:
        asyncio.run(scene(sys.argv[1], die_at, int(sys.argv[2])))
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0:
        break
say("clean", str(die_at))
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("at_once", [1, 4])
async def test_a_process_killed_at_any_call_loses_no_acknowledged_message(
    sqlite_file: SqliteDatabase, file_store: Store, at_once: int
) -> None:
    finished = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", KILLED_AT_EACH_CALL, str(path_of(sqlite_file)), str(at_once)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=200,
    )
    said = [line.split() for line in finished.stdout.splitlines()]
    acknowledged = [word for kind, word in said if kind == "kept"]
    died_at = {word for kind, word in said if kind == "died"}
    rounds = int(said[-1][1])
    assert rounds > 15
    assert 5 < len(acknowledged) < rounds * at_once
    assert {"BEGIN", "INSERT", "UPDATE", "COMMIT"} <= died_at
    assert ({"SAVEPOINT", "RELEASE"} <= died_at) == (at_once > 1)
    await check_consistent(sqlite_file)
    await interrupt_abandoned(sqlite_file, everything=True)
    for conversation_id in acknowledged:
        question, answer = await file_store.messages("alice", conversation_id)
        assert (question.content, question.status) == ("kept", "complete")
        assert (answer.content, answer.status) in {
            ("", "interrupted"),
            ("part", "interrupted"),
            ("all", "complete"),
        }
    for i in range(at_once):
        assert (await file_store.texts("alice", f"s{rounds}.{i}"))[1] == ("assistant", "all")
    for die_at in range(1, rounds):
        assert (await file_store.begin("alice", f"s{die_at}.0", "after")).fresh
