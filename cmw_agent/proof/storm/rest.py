"""The channel of a chat that speaks REST, as its description says."""

import contextlib
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from cmw_agent.proof.storm.channels import Attack, OneRequestChat
from cmw_agent.proof.storm.control_server import DESCRIPTION, KEYS
from cmw_agent.proof.storm.description import Description, Request, filled, value_at
from cmw_agent.proof.storm.event_streams import events
from cmw_agent.proof.storm.phrases import RECALL
from cmw_agent.proof.storm.wire import Wire, check_status

BORROW = "fetches what belongs to the session of another"
WRITE = "writes into the session of another"


class RestChat(OneRequestChat):
    """One person's session.

    Args:
        description: The target's.
        wire: Whose session it is.
        key: The person's API key; empty without one.
        session: Its id; a random one, or the target's, where absent.
    """

    def __init__(self, description: Description, wire: Wire, key: str, session: str | None) -> None:
        self.wire = wire
        self.session = session or f"storm-{secrets.token_hex(8)}"
        self.file = ""
        self._description = description
        self._key = key
        self._is_given = session is not None

    async def open(self, way: str) -> None:
        """Make the session, where the target makes them."""
        begin = self._description.begin
        if begin is not None and not self._is_given:
            self.session = value_at(await self._send(begin, way), begin.result or "id")

    async def say(self, text: str, way: str) -> None:
        """Send a message and read the answer to its end."""
        await self._message(text, way, to_end=True)

    async def cut(self, text: str, way: str) -> None:
        """Send a message and close the connection after the answer's first bytes."""
        await self._message(text, way, to_end=False)

    async def upload(self, name: str, content: bytes, way: str) -> bool:
        """Upload a file; return whether the target takes files."""
        upload = self._description.upload
        if upload is None:
            return False
        values = {**self._values(), "name": name}
        reply = await self.wire.ask(
            upload.method,
            filled(upload.path, values),
            way,
            content=content,
            headers={"content-type": "text/plain", **filled(upload.headers, values)},
        )
        self.file = value_at(reply.json(), upload.result or "id")
        return True

    async def look_back(self, way: str) -> None:
        """Fetch one's own chats."""
        for request in self._description.look_back:
            await self._send(request, way)

    async def attack(self, attack: Attack, victim: Any) -> None:
        """Try something with the victim's ids and one's own key."""
        if attack.name == WRITE:
            chat = RestChat(self._description, self.wire, self._key, victim.session)
            await chat.say(RECALL, attack.name)
            return
        values = {"session": victim.session, "file": victim.file, "key": self._key}
        for request in self._description.borrow:
            if "{file}" not in request.path or victim.file:
                await self.wire.try_(
                    request.method,
                    filled(request.path, values),
                    attack.name,
                    headers=filled(request.headers, values),
                    json=filled(request.body, values),
                )

    async def close(self) -> None:
        """Nothing is open between requests."""

    def _values(self) -> Mapping[str, str]:
        return {"session": self.session, "key": self._key, "file": self.file}

    async def _send(self, request: Request, way: str) -> Any:
        reply = await self.wire.ask(
            request.method,
            filled(request.path, self._values()),
            way,
            headers=filled(request.headers, self._values()),
            json=filled(request.body, self._values()),
        )
        return reply.json() if request.result else None

    async def _message(self, text: str, way: str, *, to_end: bool) -> None:
        request, values = self._description.message, {**self._values(), "message": text}
        path, headers = filled(request.path, values), filled(request.headers, values)
        body = filled(request.body, values)
        if to_end and "event-stream" not in str(headers).lower():
            await self.wire.ask(request.method, path, way, headers=headers, json=body)
            return
        async with self.wire.stream(request.method, path, way, headers=headers, json=body) as (
            response,
            texts,
        ):
            check_status(response.status_code, path)
            async with contextlib.aclosing(events(response, texts)) as stream:
                async for _ in stream:
                    if not to_end:
                        break


class RestChannel:
    """A chat that speaks REST.

    Args:
        description: How it is spoken to.
        keys: API keys, dealt to the people in turn; those with the same key are one caller.
        name: What the report calls it.
    """

    keeps_cookies = False

    def __init__(self, description: Description, keys: Sequence[str], name: str = "REST") -> None:
        self.name = name
        self._description = description
        self._keys = keys
        self.callers: int | None = len(keys) if keys else None
        self.attacks: Sequence[Attack] = (Attack(BORROW), Attack(WRITE))

    def headers(self, caller: int) -> dict[str, str]:
        """Return nothing: the description says where a key stands."""
        return {}

    def chat(self, wire: Wire, session: str | None = None) -> RestChat:
        """Return a session that is not open yet."""
        key = self._keys[wire.person.caller % len(self._keys)] if self._keys else ""
        return RestChat(self._description, wire, key, session)

    def control(self) -> "RestChannel":
        """Return the same way to reach the control server."""
        return RestChannel(Description.model_validate(DESCRIPTION), KEYS)
