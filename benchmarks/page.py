"""``python -m benchmarks.page``: what the page takes of a browser, beside Gradio's own chat.

Prints, for the app's page and for Gradio's own `ChatInterface`: which share of the main thread an
answer takes that is written at 20 words a second below 18 rich ones; how long a phone without
anything in its cache takes on slow 4G with a quarter of the CPU until its box can be written in, and until a
message that was sent at once stands in the chat; and what Lighthouse says. For the app's page also how long a
conversation of 500 messages takes until it is drawn. Exits with 1 above the limits.
"""

import argparse
import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from playwright.async_api import Browser, CDPSession, Page, async_playwright, expect

from benchmarks import lighthouse
from benchmarks.page_start import Start, start_slowly
from benchmarks.processes import ROOT
from tests.doubles.openai_server import OpenAIDouble
from tests.doubles.openai_steps import Request, Step, Text
from tests.harness import Served, served, settings_for
from tests.programs import chromium

RICH_ANSWERS = 18
WORDS_A_SECOND = 20.0
MEASURED_SECONDS = 15.0
MESSAGES = 500
MAX_SHARE = 0.25
MAX_OPEN_SECONDS = 0.5
MAX_BOX_SECONDS = 3.0
MIN_SCORES = {"performance": 80, "accessibility": 100}
MAX_SHIFT = 0.02
ARTIFACTS = ROOT / "artifacts"
SLOW = "slowly"
RICH = """## A heading

A paragraph with **bold**, *slanted*, `code` and [a link](https://example.com), long enough for a few
lines on a screen of ordinary width, as answers of models are.

| one | two | three |
|-----|-----|-------|
{rows}

```python
{code}
```

1. first
2. second
   - nested
   - nested too

> A quotation.
""".format(
    rows="\n".join(f"| {n} | `{n * n}` | **{n * n * n}** |" for n in range(12)),
    code="\n".join(f'    value_{n} = function_{n}(argument, key="text {n}")' for n in range(20)),
)
OPEN = """async ({ texts, event }) => {
    const parts = texts.map((text, index) => ({
        role: index % 2 ? "assistant" : "user", metadata: { seq: index + 1 },
        content: [{ type: "text", text }], options: null,
    }));
    const message = { msg: "process_generating", event_id: "b", success: true, output: { data: [parts, "x"] } };
    const text = `data: ${JSON.stringify(message)}`;
    const began = performance.now();
    window.cmw.tap.joined("b", event);
    window.cmw.tap.passed(text);
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    const shown = performance.now() - began;
    while (document.querySelectorAll("#cmw-chat [data-testid]").length < texts.length) {
        await new Promise((done) => setTimeout(done));
    }
    return [shown / 1000, (performance.now() - began) / 1000];
}"""


def answers(request: Request) -> Sequence[Step]:
    """Answer richly at once, or, where that is asked for, with words at a steady rate."""
    if request.last_user == SLOW:
        words = [f"word{n} " for n in range(int(WORDS_A_SECOND * MEASURED_SECONDS * 3))]
        return [Text(words, WORDS_A_SECOND)]
    return [Text([RICH], 0)]


async def busy_seconds(devtools: CDPSession) -> float:
    """Return the CPU seconds of the page's main thread."""
    found = await devtools.send("Performance.getMetrics")
    return float(next(m["value"] for m in found["metrics"] if m["name"] == "TaskDuration"))


async def share(page: Page, box: str, answered: str) -> float:
    """Have 18 rich answers written, then a slow one; return its share of the main thread.

    Args:
        page: The page.
        box: A selector of its message box.
        answered: A selector of what is there once for each answer.
    """
    devtools = await page.context.new_cdp_session(page)
    # CPU time of the thread: what else runs on the machine does not count
    await devtools.send("Performance.enable", {"timeDomain": "threadTicks"})
    for number in range(RICH_ANSWERS):
        await page.locator(box).fill(f"rich {number}")
        await page.locator(box).press("Enter")
        await expect(page.locator(answered)).to_have_count(number + 1, timeout=120_000)
    await page.locator(box).fill(SLOW)
    await page.locator(box).press("Enter")
    await expect(page.get_by_text("word10 ")).to_be_attached(timeout=120_000)
    began, before = time.monotonic(), await busy_seconds(devtools)
    await asyncio.sleep(MEASURED_SECONDS)
    return (await busy_seconds(devtools) - before) / (time.monotonic() - began)


@asynccontextmanager
async def app_with(model: OpenAIDouble, folder: Path) -> AsyncIterator[Served]:
    """Serve the app."""
    settings = settings_for(
        folder,
        openai_base_url=model.base_url,
        openai_api_key="key",
        model="page",
        log_level="ERROR",
    )
    async with served(settings) as app:
        yield app


async def opening(browser: Browser, url: str) -> tuple[float, float]:
    """Return the seconds of 500 messages: until the end of them is shown, and until all are drawn."""
    page = await browser.new_page(viewport={"width": 1280, "height": 800})
    await page.goto(url)
    await page.locator("body.cmw-opened").wait_for()
    event = await page.evaluate(
        "gradio_config.dependencies.find((one) => one.api_name === 'send').id"
    )
    texts = [RICH if n % 2 else f"question {n}" for n in range(MESSAGES)]
    shown, whole = await page.evaluate(OPEN, {"texts": texts, "event": event})
    await page.close()
    return shown, whole


