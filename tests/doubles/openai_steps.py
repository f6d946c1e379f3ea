"""What a script of the OpenAI double sees, a recorded request, and says: the steps of an answer.

A script is a pure function from one request to the steps of its answer. It knows nothing but the
request, so any number of users can talk to one model at once and nothing can mix.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


def text_of(content: object) -> str:
    """The text of a message's content, be it a string, a list of parts or nothing."""
    if isinstance(content, list):
        return "".join(p.get("text", "") for p in content if isinstance(p, dict))
    return content if isinstance(content, str) else ""


@dataclass(slots=True, eq=False)
class Request:
    """One recorded request, and what became of it.

    Header names are in lower case, `arrived_at` is the event loop's time, `set_cookie` is what the
    response carried. `aborted` means that the client went away before the answer was finished,
    `finished` that all of the answer was given to the socket, `held` that it stands at a gate now.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]
    arrived_at: float
    set_cookie: str | None = None
    tokens_sent: int = 0
    aborted: bool = False
    finished: bool = False
    held: bool = False
    gated: bool = False
    gate: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0), repr=False)

    @property
    def model(self) -> str:
        return str(self.body.get("model", ""))

    @property
    def messages(self) -> Sequence[Mapping[str, Any]]:
        messages: Sequence[Mapping[str, Any]] = self.body.get("messages", ())
        return messages

    @property
    def user_texts(self) -> list[str]:
        """Texts of the user messages, oldest first."""
        return [text_of(m.get("content")) for m in self.messages if m.get("role") == "user"]

    @property
    def last_user(self) -> str:
        """Text of the last user message; empty if there is none."""
        return (self.user_texts or [""])[-1]

    @property
    def tool_results(self) -> list[str]:
        """Texts of the tool messages since the last user message, oldest first."""
        results: list[str] = []
        for message in self.messages:
            if message.get("role") == "user":
                results.clear()
            elif message.get("role") == "tool":
                results.append(text_of(message.get("content")))
        return results

    @property
    def authorization(self) -> str | None:
        return self.headers.get("authorization")

    @property
    def cookie(self) -> str | None:
        return self.headers.get("cookie")


@dataclass(frozen=True, slots=True)
class Start:
    """Send the headers now; otherwise they go out with the first thing that needs them."""


@dataclass(frozen=True, slots=True)
class Text:
    """Stream these tokens. `rate` is in tokens a second, 0 without pause, None as the endpoint."""

    tokens: Sequence[str]
    rate: float | None = None


@dataclass(frozen=True, slots=True)
class ToolCalls:
    """Call these tools, (name, arguments as JSON text) each, in one answer.

    All calls have the id `call_id` where there is one, as with endpoints whose ids repeat.
    """

    calls: Sequence[tuple[str, str]]
    call_id: str = ""


@dataclass(frozen=True, slots=True)
class Gate:
    """Wait until the test releases this request; each release opens one gate."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Say nothing for so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Hang:
    """Say nothing until the client goes away."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Drop the connection."""


@dataclass(frozen=True, slots=True)
class Raw:
    """Send these bytes in the body of the stream; unstreamed, `plain` is the whole body."""

    data: bytes
    plain: bytes = b""


@dataclass(frozen=True, slots=True)
class Fail:
    """Send an error as OpenRouter does, with status 200: an event that ends the stream, or JSON."""

    message: str


@dataclass(frozen=True, slots=True)
class Stop:
    """End the body in good order, but with no finish reason and no usage: just [DONE], if `done`.

    Unstreamed it is an answer without a choice.
    """

    done: bool = True


@dataclass(frozen=True, slots=True)
class Plain:
    """Answer with this status and body and no stream."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"


Step = Start | Text | ToolCalls | Gate | Wait | Hang | Cut | Raw | Fail | Stop | Plain
Script = Callable[[Request], Sequence[Step]]
