"""The page says who answers: an agent with a graph of its own is no demonstration, and has no model."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import expect

from cmw_agent import Agent, Progress, tool
from tests.agents import samples
from tests.agents.test_tools import serving
from tests.harness import Served, served, settings_for
from tests.web.conftest import People

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def own(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    """An app without an endpoint: a graph comes first, the built-in loop with the demo second."""
    settings = settings_for(tmp_path_factory.mktemp("own"), models=("other",))
    agents = [
        Agent(id="echo", name="Echo desk", graph=samples.echo),
        Agent(id="plain", name="Plain desk"),
    ]
    async with served(settings, agents=agents) as app:
        yield app


async def test_an_agent_with_a_graph_is_no_demonstration_and_offers_no_model(
    own: Served, people: People
) -> None:
    page = await people.open(own)
    await expect(page.frame.get_by_role("note")).to_have_count(0)
    button = page.frame.locator("#cmw-choose")
    await expect(button).to_have_text("Echo desk")
    await expect(button).to_have_attribute("aria-label", "Agent: Echo desk")
    await button.click()
    await expect(page.frame.locator("#cmw-agent")).to_be_visible()
    await expect(page.frame.locator("#cmw-models")).to_be_hidden()
    await page.page.keyboard.press("Escape")
    await page.ask("Hello")
    await expect(page.answers.last).to_have_text("You said: Hello")
    await expect(page.frame.get_by_role("note")).to_have_count(0)


async def test_the_note_and_the_model_follow_the_agent_that_is_shown(
    own: Served, people: People
) -> None:
    page = await people.open(own, "?agent=plain")
    await expect(page.frame.get_by_role("note")).to_be_visible()
    button = page.frame.locator("#cmw-choose")
    await expect(button).to_contain_text("Demo")
    await button.click()
    await expect(page.frame.locator("#cmw-models")).to_be_visible()
    await page.page.keyboard.press("Escape")
    await page.open("?agent=echo")
    await expect(button).to_have_text("Echo desk")
    await expect(page.frame.get_by_role("note")).to_have_count(0)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def counting(
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[tuple[Served, asyncio.Event]]:
    """An app with a tool that reports, and the event that lets it end."""
    released = asyncio.Event()

    @tool(changes=False)
    async def count(progress: Progress, to: int) -> str:
        """Count."""
        progress(3, to, "reading <b>")
        await released.wait()
        return f"counted to {to}"

    async with serving(tmp_path_factory.mktemp("counting"), [count]) as (app, _):
        yield app, released


async def test_a_step_shows_how_far_its_tool_has_come(
    counting: tuple[Served, asyncio.Event], people: People
) -> None:
    app, released = counting
    page = await people.open(app)
    progress = page.steps.locator(".cmw-step-progress")
    await page.write('do count {"to": 10}')
    await expect(progress).to_have_text("3 of 10 – reading <b>")
    await page.reload()  # who comes back meanwhile sees it too
    await expect(progress).to_have_text("3 of 10 – reading <b>")
    released.set()
    await expect(page.steps.last).to_have_attribute("data-state", "done")
    await expect(progress).to_have_text("")
    await page.settled()
