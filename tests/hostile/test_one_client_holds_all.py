"""One client with many cookies gets at most its share of each kind of resource."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from cmw_agent.chat.approval_registry import ApprovalRegistry
from cmw_agent.identity.principals import Principal
from cmw_agent.limits.budgets import Budget, BudgetFullError, Budgets
from cmw_agent.limits.limiter import RateLimitError
from cmw_agent.web.gradio_transport.mailboxes import EventBuffers
from cmw_agent.web.security.route_allowlist import API
from tests.harness import Browser, RefusedError, browser_hash, last_text, served, settings_for
from tests.isolation.world import app_with_model
from tests.service import wait_until

ONE, OTHER = "127.0.0.2", "127.0.0.3"


def browser(url: str, address: str, *, cookies: bool = True) -> Browser:
    """A browser at an address of this machine."""
    connector = aiohttp.TCPConnector(limit=0, local_addr=(address, 0))
    return Browser(url, cookies=cookies, connector=connector)


def visitor(name: str, kind: str = "visitor") -> Principal:
    return Principal(name, kind)  # type: ignore[arg-type]


def mailboxes(per_owner: int, per_network: int, total: int) -> EventBuffers:
    budget = Budget("mailboxes", "open pages", per_owner, per_network, total)
    return EventBuffers(Budgets({"mailboxes": budget}))


async def test_turns_of_many_cookies_at_one_address_leave_room_for_others(tmp_path: Path) -> None:
    async with (
        app_with_model(tmp_path, "gated-0", max_turns=4, address_share=0.5) as here,
        contextlib.AsyncExitStack() as stack,
    ):
        running = []
        for _ in range(2):
            tab = await (await stack.enter_async_context(browser(here.url, ONE))).open()
            running.append(asyncio.create_task(tab.send("mine")))
        await here.endpoint.wait_held(count=2)
        third = await (await stack.enter_async_context(browser(here.url, ONE))).open()
        with pytest.raises(RefusedError, match="Your network has too many answers") as refusal:
            await third.send("one more")
        assert refusal.value.status == 429
        other = await (await stack.enter_async_context(browser(here.url, OTHER))).open()
        answer = asyncio.create_task(other.send("hello"))
        await here.endpoint.wait_held(count=3)
        here.endpoint.release_all()
        assert last_text((await answer).value) == "You said: hello"
        await asyncio.gather(*running)
        await wait_until(lambda: not here.app.application.runtime.budgets.used("turns"))


async def test_open_questions_of_one_address_leave_room_for_others() -> None:
    budget = Budget("approvals", "open questions", 10, 2, 4)
    budgets = Budgets({"approvals": budget})
    approvals = ApprovalRegistry(60, budgets)
    waits = [
        asyncio.create_task(approvals.ask(f"v{n}", "c", "call", "T", {}, ONE)) for n in range(2)
    ]
    await wait_until(lambda: len(approvals) == 2)
    with pytest.raises(RateLimitError, match="Your network has too many open questions"):
        await approvals.ask("v3", "c", "call", "T", {}, ONE)
    waits.append(asyncio.create_task(approvals.ask("v4", "c", "call", "T", {}, OTHER)))
    await wait_until(lambda: len(approvals) == 3)
    for number, task in zip((0, 1, 4), waits, strict=True):
        (waiting,) = approvals.pending(f"v{number}", "c")
        approvals.answer(f"v{number}", "c", waiting.approval_id, "denied", None)
        assert (await task).answer == "denied"
    assert not budgets.used("approvals")


async def test_heartbeats_of_one_visitor_and_of_one_address_are_bounded(tmp_path: Path) -> None:
    answers: list[aiohttp.ClientResponse] = []

    async def held(http: aiohttp.ClientSession, url: str) -> int:
        answer = await http.get(f"{url}{API}/heartbeat/{browser_hash()}")
        answers.append(answer)  # and it stays open as long as the browser does
        return answer.status

    settings = settings_for(tmp_path, max_sessions=200, address_share=0.5)
    async with served(settings) as app, browser(app.url, ONE) as first:
        budgets = app.application.runtime.budgets
        answers.append(await first.http.get(app.url))
        found = [await held(first.http, app.url) for _ in range(51)]
        assert found == [200] * 50 + [429]
        async with browser(app.url, ONE, cookies=False) as crowd:
            found = [await held(crowd.http, app.url) for _ in range(51)]
            assert found == [200] * 50 + [429]
            async with browser(app.url, OTHER) as other:
                assert await held(other.http, app.url) == 200
        await wait_until(lambda: budgets.used("heartbeats") == 50)
        for answer in answers:
            answer.close()


def test_mailboxes_of_one_network_leave_room_for_others() -> None:
    boxes = mailboxes(50, 4, 8)
    for number in range(4):
        boxes.open(f"k{number}", visitor(f"v{number}"), ONE).reader = object()
    with pytest.raises(RateLimitError, match="Your network has too many open pages"):
        boxes.open("k5", visitor("v5"), ONE)
    boxes.open("k6", visitor("v6"), OTHER)


def test_a_flood_pushes_out_nothing_of_other_networks() -> None:
    boxes = mailboxes(50, 4, 8)
    kept = [boxes.open(f"o{number}", visitor(f"e{number}", "ephemeral"), OTHER) for number in "ab"]
    for number in range(100):
        boxes.open(f"k{number}", visitor(f"f{number}", "ephemeral"), ONE)
    assert [boxes.get("oa"), boxes.get("ob")] == kept
    assert len(boxes) == 5  # no more than what stays free: 3 and 3 of 8, beside the others' 2


def test_a_full_app_takes_from_the_network_that_has_most_for_one_that_has_none() -> None:
    boxes = mailboxes(50, 6, 8)
    for number in range(6):
        boxes.open(f"k{number}", visitor(f"e{number}", "ephemeral"), ONE)
    for number, address in ((6, "192.0.2.6"), (7, "192.0.2.7")):
        boxes.open(f"k{number}", visitor(f"e{number}", "ephemeral"), address)
    boxes.open("new", visitor("v1"), "192.0.2.8")
    assert boxes.get("k0") is None
    assert boxes.get("k6") is not None
    assert boxes.get("k7") is not None


def test_nobody_makes_room_who_is_read_or_has_one_page_alone() -> None:
    boxes = mailboxes(50, 2, 2)
    boxes.open("a", visitor("v1"), "192.0.2.1")
    boxes.open("b", visitor("v2"), "192.0.2.2").reader = object()
    with pytest.raises(BudgetFullError, match="The app has too many open pages"):
        boxes.open("c", visitor("v3"), "192.0.2.3")


def test_what_was_dropped_is_free_again() -> None:
    boxes = mailboxes(50, 1, 2)
    for number in range(5):
        key = f"k{number}"
        box = boxes.open(key, visitor(f"v{number}"), ONE)
        assert boxes.open(key, visitor(f"v{number}"), ONE) is box
        boxes.drop(key, box)
    assert not len(boxes)


@pytest.fixture
async def page(tmp_path: Path) -> AsyncIterator[str]:
    settings = settings_for(tmp_path, turns_per_address=3, address_share=0.5)
    async with served(settings) as app:
        yield app.url


async def test_new_visitors_of_one_address_are_bounded_and_the_page_still_works(page: str) -> None:
    for _ in range(3):
        async with browser(page, ONE) as one, one.http.get(page) as answer:
            assert "set-cookie" in answer.headers
    async with browser(page, ONE) as crowded:
        async with crowded.http.get(page) as answer:
            assert answer.status == 200
            assert "set-cookie" not in answer.headers
        async with crowded.http.get(f"{page}/visitor") as answer:
            visitor = await answer.json()
            assert (visitor["cookie"], visitor["token"], visitor["name"]) == (False, None, None)
        tab = await crowded.open()
        assert (await tab.send("hello")).error is None
    async with browser(page, OTHER) as other, other.http.get(page) as answer:
        assert "set-cookie" in answer.headers


async def test_who_is_known_already_is_no_new_visitor(page: str) -> None:
    async with browser(page, ONE) as known:
        for _ in range(10):
            async with known.http.get(page) as answer:
                assert answer.status == 200
        async with browser(page, ONE) as new, new.http.get(page) as answer:
            assert "set-cookie" in answer.headers
