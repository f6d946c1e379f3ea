"""The own bridge: the one in the folder `bridge`, or another that signs one message a request alike.

Its webhooks are signed as Meta's, so that one secret and one address serve both.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from cmw_agent.channels.whatsapp.authentication import Authentication, BodySignature
from cmw_agent.channels.whatsapp.bridges.bridge import MENTION, Bridge, Call, stanza, users
from cmw_agent.channels.whatsapp.descriptions import (
    STICKER,
    describe_contacts,
    describe_location,
    read_card,
)
from cmw_agent.channels.whatsapp.inbound import (
    ADDRESS,
    BROADCASTS,
    GROUP,
    KINDS,
    SILENT,
    InboundDelivery,
    InboundMessage,
    MessageKind,
    clean,
    decoded,
    fields_of,
    invalid,
    items_of,
    kind_of_media,
    message_id,
    required_text,
    time_of,
)

MAX_SIZE = 2**53  # whole numbers of JavaScript
THUMBNAIL = re.compile(r"(data:|/9j/|iVBOR)|[A-Za-z0-9+/=\s]{400,}")  # in the place of a caption


class OwnBridge(Bridge):
    """The bridge in the folder `bridge`, and others that speak as it does."""

    def _authentication(self, secrets: Sequence[str]) -> Authentication:
        return BodySignature(secrets)

    def parse(self, body: Mapping[str, Any]) -> list[InboundDelivery]:
        """Return the message that a delivery is."""
        chat = required_text(body, "from")
        if body.get("fromMe") is True or body.get("isMe") is True or chat.endswith(BROADCASTS):
            return []
        type_name = body.get("type")
        if isinstance(type_name, str) and type_name in SILENT:
            return []
        if not ADDRESS.fullmatch(chat):
            raise invalid("from, an address such as 491511234567@c.us")
        is_group = body.get("isGroupMsg") is True or chat.endswith(GROUP)
        media = decoded(body.get("mediaBase64"), "mediaBase64")
        described = _description(body)
        kind = _kind(body) if described is None else "text"
        text = _text_or_caption(body, kind) if described is None else described
        own = self._numbers | users(body.get("to"), *items_of(body.get("me")))
        named = users(*items_of(body.get("mentionedJidList")), body.get("quotedParticipant"))
        named |= frozenset(MENTION.findall(text))
        if is_group:
            text = MENTION.sub(lambda match: "" if match[1] in own else match[0], text).strip()
        message = InboundMessage(
            message_id=message_id(body.get("id")),
            chat=chat,
            sender=_member(body, chat) if is_group else chat,
            text=text,
            kind=kind,
            via="bridge",
            is_group=is_group,
            at=time_of(body.get("timestamp", body.get("t"))),
            media_type=clean(body.get("mediaMimetype") or body.get("mimetype")),
            filename=clean(body.get("mediaFilename") or body.get("filename")),
            has_media=media is not None,
            media_size=_size(body) if media is None else 0,
            is_addressed=not named.isdisjoint(own),
            reply_to=stanza(body.get("quotedStanzaID") or body.get("quotedMsgId")),
        )
        return [InboundDelivery(message, media)]

    def headers(self) -> dict[str, str]:
        """Return the token."""
        return {"authorization": f"Bearer {self._token}"} if self._token else {}

    def text(self, chat: str, text: str) -> Call:
        """Return the request that sends a text."""
        return Call("/send/text", {"chatId": chat, "message": text})

    def typing(self, chat: str, *, on: bool) -> Call:
        """Return the request that shows that an answer is being written, or hides it."""
        return Call(f"/typing/{'start' if on else 'stop'}", {"chatId": chat})

    def health(self) -> Call:
        """Return the request that shows that the bridge is there."""
        return Call("/health")


def _member(body: Mapping[str, Any], chat: str) -> str:
    """Return the id of the member who has written in a group."""
    sender = body.get("sender")
    sender_id = sender.get("id") if isinstance(sender, dict) else sender
    sender_id = sender_id or body.get("author")
    if isinstance(sender_id, dict):
        sender_id = sender_id.get("_serialized")
    is_usable = isinstance(sender_id, str) and ADDRESS.fullmatch(sender_id) is not None
    if not is_usable or sender_id == chat or str(sender_id).endswith(GROUP):
        raise invalid("sender.id, since the message was written in a group")
    return str(sender_id)


def _description(body: Mapping[str, Any]) -> str | None:
    """Return what the model reads of a location, contacts or a sticker; None for anything else."""
    match body.get("type"):
        case "location":
            return describe_location(body)
        case "vcard" | "multi_vcard":
            cards = items_of(body.get("vcardList")) or [{"vcard": body.get("body")}]
            return describe_contacts(read_card(fields_of(card).get("vcard")) for card in cards)
        case "sticker":
            return STICKER
    return None


def _size(body: Mapping[str, Any]) -> int:
    """Return how many bytes a file has that did not come with its message; 0 where it is not said."""
    size = body.get("mediaSize")
    return size if type(size) is int and 0 < size < MAX_SIZE else 0


def _kind(body: Mapping[str, Any]) -> MessageKind:
    type_name = body.get("type")
    if isinstance(type_name, str) and type_name:
        return KINDS.get(type_name, "other")
    if not body.get("hasMedia") and not body.get("mediaBase64"):
        return "text"
    return kind_of_media(str(body.get("mediaMimetype") or body.get("mediaType")))


def _text_or_caption(body: Mapping[str, Any], kind: MessageKind) -> str:
    text = clean(body.get("body"))
    if kind == "text":
        reply = fields_of(body.get("listResponse")).get("title") or body.get("selectedDisplayText")
        return text or clean(reply)
    # bridges put a small picture there, in base64
    caption = clean(body.get("caption"))
    return caption or ("" if THUMBNAIL.match(text) else text)
