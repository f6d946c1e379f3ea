"""InboundMessage: a message that came by WhatsApp, in one form whichever way it came.

What is returned says nothing of who may do what. Names that people give themselves are not
even read.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Literal

from cmw_agent.core.errors import InvalidMessageError
from cmw_agent.language import wording

MessageKind = Literal["text", "image", "audio", "document", "other"]
Via = Literal["bridge", "cloud"]

ADDRESS = re.compile(r"[A-Za-z0-9._:+-]{1,80}@[a-z.]{2,30}")  # of a bridge: number@c.us
NUMBER = re.compile(r"[A-Za-z0-9._-]{1,120}")  # of the Cloud API
NAMED = re.compile(r"[\x21-\x7e]{1,300}")  # an id
GROUP = "@g.us"
BROADCASTS = ("@broadcast", "@newsletter")
MILLISECONDS = 10**11  # from here on a time is not in seconds
KINDS: Mapping[str, MessageKind] = {
    "chat": "text",
    "text": "text",
    "buttons_response": "text",
    "interactive_response": "text",
    "list_response": "text",
    "template_button_reply": "text",
    "image": "image",
    "audio": "audio",
    "ptt": "audio",
    "voice": "audio",
    "document": "document",
}
SILENT = frozenset(  # types that expect no answer
    {"reaction", "system", "protocol", "e2e_notification", "notification_template", "gp2"}
    | {"call_log", "ciphertext", "revoked", "notification", "broadcast_notification"}
    | {"group_notification", "newsletter_notification", "pinned_message", "poll_update"}
)


@dataclass(frozen=True, slots=True)
class InboundMessage:
    """One message.

    `chat` is where the answer goes, `sender` who has written: two names in a group, one otherwise.
    `media_id` names a file that the Cloud API or the bridge keeps, where the bytes did not come.
    `at` is in seconds since 1970, where the message has a time. `is_addressed` says that a message
    in a group names the app or replies to it, as far as the delivery shows; `reply_to` is the id of
    the message that it replies to, and `withdraws` of one that its sender has deleted or replaced by
    this one, where there is one. `media_size` is how many bytes a file has that was too large for the
    bridge to pass on; 0 for any other. `number` is the sender's, where `chat` names them otherwise.
    `language` is the tag of the one that the sender has chosen, empty where they have not.
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
    is_addressed: bool = False
    reply_to: str = ""
    withdraws: str = ""
    media_size: int = 0
    number: str = ""
    language: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the message as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "InboundMessage":
        """Return the message that `as_json` of this or an earlier version has written."""
        names = (field.name for field in fields(cls))
        return cls(**{name: values[name] for name in names if name in values})

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


def kind_of_media(media_type: str) -> MessageKind:
    """Return the kind of a file of this MIME type."""
    match media_type.partition("/")[0]:
        case "image":
            return "image"
        case "audio":
            return "audio"
        case "video":
            return "other"
    return "document"


def decoded(value: object, name: str) -> bytes | None:
    """Return the bytes of a text in base64 or a data URL; None for an empty or missing one.

    Raises:
        InvalidMessageError: It is something else; the error names it as `name`.
    """
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise invalid(f"{name}, a text")
    coded = value.partition(",")[2] if value.startswith("data:") else value
    try:
        return base64.b64decode(coded, validate=True)
    except (binascii.Error, ValueError):
        raise invalid(f"{name} in base64") from None


def message_id(value: object) -> str:
    """Return a message's id, which bridges also write as an object. Raises InvalidMessageError."""
    if isinstance(value, dict):
        # builds of WhatsApp Web since July 2026 name the field `$1`
        value = value.get("_serialized") or value.get("$1")
    if not isinstance(value, str) or not NAMED.fullmatch(value):
        raise invalid("id, 1 to 300 printable characters")
    return value


def time_of(value: object) -> float | None:
    """Return a time in seconds since 1970: of seconds, milliseconds or RFC 3339; None of None.

    Raises:
        InvalidMessageError: It is no time.
    """
    if value is None:
        return None
    if isinstance(value, dict):  # a 64-bit number of protobuf in JavaScript
        value = value.get("low")
    try:
        if isinstance(value, str):
            if not re.fullmatch(r"[0-9]{1,16}", value):
                return datetime.fromisoformat(value[:40]).astimezone(UTC).timestamp()
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise invalid("timestamp, seconds since 1970")
        if not 0 <= value < 10**16:
            raise invalid("timestamp, seconds since 1970")
        seconds = value / 1000 if value >= MILLISECONDS else value
        return datetime.fromtimestamp(seconds, UTC).timestamp()
    except (ValueError, OverflowError, OSError):
        raise invalid("timestamp, seconds since 1970") from None


def required_text(fields: Mapping[str, Any], name: str) -> str:
    """Return the text of this name. Raises InvalidMessageError where there is none."""
    value = fields.get(name)
    if not isinstance(value, str):
        raise invalid(f"{name}, a text")
    return value


def clean(value: object) -> str:
    """Return a text without what the database cannot store; an empty one for no text."""
    return (
        value.replace("\0", "").encode(errors="ignore").decode() if isinstance(value, str) else ""
    )


def fields_of(value: object) -> dict[str, Any]:
    """Return a JSON object; an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def items_of(value: object) -> list[Any]:
    """Return a JSON list; an empty one for anything else."""
    return value if isinstance(value, list) else []


def invalid(wanted: str) -> InvalidMessageError:
    """Return the error for a message that lacks something."""
    return InvalidMessageError(wording("The message must have {wanted}.", wanted=wanted))
