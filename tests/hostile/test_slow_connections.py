"""Connections with slow headers, bodies or reads are closed in time."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from cmw_agent.limits.budgets import Budget, Budgets
from cmw_agent.server.connection_bounds import ConnectionBounds, Deadlines
from cmw_agent.server.http_protocol import MAX_HEADER_BYTES, protocol_for
from cmw_agent.web.security.route_allowlist import API
from tests.harness import WAIT, Served, served, settings_for
from tests.service import until

SHORT = Deadlines(headers=0.3, body=0.3, bytes_per_second=1e9, unread=0.3)
NEVER = Deadlines(headers=1e6, body=1e6, bytes_per_second=1e9, unread=1e6)
HOST = b"Host: localhost\r\n"
RENAME = b"Content-Type: application/json\r\nContent-Length: 8000\r\n\r\n"
JOIN = f"POST {API}/queue/join HTTP/1.1\r\n".encode() + HOST


class Wire:
    """A raw connection to the app."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        with contextlib.suppress(ConnectionError):
            await self.writer.drain()

    async def rest(self) -> bytes:
        """Return all that comes until the other side closes."""
        async with asyncio.timeout(WAIT):
            with contextlib.suppress(ConnectionError):
                return await self.reader.read()
        return b""

    async def trickle(self, piece: bytes) -> bytes:
        """Send a piece again and again until the other side closes; return what it said."""

        async def write() -> None:
            while True:
                await self.send(piece)
                await asyncio.sleep(0.02)

        writing = asyncio.create_task(write())
        try:
            return await self.rest()
        finally:
            writing.cancel()


@contextlib.asynccontextmanager
async def wire(url: str, address: str = "127.0.0.1") -> AsyncIterator[Wire]:
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(
        parts.hostname, parts.port, local_addr=(address, 0)
    )
    try:
        yield Wire(reader, writer)
    finally:
        writer.transport.abort()


def connections(app: Served) -> int:
    return len(app.server.server_state.connections)


async def test_a_connection_that_sends_nothing_is_closed(tmp_path: Path) -> None:
    async with served(settings_for(tmp_path), deadlines=SHORT) as app, wire(app.url) as idle:
        assert await idle.rest() == b""
        await until(lambda: not connections(app))


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (b"", b"\r\n"),
        (b"", b"G"),
        (b"GET / HTTP/1.1\r\n" + HOST, b"X-A: b\r\n"),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X-A: ", b"b"),
    ],
)
async def test_headers_that_trickle_are_given_up(
    start: bytes, piece: bytes, tmp_path: Path
) -> None:
    async with served(settings_for(tmp_path), deadlines=SHORT) as app, wire(app.url) as slow:
        await slow.send(start)
        await slow.trickle(piece)
        await until(lambda: not connections(app))