async def share_of_app(browser: Browser, url: str) -> float:
    """Return the share of the app's page."""
    page = await browser.new_page(viewport={"width": 1280, "height": 800})
    await page.goto(url)
    await page.locator("body.cmw-opened").wait_for()
    answered = "body:not(.cmw-running) .cmw-row.assistant"
    taken = await share(page, "#cmw-input textarea", answered)
    await page.close()
    return taken


async def share_of_gradio(browser: Browser, url: str) -> float:
    """Return the share of Gradio's own chat."""
    page = await browser.new_page(viewport={"width": 1280, "height": 800})
    await page.goto(url)
    taken = await share(page, "textarea", "[data-testid=bot] table")
    await page.close()
    return taken


@contextmanager
def naive(model: OpenAIDouble) -> Iterator[str]:
    """Serve Gradio's own chat; yields its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {
        "OPENAI_BASE_URL": model.base_url,
        "OPENAI_API_KEY": "key",
        "CMW_MODEL": "page",
    }
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.naive", str(port)],
        cwd=ROOT,
        env={**os.environ, **settings},
    ) as process:
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


async def wait_for(url: str) -> None:
    """Wait until a server answers."""
    host, _, port = url.removeprefix("http://").partition(":")
    async with asyncio.timeout(120):
        while True:
            try:
                _, writer = await asyncio.open_connection(host, int(port))
            except OSError:
                await asyncio.sleep(0.5)
            else:
                writer.close()
                return


def report_start(name: str, start: Start) -> None:
    """Print what a start took."""
    sent = "lost" if start.sent is None else f"in the chat after {start.sent:.1f} s"
    print(
        f"  {name}: box after {start.box:.1f} s, the message typed into it at once {sent}; "
        f"{start.requests} requests, {start.transferred / 1024:.0f} KiB, shift {start.shift:.3f}, "
        f"uncompressed: {', '.join(start.uncompressed) or 'none'}"
    )


async def report_lighthouse(name: str, url: str) -> lighthouse.Report:
    """Run Lighthouse as on a phone, and print what it says."""
    report = await lighthouse.measure(url, ARTIFACTS / f"lighthouse-{name}.json")
    scores = ", ".join(f"{category} {score}" for category, score in report.scores.items())
    figures = ", ".join(f"{figure} {value}" for figure, value in report.figures.items())
    print(f"  {name} (Lighthouse {report.version}, mobile): {scores}")
    print(f"    {figures}; failed for accessibility: {', '.join(report.failed) or 'none'}")
    return report


async def measure_app(browser: Browser, url: str, parts: Sequence[str]) -> bool:
    """Measure the app's page; return whether all is within the limits."""
    is_good = True
    if "start" in parts:
        start = await start_slowly(browser, url)
        report_start("this page", start)
        is_good = start.box <= MAX_BOX_SECONDS and start.sent is not None and not start.uncompressed
        is_good = is_good and start.shift <= MAX_SHIFT
    if "lighthouse" in parts:
        report = await report_lighthouse("this page", url)
        is_good &= all(report.scores[name] >= least for name, least in MIN_SCORES.items())
    if "open" in parts:
        shown, whole = await opening(browser, url)
        print(f"  {MESSAGES} messages: shown after {shown:.2f} s, all drawn after {whole:.2f} s")
        is_good &= shown <= MAX_OPEN_SECONDS
    if "share" in parts:
        taken = await share_of_app(browser, url)
        print(f"  this page: {taken:.1%} of the main thread")
        is_good &= taken <= MAX_SHARE
    return is_good


async def measure_gradio(browser: Browser, url: str, parts: Sequence[str]) -> None:
    """Measure Gradio's own chat."""
    await wait_for(url)
    if "start" in parts:
        report_start("Gradio's ChatInterface", await start_slowly(browser, url))
    if "lighthouse" in parts:
        await report_lighthouse("Gradio's ChatInterface", url)
    if "share" in parts:
        taken = await share_of_gradio(browser, url)
        print(f"  Gradio's ChatInterface: {taken:.1%} of the main thread")


PARTS = ("start", "lighthouse", "open", "share")


async def main() -> int:
    """Measure and print; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page", description=__doc__)
    parser.add_argument("--only", choices=PARTS, action="append", help="measure this part")
    parser.add_argument("--app", action="store_true", help="measure the app's page alone")
    chosen = parser.parse_args()
    parts = chosen.only or PARTS
    ARTIFACTS.mkdir(exist_ok=True)
    if "lighthouse" in parts:
        lighthouse.install()
    with tempfile.TemporaryDirectory() as folder:
        async with (
            OpenAIDouble(scripts={"page": answers}) as model,
            async_playwright() as playwright,
        ):
            browser = await playwright.chromium.launch(
                executable_path=chromium(), args=["--no-sandbox", "--disable-gpu"]
            )
            async with app_with(model, Path(folder)) as app:
                is_good = await measure_app(browser, app.url, parts)
            if not chosen.app:
                with naive(model) as url:
                    await measure_gradio(browser, url, parts)
            await browser.close()
    return int(not is_good)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
