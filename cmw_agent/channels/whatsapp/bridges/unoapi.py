"""UnoAPI: unoapi-cloud, which speaks as Meta's Cloud API does, with a fixed secret in a header.

https://github.com/clairton/unoapi-cloud
"""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from cmw_agent.channels.whatsapp.authentication import Authentication, SharedSecret
from cmw_agent.channels.whatsapp.bridges.bridge import Bridge, Call, MediaSource
from cmw_agent.channels.whatsapp.cloud_webhook import read_messages
from cmw_agent.channels.whatsapp.inbound import InboundDelivery, clean, fields_of, items_of

VERSION = "v15.0"


class UnoApi(Bridge):
    """unoapi-cloud; the session is the phone number."""

    def _authentication(self, secrets: Sequence[str]) -> Authentication:
        return SharedSecret(secrets, headers=("authorization",))

    def parse(self, body: Mapping[str, Any]) -> list[InboundDelivery]:
        """Return the messages of a webhook."""
        return [InboundDelivery(message) for message in read_messages(body, via="bridge")]

    def headers(self) -> dict[str, str]:
        """Return the token."""
        return {"authorization": self._token} if self._token else {}

    def text(self, chat: str, text: str) -> Call:
        """Return the request that sends a text."""
        to = chat.removesuffix("@c.us")
        return self._messages(to=to, type="text", text={"body": text})

    def mark_read(self, chat: str, message: str) -> Call:
        """Return the request that marks a message as read."""
        return self._messages(status="read", message_id=message)

    def health(self) -> Call:
        """Return the request that shows that the server is there."""
        return Call("/ping")

    def sent_id(self, answer: Mapping[str, Any]) -> str:
        """Return the id of the sent message."""
        sent = items_of(answer.get("messages"))
        return clean(fields_of(sent[0] if sent else None).get("id"))

    def media(self, reference: str) -> MediaSource | None:
        """Return where the address of a file is."""
        if ".." in reference:
            return None
        return MediaSource(f"/{VERSION}/{quote(reference)}", "link")

    def _messages(self, **fields: Any) -> Call:
        return Call(
            f"/{VERSION}/{self._session}/messages", {"messaging_product": "whatsapp", **fields}
        )
