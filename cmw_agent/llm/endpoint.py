"""One endpoint: its address, credentials, proxy and certificates, and POST requests to it."""

import asyncio
import os
import ssl
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.request import getproxies, proxy_bypass

import aiohttp
import certifi
from pydantic import SecretStr
from yarl import URL

from cmw_agent.core.errors import StartupError
from cmw_agent.llm.errors import (
    CertificateError,
    NotAStreamError,
    StreamCutError,
    StreamSilentError,
    UnreachableError,
    UpstreamError,
    WrongAddressError,
)

CONNECT_SECONDS = 10.0
REDIRECTS = frozenset({301, 302, 303, 307, 308})
MAX_REDIRECTS = 3
# Hosts that take a key in a header of their own.
AZURE = (".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com")
# Files or folders of further trusted certificates, as Python, requests and curl know them.
CERTIFICATES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
MAX_ERROR = 65_536  # bytes of an HTTP error's body that are read
# Headers that say who the operator is: none goes along with a visitor's own key.
OPERATORS = frozenset(
    {"authorization", "api-key", "x-api-key", "openai-organization", "openai-project"}
)
ERROR_SECONDS = 5.0  # in which they must arrive
NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class Endpoint:
    """Sends POST requests to one endpoint, through the proxy that the environment names for it.

    Args:
        base_url: URL of the endpoint, perhaps with a query, which each request gets.
        key: API key: sent as bearer token, to Azure as `api-key`; or None.
        headers: Further headers of each request; they replace the app's own of the same name.

    Raises:
        StartupError: The proxy or a file of certificates in the environment cannot be used.
    """

    def __init__(
        self, base_url: str, *, key: str | None, headers: Mapping[str, str] = NO_HEADERS
    ) -> None:
        self._base = URL(base_url)
        self._tls = trusted_certificates() if self._base.scheme == "https" else None
        self._proxies = {scheme: proxy_for(self._base, scheme) for scheme in ("http", "https")}
        own = {} if key is None else _credentials(self._base, key)
        names = {name.lower() for name in headers}
        self.headers = {**{k: v for k, v in own.items() if k not in names}, **headers}
        self.secrets = [*([key] if key is not None else []), *headers.values()]

    def url(self, path: str) -> URL:
        """Return the URL of a path, such as ``/chat/completions``, of the endpoint."""
        base = self._base.path.rstrip("/").removesuffix(path)
        return self._base.with_path(base + path, encoded=False, keep_query=True)

    async def post(
        self,
        session: aiohttp.ClientSession,
        url: URL,
        make_body: Callable[[], Any],
        *,
        headers: Mapping[str, str],
        limits: aiohttp.ClientTimeout,
        visitor_key: SecretStr | None = None,
    ) -> aiohttp.ClientResponse:
        """Send a POST request and return the response, whose body has not been read.

        Redirects are followed as POST requests with the same body, to the same origin or from
        HTTP to HTTPS of the same host: the key and the user's text go to no other server.

        Args:
            session: The connections.
            url: See `url`.
            make_body: Returns the body, for each request anew.
            headers: Of this request, besides those of the endpoint.
            limits: Time-outs of this request.
            visitor_key: Of this request, in place of the endpoint's key.

        Raises:
            UpstreamError: No response arrived, or its redirects lead elsewhere.
        """
        sent = {**headers, **self._headers_for(visitor_key)}
        for _ in range(MAX_REDIRECTS + 1):
            proxy = self._proxies[url.scheme]
            tls = await self._certificates() if url.scheme == "https" else True
            try:
                answer = await session.post(
                    url,
                    data=make_body(),
                    headers=sent,
                    timeout=limits,
                    proxy=proxy,
                    ssl=tls,
                    allow_redirects=False,
                )
            except (aiohttp.ClientError, TimeoutError, ssl.SSLError) as error:
                raise failure_of(error) from error
            if answer.status not in REDIRECTS or "location" not in answer.headers:
                return answer
            answer.close()
            url = _redirected(url, answer.headers["location"])
        raise WrongAddressError

    def _headers_for(self, visitor_key: SecretStr | None) -> dict[str, str]:
        """Return the endpoint's headers, with the visitor's key where there is one."""
        if visitor_key is None:
            return self.headers
        others = {n: value for n, value in self.headers.items() if n.lower() not in OPERATORS}
        return {**others, **_credentials(self._base, visitor_key.get_secret_value())}

    async def _certificates(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = await asyncio.to_thread(trusted_certificates)
        return self._tls


def trusted_certificates() -> ssl.SSLContext:
    """Return a TLS context that trusts the system's, certifi's and the environment's authorities.

    The first call takes a tenth of a second. Later calls return the same context while the
    environment names the same places: nobody changes it, and several endpoints can share it.

    Raises:
        StartupError: The file or folder that the environment names cannot be read.
    """
    return _trusting(tuple(os.environ.get(name) for name in (*CERTIFICATES, "SSL_CERT_DIR")))


@lru_cache(maxsize=4)
def _trusting(paths: tuple[str | None, ...]) -> ssl.SSLContext:
    trusted = ssl.create_default_context()  # reads SSL_CERT_FILE and SSL_CERT_DIR too
    trusted.load_verify_locations(certifi.where())
    for name, text in zip(CERTIFICATES, paths, strict=False):
        if not text:
            continue
        path = Path(text)
        try:
            if path.is_dir():
                trusted.load_verify_locations(capath=path)
            else:
                trusted.load_verify_locations(cafile=path)
        except (OSError, ValueError):
            raise StartupError(
                f"{name} must be a file of certificates in PEM form that this app may read"
            ) from None
    return trusted


def proxy_for(url: URL, scheme: str) -> URL | None:
    """Return the proxy that the environment names for a URL's host and a scheme, or None.

    aiohttp's own `trust_env` is not used: with it, each request switches to a thread twice, a
    request with a key fails if a .netrc file has an entry for its host, and ALL_PROXY is ignored.

    Raises:
        StartupError: It is not an HTTP proxy.
    """
    if url.host is not None and proxy_bypass(url.host):
        return None
    proxies = getproxies()
    address = proxies.get(scheme) or proxies.get("all")
    if not address:
        return None
    name = f"{scheme}_proxy" if proxies.get(scheme) else "all_proxy"
    try:
        proxy = URL(address if "://" in address else f"http://{address}")
    except ValueError:
        proxy = URL()
    if proxy.scheme not in ("http", "https") or not proxy.host:
        raise StartupError(
            f"{name.upper()} must name an HTTP proxy, such as http://proxy:3128; SOCKS proxies "
            "are not supported: name the model's host in NO_PROXY to reach it without"
        )
    return proxy


def failure_of(error: BaseException) -> UpstreamError:
    """Return the failure that an error of aiohttp or TLS means, before a response arrived."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError | ssl.SSLCertVerificationError):
        return CertificateError()
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        # A server without TLS at an https:// address answers in plain text.
        is_plain = "WRONG_VERSION_NUMBER" in str(error) or "HTTP_REQUEST" in str(error)
        return WrongAddressError() if is_plain else CertificateError()
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
        return UnreachableError()
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return UnreachableError()
    if isinstance(error, aiohttp.InvalidURL | aiohttp.NonHttpUrlClientError):
        return WrongAddressError()
    if isinstance(error, aiohttp.ClientResponseError):
        return NotAStreamError()  # no HTTP, or a head without end
    if isinstance(error, TimeoutError):
        return StreamSilentError()
    return StreamCutError()


async def read_error_body(
    answer: aiohttp.ClientResponse, *, seconds: float = ERROR_SECONDS
) -> bytes:
    """Return what arrives of an HTTP error's body within bounds, and close the response."""
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            while len(body) < MAX_ERROR and (part := await answer.content.readany()):
                body += part
    except (aiohttp.ClientError, OSError):
        pass  # also a time-out: the beginning is better than nothing
    finally:
        answer.close()
    return bytes(body[:MAX_ERROR])


def _redirected(url: URL, location: str) -> URL:
    """Return where a redirect leads.

    Raises:
        WrongAddressError: To another server.
    """
    try:
        target = url.join(URL(location, encoded=True))
    except ValueError:
        raise WrongAddressError from None
    is_upgrade = (url.scheme, target.scheme) == ("http", "https") and url.host == target.host
    if target.scheme not in ("http", "https") or not (
        is_upgrade or target.origin() == url.origin()
    ):
        raise WrongAddressError
    return target.with_fragment(None)


def _credentials(url: URL, key: str) -> dict[str, str]:
    if (url.host or "").lower().rstrip(".").endswith(AZURE):
        return {"api-key": key}
    return {"authorization": f"Bearer {key}"}
