"""The chat of the control server: it keeps its users apart, or has one planted fault."""

import asyncio
import secrets
from dataclasses import dataclass, field
from typing import Literal

Fault = Literal[
    "one history for everybody",
    "answers cached by their question",
    "the user in a variable of all",
    "sessions opened by their id",
    "answers read by their id",
    "files fetched by their address",
]
FAULTS: tuple[Fault, ...] = (
    "one history for everybody",
    "answers cached by their question",
    "the user in a variable of all",
    "sessions opened by their id",
    "answers read by their id",
    "files fetched by their address",
)
MAX_KEPT = 2_000  # of anything


@dataclass(frozen=True, slots=True)
class Held:
    """Something of one caller.

    Attributes:
        caller: Whose it is.
        text: What it holds.
    """

    caller: str
    text: str


@dataclass(slots=True)
class ControlChat:
    """Answers with the message, and with all earlier messages of the session.

    Args:
        fault: How it mixes its users; None for not at all.
    """

    fault: Fault | None
    _histories: dict[tuple[str, ...], list[str]] = field(default_factory=dict)
    _cache: dict[str, str] = field(default_factory=dict)
    _current: tuple[str, ...] = ()
    _answers: dict[str, Held] = field(default_factory=dict)
    _files: dict[str, Held] = field(default_factory=dict)

    async def answer(self, caller: str, session: str, text: str) -> str:
        """Return the answer to a message of a caller in a session."""
        if self.fault == "answers cached by their question" and text in self._cache:
            return self._cache[text]
        key: tuple[str, ...] = (caller, session)
        if self.fault == "one history for everybody":
            key = ()
        elif self.fault == "sessions opened by their id":
            key = (session,)
        self._current = key
        await asyncio.sleep(0.01)  # as long as others need to come between
        if self.fault == "the user in a variable of all":
            key = self._current
        history = self._histories.setdefault(key, [])
        history.append(text)
        del history[:-MAX_KEPT]
        answer = f"You said: {text}\n\nSo far:\n" + "\n".join(history)
        self._cache[text] = answer
        return answer

    def store_answer(self, caller: str, text: str) -> str:
        """Keep an answer and return its id."""
        return _put(self._answers, caller, text)

    def stored_answer(self, caller: str, answer_id: str) -> str | None:
        """Return an answer of the caller's by its id."""
        return self._readable(self._answers, caller, answer_id, "answers read by their id")

    def store_file(self, caller: str, text: str) -> str:
        """Store a file and return its id."""
        return _put(self._files, caller, text)

    def stored_file(self, caller: str, file_id: str) -> str | None:
        """Return a file of the caller's by its id."""
        return self._readable(self._files, caller, file_id, "files fetched by their address")

    def _readable(self, held: dict[str, Held], caller: str, name: str, fault: Fault) -> str | None:
        found = held.get(name)
        if found is None or (found.caller != caller and self.fault != fault):
            return None
        return found.text


def _put(held: dict[str, Held], caller: str, text: str) -> str:
    name = secrets.token_hex(8)
    held[name] = Held(caller, text)
    while len(held) > MAX_KEPT:
        held.pop(next(iter(held)))
    return name
