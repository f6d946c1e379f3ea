"""Fixtures of the memory's contract tests: databases of each kind, stores and a clock."""

import contextlib
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from memory.engine.database import Database, SqliteDatabase, migrate, open_database
from memory.engine.scopes import EVERYONE
from memory.logins import agent_logins
from memory.manager import ConversationMemoryManager
from memory.records import ConversationOrigin, MessageStatus, NewTurn, ToolRecord, TurnTicket
from memory.schema import (
    agent_connections,
    agent_consents,
    agent_files,
    agent_mcp_servers,
    agent_preferences,
    agent_prompts,
    agent_sessions,
    agent_threads,
    channel_messages,
    channel_sends,
    channel_windows,
    metadata,
)
from tests.databases import ordinary_role, postgres, put_migrated, take_over
from tests.driver import StatementListener

LEASE = 30.0
ALICE, BOB = "user:alice", "user:bob"
TOOL = ToolRecord("call_1", "weather", {"city": "Łódź", "days": [1, 2]}, "sun ☀", True, 12)


class Clock:
    """A clock that moves only when the test moves it."""

    def __init__(self) -> None:
        self.now = datetime(2030, 1, 31, 23, 59, 58, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class Store(ConversationMemoryManager):
    """The memory manager with shorter methods for tests."""

    async def begin(self, owner: str, conversation_id: str, text: str, key: str = "") -> TurnTicket:
        return await self.begin_turn(
            owner,
            NewTurn(
                conversation_id, text, key=key or uuid.uuid4().hex, origin=ConversationOrigin()
            ),
        )

    async def finish(
        self,
        owner: str,
        turn_id: str,
        content: str,
        status: MessageStatus = "complete",
        error_id: str | None = None,
        **more: Any,
    ) -> bool:
        return await self.finish_turn(
            owner,
            turn_id,
            status=status,
            content=content,
            tool_calls=[],
            tokens_used=7,
            latency_ms=90,
            model_used="model-1",
            error_id=error_id,
            **more,
        )

    async def exchange(
        self, owner: str, conversation_id: str, text: str, answer: str
    ) -> TurnTicket:
        ticket = await self.begin(owner, conversation_id, text)
        assert await self.finish(owner, ticket.turn_id, answer)
        return ticket

    async def take_over(self, owner: str, from_owner: str) -> int:
        return await take_over(self._database, owner, from_owner)

    async def texts(self, owner: str, conversation_id: str) -> list[tuple[str, str]]:
        return [(m.role, m.content) for m in await self.messages(owner, conversation_id, limit=500)]


async def rows_of(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows of all tables, by table name."""

    def read(connection: sa.Connection) -> dict[str, list[tuple[Any, ...]]]:
        return {
            table.name: sorted(
                (tuple(row) for row in connection.execute(sa.select(table))), key=str
            )
            for table in metadata.sorted_tables
        }

    return await database.read(read, owner=EVERYONE)


def path_of(database: SqliteDatabase) -> Path:
    """Return the path of a SQLite database's file."""
    return Path(str(database.engine.url.database))


INCONSISTENCIES = {
    "a turn without both its messages": """
        SELECT 1 FROM agent_turns t LEFT JOIN agent_messages m
        ON m.session_id = t.session_id AND m.seq IN (t.user_seq, t.answer_seq)
        GROUP BY t.turn_id HAVING count(m.seq) != 2""",
    "a turn and an answer that differ": """
        SELECT 1 FROM agent_turns t JOIN agent_messages m
        ON m.session_id = t.session_id AND m.seq = t.answer_seq
        WHERE (t.state = 'complete') != (m.status = 'complete')""",
    "a wrong count": """
        SELECT 1 FROM agent_sessions s WHERE message_count !=
        (SELECT count(*) FROM agent_messages m
         WHERE m.session_id = s.session_id AND NOT superseded)""",
}


async def check_consistent(database: SqliteDatabase) -> None:
    """Check that no turn is stored by half: no query of `INCONSISTENCIES` finds a row."""

    def check(connection: sa.Connection) -> None:
        for name, query in INCONSISTENCIES.items():
            assert connection.execute(sa.text(query)).all() == [], name
        assert connection.execute(sa.text("PRAGMA integrity_check")).scalar_one() == "ok"

    await database.read(check)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a PostgreSQL database, for the app's role, that exists as long as the test session."""
    with postgres() as server:
        yield ordinary_role(server)


def _delete_all(connection: sa.Connection, table: sa.Table) -> None:
    connection.execute(sa.delete(table))


@contextlib.asynccontextmanager
async def emptied(url: str) -> AsyncIterator[Database]:
    """Migrate the database at `url`, delete its rows, and open it for the block."""
    opened = open_database(url)
    try:
        await migrate(opened)
        await opened.write(
            lambda connection: connection.execute(sa.delete(agent_sessions)), owner=EVERYONE
        )
        for table in (
            agent_connections,
            agent_files,
            agent_logins,
            agent_mcp_servers,
            agent_prompts,
            agent_preferences,
            agent_consents,
            agent_threads,
            channel_messages,
            channel_sends,
            channel_windows,
        ):
            await opened.write(partial(_delete_all, table=table), owner=EVERYONE)
        yield opened
    finally:
        await opened.dispose()


@pytest.fixture(params=["sqlite-file", "sqlite-memory", "postgresql"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    """A migrated, empty database of each kind."""
    urls: dict[str, Callable[[], str]] = {
        "sqlite-file": lambda: f"sqlite+aiosqlite:///{tmp_path / 'chat.db'}",
        "sqlite-memory": lambda: "sqlite+aiosqlite:///:memory:",
        "postgresql": lambda: request.getfixturevalue("postgres_server"),
    }
    if request.param == "sqlite-file":
        put_migrated(tmp_path / "chat.db")
    async with emptied(urls[request.param]()) as opened:
        yield opened


@dataclass
class File:
    """A SQLite file and the listener to its driver."""

    database: SqliteDatabase
    driver: StatementListener


@pytest.fixture
def busy_timeout_ms() -> int:
    """The busy timeout of `sqlite_file` in milliseconds; tests that wait for it set a shorter one."""
    return 10_000


@pytest.fixture
async def overheard_file(tmp_path: Path, busy_timeout_ms: int) -> AsyncIterator[File]:
    """A migrated SQLite file with a listener to its driver."""
    put_migrated(tmp_path / "chat.db")
    opened = open_database(f"sqlite:///{tmp_path / 'chat.db'}", busy_timeout_ms=busy_timeout_ms)
    assert isinstance(opened, SqliteDatabase)
    driver = StatementListener(opened)
    await migrate(opened)
    yield File(opened, driver)
    await opened.dispose()


@pytest.fixture
def sqlite_file(overheard_file: File) -> SqliteDatabase:
    """A migrated SQLite file, for tests of its faults."""
    return overheard_file.database


@pytest.fixture
def driver(overheard_file: File) -> StatementListener:
    """The listener to the driver of `sqlite_file`."""
    return overheard_file.driver


@pytest.fixture
def file_store(sqlite_file: SqliteDatabase, clock: Clock) -> Store:
    return Store(sqlite_file, lease_seconds=LEASE, clock=clock)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(database: Database, clock: Clock) -> Store:
    return Store(database, lease_seconds=LEASE, clock=clock)
