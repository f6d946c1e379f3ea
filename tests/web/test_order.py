"""Order in the list, in a browser: titles, pins, folders, archive; by mouse and by keyboard."""

from collections.abc import AsyncIterator, Sequence

import pytest
import pytest_asyncio
from playwright.async_api import Locator, expect

from cmw_agent.agent.agent import NAME
from tests.doubles.openai_server import OpenAIDouble
from tests.doubles.openai_steps import Gate, Request, Step, Text
from tests.harness import Served, canary, served, settings_for
from tests.web.chat_page import ChatPage
from tests.web.conftest import People
from tests.web.test_history import act, row, with_chats

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]


def links(page: ChatPage, label: str) -> Locator:
    """Return the conversations of one part of the list."""
    return page.recent.get_by_role("list", name=label, exact=True).get_by_role("link")


def archive(page: ChatPage) -> Locator:
    return page.frame.get_by_role("navigation", name="Archived conversations")


async def move_to(page: ChatPage, title: str, folder: str) -> None:
    await act(page, title, "Move to a folder…")
    field = page.recent.get_by_role("combobox", name="Folder")
    await field.fill(folder)
    await field.press("Enter")
    await expect(field).to_have_count(0)


def titled(request: Request) -> Sequence[Step]:
    is_naming = request.body["messages"][0]["content"] == NAME
    return [Gate(), Text(["<b>Ships</b> in port"])] if is_naming else [Text(["The Aurora."])]


@pytest_asyncio.fixture(loop_scope="module")
async def endpoint() -> AsyncIterator[OpenAIDouble]:
    async with OpenAIDouble(scripts={"titled": titled}) as double:
        yield double


async def test_a_model_s_title_comes_without_a_reload(
    endpoint: OpenAIDouble, people: People, tmp_path_factory: pytest.TempPathFactory
) -> None:
    settings = settings_for(
        tmp_path_factory.mktemp("titled"),
        openai_base_url=endpoint.base_url,
        model="titled",
        titles="on",
        log_level="ERROR",
    )
    async with served(settings) as app:
        page = await with_chats(people, app, "Which ship?")
        await endpoint.wait_held()
        endpoint.release_all()
        await expect(page.recent.get_by_role("link")).to_have_text(["Ships in port"])
        await people.leave()


async def test_pinned_conversations_stand_first_and_folders_below_them(
    app: Served, people: People
) -> None:
    page = await with_chats(people, app, "one", "two", "three")
    await act(page, "one", "Pin")
    await expect(links(page, "Pinned")).to_have_text(["one"])
    await move_to(page, "two", "<b>Work</b>")
    await expect(links(page, "<b>Work</b>")).to_have_text(["two"])
    await expect(links(page, "Today")).to_have_text(["three"])
    await page.reload()
    await expect(page.recent.get_by_role("link")).to_have_text(["one", "two", "three"])

    await page.recent.get_by_text("<b>Work</b>").click()
    await expect(row(page, "two")).to_be_hidden()
    await page.recent.get_by_text("<b>Work</b>").click()
    await act(page, "two", "Take out of <b>Work</b>")
    await act(page, "one", "Unpin")
    await expect(links(page, "Today")).to_have_text(["three", "two", "one"])


async def test_what_is_archived_leaves_the_list_and_is_found_again(
    app: Served, people: People
) -> None:
    word = canary()
    page = await with_chats(people, app, word, "other")
    await act(page, word, "Archive")
    await expect(page.recent.get_by_role("link")).to_have_text(["other"])
    status = page.frame.get_by_role("status").filter(has_text="was archived")
    await status.get_by_role("button", name="Undo").click()
    await expect(page.recent.get_by_role("link")).to_have_count(2)
    await act(page, word, "Archive")
    await expect(page.recent.get_by_role("link")).to_have_text(["other"])

    await page.frame.get_by_text("Archived", exact=True).click()
    await expect(archive(page).get_by_role("link")).to_have_text([word])
    await page.frame.get_by_role("searchbox").fill(word)
    await expect(page.recent.get_by_role("link")).to_contain_text(["In the archive"])
    await page.frame.get_by_role("searchbox").fill("")
    await archive(page).get_by_role("button", name=f"Actions for {word}").click()
    await page.frame.get_by_role("menuitem", name="Take out of the archive").click()
    await expect(page.recent.get_by_role("link")).to_have_count(2)
    await expect(archive(page)).to_have_text("Nothing is archived.")


async def test_the_menu_is_used_by_keyboard_and_gives_the_focus_back(
    app: Served, people: People
) -> None:
    page = await with_chats(people, app, "one", "two")
    opener = page.recent.get_by_role("button", name="Actions for one")
    await opener.focus()
    await opener.press("Enter")
    keyboard = page.page.keyboard
    await expect(page.frame.get_by_role("menuitem", name="Rename")).to_be_focused()
    await keyboard.press("ArrowUp")
    await expect(page.frame.get_by_role("menuitem", name="Delete")).to_be_focused()
    await keyboard.press("Escape")
    await expect(opener).to_be_focused()
    await keyboard.press("Enter")
    for _ in range(2):
        await keyboard.press("ArrowDown")
    await keyboard.press("Enter")
    await expect(page.recent.get_by_role("combobox", name="Folder")).to_be_focused()
    await keyboard.type("Work")
    await keyboard.press("Enter")
    await expect(links(page, "Work")).to_have_text(["one"])
    await expect(opener).to_be_focused()


async def test_other_tabs_of_the_browser_draw_what_one_changes(app: Served, people: People) -> None:
    page = await with_chats(people, app, "one")
    other = await (await people.tab_in(page.page.context, app)).open()
    await act(page, "one", "Pin")
    await expect(links(other, "Pinned")).to_have_text(["one"])
    await page.begin_anew()
    await page.ask("two")
    await expect(other.recent.get_by_role("link")).to_have_text(["one", "two"])
