"""WhatsAppClient: sends by a bridge or by Meta's Cloud API, and fetches media.

What a bridge expects is in `cmw_agent.channels.whatsapp.bridges`. The Cloud API
(https://developers.facebook.com/documentation/business-messaging/whatsapp/reference) has
``POST /{number}/messages``, and ``GET /{media}`` for where a file is fetched.
"""

import asyncio
import base64
import binascii
import contextlib
from collections.abc import AsyncGenerator
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp
from pydantic import SecretStr

from cmw_agent.channels.whatsapp.bridges.bridge import Call, MediaSource
from cmw_agent.channels.whatsapp.bridges.choice import bridge_of
from cmw_agent.channels.whatsapp.cloud_webhook import USER_ID
from cmw_agent.channels.whatsapp.inbound import InboundMessage, fields_of, items_of
from cmw_agent.channels.whatsapp.public_resolver import PublicResolver
from cmw_agent.channels.whatsapp.requests import (
    MAX_BYTES,
    MEDIA_SECONDS,
    JsonRequests,
    SendError,
    too_large,
    unfetched,
)
from cmw_agent.channels.whatsapp.templates import TEMPLATE, template_body
from cmw_agent.config.settings import Settings
from cmw_agent.core.errors import UserError
from cmw_agent.core.public_addresses import may_be_public

