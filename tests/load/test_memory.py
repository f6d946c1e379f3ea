"""A thousand sessions come and go without a leak, and every map keeps its cap."""

import asyncio
import gc
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cmw_agent.agent.agent import CmwAgent
from cmw_agent.web.gradio_transport.mailboxes import EventBuffer
from tests.doubles.openai_server import OpenAIDouble
from tests.harness import WAIT, Browser, last_text, served, settings_for
from tests.service import wait_until

SESSIONS, AT_ONCE, CAP = 1_000, 50, 60
OURS = ("cmw_agent.", "memory.")


@pytest.fixture(autouse=True, scope="module")
def thawed() -> Iterator[None]:
    """Let the collector see what `tests/conftest.py` has frozen: modules can hold maps that grow."""
    gc.unfreeze()
    yield
    gc.collect()
    gc.freeze()


def of_ours(kind: type) -> bool:
    return str(getattr(kind, "__module__", "")).startswith(OURS)


def live(kind: type) -> int:
    """Return how many objects of `kind` there are after a collection."""
    gc.collect()
    return sum(type(found) is kind for found in gc.get_objects())


def attributes(found: object) -> Iterator[tuple[str, Any]]:
    names = [*getattr(found, "__dict__", ())]
    for kind in type(found).__mro__:
        names += getattr(kind, "__slots__", ())
    for name in names:
        if name.startswith("__"):
            continue
        yield f"{type(found).__qualname__}.{name}", getattr(found, name, None)


def largest_maps() -> dict[str, int]:
    """Return the size of the largest of each container that a live object of ours holds."""
    gc.collect()
    sizes: dict[str, int] = {}
    for found in gc.get_objects():
        if not of_ours(type(found)):
            continue
        for name, value in attributes(found):
            if isinstance(value, dict | set | deque | list):
                sizes[name] = max(sizes.get(name, 0), len(value))
    for name, module in list(sys.modules.items()):
        if f"{name}.".startswith(OURS):
            for attribute, value in vars(module).items():
                if type(value) in (dict, set, list, deque) and not attribute.startswith("__"):
                    sizes[f"{name}.{attribute}"] = len(value)
    return sizes


async def visit(url: str, name: str, closing: asyncio.Event) -> None:
    """Open a page, ask, and keep it open until all of the batch are."""
    async with Browser(url) as browser:
        tab = await browser.open()
        event = await tab.send(name)
        assert last_text(event.value) == f"You said: {name}"
        await closing.wait()


async def batch(url: str, first: int) -> None:
    closing = asyncio.Event()
    visits = [
        asyncio.create_task(visit(url, f"hello {first + n}", closing)) for n in range(AT_ONCE)
    ]
    closing.set()
    await asyncio.gather(*visits)


@pytest.mark.slow
async def test_a_thousand_sessions_leave_nothing_behind(tmp_path: Path) -> None:
    # A test that failed before this one may still be holding its own.
    mailboxes, agents = live(EventBuffer), live(CmwAgent)
    async with (
        OpenAIDouble(default="echo", keep=0) as endpoint,
        served(settings_for(tmp_path, openai_base_url=endpoint.base_url, model="echo")) as app,
    ):
        registry = app.application.runtime.registry
        await batch(app.url, 0)
        await wait_until(lambda: len(registry) == 0)
        sizes = largest_maps()
        for first in range(AT_ONCE, SESSIONS, AT_ONCE):
            await batch(app.url, first)
        await wait_until(lambda: len(registry) == 0)
        await wait_until(lambda: live(EventBuffer) <= mailboxes, every=0.5)
        # What looks after a closed page may take a moment longer than the registry.
        await wait_until(lambda: live(CmwAgent) <= agents, every=0.5)
        grown = {
            name: (sizes.get(name, 0), size)
            for name, size in largest_maps().items()
            if size > max(sizes.get(name, 0), AT_ONCE)
        }
        assert grown == {}


async def test_pages_that_stay_open_are_held_up_to_the_cap_and_no_further(tmp_path: Path) -> None:
    before = live(CmwAgent)
    async with (
        OpenAIDouble(default="echo") as endpoint,
        served(
            settings_for(
                tmp_path, openai_base_url=endpoint.base_url, model="echo", max_sessions=CAP
            )
        ) as app,
    ):
        browsers = [Browser(app.url) for _ in range(2 * CAP)]
        try:
            async with asyncio.timeout(WAIT * 2):
                for browser in browsers:
                    await browser.open()
            assert len(app.application.runtime.registry) == CAP
            await wait_until(lambda: live(CmwAgent) - before == CAP, every=0.5)
            # The one who came first was let go, and is taken in again with her own.
            tab = await browsers[0].open()
            assert last_text((await tab.send("back")).value) == "You said: back"
        finally:
            for browser in browsers:
                await browser.__aexit__(None, None, None)
