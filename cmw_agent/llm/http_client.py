"""HTTP client of the model's server.

One connection pool serves all users, so it stores no cookies. Requests go directly
through aiohttp: the openai SDK inspects every message by its type hints and copies headers
and URLs at each layer, which takes longer than the rest of a turn's start; see
``docs/adr/0004-coalescing-at-the-source.md``.
"""

import random
import ssl
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

import aiohttp
import certifi
import orjson
from aiohttp.helpers import get_env_proxy_for_url
from yarl import URL

from cmw_agent.core.retry import retry
from cmw_agent.llm.errors import (
    RequestRefusedError,
    StreamCutError,
    StreamSilentError,
    UnreachableError,
    UpstreamError,
)
from cmw_agent.llm.response_body import ResponseBody

CONNECT_SECONDS = 10.0
RETRIES = 2  # before the first byte of an answer; never after it
RETRIED = frozenset({408, 409, 429, 500, 502, 503, 504})
LONGEST_PAUSE = 8.0  # seconds between two tries, also where the server asks for more
KEEPALIVE_SECONDS = 30.0


class Upstream:
    """Requests streamed chat completions from one endpoint. Close it before its event loop ends.

    Args:
        base_url: URL of the endpoint, to which `path` is appended.
        key: API key, sent as bearer token; or None.
        read_seconds: Time-out of one read, in seconds.
        connections: Maximum number of open connections.
        headers: Further headers of each request.
        path: The path of the interface below `base_url`.
    """

    def __init__(
        self,
        base_url: str,
        *,
        key: str | None,
        read_seconds: float,
        connections: int,
        headers: Mapping[str, str] | None = None,
        path: str = "/chat/completions",
    ) -> None:
        self._url = base_url.rstrip("/") + path
        self._headers = {
            **(headers or {}),
            "content-type": "application/json",
            "accept": "text/event-stream",
        }
        if key is not None:
            self._headers["authorization"] = f"Bearer {key}"
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=connections, keepalive_timeout=KEEPALIVE_SECONDS, ssl=_trusted(base_url)
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=CONNECT_SECONDS, sock_read=read_seconds
            ),
            auto_decompress=True,
            trust_env=has_proxy(base_url),
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()

    async def open(self, payload: Mapping[str, Any], *, silence: float | None = None) -> "Reply":
        """Send a request and return its streamed reply, which the caller closes.

        A request that failed before the first byte of the answer is retried up to `RETRIES`
        times if its failure may be temporary.

        Args:
            payload: The request.
            silence: Seconds of one read; None for `read_seconds`.

        Raises:
            RequestRefusedError: The server answered with an HTTP error.
            StreamSilentError, StreamCutError, UnreachableError: No answer arrived.
        """
        body = orjson.dumps(payload)
        try:
            send = partial(self._try, body, silence)
            return await retry(send, tries=RETRIES + 1, pause_after=_pause_after)
        except _RetryableError as failure:
            raise failure.error from failure.__cause__

    async def _try(self, body: bytes, silence: float | None) -> "Reply":
        timeout = (
            aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=silence)
            if silence is not None
            else None
        )
        try:
            answer = await self._session.post(
                self._url, data=body, headers=self._headers, timeout=timeout
            )
        except aiohttp.SocketTimeoutError as error:
            # Not retried: the user would wait as long again.
            raise StreamSilentError from error
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise _RetryableError(UnreachableError()) from error
        except aiohttp.ClientError as error:
            # Most often a keep-alive connection that the server has closed meanwhile.
            raise _RetryableError(StreamCutError()) from error
        if answer.status == 200:
            return Reply(answer)
        pause = _asked_pause(answer.headers.get("retry-after"))
        answer.close()
        if answer.status in RETRIED:
            raise _RetryableError(RequestRefusedError(answer.status), pause)
        raise RequestRefusedError(answer.status)


def has_proxy(url: str) -> bool:
    """Return whether the environment names a proxy for `url`.

    Only then is aiohttp's `trust_env` set: with it, each request switches to a thread twice, and
    a request with a key fails if a .netrc file has an entry for its host.
    """
    try:
        get_env_proxy_for_url(URL(url))
    except LookupError:
        return False
    return True


def _trusted(base_url: str) -> ssl.SSLContext | Literal[True]:
    """Return the TLS context for `base_url`; loading the certificates takes tens of ms."""
    if not base_url.lower().startswith("https:"):
        return True
    trusted = ssl.create_default_context()
    trusted.load_verify_locations(certifi.where())
    return trusted


class Reply:
    """The bytes of one streamed response.

    Args:
        answer: aiohttp's response, whose status line and headers have been read.
    """

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer
        self._body = ResponseBody(answer)

    async def read(self) -> bytes:
        """Wait for bytes and return all that have arrived; empty at the end of the response.

        Bytes that arrived before the connection broke are returned first.

        Raises:
            StreamSilentError: No data arrived within the read time-out.
            StreamCutError: The connection broke.
        """
        try:
            return await self._body.read()
        except aiohttp.SocketTimeoutError as error:
            raise StreamSilentError from error
        except (aiohttp.ClientError, OSError) as error:
            if rest := self._body.rest(error):
                return rest
            raise StreamCutError from error

    def pause(self) -> None:
        """Stop reading from the socket."""
        self._body.pause()

    def resume(self) -> None:
        """Continue reading from the socket."""
        self._body.resume()

    def close(self) -> None:
        """Close the connection, which aborts an unfinished answer upstream."""
        self._answer.close()

    def release(self) -> None:
        """Return the connection of a complete answer to the pool."""
        self._answer.release()


class _RetryableError(Exception):
    def __init__(self, error: UpstreamError, pause: float = 0.0) -> None:
        super().__init__()
        self.error = error
        self.pause = pause


def _asked_pause(header: str | None) -> float:
    try:
        return max(0.0, float(header)) if header else 0.0
    except ValueError:
        return 0.0


def _pause_after(error: Exception, tries: int) -> float | None:
    if not isinstance(error, _RetryableError) or error.pause > LONGEST_PAUSE:
        return None
    # Exponential from half a second, with jitter, so that many turns do not retry at once.
    backoff = min(LONGEST_PAUSE, 0.25 * 2**tries) * (0.75 + random.random() / 4)  # noqa: S311
    return error.pause or backoff
