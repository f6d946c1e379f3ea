"""Drives the page in Chromium, and records errors and requests of the browser."""

import re
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import parse_qs, urlsplit

from playwright.async_api import (
    BrowserContext,
    ConsoleMessage,
    Dialog,
    Frame,
    Locator,
    Page,
    Request,
    Response,
    WebError,
    expect,
)

# An answer of a model that holds after three tokens: what could still become a link has no brackets.
HELD = re.compile(r"^You said: \[?gated-3\]?$")
LOCAL = ("data:", "blob:", "about:")
# Gradio's script complains of the stream that its own page has just left.
LEAVING = re.compile("signal is aborted|Connection errored out")


@dataclass  # without slots: Playwright hangs an attribute of its own on handlers
class Watch:
    """Collects what no page may do: console errors, failures, dialogs, requests to other origins.

    `origins` are the origins that the browser may ask. What a test provokes on purpose it
    announces with `expects`; it must then happen. What may happen or not it `tolerates`.
    """

    origins: set[str]
    seen: list[str] = field(default_factory=list)
    _expected: list[re.Pattern[str]] = field(default_factory=list)
    _tolerated: list[re.Pattern[str]] = field(default_factory=list)

    def over(self, context: BrowserContext) -> Self:
        """Observe every page of `context`."""
        context.on("console", self._console)
        context.on("weberror", self._error)
        context.on("response", self._response)
        context.on("request", self._request)
        context.on("dialog", self._dialog)
        return self

    def expects(self, *patterns: str) -> None:
        """Expect problems whose texts match these regular expressions."""
        self._expected += [re.compile(pattern) for pattern in patterns]

    def tolerates(self, *patterns: str) -> None:
        """Allow problems whose texts match these regular expressions."""
        self._tolerated += [re.compile(pattern) for pattern in patterns]

    def check(self) -> None:
        """Fail on unexpected problems, and on expected ones that did not occur."""
        announced = [*self._expected, *self._tolerated, LEAVING]
        unannounced = [p for p in self.seen if not any(e.search(p) for e in announced)]
        assert not unannounced, unannounced
        absent = [e.pattern for e in self._expected if not any(e.search(p) for p in self.seen)]
        assert not absent, f"announced and never seen: {absent}"

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning", "assert"):
            self.seen.append(f"{message.type}: {message.text} ({message.location.get('url')})")

    def _error(self, error: WebError) -> None:
        self.seen.append(f"uncaught: {error.error}")

    def _response(self, response: Response) -> None:
        if response.status >= 400:
            self.seen.append(f"http {response.status}: {response.url}")

    def _request(self, request: Request) -> None:
        url = urlsplit(request.url)
        if not request.url.startswith(LOCAL) and f"{url.scheme}://{url.netloc}" not in self.origins:
            self.seen.append(f"foreign: {request.url}")

    async def _dialog(self, dialog: Dialog) -> None:
        self.seen.append(f"dialog: {dialog.message}")
        await dialog.dismiss()


