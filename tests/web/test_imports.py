"""Imports in a browser: they go on when the page goes, and say how far they are."""

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Locator, expect

from memory.engine.scopes import EVERYONE
from memory.engine.sqlite import SqliteDatabase
from tests.harness import WAIT, Served
from tests.web.chat_page import ChatPage
from tests.web.conftest import People

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]


@contextlib.asynccontextmanager
async def held_writes(app: Served) -> AsyncIterator[None]:
    """Let nothing be written to the database in the block, and whoever wants to write wait."""
    gate, held = threading.Event(), asyncio.Event()
    loop, database = asyncio.get_running_loop(), app.application.runtime.services.database
    assert isinstance(database, SqliteDatabase)
    patience, database.patience_seconds = database.patience_seconds, WAIT

    def hold(_: object) -> None:
        loop.call_soon_threadsafe(held.set)
        gate.wait(WAIT)

    writing = asyncio.create_task(database.write(hold, owner=EVERYONE))
    try:
        await held.wait()
        yield
    finally:
        gate.set()
        await writing
        database.patience_seconds = patience


def export_of(folder: Path, *titles: str) -> Path:
    message = {"role": "user", "content": "a question"}
    values = [
        {"title": title, "started_at": "2020-01-01T00:00:00Z", "messages": [message]}
        for title in titles
    ]
    path = folder / "chats.json"
    path.write_text(json.dumps(values))
    return path


def panel(page: ChatPage) -> Locator:
    return page.frame.locator("#cmw-recent .cmw-import")


async def opened(people: People, app: Served) -> ChatPage:
    page = await people.open(app)
    await page.open_sidebar()
    return page


async def choose(page: ChatPage, file: Path) -> None:
    mine = await page.open_settings("My data")
    await mine.locator("input[type=file]").set_input_files(file)
    await page.close_settings()


async def test_an_import_goes_on_while_its_page_is_reloaded_and_its_result_waits(
    app: Served, people: People, tmp_path: Path
) -> None:
    page = await opened(people, app)
    running = "Importing “chats.json”: 0 conversations so far. You can close this page meanwhile."
    result = "2 conversations from this app were imported."
    async with held_writes(app):
        await choose(page, export_of(tmp_path, "first", "second"))
        await expect(panel(page).get_by_role("status")).to_have_text(running)
        await expect(panel(page).get_by_role("progressbar")).to_be_visible()
        await page.reload()
        await page.open_sidebar()
        await expect(panel(page).get_by_role("status")).to_have_text(running)
        mine = await page.open_settings("My data")
        button = page.frame.locator("#cmw-section-data button", has_text="Import conversations")
        await expect(button).to_be_disabled()
        await expect(mine.get_by_role("progressbar")).to_be_visible()
        await page.close_settings()
        stranger = await opened(people, app)
        await expect(panel(stranger)).to_be_hidden()
    await expect(panel(page).get_by_role("status")).to_have_text(result)
    await expect(page.recent.get_by_role("link")).to_have_count(2)
    await expect(button).to_be_enabled()
    await page.reload()
    await page.open_sidebar()
    await expect(panel(page).get_by_role("status")).to_have_text(result)
    await panel(page).get_by_role("button", name="OK").click()
    await expect(panel(page)).to_be_hidden()
    await page.reload()
    await page.open_sidebar()
    await expect(page.recent.get_by_role("link")).to_have_count(2)
    await expect(panel(page)).to_be_hidden()
    await choose(page, export_of(tmp_path, "first", "second"))
    await expect(panel(page).get_by_role("status")).to_have_text(
        "Nothing new: all 2 conversations from this app were here already."
    )


async def test_an_import_is_stopped_and_says_what_is_here(
    app: Served, people: People, tmp_path: Path
) -> None:
    page = await opened(people, app)
    async with held_writes(app):
        await choose(page, export_of(tmp_path, *map(str, range(50))))
        await expect(panel(page).get_by_role("status")).to_contain_text("so far")
        await panel(page).get_by_role("button", name="Stop importing").click()
        await expect(panel(page).get_by_role("button", name="Stop importing")).to_be_disabled()
    await expect(panel(page).get_by_role("status")).to_contain_text(
        "imported. The rest was not read: You stopped the import."
    )
    await page.reload()
    await page.open_sidebar()
    await expect(panel(page).get_by_role("status")).to_contain_text("You stopped the import.")


async def test_what_was_not_imported_is_listed_with_reasons(
    app: Served, people: People, tmp_path: Path
) -> None:
    page = await opened(people, app)
    values = json.loads(export_of(tmp_path, "good").read_text())
    title = "<img src=x onerror=alert(1)>"
    values.append(values[0] | {"title": title, "messages": []})
    (tmp_path / "chats.json").write_text(json.dumps(values))
    await choose(page, tmp_path / "chats.json")
    await panel(page).get_by_text("What was not imported").click()
    await expect(panel(page).get_by_role("listitem")).to_have_text([f"“{title}” has no messages"])
