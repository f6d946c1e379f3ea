"""HTTP to servers of tools: to permitted addresses alone, and no more of a response than is allowed."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator

import httpx2

from cmw_agent.core.public_addresses import is_public, may_be_public

MAX_BODY = 4 * 1024 * 1024  # bytes of one response, or of one event of a stream
MAX_STREAM = 64 * 1024 * 1024  # bytes of all events of one stream
CONNECTIONS = 20  # of one session
CONNECT_SECONDS = 10.0
STREAM = "text/event-stream"
PLAIN = ("", "identity")


class ForbiddenAddressError(httpx2.ConnectError):
    """The address is of this machine or its network; no connection was opened."""


class TooMuchError(httpx2.StreamError):
    """A response has more bytes than are taken."""


class _Bounded(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream, max_bytes: int) -> None:
        self._stream = stream
        self._left = max_bytes

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._stream:
            self._left -= len(part)
            if self._left < 0:
                raise TooMuchError("the response is too large")
            yield part

    async def aclose(self) -> None:
        await self._stream.aclose()


class GuardedTransport(httpx2.AsyncBaseTransport):
    """Sends requests to one trusted host, and otherwise to public addresses alone.

    A name is resolved here, and the connection goes to the address that was checked.

    Args:
        context: Checks certificates.
        trusted_host: The host that the operator has named, which may be private; None for none.
    """

    def __init__(self, context: ssl.SSLContext, trusted_host: str | None) -> None:
        limits = httpx2.Limits(max_connections=CONNECTIONS, max_keepalive_connections=2)
        self._inner = httpx2.AsyncHTTPTransport(verify=context, trust_env=False, limits=limits)
        self._trusted_host = trusted_host

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request and return the response, whose body is bounded.

        Raises:
            ForbiddenAddressError: The address is neither trusted nor public.
            httpx2.TransportError: The request failed.
        """
        if request.url.host != self._trusted_host:
            request = await _pinned(request)
        response = await self._inner.handle_async_request(request)
        if response.headers.get("content-encoding", "").strip().lower() not in PLAIN:
            # Nobody asked for it, and a small body may hold a large one.
            await response.aclose()
            raise httpx2.RemoteProtocolError("the response is compressed", request=request)
        is_stream = response.headers.get("content-type", "").lower().startswith(STREAM)
        if isinstance(response.stream, httpx2.AsyncByteStream):
            response.stream = _Bounded(response.stream, MAX_STREAM if is_stream else MAX_BODY)
        return response

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()


async def _pinned(request: httpx2.Request) -> httpx2.Request:
    """Return a request that goes to a public address of its host; TLS still checks the host."""
    host = request.url.host
    address = await _public_address(host, request.url.port or 443) if may_be_public(host) else None
    if address is None:
        raise ForbiddenAddressError("the host has no public address", request=request)
    return httpx2.Request(
        request.method,
        request.url.copy_with(host=address),
        headers=request.headers,
        stream=request.stream,
        extensions={**request.extensions, "sni_hostname": host},
    )


async def _public_address(host: str, port: int) -> str | None:
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            found = await asyncio.get_running_loop().getaddrinfo(
                host, port, type=socket.SOCK_STREAM
            )
    except (OSError, TimeoutError, UnicodeError):
        return None
    addresses = [str(item[4][0]) for item in found]
    return next((address for address in addresses if is_public(address)), None)


def new_client(
    transport: GuardedTransport,
    headers: dict[str, str],
    read_seconds: float,
    auth: httpx2.Auth | None = None,
) -> httpx2.AsyncClient:
    """Return an HTTP client of one session.

    Args:
        transport: Sends its requests.
        headers: Of each request.
        read_seconds: How long a response may be silent.
        auth: Signs the requests.
    """
    return httpx2.AsyncClient(
        transport=transport,
        headers={"accept-encoding": "identity", **headers},
        timeout=httpx2.Timeout(CONNECT_SECONDS, read=read_seconds),
        auth=auth,
        trust_env=False,
    )
