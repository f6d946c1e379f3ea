"""Reads the whole bodies of the page's requests, within limits of size, time and budget."""

import asyncio

from starlette.datastructures import Headers
from starlette.types import Receive, Scope

from cmw_agent.core.errors import UserError
from cmw_agent.limits.budgets import Budgets, Hold

BODY_SECONDS = 20.0  # until a body must have arrived
MAX_LENGTH_DIGITS = 18  # of a Content-Length


class PageBodies:
    """Reads request bodies.

    Args:
        budgets: Limits the bytes of all bodies that are still being received.
        max_bytes: The largest body.
        max_seconds: The longest time until a body must have arrived.
    """

    def __init__(self, budgets: Budgets, max_bytes: int, max_seconds: float = BODY_SECONDS) -> None:
        self._budgets = budgets
        self._max_bytes = max_bytes
        self._max_seconds = max_seconds

    async def read(self, scope: Scope, receive: Receive) -> bytes:
        """Return the whole body of a request.

        Raises:
            UserError: The body is too large, too slow or cut off; or the budget of its network
                address, or of all, is used up.
        """
        declared = Headers(scope=scope).get("content-length", "0")
        is_number = declared.isascii() and declared.isdigit() and len(declared) <= MAX_LENGTH_DIGITS
        if not is_number or int(declared) > self._max_bytes:
            raise self._too_large()
        client = scope.get("client")
        with self._budgets.take("body_bytes", None, client[0] if client else None, 0) as hold:
            try:
                async with asyncio.timeout(self._max_seconds):
                    return await self._read_parts(receive, hold)
            except TimeoutError:
                raise UserError("The request took too long to come.", status=408) from None

    async def _read_parts(self, receive: Receive, hold: Hold) -> bytes:
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
            hold.grow(len(part))  # a body in one part takes none of the budget

    def _too_large(self) -> UserError:
        sentence = f"The message is too large; at most {self._max_bytes} bytes are taken."
        return UserError(sentence, status=413)
