"""``python -m benchmarks.switches tripwire`` (or ``record``): what a setting adds to a turn.

Turns of an app without and with it are run in turn in one process, with a model that streams some
words by itself. Printed are the CPU milliseconds of a turn of each, and what the setting adds.
"""

import argparse
import asyncio
import contextlib
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

from cmw_agent.runtime.runtime import Runtime
from tests.doubles.openai_server import OpenAIDouble
from tests.harness import settings_for
from tests.service import all_events, session_of

ROUNDS, WORDS = 150, 300
SETTINGS = ("tripwire", "record")


@contextlib.asynccontextmanager
async def running(folder: Path, base_url: str, setting: str | None) -> AsyncIterator[Runtime]:
    """Run the app's services for the block, with one setting on or with none."""
    settings = settings_for(
        folder,
        openai_base_url=base_url,
        model="echo",
        tripwire=setting == "tripwire",
        record=folder / "cassettes" if setting == "record" else None,
        titles="off",
        turns_per_minute=0,
    )
    runtime = Runtime(settings)
    async with runtime.running():
        yield runtime


async def spent(runtime: Runtime, number: int) -> float:
    """Return the CPU milliseconds of one turn."""
    text = " ".join(f"word{word}" for word in range(WORDS))
    session = await session_of(runtime)
    before = time.process_time()
    await all_events(runtime.chat.turn(session, text, key=str(number)))
    return 1_000 * (time.process_time() - before)


async def main(setting: str) -> None:
    """Print the figures of a setting."""
    with tempfile.TemporaryDirectory() as name:
        folders = [Path(name, kind) for kind in ("without", "with")]
        for folder in folders:
            folder.mkdir()
        async with (
            OpenAIDouble() as endpoint,
            running(folders[0], endpoint.base_url, None) as plain,
            running(folders[1], endpoint.base_url, setting) as changed,
        ):
            times: tuple[list[float], list[float]] = ([], [])
            for number in range(ROUNDS):
                pair = [*zip((plain, changed), times, strict=True)]
                # Whoever is second finds warmer or colder caches each time.
                for runtime, taken in reversed(pair) if number % 2 else pair:
                    taken.append(await spent(runtime, number))
    without, with_ = (statistics.median(taken[5:]) for taken in times)
    print(f"a turn of {WORDS} words, medians of {ROUNDS}: {without:.2f} ms without, ", end="")
    print(f"{with_:.2f} ms with; {100 * (with_ / without - 1):+.1f} %")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.switches", description=__doc__)
    parser.add_argument("setting", choices=SETTINGS)
    asyncio.run(main(parser.parse_args().setting))
