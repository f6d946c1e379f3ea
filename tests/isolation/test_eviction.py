"""Isolation 8: a flood of invented sessions evicts nobody else's."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from tests.harness import Browser, Event, RefusedError, Tab, canary, last_text, texts
from tests.isolation.world import AppWithModel, Following, app_with_model

HASHES = 1_000
ROOM = 100  # live sessions: far fewer than are invented
AT_ONCE = 20

shared = pytest.mark.asyncio(loop_scope="module")


async def flood(here: AppWithModel, tab: Tab) -> None:
    """Begin a session under each of many invented hashes, as fast as the server takes them."""
    hashes = iter(range(HASHES))

    async def invent() -> None:
        for number in hashes:
            mine = Tab(tab.url, tab.http, session_hash=f"invented{number}")
            mine._functions = tab._functions
            try:
                await mine.join("open_page", [])
            except RefusedError as refused:
                if refused.status not in (429, 503):
                    raise
            assert len(here.sessions()) <= ROOM

    await asyncio.gather(*(invent() for _ in range(AT_ONCE)))


async def say(here: AppWithModel, tab: Tab, text: str) -> Event:
    """Send a message, let the model answer it, and return what came."""
    async with Following(tab, await tab.join("send", [text, "", "", None])) as stream:
        await here.endpoint.wait_held(text)
        here.endpoint.release(text)
        event = await stream.done()
    assert last_text(event.value) == f"You said: {text}"
    return event


@dataclass(slots=True)
class Flooded:
    """An app in the middle of a flood, and those who used it before."""

    here: AppWithModel
    reading: Following  # A, who has the first half of an answer
    first: str
    second: str
    rest: str
    waiting: Tab  # C, who has a chat and has said nothing for a while
    told: str


@pytest_asyncio.fixture(
    scope="module", loop_scope="module", params=["by one visitor", "by cookieless callers"]
)
async def flooded(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Flooded]:
    first, second, rest, told = (canary() for _ in range(4))
    async with (
        app_with_model(
            tmp_path_factory.mktemp("flood"), "gated-3", max_sessions=ROOM, model_timeout=600
        ) as here,
        Browser(here.url) as mine,
        Browser(here.url) as hers,
        Browser(here.url, cookies=request.param == "by one visitor") as stranger,
    ):
        a, c, b = await mine.open(), await hers.open(), await stranger.open()
        await say(here, a, first)
        await say(here, c, told)
        async with Following(a, await a.join("send", [f"{second} {rest}", "", "", None])) as stream:
            await stream.seen(f"You said: {second}")
            await flood(here, b)
            yield Flooded(here, stream, first, second, rest, c, told)


@shared
async def test_who_has_waited_goes_on_with_her_chat(flooded: Flooded) -> None:
    text = canary()
    event = await say(flooded.here, flooded.waiting, text)
    assert texts(event.value, "user") == [flooded.told, text]


@shared
async def test_who_comes_new_is_let_in(flooded: Flooded) -> None:
    async with Browser(flooded.here.url) as browser:
        await say(flooded.here, await browser.open(), canary())


# Last, because the end of this answer makes room that the invariants above must not need.
@shared
async def test_a_flood_of_hashes_cuts_no_running_answer(flooded: Flooded) -> None:
    flooded.here.endpoint.release(flooded.second)
    event = await flooded.reading.done()
    assert last_text(event.value) == f"You said: {flooded.second} {flooded.rest}"
    assert texts(event.value, "user") == [flooded.first, f"{flooded.second} {flooded.rest}"]


@shared
async def test_the_registry_stays_within_its_cap(flooded: Flooded) -> None:
    assert len(flooded.here.sessions()) <= ROOM
