"""wwebjs-api: WhatsApp Web as a service, which sends its own API key with each webhook.

https://github.com/avoylenko/wwebjs-api
"""

from collections.abc import Mapping, Sequence
from typing import Any

from cmw_agent.channels.whatsapp.authentication import Authentication, SharedSecret
from cmw_agent.channels.whatsapp.bridges.bridge import (
    Bridge,
    Call,
    Content,
    MediaSource,
    canonical,
    chat_of,
    delivery,
    person,
    stanza,
    users,
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
    message_id,
)

EVENTS = frozenset({"message", "unread_message"})


class WWebJs(Bridge):
    """wwebjs-api."""

    def _authentication(self, secrets: Sequence[str]) -> Authentication:
        return SharedSecret(secrets, headers=("x-api-key",), in_path=True)

    def parse(self, body: Mapping[str, Any]) -> list[InboundDelivery]:
        """Return the message of a `message` event."""
        message = fields_of(fields_of(body.get("data")).get("message"))
        identifier, raw = fields_of(message.get("id")), fields_of(message.get("_data"))
        is_own = message.get("fromMe") is True or identifier.get("fromMe") is True
        is_status = message.get("isStatus") is True or message.get("broadcast") is True
        type_name = clean(message.get("type"))
        if body.get("dataType") not in EVENTS or is_own or is_status or type_name in SILENT:
            return []
        item = delivery(
            _content(message, raw, type_name),
            identifier=message.get("id"),
            chat=chat_of(message.get("from"), raw.get("senderPn")),
            sender=person(message.get("author"), raw.get("author"), raw.get("senderPn")),
            at=message.get("timestamp"),
            own=self._numbers | users(message.get("to")),
            mentioned=items_of(message.get("mentionedIds")),
            quoted=raw.get("quotedParticipant"),
            reply_to=raw.get("quotedStanzaID"),
        )
        return [] if item is None else [item]

    def headers(self) -> dict[str, str]:
        """Return the API key."""
        return {"x-api-key": self._token} if self._token else {}

    def text(self, chat: str, text: str) -> Call:
        """Return the request that sends a text."""
        body = {"chatId": chat, "contentType": "string", "content": text}
        return Call(f"/client/sendMessage/{self._session}", body)

    def typing(self, chat: str, *, on: bool) -> Call:
        """Return the request that shows that an answer is being written, or hides it."""
        name = "sendStateTyping" if on else "clearState"
        return Call(f"/chat/{name}/{self._session}", {"chatId": chat})

    def mark_read(self, chat: str, message: str) -> Call:
        """Return the request that marks the chat as read."""
        return Call(f"/client/sendSeen/{self._session}", {"chatId": chat})

    def health(self) -> Call:
        """Return the request that asks for the session's state."""
        return Call(f"/session/status/{self._session}")

    def is_connected(self, answer: Mapping[str, Any]) -> bool:
        """Whether the session is connected."""
        return answer.get("success") is True and answer.get("state") == "CONNECTED"

    def sent_id(self, answer: Mapping[str, Any]) -> str:
        """Return the id of the sent message."""
        return stanza(fields_of(answer.get("message")).get("id"))

    def media(self, reference: str) -> MediaSource:
        """Return where a file is: at the bridge, by the chat's and the message's id."""
        chat, _, name = reference.partition(" ")
        return MediaSource(
            f"/message/downloadMedia/{self._session}",
            "base64",
            {"chatId": chat, "messageId": name},
            names=("messageMedia", "data"),
        )


def _content(message: Mapping[str, Any], raw: Mapping[str, Any], type_name: str) -> Content:
    text = clean(message.get("body"))
    if type_name == "location":
        return Content("text", describe_location(fields_of(message.get("location"))))
    if type_name in ("vcard", "multi_vcard"):
        cards = items_of(message.get("vCards")) or [text]
        return Content("text", describe_contacts(map(read_card, cards)))
    if type_name == "sticker":
        return Content("text", STICKER)
    kind = KINDS.get(type_name, "other")
    if kind in ("text", "other"):
        return Content(kind, text or clean(raw.get("selectedDisplayText")))
    has_media = message.get("hasMedia") is True
    return Content(
        kind,
        text,
        clean(raw.get("mimetype")),
        clean(raw.get("filename")) if kind == "document" else "",
        f"{canonical(message.get('from'))} {message_id(message.get('id'))}" if has_media else "",
    )
