"""Reads bodies of requests and responses, no more of them than is allowed."""

import asyncio
import zlib
from collections.abc import AsyncIterable, AsyncIterator, Callable

from starlette.datastructures import Headers
from starlette.types import Receive, Scope

from cmw_agent.core.errors import UserError
from cmw_agent.language import wording

LENGTH_DIGITS = 18  # of a Content-Length that is believed
CHUNK_BYTES = 65_536
GZIP = 16 + zlib.MAX_WBITS  # tells zlib that a header of gzip comes first
Reserve = Callable[[int, int, bool], None]


class BodyTooLargeError(Exception):
    """A body has more bytes than are taken."""


class MalformedBodyError(Exception):
    """A body is not compressed as it says."""


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
            raise UserError(wording("The request ended early."), status=400)
        part, is_last = message.get("body", b""), not message.get("more_body", False)
        if len(body) + len(part) > max_bytes:
            raise BodyTooLargeError
        if reserve is not None:
            reserve(len(body) + len(part), len(part), is_last)
        body += part
        if is_last:
            return bytes(body)


async def unpacked(body: bytes, max_bytes: int, reserve: Reserve) -> bytes:
    """Return what a body that is compressed by gzip holds; other tasks run meanwhile.

    Args:
        body: The compressed body.
        max_bytes: Of what it holds.
        reserve: As for `read_request_body`.

    Raises:
        BodyTooLargeError: It holds more bytes.
        MalformedBodyError: It is not compressed by gzip, not whole, or not all.
    """
    inflater, whole = zlib.decompressobj(GZIP), bytearray()
    for start in range(0, len(body), CHUNK_BYTES):
        rest, part = body[start : start + CHUNK_BYTES], bytes(CHUNK_BYTES)
        while rest or len(part) == CHUNK_BYTES:
            try:
                part = inflater.decompress(rest, CHUNK_BYTES)
            except zlib.error as error:
                raise MalformedBodyError from error
            rest = inflater.unconsumed_tail
            if len(whole) + len(part) > max_bytes:
                raise BodyTooLargeError
            reserve(len(whole) + len(part), len(part), inflater.eof)
            whole += part
            await asyncio.sleep(0)
            if inflater.unused_data:
                raise MalformedBodyError
    if not inflater.eof:
        raise MalformedBodyError
    return bytes(whole)


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