TYPING_SECONDS, HEALTH_SECONDS = 2.0, 3.0
MEDIA_HOST = "lookaside.fbsbx.com"  # where Meta keeps files
BASE64 = 4 / 3


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
        self._settings = settings
        self._bridge = bridge_of(settings)
        self._address = (settings.whatsapp_bridge_url or "").rstrip("/")
        self._graph = settings.whatsapp_graph_url.rstrip("/")
        self._number = settings.whatsapp_phone_number_id
        self._max_file_bytes = settings.max_file_bytes
        self._requests = JsonRequests(
            client, max_file_bytes=settings.max_file_bytes, media_seconds=media_seconds
        )
        self.media_failures = 0

    def can_send(self, kind: str) -> bool:
        """Whether there is a way out of this kind, `bridge`, `cloud` or a template's."""
        if kind == "bridge":
            return bool(self._address)
        if kind == TEMPLATE and self._settings.whatsapp_template is None:
            return False
        return self._settings.whatsapp_access_token is not None and self._number is not None

    async def send(self, kind: str, recipient: str, text: str, reference: str = "") -> str:
        """Send a text, which has at most WhatsApp's length; return its id at WhatsApp, if known.

        Args:
            kind: The way out: `bridge`, `cloud`, or `cloud_template` for the operator's template.
            recipient: Who is to get it, as that way names people and groups.
            text: The text, or the template's parameter.
            reference: What Meta's later words about it are to name.

        Raises:
            SendError: It did not go out, or perhaps did.
        """
        if not self.can_send(kind):
            raise SendError("not_configured", may_retry=False)
        if kind == "bridge":
            return self._bridge.sent_id(await self._call(self._bridge.text(recipient, text)))
        body = _cloud_body(recipient, reference)
        if kind == TEMPLATE:
            body |= template_body(self._settings, text)
        else:
            body |= {"type": "text", "text": {"preview_url": False, "body": text}}
        answer = await self._requests.post(self._messages(), body, self._cloud_headers())
        sent = items_of(answer.get("messages"))
        return str(fields_of(sent[0] if sent else None).get("id") or "")

    async def mark_read(self, incoming: InboundMessage) -> None:
        """Mark a message as read at a bridge; what fails here is no matter."""
        if incoming.via == "bridge":
            await self._show(self._bridge.mark_read(incoming.chat, incoming.message_id))

    async def typing(self, kind: str, chat: str, message_id: str, *, on: bool) -> None:
        """Show, or hide, that an answer is being written; what fails here is no matter."""
        if kind == "bridge":
            await self._show(self._bridge.typing(chat, on=on))
        elif kind == "cloud" and on and self.can_send("cloud"):
            # also marks the message as read; it ends with the answer, or by itself
            body = {"messaging_product": "whatsapp", "status": "read", "message_id": message_id}
            shown = body | {"typing_indicator": {"type": "text"}}
            with contextlib.suppress(SendError):
                await self._requests.post(
                    self._messages(), shown, self._cloud_headers(), seconds=TYPING_SECONDS
                )

    async def media(self, incoming: InboundMessage) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of a message's file, no more than a file may have.

        Raises:
            UserError: It cannot be fetched, or is too large.
        """
        body = self._cloud_media(incoming.media_id)
        if incoming.via == "bridge":
            body = self._bridge_media(self._bridge.media(incoming.media_id))
        try:
            async with contextlib.aclosing(body):
                async for part in body:
                    yield part
        except UserError:
            self.media_failures += 1
            raise

    async def health(self) -> bool | None:
        """Whether the bridge is connected; None where there is none."""
        if not self._address:
            return None
        url = self._address + self._bridge.health().path
        answer = await self._requests.get(url, self._bridge.headers(), seconds=HEALTH_SECONDS)
        return answer is not None and self._bridge.is_connected(answer)

    async def _cloud_media(self, media_id: str) -> AsyncGenerator[bytes, None]:
        address = f"{self._graph}/{quote(media_id, safe='')}"
        headers = self._cloud_headers()
        found = await self._requests.json(address, headers, body=None, max_bytes=MAX_BYTES)
        url = str(found.get("url", ""))
        if not self._is_meta(url):
            raise unfetched()
        async with contextlib.aclosing(self._requests.stream(url, headers)) as body:
            async for part in body:
                yield part

    async def _bridge_media(self, source: MediaSource | None) -> AsyncGenerator[bytes, None]:
        if source is None:
            raise unfetched()
        url = self._address + source.location if source.is_own else source.location
        if source.form == "base64":
            yield await self._decoded(url, source)
            return
        if source.form == "link":
            headers = self._bridge.headers()
            found = await self._requests.json(url, headers, body=None, max_bytes=MAX_BYTES)
            url = str(found.get("url", ""))
        async with contextlib.aclosing(self._linked(url)) as body:
            async for part in body:
                yield part

    async def _decoded(self, url: str, source: MediaSource) -> bytes:
        found: Any = await self._requests.json(
            url,
            self._bridge.headers(),
            body=source.body,
            max_bytes=int(self._max_file_bytes * BASE64) + MAX_BYTES,
        )
        for name in source.names:
            found = fields_of(found).get(name)
        if not isinstance(found, str) or not found:
            raise unfetched()
        coded = found.partition(",")[2] if found.startswith("data:") else found
        try:
            data = await asyncio.to_thread(base64.b64decode, coded, validate=True)
        except (binascii.Error, ValueError):
            raise unfetched() from None
        if len(data) > self._max_file_bytes:
            raise too_large(self._max_file_bytes)
        return data

    async def _linked(self, url: str) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of a file at a URL: the bridge gets its token, other hosts must be public."""
        if self._address and _split(url) == _split(self._address):
            async with contextlib.aclosing(
                self._requests.stream(url, self._bridge.headers())
            ) as body:
                async for part in body:
                    yield part
            return
        parts = _split(url)
        if parts is None or not may_be_public(parts[1]):
            raise unfetched()
        connector = aiohttp.TCPConnector(resolver=PublicResolver(), use_dns_cache=False)
        # a session of its own, without the environment's proxy: that one would resolve by itself
        async with (
            aiohttp.ClientSession(
                connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False
            ) as public,
            contextlib.aclosing(self._requests.stream(url, {}, public)) as body,
        ):
            async for part in body:
                yield part

    async def _call(self, call: Call, *, seconds: float | None = None) -> dict[str, Any]:
        url, headers = self._address + call.path, self._bridge.headers()
        if seconds is None:
            return await self._requests.post(url, call.body or {}, headers)
        return await self._requests.post(url, call.body or {}, headers, seconds=seconds)

    async def _show(self, call: Call | None) -> None:
        if call is not None and self._address:
            with contextlib.suppress(SendError):
                await self._call(call, seconds=TYPING_SECONDS)

    def _is_meta(self, url: str) -> bool:
        """Whether an address is one that may get the token: Meta's alone, and encrypted."""
        found = _split(url)
        if found is None:
            return False
        hosts = (("https", MEDIA_HOST, None), ("https", MEDIA_HOST, 443), _split(self._graph))
        return found in hosts

    def _messages(self) -> str:
        return f"{self._graph}/{quote(self._number or '', safe='')}/messages"

    def _cloud_headers(self) -> dict[str, str]:
        return _bearer(self._settings.whatsapp_access_token)


def _cloud_body(recipient: str, reference: str) -> dict[str, Any]:
    """Return the part of a message to Meta that says for whom it is."""
    body: dict[str, Any] = {"messaging_product": "whatsapp", "recipient_type": "individual"}
    if reference:
        body["biz_opaque_callback_data"] = reference
    if USER_ID.fullmatch(recipient):
        return body | {"recipient": recipient}
    if not recipient.isdigit():
        body["recipient_type"] = "group"
    return body | {"to": recipient}


def _split(url: str) -> tuple[str, str, int | None] | None:
    """Return scheme, host and port of an http address without user and password; None of others."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    has_user = parts.username is not None or parts.password is not None
    if parts.scheme not in ("http", "https") or not host or has_user:
        return None
    return parts.scheme, host, port


def _bearer(token: SecretStr | None) -> dict[str, str]:
    return {} if token is None else {"authorization": f"Bearer {token.get_secret_value()}"}
