"""``python -m benchmarks.attacker``: how much an attacker at one address slows other users down.

The app serves users from different addresses, first alone, then during an attack: a client with
many cookies holds turns, pages, heartbeats and connections until each is refused, and sends headers
and bodies byte by byte. Prints the ratio of the times to the first text; exits with 1 when a user's
request was refused or an answer was wrong.
"""

import asyncio
import os
import sys

import uvloop

from benchmarks.processes import CLIENT_CORE, contender, endpoint
from benchmarks.scenarios import Load, Result, make_user, measure_load
from tests.doubles.attacker import Attacker

ATTACKER = "127.0.0.2"
LOAD = Load("50 users, 40 tokens/s", 50, 100, 40)
ROUNDS = 3
SETTINGS = {
    "CMW_ADDRESS_SHARE": "0.5",
    "CMW_MAX_TURNS": "500",
    "CMW_MAX_SESSIONS": "1000",
    "CMW_MODELS": "hang",
    "CMW_MODEL_TIMEOUT": "3600",
    "CMW_TURN_TIMEOUT": "3600",
}


async def measure() -> bool:
    """Print the figures; return whether all answers were complete and none was refused."""
    async with (
        endpoint(LOAD.rate, LOAD.tokens) as model,
        contender("app", model.url, LOAD.tokens, more=SETTINGS) as server,
    ):
        users = [make_user("app", server.url, f"127.0.1.{n + 1}") for n in range(LOAD.users)]
        try:
            await asyncio.gather(*(user.open() for user in users))
            await asyncio.gather(*(user.say("warm up") for user in users))
            quiet = [await measure_load("app", LOAD, server, users) for _ in range(ROUNDS)]
            async with Attacker(server.url, ATTACKER) as attacker:
                await attacker.hold_all("hold this", "hang")
                attacker.trickle()
                attacked = [await measure_load("app", LOAD, server, users) for _ in range(ROUNDS)]
                print("held:", ", ".join(f"{n} {kind}" for kind, n in attacker.held.items()))
        finally:
            await asyncio.gather(*(user.close() for user in users))
    for name, results in (("alone", quiet), ("attacked", attacked)):
        print(f"{name}: first text p50 {_p50(results):.3f} s, p95 {_p95(results):.3f} s")
    print(f"p95 attacked / alone: {_p95(attacked) / _p95(quiet):.2f}")
    wrong = sum(each.errors + each.broken + each.foreign for each in (*quiet, *attacked))
    print(f"refused or wrong: {wrong}")
    return not wrong


def _p50(results: list[Result]) -> float:
    return min(each.first_p50 for each in results)


def _p95(results: list[Result]) -> float:
    return min(each.first_p95 for each in results)


if __name__ == "__main__":
    os.sched_setaffinity(0, {CLIENT_CORE})
    sys.exit(not uvloop.run(measure()))
