"""Webhooks of Meta's Cloud API: messages, and what became of those that were sent.

https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/messages

A person is known by a business-scoped user id, which stays when a username takes the place of the
phone number; where a webhook has none, by the number.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cmw_agent.channels.whatsapp.descriptions import (
    STICKER,
    describe_contacts,
    describe_location,
)
from cmw_agent.channels.whatsapp.inbound import (
    KINDS,
    NUMBER,
    SILENT,
    InboundMessage,
    MessageKind,
    Via,
    clean,
    fields_of,
    invalid,
    items_of,
    message_id,
    required_text,
    time_of,
)
from cmw_agent.core.errors import InvalidMessageError
from cmw_agent.core.logs import get_logger

log = get_logger(__name__)

MAX_MESSAGES = 100  # of one body
USER_ID = re.compile(r"[A-Z]{2}\.(?:ENT\.)?[A-Za-z0-9]{1,128}")  # of a person, for one business
REPLIES = ("button", "interactive")
CHANGES = ("edit", "revoke")  # of an earlier message of the same sender
DESCRIBED = ("location", "contacts", "sticker")
QUIET = SILENT | {"request_welcome"}


@dataclass(frozen=True, slots=True)
class SendStatus:
    """What Meta says became of a text that it had taken: its reference, and an error's code."""

    reference: str
    error_code: int


@dataclass(frozen=True, slots=True)
class _Item:
    """A message beside what its webhook says of the number and of its sender."""

    fields: object
    own: str = ""
    contact: Mapping[str, Any] | None = None


def read_messages(
    body: Mapping[str, Any], number_id: str | None = None, via: Via = "cloud"
) -> list[InboundMessage]:
    """Return the messages in a webhook's body, those that ask for no answer left out.

    Of several, those that cannot be read are left out as well, and counted in the log: Meta would
    deliver the others with them again and again, and give up.

    Args:
        body: The JSON value.
        number_id: The phone number's id at the Cloud API; what came to another one is left out.
        via: How the messages are answered.

    Raises:
        InvalidMessageError: None of the messages can be read.
    """
    messages: list[InboundMessage] = []
    read, errors = 0, list[InvalidMessageError]()
    for count, item in enumerate(_items(body, number_id), 1):
        if count > MAX_MESSAGES:
            raise invalid(f"at most {MAX_MESSAGES} messages")
        try:
            message = _message(item, via)
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


def read_failures(body: Mapping[str, Any], number_id: str | None = None) -> list[SendStatus]:
    """Return the failures of sent texts in a webhook's body, at most `MAX_MESSAGES`."""
    found: list[SendStatus] = []
    for value in _values(body, number_id):
        for status in items_of(fields_of(value).get("statuses")):
            fields = fields_of(status)
            reference = fields.get("biz_opaque_callback_data")
            if fields.get("status") != "failed" or not isinstance(reference, str):
                continue
            errors = items_of(fields.get("errors"))
            code = fields_of(errors[0]).get("code") if errors else None
            found.append(SendStatus(reference, code if isinstance(code, int) else 0))
    return found[:MAX_MESSAGES]


def _values(body: Mapping[str, Any], number_id: str | None) -> Iterator[object]:
    """Yield each change's `value`; an entry that is not an object is yielded as it came."""
    for entry in _listed(body, "entry"):
        for change in _listed(entry, "changes"):
            if not isinstance(change, dict):
                yield change
                continue
            value = change.get("value")
            if not isinstance(value, dict) or change.get("field", "messages") != "messages":
                continue
            delivered_to = fields_of(value.get("metadata")).get("phone_number_id")
            if number_id is None or delivered_to is None or delivered_to == number_id:
                yield value


def _items(body: Mapping[str, Any], number_id: str | None) -> Iterator[_Item]:
    """Yield each message as it came, and whatever stands where an object with messages should."""
    for value in _values(body, number_id):
        if not isinstance(value, dict):
            yield _Item(value)
            continue
        own = clean(fields_of(value.get("metadata")).get("display_phone_number"))
        own = re.sub(r"[^0-9]", "", own)
        contacts = [item for item in items_of(value.get("contacts")) if isinstance(item, dict)]
        messages = _listed(value, "messages")
        for message in messages:
            yield _Item(message, own, _contact_of(message, contacts, is_only=len(messages) == 1))


def _contact_of(
    message: object, contacts: list[dict[str, Any]], *, is_only: bool
) -> dict[str, Any] | None:
    """Return the contact who has sent a message: by an id, or as the only one of both."""
    fields = fields_of(message)
    number, user_id = fields.get("from"), fields.get("from_user_id")
    for contact in contacts:
        if number is not None and contact.get("wa_id") == number:
            return contact
        if user_id is not None and contact.get("user_id") == user_id:
            return contact
    is_same = is_only and len(contacts) == 1
    return contacts[0] if is_same and number is None and user_id is None else None


