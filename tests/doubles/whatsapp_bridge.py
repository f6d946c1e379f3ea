"""A WPPConnect bridge for tests: a real HTTP server that records the messages it is to send."""

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

    Attributes:
        url: Its base URL.
        plan: The responses to the next sends: an HTTP status, "hang" for no response until the
            end, or "cut" to close the connection. When it is empty, sends succeed.
        headers: Sent with responses of other statuses than 200.
        requests: The bodies of all sends.
        delivered: Chat and text of the sends that succeeded.
        typing: The typing indicators: ("start" or "stop", chat).
        closing: Set when the bridge closes.
        changed: Set when a send or an indicator has arrived.
    """

    url: str = ""
    plan: list[int | str] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    requests: list[dict[str, Any]] = field(default_factory=list)
    delivered: list[tuple[str, str]] = field(default_factory=list)
    typing: list[tuple[str, str]] = field(default_factory=list)
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def texts(self, chat: str) -> list[str]:
        """Return the texts that were delivered to a chat."""
        return [text for to, text in self.delivered if to == chat]

    async def until(self, count: int, within: float = WAIT) -> None:
        """Wait until `count` texts were delivered."""
        async with asyncio.timeout(within):
            while len(self.delivered) < count:
                self.changed.clear()
                await self.changed.wait()

    async def until_asked(self, count: int, within: float = WAIT) -> None:
        """Wait until `count` sends have arrived."""
        async with asyncio.timeout(within):
            while len(self.requests) < count:
                self.changed.clear()
                await self.changed.wait()

    async def until_typing(self, indicator: tuple[str, str], within: float = WAIT) -> None:
        """Wait for a typing indicator, ("start" or "stop", chat)."""
        async with asyncio.timeout(within):
            while indicator not in self.typing:
                self.changed.clear()
                await self.changed.wait()

    async def _text(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return web.json_response({"error": "token"}, status=401)
        body = await request.json()
        assert set(body) == {"chatId", "message"}
        assert 0 < len(body["message"]) <= 4096
        self.requests.append(body)
        self.changed.set()
        step = self.plan.pop(0) if self.plan else 200
        if step == "hang":
            await self.closing.wait()
            return web.Response(status=503)
        if step == "cut":
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if step != 200:
            return web.Response(status=int(step), headers=self.headers)
        self.delivered.append((body["chatId"], body["message"]))
        self.changed.set()
        return web.json_response({"success": True})

    async def _typing(self, request: web.Request) -> web.Response:
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return web.json_response({"error": "token"}, status=401)
        body = await request.json()
        assert set(body) == {"chatId"}
        self.typing.append((request.match_info["what"], body["chatId"]))
        self.changed.set()
        return web.json_response({"success": True})

    async def _health(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})


@contextlib.asynccontextmanager
async def whatsapp_bridge() -> AsyncIterator[Bridge]:
    """Serve a bridge on a free port of 127.0.0.1 for the block."""
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
        bridge.closing.set()
        await runner.cleanup()
