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

from cmw_agent.core.connect_links import TICKET_LINK, plain
from cmw_agent.core.events import (
    ApprovalRequested,
    ApprovalSettled,
    TextDelta,
    ToolFinished,
    ToolStarted,
    TurnEvent,
    TurnFinished,
    TurnOutcome,
)
from cmw_agent.core.sanitize import fence_for
from memory.records import Feedback, StoredFile, StoredMessage

Drawn = dict[str, Any]
FilesBySeq = Mapping[int, Sequence[StoredFile]]
NO_FILES: FilesBySeq = MappingProxyType({})

UNNAMEABLE = re.compile(r"[^\w-]+")
NAME_CHARS = 64
SHOWN = 40  # messages of a conversation that the page shows
FEEDBACK: Mapping[object, Feedback] = MappingProxyType(
    {True: "like", False: "dislike", "Like": "like", "Dislike": "dislike"}
)
SHOWN_FEEDBACK: Mapping[Feedback, str] = MappingProxyType({"like": "Like", "dislike": "Dislike"})
ASKS = "needs your approval"  # what the page's script looks for
CONNECTS = "🔗 An account is needed"  # in its panel the page draws the link as a button
LABEL = re.compile(r"([\\\[\]()<>*_`!&#|~])")
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
    asks: bool = False,
) -> Drawn:
    """Return a collapsible step: a tool's name, arguments, result and duration.

    One that `asks` waits for its user's word.
    """
    text = f"**Arguments**\n{_fenced(json.dumps(dict(arguments), indent=1, ensure_ascii=False))}"
    # The model writes the name, and the page reads it as Markdown.
    shown = UNNAMEABLE.sub("_", name)[:NAME_CHARS]
    title = f"✋ {shown} {ASKS}" if asks else f"🛠️ {shown}"
    metadata: dict[str, Any] = {"title": title, "status": "pending"}
    if result is not None:
        text += f"\n**{'Result' if ok else 'Error'}**\n{_fenced(result)}"
        metadata["status"] = "done"
        metadata["title"] = f"{'🛠️' if ok else '⚠️'} {shown}"
    if seconds is not None:
        metadata["duration"] = max(round(seconds, 4), 0.0001)  # Gradio hides a zero
    return message("assistant", text, metadata)


def link_button(link: str) -> Drawn | None:
    """Return the button that a tool's result brings: where the user connects an account.

    It is a panel of its own, as no text of a model makes one. None for what is no link of the
    app's own.
    """
    if not TICKET_LINK.fullmatch(link):
        return None
    return message("assistant", f"[Connect your account]({link})", {"title": CONNECTS})


def attachments(files: Sequence[StoredFile]) -> Drawn:
    """Return the files of a message: pictures to look at, others to fetch.

    The pictures are a part of their own, which no text makes: the page fetches these alone.
    """
    pictures = [
        {"path": f"files/{file.file_id}", "url": f"files/{file.file_id}", "orig_name": file.name}
        for file in files
        if file.kind == "image"
    ]
    others = [
        f"📎 [{_label(file.name)}](files/{file.file_id})" for file in files if file.kind != "image"
    ]
    drawn = message("user", "  \n".join(others))
    if pictures:
        part: Drawn = {"type": "component", "component": "file", "value": pictures}
        part |= {"constructor_args": {}, "props": {}}
        drawn["content"] = [*(drawn["content"] if others else []), part]
    return drawn


def note(
    outcome: TurnOutcome, sentence: str | None = None, error_id: str | None = None
) -> str | None:
    """Return what to write below an answer that is not whole; None below a whole one."""
    suffix = f" (error `{error_id}`)" if error_id else ""
    if outcome == "failed":
        return f"⚠️ {sentence or 'No answer came; please retry.'}{suffix}"
    if outcome == "interrupted":
        told = sentence or "This answer was stopped before its end; retry to get a whole one."
        return f"⏸ *{told}*{suffix}"
    return None


def history(stored: Iterable[StoredMessage], files: FilesBySeq = NO_FILES) -> list[Drawn]:
    """Return stored messages, and their files by their places, as the page shows them."""
    drawn: list[Drawn] = []
    for item in stored:
        if item.role == "user":
            if item.seq in files:
                drawn.append(attachments(files[item.seq]))
            drawn.append(message("user", item.content))
            continue
        for call in item.tool_calls:
            seconds = call.duration_ms / 1000
            drawn.append(
                tool_step(call.name, call.arguments, call.result, ok=call.ok, seconds=seconds)
            )
            if call.link and (button := link_button(call.link)) is not None:
                drawn.append(button)
        if item.content:
            drawn.append(message("assistant", plain(item.content)))
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
            case ApprovalRequested(call_id, name):
                self._restep(call_id, name, asks=True)
            case ApprovalSettled(call_id, _, arguments):
                if (known := self._steps.get(call_id)) is not None:
                    name = known[1].name
                    self._steps[call_id] = (known[0], ToolStarted(call_id, name, arguments))
                    self._restep(call_id, name)
            case ToolFinished(call_id, name, result, ok, seconds, link):
                self._text = []
                place, started = self._steps.pop(call_id, (len(self._parts), None))
                arguments = started.arguments if started is not None else {}
                step = tool_step(name, arguments, result, ok=ok, seconds=seconds)
                self._parts[place : place + 1] = [step]
                if link and (button := link_button(link)) is not None:
                    self._parts.append(button)
            case TurnFinished(outcome, sentence, error_id):
                self._text = []
                if (below := note(outcome, sentence, error_id)) is not None:
                    self._parts.append(message("assistant", below))

    def _restep(self, call_id: str, name: str, *, asks: bool = False) -> None:
        self._text = []
        if (known := self._steps.get(call_id)) is not None:
            place, started = known
            self._parts[place] = tool_step(name, started.arguments, asks=asks)

    def _say(self, text: str) -> None:
        if self._text:
            self._parts.pop()
            self._text = ["".join(self._text), text]
        else:
            self._text = [text.lstrip("\n")]
        self._parts.append(message("assistant", plain("".join(self._text))))

    def drawn(self) -> list[Drawn]:
        """Return the whole value as it stands now."""
        if not self._parts:
            return [*self._before, message("assistant", WAITING)]
        return [*self._before, *self._parts]


def places(stored: Iterable[StoredMessage], files: FilesBySeq = NO_FILES) -> list[int]:
    """Return for each message that `history` draws the place of the stored one."""
    return [item.seq for item in stored for _ in history([item], files)]


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


def by_seq(files: Iterable[StoredFile]) -> dict[int, list[StoredFile]]:
    """Return files by the places of their messages."""
    found: dict[int, list[StoredFile]] = {}
    for file in files:
        if file.seq is not None:
            found.setdefault(file.seq, []).append(file)
    return found


def _label(name: str) -> str:
    # The user has named the file, and the page reads the name as Markdown.
    return LABEL.sub(r"\\\1", " ".join(name.split()))


def _fenced(text: str) -> str:
    fence = fence_for(text)
    return f"{fence}\n{text}\n{fence}\n"
