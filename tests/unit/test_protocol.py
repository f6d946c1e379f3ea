"""Time limits of a connection, with a fake clock and transport."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from cmw_agent.limits.budgets import Budgets
from cmw_agent.server.connection_bounds import ConnectionBounds, Deadlines
from cmw_agent.server.http_protocol import BoundedProtocol, protocol_for
from tests.harness import settings_for

DEADLINES = Deadlines(headers=10, body=20, bytes_per_second=100, unread=60, unread_bytes=1_000)


class Handle:
    """A call that is due."""

    def __init__(self, at: float, call: Callable[[], None]) -> None:
        self.at = at
        self.call = call
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class Loop:
    """As much of a loop as a protocol uses; time passes when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0
        self.due: list[Handle] = []

    def time(self) -> float:
        return self.now

    def call_later(self, seconds: float, call: Callable[[], None]) -> Handle:
        handle = Handle(self.now + seconds, call)
        self.due.append(handle)
        return handle

    def create_task(self, work: Any, **_: Any) -> "asyncio.Future[None]":
        work.close()
        return asyncio.Future(loop=asyncio.get_running_loop())

    def pass_by(self, seconds: float) -> None:
        until = self.now + seconds
        while waiting := [one for one in self.due if one.at <= until and not one.is_cancelled]:
            first = min(waiting, key=lambda one: one.at)
            self.due.remove(first)
            self.now = max(self.now, first.at)
            first.call()
        self.now = until

    @property
    def timers(self) -> int:
        return sum(not one.is_cancelled for one in self.due)


class Transport(asyncio.Transport):
    """A connection whose other side is the test."""

    def __init__(self) -> None:
        super().__init__({"peername": ("192.0.2.1", 1), "sockname": ("192.0.2.9", 80)})
        self.written = b""
        self.unread = 0
        self.end: str | None = None

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def get_write_buffer_size(self) -> int:
        return self.unread

    def is_closing(self) -> bool:
        return self.end is not None

    def close(self) -> None:
        self.end = self.end or "closed"

    def abort(self) -> None:
        self.end = self.end or "aborted"

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


def end_of(transport: Transport) -> str | None:
    """How the connection has ended by now."""
    return transport.end


def connected(folder: Path) -> tuple[Loop, Transport, BoundedProtocol]:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError

    kind = protocol_for(ConnectionBounds(Budgets.of(settings_for(folder)), deadlines=DEADLINES))
    loop, transport = Loop(), Transport()
    config = uvicorn.Config(app, log_config=None, interface="asgi3")
    protocol = kind(config, ServerState(), {}, loop)  # type: ignore[arg-type]
    protocol.connection_made(transport)
    return loop, transport, protocol


async def test_headers_have_one_deadline_however_they_come(tmp_path: Path) -> None:
    loop, transport, protocol = connected(tmp_path)
    loop.pass_by(9)
    protocol.data_received(b"GET / HTTP/1.1\r\n")  # its own deadline begins here
    for number in range(9):
        loop.pass_by(1)
        protocol.data_received(b"X-%d: x\r\n" % number)
    assert end_of(transport) is None
    loop.pass_by(1)
    assert end_of(transport) == "closed"
    assert transport.written.startswith(b"HTTP/1.1 408 ")


async def test_a_body_earns_time_by_its_bytes(tmp_path: Path) -> None:
    loop, transport, protocol = connected(tmp_path)
    protocol.data_received(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999\r\n\r\n")
    for _ in range(30):
        loop.pass_by(1)
        protocol.data_received(b"x" * 90)
    assert end_of(transport) is None
    loop.pass_by(20)
    assert end_of(transport) == "closed"


async def test_a_client_that_the_app_does_not_read_from_is_not_to_blame(tmp_path: Path) -> None:
    loop, transport, protocol = connected(tmp_path)
    protocol.data_received(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 999999\r\n\r\n")
    protocol.data_received(b"x" * 70_000)
    assert protocol.flow.read_paused
    loop.pass_by(10_000)
    assert end_of(transport) is None


async def test_a_whole_request_needs_no_timer_and_one_runs_at_most(tmp_path: Path) -> None:
    loop, transport, protocol = connected(tmp_path)
    assert loop.timers == 1
    protocol.data_received(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert loop.timers == 0
    loop.pass_by(10_000)
    assert end_of(transport) is None
    protocol.connection_lost(None)


async def test_who_reads_slowly_is_served_and_who_does_not_read_is_not(tmp_path: Path) -> None:
    loop, transport, protocol = connected(tmp_path)
    protocol.data_received(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    transport.unread = 10_000
    protocol.pause_writing()
    for _ in range(5):
        transport.unread -= 1_000
        loop.pass_by(60)
        assert end_of(transport) is None
    transport.unread -= 999
    loop.pass_by(60)
    assert end_of(transport) == "aborted"


async def test_an_answer_that_was_taken_is_waited_for_no_longer(tmp_path: Path) -> None:
    loop, transport, protocol = connected(tmp_path)
    protocol.data_received(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    transport.unread = 10_000
    protocol.pause_writing()
    protocol.resume_writing()
    assert loop.timers == 0
    loop.pass_by(10_000)
    assert end_of(transport) is None


async def test_what_ends_leaves_no_timer_and_holds_nothing(tmp_path: Path) -> None:
    loop, transport, protocol = connected(tmp_path)
    protocol.data_received(b"GET")
    transport.unread = 10_000
    protocol.pause_writing()
    assert loop.timers == 2
    transport.abort()
    protocol.connection_lost(ConnectionError())
    assert loop.timers == 0
    assert not protocol.bounds._budgets.used("connections")
