"""Sends raw HTTP requests that no HTTP client would send."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.harness import WAIT

VARYING = ("date", "x-request-id")


@dataclass(frozen=True, slots=True)
class Answer:
    """A response: status, headers (names in lower case, without `VARYING`) and body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


async def ask(
    url: str,
    method: str,
    target: str,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
) -> Answer:
    """Send a request with exactly this target; return the response once the server has closed.

    Header values are encoded as latin-1.
    """
    address = urlsplit(url)
    lines = {"host": address.netloc, "connection": "close", **(headers or {})}
    if body:
        lines.setdefault("content-length", str(len(body)))
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    async with asyncio.timeout(WAIT):
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        try:
            writer.write(f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body)
            await writer.drain()
            return _parsed(await reader.read())
        finally:
            writer.close()
            await writer.wait_closed()


def _parsed(data: bytes) -> Answer:
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = [line.split(": ", 1) for line in lines]
    headers = {name.lower(): value for name, value in pairs if name.lower() not in VARYING}
    return Answer(int(first.split(" ")[1]), headers, body)
