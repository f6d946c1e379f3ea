"""The panels around the chat: connected accounts and token usage."""

import re
from urllib.parse import urljoin

import pytest
from playwright.async_api import Locator, ViewportSize, expect

from memory.manager import ConversationMemoryManager
from memory.records import ConversationOrigin, NewTurn, new_conversation_id, utcnow
from tests.accounts import TICKET, last_link
from tests.doubles.composio_server import Composio, Reply
from tests.harness import Served
from tests.web.chat_page import ChatPage
from tests.web.conftest import WIDE, People
from tests.web.connecting import connect, play_composio, text_of
from tests.web.test_looks import NARROW, _picture, _readable
from tests.web.test_xss import _owner

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

SIZES = pytest.mark.parametrize("size", [WIDE, NARROW], ids=["1280", "390"])
SCHEMES = pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])


# -- accounts ------------------------------------------------------------------------------------


def panel(page: ChatPage) -> Locator:
    return page.frame.locator(".cmw-connections")


def app_row(page: ChatPage, name: str) -> Locator:
    return panel(page).get_by_role("listitem").filter(has_text=name)


async def open_panel(page: ChatPage) -> None:
    await page.open_settings("Connections")
    await expect(app_row(page, "Asana")).to_have_count(1)


async def test_of_two_accounts_one_is_chosen_and_each_is_disconnected_by_itself(
    connecting: Served, composio: Composio, people: People
) -> None:
    alice = await people.open(connecting)
    await open_panel(alice)
    await panel(alice).get_by_role("button", name="Connect Asana").press("Enter")
    user = ""
    for is_first in (True, False):
        link = panel(alice).get_by_role("link", name="Continue to Asana in a new tab")
        user = await connect(alice, composio, await link.get_attribute("href"))
        await come_back(alice)
        add = panel(alice).get_by_role("button", name="Add another account of Asana")
        await expect(add).to_be_visible()
        if is_first:
            await add.press("Enter")
    assert len([one for one in composio.accounts.values() if one.user_id == user]) == 2
    accounts = panel(alice).get_by_role("list", name="Accounts of Asana")
    first = accounts.get_by_role("radio", name="Asana", exact=True)
    second = accounts.get_by_role("radio", name="Asana 2")
    await expect(second).to_be_checked()
    await first.check()
    await expect(panel(alice).get_by_role("status")).to_have_text("Asana is used from now on.")
    await expect(first).to_be_focused()
    await alice.reload()
    await alice.open_settings("Connections")
    await expect(first).to_be_checked()
    await expect(second).not_to_be_checked()
    await accounts.get_by_role("button", name="Disconnect Asana", exact=True).click()
    await accounts.get_by_role("button", name="Disconnect Asana for good").click()
    await expect(panel(alice).get_by_role("status")).to_have_text("Asana was disconnected.")
    await expect(accounts).to_have_count(0)
    assert len([one for one in composio.accounts.values() if one.user_id == user]) == 1


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
    links = []
    for page in (alice, bob):
        await panel(page).get_by_role("button", name="Connect Asana").press("Enter")
        link = panel(page).get_by_role("link", name="Continue to Asana in a new tab")
        await expect(link).to_be_focused()
        await expect(link).to_have_attribute("target", "_blank")
        await expect(link).to_have_attribute("rel", "noopener")
        links.append(await link.get_attribute("href"))
    assert len(set(links)) == 2
    assert all(TICKET.fullmatch(str(link)) for link in links)
    # She follows hers to the end, in a tab of its own; he has only begun his.
    people.watch.expects("foreign: https://connect.composio.dev/link/")
    await play_composio(alice, composio)
    async with alice.page.context.expect_page() as opening:
        await panel(alice).get_by_role("link", name="Continue to Asana in a new tab").click()
    told = await text_of(await opening.value)
    assert told.startswith("Asana is connected")
    hers = last_link(composio).body["user_id"]
    began = await bob.page.context.request.get(
        urljoin(bob.page.url, str(links[1])), max_redirects=0
    )
    assert began.status == 303
    for page, state in ((alice, "Connected"), (bob, "Waiting")):
        await come_back(page)
        await expect(app_row(page, "Asana")).to_contain_text(state)
    call = last_link(composio)
    composio.connect(call.body["user_id"])
    # What she brings back of his connects nothing, and ends it.
    stray = await alice.page.context.request.get(call.body["callback_url"])
    assert stray.status == 404
    await come_back(bob)
    await expect(app_row(bob, "Asana")).to_contain_text("Not connected")
    await bob.reload()
    await open_panel(bob)
    await panel(bob).get_by_role("button", name="Connect Asana").press("Enter")
    again = panel(bob).get_by_role("link", name="Continue to Asana in a new tab")
    await connect(bob, composio, await again.get_attribute("href"))
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
    await page.open_settings()
    await come_back(page)
    assert not [url for url in asked if url.endswith("/connections")]
    assert len(composio.to("GET /connected_accounts")) == before
    await open_panel(page)
    assert [url for url in asked if url.endswith("/connections")]
    other = await people.open(app)
    await other.open_settings()
    await expect(other.frame.get_by_role("tab", name="My data")).to_be_visible()
    await expect(other.frame.get_by_role("tab", name="Connections")).to_have_count(0)


