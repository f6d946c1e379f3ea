"""Runs npm's Lighthouse, as it measures pages on a phone, against an address."""

import asyncio
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import ROOT
from tests.programs import NODE, chromium, path_of

FOLDER = Path(__file__).parent / "node"
PROGRAM = FOLDER / "node_modules" / "lighthouse" / "cli" / "index.js"
CATEGORIES = ("performance", "accessibility", "best-practices", "seo")
FIGURES = (
    "first-contentful-paint",
    "largest-contentful-paint",
    "speed-index",
    "total-blocking-time",
    "cumulative-layout-shift",
    "interactive",
)
SECONDS = 300


@dataclass(frozen=True, slots=True)
class Report:
    """A report of Lighthouse.

    Attributes:
        version: Lighthouse's.
        scores: From 0 to 100, by category.
        figures: As Lighthouse writes them, by audit.
        failed: The audits for accessibility that failed.
    """

    version: str
    scores: dict[str, int]
    figures: dict[str, str]
    failed: list[str]


def install() -> None:
    """Install what `benchmarks/node/package-lock.json` names, unless it is installed."""
    subprocess.run(
        ["sh", "scripts/node_modules.sh", str(FOLDER.relative_to(ROOT))],  # noqa: S607
        cwd=ROOT,
        check=True,
        timeout=SECONDS,
    )


async def measure(url: str, target: Path, *, desktop: bool = False) -> Report:
    """Return Lighthouse's report on a page.

    Args:
        url: The page.
        target: The file that the whole report is written to.
        desktop: Whether to measure as on a desktop instead of a phone.

    Raises:
        RuntimeError: Lighthouse ended with an error.
    """
    process = await asyncio.create_subprocess_exec(
        path_of(NODE),
        str(PROGRAM),
        url,
        "--output=json",
        f"--output-path={target}",
        "--quiet",
        "--chrome-flags=--headless=new --no-sandbox --disable-gpu",
        f"--only-categories={','.join(CATEGORIES)}",
        *(["--preset=desktop"] if desktop else []),
        env={**os.environ, "CHROME_PATH": chromium()},
    )
    try:
        async with asyncio.timeout(SECONDS):
            status = await process.wait()
    except TimeoutError:
        process.kill()
        raise
    if status:
        raise RuntimeError(f"lighthouse ended with {status}")
    return read(json.loads(await asyncio.to_thread(target.read_text, "utf-8")))


def read(found: dict[str, object]) -> Report:
    """Return what of Lighthouse's JSON is reported."""
    categories, audits = found["categories"], found["audits"]
    assert isinstance(categories, dict)
    assert isinstance(audits, dict)
    accessible = [item["id"] for item in categories["accessibility"]["auditRefs"]]
    return Report(
        version=str(found["lighthouseVersion"]),
        scores={name: round(100 * categories[name]["score"]) for name in CATEGORIES},
        figures={name: audits[name]["displayValue"] for name in FIGURES},
        failed=[name for name in accessible if audits[name]["score"] == 0],
    )
