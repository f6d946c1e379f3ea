"""Sends requests to the services that the operator has configured, and to nothing else."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Final

import httpx2

from cmw_agent.tools.http_transport import GuardedTransport, new_client
from cmw_agent.tools.openapi.operations import READING
from cmw_agent.tools.openapi.requests import ApiRequest

MAX_RESPONSE: Final = 1_000_000  # bytes; the rest is not read
MAX_REDIRECTS: Final = 3
READ_SECONDS: Final = 3600.0  # calls have a time-out of their own
ACCEPT: Final = "application/json, text/*;q=0.9, */*;q=0.1"
READABLE: Final = ("text/", "application/json", "application/xml", "application/yaml")


@dataclass(frozen=True, slots=True)
class ApiService:
    """A service, as it is called.

    Attributes:
        name: Its name.
        base_url: Its address, without a slash at the end.
        headers: Headers of each request, with what proves who asks.
    """

    name: str
    base_url: str
    headers: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class ApiResponse:
    """What a service answered.

    Attributes:
        status: HTTP status.
        text: The body; where it is no text, what it is.
    """

    status: int
    text: str = field(repr=False)


class RedirectedError(Exception):
    """A service redirects to another origin, or too often."""


class ApiClient:
    """Sends requests to services; one for the process.

    Args:
        clients: An HTTP client for each service, by the service's name.
    """

    def __init__(self, clients: Mapping[str, httpx2.AsyncClient]) -> None:
        self._clients = clients

    async def send(self, service: ApiService, request: ApiRequest, seconds: float) -> ApiResponse:
        """Send a request once and return the response.

        Redirects are followed within the service's own origin, where a request only reads.

        Args:
            service: The service.
            request: The request.
            seconds: How long it may take.

        Raises:
            RedirectedError: The service redirects elsewhere.
            TimeoutError: It took too long.
            httpx2.HTTPError: The service cannot be reached.
        """
        client = self._clients[service.name]
        url = origin = httpx2.URL(service.base_url + request.target)
        async with asyncio.timeout(seconds):
            for _ in range(MAX_REDIRECTS + 1):
                async with client.stream(
                    request.method, url, headers=dict(request.headers), content=request.body
                ) as response:
                    target = response.headers.get("location")
                    if not response.is_redirect or target is None:
                        return ApiResponse(response.status_code, await _text(response))
                url = url.join(target)
                is_same = (url.scheme, url.host, url.port) == (
                    origin.scheme,
                    origin.host,
                    origin.port,
                )
                if not is_same or request.method not in READING:
                    break
        raise RedirectedError


@contextlib.asynccontextmanager
async def open_api_client(services: Iterable[ApiService]) -> AsyncIterator[ApiClient]:
    """Open the clients of some services for the block."""
    clients: dict[str, httpx2.AsyncClient] = {}
    async with contextlib.AsyncExitStack() as stack:
        context = None
        for service in services:
            context = context or httpx2.create_ssl_context()
            transport = GuardedTransport(context, httpx2.URL(service.base_url).host)
            headers = {"accept": ACCEPT, **service.headers}
            client = new_client(transport, headers, READ_SECONDS)
            # A cookie that a service sets for one user would go with the requests of others.
            client.cookies.jar = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
            clients[service.name] = await stack.enter_async_context(client)
        yield ApiClient(clients)


async def _text(response: httpx2.Response) -> str:
    """Return the body as text, as far as it is read."""
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = bytearray()
    async for part in response.aiter_bytes():
        body += part
        if len(body) > MAX_RESPONSE:
            break
    if not kind.startswith(READABLE) and not kind.endswith(("+json", "+xml")) and body:
        return f"(a body of the type {kind[:100] or 'application/octet-stream'}, which is no text)"
    try:
        text = body[:MAX_RESPONSE].decode(response.charset_encoding or "utf-8", "replace")
    except LookupError:  # an encoding that does not exist
        text = body[:MAX_RESPONSE].decode("utf-8", "replace")
    return f"{text} […cut]" if len(body) > MAX_RESPONSE else text
