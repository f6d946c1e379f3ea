"""An upload whose connection is cut in the midst of the file is whole in the end, and stored once."""

from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.doubles.openai_server import OpenAIDouble
from tests.doubles.relay import Link, Relay, relay
from tests.harness import canary, served, settings_for
from tests.service import wait_until
from tests.web.conftest import People
from tests.web.test_composer import attach, text_file

pytestmark = pytest.mark.asyncio(loop_scope="module")

FIRST_BYTES = 400_000  # of an upload, that pass before its connection is cut
BROKEN = ("net::ERR", "http 50[0-9]", "status of 50[0-9]")


class Cut:
    """Does something to a network once, when a part of an upload has passed through it."""

    def __init__(self, network: Relay, way: str) -> None:
        self._network = network
        self._way = way
        self._uploading: Link | None = None
        self._passed = 0
        network.watch = self._look
        self.is_done = False

    def _look(self, link: Link, data: bytes, is_up: bool) -> None:
        if is_up and data.startswith(b"POST /files"):
            self._uploading, self._passed = link, 0
        if not is_up or link is not self._uploading or self.is_done:
            return
        self._passed += len(data)
        if self._passed > FIRST_BYTES:
            self.is_done = True
            getattr(self._network, self._way)()


@pytest.mark.parametrize("way", ["cut", "freeze"])
async def test_a_file_whose_upload_is_cut_arrives_whole_and_once_with_its_message(
    way: str, model: OpenAIDouble, people: People, tmp_path: Path
) -> None:
    people.watch.tolerates(*BROKEN)
    settings = settings_for(
        tmp_path, openai_base_url=model.base_url, model="stage", log_level="ERROR"
    )
    async with served(settings) as app, relay(app.url) as network:
        page = await people.at(network.url)
        cut, secret = Cut(network, way), canary()
        await attach(page, text_file("long.txt", "words " * 150_000 + secret))
        bar = page.frame.get_by_role("progressbar", name="Uploading long.txt")
        await expect(bar).to_be_visible()
        await page.write(f"read it {secret[:8]}")
        await expect(page.outbox).to_have_count(1)
        await wait_until(lambda: cut.is_done)
        await expect(page.questions).to_have_count(0)
        network.restore()
        await expect(page.answers).to_contain_text("You said: read it")
        await page.settled()
        await expect(page.log.get_by_role("link", name="long.txt")).to_have_count(1)
        await expect(page.outbox).to_have_count(0)
        stored = [path for path in (tmp_path / "files").rglob("*") if path.is_file()]
        sizes = [path.stat().st_size for path in stored]
        assert sizes == [len("words ") * 150_000 + len(secret)], stored
        await people.leave()
