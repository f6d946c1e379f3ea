"""Bridge: what one kind of bridge sends and expects, without the network.

A bridge's module reads its webhooks and names its requests; `WhatsAppClient` makes them.
"""

import mimetypes
import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote

from cmw_agent.channels.whatsapp.authentication import Authentication
from cmw_agent.channels.whatsapp.inbound import (
    ADDRESS,
    BROADCASTS,
    GROUP,
    InboundDelivery,
    InboundMessage,
    MessageKind,
    clean,
    fields_of,
    invalid,
    message_id,
    time_of,
)

PHONE, LID, PROTOCOL = "@c.us", "@lid", "@s.whatsapp.net"
MENTION = re.compile(r"@([0-9]{5,20})(?![0-9])")
SERIALIZED = re.compile(r"(?:true|false)_[^_]+_([^_]+)(?:_.*)?")


@dataclass(frozen=True, slots=True)
class Call:
    """A request to a bridge: a POST of JSON where there is a body, and a GET otherwise.

    `path` follows the bridge's address.
    """

    path: str
    body: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class MediaSource:
    """Where a file is.

    `form` says what is there: the ``bytes``, JSON with the bytes in ``base64`` below one of
    `names`, or JSON with a ``link`` to them. `is_own` says that `location` is a path at the bridge.
    """

    location: str
    form: Literal["bytes", "base64", "link"] = "bytes"
    body: Mapping[str, Any] | None = None
    is_own: bool = True
    names: tuple[str, ...] = ("base64",)


class Bridge(ABC):
    """One kind of bridge.

    Args:
        secrets: What proves that a delivery is the bridge's.
        token: What the bridge asks for; empty for nothing.
        session: The bridge's name for its connection to WhatsApp.
        numbers: The app's own numbers and ids, without ``@`` and what follows.
    """

    def __init__(
        self, secrets: Sequence[str], *, token: str, session: str, numbers: Collection[str]
    ) -> None:
        self.authentication: Authentication = self._authentication(secrets)
        self._token = token
        self._session = quote(session, safe="")
        self._session_name = session
        self._numbers = frozenset(numbers)

    @abstractmethod
    def _authentication(self, secrets: Sequence[str]) -> Authentication:
        """Return how the bridge's deliveries are recognised."""

    @abstractmethod
    def parse(self, body: Mapping[str, Any]) -> list[InboundDelivery]:
        """Return the messages of people in a delivery; none where it is about something else.

        Raises:
            InvalidMessageError: A message cannot be read.
        """

    @abstractmethod
    def headers(self) -> dict[str, str]:
        """Return the headers that each request to the bridge has."""

    @abstractmethod
    def text(self, chat: str, text: str) -> Call:
        """Return the request that sends a text."""

    @abstractmethod
    def health(self) -> Call:
        """Return the request that shows whether the bridge is connected to WhatsApp."""

    def typing(self, chat: str, *, on: bool) -> Call | None:
        """Return the request that shows, or hides, that an answer is being written."""
        return None

    def mark_read(self, chat: str, message: str) -> Call | None:
        """Return the request that marks a message as read."""
        return None

    def media(self, reference: str) -> MediaSource | None:
        """Return where the file of a message's `media_id` is; None for no place."""
        return None

    def is_connected(self, answer: Mapping[str, Any]) -> bool:
        """Whether an answer with status 200 to the request of `health` says so."""
        return True

    def sent_id(self, answer: Mapping[str, Any]) -> str:
        """Return the id that a sent text has at WhatsApp; an empty one where none is named."""
        found = answer.get("id") or fields_of(answer.get("key")).get("id")
        return stanza(found)


def canonical(value: object) -> str:
    """Return an id of a person or a group in one form; an empty one where there is none.

    Phone ids end with ``@c.us``, whichever of WhatsApp's two names for that server came; the number
    of a device is left out.
    """
    if isinstance(value, dict):
        value = value.get("_serialized") or value.get("$1")
    if not isinstance(value, str) or "@" not in value:
        return ""
    user, _, server = value.partition("@")
    return f"{user.partition(':')[0]}@{'c.us' if f'@{server}' == PROTOCOL else server}"


