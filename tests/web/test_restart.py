"""The process dies during an answer: the page shows the stored part and offers a retry."""

import re
import sys
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.doubles.openai_server import OpenAIDouble
from tests.ports import free_port
from tests.processes import HOUSE, started
from tests.rows import messages
from tests.service import wait_until
from tests.web.chat_page import HELD
from tests.web.conftest import People, by_message

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL"),
]


async def test_after_a_kill_and_a_restart_the_page_goes_on_where_it_was(
    people: People, tmp_path: Path
) -> None:
    port = free_port()
    async with OpenAIDouble(scripts={"stage": by_message}) as endpoint:
        settings = {
            "CMW_DATA_DIR": str(tmp_path),
            "CMW_PORT": str(port),
            "OPENAI_BASE_URL": endpoint.base_url,
            "CMW_USER_FIELD": "user",
            "CMW_MODEL": "stage",
            "CMW_SECRET_KEY": "k" * 32,
        }
        async with started(HOUSE, settings) as first:
            page = await people.at(await first.url())
            await page.ask("kept before the end")
            await page.write("[gated-3] lost in the middle")
            await endpoint.wait_held("lost")
            await expect(page.answers.last).to_have_text(HELD)
            # The partial text is stored every few seconds.
            await wait_until(lambda: "You said: [gated-3]" in stored(tmp_path))
            people.watch.tolerates("net::ERR", "uncaught", "error:")
            await first.kill()
        async with started(HOUSE, settings) as second:
            assert (await second.url()).endswith(f":{port}")
            # The page has found its server again, and loads itself.
            await expect(page.questions).to_have_text(
                ["kept before the end", "[gated-3] lost in the middle"]
            )
            await expect(page.answers.nth(1)).to_have_text(HELD)
            await expect(page.answers.last).to_contain_text(re.compile("stopped before its end"))
            await page.button("Retry").click()
            await endpoint.wait_held("lost")
            endpoint.release_all()
            await page.settled()
            await expect(page.answers.last).to_have_text("You said: [gated-3] lost in the middle")
            await page.ask("and on")


def stored(folder: Path) -> list[str]:
    return [row["content"].strip() for row in messages(folder, "lost in the middle")]