async def test_headers_that_trickle_after_an_answer_are_given_up_too(tmp_path: Path) -> None:
    async with served(settings_for(tmp_path), deadlines=SHORT) as app, wire(app.url) as slow:
        await slow.send(b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n")
        assert b"200 OK" in await slow.reader.readuntil(b"\r\n\r\n")
        await slow.send(b"GET / HTTP/1.1\r\n")
        assert b"408" in await slow.trickle(b"X-A: b\r\n")
        await until(lambda: not connections(app))


@pytest.mark.parametrize(
    "start",
    [
        JOIN + b"Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n",
        JOIN + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /history/rename HTTP/1.1\r\n" + HOST + RENAME,
        b"POST /files HTTP/1.1\r\n" + HOST + b"Content-Length: 8000\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\n" + HOST + b"Content-Length: 8000\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n" + HOST + b"Content-Length: 8000\r\n\r\n",
        b"POST /nowhere HTTP/1.1\r\n" + HOST + b"Content-Length: 8000\r\n\r\n",
    ],
)
async def test_a_body_that_trickles_is_given_up_on_every_route(
    start: bytes, tmp_path: Path
) -> None:
    piece = b"1\r\nx\r\n" if b"chunked" in start else b"x"
    async with served(settings_for(tmp_path), deadlines=SHORT) as app, wire(app.url) as slow:
        await slow.send(start)
        await slow.trickle(piece)
        await until(lambda: not connections(app))


async def test_who_is_too_slow_is_told_so(tmp_path: Path) -> None:
    async with served(settings_for(tmp_path), deadlines=SHORT) as app, wire(app.url) as slow:
        await slow.send(JOIN + b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
        answer = await slow.rest()
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"took too long" in answer


async def test_a_request_that_was_answered_before_its_body_gets_no_second_answer(
    tmp_path: Path,
) -> None:
    async with served(settings_for(tmp_path), deadlines=SHORT) as app, wire(app.url) as slow:
        await slow.send(JOIN + b"Content-Length: 100\r\n\r\n{")  # not declared as JSON
        answer = await slow.rest()
        assert answer.startswith(b"HTTP/1.1 415 ")
        assert answer.count(b"HTTP/1.1 ") == 1


async def test_a_body_that_comes_fast_enough_may_take_longer(tmp_path: Path) -> None:
    patient = Deadlines(headers=0.3, body=0.3, bytes_per_second=1, unread=0.3)
    async with served(settings_for(tmp_path), deadlines=patient) as app, wire(app.url) as slow:
        await slow.send(JOIN + b"Content-Length: 9999\r\n\r\n" + b" " * 5000)
        await asyncio.wait({asyncio.create_task(slow.rest())}, timeout=1)
        assert connections(app) == 1


async def test_a_request_in_pieces_is_answered_as_one(tmp_path: Path) -> None:
    async with served(settings_for(tmp_path)) as app, wire(app.url) as client:
        for number in range(3):
            for piece in (b"GET /healthz HT", b"TP/1.1\r\nHost: localhost\r\n", b"\r\n"):
                await client.send(piece)
                await asyncio.sleep(0)
            head = await client.reader.readuntil(b"\r\n\r\n")
            assert b"200 OK" in head, number
            assert await client.reader.readexactly(15) == b'{"status":"ok"}'


async def test_headers_without_an_end_are_refused(tmp_path: Path) -> None:
    async with served(settings_for(tmp_path), deadlines=NEVER) as app, wire(app.url) as client:
        await client.send(b"GET / HTTP/1.1\r\nX-A: " + b"x" * (MAX_HEADER_BYTES - 20))
        assert b"431" in await client.rest()
        await until(lambda: not connections(app))


async def test_a_websocket_is_refused_and_holds_nothing(tmp_path: Path) -> None:
    async with served(settings_for(tmp_path)) as app, wire(app.url) as client:
        await client.send(
            b"GET / HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        assert b"403" in await client.rest()
        await until(lambda: not app.application.runtime.budgets.used("connections"))


async def test_an_answer_that_nobody_reads_is_given_up(tmp_path: Path) -> None:
    gone = asyncio.Event()

    async def endless(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()  # the request itself
        ending = asyncio.ensure_future(receive())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while not ending.done():
            await send({"type": "http.response.body", "body": b"x" * 65_536, "more_body": True})
            await asyncio.sleep(0)
        gone.set()

    bounds = ConnectionBounds(Budgets.of(settings_for(tmp_path)), deadlines=SHORT)
    async with plainly(endless, bounds) as (server, url), wire(url) as client:
        await client.send(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        async with asyncio.timeout(WAIT):
            await gone.wait()
        await until(lambda: not server.server_state.connections)


@contextlib.asynccontextmanager
async def plainly(
    app: ASGIApp, bounds: ConnectionBounds
) -> AsyncIterator[tuple[uvicorn.Server, str]]:
    """Serve any ASGI app with the bounds."""
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=0,
        http=protocol_for(bounds),
        log_config=None,
        lifespan="off",
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    running = asyncio.create_task(server._serve())
    await until(lambda: server.started)
    try:
        yield server, f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await running


def bounded(per_network: int, total: int, proxies: str = "") -> ConnectionBounds:
    budget = Budget("connections", "connections", total, per_network, total)
    return ConnectionBounds(Budgets({"connections": budget}), proxies, NEVER)


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def test_one_address_holds_its_share_of_connections_and_others_still_connect() -> None:
    async with (
        plainly(hello, bounded(3, 12)) as (server, url),
        contextlib.AsyncExitStack() as stack,
    ):
        for _ in range(3):
            await stack.enter_async_context(wire(url, "127.0.0.2"))
        await until(lambda: len(server.server_state.connections) == 3)
        async with wire(url, "127.0.0.2") as one_more:
            answer = await one_more.rest()
        assert answer.startswith(b"HTTP/1.1 429 ")
        assert b"retry-after: 5" in answer
        assert b"Your network has too many connections" in answer
        async with wire(url, "127.0.0.3") as other:
            await other.send(b"GET / HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
            assert b"204" in await other.rest()


async def test_what_was_closed_is_free_again() -> None:
    async with plainly(hello, bounded(1, 2)) as (server, url):
        for _ in range(5):
            async with wire(url, "127.0.0.2") as client:
                await client.send(b"GET / HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
                assert b"204" in await client.rest()
            await until(lambda: not server.server_state.connections)


@pytest.mark.parametrize(
    ("proxies", "address"),
    [
        ("", "127.0.0.1"),
        ("127.0.0.2", "127.0.0.2"),
        ("192.0.2.0/24, 127.0.0.0/30", "127.0.0.2"),
        ("*", "127.0.0.2"),
        ("1", "127.0.0.2"),
    ],
)
async def test_a_proxy_brings_more_than_one_address_may(proxies: str, address: str) -> None:
    async with (
        plainly(hello, bounded(1, 3, proxies)) as (_, url),
        contextlib.AsyncExitStack() as stack,
    ):
        clients = [await stack.enter_async_context(wire(url, address)) for _ in range(3)]
        for client in clients:
            await client.send(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
            assert b"204" in await client.reader.readuntil(b"\r\n\r\n")
        async with wire(url, address) as one_more:
            assert (await one_more.rest()).startswith(b"HTTP/1.1 503 ")


async def test_somebody_else_is_no_proxy() -> None:
    bounds = bounded(1, 3, "127.0.0.2")
    with bounds.take("127.0.0.3"), pytest.raises(Exception, match="Your network"):
        bounds.take("127.0.0.3")
    with bounds.take("2001:db8::1"), pytest.raises(Exception, match="Your network"):
        bounds.take("2001:db8::2")
