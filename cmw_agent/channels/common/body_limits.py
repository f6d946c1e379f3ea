"""Bounds on what a request to a channel brings: bytes, and the time they take to come.

What a form could have sent is refused unread; a key, a token or a signature is asked for later.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cmw_agent.channels.common.api_keys import NOT_DECLARED
from cmw_agent.channels.common.problems import told_at
from cmw_agent.core.errors import UserError
from cmw_agent.core.http_headers import media_type
from cmw_agent.limits.budgets import Budgets, Hold

SMALL_SECONDS = 20.0  # in which a small body must have come
LARGE_SECONDS = 60.0  # and a large one
DIGITS = 18  # of a length that is believed
# What a page of another site, or a form in a message, can send without a CORS preflight.
FORM_TYPES = frozenset({"application/x-www-form-urlencoded", "multipart/form-data", "text/plain"})
# Writes an error before any route has the request.
EarlyResponse = Callable[[Scope, UserError], Response]


class _RequestRejectedError(Exception):
    def __init__(self, error: UserError) -> None:
        super().__init__()
        self.error = error


@dataclass(slots=True)
class _Place:
    """What one body takes: bytes while it comes, and a place among the large ones, if it is one.

    A large one keeps its place until it is dealt with.
    """

    budgets: Budgets
    address: str | None
    large: Hold | None = None
    coming: Hold | None = None

    def grow(self) -> None:
        self.came()
        with _refusing():
            self.large = self.budgets.take("large_bodies", None, self.address)

    def take(self, size: int) -> None:
        if self.large is not None:
            return
        with _refusing():
            if self.coming is None:
                self.coming = self.budgets.take("body_bytes", None, self.address, size)
            else:
                self.coming.grow(size)

    def came(self) -> None:
        if self.coming is not None:
            self.coming.release()
            self.coming = None

    def leave(self) -> None:
        self.came()
        if self.large is not None:
            self.large.release()


@contextlib.contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except UserError as error:
        raise _RequestRejectedError(error) from None


class BoundedBodies:
    """ASGI middleware that reads a request's body before the app behind it begins.

    Args:
        app: The app behind it.
        most: Returns how many bytes a request may have; raises `UserError` where none is read.
        budgets: Bounds the large ones, and the bytes of those that come.
        small: Bytes above which a body is a large one, of which few are held at once.
        small_seconds: In which a small body must have come.
        large_seconds: In which a large one must have come.
        told: Returns the answer that tells of an error.
    """

    def __init__(
        self,
        app: ASGIApp,
        most: Callable[[Scope], int],
        *,
        budgets: Budgets,
        small: int,
        small_seconds: float = SMALL_SECONDS,
        large_seconds: float = LARGE_SECONDS,
        told: EarlyResponse | None = None,
    ) -> None:
        self._app = app
        self._most = most
        self._small = small
        self._small_seconds = small_seconds
        self._large_seconds = large_seconds
        self._told = told or _plain
        self._budgets = budgets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self._app(scope, receive, send)
            return
        client = scope.get("client")  # the socket's, or what a trusted proxy says
        place = _Place(self._budgets, client[0] if client else None)
        try:
            pending = [await self._read(scope, receive, place)]
            place.came()

            async def replay() -> Message:
                if pending:
                    return {"type": "http.request", "body": pending.pop(), "more_body": False}
                return await receive()

            await self._app(scope, replay, send)
        except _RequestRejectedError as refused:  # by the reading alone
            await self._told(scope, refused.error)(scope, receive, send)
        finally:
            place.leave()

    async def _read(self, scope: Scope, receive: Receive, place: _Place) -> bytes:
        headers = Headers(scope=scope)
        if media_type(headers) in FORM_TYPES:
            raise _RequestRejectedError(UserError(NOT_DECLARED, status=415))
        try:
            most = self._most(scope)
        except UserError as error:
            raise _RequestRejectedError(error) from None
        declared = headers.get("content-length", "0")
        is_number = declared.isascii() and declared.isdigit() and len(declared) <= DIGITS
        if not is_number or int(declared) > most:
            raise _too_large(most)
        if int(declared) > self._small:
            place.grow()
        try:
            return await self._whole(receive, place, most)
        except TimeoutError:
            late = UserError("The request took too long to come.", status=408)
            raise _RequestRejectedError(late) from None

    async def _whole(self, receive: Receive, place: _Place, most: int) -> bytes:
        began = asyncio.get_running_loop().time()
        body = bytearray()
        async with asyncio.timeout(None) as clock:
            while True:
                seconds = self._large_seconds if place.large else self._small_seconds
                clock.reschedule(began + seconds)
                part, has_more = await _part(receive)
                if len(body) + len(part) > most:
                    raise _too_large(most)
                if len(body) + len(part) > self._small and place.large is None:
                    place.grow()
                place.take(len(part))
                body += part
                if not has_more:
                    return bytes(body)


async def _part(receive: Receive) -> tuple[bytes, bool]:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise _RequestRejectedError(UserError("The request ended early.", status=400))
    return message.get("body", b""), message.get("more_body", False)


def _too_large(most: int) -> _RequestRejectedError:
    sentence = f"The request is too large; at most {most} bytes are taken."
    return _RequestRejectedError(UserError(sentence, status=413))


def _plain(scope: Scope, error: UserError) -> Response:
    return told_at(scope["path"], error)
