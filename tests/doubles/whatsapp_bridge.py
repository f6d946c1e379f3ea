"""A WPPConnect bridge for tests, on the real wire: it records what it is asked to send."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.doubles.waiting import WAIT

TOKEN = "bridge-token"


@dataclass(slots=True)
class Bridge:
    """A running bridge.

    `plan` says how the next sends are answered, one entry each: an HTTP status, or "hang" for
    silence until the end, or "cut" for a connection that ends; when it is empty, all is
    well. `asked` are all sends that came, `texts` those that were taken.
    """

    url: str = ""
    plan: list[int | str] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[dict[str, Any]] = field(default_factory=list)
    taken: list[tuple[str, str]] = field(default_factory=list)
    typing: list[tuple[str, str]] = field(default_factory=list)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    came: asyncio.Event = field(default_factory=asyncio.Event)

    def texts(self, chat: str) -> list[str]:
        """Return what was sent to a chat."""
        return [text for to, text in self.taken if to == chat]

    async def until(self, count: int, within: float = WAIT) -> None:
        """Wait until so many texts were taken."""
        async with asyncio.timeout(within):
            while len(self.taken) < count:
                self.came.clear()
                await self.came.wait()

    async def until_asked(self, count: int, within: float = WAIT) -> None:
        """Wait until so many sends came."""
        async with asyncio.timeout(within):
            while len(self.asked) < count:
                self.came.clear()
                await self.came.wait()

    async def until_typing(self, shown: tuple[str, str], within: float = WAIT) -> None:
        """Wait until a chat was shown that somebody types, ("start", chat), or types no more."""
        async with asyncio.timeout(within):
            while shown not in self.typing:
                self.came.clear()
                await self.came.wait()

    async def _text(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return web.json_response({"error": "token"}, status=401)
        body = await request.json()
        assert set(body) == {"chatId", "message"}
        assert 0 < len(body["message"]) <= 4096
        self.asked.append(body)
        self.came.set()
        step = self.plan.pop(0) if self.plan else 200
        if step == "hang":
            await self.over.wait()
            return web.Response(status=503)
        if step == "cut":
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if step != 200:
            return web.Response(status=int(step), headers=self.headers)
        self.taken.append((body["chatId"], body["message"]))
        self.came.set()
        return web.json_response({"success": True})

    async def _typing(self, request: web.Request) -> web.Response:
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return web.json_response({"error": "token"}, status=401)
        body = await request.json()
        assert set(body) == {"chatId"}
        self.typing.append((request.match_info["what"], body["chatId"]))
        self.came.set()
        return web.json_response({"success": True})

    async def _health(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})


@contextlib.asynccontextmanager
async def whatsapp_bridge() -> AsyncIterator[Bridge]:
    """Serve a bridge on a free port for the block."""
    bridge = Bridge()
    app = web.Application()
    app.router.add_post("/send/text", bridge._text)
    app.router.add_post("/typing/{what:start|stop}", bridge._typing)
    app.router.add_get("/health", bridge._health)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    bridge.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield bridge
    finally:
        bridge.over.set()
        await runner.cleanup()
