"""Takes the README's picture of the page: ``python -m tests.web.picture``."""

import asyncio
import re
import tempfile
from pathlib import Path

from playwright.async_api import async_playwright, expect

from tests.harness import served, settings_for
from tests.programs import chromium
from tests.web.chat_page import ChatPage
from tests.web.conftest import ARGUMENTS, WIDE

PICTURE = Path(__file__).parents[2] / "docs" / "page.png"
EARLIER = ("Ideas for a rainy Sunday", "What time is it in Reykjavik?", "What is 12 * 480 / 100?")
SHOWN = ("My name is Alice", "What is 17.5 * (3 + 4)?")


async def take(path: Path) -> None:
    """Write the picture of a short conversation with the demo model to `path`."""
    with tempfile.TemporaryDirectory() as folder:
        async with served(settings_for(Path(folder))) as app, async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
            tab = await browser.new_page(viewport=WIDE, reduced_motion="reduce")
            page = await ChatPage(tab, app.url).open()
            for text in EARLIER:
                await page.ask(text)
                await page.new_chat.click()
                await expect(page.questions).to_have_count(0)
            for text in SHOWN:
                await page.ask(text)
            await page.frame.get_by_role("button", name=re.compile("calculate")).click()
            await page.answers.last.scroll_into_view_if_needed()
            await page.box.focus()
            await tab.mouse.move(5, 795)
            await tab.screenshot(path=path, animations="disabled")
            await browser.close()


if __name__ == "__main__":
    asyncio.run(take(PICTURE))
