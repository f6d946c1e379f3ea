"""Reads bodies of requests and responses, no more of them than is allowed."""

from collections.abc import AsyncIterable, AsyncIterator, Callable

from starlette.datastructures import Headers
from starlette.types import Receive, Scope

from cmw_agent.core.errors import UserError

LENGTH_DIGITS = 18  # of a Content-Length that is believed
CHUNK_BYTES = 65_536
Reserve = Callable[[int, int, bool], None]


class BodyTooLargeError(Exception):
    """A body has more bytes than are taken."""


def check_declared_length(scope: Scope, max_bytes: int) -> int:
    """Return the bytes that a request's Content-Length announces; 0 where it has none.

    Raises:
        BodyTooLargeError: They are more than `max_bytes`, or the header is no number.
    """
    length = Headers(scope=scope).get("content-length", "0")
    is_number = length.isascii() and length.isdigit() and len(length) <= LENGTH_DIGITS
    if not is_number or int(length) > max_bytes:
        raise BodyTooLargeError
    return int(length)


async def read_request_body(
    receive: Receive, max_bytes: int, reserve: Reserve | None = None
) -> bytes:
    """Return the whole body of an ASGI request.

    Args:
        receive: The request's.
        max_bytes: Of the body.
        reserve: Is called before a part is kept, with the body's bytes so far and the part's, and
            whether the part is the last one. What it raises ends the reading.

    Raises:
        BodyTooLargeError: The body has more bytes.
        UserError: The client went before the body's end.
    """
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise UserError("The request ended early.", status=400)
        part, is_last = message.get("body", b""), not message.get("more_body", False)
        if len(body) + len(part) > max_bytes:
            raise BodyTooLargeError
        if reserve is not None:
            reserve(len(body) + len(part), len(part), is_last)
        body += part
        if is_last:
            return bytes(body)


async def bounded(parts: AsyncIterable[bytes], max_bytes: int) -> AsyncIterator[bytes]:
    """Yield the parts of a response's body.

    Raises:
        BodyTooLargeError: The body has more than `max_bytes`.
    """
    left = max_bytes
    async for part in parts:
        left -= len(part)
        if left < 0:
            raise BodyTooLargeError
        yield part


async def read_bounded(parts: AsyncIterable[bytes], max_bytes: int) -> bytes:
    """Return the whole body of a response; raises as `bounded` does."""
    return b"".join([part async for part in bounded(parts, max_bytes)])
