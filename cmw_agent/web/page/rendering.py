"""Draws a conversation as the value of a Gradio Chatbot.

The dictionaries are in Gradio's own normal form, so that Gradio need not convert the
whole history at each update. A dictionary never changes once it has been returned:
an update is a new list that reuses the old dictionaries.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from cmw_agent.core.connect_links import TICKET_LINK, unlink_composio
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

DrawnMessage = dict[str, Any]
FilesBySeq = Mapping[int, Sequence[StoredFile]]
NO_FILES: FilesBySeq = MappingProxyType({})

NOT_IN_TOOL_NAME = re.compile(r"[^\w-]+")
MAX_TOOL_NAME_CHARS = 64
PAGE_MESSAGES = 40  # of a conversation, that the page shows at first
FEEDBACK: Mapping[object, Feedback] = MappingProxyType(
    {True: "like", False: "dislike", "Like": "like", "Dislike": "dislike"}
)
FEEDBACK_LABELS: Mapping[Feedback, str] = MappingProxyType({"like": "Like", "dislike": "Dislike"})
NEEDS_APPROVAL = "needs your approval"  # the page's script looks for this text
ACCOUNT_NEEDED = "🔗 An account is needed"  # in this panel the page draws the link as a button
MARKDOWN_SPECIAL = re.compile(r"([\\\[\]()<>*_`!&#|~])")
WAITING = '<span class="cmw-waiting" aria-label="The answer is on its way">…</span>'


def message(role: str, text: str, metadata: Mapping[str, Any] | None = None) -> DrawnMessage:
    """Return one Chatbot message with one text, in Gradio's normal form."""
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
    awaits_approval: bool = False,
) -> DrawnMessage:
    """Return a collapsible step of one tool call.

    Args:
        name: The tool's name, as the model wrote it.
        arguments: As the model wrote them.
        result: The tool's result, or its error where `ok` is false; None while it runs.
        ok: Whether the call succeeded.
        seconds: The duration of the call.
        awaits_approval: Whether the call waits for the user's decision.
    """
    text = f"**Arguments**\n{_fenced(json.dumps(dict(arguments), indent=1, ensure_ascii=False))}"
    # The model writes the name, and the page reads it as Markdown.
    safe_name = NOT_IN_TOOL_NAME.sub("_", name)[:MAX_TOOL_NAME_CHARS]
    title = f"✋ {safe_name} {NEEDS_APPROVAL}" if awaits_approval else f"🛠️ {safe_name}"
    metadata: dict[str, Any] = {"title": title, "status": "pending"}
    if result is not None:
        text += f"\n**{'Result' if ok else 'Error'}**\n{_fenced(result)}"
        metadata["status"] = "done"
        metadata["title"] = f"{'🛠️' if ok else '⚠️'} {safe_name}"
    if seconds is not None:
        metadata["duration"] = max(round(seconds, 4), 0.0001)  # Gradio hides a zero
    return message("assistant", text, metadata)


def link_button(link: str) -> DrawnMessage | None:
    """Return the panel with the button at which the user connects an account.

    Only the app makes panels: no text of a model can. None where `link` is not a link of the app's
    own.
    """
    if not TICKET_LINK.fullmatch(link):
        return None
    return message("assistant", f"[Connect your account]({link})", {"title": ACCOUNT_NEEDED})


def attachments(files: Sequence[StoredFile]) -> DrawnMessage:
    """Return the files of a message: images as previews, other files as links.

    The page fetches images only from the file component, which no text of a message can make.
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
        part: DrawnMessage = {"type": "component", "component": "file", "value": pictures}
        part |= {"constructor_args": {}, "props": {}}
        drawn["content"] = [*(drawn["content"] if others else []), part]
    return drawn


def note(
    outcome: TurnOutcome, sentence: str | None = None, error_id: str | None = None
) -> str | None:
    """Return the note below an answer that is incomplete; None below a complete one."""
    suffix = f" (error `{error_id}`)" if error_id else ""
    if outcome == "failed":
        return f"⚠️ {sentence or 'No answer came; please retry.'}{suffix}"
    if outcome == "interrupted":
        text = sentence or "This answer was stopped before its end; retry to get a whole one."
        return f"⏸ *{text}*{suffix}"
    return None


def history(stored: Iterable[StoredMessage], files: FilesBySeq = NO_FILES) -> list[DrawnMessage]:
    """Return stored messages, and their files by the messages' seq, as the page shows them."""
    drawn: list[DrawnMessage] = []
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
            drawn.append(message("assistant", unlink_composio(item.content)))
        if (below := note(item.status, None, item.error_id)) is not None:
            drawn.append(message("assistant", below))
    return drawn


