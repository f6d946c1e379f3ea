"""Two people with tools in two browsers: links, tasks, approvals, a reload."""

import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Locator, expect

from cmw_agent.identity.principals import Principal
from cmw_agent.tools.composio.accounts import ConnectionUser
from tests.accounts import connected
from tests.harness import canary
from tests.isolation.toolhouse import AppWithTools, app_with_tools
from tests.service import until_unread
from tests.web.chat_page import ChatPage
from tests.web.conftest import People
from tests.web.connecting import connect
from tests.web.test_questions import card
from tests.web.test_xss import _owner

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]
LIST = "do ASANA_GET_TASKS {}"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[AppWithTools]:
    async with app_with_tools(tmp_path_factory.mktemp("tools")) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hasty(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[AppWithTools]:
    """One whose questions wait for six seconds, and with models to choose from."""
    folder = tmp_path_factory.mktemp("hasty")
    async with app_with_tools(folder, approval_seconds=6, models="echo,memory") as running:
        yield running


async def user_of(page: ChatPage) -> str:
    return ConnectionUser.of(Principal(await _owner(page), "visitor")).value


def buttons(page: ChatPage) -> Locator:
    return page.log.get_by_role("link", name=re.compile("^Connect"))


async def test_two_people_connect_and_see_their_own(house: AppWithTools, people: People) -> None:
    hers, his = canary(), canary()
    a, b = await people.open(house.app), await people.open(house.app)
    await a.ask("/connect asana")
    first = await buttons(a).last.get_attribute("href")
    assert await connect(a, house.composio, first) == await user_of(a)
    await b.ask("/connect asana")
    assert first != await buttons(b).last.get_attribute("href")
    # Not connected yet: he is told so, and gets a button of his own.
    await b.ask(LIST)
    await expect(b.answers.last).to_contain_text("has not connected asana")
    links = [await link.get_attribute("href") for link in await buttons(b).all()]
    assert len({first, *links}) == 3
    house.composio.tasks[await user_of(a)] = [hers]
    house.composio.tasks[await user_of(b)] = [his]
    await a.ask(LIST)
    await expect(a.answers.last).to_contain_text(hers)
    assert await connect(b, house.composio, links[-1]) == await user_of(b)
    await b.ask(LIST)
    await expect(b.answers.last).to_contain_text(his)
    await expect(b.log).not_to_contain_text(hers)
    await expect(a.log).not_to_contain_text(his)


async def test_a_call_waits_on_the_page_through_a_reload(
    house: AppWithTools, people: People
) -> None:
    name, written = canary(), canary()
    page, other = await people.open(house.app), await people.open(house.app)
    user = await user_of(page)
    await connected(house.app, house.composio, await _owner(page))
    await page.write(f'do ASANA_CREATE_TASK {{"name": "{name}"}}')
    await expect(card(page)).to_be_visible()
    await expect(page.log).to_contain_text("needs your approval")
    await expect(card(other)).to_have_count(0)
    assert house.composio.tasks.get(user, []) == []
    here = page.page.url
    await page.page.goto("about:blank")
    await until_unread(house.app.application.runtime)
    await page.page.goto(here)
    await expect(card(page)).to_be_visible()
    await expect(page.log).to_contain_text("needs your approval")
    await card(page).get_by_label("name", exact=True).fill(written)
    await card(page).get_by_role("button", name="Approve").click()
    await expect(page.answers.last).to_contain_text("The tools said")
    assert house.composio.tasks[user] == [written]
    await page.button("Details").click()
    details = page.frame.get_by_role("dialog", name="Details of the answer")
    await expect(details).to_contain_text(re.compile(r"ASANA_CREATE_TASK · Asana \([0-9a-f]{16}\)"))
    await page.page.keyboard.press("Escape")
    await page.filled()
    await page.ask("and on")
    await expect(page.answers.last).to_contain_text("You said: and on")


async def test_a_denied_call_is_not_made(house: AppWithTools, people: People) -> None:
    page = await people.open(house.app)
    user = await user_of(page)
    for _ in range(2):
        await connected(house.app, house.composio, await _owner(page))
    await page.write('do ASANA_DELETE_TASK {"name": "all"}')
    await expect(card(page, "ASANA_DELETE_TASK")).to_contain_text("With the account Asana 2")
    await card(page, "ASANA_DELETE_TASK").get_by_role("button", name="Deny").click()
    await expect(page.answers.last).to_contain_text("denied this call")
    await page.settled()
    assert not [c for c in house.composio.to("POST /tools/execute") if user in c.user_ids]


async def test_a_file_is_attached_shown_and_read(house: AppWithTools, people: People) -> None:
    secret = canary()
    page = await people.open(house.app)
    async with page.page.expect_file_chooser() as choosing:
        await page.frame.get_by_role("button", name="Attach files").click()
    await (await choosing.value).set_files(
        {"name": "notes <b>.txt", "mimeType": "text/plain", "buffer": secret.encode()}
    )
    await expect(page.frame.get_by_role("button", name="Remove notes <b>.txt")).to_be_visible()
    await expect(page.frame.locator(".cmw-chip progress")).to_have_count(0)
    await page.write("read this")
    await expect(page.answers.last).to_contain_text("You said: read this")
    await expect(page.log.get_by_role("link", name="notes <b>.txt")).to_be_visible()
    asked = [r for r in house.endpoint.requests if r.last_user.startswith("read this")]
    assert secret in str(asked[-1].body)
    await expect(page.frame.locator(".cmw-chip:visible")).to_have_count(0)


async def test_a_question_whose_time_is_up_goes_and_the_call_is_not_made(
    hasty: AppWithTools, people: People
) -> None:
    page = await people.open(hasty.app)
    user = await user_of(page)
    await connected(hasty.app, hasty.composio, await _owner(page))
    await page.write('do ASANA_CREATE_TASK {"name": "too late"}')
    await expect(card(page)).to_be_visible()
    await expect(page.answers.last).to_contain_text("did not approve this call in time")
    await page.settled()
    await expect(card(page)).to_have_count(0)
    assert hasty.composio.tasks.get(user, []) == []


async def test_a_user_picks_the_model_that_answers(hasty: AppWithTools, people: People) -> None:
    page = await people.open(hasty.app)
    models = page.frame.get_by_role("combobox", name="Model")
    await page.open_choices()
    await models.select_option("memory")
    await page.ask("My name is Alice")
    assert hasty.endpoint.requests[-1].model == "memory"
    await page.reload()
    await page.open_choices()
    await expect(models).to_have_value("memory")
    await page.ask("What is my name?")
    await expect(page.answers.last).to_contain_text("Alice")
