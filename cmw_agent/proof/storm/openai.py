"""The channel of an endpoint in OpenAI's form."""

import contextlib
import secrets
from collections.abc import Sequence
from typing import Any

from cmw_agent.proof.storm.channels import Attack, OneRequestChat
from cmw_agent.proof.storm.control_server import KEYS
from cmw_agent.proof.storm.errors import TargetError
from cmw_agent.proof.storm.event_streams import events
from cmw_agent.proof.storm.phrases import RECALL
from cmw_agent.proof.storm.wire import Wire, check_status

STORED = "fetches a stored answer by its id"
FILE = "fetches a file by its id"
WRITE = "writes under the user name of another"


class OpenAIChat(OneRequestChat):
    """A client that keeps its messages itself, and sends them all each time.

    Args:
        prefix: The path of the interface below the target's address.
        model: What the requests name.
        wire: Whose chat it is.
        session: The user name that requests carry.
    """

    def __init__(self, prefix: str, model: str, wire: Wire, session: str | None) -> None:
        self.wire = wire
        self.user = session or f"storm-{secrets.token_hex(6)}"
        self.answer_ids: list[str] = []
        self.file_id = ""
        self._prefix = prefix
        self._model = model
        self._messages: list[dict[str, str]] = []

    async def open(self, way: str) -> None:
        """Ask which models there are."""
        await self.wire.ask("GET", f"{self._prefix}/models", way)

    async def say(self, text: str, way: str) -> None:
        """Send the messages with a new one; every other answer is streamed."""
        self._messages.append({"role": "user", "content": text})
        if len(self._messages) % 4 == 1:
            answer = await self._whole(way)
        else:
            answer = await self._streamed(way, to_end=True)
        self._messages.append({"role": "assistant", "content": answer})

    async def cut(self, text: str, way: str) -> None:
        """Send a message and close the connection after the answer's first event."""
        self._messages.append({"role": "user", "content": text})
        answer = await self._streamed(way, to_end=False)
        self._messages.append({"role": "assistant", "content": answer or "…"})

    async def upload(self, name: str, content: bytes, way: str) -> bool:
        """Upload a file; return whether it was taken."""
        reply = await self.wire.try_(
            "POST",
            f"{self._prefix}/files",
            way,
            files={"file": (name, content, "text/plain")},
            data={"purpose": "assistants"},
        )
        if reply.status != 200:
            return False
        self.file_id = str(reply.json().get("id", ""))
        await self.wire.try_("GET", f"{self._prefix}/files/{self.file_id}/content", way)
        return True

    async def look_back(self, way: str) -> None:
        """Fetch what was stored, where the endpoint stores anything."""
        for path in ("/chat/completions", "/files"):
            await self.wire.try_("GET", self._prefix + path, way)

    async def attack(self, attack: Attack, victim: Any) -> None:
        """Try something with what the victim's chat has."""
        paths: list[str] = []
        if attack.name == STORED:
            for answer_id in victim.answer_ids[-2:]:
                paths += [f"/chat/completions/{answer_id}", f"/responses/{answer_id}"]
        elif attack.name == FILE and victim.file_id:
            paths = [f"/files/{victim.file_id}", f"/files/{victim.file_id}/content"]
        elif attack.name == WRITE:
            chat = OpenAIChat(self._prefix, self._model, self.wire, victim.user)
            await chat.say(RECALL, attack.name)
        for path in paths:
            await self.wire.try_("GET", self._prefix + path, attack.name)

    async def close(self) -> None:
        """Nothing is open between requests."""

    def _body(self, *, stream: bool) -> dict[str, Any]:
        return {
            "model": self._model,
            "messages": self._messages,
            "stream": stream,
            "user": self.user,
        }

    async def _whole(self, way: str) -> str:
        path = f"{self._prefix}/chat/completions"
        reply = await self.wire.ask("POST", path, way, json=self._body(stream=False))
        value = reply.json()
        try:
            self.answer_ids.append(str(value.get("id", "")))
            return str(value["choices"][0]["message"]["content"])
        except (LookupError, TypeError, AttributeError):
            raise TargetError("the endpoint's answer is not in OpenAI's form") from None

    async def _streamed(self, way: str, *, to_end: bool) -> str:
        path = f"{self._prefix}/chat/completions"
        parts: list[str] = []
        async with self.wire.stream("POST", path, way, json=self._body(stream=True)) as (
            response,
            texts,
        ):
            check_status(response.status_code, path)
            async with contextlib.aclosing(events(response, texts)) as stream:
                async for value in stream:
                    if not parts and isinstance(value, dict):
                        self.answer_ids.append(str(value.get("id", "")))
                    parts.append(_delta(value))
                    if not to_end:
                        break
        return "".join(parts)


def _delta(value: Any) -> str:
    try:
        return str(value["choices"][0]["delta"].get("content") or "")
    except (LookupError, TypeError, AttributeError):
        return ""


class OpenAIChannel:
    """An endpoint in OpenAI's form.

    Args:
        model: What the requests name.
        keys: API keys, dealt to the people in turn; those with the same key are one caller.
        prefix: The path of the interface below the target's address.
        name: What the report calls it.
    """

    keeps_cookies = False

    def __init__(
        self, model: str, keys: Sequence[str], prefix: str = "", name: str = "OpenAI"
    ) -> None:
        self.name = name
        self._prefix = prefix
        self._model = model
        self._keys = keys
        self.callers: int | None = max(1, len(keys))
        self.attacks: Sequence[Attack] = tuple(map(Attack, (STORED, FILE, WRITE)))

    def headers(self, caller: int) -> dict[str, str]:
        """Return the key of a person."""
        if not self._keys:
            return {}
        return {"Authorization": f"Bearer {self._keys[caller % len(self._keys)]}"}

    def chat(self, wire: Wire, session: str | None = None) -> OpenAIChat:
        """Return a chat without messages."""
        return OpenAIChat(self._prefix, self._model, wire, session)

    def control(self) -> "OpenAIChannel":
        """Return the same way to reach the control server."""
        return OpenAIChannel("control", KEYS, prefix="/v1")
