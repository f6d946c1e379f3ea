"""WhatsApp: an address of a file that a delivery names leads nowhere that only the app can reach."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from cmw_agent.channels.whatsapp.bridges.choice import bridge_of
from cmw_agent.channels.whatsapp.client import WhatsAppClient
from cmw_agent.channels.whatsapp.inbound import InboundMessage
from cmw_agent.config.settings import Settings
from cmw_agent.core.errors import UserError
from cmw_agent.core.public_addresses import is_public, may_be_public
from tests.doubles.whatsapp_bridges import WppConnectWire, bridge_server
from tests.phones import whatsapp_settings

MEDIA_SECONDS = 1.0


@contextlib.asynccontextmanager
async def behind_bridge(folder: Path, **changes: Any) -> AsyncIterator[tuple[Settings, Any, Any]]:
    async with bridge_server("wppconnect") as wire, aiohttp.ClientSession() as http:
        settings = whatsapp_settings(folder, **{**wire.settings(), **changes})
        yield settings, wire, WhatsAppClient(settings, http, media_seconds=MEDIA_SECONDS)


def picture_at(settings: Settings, url: str) -> InboundMessage:
    """The message of a wppconnect-server that keeps its files at an address."""
    wire = WppConnectWire()
    body = wire.file("491511", "look", b"x") | {"fileUrl": url, "body": ""}
    (found,) = bridge_of(settings).parse(body)
    return found.message


async def fetched(client: WhatsAppClient, message: InboundMessage) -> bytes:
    async with contextlib.aclosing(client.media(message)) as body:
        return b"".join([part async for part in body])


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "127.0.0.1",
        "localhost",
        "10.0.0.1",
        "[::1]",
        "[fe80::1]",
        "[::ffff:169.254.169.254]",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0",
    ],
)
async def test_no_file_is_fetched_from_this_machine_or_its_network(
    host: str, tmp_path: Path
) -> None:
    reached: list[str] = []

    async def note(request: web.Request) -> web.Response:
        reached.append(request.path)
        return web.Response(body=b"secret")

    inside = web.Application()
    inside.router.add_get("/{path:.*}", note)
    runner = web.AppRunner(inside, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    try:
        async with behind_bridge(tmp_path) as (settings, _, client):
            with pytest.raises(UserError):
                await fetched(client, picture_at(settings, f"http://{host}:{port}/latest"))
            assert client.media_failures == 1
        assert reached == []
    finally:
        await runner.cleanup()


async def test_a_file_that_never_ends_or_is_too_large_is_given_up(tmp_path: Path) -> None:
    async def trickle(request: web.Request) -> web.StreamResponse:
        assert "authorization" in request.headers  # at the bridge itself the token goes along
        answer = web.StreamResponse()
        await answer.prepare(request)
        with contextlib.suppress(ConnectionError):
            while True:
                await answer.write(b"x")
                await asyncio.sleep(0.01)
        return answer

    async def flood(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        with contextlib.suppress(ConnectionError):
            while True:
                await answer.write(b"x" * 65_536)
        return answer

    app = web.Application()
    app.router.add_get("/trickle", trickle)
    app.router.add_get("/flood", flood)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        changes = {"whatsapp_bridge_url": url, "max_file_bytes": 1_000_000}
        async with behind_bridge(tmp_path, **changes) as (settings, _, client):
            with pytest.raises(UserError, match="could not be fetched"):
                await fetched(client, picture_at(settings, f"{url}/trickle"))
            with pytest.raises(UserError, match="too large"):
                await fetched(client, picture_at(settings, f"{url}/flood"))
    finally:
        await runner.cleanup()


def test_public_addresses_alone_are_public() -> None:
    assert is_public("8.8.8.8")
    assert is_public("2001:4860:4860::8888")
    for address in ("100.64.0.1", "192.168.1.1", "224.0.0.1", "::", "fc00::1", "name"):
        assert not is_public(address), address
    assert may_be_public("bucket.s3.amazonaws.com")
    assert not may_be_public("0177.0.0.1")
