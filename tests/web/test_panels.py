"""The parts around the chat: accounts that are connected, and what answers took."""

import re

import pytest
from playwright.async_api import Locator, ViewportSize, expect

from memory.manager import ConversationMemoryManager
from memory.records import new_conversation_id, utcnow
from tests.doubles.composio_server import Composio
from tests.harness import Served
from tests.web.chat_page import ChatPage
from tests.web.conftest import WIDE, People
from tests.web.test_looks import NARROW, _fits, _picture, _readable
from tests.web.test_xss import _owner

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

SIZES = pytest.mark.parametrize("size", [WIDE, NARROW], ids=["1280", "390"])
SCHEMES = pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])


# -- accounts ------------------------------------------------------------------------------------


def panel(page: ChatPage) -> Locator:
    return page.frame.locator("details.cmw-connections")


def app_row(page: ChatPage, name: str) -> Locator:
    return panel(page).get_by_role("listitem").filter(has_text=name)


async def open_panel(page: ChatPage) -> None:
    await page.open_sidebar()
    await panel(page).get_by_text("Connections").click()
    await expect(app_row(page, "Asana")).to_have_count(1)


async def come_back(page: ChatPage) -> None:
    """Let the window get the focus, as after a visit of another tab."""
    await page.frame.evaluate("window.dispatchEvent(new FocusEvent('focus'))")


async def test_each_connects_and_disconnects_an_account_of_their_own(
    connecting: Served, composio: Composio, people: People
) -> None:
    alice, bob = await people.open(connecting), await people.open(connecting)
    for page in (alice, bob):
        await open_panel(page)
        await expect(app_row(page, "Asana")).to_contain_text("Not connected")
        await expect(app_row(page, "Clock")).to_contain_text("No account needed")
        await expect(app_row(page, "Clock").get_by_role("button")).to_have_count(0)
    links, asked = [], len(composio.to("POST /connected_accounts/link"))
    for page in (alice, bob):
        await panel(page).get_by_role("button", name="Connect Asana").press("Enter")
        link = panel(page).get_by_role("link", name="Continue to Asana in a new tab")
        await expect(link).to_be_focused()
        await expect(link).to_have_attribute("target", "_blank")
        await expect(link).to_have_attribute("rel", "noopener")
        links.append(await link.get_attribute("href"))
    assert len(set(links)) == 2
    assert all(str(link).startswith("https://connect.composio.dev/link/") for link in links)
    hers, his = [
        call.body["user_id"] for call in composio.to("POST /connected_accounts/link")[asked:]
    ]
    composio.connect(hers)
    for page, state in ((alice, "Connected"), (bob, "Waiting")):
        await come_back(page)
        await expect(app_row(page, "Asana")).to_contain_text(state)
    composio.connect(his)
    await alice.frame.get_by_role("button", name="Disconnect Asana").click()
    await panel(alice).get_by_role("button", name="Keep Asana").click()
    assert hers in {account.user_id for account in composio.accounts.values()}
    await alice.frame.get_by_role("button", name="Disconnect Asana").click()
    await panel(alice).get_by_role("button", name="Disconnect Asana for good").click()
    await expect(panel(alice).get_by_role("status")).to_have_text("Asana was disconnected.")
    await expect(app_row(alice, "Asana")).to_contain_text("Not connected")
    await come_back(bob)
    await expect(app_row(bob, "Asana")).to_contain_text("Connected")


async def test_nothing_is_asked_before_the_panel_is_opened(
    connecting: Served, app: Served, composio: Composio, people: People
) -> None:
    before = len(composio.to("GET /connected_accounts"))
    asked: list[str] = []
    page = await people.tab(connecting)
    page.page.on("request", lambda request: asked.append(request.url))
    await page.open()
    await page.open_sidebar()
    await expect(panel(page)).to_be_visible()
    await come_back(page)
    assert not [url for url in asked if url.endswith("/connections")]
    assert len(composio.to("GET /connected_accounts")) == before
    await open_panel(page)
    assert [url for url in asked if url.endswith("/connections")]
    await page.open_sidebar()
    other = await people.open(app)
    await other.open_sidebar()
    await expect(panel(other)).to_have_count(0)


async def test_a_failure_is_told_in_the_panel(
    connecting: Served, composio: Composio, people: People
) -> None:
    page = await people.open(connecting)
    await open_panel(page)
    composio.redirect, kept = "https://evil.example/{token}", composio.redirect
    people.watch.expects("502")
    try:
        await panel(page).get_by_role("button", name="Connect Asana").click()
        await expect(panel(page).get_by_role("status")).to_contain_text("(error ")
    finally:
        composio.redirect = kept
    await expect(panel(page).get_by_role("button", name="Connect Asana")).to_be_enabled()
    await expect(panel(page).get_by_role("link")).to_have_count(0)


