"""Reads the bodies of the page's requests: whole, in time, and within a budget."""

import asyncio

from starlette.datastructures import Headers
from starlette.types import Receive, Scope

from cmw_agent.core.errors import UserError
from cmw_agent.limits.budgets import Budgets, Hold

BODY_SECONDS = 20.0  # in which a body must have come
DIGITS = 18  # of a length that is believed


class PageBodies:
    """Reads bodies.

    Args:
        budgets: Bounds the bytes of all that are not whole yet.
        max_bytes: Of one body.
        max_seconds: In which it must have come.
    """

    def __init__(self, budgets: Budgets, max_bytes: int, max_seconds: float = BODY_SECONDS) -> None:
        self._budgets = budgets
        self._max_bytes = max_bytes
        self._max_seconds = max_seconds

    async def read(self, scope: Scope, receive: Receive) -> bytes:
        """Return the whole body of a request.

        Raises:
            UserError: It is too large, too slow or cut off; or too much comes already, from its
                network address or from all.
        """
        declared = Headers(scope=scope).get("content-length", "0")
        is_number = declared.isascii() and declared.isdigit() and len(declared) <= DIGITS
        if not is_number or int(declared) > self._max_bytes:
            raise self._too_large()
        client = scope.get("client")
        with self._budgets.take("body_bytes", None, client[0] if client else None, 0) as hold:
            try:
                async with asyncio.timeout(self._max_seconds):
                    return await self._whole(receive, hold)
            except TimeoutError:
                raise UserError("The request took too long to come.", status=408) from None

    async def _whole(self, receive: Receive, hold: Hold) -> bytes:
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise UserError("The request ended early.", status=400)
            part = message.get("body", b"")
            if len(body) + len(part) > self._max_bytes:
                raise self._too_large()
            body += part
            if not message.get("more_body", False):
                return bytes(body)
            hold.grow(len(part))  # one that comes at once takes none

    def _too_large(self) -> UserError:
        sentence = f"The message is too large; at most {self._max_bytes} bytes are taken."
        return UserError(sentence, status=413)
