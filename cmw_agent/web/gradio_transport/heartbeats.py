"""Heartbeats: a request that each page holds open while it lives.

Its end tells the server that the page has closed. A page that connects again after its network has
changed opens a further one, while the former may look open for minutes: the later one counts, and
the end of the former says nothing of the page.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field

import orjson
from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

from cmw_agent.conversations.changes import Change, ConversationChanges
from cmw_agent.core.http_headers import tab_of
from cmw_agent.identity.principals import Principal, SessionKey
from cmw_agent.limits.budgets import Hold

CONNECTION = b"x-cmw-connection"  # how often the page that sends a request has connected again
MAX_DIGITS = 9
STREAM_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]


@dataclass(frozen=True, slots=True, eq=False)
class _Heartbeat:
    principal: Principal
    connection: int
    over: asyncio.Event = field(default_factory=asyncio.Event)


class Heartbeats:
    """The open heartbeats of all pages, by their sessions' keys.

    Args:
        page_closed: Awaited when the last heartbeat of a page has gone.
        changes: What each page is told of its owner's conversations.
        seconds: How often each says that it lives.
    """

    def __init__(
        self,
        page_closed: Callable[[SessionKey, Principal], Awaitable[None]],
        changes: ConversationChanges,
        seconds: float,
    ) -> None:
        self._page_closed = page_closed
        self._changes = changes
        self._seconds = seconds
        self._open: dict[str, list[_Heartbeat]] = {}
        self._is_leaving = False

    def connection(self, key: str) -> int:
        """Return the latest connection of a page; 0 where it has connected once, or is not there."""
        return max((each.connection for each in self._open.get(key, ())), default=0)

    def end_of(self, is_theirs: Callable[[Principal], bool]) -> None:
        """End the heartbeats of some principals."""
        for each in self._all():
            if is_theirs(each.principal):
                each.over.set()

    def leave(self) -> None:
        """End all heartbeats, and each further one; no page counts as closed any more."""
        self._is_leaving = True
        for each in self._all():
            each.over.set()

    async def hold(
        self, scope: Scope, receive: Receive, send: Send, me: Principal, hold: Hold
    ) -> None:
        """Answer the heartbeat of a page of `me` until it has gone; `hold` is its part of the budget."""
        key = SessionKey.parse(scope["path"].rpartition("/")[2])
        tab = tab_of(Headers(scope=scope))
        beat = self._opened(key.value, _Heartbeat(me, connection_of(scope)))
        gone = asyncio.create_task(_wait_for_end(receive, beat.over), name="heartbeat-watch")
        try:
            await send({"type": "http.response.start", "status": 200, "headers": STREAM_HEADERS})
            with self._changes.reading(me.id) as reader:
                gone.add_done_callback(lambda _: reader.arrived.set())
                with repeated(self._seconds, reader.arrived.set):
                    while not gone.done():
                        body = alive(reader.take(), tab)
                        await send({"type": "http.response.body", "body": body, "more_body": True})
                        await reader.arrived.wait()
            if beat.over.is_set():
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            gone.cancel()
            hold.release()  # the page has gone, whatever is done about it yet
            if self._was_last(key.value, beat) and not self._is_leaving:
                await self._page_closed(key, me)

    def _all(self) -> list[_Heartbeat]:
        return [each for open_ones in self._open.values() for each in open_ones]

    def _opened(self, key: str, beat: _Heartbeat) -> _Heartbeat:
        """Add a heartbeat; it ends those of earlier connections, or at once where it is of one."""
        others = self._open.setdefault(key, [])
        for each in others:
            if each.connection < beat.connection:
                each.over.set()
        if self._is_leaving or self.connection(key) > beat.connection:
            beat.over.set()
        others.append(beat)
        return beat

    def _was_last(self, key: str, beat: _Heartbeat) -> bool:
        others = self._open[key]
        others.remove(beat)
        if not others:
            del self._open[key]
        return all(each.over.is_set() for each in others)


def connection_of(scope: Scope) -> int:
    """Return which of its page's connections a request is of; 0 for the first, and for programs."""
    value: bytes = next((value for name, value in scope["headers"] if name == CONNECTION), b"")
    return int(value) if value.isdigit() and len(value) <= MAX_DIGITS else 0


def alive(changes: Sequence[Change], tab: str | None) -> bytes:
    """Return what goes out on a page's heartbeat: what has changed, or that the heartbeat lives.

    Args:
        changes: What has changed in the conversations of the page's owner.
        tab: The page's name; a change of its own is marked.
    """
    if not changes:
        return b"data: ALIVE\n\n"
    items = [
        {
            "kind": change.kind,
            "conversation": change.conversation,
            "own": change.tab is not None and change.tab == tab,
        }
        for change in changes
    ]
    return b"event: changes\ndata: " + orjson.dumps(items) + b"\n\n"


async def disconnected(receive: Receive) -> None:
    """Wait until the client of a request has gone."""
    message: Message = {"type": ""}
    while message["type"] != "http.disconnect":
        message = await receive()


async def _wait_for_end(receive: Receive, over: asyncio.Event) -> None:
    waits = [asyncio.ensure_future(wait) for wait in (disconnected(receive), over.wait())]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


@contextlib.contextmanager
def repeated(seconds: float, call: Callable[[], object]) -> Iterator[None]:
    """Make a call again and again: one timer for a stream costs less than one for each wait."""
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle | None = None

    def wait() -> None:
        nonlocal timer
        timer = loop.call_later(seconds, run)

    def run() -> None:
        call()
        wait()

    wait()
    try:
        yield
    finally:
        if timer is not None:
            timer.cancel()
