"""What users let the operator do: switches in the settings, shown where the operator asks for it."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import expect

from tests.doubles.openai_server import OpenAIDouble
from tests.harness import Served, served, settings_for
from tests.rows import rows
from tests.web.axe import violations
from tests.web.conftest import People

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

RATINGS = "Let the operator read conversations that I rate"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def asking(
    model: OpenAIDouble, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Served]:
    """The app of an operator who reads what users rate."""
    settings = settings_for(
        tmp_path_factory.mktemp("asking"),
        openai_base_url=model.base_url,
        model="stage",
        admins="root",
        log_level="ERROR",
    )
    async with served(settings) as running:
        yield running


async def test_a_user_agrees_in_the_settings_and_takes_it_back(
    asking: Served, people: People
) -> None:
    page = await people.open(asking, viewport={"width": 320, "height": 640})
    section = await page.open_settings("My data")
    switch = section.get_by_role("checkbox", name=RATINGS)
    await expect(switch).not_to_be_checked()
    assert await violations(page.frame, "#cmw-settings") == []
    await switch.focus()
    await page.page.keyboard.press("Space")
    await expect(section.get_by_role("status").first).to_have_text("Switched on.")
    await expect(switch).to_be_focused()
    found = "SELECT kind FROM agent_consents"
    data = asking.application.runtime.settings.data_dir
    assert [row["kind"] for row in rows(data, found)] == ["ratings"]
    await page.reload()
    section = await page.open_settings("My data")
    await expect(switch).to_be_checked()
    await switch.click()
    await expect(section.get_by_role("status").first).to_have_text("Switched off.")
    assert rows(data, found) == []


async def test_where_the_operator_asks_for_nothing_there_is_no_switch(
    app: Served, people: People
) -> None:
    page = await people.open(app)
    section = await page.open_settings("My data")
    await expect(section.get_by_role("button", name="Save as dataset")).to_be_visible()
    await expect(section.get_by_role("checkbox")).to_have_count(0)
