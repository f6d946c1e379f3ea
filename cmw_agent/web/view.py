"""Draws a conversation as the value of a Gradio Chatbot.

The dictionaries are in Gradio's own normal form, so that Gradio need not convert the
whole history at each update. A dictionary is never changed once it was handed out:
an update is a new list that reuses the old dictionaries.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from cmw_agent.events import (
    Outcome,
    TextDelta,
    ToolFinished,
    ToolStarted,
    TurnEvent,
    TurnFinished,
)
from memory.records import Feedback, StoredMessage

Drawn = dict[str, Any]

UNNAMEABLE = re.compile(r"[^\w-]+")
NAME_CHARS = 64
SHOWN = 40  # messages of a conversation that the page shows
FEEDBACK: Mapping[object, Feedback] = MappingProxyType(
    {True: "like", False: "dislike", "Like": "like", "Dislike": "dislike"}
)
SHOWN_FEEDBACK: Mapping[Feedback, str] = MappingProxyType({"like": "Like", "dislike": "Dislike"})
WAITING = '<span class="cmw-waiting" aria-label="The answer is on its way">…</span>'


def message(role: str, text: str, metadata: Mapping[str, Any] | None = None) -> Drawn:
    """Return one message in Gradio's normal form."""
    return {
        "role": role,
        "metadata": dict(metadata) if metadata is not None else None,
        "content": [{"type": "text", "text": text}],
        "options": None,
    }


def tool_step(
    name: str,
    arguments: Mapping[str, Any],
    result: str | None = None,
    *,
    ok: bool = True,
    seconds: float | None = None,
) -> Drawn:
    """Return a collapsible step: a tool's name, arguments, result and duration."""
    text = f"**Arguments**\n{_fenced(json.dumps(dict(arguments), indent=1, ensure_ascii=False))}"
    # The model writes the name, and the page reads it as Markdown.
    shown = UNNAMEABLE.sub("_", name)[:NAME_CHARS]
    metadata: dict[str, Any] = {"title": f"🛠️ {shown}", "status": "pending"}
    if result is not None:
        text += f"\n**{'Result' if ok else 'Error'}**\n{_fenced(result)}"
        metadata["status"] = "done"
        metadata["title"] = f"{'🛠️' if ok else '⚠️'} {shown}"
    if seconds is not None:
        metadata["duration"] = max(round(seconds, 4), 0.0001)  # Gradio hides a zero
    return message("assistant", text, metadata)


def note(outcome: Outcome, sentence: str | None = None, error_id: str | None = None) -> str | None:
    """Return what to write below an answer that is not whole; None below a whole one."""
    suffix = f" (error `{error_id}`)" if error_id else ""
    if outcome == "failed":
        return f"⚠️ {sentence or 'No answer came; please retry.'}{suffix}"
    if outcome == "interrupted":
        told = sentence or "This answer was stopped before its end; retry to get a whole one."
        return f"⏸ *{told}*{suffix}"
    return None


def history(stored: Iterable[StoredMessage]) -> list[Drawn]:
    """Return stored messages as the page shows them."""
    drawn: list[Drawn] = []
    for item in stored:
        if item.role == "user":
            drawn.append(message("user", item.content))
            continue
        drawn += [
            tool_step(c.name, c.arguments, c.result, ok=c.ok, seconds=c.duration_ms / 1000)
            for c in item.tool_calls
        ]
        if item.content:
            drawn.append(message("assistant", item.content))
        if (below := note(item.status, None, item.error_id)) is not None:
            drawn.append(message("assistant", below))
    return drawn


class LiveAnswer:
    """Draws one running turn below the messages that stand before it.

    Args:
        before: The drawn messages above the answer, the user's own included.
    """

    def __init__(self, before: Sequence[Drawn]) -> None:
        self._before = list(before)
        self._parts: list[Drawn] = []
        self._text: list[str] = []
        self._steps: dict[str, tuple[int, ToolStarted]] = {}

    def add(self, event: TurnEvent) -> None:
        """Take in one event."""
        match event:
            case TextDelta(text):
                self._say(text)
            case ToolStarted(call_id, name, arguments):
                self._text = []
                self._steps[call_id] = (len(self._parts), event)
                self._parts.append(tool_step(name, arguments))
            case ToolFinished(call_id, name, result, ok, seconds):
                self._text = []
                place, started = self._steps.pop(call_id, (len(self._parts), None))
                arguments = started.arguments if started is not None else {}
                step = tool_step(name, arguments, result, ok=ok, seconds=seconds)
                self._parts[place : place + 1] = [step]
            case TurnFinished(outcome, sentence, error_id):
                self._text = []
                if (below := note(outcome, sentence, error_id)) is not None:
                    self._parts.append(message("assistant", below))

    def _say(self, text: str) -> None:
        if self._text:
            self._parts.pop()
            self._text = ["".join(self._text), text]
        else:
            self._text = [text.lstrip("\n")]
        self._parts.append(message("assistant", "".join(self._text)))

    def drawn(self) -> list[Drawn]:
        """Return the whole value as it stands now."""
        if not self._parts:
            return [*self._before, message("assistant", WAITING)]
        return [*self._before, *self._parts]


def places(stored: Iterable[StoredMessage]) -> list[int]:
    """Return for each message that `history` draws the place of the stored one."""
    return [item.seq for item in stored for _ in history([item])]


def feedback(stored: Iterable[StoredMessage]) -> list[str | None]:
    """Return what the owner thinks of each answer that is drawn, in Gradio's words."""
    return [
        SHOWN_FEEDBACK[item.feedback] if item.feedback else None
        for item in stored
        if item.role == "assistant" and history([item])
    ]


def rated(messages: list[Drawn], given: Sequence[str | None]) -> Any:
    """Return a Chatbot's value and, where an answer was rated, the ratings."""
    if not any(given):
        return messages
    return {"__type__": "update", "value": messages, "feedback_value": list(given)}


def _fenced(text: str) -> str:
    # The fence must be longer than any run of backticks inside, or the text gets out.
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}\n{text}\n{fence}\n"
