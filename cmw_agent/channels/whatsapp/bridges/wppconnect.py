"""WPPConnect: wppconnect-server, which posts all events without any authentication.

So its webhook's address holds the secret, ``/whatsapp/incoming/<secret>``. A file comes as base64
in ``body``, where otherwise a small picture stands. https://github.com/wppconnect-team/wppconnect-server
"""

import binascii
from base64 import b64decode
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from cmw_agent.channels.whatsapp.authentication import Authentication, SharedSecret
from cmw_agent.channels.whatsapp.bridges.bridge import (
    LID,
    Bridge,
    Call,
    Content,
    MediaSource,
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
    GROUP,
    KINDS,
    SILENT,
    InboundDelivery,
    clean,
    fields_of,
    items_of,
    message_id,
)

EVENTS = frozenset({"onmessage", "unreadmessages"})
URL, ID = "url:", "id:"  # what a media id begins with


class WppConnect(Bridge):
    """wppconnect-server."""

    def _authentication(self, secrets: Sequence[str]) -> Authentication:
        return SharedSecret(secrets, in_path=True)

    def parse(self, body: Mapping[str, Any]) -> list[InboundDelivery]:
        """Return the message of an `onmessage` or `unreadmessages` event."""
        if body.get("event") not in EVENTS or _is_silent(body):
            return []
        sender = fields_of(body.get("sender"))
        author = person(
            body.get("author"),
            sender.get("id") if sender else body.get("sender"),
            sender.get("phoneNumber"),
        )
        own = self._numbers | users(body.get("to"))
        item = delivery(
            _content(body),
            identifier=body.get("id"),
            chat=chat_of(body.get("from"), sender.get("phoneNumber")),
            sender=author,
            at=body.get("timestamp", body.get("t")),
            own=own,
            mentioned=items_of(body.get("mentionedJidList")),
            quoted=body.get("quotedParticipant") or fields_of(body.get("quotedMsg")).get("author"),
            reply_to=body.get("quotedStanzaID") or body.get("quotedMsgId"),
        )
        return [] if item is None else [item]

    def headers(self) -> dict[str, str]:
        """Return the session's token."""
        return {"authorization": f"Bearer {self._token}"} if self._token else {}

    def text(self, chat: str, text: str) -> Call:
        """Return the request that sends a text."""
        return Call(self._path("send-message"), {**_recipient(chat), "message": text})

    def typing(self, chat: str, *, on: bool) -> Call:
        """Return the request that shows that an answer is being written, or hides it."""
        return Call(self._path("typing"), {**_recipient(chat), "value": on})

    def mark_read(self, chat: str, message: str) -> Call:
        """Return the request that marks the chat as read."""
        return Call(self._path("send-seen"), _recipient(chat))

    def health(self) -> Call:
        """Return the request that asks for the session's connection."""
        return Call(self._path("check-connection-session"))

    def is_connected(self, answer: Mapping[str, Any]) -> bool:
        """Whether the session is connected."""
        return answer.get("status") is True

    def sent_id(self, answer: Mapping[str, Any]) -> str:
        """Return the id of the sent message, which the answer lists."""
        sent = answer.get("response")
        return stanza(fields_of(sent[0] if isinstance(sent, list) and sent else sent).get("id"))

    def media(self, reference: str) -> MediaSource | None:
        """Return where a file is: at the address that came, or at the server by the message's id."""
        if reference.startswith(URL):
            return MediaSource(reference.removeprefix(URL), is_own=False)
        name = quote(reference.removeprefix(ID), safe="")
        return MediaSource(self._path(f"get-media-by-message/{name}"), "base64")

    def _path(self, name: str) -> str:
        return f"/api/{self._session}/{name}"


def _is_silent(body: Mapping[str, Any]) -> bool:
    identifier = body.get("id")
    is_own = body.get("fromMe") is True or fields_of(identifier).get("fromMe") is True
    is_own = is_own or (isinstance(identifier, str) and identifier.startswith("true_"))
    is_status = body.get("isStatusV3") is True or body.get("isNotification") is True
    type_name = body.get("type")
    return is_own or is_status or (isinstance(type_name, str) and type_name in SILENT)


def _content(body: Mapping[str, Any]) -> Content:
    type_name = clean(body.get("type"))
    if type_name == "location":
        return Content("text", describe_location(body))
    if type_name in ("vcard", "multi_vcard"):
        cards = items_of(body.get("vcardList")) or [{"vcard": body.get("body")}]
        return Content(
            "text", describe_contacts(read_card(fields_of(card).get("vcard")) for card in cards)
        )
    if type_name == "sticker":
        return Content("text", STICKER)
    kind = KINDS.get(type_name, "other")
    if kind == "text":
        reply = fields_of(body.get("listResponse")).get("title") or body.get("selectedDisplayText")
        return Content("text", clean(body.get("body")) or clean(reply))
    if kind == "other":
        return Content("other")
    media = _whole_file(body)
    url = clean(body.get("fileUrl"))
    reference = f"{URL}{url}" if url else f"{ID}{message_id(body.get('id'))}"
    return Content(
        kind,
        clean(body.get("caption")),
        clean(body.get("mimetype")),
        clean(body.get("filename")) if kind == "document" else "",
        "" if media else reference,
        media,
    )


def _whole_file(body: Mapping[str, Any]) -> bytes | None:
    """Return the bytes in ``body`` where they are the file and no small picture of it."""
    coded, size = body.get("body"), body.get("size")
    if not isinstance(coded, str) or not coded or body.get("fileUrl"):
        return None
    try:
        data = b64decode(coded, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if not isinstance(size, int) or size == len(data) else None


def _recipient(chat: str) -> dict[str, Any]:
    name = chat.partition("@")[0]
    return {"phone": name, "isGroup": chat.endswith(GROUP), "isLid": chat.endswith(LID)}