class LiveAnswer:
    """Draws the growing answer of a running turn.

    Args:
        before: The drawn messages above the answer, the user's question included.
    """

    def __init__(self, before: Sequence[DrawnMessage]) -> None:
        self._before = list(before)
        self._parts: list[DrawnMessage] = []
        self._text: list[str] = []
        self._steps: dict[str, tuple[int, ToolStarted]] = {}

    def add(self, event: TurnEvent) -> None:
        """Apply one event of the turn."""
        match event:
            case TextDelta(text):
                self._append_text(text)
            case ToolStarted(call_id, name, arguments):
                self._text = []
                self._steps[call_id] = (len(self._parts), event)
                self._parts.append(tool_step(name, arguments))
            case ApprovalRequested(call_id, name):
                self._redraw_step(call_id, name, awaits_approval=True)
            case ApprovalSettled(call_id, _, arguments):
                if (step := self._steps.get(call_id)) is not None:
                    index, started = step
                    self._steps[call_id] = (index, ToolStarted(call_id, started.name, arguments))
                    self._redraw_step(call_id, started.name)
            case ToolFinished(call_id, name, result, ok, seconds, link):
                self._text = []
                index, call = self._steps.pop(call_id, (len(self._parts), None))
                arguments = call.arguments if call is not None else {}
                drawn = tool_step(name, arguments, result, ok=ok, seconds=seconds)
                self._parts[index : index + 1] = [drawn]
                if link and (button := link_button(link)) is not None:
                    self._parts.append(button)
            case TurnFinished(outcome, sentence, error_id):
                self._text = []
                if (below := note(outcome, sentence, error_id)) is not None:
                    self._parts.append(message("assistant", below))

    def _redraw_step(self, call_id: str, name: str, *, awaits_approval: bool = False) -> None:
        self._text = []
        if (step := self._steps.get(call_id)) is not None:
            index, started = step
            self._parts[index] = tool_step(name, started.arguments, awaits_approval=awaits_approval)

    def _append_text(self, text: str) -> None:
        if self._text:
            self._parts.pop()
            self._text = ["".join(self._text), text]
        else:
            self._text = [text.lstrip("\n")]
        self._parts.append(message("assistant", unlink_composio("".join(self._text))))

    def drawn(self) -> list[DrawnMessage]:
        """Return the Chatbot's current value."""
        if not self._parts:
            return [*self._before, message("assistant", WAITING)]
        return [*self._before, *self._parts]


def seqs(stored: Iterable[StoredMessage], files: FilesBySeq = NO_FILES) -> list[int]:
    """Return, for each message that `history` draws, the seq of its stored message."""
    return [item.seq for item in stored for _ in history([item], files)]


def feedback(stored: Iterable[StoredMessage]) -> list[str | None]:
    """Return the owner's rating of each drawn answer, as Gradio's label; None without a rating."""
    return [
        FEEDBACK_LABELS[item.feedback] if item.feedback else None
        for item in stored
        if item.role == "assistant" and history([item])
    ]


def with_ratings(messages: list[DrawnMessage], ratings: Sequence[str | None]) -> Any:
    """Return a Chatbot's value, as an update with the ratings where there are any."""
    if not any(ratings):
        return messages
    return {"__type__": "update", "value": messages, "feedback_value": list(ratings)}


def by_seq(files: Iterable[StoredFile]) -> dict[int, list[StoredFile]]:
    """Return files by the seq of their messages."""
    groups: dict[int, list[StoredFile]] = {}
    for file in files:
        if file.seq is not None:
            groups.setdefault(file.seq, []).append(file)
    return groups


def _label(name: str) -> str:
    # The user has named the file, and the page reads the name as Markdown.
    return MARKDOWN_SPECIAL.sub(r"\\\1", " ".join(name.split()))


def _fenced(text: str) -> str:
    fence = fence_for(text)
    return f"{fence}\n{text}\n{fence}\n"
