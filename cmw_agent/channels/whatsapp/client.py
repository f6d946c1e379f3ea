"""WhatsAppClient: sends by a WPPConnect bridge or by Meta's Cloud API, and fetches media.

- The bridge: ``POST /send/text`` `{"chatId", "message"}`, ``POST /typing/start|stop`` `{"chatId"}`,
  ``GET /health``, each with ``Authorization: Bearer`` where it asks for a token.
- The Cloud API (https://developers.facebook.com/docs/whatsapp/cloud-api/reference/messages):
  ``POST /{number}/messages``, and ``GET /{media}`` for where a file is fetched.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp
import orjson
from pydantic import SecretStr

from cmw_agent.config.settings import Settings
from cmw_agent.core.bodies import CHUNK_BYTES, BodyTooLargeError, read_bounded
from cmw_agent.core.errors import InvalidMessageError, ServiceUnavailableError, UserError

CONNECT_SECONDS, SEND_SECONDS = 10.0, 30.0
TYPING_SECONDS, HEALTH_SECONDS = 2.0, 3.0
MEDIA_SECONDS = 60.0
MEDIA_HOST = "lookaside.fbsbx.com"  # where Meta keeps files
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


class WhatsAppClient:
    """Speaks to whatever the settings name.

    Args:
        settings: Addresses and tokens.
        client: Keeps no cookies; its creator closes it.
        media_seconds: In which a file is to be there.
    """

    def __init__(
        self,
        settings: Settings,
        client: aiohttp.ClientSession,
        *,
        media_seconds: float = MEDIA_SECONDS,
    ) -> None:
        self._client = client
        self._settings = settings
        self._bridge = (settings.whatsapp_bridge_url or "").rstrip("/")
        self._graph = settings.whatsapp_graph_url.rstrip("/")
        self._number = settings.whatsapp_phone_number_id
        self._max_file_bytes = settings.max_file_bytes
        self._media_seconds = media_seconds

    def can_send(self, kind: str) -> bool:
        """Whether there is a way out of this kind, `bridge` or `cloud`."""
        if kind == "bridge":
            return bool(self._bridge)
        return self._settings.whatsapp_access_token is not None and self._number is not None

    async def send(self, kind: str, recipient: str, text: str) -> None:
        """Send a text, which has at most WhatsApp's length.

        Raises:
            SendError: It did not go out, or perhaps did.
        """
        if not self.can_send(kind):
            raise SendError("not_configured", may_retry=False)
        if kind == "bridge":
            body: dict[str, Any] = {"chatId": recipient, "message": text}
            await self._post(f"{self._bridge}/send/text", body, self._bridge_headers())
            return
        is_group = not recipient.isdigit()
        body = {
            "messaging_product": "whatsapp",
            "recipient_type": "group" if is_group else "individual",
            "to": recipient,
            "type": "text",
            "text": {"preview_url": False, "body": text},
        }
        await self._post(self._messages(), body, self._cloud_headers())

    async def typing(self, kind: str, chat: str, message_id: str, *, on: bool) -> None:
        """Show, or hide, that an answer is being written; what fails here is no matter."""
        body: dict[str, Any]
        if kind == "bridge" and self._bridge:
            url = f"{self._bridge}/typing/{'start' if on else 'stop'}"
            body, headers = {"chatId": chat}, self._bridge_headers()
        elif kind == "cloud" and on and self.can_send("cloud"):
            # also marks the message as read; it ends with the answer, or by itself
            url, headers = self._messages(), self._cloud_headers()
            body = {"messaging_product": "whatsapp", "status": "read", "message_id": message_id}
            body["typing_indicator"] = {"type": "text"}
        else:
            return
        with contextlib.suppress(SendError):
            await self._post(url, body, headers, seconds=TYPING_SECONDS)

    async def media(self, media_id: str) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of a file that the Cloud API keeps, no more than a file may have.

        Raises:
            UserError: It cannot be fetched, or is too large.
        """
        # around each wait for Meta, and never around a `yield`: it would cancel the reader
        deadline = asyncio.get_running_loop().time() + self._media_seconds
        try:
            async with asyncio.timeout_at(deadline):
                response = await self._get(await self._media_url(media_id), self._cloud_headers())
            async with response:
                if response.status != 200:
                    raise _unfetched()
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
        except (aiohttp.ClientError, TimeoutError, SendError, BodyTooLargeError):
            raise _unfetched() from None

    async def _media_url(self, media_id: str) -> str:
        """Return where a file is; raises UserError and what aiohttp does."""
        address = f"{self._graph}/{quote(media_id, safe='')}"
        async with self._get(address, self._cloud_headers()) as response:
            parts = response.content.iter_chunked(CHUNK_BYTES)
            fields = _json(await read_bounded(parts, MAX_BYTES))
        url = str(fields.get("url", "")) if response.status == 200 else ""
        if not self._is_meta(url):
            raise _unfetched()
        return url

    async def health(self) -> bool | None:
        """Whether the bridge is well; None where there is none."""
        if not self._bridge:
            return None
        headers = self._bridge_headers()
        timeout = aiohttp.ClientTimeout(total=HEALTH_SECONDS)
        try:
            async with self._get(f"{self._bridge}/health", headers, timeout=timeout) as response:
                return bool(response.status == 200)
        except (aiohttp.ClientError, TimeoutError):
            return False

    def _is_meta(self, url: str) -> bool:
        """Whether an address is one that may get the token: Meta's alone, and encrypted."""
        try:
            parts, graph = urlsplit(url), urlsplit(self._graph)
            host, own_host = (parts.hostname, parts.port), (graph.hostname, graph.port)
        except ValueError:
            return False
        if parts.username is not None or parts.password is not None:
            return False
        if host == own_host and parts.scheme == graph.scheme:
            return True
        return parts.scheme == "https" and host in ((MEDIA_HOST, None), (MEDIA_HOST, 443))

    def _get(
        self, url: str, headers: Mapping[str, str], *, timeout: aiohttp.ClientTimeout | None = None
    ) -> Any:
        limits = timeout or aiohttp.ClientTimeout(
            total=MEDIA_SECONDS, sock_connect=CONNECT_SECONDS, sock_read=SEND_SECONDS
        )
        return self._client.get(url, headers=headers, timeout=limits, allow_redirects=False)

    async def _post(
        self,
        url: str,
        body: dict[str, Any],
        headers: Mapping[str, str],
        *,
        seconds: float = SEND_SECONDS,
    ) -> None:
        timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=min(CONNECT_SECONDS, seconds))
        sent = orjson.dumps(body)
        headers = {**headers, "content-type": "application/json"}
        try:
            async with self._client.post(
                url, data=sent, headers=headers, timeout=timeout, allow_redirects=False
            ) as response:
                # what it says is of no use, and may be anything
                _check(response)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise SendError("unreachable", may_retry=True) from error
        except TimeoutError as error:
            raise SendError("timeout", may_retry=False, is_known=False) from error
        except aiohttp.ClientError as error:
            raise SendError("cut", may_retry=False, is_known=False) from error

    def _messages(self) -> str:
        return f"{self._graph}/{quote(self._number or '', safe='')}/messages"

    def _bridge_headers(self) -> dict[str, str]:
        return _bearer(self._settings.whatsapp_bridge_token)

    def _cloud_headers(self) -> dict[str, str]:
        return _bearer(self._settings.whatsapp_access_token)


def too_large(max_bytes: int) -> UserError:
    """Return the error for a file that is too large."""
    return InvalidMessageError(
        f"This file is too large; at most {max_bytes / 1e6:.1f} MB are taken.", status=413
    )


def _bearer(token: SecretStr | None) -> dict[str, str]:
    return {} if token is None else {"authorization": f"Bearer {token.get_secret_value()}"}


def _check(response: aiohttp.ClientResponse) -> None:
    if 200 <= response.status < 300:
        return
    retry_after = response.headers.get("retry-after", "")
    raise SendError(
        f"http_{response.status}",
        may_retry=response.status in RETRIED or response.status >= 500,
        retry_after=float(retry_after) if retry_after.isascii() and retry_after.isdigit() else 0,
    )


def _json(body: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _unfetched() -> UserError:
    return ServiceUnavailableError(
        "Your file could not be fetched from WhatsApp; please send it again."
    )
