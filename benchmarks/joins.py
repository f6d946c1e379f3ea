"""``python -m benchmarks.joins``: what a page costs the app that joins a running answer.

One page sends a message whose answer stops in its middle. Further pages of the same visitor open
the conversation, and then join the answer one after the other. Each page that opens asks whether
there is something to join, so that pages of a conversation without a running answer, whose last
answer is as long, do so in turn with them. Printed are the app's CPU milliseconds for both, from
the page's request until it has all text, their difference, which is what the running answer costs,
and how many requests the model has got.
"""

import asyncio
import contextlib
import os
import statistics

import orjson
import uvloop

from benchmarks.processes import CLIENT_CORE, Server, contender
from tests.doubles.openai_server import OpenAIDouble
from tests.harness import Browser, Event, Tab

WORDS, WRITTEN = 600, 300  # of the message, which the model repeats; of the answer when it stops
PAGES = 200
SECONDS = 30


def numbered(count: int) -> str:
    """Return a text of `count` different words."""
    return " ".join(f"word{number}" for number in range(count))


# "You said:" comes before the words; the last may not have been sent on yet
SHORT = numbered(WRITTEN - 3)


def has(event: Event, text: str) -> bool:
    """Whether the page that follows `event` has got `text`."""
    return any(text in orjson.dumps(message).decode() for message in event.raw)


async def read_until(tab: Tab, event_id: str, text: str) -> None:
    """Read the tab's stream until the event has brought `text`."""
    event = Event(event_id)
    async with (
        asyncio.timeout(SECONDS),
        contextlib.aclosing(tab.follow(event)) as updates,  # type: ignore[type-var]
    ):
        async for _ in updates:
            if has(event, text):
                return


async def conversation_of(browser: Browser) -> str:
    """Return the id of the conversation that the visitor has begun last."""
    async with browser.http.get(f"{browser.url}/history") as answer:
        return str(orjson.loads(await answer.read())["conversations"][0]["id"])


async def begun(browser: Browser, message: str, last: str) -> list[Tab]:
    """Begin a conversation; return pages of it when its answer has come to `last`."""
    writer = await browser.open()
    await read_until(writer, await writer.join("send", [message, "", "", None]), last)
    query = f"?c={await conversation_of(browser)}"
    tabs = [browser.tab(query=query) for _ in range(PAGES)]
    for tab in tabs:
        await tab.open()
    return tabs


async def join_costs(server: Server) -> tuple[list[float], list[float]]:
    """Return the app's CPU seconds for each page that joins, and for each with nothing to join."""
    async with Browser(server.url) as browser:
        idle = await begun(browser, SHORT, f"word{WRITTEN - 4}")
        running = await begun(browser, numbered(WORDS), f"word{WRITTEN - 3}")
        costs: tuple[list[float], list[float]] = ([], [])
        for pair in zip(running, idle, strict=True):
            for tab, found in zip(pair, costs, strict=True):
                before = server.cpu_exact()
                await read_until(tab, await tab.join("join", []), f"You said: {SHORT}")
                found.append(1_000 * (server.cpu_exact() - before))
    return costs


async def measure() -> None:
    """Print the figures."""
    async with OpenAIDouble() as double:
        more = {"CMW_MODEL": f"gated-{WRITTEN}"}
        async with contender("app", double.base_url, 1, more=more) as server:
            joining, asking = map(statistics.median, await join_costs(server))
        print(f"{PAGES} pages join an answer of which {WRITTEN} words are written; medians of CPU")
        print(f"with the answer running: {joining:.2f} ms; with nothing to join: {asking:.2f} ms")
        print(f"the running answer costs: {joining - asking:.2f} ms")
        print(f"requests to the model for two messages: {double.request_count}")


if __name__ == "__main__":
    os.sched_setaffinity(0, {CLIENT_CORE})
    uvloop.run(measure())
