"""The scripts of the OpenAI double: recorded requests, and the steps of their answers.

A script is a pure function from one request to the steps of its answer. It sees only that request,
so that the requests of concurrent users cannot mix.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


def text_of(content: object) -> str:
    """Return the text of a message's content, which is a string, a list of parts or None."""
    if isinstance(content, list):
        return "".join(p.get("text", "") for p in content if isinstance(p, dict))
    return content if isinstance(content, str) else ""


@dataclass(slots=True, eq=False)
class Request:
    """One recorded request and the state of its answer.

    Attributes:
        method: The HTTP method.
        path: The path without the query.
        headers: The headers, names in lower case.
        body: The JSON object of the body; empty where it is none.
        arrived_at: The event loop's time in seconds.
        set_cookie: The response's Set-Cookie header.
        tokens_sent: The number of tokens written so far.
        aborted: Whether the client went away before the end of the answer.
        finished: Whether the whole answer was given to the socket.
        held: Whether the answer waits at a gate.
        gated: Whether the answer has a gate.
        gate: Released once for each gate that is opened.
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
    """Send the headers now; otherwise they are sent with the first bytes of the body."""


@dataclass(frozen=True, slots=True)
class Text:
    """Stream these tokens, at `rate` a second: 0 without pause, None at the endpoint's rate."""

    tokens: Sequence[str]
    rate: float | None = None


@dataclass(frozen=True, slots=True)
class Thoughts:
    """Stream these tokens as thoughts (`reasoning_content`), at a rate as for `Text`."""

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
    """Send nothing for `seconds`."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Hang:
    """Send nothing until the client goes away."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Drop the connection."""


@dataclass(frozen=True, slots=True)
class Raw:
    """Send these bytes in the stream's body; an answer that is not streamed has the body `plain`."""

    data: bytes
    plain: bytes = b""


@dataclass(frozen=True, slots=True)
class Fail:
    """Send an error as OpenRouter does, with status 200: an event that ends the stream, or JSON."""

    message: str


@dataclass(frozen=True, slots=True)
class Stop:
    """End the body without finish reason and usage, with [DONE] if `done`.

    An answer that is not streamed then has no choice.
    """

    done: bool = True


@dataclass(frozen=True, slots=True)
class Plain:
    """Send this response instead of a stream."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"


Step = Start | Text | Thoughts | ToolCalls | Gate | Wait | Hang | Cut | Raw | Fail | Stop | Plain
Script = Callable[[Request], Sequence[Step]]
