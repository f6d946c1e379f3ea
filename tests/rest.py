"""A client of the REST interface that authenticates with an API key."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.harness import WAIT

SHOP, BANK = "s" * 32, "b" * 32
KEYS = f"shop:{SHOP},bank:{BANK}"


@dataclass(slots=True)
class Reply:
    """An HTTP response."""

    status: int
    body: bytes
    headers: dict[str, str]

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[tuple[str, Any]]:
        """Server-sent events, as pairs of name and data."""
        events = []
        for block in self.body.decode().split("\n\n"):
            lines = dict(line.split(": ", 1) for line in block.splitlines() if line[:1] != ":")
            if lines:
                events.append((lines["event"], json.loads(lines["data"])))
        return events


@dataclass(slots=True)
class Client:
    """Sends requests with one key; `received` has every byte of the responses, for oracles."""

    url: str
    key: str | None
    http: aiohttp.ClientSession
    agent: str = "assistant"
    origin: str | None = None  # the Origin header of a page; programs send none
    received: bytearray = field(default_factory=bytearray)

    async def ask(self, method: str, path: str, content: Any = None, **headers: str) -> Reply:
        """Send a request; the names of `headers` have underscores instead of hyphens."""
        sent = {} if self.origin is None else {"Origin": self.origin}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        if self.key is not None:
            sent["Authorization"] = f"Bearer {self.key}"
        async with (
            asyncio.timeout(WAIT),
            self.http.request(
                method, f"{self.url}{path}", json=content, headers=sent, allow_redirects=False
            ) as answer,
        ):
            body = await answer.read()
            self.received += body
            return Reply(answer.status, body, dict(answer.headers))

    async def say(self, text: str, session_id: str | None = None, **headers: str) -> Reply:
        """Send a message."""
        content = {"message": text} | ({"session_id": session_id} if session_id else {})
        return await self.ask("POST", f"/api/chat/{self.agent}/message", content, **headers)

    async def at(self, session_id: str, rest: str = "", method: str = "GET") -> Reply:
        """Send a request for a session; `rest` is appended to its path."""
        return await self.ask(method, f"/api/chat/{self.agent}/sessions/{session_id}{rest}")


@contextlib.asynccontextmanager
async def client(
    url: str, key: str | None = SHOP, agent: str = "assistant", origin: str | None = None
) -> AsyncIterator[Client]:
    """Open a client for the block."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as http:
        yield Client(url, key, http, agent, origin)
