"""``python -m benchmarks.page``: what the page takes of the browser's main thread.

Prints, for the app's page and for Gradio's own `ChatInterface`, which share of the main thread an
answer takes that is written at 20 words a second below 18 rich ones; and for the app's page, how
long a conversation of 500 messages takes until it is drawn. Exits with 1 above the limits.
"""

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from playwright.async_api import Browser, CDPSession, Page, async_playwright, expect

from benchmarks.processes import ROOT
from tests.doubles.openai_server import OpenAIDouble
from tests.doubles.openai_steps import Request, Step, Text
from tests.harness import served, settings_for
from tests.programs import chromium

RICH_ANSWERS = 18
WORDS_A_SECOND = 20.0
MEASURED_SECONDS = 15.0
MESSAGES = 500
MAX_SHARE = 0.25
MAX_OPEN_SECONDS = 0.5
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


async def of_app(browser: Browser, model: OpenAIDouble, folder: Path) -> tuple[float, list[float]]:
    """Return the app's share, and the seconds of 500 messages: until the end of them is shown, and all."""
    settings = settings_for(
        folder,
        openai_base_url=model.base_url,
        openai_api_key="key",
        model="page",
        log_level="ERROR",
    )
    async with served(settings) as app:
        page = await browser.new_page(viewport={"width": 1280, "height": 800})
        await page.goto(app.url)
        await page.locator("body.cmw-opened").wait_for()
        taken = await share(
            page, "#cmw-input textarea", "body:not(.cmw-running) .cmw-row.assistant"
        )
        await page.goto(app.url)
        await page.locator("body.cmw-opened").wait_for()
        event = await page.evaluate(
            "gradio_config.dependencies.find((one) => one.api_name === 'send').id"
        )
        texts = [RICH if n % 2 else f"question {n}" for n in range(MESSAGES)]
        seconds = await page.evaluate(OPEN, {"texts": texts, "event": event})
        await page.close()
        return taken, list(seconds)


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


async def of_gradio(browser: Browser, model: OpenAIDouble) -> float:
    """Return the share of Gradio's own chat."""
    with naive(model) as url:
        page = await browser.new_page(viewport={"width": 1280, "height": 800})
        async with asyncio.timeout(120):
            while True:
                try:
                    await page.goto(url)
                    break
                except Exception:  # noqa: BLE001 (it is not there yet)
                    await asyncio.sleep(0.5)
        taken = await share(page, "textarea", "[data-testid=bot] table")
        await page.close()
        return taken


async def main() -> int:
    """Measure and print; return the exit status."""
    with tempfile.TemporaryDirectory() as folder:
        async with (
            OpenAIDouble(scripts={"page": answers}) as model,
            async_playwright() as playwright,
        ):
            browser = await playwright.chromium.launch(
                executable_path=chromium(), args=["--no-sandbox", "--disable-gpu"]
            )
            ours, (shown, whole) = await of_app(browser, model, Path(folder))
            theirs = await of_gradio(browser, model)
            await browser.close()
    print(f"main thread, {WORDS_A_SECOND:.0f} words/s below {RICH_ANSWERS} rich answers:")
    print(
        f"  this page {ours:.1%}, Gradio's ChatInterface {theirs:.1%} ({theirs / ours:.1f} times)"
    )
    print(f"{MESSAGES} messages: shown after {shown:.2f} s, all drawn after {whole:.2f} s")
    return int(ours > MAX_SHARE or shown > MAX_OPEN_SECONDS)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
