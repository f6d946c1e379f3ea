"""Takes pictures of the page, of a shared chat and of the widget: ``python -m tests.web.screenshots``.

Each state is taken at four widths, light and dark, in each language, with a conversation as people have
it. They are written to `artifacts/screenshots`, to be looked at; nothing compares them.
"""

import argparse
import asyncio
import itertools
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.async_api import Browser, Locator, Page, ViewportSize, async_playwright, expect

from cmw_agent.language import Language, languages
from tests.doubles.mcp_server import mcp_double
from tests.doubles.oauth_server import oauth_double
from tests.doubles.openai_server import OpenAIDouble
from tests.doubles.openai_steps import Gate, Request, Start, Step, Text, Thoughts, ToolCalls
from tests.harness import served, settings_for
from tests.mcp.house import sdk_server, tables
from tests.programs import chromium
from tests.unit.test_certificates import certificate, stored
from tests.web.chat_page import ChatPage
from tests.web.conftest import ARGUMENTS, WAIT_MS
from tests.web.other_site import OtherSite, other_site
from tests.web.screenshot_texts import SPOKEN, Spoken

TARGET = Path(__file__).parents[2] / "artifacts" / "screenshots"
SIZES = (
    ViewportSize(width=1280, height=800),
    ViewportSize(width=768, height=1024),
    ViewportSize(width=390, height=844),
    ViewportSize(width=320, height=640),
)
SHOP = "shop"
# Waits until nothing of the page has changed for a while.
UNCHANGED = """() => new Promise((done) => {
    const later = () => setTimeout(() => { watch.disconnect(); done(); }, 300);
    let wait = later();
    const watch = new MutationObserver(() => { clearTimeout(wait); wait = later(); });
    watch.observe(document, { subtree: true, childList: true, characterData: true, attributes: true });
})"""
# A closed root hides its inside from Playwright as it does from the site.
OPEN_ROOTS = """(() => {
    const attach = Element.prototype.attachShadow;
    Element.prototype.attachShadow = function (how) { return attach.call(this, { ...how, mode: "open" }); };
})()"""


def answers(request: Request) -> Sequence[Step]:
    """Answer as the texts of the pictures say; wait in the midst of the one that is being written."""
    for spoken in SPOKEN.values():
        if request.last_user == spoken.sum:
            if request.tool_results:
                return [Text([spoken.total])]
            return [ToolCalls([("calculate", '{"expression": "3 * 48 + 2 * 19.5"}')])]
        if request.last_user == spoken.slow:
            return [Start(), Thoughts([spoken.thought]), Text([spoken.begun]), Gate()]
        if request.last_user in spoken.answers:
            return [Text([spoken.answers[request.last_user]])]
    return [Text(["…"])]


@dataclass(slots=True)
class Stage:
    """What pictures are taken of: the app's address, a website with the widget, and the model."""

    url: str
    site: OtherSite
    model: OpenAIDouble


