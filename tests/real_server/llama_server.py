"""Runs llama.cpp's HTTP server as a process of its own, for a test's block."""

import asyncio
import contextlib
import dataclasses
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from tests.harness import WAIT

KEY = "key-of-the-real-server"
ROOT = Path(__file__).parents[2]


class ServerEndedError(Exception):
    """The server ended before it listened; its standard error says why."""


@dataclass(frozen=True, slots=True)
class LlamaServer:
    """A running server.

    Attributes:
        url: Its address, without `/v1`.
        process: Its process, which a test may kill.
    """

    url: str
    process: asyncio.subprocess.Process

    @property
    def base_url(self) -> str:
        """The value for OPENAI_BASE_URL."""
        return f"{self.url}/v1"

    async def busy(self) -> int:
        """Return how many slots work on an answer."""
        slots = await self._get("/slots")
        return sum(slot["is_processing"] for slot in slots)

    async def wait_busy(self, slots: int) -> None:
        """Wait until so many slots work on an answer."""
        async with asyncio.timeout(WAIT):
            while await self.busy() != slots:  # noqa: ASYNC110 (there is no event to wait for)
                await asyncio.sleep(0.01)

    async def counted(self) -> tuple[int, int]:
        """Return the tokens of all prompts and of all answers so far, as the server counts them."""
        lines = (await self._get("/metrics")).splitlines()
        counts = dict(line.split(" ") for line in lines if line[:1] != "#")
        names = ("prompt_tokens_total", "prompt_tokens_cached_total", "tokens_predicted_total")
        read, cached, predicted = (int(counts[f"llamacpp:{name}"]) for name in names)
        return read + cached, predicted

    async def _get(self, path: str) -> Any:
        headers = {"Authorization": f"Bearer {KEY}"}
        async with (
            asyncio.timeout(WAIT),
            aiohttp.ClientSession(self.url, headers=headers, raise_for_status=True) as http,
            http.get(path) as reply,
        ):
            return await (reply.json() if reply.content_type.endswith("json") else reply.text())


@dataclass(frozen=True, slots=True)
class Limits:
    """What a server allows.

    Attributes:
        predict: Tokens of an answer, at most; -1 for as many as the context has room for.
        context: Tokens of a prompt and its answer together, at most.
        slots: Answers at a time; further requests wait.
    """

    predict: int = 200
    context: int = 8192
    slots: int = 2


@contextlib.asynccontextmanager
async def started(model: Path, limits: Limits, port: int = 0) -> AsyncIterator[LlamaServer]:
    """Run a server for the block.

    Args:
        model: The GGUF file.
        limits: What it allows.
        port: The port of 127.0.0.1; a free one when 0.

    Raises:
        ServerEndedError: The server ended before it listened.
    """
    numbers = [str(number) for number in (*dataclasses.astuple(limits), port)]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.real_server.serve", str(model), KEY, *numbers),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(WAIT):
            url = (await process.stdout.readline()).decode().strip()
        if not url:
            raise ServerEndedError(f"exit code {await process.wait()}; see its standard error")
        yield LlamaServer(url, process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()  # it writes nothing that counts
        process.stdin.close()
        await process.communicate()
