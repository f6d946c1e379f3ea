"""The bridge of the folder `bridge` as a process, with a stand-in for WhatsApp and its phone."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from tests.doubles.waiting import WAIT
from tests.doubles.whatsapp_bridge import TOKEN
from tests.programs import NODE, path_of

PROGRAM = Path(__file__).parents[2] / "bridge/test/stand_in_process.js"
MAX_FILE_BYTES = 2000
TOKEN_OF_BRIDGE = f"{TOKEN}-0001"  # the bridge takes none that is shorter


class OwnBridge:
    """A running bridge.

    Attributes:
        url: Where it listens.
        events: What has come to the phone so far.
    """

    def __init__(self, process: asyncio.subprocess.Process, url: str) -> None:
        self.url = url
        self.events: list[list[Any]] = []
        self._process = process
        self._changed = asyncio.Condition()

    async def command(self, *parts: Any) -> None:
        """Have the phone do something."""
        assert self._process.stdin is not None
        self._process.stdin.write(orjson.dumps(parts) + b"\n")
        await self._process.stdin.drain()

    async def until(self, *event: Any) -> None:
        """Wait until an event has come to the phone."""
        async with asyncio.timeout(WAIT), self._changed:
            await self._changed.wait_for(lambda: list(event) in self.events)

    async def health(self) -> dict[str, Any]:
        """Return what the bridge says of itself."""
        async with aiohttp.ClientSession() as http, http.get(f"{self.url}/health") as answer:
            found: dict[str, Any] = await answer.json()
            return found

    async def until_waiting(self, count: int) -> None:
        """Wait until so many messages wait for the app."""
        async with asyncio.timeout(WAIT):
            while (await self.health())["waiting"]["messages"] != count:  # noqa: ASYNC110 (of another process)
                await asyncio.sleep(0.02)

    async def read(self) -> None:
        """Read the events until the process ends."""
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            async with self._changed:
                self.events.append(orjson.loads(line))
                self._changed.notify_all()

    async def kill(self) -> None:
        """End the process at once, as a power cut does."""
        self._process.kill()
        await self._process.wait()


@contextlib.asynccontextmanager
async def own_bridge(
    folder: Path, app_url: str, port: int, secret: str, *, is_linked: bool
) -> AsyncIterator[OwnBridge]:
    """Run a bridge for the block; its phone is there when the block begins.

    Args:
        folder: What it keeps.
        app_url: Where the app is.
        port: Where it listens.
        secret: Signs what goes to the app.
        is_linked: Whether the phone is linked already; else a code is to be scanned.
    """
    process = await asyncio.create_subprocess_exec(
        path_of(NODE),
        PROGRAM,
        "linked" if is_linked else "new",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={
            "PATH": os.environ["PATH"],
            "BRIDGE_APP_URL": app_url,
            "BRIDGE_BROWSER": "none",
            "BRIDGE_DATA_DIR": str(folder),
            "BRIDGE_PORT": str(port),
            "CMW_MAX_FILE_BYTES": str(MAX_FILE_BYTES),
            "CMW_WHATSAPP_BRIDGE_TOKEN": TOKEN_OF_BRIDGE,
            "CMW_WHATSAPP_SECRET": secret,
        },
    )
    bridge = OwnBridge(process, f"http://127.0.0.1:{port}")
    reading = asyncio.create_task(bridge.read())
    try:
        await bridge.until("opened")
        yield bridge
    finally:
        if process.returncode is None:
            process.terminate()
        async with asyncio.timeout(WAIT):
            await process.wait()
            await reading