@asynccontextmanager
async def stage() -> AsyncIterator[Stage]:
    """Serve the app, its model and a website."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with (
            AsyncExitStack() as more,
            OpenAIDouble(scripts={"large": answers}) as model,
            other_site() as site,
        ):
            servers = await more.enter_async_context(_servers())
            (folder / "agents.toml").write_text(
                f'{tables(*servers)}\n[[models]]\nid = "large"\neffort = "low"\n'
                '[[agents]]\nid = "helper"\nname = "Helper"\n'
                f'[[agents]]\nid = "{SHOP}"\nname = "Shop help"\n'
                f'allowed_origins = ["{site.origin}"]\n'
            )
            settings = settings_for(
                folder,
                openai_base_url=model.base_url,
                openai_api_key="key-of-the-endpoint",
                model="large",
                shares="link",
                user_mcp="on",
                visitor_keys="optional",
                visitor_key_url="https://keys.example/new",
                certificate=str(stored(folder, certificate().signed("s" * 40))),
                log_level="ERROR",
            )
            async with served(settings) as app:
                yield Stage(app.url, site, model)


@asynccontextmanager
async def _servers() -> AsyncIterator[Sequence[Mapping[str, object]]]:
    """Serve MCP servers of each kind."""
    async with sdk_server("http") as url, mcp_double() as shared, oauth_double() as accounts:
        yield (
            {"name": "house", "url": url},
            {"name": "hall", "url": shared.url, "shared": True},
            {"name": "wiki", "url": accounts.mcp.url, "auth": "oauth"},
        )


class Camera:
    """Takes the pictures of one size, theme and language.

    Args:
        page: The page of a new user.
        stage: What is served.
        language: The page's language.
        folder: The folder of the pictures.
        name: What their names end with.
    """

    def __init__(
        self, page: ChatPage, stage: Stage, language: Language, folder: Path, name: str
    ) -> None:
        self._chat = page
        self._tab: Page = page.page
        self._stage = stage
        self._language = language
        self._folder = folder
        self._name = name
        self._spoken: Spoken = SPOKEN[language.tag]

    async def take_all(self) -> None:
        """Take all pictures."""
        await self._open()
        await self._take("empty")
        await self._talk()
        await self._menus()
        await self._around()
        await self._settings()
        await self._share()
        await self._isolation()
        await self._widget()

    async def _take(self, state: str) -> None:
        await self._tab.evaluate(UNCHANGED)
        path = self._folder / f"{state}-{self._name}.png"
        await self._tab.screenshot(path=path, animations="disabled")

    def _named(self, role: str, text: str) -> Locator:
        name = self._language.gettext(text)
        return self._tab.get_by_role(role, name=name, exact=True)  # type: ignore[arg-type]

    async def _open(self) -> None:
        await self._tab.goto(self._stage.url)
        await self._tab.locator("body.cmw-opened").wait_for(state="attached")

    async def _ask(self, text: str) -> None:
        box = self._tab.locator("#cmw-input textarea")
        before = await self._tab.locator(".cmw-row.assistant").count()
        await box.fill(text)
        await self._tab.locator("#cmw-input .submit-button").click()
        await expect(self._tab.locator(".cmw-row.assistant")).to_have_count(before + 1)

    async def _rest(self) -> None:
        await expect(self._tab.locator("body.cmw-running")).to_have_count(0)

    async def _talk(self) -> None:
        for text in self._spoken.answers:
            await self._ask(text)
            await self._rest()
        await self._tab.locator("#cmw-chat .cmw-row.user").last.scroll_into_view_if_needed()
        await self._take("rich")
        await self._ask(self._spoken.sum)
        await self._rest()
        await self._tab.locator(".cmw-step button, .cmw-step summary").last.click()
        await self._take("tool")
        await self._ask(self._spoken.slow)
        await expect(self._tab.get_by_text(self._spoken.begun[-12:])).to_be_visible()
        await self._take("running")
        await self._named("button", "Stop").click()
        await self._rest()
        await self._take("stopped")

    async def _menus(self) -> None:
        box = self._tab.locator("#cmw-input textarea")
        await box.fill("/")
        await expect(self._tab.locator("#cmw-slash-list [role=option]").first).to_be_visible()
        await self._take("slash")
        await box.fill("")
        await self._tab.locator("#cmw-choose").click()
        await expect(self._tab.locator("#cmw-choices")).to_be_visible()
        await self._take("choices")
        await self._tab.keyboard.press("Escape")

    async def _around(self) -> None:
        toggle = self._tab.locator("#cmw-side-open")
        if await toggle.get_attribute("aria-expanded") != "true":
            await toggle.click()
        await self._tab.locator(".cmw-more").first.click()
        await expect(self._tab.get_by_role("menu")).to_be_visible()
        await self._take("drawer")
        await self._tab.keyboard.press("Escape")
        await self._tab.keyboard.press("Control+k")
        await expect(self._tab.get_by_role("option").first).to_be_visible()
        await self._take("palette")
        await self._tab.keyboard.press("Escape")

    async def _settings(self) -> None:
        await self._tab.evaluate("window.cmw.openSettings()")
        dialog = self._tab.locator("#cmw-settings")
        for index in range(await dialog.get_by_role("tab").count()):
            await dialog.get_by_role("tab").nth(index).click()
            await expect(dialog.get_by_role("tabpanel")).not_to_be_empty()
            await self._take(f"settings-{index}")
        await self._tab.keyboard.press("Escape")

    async def _share(self) -> None:
        await self._tab.evaluate("document.querySelector('.cmw-more').click()")
        await self._named("menuitem", "Share…").click()
        dialog = self._named("dialog", "Share this chat")
        await dialog.get_by_role("button", name=self._language.gettext("Make a link")).click()
        link = dialog.get_by_role("textbox", name=self._language.gettext("Link"))
        address = await link.input_value()
        await self._take("share")
        await self._tab.goto(address)
        await self._take("shared")

    async def _isolation(self) -> None:
        await self._tab.goto(f"{self._stage.url}/isolation")
        await self._take("isolation")

    async def _widget(self) -> None:
        script = f'<script src="{self._stage.url}/widget.js" data-agent="{SHOP}" defer></script>'
        self._stage.site.page = (
            f'<!doctype html><html lang="{self._language.tag}"><meta charset="utf-8">'
            f'<meta name="viewport" content="width=device-width">{script}'
            f"<title>Shop</title><body><h1>{self._spoken.site}</h1>"
        )
        await self._tab.goto(self._stage.site.origin)
        await self._tab.locator("cmw-agent .bubble").click()
        box = self._tab.locator("cmw-agent textarea")
        await expect(box).to_be_focused()
        await self._take("widget-empty")
        await box.fill(next(iter(self._spoken.answers)))
        await box.press("Enter")
        await expect(self._tab.locator("cmw-agent .answer table")).to_be_visible()
        await expect(self._tab.locator("cmw-agent [aria-busy=true]")).to_have_count(0)
        await self._take("widget")


async def take_one(
    browser: Browser, running: Stage, size: ViewportSize, theme: str, language: Language
) -> None:
    """Take the pictures of one size, theme and language."""
    context = await browser.new_context(
        viewport=size,
        color_scheme="dark" if theme == "dark" else "light",
        locale=language.tag,
        reduced_motion="reduce",
        has_touch=size["width"] < 700,
        is_mobile=size["width"] < 700,
    )
    context.set_default_timeout(WAIT_MS)
    page = ChatPage(await context.new_page(), running.url)
    await page.page.add_init_script(OPEN_ROOTS)
    name = f"{size['width']}-{theme}-{language.tag}"
    await Camera(page, running, language, TARGET, name).take_all()
    await context.close()


async def main() -> None:
    """Take the pictures, or those of one width, theme or language."""
    parser = argparse.ArgumentParser(prog="python -m tests.web.screenshots", description=__doc__)
    parser.add_argument("--width", type=int, help="take those of this width alone")
    parser.add_argument("--theme", choices=("light", "dark"), help="take those of this theme alone")
    parser.add_argument("--language", help="take those of this language alone")
    chosen = parser.parse_args()
    TARGET.mkdir(parents=True, exist_ok=True)
    async with stage() as running, async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
        shapes = itertools.product(SIZES, ("light", "dark"), languages().all)
        for size, theme, language in shapes:
            is_wanted = chosen.width in (None, size["width"]) and chosen.theme in (None, theme)
            if is_wanted and chosen.language in (None, language.tag):
                await take_one(browser, running, size, theme, language)
        await browser.close()


if __name__ == "__main__":
    asyncio.run(main())
