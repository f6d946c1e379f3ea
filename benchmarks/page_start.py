"""How a page starts in a browser that has nothing of it: on slow 4G, with a quarter of the CPU."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from playwright.async_api import Browser, Page, Response, expect

BITS = 8
SLOW_4G = {
    "offline": False,
    "latency": 150,  # ms for a round trip
    "downloadThroughput": 1_600_000 / BITS,
    "uploadThroughput": 750_000 / BITS,
}
CPU_SLOWER = 4
MAX_WAIT_MS = 120_000
TEXT = "written while the page comes"
# Compression would make these longer or nothing shorter.
SMALL_BYTES = 1_000
COMPRESSIBLE = ("javascript", "text/css", "text/html", "json")
# Records when an editable message box first has the focus, and the sum of layout shifts.
OBSERVE = """() => {
    window.benchmark = { box: null, shift: 0 };
    const look = () => {
        const box = document.activeElement;
        const isBox = box?.matches("textarea, [contenteditable=true]") && !box.readOnly && !box.disabled;
        if (isBox && box.checkVisibility({ visibilityProperty: true })) window.benchmark.box = performance.now();
        else requestAnimationFrame(look);
    };
    look();
    new PerformanceObserver((list) => {
        for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.benchmark.shift += entry.value;
    }).observe({ type: "layout-shift", buffered: true });
}"""


@dataclass(slots=True)
class Start:
    """What a page's start took.

    Attributes:
        box: Seconds until a box had the focus that takes what is typed.
        sent: Seconds until the message that was typed at once stood in the chat; None where a
            text that was typed into the box was lost.
        requests: How many requests were answered until then.
        transferred: Their bytes on the wire.
        uncompressed: Scripts, styles and documents that came without compression.
        shift: How much has moved, as the browser counts it.
    """

    box: float = 0.0
    sent: float | None = None
    requests: int = 0
    transferred: int = 0
    uncompressed: list[str] = field(default_factory=list)
    shift: float = 0.0


async def start_slowly(browser: Browser, url: str, *, phone: bool = True) -> Start:
    """Open a page cold on slow 4G with a quarter of the CPU, type a message at once and send it.

    Args:
        browser: The browser; a context of its own is made in it.
        url: The page.
        phone: Whether the window is a phone's.
    """
    size = {"width": 412, "height": 823} if phone else {"width": 1280, "height": 800}
    context = await browser.new_context(viewport=size)  # type: ignore[arg-type]
    page = await context.new_page()
    devtools = await context.new_cdp_session(page)
    await devtools.send("Network.enable")
    await devtools.send("Network.emulateNetworkConditions", SLOW_4G)
    await devtools.send("Emulation.setCPUThrottlingRate", {"rate": CPU_SLOWER})
    await page.add_init_script(f"({OBSERVE})()")
    start = Start()
    devtools.on("Network.loadingFinished", lambda event: _count(start, event))
    answers: list[Response] = []
    page.on("response", lambda answer: answers.append(answer))  # noqa: PLW0108 (Playwright marks it)
    await page.goto(url, wait_until="commit", timeout=MAX_WAIT_MS)
    await page.wait_for_function("window.benchmark?.box", timeout=MAX_WAIT_MS)
    await page.keyboard.type(TEXT)
    await page.keyboard.press("Enter")
    start.sent = await _sent(page)
    measured = await page.evaluate("window.benchmark")
    start.box, start.shift = measured["box"] / 1000, measured["shift"]
    start.uncompressed = [answer.url for answer in answers if await _is_plain(answer)]
    await context.close()
    return start


async def _sent(page: Page) -> float | None:
    """Return the seconds until the message stands in the chat; None where it was lost."""
    message = page.locator("[data-testid=user], .user-message, .message.user").get_by_text(TEXT)
    try:
        await expect(message.first).to_be_visible(timeout=30_000)
    except AssertionError:
        return None
    return float(await page.evaluate("performance.now()")) / 1000


def _count(start: Start, event: dict[str, Any]) -> None:
    start.requests += 1
    start.transferred += int(event["encodedDataLength"])


async def _is_plain(answer: Response) -> bool:
    headers = answer.headers
    is_text = any(kind in headers.get("content-type", "") for kind in COMPRESSIBLE)
    if not is_text or answer.status != 200 or "content-encoding" in headers:
        return False
    try:
        async with asyncio.timeout(5):
            return len(await answer.body()) > SMALL_BYTES
    except Exception:  # noqa: BLE001 (a stream, or gone with its page)
        return False
