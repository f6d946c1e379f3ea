"""Meta's Graph API for tests: a real HTTP server for messages, read receipts and media."""

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

    Attributes:
        url: Its base URL.
        files: The media's bytes by media id.
        media_urls: Other download URLs than the API's own, by media id.
        sent: The bodies of the messages sent.
        closed: Recipients who have not written for 24 hours: they get templates alone.
        templates: The approved templates: name, language, and how many parameters the body has.
        refused: The bodies of the messages that were refused.
        read: The bodies of the read receipts.
        stalled: The ids of media whose download stops after the first byte until the API closes.
        fetched: The ids of the media asked for.
        closing: Set when the API closes.
        changed: Set when a message or receipt has arrived.
    """

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    media_urls: dict[str, str] = field(default_factory=dict)
    sent: list[dict[str, Any]] = field(default_factory=list)
    closed: set[str] = field(default_factory=set)
    templates: set[tuple[str, str, int]] = field(default_factory=set)
    refused: list[dict[str, Any]] = field(default_factory=list)
    read: list[dict[str, Any]] = field(default_factory=list)
    stalled: set[str] = field(default_factory=set)
    fetched: list[str] = field(default_factory=list)
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def until(self, count: int, within: float = WAIT) -> None:
        """Wait until `count` messages were sent."""
        async with asyncio.timeout(within):
            while len(self.sent) < count:
                self.changed.clear()
                await self.changed.wait()

    async def _messages(self, request: web.Request) -> web.Response:
        assert request.match_info["number"] == NUMBER_ID
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return web.json_response({"error": {"code": 190}}, status=401)
        body = await request.json()
        assert body["messaging_product"] == "whatsapp"
        if (error := self._error_of(body)) is not None:
            self.refused.append(body)
            self.changed.set()
            return web.json_response({"error": error}, status=400)
        (self.read if body.get("status") == "read" else self.sent).append(body)
        self.changed.set()
        return web.json_response({"messages": [{"id": "wamid.out"}]})

    def _error_of(self, body: dict[str, Any]) -> dict[str, Any] | None:
        """Return Meta's error for a message, in the form of its reference."""
        template = body.get("template")
        if template is None:
            if body.get("recipient", body.get("to")) not in self.closed or "text" not in body:
                return None
            return _error(131047, "Re-engagement message")
        parameters = [p for c in template.get("components", ()) for p in c["parameters"]]
        assert all(set(p) == {"type", "text"} and "\n" not in p["text"] for p in parameters)
        form = (template["name"], template["language"]["code"], len(parameters))
        if form in self.templates:
            return None
        is_named = any(form[:2] == known[:2] for known in self.templates)
        if is_named:
            return _error(
                132000, "Number of parameters does not match the expected number of params"
            )
        return _error(132001, "Template name does not exist in the translation")

    async def _media(self, request: web.Request) -> web.Response:
        media_id = request.match_info["media"]
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return web.Response(status=401)
        self.fetched.append(media_id)
        if media_id not in self.files:
            return web.Response(status=404)
        url = self.media_urls.get(media_id, f"{self.url}/bytes/{media_id}")
        return web.json_response({"url": url, "mime_type": "image/png"})

    async def _bytes(self, request: web.Request) -> web.StreamResponse:
        assert request.headers.get("authorization") == f"Bearer {TOKEN}"
        media_id = request.match_info["media"]
        if media_id not in self.stalled:
            return web.Response(body=self.files[media_id])
        answer = web.StreamResponse(headers={"content-length": str(len(self.files[media_id]))})
        await answer.prepare(request)
        await answer.write(self.files[media_id][:1])
        await self.closing.wait()
        return answer


def _error(code: int, message: str) -> dict[str, Any]:
    data = {"messaging_product": "whatsapp", "details": message}
    text = f"(#{code}) {message}"
    return {"message": text, "type": "OAuthException", "code": code, "error_data": data}


@contextlib.asynccontextmanager
async def whatsapp_cloud() -> AsyncIterator[Cloud]:
    """Serve a Graph API on a free port of 127.0.0.1 for the block."""
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
        cloud.closing.set()
        await runner.cleanup()
