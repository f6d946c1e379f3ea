"""The page in a browser while its replica dies, and while the next one is drained."""

import os
import re
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import expect

from tests.contract.conftest import postgres_server
from tests.harness import API
from tests.processes import Process
from tests.redis import redis_url
from tests.replicas.world import ASKED, HELD, PART, Replicas, house
from tests.web.chat_page import ChatPage
from tests.web.conftest import People, browser, people, playwright

__all__ = ["browser", "people", "playwright", "postgres_server", "redis_url"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL"),
]


@pytest_asyncio.fixture(loop_scope="module")
async def world(tmp_path: Path, postgres_server: str, redis_url: str) -> AsyncIterator[Replicas]:
    folder = tmp_path / f"page_{secrets.token_hex(4)}"
    folder.mkdir()
    async with house(folder, postgres_server, redis_url) as made:
        yield made


async def its_replica(world: Replicas, page: ChatPage, replicas: Sequence[Process]) -> Process:
    """Return the replica to which nginx leads a page."""

    async def app_id(url: str) -> object:
        answer = await page.page.request.get(f"{url}{API}/app_id")
        return await answer.json()

    found = [await app_id(world.direct(number)) for number in range(len(replicas))]
    return replicas[found.index(await app_id(world.url))]


async def test_the_page_goes_on_by_itself_at_another_replica(
    world: Replicas, people: People
) -> None:
    people.watch.tolerates("net::ERR", "uncaught", "error:", "http 50[24]")
    async with world.replica(0) as first, world.replica(1) as second:
        page = await people.at(world.url)
        await page.ask("hello")
        await page.write(f"{HELD} until the end")
        await world.endpoint.wait_held("until the end")
        await expect(page.answers.last).to_have_text(PART.strip())
        await (await its_replica(world, page, [first, second])).kill()
        await world.hold_leases()
        # It has opened its conversation again, and reads what is stored until the lease ends.
        await expect(page.questions).to_have_text(["hello", f"{HELD} until the end"])
        await expect(page.answers.last).to_have_text(PART.strip())
        await expect(page.stop).to_be_visible()
        await world.let_leases_end()
        await page.settled()
        await expect(page.answers.last).to_contain_text(re.compile("stopped before its end"))
        await page.button("Retry").click()
        await world.endpoint.wait_held("until the end")
        world.endpoint.release("until the end")
        await page.settled()
        await expect(page.answers.last).to_contain_text("You said: held until the end")


async def test_the_page_does_not_notice_a_drained_replica(world: Replicas, people: People) -> None:
    async with world.replica(0) as first, world.replica(1) as second:
        page = await people.at(world.url)
        await page.write(f"{HELD} for a while")
        await world.endpoint.wait_held("for a while")
        drained = await its_replica(world, page, [first, second])
        os.kill(drained.pid, signal.SIGTERM)
        await world.until_draining([first, second].index(drained))
        world.endpoint.release("for a while")
        await page.settled()
        assert await drained.code() == 0
        await page.ask("and on")
        await expect(page.questions).to_have_text([f"{HELD} for a while", "and on"])
        await expect(page.toast).to_have_count(0)
        # The page asks for the list and the use after each answer; the replicas outlive it.
        await people.leave()


async def at_both(world: Replicas, people: People, text: str) -> tuple[ChatPage, ChatPage]:
    """Return a page of the first replica that has sent a message, and a page of the same user and
    conversation at the second one."""
    page = await people.at(world.direct(0))
    await page.write(text)
    conversation = await page.named()
    return page, await people.same_user(page, world.direct(1), f"?c={conversation}")


async def decided(
    world: Replicas, people: People, answer: str, outcome: str
) -> tuple[ChatPage, ChatPage]:
    """Answer a question at the replica that does not write; return the pages of both."""
    page, other = await at_both(world, people, f"{ASKED} {answer}")
    for one in (page, other):
        question = one.frame.get_by_role("heading", name="list_schedules wants")
        await expect(question).to_be_visible()
    await other.frame.get_by_role("button", name=answer, exact=True).click()
    for one in (page, other):
        await one.settled()
        await expect(one.answers.last).to_contain_text(f"The tool {outcome}.")
        await expect(one.frame.get_by_role("heading", name="list_schedules")).to_have_count(0)
    return page, other


async def test_a_page_follows_and_decides_what_happens_at_the_other_replica(
    world: Replicas, people: People
) -> None:
    async with world.replica(0), world.replica(1):
        await decided(world, people, "Approve", "ran")
        page, other = await decided(world, people, "Deny", "did not run")
        await page.ask("hello")
        await expect(other.questions).to_have_text([f"{ASKED} Deny", "hello"])
        await expect(other.answers.last).to_contain_text("You said: hello")
        page, other = await at_both(world, people, f"{HELD} for ever")
        await world.endpoint.wait_held("for ever")
        await expect(other.stop).to_be_visible()
        await other.open_sidebar()
        await other.recent.get_by_role("button", name=f"Actions for {HELD}").click()
        await other.frame.get_by_role("menuitem", name="Delete").click()
        await world.until("SELECT NOT EXISTS (SELECT FROM agent_turns WHERE state = 'running')")
        await page.left()
        await people.leave()
