"""Runs axe-core, which looks for what keeps people from using a page, in a page of Chromium."""

from functools import lru_cache
from pathlib import Path
from typing import Any

from playwright.async_api import Frame, Page

SCRIPT = Path(__file__).parents[2] / "frontend/node_modules/axe-core/axe.min.js"
RUN = """async (within) => {
    const { violations } = await axe.run(within ?? document, { resultTypes: ["violations"] });
    return violations.flatMap(({ id, nodes }) => nodes.map(
        ({ target, failureSummary }) => `${id} at ${target.flat().join(" ")}: ${failureSummary}`));
}"""


@lru_cache(maxsize=1)
def _source() -> str:
    return SCRIPT.read_text("utf-8")


async def violations(page: Page | Frame, within: str | None = None) -> list[str]:
    """Return what axe finds, each with its rule, its element and why.

    Args:
        page: The page.
        within: A selector of the part that is looked at; None for all.
    """
    if not await page.evaluate("typeof window.axe === 'object'"):
        await page.evaluate(_source() + "; undefined")
    found: Any = await page.evaluate(RUN, within)
    return [str(line) for line in found]
