"""Connects an account in Chromium; the test plays Composio's site."""

import re
from urllib.parse import urljoin

from playwright.async_api import Page, Route

from tests.accounts import last_link
from tests.doubles.composio_server import Composio
from tests.web.chat_page import ChatPage


async def connect(page: ChatPage, composio: Composio, link: str | None) -> str:
    """Follow one of the app's links with this browser's cookies, and come back; return the user."""
    assert link is not None
    request = page.page.context.request
    went = await request.get(urljoin(page.page.url, link), max_redirects=0)
    assert went.status == 303, await went.text()
    call = last_link(composio)
    composio.connect(call.body["user_id"])
    back = await request.get(call.body["callback_url"])
    assert back.status == 200, await back.text()
    user: str = call.body["user_id"]
    return user


async def play_composio(page: ChatPage, composio: Composio) -> None:
    """Let Composio's site connect at once and send the browser back, in this context."""

    async def answer(route: Route) -> None:
        call = last_link(composio)
        composio.connect(call.body["user_id"])
        back = call.body["callback_url"]
        script = f"<script>location.replace({back!r} + '?status=success')</script>"
        await route.fulfill(content_type="text/html", body=script)

    await page.page.context.route(re.compile(r"https://connect\.composio\.dev/.*"), answer)


async def text_of(tab: Page) -> str:
    """Return what a page says, once it has come back to the app."""
    await tab.wait_for_url(re.compile("/connected/"))
    return await tab.inner_text("body")
