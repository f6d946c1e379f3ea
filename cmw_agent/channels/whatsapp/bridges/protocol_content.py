"""Content of a message as WhatsApp's own protocol writes it, which several bridges pass on."""

from collections.abc import Mapping
from typing import Any

from cmw_agent.channels.whatsapp.bridges.bridge import Content
from cmw_agent.channels.whatsapp.descriptions import (
    STICKER,
    describe_contacts,
    describe_location,
    read_card,
)
from cmw_agent.channels.whatsapp.inbound import MessageKind, clean, fields_of, items_of

WRAPPERS = (
    "ephemeralMessage",
    "viewOnceMessage",
    "viewOnceMessageV2",
    "viewOnceMessageV2Extension",
    "documentWithCaptionMessage",
    "deviceSentMessage",
)
FILES: Mapping[str, MessageKind] = {
    "imageMessage": "image",
    "audioMessage": "audio",
    "documentMessage": "document",
}
REPLIES = {
    "buttonsResponseMessage": "selectedDisplayText",
    "templateButtonReplyMessage": "selectedDisplayText",
    "listResponseMessage": "title",
}
SILENT = frozenset(
    {"reactionMessage", "encReactionMessage", "protocolMessage", "pollUpdateMessage"}
    | {"editedMessage", "pinInChatMessage", "keepInChatMessage", "call", "callLogMessage"}
    | {"senderKeyDistributionMessage", "encEventResponseMessage", "bcallMessage"}
)
NOT_CONTENT = frozenset({"messageContextInfo", "base64", "mediaUrl"})


def unwrapped(message: object) -> dict[str, Any]:
    """Return a message without the envelopes of what disappears, is seen once or has a caption."""
    fields = fields_of(message)
    for _ in range(4):
        inner = next((fields_of(fields.get(name)) for name in WRAPPERS if name in fields), {})
        if "message" not in inner:
            break
        outer = {name: fields[name] for name in ("base64", "mediaUrl") if name in fields}
        fields = outer | fields_of(inner["message"])
    return fields


def read_content(message: Mapping[str, Any]) -> Content | None:
    """Return what an unwrapped message says; None where it is no message of a person."""
    if (text := clean(message.get("conversation"))) or "conversation" in message:
        return Content("text", text)
    if "extendedTextMessage" in message:
        return Content("text", clean(fields_of(message["extendedTextMessage"]).get("text")))
    for name, kind in FILES.items():
        if name in message:
            part = fields_of(message[name])
            return Content(
                kind,
                clean(part.get("caption")),
                clean(part.get("mimetype")),
                clean(part.get("fileName") or part.get("title")) if kind == "document" else "",
            )
    for name, label in REPLIES.items():
        if name in message:
            return Content("text", clean(fields_of(message[name]).get(label)))
    return _described(message)


def _described(message: Mapping[str, Any]) -> Content | None:
    if "interactiveResponseMessage" in message:
        body = fields_of(fields_of(message["interactiveResponseMessage"]).get("body"))
        return Content("text", clean(body.get("text")))
    for name in ("locationMessage", "liveLocationMessage"):
        if name in message:
            return Content("text", describe_location(fields_of(message[name])))
    if "stickerMessage" in message or "lottieStickerMessage" in message:
        return Content("text", STICKER)
    cards = [message["contactMessage"]] if "contactMessage" in message else []
    cards += items_of(fields_of(message.get("contactsArrayMessage")).get("contacts"))
    if cards:
        return Content("text", describe_contacts(map(_contact, cards)))
    names = message.keys() - NOT_CONTENT
    return None if names <= SILENT else Content("other")


def context_of(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a message says of mentions and of the message that it replies to."""
    for part in message.values():
        if context := fields_of(fields_of(part).get("contextInfo")):
            return context
    return {}


def mentioned_in(context: Mapping[str, Any]) -> list[Any]:
    """Return the ids that a message names; the key is written in two ways."""
    return items_of(context.get("mentionedJid") or context.get("mentionedJID"))


def _contact(card: object) -> tuple[str, list[str]]:
    fields = fields_of(card)
    name, details = read_card(fields.get("vcard"))
    return clean(fields.get("displayName")) or name, details
