"""JsonRequests: the HTTP requests of WhatsApp's client, each with bounds and a time-out."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import aiohttp
import orjson

from cmw_agent.core.bodies import CHUNK_BYTES, BodyTooLargeError, read_bounded
from cmw_agent.core.errors import InvalidMessageError, ServiceUnavailableError, UserError
from cmw_agent.language import wording

CONNECT_SECONDS, SEND_SECONDS = 10.0, 30.0
ANSWER_SECONDS = 3.0  # in which the body of an answer must come whose status is known
MEDIA_SECONDS = 60.0
MAX_BYTES = 262_144  # of an answer that is no file
RETRIED = frozenset({408, 425, 429})  # beside all from 500 on


class SendError(Exception):
    """A text was not sent, or perhaps was.

    Args:
        kind: A fixed word; no part of the text.
        may_retry: Whether it may be sent again: it never went out, or the other side has refused
            it for now and so, by HTTP, not passed it on.
        is_known: Whether it certainly did not arrive.
        retry_after: Seconds that the other side asks for.
    """

    def __init__(
        self, kind: str, *, may_retry: bool, is_known: bool = True, retry_after: float = 0
    ) -> None:
        super().__init__(kind)
        self.kind = kind
        self.may_retry = may_retry
        self.is_known = is_known
        self.retry_after = retry_after


class JsonRequests:
    """Posts JSON, gets JSON, and streams files.

    Args:
        client: Keeps no cookies; its creator closes it.
        max_file_bytes: Of a file.
        media_seconds: In which a file is to be there.
    """

    def __init__(
        self, client: aiohttp.ClientSession, *, max_file_bytes: int, media_seconds: float
    ) -> None:
        self._client = client
        self._max_file_bytes = max_file_bytes
        self._media_seconds = media_seconds

    async def post(
        self,
        url: str,
        body: Mapping[str, Any],
        headers: Mapping[str, str],
        *,
        seconds: float = SEND_SECONDS,
    ) -> dict[str, Any]:
        """Post JSON; return the JSON object of the answer, an empty one for another.

        Raises:
            SendError: The request was refused, or perhaps not answered.
        """
        timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=min(CONNECT_SECONDS, seconds))
        sent = orjson.dumps(body)
        headers = {**headers, "content-type": "application/json"}
        try:
            async with self._client.post(
                url, data=sent, headers=headers, timeout=timeout, allow_redirects=False
            ) as response:
                answer = await _answer(response)
                _check(response, answer)
                return answer
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise SendError("unreachable", may_retry=True) from error
        except TimeoutError as error:
            raise SendError("timeout", may_retry=False, is_known=False) from error
        except aiohttp.ClientError as error:
            raise SendError("cut", may_retry=False, is_known=False) from error

    async def get(
        self, url: str, headers: Mapping[str, str], *, seconds: float
    ) -> dict[str, Any] | None:
        """Return the JSON object of an answer, an empty one for another; None where it fails."""
        timeout = aiohttp.ClientTimeout(total=seconds)
        try:
            async with self._request(url, headers, timeout=timeout) as response:
                return await _answer(response) if response.status == 200 else None
        except (aiohttp.ClientError, TimeoutError):
            return None

    async def json(
        self,
        url: str,
        headers: Mapping[str, str],
        *,
        body: Mapping[str, Any] | None,
        max_bytes: int,
    ) -> dict[str, Any]:
        """Return the JSON object that describes a file. Raises UserError where there is none."""
        try:
            async with (
                asyncio.timeout(self._media_seconds),
                self._request(url, headers, body=body) as response,
            ):
                if not 200 <= response.status < 300:
                    raise unfetched()
                data = await read_bounded(response.content.iter_chunked(CHUNK_BYTES), max_bytes)
        except (aiohttp.ClientError, TimeoutError, BodyTooLargeError):
            raise unfetched() from None
        return await asyncio.to_thread(_json, data)

    async def stream(
        self, url: str, headers: Mapping[str, str], client: aiohttp.ClientSession | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of a file, no more than a file may have.

        Raises:
            UserError: It cannot be fetched, or is too large.
        """
        # around each wait for the other side, and never around a `yield`: it would cancel the reader
        deadline = asyncio.get_running_loop().time() + self._media_seconds
        try:
            async with asyncio.timeout_at(deadline):
                response = await self._request(url, headers, client=client)
            async with response:
                if response.status != 200:
                    raise unfetched()
                size = 0
                while True:
                    async with asyncio.timeout_at(deadline):
                        part = await response.content.read(CHUNK_BYTES)
                    if not part:
                        return
                    size += len(part)
                    if size > self._max_file_bytes:
                        raise too_large(self._max_file_bytes)
                    yield part
        except (aiohttp.ClientError, TimeoutError, OSError):
            raise unfetched() from None

    def _request(
        self,
        url: str,
        headers: Mapping[str, str],
        *,
        body: Mapping[str, Any] | None = None,
        timeout: aiohttp.ClientTimeout | None = None,
        client: aiohttp.ClientSession | None = None,
    ) -> Any:
        limits = timeout or aiohttp.ClientTimeout(
            total=MEDIA_SECONDS, sock_connect=CONNECT_SECONDS, sock_read=SEND_SECONDS
        )
        method = "GET" if body is None else "POST"
        sent = None if body is None else orjson.dumps(body)
        if sent is not None:
            headers = {**headers, "content-type": "application/json"}
        return (client or self._client).request(
            method, url, data=sent, headers=headers, timeout=limits, allow_redirects=False
        )


def too_large(max_bytes: int) -> UserError:
    """Return the error for a file that is too large."""
    return InvalidMessageError(
        wording(
            "This file is too large; at most {size} are taken.",
            size=wording("{count} MB", count=f"{max_bytes / 1e6:.1f}"),
        ),
        status=413,
    )


def unfetched() -> UserError:
    """Return the error for a file that cannot be fetched."""
    return ServiceUnavailableError(
        wording("Your file could not be fetched from WhatsApp; please send it again.")
    )


async def _answer(response: aiohttp.ClientResponse) -> dict[str, Any]:
    """Return an answer's JSON object; an empty one where it does not come, or is something else.

    The status says whether a text was taken, so that a body that fails changes nothing.
    """
    with contextlib.suppress(aiohttp.ClientError, TimeoutError, BodyTooLargeError):
        async with asyncio.timeout(ANSWER_SECONDS):
            return _json(await read_bounded(response.content.iter_chunked(CHUNK_BYTES), MAX_BYTES))
    return {}


def _check(response: aiohttp.ClientResponse, answer: Mapping[str, Any]) -> None:
    if 200 <= response.status < 300:
        return
    retry_after = response.headers.get("retry-after", "")
    error = answer.get("error")
    code = error.get("code") if isinstance(error, dict) else None
    # Meta's own code says more than the status, which is 400 for most
    kind = f"meta_{code}" if isinstance(code, int) else f"http_{response.status}"
    raise SendError(
        kind,
        may_retry=response.status in RETRIED or response.status >= 500,
        retry_after=float(retry_after) if retry_after.isascii() and retry_after.isdigit() else 0,
    )


def _json(body: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}
