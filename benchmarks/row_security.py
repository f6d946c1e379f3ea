"""``python -m benchmarks.row_security``: measures the cost of PostgreSQL's row-level security.

Begins and ends turns in many conversations, alternately with the policies and the transactions'
scopes, and without both. Prints the CPU of each, of this process and of PostgreSQL together, and the
median times, which depend on the machine's other load. Last comes the CPU of a whole turn of a
served page with the policies, and the share of row-level security in it.
"""

import argparse
import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from benchmarks.database import fill
from benchmarks.processes import endpoint
from benchmarks.scale import FEW, Processes, deployment
from benchmarks.scenarios import open_users
from memory.engine.database import PostgresDatabase, migrate
from memory.engine.interface import Transaction, Undo
from memory.engine.scopes import EVERYONE, RowScope
from memory.manager import ConversationMemoryManager
from memory.records import ConversationOrigin, NewTurn
from tests.databases import ordinary_role, postgres

ROUNDS, TURNS, PAGE_TURNS = 12, 60, 300
SECURED = "SELECT relname FROM pg_class WHERE relforcerowsecurity"


class Unscoped(PostgresDatabase):
    """A PostgreSQL database whose transactions set no scope."""

    async def _write(
        self, work: Transaction[Any], owner: RowScope, undo: Undo[Any] | None, *, is_brief: bool
    ) -> Any:
        del owner
        return await super()._write(work, None, undo, is_brief=is_brief)


async def switch(database: PostgresDatabase, how: str) -> None:
    """Enable or disable the policies of each table that has some."""

    def work(connection: sa.Connection) -> None:
        for table in connection.execute(sa.text(SECURED)).scalars().all():
            connection.execute(sa.text(f"ALTER TABLE {table} {how} ROW LEVEL SECURITY"))

    await database.write(work, owner=EVERYONE)


async def turns(memory: ConversationMemoryManager, of: str) -> list[float]:
    """Return the milliseconds of each of some turns."""
    found = []
    for number in range(TURNS):
        started = time.perf_counter()
        ticket = await memory.begin_turn(
            "owner-1",
            NewTurn(
                f"conversation-{number + 1}001",
                "a question",
                key=of,
                origin=ConversationOrigin(),
                budget=4000,
            ),
        )
        await memory.finish_turn(
            "owner-1", ticket.turn_id, status="complete", content="an answer", tool_calls=[],
            tokens_used=7, latency_ms=7, model_used="m", error_id=None,
        )  # fmt: skip
        found.append((time.perf_counter() - started) * 1000)
    return found


async def timed(work: Callable[[], Awaitable[object]]) -> list[float]:
    """Return the milliseconds of each of some rounds."""
    found = []
    for _ in range(10):
        started = time.perf_counter()
        await work()
        found.append((time.perf_counter() - started) * 1000)
    return found


async def whole_turn() -> float:
    """Return the CPU milliseconds of a turn on a page, of the app and of PostgreSQL together."""
    async with endpoint(0, FEW) as model, deployment(1, model.url, FEW) as running:
        [user] = await open_users("app", running.url, 1)
        for _ in range(TURNS):
            await user.say("warm up")
        before = running.cpu() + running.database.cpu()
        for _ in range(PAGE_TURNS):
            await user.say("more")
        spent = running.cpu() + running.database.cpu() - before
        await user.close()
    return 1000 * spent / PAGE_TURNS


async def measure(url: str, server: Processes, messages: int) -> float:
    """Fill a database, measure both ways and print them; return the CPU milliseconds between."""
    parsed = sa.make_url(url).set(drivername="postgresql+asyncpg")
    scoped = PostgresDatabase(parsed, busy_timeout_ms=600_000)
    plain = Unscoped(parsed, busy_timeout_ms=600_000)
    await migrate(scoped)
    await switch(scoped, "DISABLE")
    await fill(scoped, messages)
    found: dict[str, dict[str, list[float]]] = {"with": {}, "without": {}}
    spent = {"with": 0.0, "without": 0.0}
    for number in range(ROUNDS):
        for name, database, how in (("with", scoped, "ENABLE"), ("without", plain, "DISABLE")):
            await switch(scoped, how)
            memory = ConversationMemoryManager(database)
            each = found[name]
            await turns(memory, f"warm {number} {name}")
            before = time.process_time() + server.cpu()
            each.setdefault("turn", []).extend(await turns(memory, f"{number} {name}"))
            spent[name] += time.process_time() + server.cpu() - before
            page, search = memory.conversations, memory.search
            each.setdefault("list 30 conversations", []).extend(
                await timed(lambda page=page: page("owner-1", limit=30))  # type: ignore[misc]
            )
            each.setdefault("search one word", []).extend(
                await timed(lambda search=search: search("owner-1", "answer"))  # type: ignore[misc]
            )
            each.setdefault("search a rare word, 10,000 messages", []).extend(
                await timed(lambda search=search: search("owner-0", "nowhere"))  # type: ignore[misc]
            )
    bare, secured = (1000 * spent[name] / (ROUNDS * TURNS) for name in ("without", "with"))
    cost = secured - bare
    print(f"| turn, CPU | {bare:.2f} ms | {secured:.2f} ms | {cost:+.2f} ms |")
    for what in found["with"]:
        secured, bare = (statistics.median(found[name][what]) for name in ("with", "without"))
        print(
            f"| {what} | {bare:.2f} ms | {secured:.2f} ms | {100 * (secured / bare - 1):+.1f} % |"
        )
    await plain.dispose()
    await scoped.dispose()
    return cost


def main() -> None:
    """Measure on a server of its own."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.row_security", description=__doc__)
    parser.add_argument("--messages", type=int, default=100_000)
    messages: int = parser.parse_args().messages
    with postgres() as server:
        pid = int((Path(server.pgdata) / "postmaster.pid").read_text().split()[0])
        cost = asyncio.run(measure(ordinary_role(server), Processes((pid,)), messages))
    whole = asyncio.run(whole_turn())
    share = 100 * cost / (whole - cost)
    print(f"a whole turn, CPU: {whole:.2f} ms, of which row-level security adds {share:.1f} %")


if __name__ == "__main__":
    main()
