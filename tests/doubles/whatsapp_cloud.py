"""Meta's Graph API for tests, on the real wire: messages, read receipts and files."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.doubles.waiting import WAIT

TOKEN, NUMBER_ID = "cloud-token", "1090"


@dataclass(slots=True)
class Cloud:
    """A running Graph API.

    `files` are bytes by media id; `places` puts another address in the place of a file's own. Those
    in `stalled` end after their first byte, without an end, until the block ends.
    """

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    sent: list[dict[str, Any]] = field(default_factory=list)
    read: list[dict[str, Any]] = field(default_factory=list)
    stalled: set[str] = field(default_factory=set)
    fetched: list[str] = field(default_factory=list)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    came: asyncio.Event = field(default_factory=asyncio.Event)

    async def until(self, count: int, within: float = WAIT) -> None:
        """Wait until so many messages were sent."""
        async with asyncio.timeout(within):
            while len(self.sent) < count:
                self.came.clear()
                await self.came.wait()

    async def _messages(self, request: web.Request) -> web.Response:
        assert request.match_info["number"] == NUMBER_ID
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return web.json_response({"error": {"code": 190}}, status=401)
        body = await request.json()
        assert body["messaging_product"] == "whatsapp"
        (self.read if body.get("status") == "read" else self.sent).append(body)
        self.came.set()
        return web.json_response({"messages": [{"id": "wamid.out"}]})

    async def _media(self, request: web.Request) -> web.Response:
        media_id = request.match_info["media"]
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return web.Response(status=401)
        self.fetched.append(media_id)
        if media_id not in self.files:
            return web.Response(status=404)
        place = self.places.get(media_id, f"{self.url}/bytes/{media_id}")
        return web.json_response({"url": place, "mime_type": "image/png"})

    async def _bytes(self, request: web.Request) -> web.StreamResponse:
        assert request.headers.get("authorization") == f"Bearer {TOKEN}"
        media_id = request.match_info["media"]
        if media_id not in self.stalled:
            return web.Response(body=self.files[media_id])
        answer = web.StreamResponse(headers={"content-length": str(len(self.files[media_id]))})
        await answer.prepare(request)
        await answer.write(self.files[media_id][:1])
        await self.over.wait()
        return answer


@contextlib.asynccontextmanager
async def whatsapp_cloud() -> AsyncIterator[Cloud]:
    """Serve a Graph API on a free port for the block."""
    cloud = Cloud()
    app = web.Application()
    app.router.add_post("/{number}/messages", cloud._messages)
    app.router.add_get("/bytes/{media}", cloud._bytes)
    app.router.add_get("/{media}", cloud._media)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    cloud.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield cloud
    finally:
        cloud.over.set()
        await runner.cleanup()
