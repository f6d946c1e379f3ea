"""The app's connections to the model's server.

One pool serves all users, so it keeps no cookies. A request goes straight through
aiohttp: the openai SDK walks every message by its type hints and copies headers and
URLs at each layer, which takes longer than the rest of a turn's start; see
``docs/adr/0004-coalescing-at-the-source.md``.
"""

import asyncio
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

CONNECT_SECONDS = 10.0
RETRIES = 2  # before the first byte of an answer; never after it
RETRIED = frozenset({408, 409, 429, 500, 502, 503, 504})
LONGEST_PAUSE = 8.0  # seconds between two tries, also where the server asks for more
KEEPALIVE_SECONDS = 30.0


class UpstreamError(Exception):
    """The model's server failed; `kind` is a fixed word for the log."""

    kind = "failed"


class StreamCutError(UpstreamError):
    """The connection ended before the answer did."""

    kind = "cut"


class StreamSilentError(UpstreamError):
    """Nothing came for as long as one read may take."""

    kind = "timeout"


class NotAStreamError(UpstreamError):
    """What came is not a stream of chat completion chunks."""

    kind = "not_a_stream"


class StreamRefusedError(UpstreamError):
    """The server reported an error inside the stream."""

    kind = "refused"


class UnreachableError(UpstreamError):
    """No connection could be made."""

    kind = "unreachable"


class RequestRefusedError(UpstreamError):
    """The server answered with an HTTP error.

    Args:
        status_code: HTTP's status.
    """

    def __init__(self, status_code: int) -> None:
        super().__init__(status_code)
        self.status_code = status_code
        known = {
            401: "unauthorised",
            403: "unauthorised",
            404: "no_such_model",
            408: StreamSilentError.kind,
            429: "rate_limited",
        }
        self.kind = known.get(status_code, "server_error" if status_code >= 500 else "rejected")


class Upstream:
    """Asks one endpoint for streamed chat completions. Close it with its event loop.

    Args:
        base_url: Address of the endpoint, to which ``/chat/completions`` is added.
        key: Sent as bearer token, or None.
        read_seconds: How long one read may wait.
        connections: At most, at once.
    """

    def __init__(
        self, base_url: str, *, key: str | None, read_seconds: float, connections: int
    ) -> None:
        self._url = base_url.rstrip("/") + "/chat/completions"
        self._headers = {"content-type": "application/json", "accept": "text/event-stream"}
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

    async def open(self, payload: Mapping[str, Any]) -> "Reply":
        """Send a request and return its streamed reply, which the caller closes.

        A request that failed before the first byte of an answer is tried again, as
        often as `RETRIES`, where another try can help.

        Raises:
            RequestRefusedError: The server answered with an HTTP error.
            StreamSilentError, StreamCutError, Unreachable: No answer came.
        """
        body = orjson.dumps(payload)
        try:
            send = partial(self._try, body)
            return await retry(send, tries=RETRIES + 1, pause_after=_pause_after)
        except _RetryableError as failure:
            raise failure.error from failure.__cause__

    async def _try(self, body: bytes) -> "Reply":
        try:
            answer = await self._session.post(self._url, data=body, headers=self._headers)
        except aiohttp.SocketTimeoutError as error:
            # Another try would let the user wait as long again.
            raise StreamSilentError from error
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise _RetryableError(UnreachableError()) from error
        except aiohttp.ClientError as error:
            # A kept connection that the server had closed meanwhile, most of all.
            raise _RetryableError(StreamCutError()) from error
        if answer.status == 200:
            return Reply(answer)
        pause = _asked_pause(answer.headers.get("retry-after"))
        answer.close()
        if answer.status in RETRIED:
            raise _RetryableError(RequestRefusedError(answer.status), pause)
        raise RequestRefusedError(answer.status)


def has_proxy(url: str) -> bool:
    """Whether the environment names a proxy for `url`.

    Only then is aiohttp to look for it (`trust_env`): it crosses to a thread twice for each
    request, and fails one with a key where a .netrc file names its host too.
    """
    try:
        get_env_proxy_for_url(URL(url))
    except LookupError:
        return False
    return True


def _trusted(base_url: str) -> ssl.SSLContext | Literal[True]:
    """Return whom to believe that they are `base_url`; reading the list takes tens of ms."""
    if not base_url.lower().startswith("https:"):
        return True
    trusted = ssl.create_default_context()
    trusted.load_verify_locations(certifi.where())
    return trusted


class Reply:
    """A streamed reply: its bytes as they come.

    Args:
        answer: aiohttp's, its head read.
    """

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer
        self._content: Any = answer.content
        # aiohttp else asks its parser and transport to go on after each piece that is taken, and
        # a server sends each token as a piece: here they are asked once for each read.
        self._content._low_water = 0  # noqa: SLF001

    async def read(self) -> bytes:
        """Wait for bytes and return all that have come; none at the end.

        What had come before a connection broke is returned first.

        Raises:
            StreamSilentError: Nothing came in time.
            StreamCutError: The connection broke.
        """
        content = self._content
        try:
            parts = [await content.readany()]
            # What was received goes on being parsed by this, as far as there is room for it.
            while self._goes_on() and (more := content.read_nowait()):
                parts.append(more)
            return b"".join(parts) if len(parts) > 1 else parts[0]
        except aiohttp.SocketTimeoutError as error:
            raise StreamSilentError from error
        except (aiohttp.ClientError, OSError) as error:
            # aiohttp raises first and would drop what nobody has read yet.
            content.set_exception(None)
            rest = bytes(content.read_nowait())
            content.set_exception(error)
            if rest:
                return rest
            raise StreamCutError from error

    def _goes_on(self) -> bool:
        """Let what was held back for want of room come; False where nothing was."""
        protocol = self._protocol()
        if self._content.exception() is not None or protocol is None:
            return False
        if not protocol._reading_paused:  # noqa: SLF001 (aiohttp tells it nowhere else)
            return False
        protocol.resume_reading()
        return True

    def pause(self) -> None:
        """Leave what comes with the kernel, which takes no CPU of ours."""
        if (transport := self._transport()) is not None:
            transport.pause_reading()

    def resume(self) -> None:
        """Take again what comes."""
        if (transport := self._transport()) is not None:
            transport.resume_reading()

    def _transport(self) -> asyncio.ReadTransport | None:
        # Not the protocol's own pause, which stops its parser after each piece of the next read.
        protocol = self._protocol()
        return protocol.transport if protocol is not None else None

    def _protocol(self) -> Any:
        # None for a connection that is gone, or has given all it had.
        connection = self._answer.connection
        protocol = connection.protocol if connection is not None else None
        return protocol if protocol is not None and protocol.is_connected() else None

    def close(self) -> None:
        """Let the connection go; an answer that is not whole is aborted upstream."""
        self._answer.close()

    def release(self) -> None:
        """Give the connection of a whole answer back to the pool."""
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
    # Half a second and double, with jitter, so that many turns do not come back at once.
    backoff = min(LONGEST_PAUSE, 0.25 * 2**tries) * (0.75 + random.random() / 4)  # noqa: S311
    return error.pause or backoff
