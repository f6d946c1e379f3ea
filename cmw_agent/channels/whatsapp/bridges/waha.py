"""WAHA: signs its webhooks with HMAC-SHA-512 and keeps files at an address of its own.

Its engines pass on different raw data beside fields that all of them have.
https://waha.devlike.pro/docs/how-to/events/
"""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from cmw_agent.channels.whatsapp.authentication import Authentication, BodySignature
from cmw_agent.channels.whatsapp.bridges.bridge import (
    Bridge,
    Call,
    Content,
    MediaSource,
    chat_of,
    delivery,
    person,
    users,
)
from cmw_agent.channels.whatsapp.bridges.protocol_content import (
    context_of,
    mentioned_in,
    read_content,
    unwrapped,
)
from cmw_agent.channels.whatsapp.descriptions import (
    STICKER,
    describe_contacts,
    describe_location,
    read_card,
)
from cmw_agent.channels.whatsapp.inbound import (
    KINDS,
    SILENT,
    InboundDelivery,
    clean,
    fields_of,
    items_of,
    kind_of_media,
)

EVENTS = frozenset({"message", "message.any"})
FILES = "/api/files/"


class Waha(Bridge):
    """WAHA, with any of its engines."""

    def _authentication(self, secrets: Sequence[str]) -> Authentication:
        return BodySignature(
            secrets,
            header="x-webhook-hmac",
            prefix="",
            algorithm="sha512",
            algorithm_header="x-webhook-hmac-algorithm",
        )

    def parse(self, body: Mapping[str, Any]) -> list[InboundDelivery]:
        """Return the message of a `message` event."""
        payload = fields_of(body.get("payload"))
        raw = fields_of(payload.get("_data"))
        if body.get("event") not in EVENTS or payload.get("fromMe") is True:
            return []
        protocol = unwrapped(raw.get("message") or raw.get("Message"))
        content = _content(payload, raw, protocol)
        if content is None:
            return []
        key, info = fields_of(raw.get("key")), fields_of(raw.get("Info"))
        alternatives = (
            key.get("participantAlt"),
            key.get("remoteJidAlt"),
            key.get("senderPn"),
            info.get("SenderAlt"),
        )
        author = person(payload.get("participant"), payload.get("author"), *alternatives)
        me = fields_of(body.get("me"))
        reply, context = fields_of(payload.get("replyTo")), context_of(protocol)
        item = delivery(
            content,
            identifier=payload.get("id"),
            chat=chat_of(payload.get("from"), *alternatives),
            sender=author,
            at=payload.get("timestamp"),
            own=self._numbers | users(me.get("id"), me.get("lid"), me.get("jid")),
            mentioned=items_of(raw.get("mentionedJidList")) or mentioned_in(context),
            quoted=reply.get("participant") or context.get("participant"),
            reply_to=reply.get("id"),
        )
        return [] if item is None else [item]

    def headers(self) -> dict[str, str]:
        """Return the API key."""
        return {"x-api-key": self._token} if self._token else {}

    def text(self, chat: str, text: str) -> Call:
        """Return the request that sends a text."""
        return self._call("sendText", chatId=chat, text=text)

    def typing(self, chat: str, *, on: bool) -> Call:
        """Return the request that shows that an answer is being written, or hides it."""
        return self._call("startTyping" if on else "stopTyping", chatId=chat)

    def mark_read(self, chat: str, message: str) -> Call:
        """Return the request that marks the chat as read."""
        return self._call("sendSeen", chatId=chat)

    def health(self) -> Call:
        """Return the request that asks for the session."""
        return Call(f"/api/sessions/{self._session}")

    def is_connected(self, answer: Mapping[str, Any]) -> bool:
        """Whether the session works."""
        return answer.get("status") == "WORKING"

    def media(self, reference: str) -> MediaSource:
        """Return where a file is.

        WAHA names itself as it knows itself, often ``http://localhost:3000``: its own files are
        fetched where the settings say that it is.
        """
        path = urlsplit(reference).path
        if path.startswith(FILES) and ".." not in path:
            return MediaSource(path)
        return MediaSource(reference, is_own=False)

    def _call(self, name: str, **fields: str) -> Call:
        return Call(f"/api/{name}", {"session": self._session_name, **fields})


def _content(
    payload: Mapping[str, Any], raw: Mapping[str, Any], protocol: Mapping[str, Any]
) -> Content | None:
    type_name = clean(raw.get("type"))
    if type_name in SILENT:
        return None
    if type_name == "sticker" or "stickerMessage" in protocol:
        return Content("text", STICKER)
    text = clean(payload.get("body"))
    if location := fields_of(payload.get("location")):
        return Content("text", describe_location(location))
    if cards := items_of(payload.get("vCards")):
        return Content("text", describe_contacts(map(read_card, cards)))
    if payload.get("hasMedia") is True:
        media = fields_of(payload.get("media"))
        mime = clean(media.get("mimetype")) or clean(raw.get("mimetype"))
        url = clean(media.get("url")) or clean(payload.get("mediaUrl"))
        kind = kind_of_media(mime) if mime else KINDS.get(type_name, "document")
        return Content(kind, text, mime, clean(media.get("filename")), url)
    if text:
        return Content("text", text)
    if protocol:
        return read_content(protocol)
    kind = KINDS.get(type_name, "other") if type_name else "text"
    return Content(kind)
