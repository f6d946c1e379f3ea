"""The benchmark's scenarios: users who arrive within a second and each send one message."""

import asyncio
import secrets
import statistics
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

import aiohttp

from benchmarks.clients import APP, NAIVE, Measured, PageUser, ProxyUser
from benchmarks.processes import Server, contender, endpoint
from tests.doubles.openai_models import tokens_answer

User = PageUser | ProxyUser
OPEN_AT_ONCE = 8
TURN_SECONDS = 600
LENGTHS = {4: 16, 400: 1}  # messages of a conversation, and how many such in a round
PAIRS, PAIRED = 80, 6  # pairs of short and long conversations, and turns of each that are compared
ROUNDS = 10
THOUGHT_ROUNDS = 4
BATCH = 50  # users of the memory scenario that act at once


@dataclass(frozen=True, slots=True)
class Load:
    """A load: `users` arrive within `arrival` seconds; answers have `tokens` at `rate` a second."""

    name: str
    users: int
    tokens: int
    rate: float
    arrival: float = 1.0

    @property
    def ideal(self) -> float:
        """The seconds from the first token to the last at the endpoint."""
        return (self.tokens - 1) / self.rate if self.rate else 0.0


@dataclass(frozen=True, slots=True)
class Result:
    """The measurements of one contender under a load.

    Times are in seconds, `cpu_per_1000` is CPU seconds per 1,000 tokens. `errors` counts failed
    answers, `broken` incomplete or wrong ones, `foreign` those with another user's canary.
    """

    contender: str
    load: str
    users: int
    first_p50: float
    first_p95: float
    done_p50: float
    done_p95: float
    tokens_per_second: float
    cpu_per_1000: float
    longest_gap: float
    errors: int
    foreign: int
    broken: int


def make_user(name: str, url: str, address: str | None = None) -> User:
    """Return a user of the contender `name`, with a browser of its own.

    Args:
        name: ``app``, ``naive`` or ``floor``.
        url: The server's URL.
        address: The local address that it connects from; any when absent.
    """
    http = aiohttp.ClientSession(
        cookie_jar=aiohttp.CookieJar(unsafe=True),
        connector=aiohttp.TCPConnector(limit=0, local_addr=(address, 0) if address else None),
        timeout=aiohttp.ClientTimeout(total=None),
        read_bufsize=2**20,
    )
    if name == "floor":
        return ProxyUser(url, http)
    return PageUser(url, http, APP if name == "app" else NAIVE)


async def open_users(name: str, url: str, count: int) -> list[User]:
    """Return `count` users with the page open."""
    users = [make_user(name, url) for _ in range(count)]
    gate = asyncio.Semaphore(OPEN_AT_ONCE)

    async def one(user: User) -> None:
        async with gate:
            await user.open()

    await asyncio.gather(*(one(user) for user in users))
    return users


async def run(name: str, load: Load) -> Result:
    """Measure the contender `name` under `load`."""
    async with (
        endpoint(load.rate, load.tokens) as model,
        contender(name, model.url, load.tokens) as server,
    ):
        users = await open_users(name, server.url, load.users)
        try:
            await asyncio.gather(*(user.say("warm up") for user in users[: min(8, len(users))]))
            return await measure_load(name, load, server, users)
        finally:
            await asyncio.gather(*(user.close() for user in users))


class CpuMeter(Protocol):
    """Counts the CPU of a server or of several."""

    def cpu(self) -> float:
        """Return the CPU seconds so far."""


async def measure_load(name: str, load: Load, server: CpuMeter, users: list[User]) -> Result:
    """Let `users` arrive and send a message each; return the measurements, with the CPU of `server`."""
    canaries = [f"canary-{secrets.token_hex(6)}" for _ in users]
    cpu, started = server.cpu(), time.perf_counter()

    async def arrive(number: int) -> Measured:
        await asyncio.sleep(load.arrival * number / len(users))
        try:
            async with asyncio.timeout(TURN_SECONDS):
                return await users[number].say(f"Count off, {canaries[number]}.")
        except (aiohttp.ClientError, TimeoutError) as error:
            return Measured(error=type(error).__name__)

    turns = await asyncio.gather(*(arrive(number) for number in range(len(users))))
    wall, cpu = time.perf_counter() - started, server.cpu() - cpu
    return _result(name, load, list(turns), canaries, wall, cpu)