def _message(item: _Item, via: Via) -> InboundMessage | None:
    """Return a message; None for one that asks for no answer. Raises InvalidMessageError."""
    fields = item.fields
    if not isinstance(fields, dict):
        raise invalid("entry, changes and messages, each a list of objects")
    if isinstance(type_name := fields.get("type"), str) and type_name in QUIET:
        return None
    sender, group = _sender(item, fields), fields.get("group_id")
    if group is None and via == "bridge":
        group = fields_of(item.contact).get("group_id")
    chat = sender if group is None else group
    name = NUMBER if via == "cloud" else re.compile(r"[A-Za-z0-9._@-]{1,120}")
    if not NUMBER.fullmatch(sender) or not isinstance(chat, str) or not name.fullmatch(chat):
        raise invalid("from, a number, or from_user_id")
    if group is not None and chat == sender:
        raise invalid("from, since the message was written in a group")
    if via == "bridge" and sender == item.own:
        return None
    return _read(item, fields, sender, chat, via)


def _read(item: _Item, fields: dict[str, Any], sender: str, chat: str, via: Via) -> InboundMessage:
    identifier, type_name = fields.get("id"), required_text(fields, "type")
    change = fields_of(fields.get(type_name)) if type_name in CHANGES else {}
    if type_name == "edit":  # what it says now, as a message of its own
        fields = fields | fields_of(change.get("message"))
        type_name = clean(fields.get("type"))
    part = fields_of(fields.get(type_name))
    kind = _kind(type_name)
    media_id = part.get("id") if kind not in ("text", "other") else None
    is_group, context = chat != sender, fields_of(fields.get("context"))
    text, mention = _text(type_name, fields), f"@{item.own}"
    is_named = bool(item.own) and (mention in text or context.get("from") == item.own)
    if is_group and item.own:
        text = text.replace(mention, "").strip()
    name = NUMBER if via == "cloud" else re.compile(r"[A-Za-z0-9._/-]{1,200}")
    number = clean(fields.get("from"))
    return InboundMessage(
        message_id=message_id(identifier),
        chat=chat,
        sender=sender,
        text=text,
        kind=kind,
        via=via,
        is_group=is_group,
        at=time_of(fields.get("timestamp")),
        media_type=clean(part.get("mime_type")),
        filename=clean(part.get("filename")),
        media_id=media_id if isinstance(media_id, str) and name.fullmatch(media_id) else "",
        has_media=media_id is not None,
        is_addressed=is_named,
        reply_to=clean(context.get("id")),
        withdraws=clean(change.get("original_message_id")),
        number=number if number != sender and NUMBER.fullmatch(number) else "",
    )


def _sender(item: _Item, fields: Mapping[str, Any]) -> str:
    """Return the sender's business-scoped id, or their number where the webhook has none."""
    user_id = fields.get("from_user_id") or fields_of(item.contact).get("user_id")
    if isinstance(user_id, str) and USER_ID.fullmatch(user_id):
        return user_id
    return required_text(fields, "from")


def _kind(type_name: str) -> MessageKind:
    if type_name in REPLIES or type_name in DESCRIBED or type_name == "revoke":
        return "text"
    return KINDS.get(type_name, "other")


def _text(type_name: str, fields: Mapping[str, Any]) -> str:
    part = fields_of(fields.get(type_name))
    match type_name:
        case "text":
            return clean(part.get("body"))
        case "button":
            return clean(part.get("text"))
        case "interactive":
            return _reply(part)
        case "location":
            return describe_location(part)
        case "sticker":
            return STICKER
        case "contacts":
            return describe_contacts(map(_contact, items_of(fields.get("contacts"))))
    return clean(part.get("caption"))


def _reply(part: Mapping[str, Any]) -> str:
    """Return what was chosen of buttons or a list, or what was filled into a flow."""
    if flow := fields_of(part.get("nfm_reply")):
        answer = clean(flow.get("response_json"))
        return "\n".join(text for text in (clean(flow.get("body")), answer) if text)
    reply = fields_of(part.get("button_reply")) or fields_of(part.get("list_reply"))
    return clean(reply.get("title"))


def _contact(value: object) -> tuple[str, list[str]]:
    fields = fields_of(value)
    numbers = [clean(fields_of(item).get("phone")) for item in items_of(fields.get("phones"))]
    addresses = [clean(fields_of(item).get("email")) for item in items_of(fields.get("emails"))]
    return clean(fields_of(fields.get("name")).get("formatted_name")), numbers + addresses


def _listed(fields: object, name: str) -> list[Any]:
    """Return the field of this name if it is a list, an empty list if it is missing, else ``[None]``.

    Callers report the None as an entry that cannot be read.
    """
    items = fields.get(name, []) if isinstance(fields, dict) else None
    return items if isinstance(items, list) else [None]
