"""``python -m benchmarks.own_graph``: what the app adds to a graph of one's own.

A graph of one node, whose model streams some words, is run by itself, with its messages streamed
as LangGraph's documentation does it, and by the app's runner, in turn. Printed are the CPU
milliseconds of a run of each, and their ratio.
"""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

from langchain_core.messages import HumanMessage

from cmw_agent.agent.own.runner import runner_of
from cmw_agent.agent.tool_loop import RunContext
from cmw_agent.llm.chat_model import HistoryMessage
from cmw_agent.llm.run_events import RunEvents
from tests.agents.samples import one_node, say_the_last

ROUNDS, WORDS = 60, 300
TEXT = " ".join(f"word{number}" for number in range(WORDS))


async def spent(work: Callable[[], Awaitable[Any]]) -> float:
    """Return the CPU milliseconds of `work`."""
    before = time.process_time()
    await work()
    return 1_000 * (time.process_time() - before)


async def measure() -> None:
    """Print the figures."""
    graph = one_node(say_the_last)
    runner = runner_of(graph, "the graph")

    async def by_itself() -> None:
        given = {"messages": [HumanMessage(TEXT)]}
        pieces = [part[0].text async for part in graph.astream(given, stream_mode="messages")]
        assert TEXT in "".join(pieces)

    async def in_the_app() -> None:
        events: list[Any] = []
        context = RunContext("owner", None, "", RunEvents(events.append))  # type: ignore[arg-type]
        await runner.run(context, [HistoryMessage("user", TEXT)])
        assert events

    await by_itself()
    await in_the_app()
    alone, inside = [], []
    for _ in range(ROUNDS):
        alone.append(await spent(by_itself))
        inside.append(await spent(in_the_app))
    first, second = statistics.median(alone), statistics.median(inside)
    print(f"a run of {WORDS} words, medians of {ROUNDS}: {first:.1f} ms of CPU by itself, ", end="")
    print(f"{second:.1f} ms in the app; ratio {second / first:.2f}")


if __name__ == "__main__":
    asyncio.run(measure())
