"""What a storm needs of a channel: a chat of one person, and what strangers try with what it has."""

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from cmw_agent.proof.storm.wire import Wire

ID_LENGTH = 11  # of Gradio's session hashes
CROWD, EQUAL = "talks", "talks under an id that others use too"


@dataclass(frozen=True, slots=True)
class Attack:
    """Something that strangers try.

    Attributes:
        name: What a stranger does, as the report says it.
        during: Whether it is tried while the victim's answer is on its way.
        ends: Whether it tries to end the victim's answer rather than to read it.
    """

    name: str
    during: bool = False
    ends: bool = False


class Chat(Protocol):
    """The chat of one person, such as a tab of a browser."""

    wire: Wire

    async def open(self, way: str) -> None:
        """Begin, as a page that is loaded."""

    async def say(self, text: str, way: str) -> None:
        """Send a message and read its answer to the end."""

    async def cut(self, text: str, way: str) -> None:
        """Send a message and go away before its answer has ended."""

    async def begin(self, text: str, way: str) -> None:
        """Send a message and leave its answer unread, as on a slow connection."""

    async def finish(self, way: str) -> None:
        """Read the answer that `begin` left."""

    async def upload(self, name: str, content: bytes, way: str) -> bool:
        """Send a file; return whether the channel takes files."""

    async def look_back(self, way: str) -> None:
        """Fetch what the channel offers of one's own earlier chats."""

    async def attack(self, attack: Attack, victim: Any) -> None:
        """Try something with what a victim's chat of the same channel has."""

    async def close(self) -> None:
        """Go away."""


class OneRequestChat(abc.ABC):
    """What chats have in common whose answer is read by the request that sends the message."""

    _unsent = ""

    @abc.abstractmethod
    async def say(self, text: str, way: str) -> None:
        """Send a message and read its answer to the end."""

    async def begin(self, text: str, way: str) -> None:
        """Store a message for `finish`."""
        self._unsent = text

    async def finish(self, way: str) -> None:
        """Send the message that `begin` has stored, and read its answer to the end."""
        await self.say(self._unsent, way)


class Channel(Protocol):
    """A way to reach the target.

    Attributes:
        name: What the report calls it.
        attacks: What strangers try.
        callers: How many people can prove to be different ones; None for any number.
        keeps_cookies: Whether cookies tell people apart.
    """

    name: str
    attacks: Sequence[Attack]
    callers: int | None
    keeps_cookies: bool

    def chat(self, wire: Wire, session: str | None = None) -> Chat:
        """Return a chat of the person whose wire it is, which is not open yet."""

    def headers(self, caller: int) -> dict[str, str]:
        """Return what this caller proves who it is with."""

    def control(self) -> "Channel":
        """Return the same way to reach the control server."""
