"""Every case by the page's events: what is shown and stored."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from functools import partial

import pytest
import pytest_asyncio

from tests.harness import Browser, canary, last_text, texts
from tests.hostile.endpoints import cases
from tests.hostile.endpoints.case import Case
from tests.hostile.endpoints.house import House, Player, opened

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def played(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Player]:
    async with (
        opened(tmp_path_factory.mktemp("replies"), cases.ALL) as house,
        contextlib.aclosing(Player(partial(_play, house), cases.ALL)) as player,
    ):
        yield player


@pytest.mark.parametrize("case", cases.ALL, ids=lambda case: case.name)
async def test_a_reply_reaches_the_page_as_what_it_is(played: Player, case: Case) -> None:
    await played.result(case)


async def _play(house: House, case: Case) -> None:
    secret = canary()
    async with Browser(house.app.url) as browser, asyncio.timeout(60):
        tab = browser.tab(query=f"?agent={case.name}")
        await tab.open()
        event = await tab.send(f"Please {secret}")
        assert event.error is None
        shown = texts(event.value, "assistant")
        for paragraph in filter(None, case.text.split("\n\n")):
            assert any(paragraph in text for text in shown)
        assert len(house.requests_of(case, secret)) == case.requests
        if case.status != "complete" or case.notice:
            assert case.notice.lower() in last_text(event.value).lower()
        if case.status != "complete":
            assert "error `" in last_text(event.value)
        for text in shown:
            for mark in ("<think", "tool_call>"):
                assert mark not in text or mark in case.text or mark in (case.thinking or "")
    house.check_stored(case, secret)
