"""Bounds on what a request to a channel brings: bytes, and the time they take to come.

What a form could have sent is refused unread; a key, a token or a signature is checked later.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cmw_agent.channels.common.api_keys import NOT_DECLARED
from cmw_agent.channels.common.problems import INTERFACES, error_response_at
from cmw_agent.core.bodies import (
    BodyTooLargeError,
    MalformedBodyError,
    check_declared_length,
    read_request_body,
    unpacked,
)
from cmw_agent.core.errors import UserError
from cmw_agent.core.http_headers import media_type
from cmw_agent.language import wording
from cmw_agent.language.request_language import request_language
from cmw_agent.limits.budgets import Budgets, Hold

SMALL_SECONDS = 20.0  # in which a small body must have come
LARGE_SECONDS = 60.0  # and a large one
NOT_UNPACKED = wording("A body may be compressed by gzip, and by nothing else.")
MALFORMED = wording("The body is not compressed by gzip as its Content-Encoding says.")
# What a page of another site, or a form in a message, can send without a CORS preflight.
FORM_TYPES = frozenset({"application/x-www-form-urlencoded", "multipart/form-data", "text/plain"})
# Writes an error before any route has the request.
EarlyResponse = Callable[[Scope, UserError], Response]


@dataclass(slots=True)
class _BodyHolds:
    """What one body holds of the budgets: its bytes while it comes, and a slot if it is large.

    A large body keeps its slot until the request is answered.
    """

    budgets: Budgets
    address: str | None
    large: Hold | None = None
    coming: Hold | None = None

    def take_large_slot(self) -> None:
        self.release_bytes()
        self.large = self.budgets.take("large_bodies", None, self.address)

    def take_bytes(self, size: int) -> None:
        if self.large is not None:
            return
        if self.coming is None:
            self.coming = self.budgets.take("body_bytes", None, self.address, size)
        else:
            self.coming.grow(size)

    def release_bytes(self) -> None:
        if self.coming is not None:
            self.coming.release()
            self.coming = None

    def release(self) -> None:
        self.release_bytes()
        if self.large is not None:
            self.large.release()


class BoundedBodies:
    """ASGI middleware that reads a request's body before the app behind it begins.

    Args:
        app: The app behind it.
        max_bytes: Returns how many bytes a request may have; raises `UserError` where none is read.
        budgets: Bounds the large bodies, and the bytes of those that come.
        small: Bytes above which a body is a large one, of which few are held at once.
        small_seconds: In which a small body must have come.
        large_seconds: In which a large one must have come.
        render_error: Returns the response for an error.
        is_streamed: Returns whether a route bounds and reads the body itself, piece by piece.
        takes_form: Returns whether a request may bring a form.
    """

    def __init__(
        self,
        app: ASGIApp,
        max_bytes: Callable[[Scope], int],
        *,
        budgets: Budgets,
        small: int,
        small_seconds: float = SMALL_SECONDS,
        large_seconds: float = LARGE_SECONDS,
        render_error: EarlyResponse | None = None,
        is_streamed: Callable[[Scope], bool] | None = None,
        takes_form: Callable[[Scope], bool] | None = None,
    ) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._small = small
        self._small_seconds = small_seconds
        self._large_seconds = large_seconds
        self._render_error = render_error or _plain
        self._budgets = budgets
        self._is_streamed = is_streamed or (lambda _: False)
        self._takes_form = takes_form or (lambda _: False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self._app(scope, receive, send)
            return
        client = scope.get("client")  # the socket's, or what a trusted proxy says
        holds = _BodyHolds(self._budgets, client[0] if client else None)
        try:
            try:
                if not self._takes_form(scope):
                    _check_form(scope)
                if self._is_streamed(scope):
                    await self._app(scope, receive, send)
                    return
                pending = [await self._read(scope, receive, holds)]
            except UserError as error:
                await self._render_error(scope, error)(scope, receive, send)
                return
            holds.release_bytes()

            async def replay() -> Message:
                if pending:
                    return {"type": "http.request", "body": pending.pop(), "more_body": False}
                return await receive()

            await self._app(scope, replay, send)
        finally:
            holds.release()

    async def _read(self, scope: Scope, receive: Receive, holds: _BodyHolds) -> bytes:
        max_bytes, is_packed = self._max_bytes(scope), _is_packed(scope)
        try:
            if check_declared_length(scope, max_bytes) > self._small:
                holds.take_large_slot()
            return await self._whole(receive, holds, max_bytes, is_packed=is_packed)
        except MalformedBodyError:
            raise UserError(MALFORMED, status=400) from None
        except BodyTooLargeError:
            sentence = wording(
                "The request is too large; at most {count} bytes are taken.", count=max_bytes
            )
            raise UserError(sentence, status=413) from None
        except TimeoutError:
            raise UserError(wording("The request took too long to come."), status=408) from None

    async def _whole(
        self, receive: Receive, holds: _BodyHolds, max_bytes: int, *, is_packed: bool
    ) -> bytes:
        began = asyncio.get_running_loop().time()
        seconds = self._large_seconds if holds.large else self._small_seconds
        async with asyncio.timeout_at(began + seconds) as clock:

            def reserve(total: int, size: int, _: bool) -> None:
                if total > self._small and holds.large is None:
                    holds.take_large_slot()
                    clock.reschedule(began + self._large_seconds)
                holds.take_bytes(size)

            body = await read_request_body(receive, max_bytes, reserve)
            return await unpacked(body, max_bytes, reserve) if is_packed else body


def _check_form(scope: Scope) -> None:
    if media_type(Headers(scope=scope)) in FORM_TYPES:
        raise UserError(NOT_DECLARED, status=415)


def _is_packed(scope: Scope) -> bool:
    """Return whether a request's body is compressed.

    Raises:
        UserError: It is compressed in a way that is not known here.
    """
    # Of other channels the body's own bytes are signed, or small.
    encoding = Headers(scope=scope).get("content-encoding", "identity").strip().lower()
    if not scope["path"].startswith(INTERFACES) or encoding in ("", "identity"):
        return False
    if encoding not in ("gzip", "x-gzip"):
        raise UserError(NOT_UNPACKED, status=415)
    return True


def _plain(scope: Scope, error: UserError) -> Response:
    return error_response_at(scope["path"], error, request_language(scope))
