"""A page reads an answer that another replica writes, while that one dies or is drained."""

import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import expect

from tests.contract.conftest import postgres_server
from tests.harness import Browser, canary
from tests.redis import redis_url
from tests.replicas.world import HELD, PART, Replicas, house
from tests.web.chat_page import ChatPage
from tests.web.conftest import People, browser, people, playwright

__all__ = ["browser", "people", "playwright", "postgres_server", "redis_url"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL"),
]
WRITER, READER = 0, 1


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: str, redis_url: str
) -> AsyncIterator[Replicas]:
    folder = tmp_path_factory.mktemp("elsewhere") / f"elsewhere_{secrets.token_hex(4)}"
    folder.mkdir()
    async with house(folder, postgres_server, redis_url) as made:
        yield made


async def reading(world: Replicas, people: People, word: str) -> ChatPage:
    """Let one replica write an answer, up to its gate; return a page that reads it at the other."""
    page = await people.at(world.direct(READER))
    async with Browser(world.direct(WRITER)) as writer:
        # cookies know no ports, so this is another window of the page's user
        for cookie in await page.page.context.cookies():
            writer.http.cookie_jar.update_cookies({cookie["name"]: cookie["value"]})
        tab = await writer.open()
        await tab.join("send", [f"{HELD} {word}", "", "", None])
        await world.endpoint.wait_held(word)
    (row,) = await world.rows(
        "SELECT session_id FROM agent_messages WHERE content = $1", f"{HELD} {word}"
    )
    await page.open(f"?c={row['session_id']}")
    await expect(page.answers.last).to_have_text(PART.strip())
    await expect(page.stop).to_be_visible()
    return page


async def is_whole(world: Replicas, page: ChatPage, word: str, answers: list[str]) -> None:
    """Check that the message is shown and stored once, with these answers, and the page goes on."""
    await expect(page.questions).to_have_text([f"{HELD} {word}"])
    await expect(page.toast).to_have_count(0)
    stored = await world.rows(
        "SELECT role, content FROM agent_messages WHERE session_id = $1 ORDER BY seq",
        page.conversation(),
    )
    assert [row["content"] for row in stored] == [f"{HELD} {word}", *answers]
    assert len(world.endpoint.matching(word)) == 1
    await page.ask("and on")
    await expect(page.answers.last).to_have_text("You said: and on")
    await page.page.context.close()  # before its replica ends


async def test_a_page_reads_to_the_end_while_the_replica_that_writes_is_drained(
    world: Replicas, people: People
) -> None:
    word = canary()
    async with world.replica(WRITER) as writing, world.replica(READER):
        page = await reading(world, people, word)
        os.kill(writing.pid, signal.SIGTERM)
        await world.until_draining(WRITER)
        world.endpoint.release(word)
        await expect(page.answers.last).to_have_text(f"{PART}You said: {HELD} {word}")
        await page.settled()
        assert await writing.code() == 0
        await is_whole(world, page, word, [f"{PART}You said: {HELD} {word}"])


async def test_a_page_keeps_what_came_when_the_replica_that_writes_is_killed(
    world: Replicas, people: People
) -> None:
    word = canary()
    async with world.replica(WRITER) as writing, world.replica(READER):
        page = await reading(world, people, word)
        await world.hold_leases()
        await writing.kill()
        await expect(page.stop).to_be_visible()
        await expect(page.answers.last).to_have_text(PART.strip())
        await world.let_leases_end()
        await page.settled()
        await expect(page.answers).to_have_count(2)
        await expect(page.answers.first).to_have_text(PART.strip())
        await expect(page.answers.last).to_contain_text("stopped before its end")
        world.endpoint.release(word)
        await is_whole(world, page, word, [PART])