class ChatPage:
    """One open page of one user.

    Args:
        page: Its browser tab.
        url: Where the app is.
        frame: The frame that the app stands in, when it is not the tab itself.
    """

    def __init__(self, page: Page, url: str, frame: Frame | None = None) -> None:
        self.page = page
        self.url = url
        self.frame = frame or page.main_frame
        self.hashes: list[str] = []
        page.on("request", self._remember_hash)
        at = self.frame
        self.box = at.get_by_role("textbox", name="Message", exact=True)
        self.send = at.get_by_role("button", name="Send", exact=True)
        self.stop = at.get_by_role("button", name="Stop", exact=True)
        self.questions = at.get_by_test_id("user")
        self.answers = at.get_by_test_id("bot")
        self.log = at.get_by_role("log")
        self.toast = at.locator(".cmw-notice")
        self.waiting = at.locator(".cmw-waiting")
        waiting_messages = at.get_by_role("list", name="Messages that wait")
        self.outbox = waiting_messages.get_by_role("listitem")
        self.outbox_status = at.locator(".cmw-outbox-status[role=status]")
        self.offline = at.locator("#cmw-offline")
        self.steps = at.locator(".cmw-step")
        self.panels = at.locator(".cmw-panel")
        self.texts = at.locator(".cmw-answer")
        self.toggle = at.locator("#cmw-side-open")
        self.new_chat = at.get_by_role("button", name="New chat", exact=True)
        self.recent = at.get_by_role("navigation", name="Recent conversations")

    async def open(self, query: str = "") -> Self:
        """Open the page and wait until its contents are there."""
        await self.page.goto(self.url + "/" + query)
        return await self.filled()

    async def reload(self) -> Self:
        """Reload the page and wait until its contents are there."""
        await self.page.reload()
        return await self.filled()

    async def filled(self) -> Self:
        """Wait until the page's first event has brought its contents."""
        await self.frame.locator("body.cmw-opened").wait_for(state="attached")
        await self.frame.locator("#cmw-recent nav :is(ul, p)").first.wait_for(state="attached")
        await expect(self.send.or_(self.stop)).to_be_visible()
        return self

    async def write(self, text: str) -> None:
        """Type `text` into the message input and press Enter."""
        await self.box.fill(text)
        await self.box.press("Enter")

    async def ask(self, text: str) -> None:
        """Send `text` and wait until its answer has ended."""
        before = await self.questions.count()
        await self.write(text)
        await expect(self.questions).to_have_count(before + 1)
        await self.settled()

    async def begin_anew(self) -> None:
        """Begin a new conversation."""
        await self.new_chat.click()
        await self.left()

    async def left(self) -> None:
        """Wait until the page shows a new conversation: messages disappear before the URL changes."""
        await expect(self.questions).to_have_count(0)
        await self.page.wait_for_url(lambda url: "c=" not in url)

    async def settled(self) -> None:
        """Wait until no answer is being written."""
        await expect(self.send).to_be_visible()
        await expect(self.stop).to_have_count(0)

    def button(self, name: str) -> Locator:
        """Return the last button of this name below a message."""
        return self.log.get_by_role("button", name=name, exact=True).last

    def attached(self, name: str) -> Locator:
        """Return the button that removes an attached file."""
        return self.frame.get_by_role("button", name=f"Remove {name}")

    async def edit_last(self, text: str, nth: int = -1) -> None:
        """Edit the user's last message, or the nth one, and submit it."""
        await self.log.get_by_role("button", name="Edit", exact=True).nth(nth).click()
        await self.log.get_by_role("textbox").fill(text)
        await self.log.get_by_role("button", name="Submit", exact=True).click()

    async def open_sidebar(self) -> None:
        """Open the sidebar if it is closed."""
        if await self.toggle.get_attribute("aria-expanded") != "true":
            await self.toggle.click()
        await expect(self.toggle).to_have_attribute("aria-expanded", "true")

    async def open_settings(self, tab: str = "General") -> Locator:
        """Open a section of the settings, and return it."""
        dialog = self.frame.get_by_role("dialog", name="Settings")
        if not await dialog.is_visible():
            await self.open_sidebar()
            await self.frame.get_by_role("button", name="Settings", exact=True).click()
        await dialog.get_by_role("tab", name=tab, exact=True).click()
        return dialog.get_by_role("tabpanel", name=tab, exact=True)

    async def close_settings(self) -> None:
        """Close the settings."""
        await self.frame.get_by_role("button", name="Close settings").click()

    async def open_choices(self) -> None:
        """Open the choice of agent, model and effort."""
        if not await self.frame.locator("#cmw-choices").is_visible():
            await self.frame.get_by_role("button", name="Agent and model").click()

    def conversation(self) -> str | None:
        """The conversation's id in the URL."""
        found = parse_qs(urlsplit(self.frame.url).query).get("c")
        return found[0] if found else None

    async def named(self) -> str:
        """Wait until the URL names a conversation, which it does once a message is stored."""
        await self.frame.wait_for_url(lambda url: "c=" in url)
        conversation = self.conversation()
        assert conversation is not None
        return conversation

    @property
    def session_hash(self) -> str:
        """The raw session hash that Gradio's script made for this page load."""
        return self.hashes[-1]

    def _remember_hash(self, request: Request) -> None:
        for found in parse_qs(urlsplit(request.url).query).get("session_hash", []):
            self.hashes.append(found)
