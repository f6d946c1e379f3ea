"""nginx in front of replicas, with the configuration that is deployed."""

import asyncio
import contextlib
import os
import re
import signal
import socket
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import aiohttp

from tests.harness import WAIT
from tests.nginx import CONFIGURATION, nginx_program


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.asynccontextmanager
async def nginx(folder: Path, replicas: Sequence[int]) -> AsyncIterator[str]:
    """Run nginx for the block, in front of apps on these ports; the block gets its address."""
    port = free_port()
    (folder / "nginx.conf").write_text(rendered(port, replicas), encoding="utf-8")
    words = ["-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]
    process = await asyncio.create_subprocess_exec(nginx_program(), *words)
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


def rendered(port: int, replicas: Sequence[int]) -> str:
    """Return the deployed configuration with these ports, its files below the prefix."""
    text = CONFIGURATION.read_text(encoding="utf-8").replace(
        "listen 80;", f"listen 127.0.0.1:{port};"
    )
    for number, replica in enumerate(replicas, 1):
        text = text.replace(f"server app{number}:7860 ", f"server 127.0.0.1:{replica} ")
    assert f"127.0.0.1:{port};" in text
    assert not re.search(r"server app\d", text)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "".join(f"  {kind}_temp_path {kind};\n" for kind in kinds)
    text = text.replace("http {\n", f"http {{\n  access_log off;\n{paths}", 1)
    user = "user root;\n" if os.geteuid() == 0 else ""  # whoever reaches the folder
    return f"daemon off;\npid nginx.pid;\n{user}{text}"
