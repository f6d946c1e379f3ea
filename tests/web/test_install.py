"""The page as an app that can be installed: manifest, icons, offline page, service worker."""

import orjson
import pytest
from playwright.async_api import Browser, BrowserContext, expect

from tests.harness import Served, canary
from tests.web.chat_page import ChatPage
from tests.web.conftest import People

pytestmark = pytest.mark.asyncio(loop_scope="module")

WORKER = "navigator.serviceWorker.ready.then((it) => it.active.scriptURL)"
CONTROLLED = """() => new Promise((done) => {
    const container = navigator.serviceWorker;
    if (container.controller) done(true);
    else container.addEventListener("controllerchange", () => done(true), { once: true });
})"""
STORED = """async (language) => {
    while (!(await caches.match(`offline.html?lang=${language}`))) {
        await new Promise((done) => setTimeout(done, 20));
    }
}"""
CACHED = """async () => {
    const found = {};
    for (const name of await caches.keys()) {
        const cache = await caches.open(name);
        for (const request of await cache.keys()) {
            found[request.url] = await (await cache.match(request)).text();
        }
    }
    return found;
}"""


async def installed(
    app: Served, browser: Browser, people: People
) -> tuple[BrowserContext, ChatPage]:
    context = await browser.new_context()
    page = await (await people.tab_in(context, app)).open()
    await page.frame.evaluate(WORKER)
    await page.frame.evaluate(CONTROLLED)
    await page.frame.evaluate(STORED, "en")
    return context, page


async def test_the_page_can_be_installed(demo: Served, browser: Browser, people: People) -> None:
    context, page = await installed(demo, browser, people)
    session = await context.new_cdp_session(page.page)
    manifest = await session.send("Page.getAppManifest")
    assert manifest["errors"] == []
    content = orjson.loads(manifest["data"])
    assert (content["name"], content["display"]) == ("CMW Agent", "standalone")
    errors = (await session.send("Page.getInstallabilityErrors"))["installabilityErrors"]
    assert [e["errorId"] for e in errors if e["errorId"] != "in-incognito"] == []


async def test_without_a_network_a_page_of_the_app_says_so(
    demo: Served, browser: Browser, people: People
) -> None:
    context, page = await installed(demo, browser, people)
    await page.ask("My name is Alice")
    people.watch.tolerates("ERR_INTERNET_DISCONNECTED", "Failed to (load|fetch)")
    await context.set_offline(True)
    await page.page.reload()
    await expect(page.frame.get_by_role("heading", name="No connection")).to_be_visible()
    await context.set_offline(False)
    await page.filled()  # by itself
    await expect(page.questions).to_have_text(["My name is Alice"])


async def test_the_service_worker_stores_nothing_of_any_user(
    demo: Served, browser: Browser, people: People
) -> None:
    _, page = await installed(demo, browser, people)
    secret = canary()
    await page.ask(f"remember {secret}")
    await page.page.reload()
    await page.filled()
    await page.open_settings("My data")
    stored: dict[str, str] = await page.frame.evaluate(CACHED)
    assert list(stored) == [f"{demo.url}/offline.html?lang=en"]
    assert secret not in str(stored)


async def test_only_the_page_itself_goes_through_the_service_worker(
    demo: Served, browser: Browser, people: People
) -> None:
    context, page = await installed(demo, browser, people)
    await page.page.reload()
    await page.filled()
    through: list[str] = []
    context.on(
        "request", lambda request: through.append(request.url) if request.service_worker else None
    )
    await page.ask("My name is Alice")
    await page.page.goto(f"{demo.url}/healthz")
    assert through == []


async def test_another_language_changes_the_offline_page_and_not_the_worker(
    demo: Served, browser: Browser, people: People
) -> None:
    # Chromium holds up, for good, a page that is on its way while one worker replaces another.
    context, page = await installed(demo, browser, people)
    worker = await page.frame.evaluate(WORKER)
    await page.page.goto(f"{demo.url}/?lang=ru")
    await page.frame.evaluate(STORED, "ru")
    assert await page.frame.evaluate(WORKER) == worker == f"{demo.url}/sw.js"
    assert list(await page.frame.evaluate(CACHED)) == [f"{demo.url}/offline.html?lang=ru"]
    people.watch.tolerates("ERR_INTERNET_DISCONNECTED", "Failed to (load|fetch)")
    await context.set_offline(True)
    await page.page.reload()
    await expect(page.frame.get_by_role("heading", name="Нет связи")).to_be_visible()