def _result(
    name: str, load: Load, turns: list[Measured], canaries: list[str], wall: float, cpu: float
) -> Result:
    errors = foreign = broken = 0
    for turn, own in zip(turns, canaries, strict=True):
        expected = "".join(tokens_answer(load.tokens, own))
        errors += turn.error is not None
        broken += turn.error is None and turn.text.strip() != expected.strip()
        foreign += any(other in turn.text for other in canaries if other != own)
    whole = [turn for turn in turns if turn.error is None] or turns
    tokens = load.tokens * (len(turns) - errors)
    firsts, dones = [t.first for t in whole], [t.done for t in whole]
    return Result(
        contender=name,
        load=load.name,
        users=load.users,
        first_p50=statistics.median(firsts),
        first_p95=_p95(firsts),
        done_p50=statistics.median(dones),
        done_p95=_p95(dones),
        tokens_per_second=tokens / wall,
        cpu_per_1000=cpu * 1000 / max(tokens, 1),
        longest_gap=max((max(t.gaps[1:], default=0.0) for t in whole), default=0.0),
        errors=errors,
        foreign=foreign,
        broken=broken,
    )


def _p95(values: list[float]) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]


async def idle_memory(sessions: int) -> dict[str, float]:
    """Return the memory of sessions that come and go, and of `sessions` that are live at once."""
    async with endpoint(0, 20) as model, contender("app", model.url, 20) as server:
        await _visits(server, 50 * BATCH, at_once=BATCH)
        base = server.memory()
        await _visits(server, sessions, at_once=BATCH)
        churned = server.memory()
        full = await _visits(server, sessions, at_once=sessions)
        return {
            "sessions": sessions,
            "base_mb": base / 1e6,
            "churned_mb": churned / 1e6,
            "kb_per_session": (full - churned) / sessions / 1e3,
            "after_mb": server.memory() / 1e6,
        }


async def _visits(server: Server, sessions: int, *, at_once: int) -> int:
    """Let `sessions` users send a message and leave; return the memory in bytes before the last leave."""
    full = 0
    for _ in range(0, sessions, at_once):
        users = await open_users("app", server.url, at_once)
        for place in range(0, at_once, BATCH):
            await asyncio.gather(*(user.say("hello") for user in users[place : place + BATCH]))
        full = server.memory()
        for place in range(0, at_once, BATCH):
            await asyncio.gather(*(user.close() for user in users[place : place + BATCH]))
    await asyncio.sleep(3)
    return full


async def slow_readers(load: Load, count: int) -> dict[str, float]:
    """Return the users' delays with and without `count` pages that read nothing of their answers."""
    figures = {}
    for name, slow in (("without", 0), ("with", count)):
        async with (
            endpoint(load.rate, load.tokens) as model,
            contender("app", model.url, load.tokens) as server,
        ):
            users = await open_users("app", server.url, load.users)
            idle = await open_users("app", server.url, slow)
            held = [await user.ask_and_not_read("hello") for user in idle]  # type: ignore[union-attr]
            result = await measure_load("app", load, server, users)
            figures[f"first_p95_{name}"] = result.first_p95
            figures[f"done_p95_{name}"] = result.done_p95
            for answer in held:
                answer.close()
            await asyncio.gather(*(user.close() for user in [*users, *idle]))
    return figures


async def alone(name: str, turns: int = 15) -> float:
    """Return the median seconds to the first text for a single user."""
    load = Load("alone", 1, 20, 200)
    async with (
        endpoint(load.rate, load.tokens) as model,
        contender(name, model.url, load.tokens) as server,
    ):
        [user] = await open_users(name, server.url, 1)
        for _ in range(5):
            await user.say("warm up")
        first_texts = [(await user.say("hello")).first for _ in range(turns)]
        await user.close()
        return statistics.median(first_texts)