@SCHEMES
async def test_a_link_to_connect_looks_like_a_button(
    dark: bool, app: Served, people: People
) -> None:
    page = await people.open(app, dark=dark)
    await page.ask(
        "[Connect Asana](https://connect.composio.dev/link/lk_1) [other](https://connect.example/)"
    )
    link = page.answers.get_by_role("link", name="Connect Asana")
    await expect(link).to_have_css("color", "rgb(255, 255, 255)")
    await expect(link).to_have_css("display", "inline-block")
    await expect(link).to_have_attribute("rel", re.compile("noopener"))
    other = page.answers.get_by_role("link", name="other")
    await expect(other).to_have_css("display", "inline")
    await _readable(page)


@SIZES
@SCHEMES
async def test_the_accounts_fit_and_can_be_read(
    size: ViewportSize, dark: bool, connecting: Served, composio: Composio, people: People
) -> None:
    page = await people.open(connecting, viewport=size, dark=dark)
    await open_panel(page)
    await panel(page).get_by_role("button", name="Connect Asana").click()
    await expect(panel(page).get_by_role("link")).to_be_visible()
    await _readable(page)
    shape = f"{size['width']}-{'dark' if dark else 'light'}"
    await panel(page).get_by_role("status").scroll_into_view_if_needed()
    await _picture(page, f"connections-link-{shape}")
    composio.connect(composio.to("POST /connected_accounts/link")[-1].body["user_id"])
    await come_back(page)
    await panel(page).get_by_role("button", name="Disconnect Asana").click()
    await panel(page).get_by_role("button", name="Keep Asana").scroll_into_view_if_needed()
    await _readable(page)
    await _picture(page, f"connections-sure-{shape}")
    wide = await page.frame.evaluate("document.documentElement.scrollWidth > innerWidth")
    assert not wide


# -- what answers took -------------------------------------------------------------------------------


async def stored(
    app: Served, page: ChatPage, conversation: str, *numbers: tuple[int | None, int | None]
) -> None:
    """Store an answer in the page's name for each pair of tokens and millionths of a dollar."""
    kept: ConversationMemoryManager = app.application.runtime.kept
    owner = await _owner(page)
    for number, (tokens, cost) in enumerate(numbers):
        ticket = await kept.begin_turn(owner, conversation, "more", key=f"k{number}", create=True)
        await kept.finish_turn(
            owner,
            ticket.turn_id,
            status="complete",
            content="yes",
            tool_calls=[],
            tokens_used=tokens,
            latency_ms=1,
            model_used="m",
            error_id=None,
            cost_micros=cost,
        )


async def test_what_an_answer_took_stands_below(
    demo: Served, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = utcnow()
    # No midnight comes in between.
    monkeypatch.setattr(demo.application.runtime.history, "_clock", lambda: now)
    page = await people.open(demo)
    line = page.frame.locator("#cmw-foot .cmw-usage")
    await expect(line).to_be_hidden()
    conversation = new_conversation_id()
    await stored(demo, page, conversation, (1_798, 1_700), (512, None), (512, 400))
    await page.open(f"?c={conversation}")
    await expect(line).to_have_text(
        "This answer 512 tokens, $0.0004 · this chat 2,822, $0.0021 · today 2,822, $0.0021"
    )
    await _readable(page)
    await _fits(page)
    asked: list[str] = []
    page.page.on("request", lambda request: asked.append(request.url))
    await page.ask("My name is Alice")
    await expect(line).not_to_contain_text("This answer 512 tokens")
    await expect(line).to_contain_text(re.compile(r"^This answer \d+ tokens · this chat 2,8\d\d"))
    assert len([url for url in asked if "/usage?" in url]) == 1
    await page.new_chat.click()
    await expect(line).to_be_hidden()
    assert len([url for url in asked if "/usage?" in url]) == 1


async def test_where_there_is_no_number_there_is_no_line(demo: Served, people: People) -> None:
    page = await people.open(demo)
    conversation = new_conversation_id()
    await stored(demo, page, conversation, (None, None))
    async with page.page.expect_response(lambda found: "/usage?" in found.url) as answer:
        await page.open(f"?c={conversation}")
    assert (await (await answer.value).json())["answer"] == {"tokens": 0, "cost": None}
    await expect(page.questions).to_have_count(1)
    line = page.frame.locator("#cmw-foot .cmw-usage")
    await expect(line).to_be_hidden()
    await expect(line).to_be_empty()