def person(*candidates: object) -> str:
    """Return the id of one person of several names for them: the phone's rather than the LID."""
    found = [item for item in map(canonical, candidates) if item]
    return next((item for item in found if item.endswith(PHONE)), found[0] if found else "")


def chat_of(value: object, *names: object) -> str:
    """Return where a message was written: the id of a group or a channel, or that of one person.

    Args:
        value: The id that the bridge gives for the chat.
        names: Other names of the person, where the chat is with one.
    """
    chat = canonical(value)
    return chat if chat.endswith((GROUP, *BROADCASTS)) else person(chat, *names)


def users(*ids: object) -> frozenset[str]:
    """Return what stands before ``@`` in ids."""
    return frozenset(item.partition("@")[0] for item in map(canonical, ids) if item)


def protocol_address(chat: str) -> str:
    """Return a chat's address with the protocol's name of the phones' server."""
    return chat.removesuffix(PHONE) + PROTOCOL if chat.endswith(PHONE) else chat


def stanza(value: object) -> str:
    """Return a message's id without the chat, which WhatsApp Web writes around it."""
    if isinstance(value, dict):
        value = value.get("_serialized") or value.get("$1") or value.get("id")
    if not isinstance(value, str):
        return ""
    match = SERIALIZED.fullmatch(value)
    return match[1] if match else value


def guessed_type(name: str) -> str:
    """Return the MIME type that a file's name or path suggests."""
    return mimetypes.guess_type(name.partition("?")[0], strict=False)[0] or ""


@dataclass(frozen=True, slots=True)
class Content:
    """What a message says, as read by a bridge's module."""

    kind: MessageKind
    text: str = ""
    media_type: str = ""
    filename: str = ""
    media_id: str = ""
    media: bytes | None = None


def delivery(
    content: Content,
    *,
    identifier: object,
    chat: str,
    sender: str,
    at: object,
    own: Collection[str],
    mentioned: Iterable[object] = (),
    quoted: object = None,
    reply_to: object = None,
) -> InboundDelivery | None:
    """Return a bridge's message; None for one of a channel or a status, which nobody answers.

    Args:
        content: What it says.
        identifier: Its id.
        chat: Where it was written, in the form of `canonical`.
        sender: Who has written it.
        at: When.
        own: The app's own numbers and ids.
        mentioned: Ids that the message names.
        quoted: Id of whose message it replies to.
        reply_to: Id of the message that it replies to.

    Raises:
        InvalidMessageError: An id or the time is missing.
    """
    if chat.endswith(BROADCASTS):
        return None
    if not ADDRESS.fullmatch(chat):
        raise invalid("the id of a chat, such as 491511234567@c.us")
    is_group = chat.endswith(GROUP)
    if is_group and (
        not ADDRESS.fullmatch(sender) or sender == chat or sender.endswith((GROUP, *BROADCASTS))
    ):
        raise invalid("the sender's id, since the message was written in a group")
    text = clean(content.text)
    named = users(*mentioned, quoted) | frozenset(MENTION.findall(text))
    if is_group:
        text = MENTION.sub(lambda match: "" if match[1] in own else match[0], text).strip()
    message = InboundMessage(
        message_id=message_id(identifier),
        chat=chat,
        sender=sender if is_group else chat,
        text=text,
        kind=content.kind,
        via="bridge",
        is_group=is_group,
        at=time_of(at),
        media_type=clean(content.media_type),
        filename=clean(content.filename),
        media_id=content.media_id,
        has_media=bool(content.media_id) or content.media is not None,
        is_addressed=not named.isdisjoint(own),
        reply_to=stanza(reply_to),
    )
    return InboundDelivery(message, content.media)