async def test_a_failure_is_told_in_the_panel(
    connecting: Served, composio: Composio, people: People
) -> None:
    page = await people.open(connecting)
    await open_panel(page)
    people.watch.expects("502")
    composio.answer("GET /connected_accounts", Reply(400, {"error": {"message": "a secret"}}))
    await come_back(page)
    await expect(panel(page).get_by_role("status")).to_contain_text("(error ")
    await expect(panel(page).get_by_role("status")).not_to_contain_text("a secret")
    await expect(panel(page).get_by_role("button", name="Connect Asana")).to_be_enabled()
    await expect(panel(page).get_by_role("link")).to_have_count(0)


@SCHEMES
async def test_the_link_that_the_app_itself_gives_looks_like_a_button(
    dark: bool, connecting: Served, people: People
) -> None:
    page = await people.open(connecting, dark=dark)
    await page.ask("/connect asana")
    link = page.log.get_by_role("link", name="Connect your account")
    await expect(link).to_be_visible()
    await expect(link).to_have_css("color", "rgb(255, 255, 255)")
    await expect(link).to_have_css("display", "inline-block")
    await expect(link).to_have_attribute("href", TICKET)
    await _readable(page)
    await _picture(page, f"connect-button-{'dark' if dark else 'light'}")


TEXTS = (
    "[Connect 1](https://connect.composio.dev/link/lk_1)",
    "[Connect 2](https://connect&#46;composio.dev/link/lk_2)",
    "[Connect 3](https://x:y@CONNECT.composio.dev./link/lk_3)",
    "[Connect 4](https:\\\\connect.composio.dev/link/lk_4)",
    "[Connect 5](//connect.composio.dev/link/lk_5)",
    "<a href='https://connect%2ecomposio.dev/link/lk_6'>Connect 6</a>",
    "[Connect 7][a]\n\n[a]: https://connect.composio.dev/link/lk_7",
    f"[Connect your account 8](connections/connect?ticket={'a' * 43})",
    f"<div class='thought-group'><a href='/connections/connect?ticket={'a' * 43}'>Connect 9</a></div>",
)


async def test_no_text_draws_a_link_that_connects(connecting: Served, people: People) -> None:
    page = await people.open(connecting)
    await page.ask("\n\n".join(("[other](https://connect.example/)", *TEXTS)))
    await expect(page.answers.last.get_by_role("link", name="other")).to_have_count(1)
    await expect(page.log.get_by_role("link", name=re.compile("Connect"))).to_have_count(0)
    followed = "a => ['connect.composio.dev', 'connect.composio.dev.'].includes(a.hostname)"
    found = await page.frame.evaluate(
        f"[...document.querySelectorAll('a')].filter({followed}).length"
    )
    assert found == 0


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
    await connect(page, composio, await panel(page).get_by_role("link").get_attribute("href"))
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
    kept: ConversationMemoryManager = app.application.runtime.memory
    owner = await _owner(page)
    for number, (tokens, cost) in enumerate(numbers):
        ticket = await kept.begin_turn(
            owner, NewTurn(conversation, "more", key=f"k{number}", origin=ConversationOrigin())
        )
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


async def test_use_and_costs_stand_in_the_settings_and_not_at_the_chat(
    demo: Served, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = utcnow()
    # No midnight comes in between.
    monkeypatch.setattr(demo.application.runtime.history, "_clock", lambda: now)
    page = await people.open(demo)
    asked: list[str] = []
    page.page.on("request", lambda request: asked.append(request.url))
    conversation = new_conversation_id()
    await stored(demo, page, conversation, (1_798, 1_700), (512, None), (512, 400))
    await page.open(f"?c={conversation}")
    await expect(page.questions).to_have_count(3)
    assert not [url for url in asked if "/usage?" in url]
    usage = await page.open_settings("Use and costs")
    await expect(usage.get_by_role("row")).to_have_text(
        ["Last answer512 tokens$0.0004", "This chat2,822 tokens$0.0021", "Today2,822 tokens$0.0021"]
    )
    await _readable(page)


async def test_where_nothing_was_used_no_number_stands(demo: Served, people: People) -> None:
    page = await people.open(demo)
    usage = await page.open_settings("Use and costs")
    await expect(usage.get_by_role("row")).to_have_text(["Today–"])
