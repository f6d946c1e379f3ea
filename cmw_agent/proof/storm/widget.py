"""The channel of this project's widget: visitors of a website, whom a signed token names.

It speaks as the chat's own page, `/embed/AGENT`, whose stamp proves it. Each chat is a visitor of its own.
"""

import contextlib
import html
import re
import secrets
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, urlsplit

from cmw_agent.proof.storm.channels import Attack, OneRequestChat
from cmw_agent.proof.storm.errors import AnswerRefusedError, TargetError
from cmw_agent.proof.storm.event_streams import events
from cmw_agent.proof.storm.phrases import RECALL
from cmw_agent.proof.storm.wire import Wire, check_status

STAMP = re.compile(r'data-frame="([^"]*)"')
FORGE = "names another visitor in a token of its own"
REPEAT = "sends a message under the key of another's"
CHAT = "opens a conversation by its id"


class WidgetChat(OneRequestChat):
    """One visitor of the widget.

    Args:
        agent: The agent's id.
        wire: Whose chat it is.
        session: What the keys of its messages begin with; a random text where absent.
    """

    def __init__(self, agent: str, wire: Wire, session: str | None) -> None:
        self.wire = wire
        self.token = ""
        self.conversation = ""
        self.key = ""  # of the newest message
        self._path = f"/embed/{quote(agent)}"
        self._agent = agent
        self._stamp = ""
        self._keys = session or secrets.token_hex(8)
        self._count = 0

    async def open(self, way: str) -> None:
        """Load the page and become known to the server."""
        page = await self.wire.ask("GET", self._path, way)
        found = STAMP.search(page.body.decode(errors="replace"))
        if found is None:
            raise TargetError("the widget's page has no stamp")
        self._stamp = html.unescape(found[1])
        await self._visit(way)

    async def say(self, text: str, way: str) -> None:
        """Send a message and read its answer to the end."""
        self._count += 1
        await self._message(text, f"{self._keys}-{self._count}", way, to_end=True)

    async def cut(self, text: str, way: str) -> None:
        """Send a message and close the connection after the answer's first event."""
        self._count += 1
        await self._message(text, f"{self._keys}-{self._count}", way, to_end=False)

    async def upload(self, name: str, content: bytes, way: str) -> bool:
        """Return that the widget takes no files."""
        return False

    async def look_back(self, way: str) -> None:
        """Come back with the token, and fetch one's own messages."""
        await self._visit(way)
        await self.wire.ask("GET", f"{self._path}/messages", way, headers=self._headers())

    async def attack(self, attack: Attack, victim: Any) -> None:
        """Try something with what the victim's chat has."""
        if attack.name == FORGE:
            await self._forge(victim.token, attack.name)
        elif attack.name == REPEAT:
            await self._message(RECALL, victim.key, attack.name, to_end=True)
        elif attack.name == CHAT and victim.conversation:
            conversation = quote(victim.conversation)
            for path in (f"/?c={conversation}", f"/history/export?id={conversation}"):
                await self.wire.try_("GET", path, attack.name)

    async def close(self) -> None:
        """Nothing is open between requests."""

    async def _visit(self, way: str) -> None:
        body = {"token": self.token} if self.token else {}
        path = f"{self._path}/visit"
        value = (await self.wire.ask("POST", path, way, json=body, headers=self._headers())).json()
        try:
            self.token, self.conversation = str(value["token"]), str(value["session_id"])
        except (LookupError, TypeError):
            raise TargetError("the widget's visit gave no token") from None

    async def _forge(self, token: str, way: str) -> None:
        """Ask as the visitor of a token, under the signature of one's own."""
        signature = self.token.rsplit(".", 2)[1:]
        forger = WidgetChat(self._agent, self.wire, None)
        forger._stamp, forger.token = self._stamp, ".".join([token.rsplit(".", 2)[0], *signature])
        path = f"{self._path}/messages"
        await self.wire.try_("GET", path, way, headers=forger._headers())
        await forger.look_back(way)
        await forger.say(RECALL, way)

    async def _message(self, text: str, key: str, way: str, *, to_end: bool) -> None:
        self.key = key
        path, body = f"{self._path}/message", {"message": text, "key": key}
        async with self.wire.stream("POST", path, way, json=body, headers=self._headers()) as (
            response,
            texts,
        ):
            check_status(response.status_code, path)
            async with contextlib.aclosing(events(response, texts)) as stream:
                async for value in stream:
                    if self._is_end(value) or not to_end:
                        return
        raise TargetError("the widget's stream ended before the answer")

    def _is_end(self, value: Any) -> bool:
        """Return whether an event ends the answer. Raises AnswerRefusedError where it is an error."""
        if not isinstance(value, dict):
            return False
        if "detail" in value:
            raise AnswerRefusedError(
                f"an answer ended with an error ({str(value['detail'])[:120]})"
            )
        self.conversation = str(value.get("session_id") or self.conversation)
        return "response" in value and "metadata" in value

    def _headers(self) -> dict[str, str]:
        scheme, host = urlsplit(self.wire.terms.base)[:2]
        headers = {"origin": f"{scheme}://{host}", "x-cmw-frame": self._stamp}
        return headers | ({"authorization": f"Bearer {self.token}"} if self.token else {})


class WidgetChannel:
    """This project's widget.

    Args:
        agent: The id of the agent that it shows.
    """

    name = "widget"
    keeps_cookies = False
    callers: int | None = None
    attacks: Sequence[Attack] = tuple(map(Attack, (FORGE, REPEAT, CHAT)))

    def __init__(self, agent: str) -> None:
        self._agent = agent

    def headers(self, caller: int) -> dict[str, str]:
        """Return no headers: visitors prove themselves by their tokens."""
        return {}

    def chat(self, wire: Wire, session: str | None = None) -> WidgetChat:
        """Return a visitor who has not come yet."""
        return WidgetChat(self._agent, wire, session)

    def control(self) -> "WidgetChannel":
        """Return the same way to reach the control server."""
        return WidgetChannel("control")
