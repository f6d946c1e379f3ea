"""``python -m benchmarks.tools``: measures the cost of one more user with 40 tools.

Composio's double runs on a thread of its own, whose CPU is not counted. For comparison with the
app's shared catalogue, composio-langchain's provider builds the same tools for each user. Prints a
table; exits with 1 when a user costs more than the limits.
"""

import argparse
import asyncio
import gc
import importlib
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr

from benchmarks.processes import ROOT
from cmw_agent.config.settings import Settings
from cmw_agent.identity.principals import Principal
from cmw_agent.tools.composio.accounts import ConnectionUser
from cmw_agent.tools.composio.connections import Connections, open_connections
from tests.doubles.composio_server import Composio, composio_server
from tests.doubles.composio_shapes import many_tools, tool_body

TOOLS = 40
MAX_BYTES = 100_000
MAX_SECONDS = 0.005
PACKAGES = ("composio_client", "composio", "composio_langchain")
IMPORT = """
import importlib, resource, sys, time
def held():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
before, began = held(), time.process_time()
importlib.import_module(sys.argv[1])
print(time.process_time() - began, held() - before)
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU seconds and bytes of memory; None where memory was not measured."""

    what: str
    seconds: float
    memory: float | None = None

    @property
    def row(self) -> str:
        """The cost as a row of the Markdown table."""
        memory = "–" if self.memory is None else f"{self.memory / 1000:,.1f} kB"
        return f"| {self.what} | {self.seconds * 1000:,.3f} ms | {memory} |"


def of_import(package: str) -> Cost:
    """Return the cost of importing `package` in a new process."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORT, package],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, memory = map(float, done.stdout.split())
    return Cost(f"import {package}", seconds, memory)


@contextmanager
def double_on_a_thread() -> Iterator[Composio]:
    """Run Composio's double in a thread with its own event loop, for the block."""
    ready: asyncio.Queue[Composio] = asyncio.Queue()
    begun, stop = threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        async with composio_server() as double:
            double.add_toolkit("big", TOOLS)
            ready.put_nowait(double)
            begun.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="composio-double")
    thread.start()
    begun.wait()
    try:
        yield ready.get_nowait()
    finally:
        loops[0].call_soon_threadsafe(stop.set)
        thread.join()


def principals(count: int) -> list[Principal]:
    """Return `count` different visitors."""
    return [Principal(f"v{number:032x}", "visitor") for number in range(count)]


async def settle(connections: Connections, people: list[Principal]) -> list[tuple[Any, Any]]:
    """Return the objects that the process holds for each of `people`: connection user and tools."""
    kept = []
    for person in people:
        user = ConnectionUser.of(person)
        kept.append((user, await connections.tools(["big"])))
    return kept


async def of_users(double: Composio, count: int) -> list[Cost]:
    """Return the cost of the shared tools, of each user, and of each call."""
    settings = Settings(
        composio_api_key=SecretStr(double.key),
        composio_base_url=double.url,
        toolkits="asana,big",
    )
    async with open_connections(settings) as connections:
        people = principals(count)
        began = time.thread_time()
        await connections.load()
        seconds = time.thread_time() - began
        once = Cost(f"{TOOLS} tools, once for all", seconds, await _memory_of_tools(settings))
        began = time.thread_time()
        await settle(connections, people)
        seconds = (time.thread_time() - began) / count
        memory = await _memory_of_users(connections, people)
        user = Cost(f"a further user with {TOOLS} tools", seconds, memory)
        return [
            once,
            user,
            await _of_states(connections, people),
            await _of_runs(double, connections),
        ]


async def _memory_of_tools(settings: Settings) -> float:
    async with open_connections(settings) as connections:
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        await connections.load()
        gc.collect()
        memory = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        return memory


async def _memory_of_users(connections: Connections, people: list[Principal]) -> float:
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    kept = await settle(connections, people)
    gc.collect()
    memory = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return memory / len(kept)


async def _of_states(connections: Connections, people: list[Principal]) -> Cost:
    some = [ConnectionUser.of(person) for person in people[:200]]
    began = time.thread_time()
    for user in some:
        await connections.toolkits(user, {})
    return Cost("reading a user's state", (time.thread_time() - began) / len(some))


async def _of_runs(double: Composio, connections: Connections) -> Cost:
    user = ConnectionUser.of(principals(1)[0])
    double.add_account(user.value, "big")
    tool = (await connections.tools(["big"]))[0]
    began = time.thread_time()
    for _ in range(200):
        assert (await connections.run(user, tool, {"field_0": "x"}, account_id=None)).ok
    return Cost("running a tool once", (time.thread_time() - began) / 200)


def of_provider(users: int) -> Cost:
    """Return the cost of a user for whom composio-langchain builds the same tools."""
    items: Any = importlib.import_module("composio_client.types.tool_list_response")
    provider = importlib.import_module("composio_langchain").LangchainProvider()
    tools = [items.Item.model_validate(tool_body(tool, "big")) for tool in many_tools("big", TOOLS)]

    def build() -> Any:
        return provider.wrap_tools(tools, lambda slug, arguments: {})

    build()  # caches of pydantic and typing
    seconds, memory = _measured(build, users)
    return Cost(f"composio-langchain: a further user with {TOOLS} tools", seconds, memory)


def _measured(build: Callable[[], Any], times: int) -> tuple[float, float]:
    began = time.process_time()
    kept = [build() for _ in range(times)]
    seconds = (time.process_time() - began) / times
    kept.clear()
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    kept = [build() for _ in range(times)]
    gc.collect()
    memory = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return seconds, memory / len(kept)


def main() -> int:
    """Print the table; return 1 where one more user costs more than the limits."""
    parser = argparse.ArgumentParser(description="What a further user with 40 tools costs")
    parser.add_argument("--users", type=int, default=1000)
    parser.add_argument("--provider-users", type=int, default=5, help="0 leaves it out")
    arguments = parser.parse_args()
    costs = [of_import(package) for package in PACKAGES]
    with double_on_a_thread() as double:
        shared = asyncio.run(of_users(double, arguments.users))
    costs += shared
    if arguments.provider_users:
        costs.append(of_provider(arguments.provider_users))
    print("| what | CPU | memory |\n| --- | --- | --- |")
    print("\n".join(cost.row for cost in costs))
    user = shared[1]
    good = user.seconds <= MAX_SECONDS and (user.memory or 0) <= MAX_BYTES
    print(f"\na further user: at most {MAX_BYTES:,} bytes and {MAX_SECONDS * 1000:g} ms: {good}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
