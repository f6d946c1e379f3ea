"""Fixtures of the browser tests: Chromium, the app, and a model that each message selects."""

import re
from collections.abc import AsyncIterator, Sequence

import pytest
import pytest_asyncio
from playwright.async_api import (
    Browser,
    BrowserContext,
    Playwright,
    ViewportSize,
    async_playwright,
    expect,
)
from pydantic import SecretStr

from tests.doubles.composio_server import Composio, composio_server
from tests.doubles.openai_models import built_in
from tests.doubles.openai_server import OpenAIDouble
from tests.doubles.openai_steps import Request, Step
from tests.harness import WAIT, Served, served, settings_for
from tests.programs import chromium
from tests.web.chat_page import ChatPage, Watch

WAIT_MS = 1000 * WAIT
# Chromium draws its address bar's lists in pages of their own, for each window anew: half of what
# opening a page costs. They belong to no page. The others are Playwright's own, whose list this
# one replaces.
FEATURES_OFF = (
    "WebUIOmniboxPopup",
    "WebUIOmniboxAimPopup",
    "AvoidUnnecessaryBeforeUnloadCheckSync",
    "DestroyProfileOnBrowserClose",
    "HttpsUpgrades",
    "HttpsFirstBalancedModeAutoEnable",
    "LensOverlay",
    "MediaRouter",
    "PaintHolding",
    "ThirdPartyStoragePartitioning",
    "AvoidCorsURLLoaderRestartOnRedirect",
    "OptimizationHints",
    "NetworkTimeServiceQuerying",
    "AimEnabled",
    "PreconnectToSearch",
)
ARGUMENTS = [
    f"--disable-features={','.join(FEATURES_OFF)}",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
WIDE = ViewportSize(width=1280, height=800)
MAX_CHARS = 3_000
CHOSEN = re.compile(r"\[([^\[\]]+)\]")

expect.set_options(timeout=WAIT_MS)


def by_message(request: Request) -> Sequence[Step]:
    """Answer as the built-in model that the message names in [brackets], else as `echo`."""
    match = CHOSEN.match(request.last_user)
    script = (built_in(match.group(1)) if match else None) or built_in("echo")
    assert script is not None
    return script(request)


class People:
    """Makes users, each with a browser context of their own.

    `watch` observes all their pages for errors and requests to other sites.

    Args:
        browser: The Chromium that they all use.
    """

    def __init__(self, browser: Browser) -> None:
        self.watch = Watch(set())
        self._browser = browser

    async def tab(
        self,
        app: Served,
        *,
        viewport: ViewportSize = WIDE,
        dark: bool = False,
        permissions: Sequence[str] = (),
        locale: str = "en-US",
    ) -> ChatPage:
        """Return a tab of a new user that is not open yet."""
        context = await self._browser.new_context(
            viewport=viewport,
            locale=locale,
            color_scheme="dark" if dark else "light",
            permissions=list(permissions),
            reduced_motion="reduce",
        )
        return await self.tab_in(context, app)

    async def tab_in(self, context: BrowserContext, app: Served, url: str = "") -> ChatPage:
        """Return a new tab in `context` that is not open yet; `url` is where it finds the app."""
        context.set_default_timeout(WAIT_MS)
        self.watch.origins.add(url or app.url)
        self.watch.over(context)
        return ChatPage(await context.new_page(), url or app.url)

    async def open(self, app: Served, query: str = "", **options: bool | ViewportSize) -> ChatPage:
        """Return a tab of a new user with the page open in it."""
        return await (await self.tab(app, **options)).open(query)  # type: ignore[arg-type]

    async def at(self, url: str, *, own_clock: bool = False) -> ChatPage:
        """Return a tab of a new user with the app at `url` open in it.

        With `own_clock` the test may let the page's time pass faster than its own.
        """
        context = await self._browser.new_context(viewport=WIDE, reduced_motion="reduce")
        if own_clock:
            await context.clock.install()
        context.set_default_timeout(WAIT_MS)
        self.watch.origins.add(url)
        self.watch.over(context)
        return await ChatPage(await context.new_page(), url).open()

    async def same_user(self, page: ChatPage, url: str, query: str = "") -> ChatPage:
        """Return a page of the same user in another browser, which shares nothing but the cookie."""
        context = await self._browser.new_context(viewport=WIDE, reduced_motion="reduce")
        context.set_default_timeout(WAIT_MS)
        cookies = await page.page.context.cookies()
        await context.add_cookies(cookies)  # type: ignore[arg-type]
        self.watch.origins.add(url)
        self.watch.over(context)
        return await ChatPage(await context.new_page(), url).open(query)

    async def leave(self) -> None:
        """Close all browser contexts."""
        for context in self._browser.contexts:
            await context.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def playwright() -> AsyncIterator[Playwright]:
    async with async_playwright() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(playwright: Playwright) -> AsyncIterator[Browser]:
    launched = await playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
    yield launched
    await launched.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def model() -> AsyncIterator[OpenAIDouble]:
    async with OpenAIDouble(scripts={"stage": by_message}) as endpoint:
        yield endpoint


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def app(
    model: OpenAIDouble, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Served]:
    """The app with the endpoint double `model`."""
    settings = settings_for(
        tmp_path_factory.mktemp("app"),
        openai_base_url=model.base_url,
        openai_api_key="key-of-the-endpoint",
        model="stage",
        max_message_chars=MAX_CHARS,
        log_level="ERROR",
    )
    async with served(settings) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def composio() -> AsyncIterator[Composio]:
    async with composio_server() as double:
        double.add_toolkit("clock", 2, no_auth=True)
        yield double


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def connecting(
    model: OpenAIDouble, composio: Composio, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Served]:
    """The app with the endpoint double and Composio's double."""
    settings = settings_for(
        tmp_path_factory.mktemp("connecting"),
        openai_base_url=model.base_url,
        openai_api_key="key-of-the-endpoint",
        model="stage",
        log_level="ERROR",
        composio_api_key=SecretStr(composio.key),
        composio_base_url=composio.url,
        toolkits="asana,clock",
    )
    async with served(settings) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def demo(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    """The app without any setting: its demo model answers."""
    async with served(settings_for(tmp_path_factory.mktemp("demo"), demo_pause=0.015)) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def people(browser: Browser) -> AsyncIterator[People]:
    users = People(browser)
    yield users
    await users.leave()
    users.watch.check()
