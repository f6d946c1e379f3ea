"""GOWA: go-whatsapp-web-multidevice, which signs its webhooks as Meta does.

https://github.com/aldinokemal/go-whatsapp-web-multidevice
"""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from cmw_agent.channels.whatsapp.authentication import Authentication, BodySignature
from cmw_agent.channels.whatsapp.bridges.bridge import (
    Bridge,
    Call,
    Content,
    MediaSource,
    chat_of,
    delivery,
    guessed_type,
    person,
    protocol_address,
    users,
)
from cmw_agent.channels.whatsapp.descriptions import (
    STICKER,
    describe_contacts,
    describe_location,
    read_card,
)
from cmw_agent.channels.whatsapp.inbound import (
    InboundDelivery,
    MessageKind,
    clean,
    fields_of,
    invalid,
    items_of,
)

FILES: Mapping[str, MessageKind] = {"image": "image", "audio": "audio", "document": "document"}
UNREAD = ("video", "video_note", "list", "order", "poll", "event")
FOLDER = "statics/"  # of files that it has fetched
DEFAULT = "default"  # the session's name where the settings give none


class Gowa(Bridge):
    """go-whatsapp-web-multidevice."""

    def _authentication(self, secrets: Sequence[str]) -> Authentication:
        return BodySignature(secrets)

    def parse(self, body: Mapping[str, Any]) -> list[InboundDelivery]:
        """Return the message of a `message` event."""
        if "event" not in body:
            raise invalid("event and payload, as version 8 and later send them")
        payload = fields_of(body.get("payload"))
        if body.get("event") != "message" or payload.get("is_from_me") is True:
            return []
        content = _content(payload)
        if content is None:
            return []
        sender = person(payload.get("from"), payload.get("from_lid"))
        item = delivery(
            content,
            identifier=payload.get("id"),
            chat=chat_of(payload.get("chat_id"), sender),
            sender=sender,
            at=payload.get("timestamp"),
            own=self._numbers | users(body.get("device_id")),
            mentioned=items_of(payload.get("mentioned_jids")),
            quoted=payload.get("quoted_participant"),
            reply_to=payload.get("replied_to_id"),
        )
        return [] if item is None else [item]

    def headers(self) -> dict[str, str]:
        """Return the basic authentication, whose name and password the token holds, and the device."""
        headers = {} if self._session_name == DEFAULT else {"x-device-id": self._session_name}
        if self._token:
            headers["authorization"] = f"Basic {b64encode(self._token.encode()).decode()}"
        return headers

    def text(self, chat: str, text: str) -> Call:
        """Return the request that sends a text."""
        return Call("/send/message", {"phone": protocol_address(chat), "message": text})

    def typing(self, chat: str, *, on: bool) -> Call:
        """Return the request that shows that an answer is being written, or hides it."""
        action = "start" if on else "stop"
        return Call("/send/chat-presence", {"phone": protocol_address(chat), "action": action})

    def mark_read(self, chat: str, message: str) -> Call:
        """Return the request that marks a message as read."""
        return Call(f"/message/{quote(message, safe='')}/read", {"phone": protocol_address(chat)})

    def health(self) -> Call:
        """Return the request that asks for the device's state."""
        return Call("/app/status")

    def is_connected(self, answer: Mapping[str, Any]) -> bool:
        """Whether the device is connected and logged in."""
        results = fields_of(answer.get("results"))
        return results.get("is_connected") is True and results.get("is_logged_in") is True

    def sent_id(self, answer: Mapping[str, Any]) -> str:
        """Return the id of the sent message."""
        return clean(fields_of(answer.get("results")).get("message_id"))

    def media(self, reference: str) -> MediaSource | None:
        """Return where a file is that the bridge has fetched."""
        path = reference.lstrip("/")
        if not path.startswith(FOLDER) or ".." in path:
            return None  # encrypted, at WhatsApp: the bridge was set to fetch nothing
        return MediaSource(f"/{quote(path)}")


def _content(payload: Mapping[str, Any]) -> Content | None:
    text = clean(payload.get("body"))
    for name, kind in FILES.items():
        if payload.get(name):
            return _file(kind, payload[name], text)
    if payload.get("sticker"):
        return Content("text", STICKER)
    for name in ("location", "live_location"):
        if location := fields_of(payload.get(name)):
            return Content("text", describe_location(location))
    cards = [payload["contact"]] if payload.get("contact") else []
    if cards := cards + items_of(payload.get("contacts_array")):
        return Content("text", describe_contacts(map(_contact, cards)))
    if any(payload.get(name) for name in UNREAD):
        return Content("other")
    # Events without a body are no messages of people: encryption keys, receipts of devices.
    return Content("text", text) if text else None


def _file(kind: MessageKind, value: object, text: str) -> Content:
    fields = fields_of(value)
    path = clean(value) or clean(fields.get("path"))
    name = clean(fields.get("filename")) or PurePosixPath(path).name
    is_there = path.lstrip("/").startswith(FOLDER)
    return Content(
        kind,
        clean(fields.get("caption")) or text,
        guessed_type(name),
        name if kind == "document" else "",
        path if is_there else "",
    )


def _contact(card: object) -> tuple[str, list[str]]:
    fields = fields_of(card)
    name, details = read_card(fields.get("vcard"))
    return clean(fields.get("displayName")) or name, details
