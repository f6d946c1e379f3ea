"""Evolution API: passes on the protocol's messages, with headers or a JSON Web Token of choice.

https://doc.evolution-api.com/v2/en/configuration/webhooks
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from cmw_agent.channels.whatsapp.authentication import Authentication, SharedSecret
from cmw_agent.channels.whatsapp.bridges.bridge import (
    Bridge,
    Call,
    MediaSource,
    canonical,
    chat_of,
    delivery,
    person,
    protocol_address,
    users,
)
from cmw_agent.channels.whatsapp.bridges.protocol_content import (
    context_of,
    mentioned_in,
    read_content,
    unwrapped,
)
from cmw_agent.channels.whatsapp.inbound import (
    GROUP,
    InboundDelivery,
    clean,
    decoded,
    fields_of,
    message_id,
)

TYPING_MILLISECONDS = 20_000
URL, ID = "url:", "id:"  # what a media id begins with


class Evolution(Bridge):
    """Evolution API, version 2."""

    def _authentication(self, secrets: Sequence[str]) -> Authentication:
        return SharedSecret(
            secrets, headers=("authorization", "apikey"), in_path=True, has_tokens=True
        )

    def parse(self, body: Mapping[str, Any]) -> list[InboundDelivery]:
        """Return the messages of a `messages.upsert` event."""
        event = clean(body.get("event")).lower().replace("_", ".")
        if event != "messages.upsert":
            return []
        data = body.get("data")
        found = (
            self._message(fields_of(item), body)
            for item in (data if isinstance(data, list) else [data])
        )
        return [item for item in found if item is not None]

    def _message(self, data: dict[str, Any], body: Mapping[str, Any]) -> InboundDelivery | None:
        key, message = fields_of(data.get("key")), unwrapped(data.get("message"))
        content = read_content(message)
        # a notice about a group has a stub type; its message is empty
        if key.get("fromMe") is True or not message or content is None:
            return None
        if content.kind not in ("text", "other"):
            media = decoded(message.get("base64") or data.get("base64"), "base64")
            url = clean(message.get("mediaUrl") or data.get("mediaUrl"))
            reference = f"{URL}{url}" if url else f"{ID}{message_id(key.get('id'))}"
            content = replace(content, media=media, media_id="" if media else reference)
        chat = canonical(key.get("remoteJid"))
        alternatives = (
            key.get("participantAlt"),
            key.get("participantPn"),
            key.get("senderPn"),
            None if chat.endswith(GROUP) else key.get("remoteJidAlt"),
        )
        context = fields_of(data.get("contextInfo")) or context_of(message)
        return delivery(
            content,
            identifier=key.get("id"),
            chat=chat_of(chat, *alternatives),
            sender=person(key.get("participant"), *alternatives),
            at=data.get("messageTimestamp"),
            own=self._numbers | users(body.get("sender")),
            mentioned=mentioned_in(context),
            quoted=context.get("participant"),
            reply_to=context.get("stanzaId"),
        )

    def headers(self) -> dict[str, str]:
        """Return the API key."""
        return {"apikey": self._token} if self._token else {}

    def text(self, chat: str, text: str) -> Call:
        """Return the request that sends a text."""
        return self._call("message/sendText", number=protocol_address(chat), text=text)

    def typing(self, chat: str, *, on: bool) -> Call:
        """Return the request that shows that an answer is being written, or hides it."""
        presence = "composing" if on else "paused"
        delay = TYPING_MILLISECONDS if on else 0
        return self._call(
            "chat/sendPresence", number=protocol_address(chat), presence=presence, delay=delay
        )

    def mark_read(self, chat: str, message: str) -> Call:
        """Return the request that marks a message as read."""
        read = {"remoteJid": protocol_address(chat), "fromMe": False, "id": message}
        return self._call("chat/markMessageAsRead", readMessages=[read])

    def health(self) -> Call:
        """Return the request that asks for the instance's connection."""
        return Call(f"/instance/connectionState/{self._session}")

    def is_connected(self, answer: Mapping[str, Any]) -> bool:
        """Whether the instance is connected."""
        return fields_of(answer.get("instance")).get("state") == "open"

    def media(self, reference: str) -> MediaSource:
        """Return where a file is: at the address that came, or at the server by the message's id."""
        if reference.startswith(URL):
            return MediaSource(reference.removeprefix(URL), is_own=False)
        call = self._call(
            "chat/getBase64FromMediaMessage",
            message={"key": {"id": reference.removeprefix(ID)}},
            convertToMp4=False,
        )
        return MediaSource(call.path, "base64", call.body)

    def _call(self, name: str, **fields: Any) -> Call:
        return Call(f"/{name}/{self._session}", fields)
