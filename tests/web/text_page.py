"""A page that holds the bundled script alone: what it draws of a text, without the app."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from playwright.async_api import Browser, Page, Request, Route, ViewportSize

from cmw_agent.web.page.bundles import STATIC
from cmw_agent.web.security.response_headers import CONTENT_SECURITY_POLICY
from tests.harness import WAIT

ORIGIN = "https://text.test"  # nothing is sent there: Playwright answers
PLAIN_ORIGIN = "http://text.test"
WIDE = ViewportSize(width=1000, height=800)
HTML = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Text</title>
<link rel="stylesheet" href="/built/pane.css">
<style>html{font:16px system-ui,sans-serif}body{margin:1rem}.dark{background:#020617;color:#e7ecf3}</style>
</head><body><main><div id="host"></div><textarea aria-label="Paste"></textarea></main><script src="/built/pane.js"></script>
<script>
window.errors = [];
addEventListener("error", (event) => errors.push(event.message));
addEventListener("securitypolicyviolation", (event) => errors.push(`refused: ${event.blockedURI}`));
window.make = (kind = "answer", more = {}) => {
  window.view?.destroy();
  const host = document.createElement("div");
  document.getElementById("host").replaceChildren(host);
  window.view = new cmwPane.TextView(host, { kind, ...more });
  return host;
};
window.host = () => document.getElementById("host").firstElementChild;
window.settled = async (pending = "[data-pending]") => {
  while (host().querySelector(pending) || "drawing" in host().dataset) await new Promise((done) => requestAnimationFrame(done));
};
window.stream = async (pieces) => {
  make();
  let text = "";
  for (const piece of pieces) {
    text += piece;
    view.update(text, false);
    await null;
  }
  view.update(text, true);
  await settled();
};
window.draw = async (text, kind = "answer") => {
  make(kind);
  view.update(text, true);
  await settled();
};
window.keep = () => { window.kept = host().cloneNode(true); };
window.isAsKept = () => host().isEqualNode(kept);
</script></body></html>"""
TYPES = {"js": "text/javascript", "css": "text/css"}


@dataclass(slots=True)
class TextPage:
    """The page, and the addresses that it asked for beside its own."""

    page: Page
    foreign: list[str] = field(default_factory=list)

    async def draw(self, markdown: str, kind: str = "answer") -> None:
        """Draw a whole text in a new view, and all that its libraries draw."""
        async with asyncio.timeout(WAIT):
            await self.page.evaluate("([text, kind]) => draw(text, kind)", [markdown, kind])

    async def stream(self, pieces: Sequence[str]) -> None:
        """Draw a text that grows by each piece, and end it."""
        async with asyncio.timeout(WAIT):
            await self.page.evaluate("(pieces) => stream(pieces)", list(pieces))

    async def text(self) -> str:
        """Return what a reader sees."""
        text: str = await self.page.evaluate("host().innerText")
        return text

    async def errors(self) -> list[str]:
        """Return the errors of the page's scripts and what its policy refused."""
        errors: list[str] = await self.page.evaluate("errors")
        return errors

    async def copied(self, button: str = "Copy") -> str:
        """Press the button that copies, and return what can be pasted then."""
        await self.page.get_by_role("button", name=button).click()
        await self.page.get_by_role("button", name="Copied").wait_for()
        box = self.page.get_by_role("textbox", name="Paste")
        await box.fill("")
        await box.press("ControlOrMeta+V")
        return await box.input_value()

    async def eval(self, script: str, argument: Any = None) -> Any:
        """Evaluate a script with the text's element as `host()`."""
        return await self.page.evaluate(script, argument)


async def _serve(route: Route) -> None:
    path = urlsplit(route.request.url).path if "//text.test/" in route.request.url else ""
    if path == "/":
        policy = CONTENT_SECURITY_POLICY.format(ancestors="'none'")
        headers = {"content-security-policy": policy}
        await route.fulfill(body=HTML, content_type="text/html", headers=headers)
    elif path.startswith("/built/"):
        file = STATIC / path[1:]
        await route.fulfill(body=file.read_bytes(), content_type=TYPES[file.suffix[1:]])
    else:
        await route.fulfill(status=404, body="")


@asynccontextmanager
async def text_page(
    browser: Browser, viewport: ViewportSize = WIDE, origin: str = ORIGIN
) -> AsyncIterator[TextPage]:
    """Open the page in a context of its own for the block."""
    context = await browser.new_context(viewport=viewport, reduced_motion="reduce")
    page = await context.new_page()
    opened = TextPage(page)

    def note(request: Request) -> None:
        if not request.url.startswith((f"{origin}/built/", "data:", "blob:")):
            opened.foreign.append(request.url)

    await page.route("**/*", _serve)
    await page.goto(f"{origin}/")
    page.on("request", note)
    try:
        yield opened
    finally:
        await context.close()
