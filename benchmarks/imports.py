"""``python -m benchmarks.imports``: what a large import takes of the app, and of those beside it.

A file in ChatGPT's shape with 4,000 conversations of 20 messages (140 MB) is imported into a new
SQLite database. Printed are the seconds that it took, the CPU and the resident memory of the app and
of its worker, and how late the event loop was meanwhile: that is what everybody else would notice.
"""

import asyncio
import json
import os
import tempfile
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from cmw_agent.config.settings import Settings
from cmw_agent.conversations.importing.run import ImportTarget
from cmw_agent.identity.principals import Principal
from cmw_agent.runtime.runtime import Runtime

CONVERSATIONS, MESSAGES = 4_000, 20
TEXT = 'Some text with "quotes" and\nlines \U0001f600 ' * 20
TICK = 0.01  # seconds between two looks at the loop
TARGET = ImportTarget("assistant", frozenset({"assistant"}))


def conversation() -> bytes:
    """Return one conversation in ChatGPT's shape, with as much around it as real ones have."""
    extra = {f"field_{number}": "v" * 20 for number in range(15)}
    mapping = {}
    for number in range(MESSAGES):
        message: dict[str, Any] = {
            "author": {"role": "assistant" if number % 2 else "user"},
            "create_time": 1_700_000_000 + number,
            "content": {"content_type": "text", "parts": [TEXT]},
            "metadata": {"model_slug": "gpt-4o", **extra},
        }
        parent = str(number - 1) if number else None
        mapping[str(number)] = {"id": str(number), "parent": parent, "message": message}
    return json.dumps({"title": "A title", "mapping": mapping}).encode()


async def body(one: bytes) -> AsyncGenerator[bytes]:
    """Yield the file."""
    yield b"["
    for number in range(CONVERSATIONS):
        yield b"," + one if number else one
    yield b"]"


def resident(process: str) -> float:
    """Return the resident memory of a process in megabytes; 0 where it has ended."""
    try:
        text = Path("/proc", process, "status").read_text(encoding="ascii")
    except OSError:
        return 0.0
    lines = dict(line.split(":", 1) for line in text.splitlines())
    return int(lines.get("VmRSS", "0 kB").split()[0]) / 1000


async def watched(delays: list[float], peaks: dict[str, float]) -> None:
    """Note how late the loop is, and the largest memory of the app and of its worker."""
    own = os.getpid()
    while True:
        before = time.monotonic()
        await asyncio.sleep(TICK)
        delays.append(time.monotonic() - before - TICK)
        if len(delays) % 20:
            continue
        peaks["app"] = max(peaks["app"], resident("self"))
        children = Path(f"/proc/self/task/{own}/children").read_text(encoding="ascii")
        peaks["worker"] = max(peaks["worker"], *map(resident, ["0", *children.split()]))


async def main() -> None:
    """Import the file and print what it took."""
    one = conversation()
    with tempfile.TemporaryDirectory() as folder:
        runtime = Runtime(Settings(data_dir=Path(folder), _env_file=None))
        async with runtime.running():
            delays, peaks = [0.0], {"app": 0.0, "worker": 0.0}
            before = resident("self")
            watching = asyncio.create_task(watched(delays, peaks))
            began, cpu = time.monotonic(), time.process_time()
            run = runtime.imports.run(Principal("v" + "a" * 32, "visitor"), TARGET, body(one))
            result = [line async for line in run][-1]
            seconds, cpu = time.monotonic() - began, time.process_time() - cpu
            watching.cancel()
    delays.sort()
    p50, p99 = (delays[int(len(delays) * share)] * 1000 for share in (0.5, 0.99))
    print(result["sentence"])
    print(f"{len(one) * CONVERSATIONS / 1e6:.0f} MB in {seconds:.0f} s, CPU of the app {cpu:.0f} s")
    print(f"app {before:.0f} MB, at most {peaks['app']:.0f} MB; worker {peaks['worker']:.0f} MB")
    print(
        f"the loop was late by {p50:.1f} ms (p50), {p99:.1f} ms (p99), {delays[-1] * 1000:.0f} ms"
    )


if __name__ == "__main__":
    asyncio.run(main())
