"""axe finds nothing in any state of the page, wide and narrow, light and dark."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.async_api import Locator, ViewportSize, expect

from tests.doubles.composio_server import Composio
from tests.doubles.openai_server import OpenAIDouble
from tests.harness import Served, served, settings_for
from tests.isolation.provider import CLIENT, provider
from tests.web.axe import violations
from tests.web.chat_page import ChatPage
from tests.web.conftest import WIDE, People
from tests.web.connecting import connect
from tests.web.test_looks import NARROW
from tests.web.test_panels import app_row, come_back, open_panel, panel
from tests.web.test_questions import asking, card
from tests.web.test_shared_chats import open_dialog, sharing
from tests.web.test_widget import Web, chat_at, prepare, web

__all__ = ("sharing", "web")  # fixtures

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

SHAPES = pytest.mark.parametrize(
    ("size", "dark"),
    [(WIDE, False), (WIDE, True), (NARROW, False), (NARROW, True)],
    ids=["1280-light", "1280-dark", "390-light", "390-dark"],
)
RICH = """rich

# Heading

A paragraph with **bold**, `code`, [a link](https://example.com) and $e^{i\\pi}=-1$.

| one | two |
|-----|-----|
| 1   | `2` |

```python
def function(argument):
    return argument  # a comment
```

- [x] done
- [ ] open
  1. nested

> A quotation.

$$\\int_0^1 x^2\\,dx$$
"""


@dataclass(slots=True)
class Findings:
    """What axe has found, by the state in which it looked."""

    page: ChatPage
    lines: list[str] = field(default_factory=list)
    states: int = 0

    async def look(self, state: str) -> None:
        """Look at the page as it is."""
        self.states += 1
        self.lines += [f"{state}: {line}" for line in await violations(self.page.frame)]

    def check(self, least: int) -> None:
        """Fail where something was found, or where fewer states were looked at."""
        assert self.states >= least
        assert not self.lines, "\n".join(self.lines)


async def each_tab(page: ChatPage, findings: Findings) -> None:
    """Look at each section of the settings."""
    await page.open_settings()
    dialog = page.frame.get_by_role("dialog", name="Settings")
    for name in await dialog.get_by_role("tab").all_inner_texts():
        section = await page.open_settings(name)
        await expect(section).not_to_be_empty()
        await findings.look(f"settings, {name}")
    await page.close_settings()


def menu_of(page: ChatPage) -> Locator:
    return page.frame.locator(".cmw-more").first


@SHAPES
async def test_a_chat_in_all_its_states(
    size: ViewportSize, dark: bool, app: Served, model: OpenAIDouble, people: People
) -> None:
    page = await people.open(app, viewport=size, dark=dark)
    findings = Findings(page)
    await findings.look("empty")
    await page.write("  ")
    await expect(page.toast).to_have_css("opacity", "1")
    await findings.look("notice")
    await page.box.fill("not sent yet")
    await findings.look("draft")
    await page.ask(RICH)
    await expect(page.log.locator("math").first).to_be_attached()
    await expect(page.log.locator("pre code span").first).to_be_attached()
    await findings.look("rich answer")
    await page.ask('[tool:calculate:{"expression": "6*7"}] now')
    await page.frame.get_by_role("button", name="calculate").last.click()
    await findings.look("step open")
    await page.ask("[cut-9] an answer that breaks")
    await page.ask("[fail-401] an answer that never comes")
    await findings.look("failed answers")
    await page.button("Edit").click()
    await findings.look("editor")
    await page.log.get_by_role("textbox", name="Edit message").fill("other words")
    await page.log.get_by_role("button", name="Submit", exact=True).click()
    await page.settled()
    await expect(page.log.get_by_text("2/2", exact=True)).to_be_visible()
    await findings.look("versions")
    await page.button("Dislike").click()
    await expect(page.log.get_by_role("form")).to_be_visible()
    await findings.look("why it is disliked")
    await page.log.get_by_role("button", name="Close", exact=True).click()
    await page.write("[gated-2] held")
    await model.wait_held("held")
    await findings.look("streaming")
    await page.write("this one waits")
    await expect(page.outbox).to_have_count(1)
    await findings.look("outbox")
    await page.stop.click()
    await expect(page.outbox).to_have_count(0)
    await page.settled()
    findings.check(10)


@SHAPES
async def test_what_stands_around_the_chat(
    size: ViewportSize, dark: bool, sharing: Served, people: People
) -> None:
    page = await people.open(sharing, viewport=size, dark=dark)
    findings = Findings(page)
    keyboard = page.page.keyboard
    await page.ask("My name is Alice")
    await page.open_sidebar()
    await expect(menu_of(page)).to_be_visible()
    await findings.look("sidebar")
    await menu_of(page).click()
    await expect(page.frame.get_by_role("menu")).to_be_visible()
    await findings.look("menu of a chat")
    await page.frame.get_by_role("menuitem", name="Rename").click()
    await findings.look("renaming in the list")
    await keyboard.press("Escape")
    await page.frame.get_by_label("Search conversations").fill("alice")
    await expect(page.frame.get_by_text("Found")).to_be_visible()
    await findings.look("search")
    await page.frame.get_by_label("Search conversations").fill("")
    await page.frame.locator("summary", has_text="Archive").click()
    await findings.look("archive")
    await each_tab(page, findings)
    await open_dialog(page)
    await findings.look("share dialog")
    dialog = page.frame.get_by_role("dialog", name="Share this chat")
    await dialog.get_by_role("button", name="Make a link").click()
    address = await dialog.get_by_role("textbox", name="Link").input_value()
    await findings.look("share dialog with a link")
    await dialog.get_by_role("button", name="Close").click()
    if size is NARROW:
        await keyboard.press("Escape")
    await keyboard.press("Control+k")
    await expect(page.frame.get_by_role("option").first).to_be_visible()
    await findings.look("palette")
    await page.frame.get_by_role("combobox", name="Find a chat or an action").fill("zzzz")
    await expect(page.frame.get_by_text("Nothing was found.")).to_be_visible()
    await findings.look("palette without a hit")
    await keyboard.press("Escape")
    await page.frame.locator("#cmw-title").click()
    await findings.look("renaming in the header")
    await keyboard.press("Escape")
    await page.page.goto(address)
    await findings.look("shared page")
    await page.page.goto(sharing.url + "/offline.html")
    await expect(page.frame.get_by_role("heading", name="No connection")).to_be_attached()
    findings.check(15)


@SHAPES
async def test_approvals_and_accounts(
    size: ViewportSize, dark: bool, connecting: Served, composio: Composio, people: People
) -> None:
    page = await people.open(connecting, viewport=size, dark=dark)
    findings = Findings(page)
    await page.ask("hello")
    async with asking(connecting, page):
        await page.reload()
        await expect(card(page)).to_be_visible()
        await findings.look("approval")
    await open_panel(page)
    await findings.look("accounts")
    await panel(page).get_by_role("button", name="Connect Asana").click()
    link = panel(page).get_by_role("link")
    await expect(link).to_be_visible()
    await findings.look("account on its way")
    await connect(page, composio, await link.get_attribute("href"))
    await come_back(page)
    await expect(app_row(page, "Asana")).to_contain_text("Connected")
    await panel(page).get_by_role("button", name="Disconnect Asana").click()
    await findings.look("account, before it is disconnected")
    findings.check(4)


@SHAPES
async def test_sign_in_and_consent(
    size: ViewportSize, dark: bool, people: People, tmp_path: Path
) -> None:
    async with provider() as there:
        settings = settings_for(
            tmp_path,
            openid_provider_url=there,
            oauth_client_id=CLIENT,
            oauth_client_secret="not-told-to-anyone",
        )
        people.watch.origins |= {there, "https://cdn.jsdelivr.net"}
        people.watch.tolerates("cdn.jsdelivr.net", "net::ERR", there)
        async with served(settings) as app:
            page = await people.open(app, viewport=size, dark=dark)
            findings = Findings(page)
            await page.ask("before the sign-in")
            await page.open_sidebar()
            await findings.look("signed out")
            await page.frame.get_by_role("link", name="Sign in").click()
            await page.page.get_by_role("button", name="1", exact=True).first.click()
            move = page.page.get_by_role("button", name="Move these to my account")
            await expect(move).to_be_visible()
            await findings.look("consent")
            await move.click()
            await page.filled()
            await page.open_sidebar()
            await findings.look("signed in")
            findings.check(3)


@SHAPES
async def test_the_widget(size: ViewportSize, dark: bool, web: Web, people: People) -> None:
    page = (await people.tab(web.app, viewport=size, dark=dark)).page
    await prepare(page, people, web)
    web.first.page = web.page(head="<title>A shop</title>", body="<main><h1>A shop</h1></main>")
    chat = await chat_at(page, web.first)
    found = [f"closed: {line}" for line in await violations(page)]
    await chat.open()
    found += [f"open: {line}" for line in await violations(page)]
    await chat.ask(RICH)
    found += [f"answered: {line}" for line in await violations(page)]
    assert not found, "\n".join(found)


@SHAPES
async def test_a_russian_page(
    size: ViewportSize, dark: bool, sharing: Served, people: People
) -> None:
    page = await people.tab(sharing, viewport=size, dark=dark, locale="ru-RU")
    findings = Findings(page)
    await page.page.goto(sharing.url)
    await page.frame.locator("body.cmw-opened").wait_for()
    await findings.look("empty")
    await page.frame.locator("#cmw-input textarea").fill(RICH)
    await page.frame.get_by_role("button", name="Отправить").click()
    await expect(page.log.locator("math").first).to_be_attached()
    await expect(page.frame.get_by_role("button", name="Отправить")).to_be_visible()
    await findings.look("rich answer")
    await page.frame.evaluate("window.cmw.openSettings()")
    tabs = page.frame.locator("#cmw-settings").get_by_role("tab")
    for index in range(await tabs.count()):
        await tabs.nth(index).click()
        await expect(page.frame.locator("#cmw-settings").get_by_role("tabpanel")).not_to_be_empty()
        await findings.look(f"settings, {index}")
    await page.page.keyboard.press("Escape")
    await page.page.keyboard.press("Control+k")
    await expect(page.frame.get_by_role("option").first).to_be_visible()
    await findings.look("palette")
    findings.check(9)


async def test_axe_finds_what_is_wrong(demo: Served, people: People) -> None:
    page = await people.open(demo)
    assert await violations(page.frame) == []
    await page.frame.evaluate(
        "document.querySelector('#cmw-new-too').removeAttribute('aria-label')"
    )
    await page.frame.evaluate("document.querySelector('#cmw-new-too').removeAttribute('title')")
    (line,) = await violations(page.frame)
    assert line.startswith("button-name at #cmw-new-too")
