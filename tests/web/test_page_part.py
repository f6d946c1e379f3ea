"""What an operator puts beside the chat stands there as it is, and leaves the chat its room."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import expect

from cmw_agent.web.gradio_transport import environment as _environment  # noqa: F401 (before gradio)
from tests.harness import Served, served, settings_for
from tests.web.conftest import WIDE, People
from tests.web.test_looks import NARROW, _fits

import gradio as gr  # isort: skip

pytestmark = pytest.mark.asyncio(loop_scope="module")

PART = """<h2>Opening hours</h2><p>9 to 17 ${1 + 1} {{x}}</p>"""
APART = """() => {
    const part = document.getElementById("cmw-part").getBoundingClientRect();
    return document.getElementById("cmw-input").getBoundingClientRect().right <= part.left && part.width > 0;
}"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def beside(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    async with served(settings_for(tmp_path_factory.mktemp("part")), page_part=PART) as app:
        yield app


async def test_a_part_of_the_operator_s_stands_beside_the_chat(
    beside: Served, people: People
) -> None:
    page = await people.open(beside, viewport=WIDE)
    part = page.frame.get_by_role("complementary").filter(has_text="Opening hours")
    await expect(part).to_be_visible()
    await expect(part).to_contain_text("9 to 17 ${1 + 1} {{x}}")
    await _fits(page)
    assert await page.frame.evaluate(APART)
    await page.ask("My name is Alice")
    await expect(page.answers.last).to_contain_text("Alice")
    assert await page.frame.evaluate(APART)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def with_components(
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Served]:
    folder = tmp_path_factory.mktemp("components")
    async with served(settings_for(folder), page_part=components) as app:
        yield app


def components() -> None:
    """Make components of a kind that is bundled, and of one that is not."""
    gr.Markdown("## Opening hours\n\n9 to **17**")
    shown = gr.Textbox("closed", label="Today")
    gr.Button("Look").click(None, None, shown, js="() => 'open'")


async def test_components_of_the_operator_s_stand_beside_the_chat(
    with_components: Served, people: People
) -> None:
    page = await people.open(with_components, viewport=WIDE)
    part = page.frame.locator("#cmw-part")
    await expect(part.get_by_role("heading", name="Opening hours")).to_be_visible()
    await expect(part.locator("strong")).to_have_text("17")
    await part.get_by_role("button", name="Look").click()
    await expect(part.get_by_label("Today")).to_have_value("open")
    assert await page.frame.evaluate(APART)
    await page.ask("My name is Alice")
    await expect(page.answers.last).to_contain_text("Alice")


async def test_a_narrow_window_is_the_chat_s_alone(beside: Served, people: People) -> None:
    page = await people.open(beside, viewport=NARROW)
    await expect(page.frame.locator("#cmw-part")).to_be_hidden()
    await _fits(page)
