"""Parses the deliveries of the bridge and of Meta's Cloud API into messages of one form.

What is returned says nothing of who may do what. Names that people give themselves are not
even read. The bodies are those of a WPPConnect bridge (one message) and of the Cloud API's webhooks
(https://developers.facebook.com/docs/whatsapp/cloud-api/webhooks/payload-examples).
"""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Literal

from cmw_agent.core.errors import InvalidMessageError
from cmw_agent.core.logs import get_logger

log = get_logger(__name__)

MessageKind = Literal["text", "image", "audio", "document", "other"]
Via = Literal["bridge", "cloud"]

ADDRESS = re.compile(r"[A-Za-z0-9._:+-]{1,80}@[a-z.]{2,30}")  # of the bridge: number@c.us
NUMBER = re.compile(r"[A-Za-z0-9._-]{1,120}")  # of the Cloud API
NAMED = re.compile(r"[\x21-\x7e]{1,300}")  # an id
GROUP = "@g.us"
BROADCASTS = ("@broadcast", "@newsletter")
MAX_MESSAGES = 100  # of one body
MILLISECONDS = 10**11  # from here on a time is not in seconds
THUMBNAIL = re.compile(r"(data:|/9j/|iVBOR)|[A-Za-z0-9+/=\s]{400,}")  # in the place of a caption
KINDS: Mapping[str, MessageKind] = {
    "chat": "text",
    "text": "text",
    "image": "image",
    "audio": "audio",
    "ptt": "audio",
    "voice": "audio",
    "document": "document",
}
SILENT = frozenset(  # types that expect no answer
    {"reaction", "system", "protocol", "e2e_notification", "notification_template", "gp2"}
    | {"call_log", "ciphertext", "revoked"}
)


@dataclass(frozen=True, slots=True)
class InboundMessage:
    """One message.

    `chat` is where the answer goes, `sender` who has written: two names in a group, one otherwise.
    `media_id` names a file that the Cloud API keeps; the bridge brings the bytes themselves.
    `at` is in seconds since 1970, where the message has a time.
    """

    message_id: str
    chat: str
    sender: str
    text: str
    kind: MessageKind
    via: Via
    is_group: bool = False
    at: float | None = None
    media_type: str = ""
    filename: str = ""
    media_id: str = ""
    has_media: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return the message as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "InboundMessage":
        """Return the message that `as_json` has written."""
        return cls(**{field.name: values[field.name] for field in fields(cls)})

    def is_current(self, now: datetime, seconds: float, ahead: timedelta) -> bool:
        """Whether it is not too old, nor from the future; one without a time is."""
        if self.at is None:
            return True
        age = now.timestamp() - self.at
        return -ahead.total_seconds() <= age <= seconds


@dataclass(frozen=True, slots=True)
class InboundDelivery:
    """A message, and the bytes of its file where they came with it."""

    message: InboundMessage
    media: bytes | None = None


def digest(*parts: str) -> str:
    """Return a name for these parts that shows none of them."""
    return sha256("\0".join(("cmw.whatsapp", *parts)).encode()).hexdigest()


def parsed(body: object, number_id: str | None = None) -> list[InboundDelivery]:
    """Return the messages in a body, those that ask for no answer left out.

    Of several, those that cannot be read are left out as well, and counted in the log: Meta would
    deliver the others with them again and again, and give up.

    Args:
        body: The JSON value.
        number_id: The phone number's id at the Cloud API; what came to another one is left out.

    Raises:
        InvalidMessageError: The body is neither the bridge's nor the Cloud API's, or none of its
            messages can be read.
    """
    if not isinstance(body, dict):
        raise _invalid("a JSON object")
    if "entry" in body:
        return [InboundDelivery(message) for message in _cloud(body, number_id)]
    delivery = _bridge(body)
    return [] if delivery is None else [delivery]


def _bridge(body: dict[str, Any]) -> InboundDelivery | None:
    chat = _text(body, "from")
    if body.get("fromMe") is True or body.get("isMe") is True or chat.endswith(BROADCASTS):
        return None
    type_name = body.get("type")
    if isinstance(type_name, str) and type_name in SILENT:
        return None
    if not ADDRESS.fullmatch(chat):
        raise _invalid("from, an address such as 491511234567@c.us")
    is_group = body.get("isGroupMsg") is True or chat.endswith(GROUP)
    kind, media = _kind(body), _bytes(body.get("mediaBase64"))
    message = InboundMessage(
        message_id=_id(body.get("id")),
        chat=chat,
        sender=_member(body, chat) if is_group else chat,
        text=_text_or_caption(body, kind),
        kind=kind,
        via="bridge",
        is_group=is_group,
        at=_time(body.get("timestamp", body.get("t"))),
        media_type=_clean(body.get("mediaMimetype") or body.get("mimetype")),
        filename=_clean(body.get("mediaFilename") or body.get("filename")),
        has_media=media is not None,
    )
    return InboundDelivery(message, media)


def _member(body: dict[str, Any], chat: str) -> str:
    """Return the id of the member who has written in a group."""
    sender = body.get("sender")
    sender_id = sender.get("id") if isinstance(sender, dict) else sender
    sender_id = sender_id or body.get("author")
    if isinstance(sender_id, dict):
        sender_id = sender_id.get("_serialized")
    is_usable = isinstance(sender_id, str) and ADDRESS.fullmatch(sender_id) is not None
    if not is_usable or sender_id == chat or str(sender_id).endswith(GROUP):
        raise _invalid("sender.id, since the message was written in a group")
    return str(sender_id)


