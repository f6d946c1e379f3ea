"""Runs nginx in front of replicas, with the deployed configuration."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import aiohttp

from tests.harness import WAIT
from tests.nginx import nginx_program, rendered
from tests.ports import free_port


@contextlib.asynccontextmanager
async def nginx(folder: Path, replicas: Sequence[int]) -> AsyncIterator[str]:
    """Run nginx for the block, in front of apps on these ports; the block gets its address."""
    port = free_port()
    (folder / "nginx.conf").write_text(rendered(port, replicas), encoding="utf-8")
    words = ["-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]
    process = await asyncio.create_subprocess_exec(nginx_program(), *words, "-g", "daemon off;")
    url = f"http://127.0.0.1:{port}"
    try:
        async with asyncio.timeout(WAIT), aiohttp.ClientSession() as http:
            while not await _serves(http, url):
                assert process.returncode is None, (folder / "error.log").read_text()
                await asyncio.sleep(0.02)
        yield url
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        await process.wait()


async def _serves(http: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with http.get(f"{url}/healthz"):
            return True  # whatever it says: there may be no replica yet
    except aiohttp.ClientError:
        return False
