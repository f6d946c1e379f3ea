"""Two tabs of one user that write at the same moment: the browser's storage has no transactions."""

import asyncio
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.doubles.openai_server import OpenAIDouble
from tests.doubles.relay import relay
from tests.harness import canary, served, settings_for
from tests.rows import messages
from tests.web.conftest import People

pytestmark = pytest.mark.asyncio(loop_scope="module")

BROKEN = ("net::ERR", "http 50[0-9]: .*/(readyz|queue/join)", "status of 50[0-9]")
EACH = 12  # messages of each tab
WRITES = """async ([word, count]) => {
    for (let number = 0; number < count; number += 1) {
        window.cmw.drafts.fill(`${word} ${number}.`);
        window.cmw.box().dispatchEvent(
            new KeyboardEvent("keydown", { key: "Enter", bubbles: true, cancelable: true }));
        await new Promise((resolve) => { setTimeout(resolve, 4 * Math.random()); });
    }
}"""


async def test_what_two_tabs_send_at_the_same_moment_is_stored_once_each(
    model: OpenAIDouble, people: People, tmp_path: Path
) -> None:
    people.watch.tolerates(*BROKEN)
    settings = settings_for(
        tmp_path, openai_base_url=model.base_url, model="stage", log_level="ERROR"
    )
    async with served(settings) as app, relay(app.url) as network:
        one = await people.at(network.url)
        two = await (await people.tab_in(one.page.context, app, network.url)).open()
        words = [canary(), canary()]
        network.cut()
        tabs = list(zip((one, two), words, strict=True))
        await asyncio.gather(*(tab.page.evaluate(WRITES, [word, EACH]) for tab, word in tabs))
        await asyncio.gather(*(expect(tab.outbox).to_have_count(EACH) for tab, _ in tabs))
        network.restore()
        for tab, word in tabs:
            written = [f"{word} {number}." for number in range(EACH)]
            await expect(tab.answers).to_have_text([f"You said: {text}" for text in written])
            await tab.settled()
            await expect(tab.outbox).to_have_count(0)
            stored = messages(tmp_path, word)
            assert [row["content"] for row in stored if row["role"] == "user"] == written
        await people.leave()