async def starts() -> list[float]:
    """Return the app's CPU milliseconds for a turn of 5 tokens, by round; 10 turns run at once."""
    load = Load("starts", 200, 5, 0)
    async with (
        endpoint(load.rate, load.tokens) as model,
        contender("app", model.url, load.tokens) as server,
    ):
        found = []
        for _ in range(ROUNDS + 1):
            users = await open_users("app", server.url, load.users)
            before = server.cpu_exact()
            for first in range(0, load.users, 10):
                turns = (user.say("Count off.") for user in users[first : first + 10])
                await asyncio.gather(*turns)
            found.append((server.cpu_exact() - before) * 1000 / load.users)
            await asyncio.gather(*(user.close() for user in users))
        return found[1:]  # the first one warms up


async def thoughts() -> dict[str, list[float]]:
    """Return the app's CPU seconds per 1,000 tokens of text and of thoughts, by round, in turn."""
    load = Load("thoughts", 50, 200, 40)
    found: dict[str, list[float]] = {"tokens": [], "thoughts": []}
    for _ in range(THOUGHT_ROUNDS):
        for kind, costs in found.items():
            model_of = {"CMW_MODEL": f"{kind}-{load.tokens}"}
            async with (
                endpoint(load.rate, load.tokens) as model,
                contender("app", model.url, load.tokens, more=model_of) as server,
            ):
                users = await open_users("app", server.url, load.users)
                await asyncio.gather(*(user.say("warm up") for user in users[:8]))
                before = server.cpu_exact()
                turns = await asyncio.gather(*(user.say("Go, canary-1.") for user in users))
                costs.append((server.cpu_exact() - before) * 1000 / (load.users * load.tokens))
                await asyncio.gather(*(user.close() for user in users))
            if wrong := [turn for turn in turns if turn.error or "canary-1" not in turn.text]:
                raise RuntimeError(f"{len(wrong)} answers of {kind} were wrong: {wrong[0]}")
    return found


@dataclass(frozen=True, slots=True)
class Lengths:
    """CPU seconds per 1,000 tokens, by the number of messages of a conversation.

    `whole` counts all turns of a conversation, by round; `further` counts turns after it, by pair.
    """

    whole: dict[int, list[float]]
    further: dict[int, list[float]]


async def long_conversations(window: int | None = None) -> Lengths:
    """Return the app's CPU in conversations of each length, without that of opening a page.

    One server has all of them, alternately, so that its database is as large for each.

    Args:
        window: The context window in tokens; the app's default when absent.
    """
    load = Load("long", 1, 200, 0)
    found = Lengths({messages: [] for messages in LENGTHS}, {messages: [] for messages in LENGTHS})
    async with (
        endpoint(load.rate, load.tokens) as model,
        contender("app", model.url, load.tokens, window=window) as server,
    ):
        for _ in range(ROUNDS):
            for messages, pages in LENGTHS.items():
                spent = [await _whole(server, messages // 2) for _ in range(pages)]
                found.whole[messages].append(statistics.mean(spent) * 1000 / load.tokens)
        async for messages, seconds in _pairs(server):
            found.further[messages].append(seconds * 1000 / load.tokens)
    return found


async def _pairs(server: Server) -> AsyncIterator[tuple[int, float]]:
    """Yield, alternately, the length of a conversation and the CPU seconds of a turn after it."""
    shortest, longest = LENGTHS
    [long] = await open_users("app", server.url, 1)
    await _spent(server, long, longest // 2)
    for number in range(PAIRS):
        [short] = await open_users("app", server.url, 1)
        await _spent(server, short, shortest // 2)
        pair = [(shortest, short), (longest, long)]
        for messages, user in pair if number % 2 else pair[::-1]:
            yield messages, await _spent(server, user, PAIRED)
        await short.close()
    await long.close()


async def _whole(server: Server, turns: int) -> float:
    [user] = await open_users("app", server.url, 1)
    spent = await _spent(server, user, turns)
    await user.close()
    return spent


async def _spent(server: Server, user: User, turns: int) -> float:
    """Return the CPU seconds per turn, over `turns` turns of a user."""
    before = server.cpu_exact()
    for _ in range(turns):
        await user.say("more")
    return (server.cpu_exact() - before) / turns
