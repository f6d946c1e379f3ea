"""``python -m benchmarks.row_security``: measures the cost of PostgreSQL's row-level security.

Begins and ends turns in many conversations, alternately without policies and scopes, with the
transactions' scopes alone, and with both. Prints the CPU of each, of this process and of PostgreSQL
together, and the median times, which depend on the machine's other load. Then it runs whole turns of
a served page, alternately with the policies and without them, and prints the CPU of the app and of
PostgreSQL together. The app sends the transactions' scopes both ways.
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
from memory.engine.postgres_address import parse_address
from memory.engine.scopes import EVERYONE, RowScope
from memory.manager import ConversationMemoryManager
from memory.records import ConversationOrigin, NewTurn
from tests.databases import ordinary_role, postgres

ROUNDS, TURNS = 12, 60
PAGE_ROUNDS, PAGE_TURNS, PAGE_WARM_UP = 16, 100, 10
COLUMNS = "with", "scopes alone", "without"
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


async def whole_turns() -> None:
    """Print the CPU of a turn on a page with the policies and without them, over several rounds."""
    spent: dict[str, list[float]] = {"ENABLE": [], "DISABLE": []}
    async with endpoint(0, FEW) as model, deployment(1, model.url, FEW) as running:
        address = parse_address(running.database_url)
        database = PostgresDatabase(address, busy_timeout_ms=600_000)
        [user] = await open_users("app", running.url, 1)
        for _ in range(TURNS):
            await user.say("warm up")
        for number in range(PAGE_ROUNDS):
            # each way first in every second round: the conversation grows
            for how in sorted(spent, reverse=bool(number % 2)):
                await switch(database, how)
                for _ in range(PAGE_WARM_UP):
                    await user.say("warm up")
                before = running.cpu() + running.database.cpu()
                for _ in range(PAGE_TURNS):
                    await user.say("more")
                after = running.cpu() + running.database.cpu()
                spent[how].append(1000 * (after - before) / PAGE_TURNS)
        await user.close()
        await database.dispose()
    for name, average in (("mean", statistics.mean), ("median", statistics.median)):
        bare, secured = average(spent["DISABLE"]), average(spent["ENABLE"])
        print(
            f"a whole turn, CPU, {name} of {PAGE_ROUNDS} rounds: {bare:.2f} ms without policies, "
            f"{secured:.2f} ms with them: {100 * (secured / bare - 1):+.1f} %"
        )
    shares = [
        100 * (secured / bare - 1)
        for secured, bare in zip(spent["ENABLE"], spent["DISABLE"], strict=True)
    ]
    error = statistics.stdev(shares) / len(shares) ** 0.5
    print(f"of each round: {statistics.mean(shares):+.1f} % (standard error {error:.1f})")


async def measure(url: str, server: Processes, messages: int) -> None:
    """Fill a database, measure it each way and print that."""
    address = parse_address(url)
    scoped = PostgresDatabase(address, busy_timeout_ms=600_000)
    plain = Unscoped(address, busy_timeout_ms=600_000)
    await migrate(scoped)
    await switch(scoped, "DISABLE")
    await fill(scoped, messages)
    found: dict[str, dict[str, list[float]]] = {name: {} for name in COLUMNS}
    spent = dict.fromkeys(COLUMNS, 0.0)
    databases = (scoped, "ENABLE"), (scoped, "DISABLE"), (plain, "DISABLE")
    for number in range(ROUNDS):
        for name, (database, how) in zip(COLUMNS, databases, strict=True):
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
    print(f"| | {' | '.join(COLUMNS)} |")
    cpu = (f"{1000 * spent[name] / (ROUNDS * TURNS):.2f} ms" for name in COLUMNS)
    print(f"| turn, CPU | {' | '.join(cpu)} |")
    for what in found["with"]:
        medians = (f"{statistics.median(found[name][what]):.2f} ms" for name in COLUMNS)
        print(f"| {what} | {' | '.join(medians)} |")
    await plain.dispose()
    await scoped.dispose()


def main() -> None:
    """Measure on servers of its own."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.row_security", description=__doc__)
    parser.add_argument("--messages", type=int, default=100_000)
    messages: int = parser.parse_args().messages
    with postgres() as server:
        pid = int((Path(server.pgdata) / "postmaster.pid").read_text().split()[0])
        asyncio.run(measure(ordinary_role(server), Processes((pid,)), messages))
    asyncio.run(whole_turns())


if __name__ == "__main__":
    main()
