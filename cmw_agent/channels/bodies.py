"""Bounds on what a request to a channel brings: bytes, and the time they take to come."""

import asyncio
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cmw_agent.channels.problems import problem
from cmw_agent.errors import UserError

SECONDS = 60.0  # in which a body must have come


class _Refused(Exception):
    def __init__(self, error: UserError) -> None:
        super().__init__()
        self.error = error


class BoundedBodies:
    """ASGI middleware that reads a request's body before the app behind it begins.

    Args:
        app: The app behind it.
        most: Returns how many bytes a request may have.
    """

    def __init__(self, app: ASGIApp, most: Callable[[Scope], int]) -> None:
        self._app = app
        self._most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(SECONDS):
                body = await self._read(scope, receive)
        except _Refused as refused:
            await problem(refused.error)(scope, receive, send)
            return
        except TimeoutError:
            late = UserError("The request took too long to come.", status=408)
            await problem(late)(scope, receive, send)
            return
        pending = [body]

        async def replay() -> Message:
            if pending:
                return {"type": "http.request", "body": pending.pop(), "more_body": False}
            return await receive()

        await self._app(scope, replay, send)

    async def _read(self, scope: Scope, receive: Receive) -> bytes:
        most = self._most(scope)
        too_large = UserError(f"The request is too large; at most {most} bytes are taken.")
        too_large.status = 413
        declared = Headers(scope=scope).get("content-length", "0")
        if not declared.isascii() or not declared.isdigit() or int(declared) > most:
            raise _Refused(too_large)
        parts: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _Refused(UserError("The request ended early.", status=400))
            part = message.get("body", b"")
            size += len(part)
            if size > most:
                raise _Refused(too_large)
            parts.append(part)
            if not message.get("more_body", False):
                return b"".join(parts)