def _kind(body: dict[str, Any]) -> MessageKind:
    type_name = body.get("type")
    if isinstance(type_name, str) and type_name:
        return KINDS.get(type_name, "other")
    if not body.get("hasMedia") and not body.get("mediaBase64"):
        return "text"
    media_type = body.get("mediaMimetype") or body.get("mediaType")
    first = str(media_type).partition("/")[0]
    return KINDS.get(first, "other" if first == "video" else "document")


def _text_or_caption(body: dict[str, Any], kind: MessageKind) -> str:
    text = _clean(body.get("body"))
    if kind == "text":
        return text
    # bridges put a small picture there, in base64
    caption = _clean(body.get("caption"))
    return caption or ("" if THUMBNAIL.match(text) else text)


def _bytes(value: object) -> bytes | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise _invalid("mediaBase64, a text")
    coded = value.partition(",")[2] if value.startswith("data:") else value
    try:
        return base64.b64decode(coded, validate=True)
    except (binascii.Error, ValueError):
        raise _invalid("mediaBase64 in base64") from None


def _cloud(body: dict[str, Any], number_id: str | None) -> list[InboundMessage]:
    messages: list[InboundMessage] = []
    read, errors = 0, list[InvalidMessageError]()
    for count, item in enumerate(_cloud_items(body, number_id), 1):
        if count > MAX_MESSAGES:
            raise _invalid(f"at most {MAX_MESSAGES} messages")
        try:
            message = _cloud_message(item)
        except InvalidMessageError as error:
            errors.append(error)
            continue
        read += 1
        if message is not None:
            messages.append(message)
    if errors and not read:
        raise errors[0]
    if errors:
        log.warning(
            "parts of a delivery could not be read", count=len(errors), of=len(errors) + read
        )
    return messages


def _cloud_items(body: dict[str, Any], number_id: str | None) -> Iterator[object]:
    """Yield what stands in the places of messages, and of what should hold some."""
    for entry in _listed(body, "entry"):
        for change in _listed(entry, "changes"):
            if not isinstance(change, dict):
                yield change
                continue
            value = change.get("value")
            if not isinstance(value, dict) or change.get("field", "messages") != "messages":
                continue
            metadata = value.get("metadata")
            delivered_to = metadata.get("phone_number_id") if isinstance(metadata, dict) else None
            if number_id is None or delivered_to is None or delivered_to == number_id:
                yield from _listed(value, "messages")


def _cloud_message(item: object) -> InboundMessage | None:
    """Return a message; None for one that asks for no answer. Raises InvalidMessageError."""
    if not isinstance(item, dict):
        raise _invalid("entry, changes and messages, each a list of objects")
    if isinstance(type_name := item.get("type"), str) and type_name in SILENT:
        return None
    sender, group = _text(item, "from"), item.get("group_id")
    chat = sender if group is None else group
    if not NUMBER.fullmatch(sender) or not isinstance(chat, str) or not NUMBER.fullmatch(chat):
        raise _invalid("from, a number")
    if group is not None and chat == sender:
        raise _invalid("from, since the message was written in a group")
    type_name = _text(item, "type")
    part = item.get(type_name)
    part = part if isinstance(part, dict) else {}
    kind = "text" if type_name in ("button", "interactive") else KINDS.get(type_name, "other")
    media_id = part.get("id") if kind not in ("text", "other") else None
    return InboundMessage(
        message_id=_id(item.get("id")),
        chat=chat,
        sender=sender,
        text=_cloud_text(type_name, part),
        kind=kind,
        via="cloud",
        is_group=group is not None,
        at=_time(item.get("timestamp")),
        media_type=_clean(part.get("mime_type")),
        filename=_clean(part.get("filename")),
        media_id=media_id if isinstance(media_id, str) and NUMBER.fullmatch(media_id) else "",
        has_media=media_id is not None,
    )


def _cloud_text(type_name: str, part: dict[str, Any]) -> str:
    if type_name == "text":
        return _clean(part.get("body"))
    if type_name == "button":
        return _clean(part.get("text"))
    if type_name == "interactive":
        reply = part.get("button_reply") or part.get("list_reply")
        return _clean(reply.get("title")) if isinstance(reply, dict) else ""
    return _clean(part.get("caption"))


def _listed(fields: object, name: str) -> list[Any]:
    """Return the list of this name; a list of what is no object where there is none."""
    items = fields.get(name, []) if isinstance(fields, dict) else None
    return items if isinstance(items, list) else [None]


def _id(value: object) -> str:
    if isinstance(value, dict):
        value = value.get("_serialized")
    if not isinstance(value, str) or not NAMED.fullmatch(value):
        raise _invalid("id, 1 to 300 printable characters")
    return value


def _time(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,16}", value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 10**16:
        raise _invalid("timestamp, seconds since 1970")
    seconds = value / 1000 if value >= MILLISECONDS else value
    try:
        return datetime.fromtimestamp(seconds, UTC).timestamp()
    except (ValueError, OverflowError, OSError):
        raise _invalid("timestamp, seconds since 1970") from None


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise _invalid(f"{name}, a text")
    return value


def _clean(value: object) -> str:
    return (
        value.replace("\0", "").encode(errors="ignore").decode() if isinstance(value, str) else ""
    )


def _invalid(wanted: str) -> InvalidMessageError:
    return InvalidMessageError(f"The message must have {wanted}.")
