"""HTTP connections with bounds: number by address, time-outs, size of headers.

uvicorn has a time-out for connections that are idle after a response, and none for headers,
bodies and responses that trickle: one byte a minute would hold a connection for ever.
"""

import asyncio
from http import HTTPStatus
from typing import ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from cmw_agent.core.errors import UserError
from cmw_agent.limits.budgets import Hold
from cmw_agent.server.connection_bounds import ConnectionBounds

MAX_HEADER_BYTES = 65_536


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol with bounds; `protocol_for` binds it to those of a server.

    One timer runs while a part of a request is missing, and none while the app responds: a
    request that arrives in one piece costs no timer.
    """

    bounds: ClassVar[ConnectionBounds]

    _hold: Hold | None = None
    _timer: asyncio.TimerHandle | None = None
    _unread_timer: asyncio.TimerHandle | None = None
    _unread = 0  # bytes that waited to be read when that timer began
    _since = 0.0  # when waiting for the missing part began
    _bytes = 0  # received since then
    _is_coming = False  # a request has begun and is incomplete
    _in_headers = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count the connection, and start to wait for its first request."""
        super().connection_made(transport)
        try:
            self._hold = self.bounds.take(self.client[0] if self.client else None)
        except UserError as error:
            self._refuse(HTTPStatus(error.status), error.sentence, error.retry_after)
            return
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timers and release the connection's place."""
        for timer in (self._timer, self._unread_timer):
            if timer is not None:
                timer.cancel()
        self._timer = self._unread_timer = None
        if self._hold is not None:
            self._hold.release()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Process received bytes of a request."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        self._bytes += len(data)
        if self._is_coming and self._in_headers and self._bytes > MAX_HEADER_BYTES:
            status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            self._refuse(status, "The request's headers are too large.")
            return
        self._watch()

    def on_message_begin(self) -> None:
        """Note that a request has begun."""
        super().on_message_begin()
        self._is_coming = self._in_headers = True
        self._restart()

    def on_headers_complete(self) -> None:
        """Note that a request's headers are complete."""
        self._in_headers = False
        self._restart()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Note that a request is complete."""
        self._is_coming = False
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        """Refuse the upgrade: the app has no WebSockets."""
        self._refuse(HTTPStatus.FORBIDDEN, "There are no WebSockets here.")

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection, also one whose last response was not read."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        super().timeout_keep_alive_handler()

    def pause_writing(self) -> None:
        """Start the time-out of a client that does not read."""
        super().pause_writing()
        if self._unread_timer is None:
            self._watch_reader()

    def resume_writing(self) -> None:
        """Stop that time-out: the client has read."""
        super().resume_writing()
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None

    def _watch_reader(self) -> None:
        self._unread = self.transport.get_write_buffer_size()
        self._unread_timer = self.loop.call_later(self.bounds.deadlines.unread, self._check_reader)

    def _check_reader(self) -> None:
        self._unread_timer = None
        read = self._unread - self.transport.get_write_buffer_size()
        if read < self.bounds.deadlines.unread_bytes:
            self.transport.abort()
        else:
            self._watch_reader()

    def _watch(self) -> None:
        if self.transport.is_closing():
            return
        if self._is_coming or self._is_idle():
            if self._timer is None:
                self._restart()
                self._timer = self.loop.call_later(self._seconds(), self._check)
        elif self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _is_idle(self) -> bool:
        # Bytes that begin no request, such as line ends, switch uvicorn's own time-out off.
        cycle = self._current()
        return (cycle is None or cycle.response_complete) and not self.pipeline

    def _current(self) -> RequestResponseCycle | None:
        return self.cycle  # None before the first request, whatever its type says

    def _restart(self) -> None:
        self._since, self._bytes = self.loop.time(), 0

    def _seconds(self) -> float:
        deadlines = self.bounds.deadlines
        if self._in_headers or not self._is_coming:
            return deadlines.headers
        return deadlines.body + self._bytes / deadlines.bytes_per_second

    def _check(self) -> None:
        self._timer = None
        if self.transport.is_closing() or not (self._is_coming or self._is_idle()):
            return
        if self._is_coming and self._is_held_up():
            self._restart()
        left = self._since + self._seconds() - self.loop.time()
        if left > 0:
            self._timer = self.loop.call_later(left, self._check)
        elif self._is_coming:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, "The request took too long to come.")
        else:
            self.timeout_keep_alive_handler()

    def _is_held_up(self) -> bool:
        """Whether the app, and not the client, delays the request."""
        if self.flow.read_paused:
            return True
        return not self._in_headers and self.cycle.waiting_for_100_continue

    def _refuse(self, status: HTTPStatus, sentence: str, retry_after: int | None = None) -> None:
        """Respond without the app, and close the connection."""
        cycle = self._current()
        busy = None if cycle is None or cycle.response_complete else cycle
        # A request may have got its response before its body arrived, and gets no second one. A
        # response that has begun, also an earlier request's, would be cut in two.
        is_answered = cycle is not None and busy is None and not self._in_headers
        if not is_answered and (busy is None or not (busy.response_started or self._in_headers)):
            wait = f"retry-after: {retry_after}\r\n" if retry_after is not None else ""
            body = sentence.encode()
            head = (
                f"HTTP/1.1 {status.value} {status.phrase}\r\n"
                f"content-type: text/plain; charset=utf-8\r\ncontent-length: {len(body)}\r\n"
                f"{wait}connection: close\r\n\r\n"
            )
            self.transport.write(head.encode() + body)
        if busy is not None:  # tells the app at once, which responds no more
            busy.disconnected = True
            busy.message_event.set()
        self.transport.close()


def protocol_for(bounds: ConnectionBounds) -> type[BoundedProtocol]:
    """Return the protocol class of a server whose connections have these bounds."""
    return type("BoundedProtocol", (BoundedProtocol,), {"bounds": bounds})
