"""Draws a conversation as the value of a Gradio Chatbot.

The dictionaries are in Gradio's own normal form, so that Gradio need not convert the
whole history at each update. A dictionary never changes once it has been returned:
an update is a new list that reuses the old dictionaries.
"""

import html
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from cmw_agent.core.connect_links import unlink_composio
from cmw_agent.core.events import Source, TurnOutcome
from cmw_agent.core.finish_reasons import sentence_for
from cmw_agent.web.page.drawn_message import DrawnMessage, label, message
from cmw_agent.web.page.steps import link_button, shortened, thinking_step, tool_step
from memory.records import Feedback, SourceRecord, StoredFile, StoredMessage

FilesBySeq = Mapping[int, Sequence[StoredFile]]
NO_FILES: FilesBySeq = MappingProxyType({})

MAX_SOURCES = 100  # that an answer shows
WEB_ADDRESS = re.compile(r"https?://[^\s<>\"'`]+", re.IGNORECASE)
CONTINUE = "Continue"  # the button below a cut answer sends this
FAILED = "No answer came; please retry."
STOPPED = "This answer was stopped before its end; retry to get a whole one."
PAGE_MESSAGES = 40  # of a conversation, that the page shows at first
FEEDBACK: Mapping[object, Feedback] = MappingProxyType(
    {True: "like", False: "dislike", "Like": "like", "Dislike": "dislike"}
)
FEEDBACK_LABELS: Mapping[Feedback, str] = MappingProxyType({"like": "Like", "dislike": "Dislike"})
WAITING = '<span class="cmw-waiting" aria-label="The answer is on its way">…</span>'


def attachments(files: Sequence[StoredFile]) -> DrawnMessage:
    """Return the files of a message: images as previews, other files as links."""
    pictures = [(file.file_id, file.name) for file in files if file.kind == "image"]
    others = [
        f"📎 [{label(file.name)}](files/{file.file_id})" for file in files if file.kind != "image"
    ]
    drawn = message("user", "  \n".join(others))
    if pictures:
        drawn["content"] = [*(drawn["content"] if others else []), _previews(pictures)]
    return drawn


def picture(file_id: str, name: str) -> DrawnMessage:
    """Return a picture of an answer."""
    return message("assistant", "") | {"content": [_previews([(file_id, name)])]}


def _previews(pictures: Sequence[tuple[str, str]]) -> DrawnMessage:
    """Return images, (file id, name) each, as a part of a message.

    The page fetches images only from the file component, which no text of a message can make.
    """
    value = [
        {"path": f"files/{file_id}", "url": f"files/{file_id}", "orig_name": name}
        for file_id, name in pictures
    ]
    return {
        "type": "component",
        "component": "file",
        "value": value,
        "constructor_args": {},
        "props": {},
    }


def sources(cited: Sequence[Source | SourceRecord]) -> list[DrawnMessage]:
    """Return the numbered links below an answer: one message, or none where nothing is cited.

    A source whose address is none of the web keeps its number, without a link.
    """
    if not cited:
        return []
    items = "".join(f"<li>{_link(source.url, source.title)}</li>" for source in cited[:MAX_SOURCES])
    # A block of HTML: nothing in it is read as Markdown.
    text = f'<ol class="cmw-sources" aria-label="Sources">{items}</ol>'
    return [message("assistant", unlink_composio(text))]


def _link(url: str, title: str) -> str:
    shown = html.escape(" ".join((title or url).split()))
    if not WEB_ADDRESS.fullmatch(url):
        return shown
    safety = 'target="_blank" rel="noopener noreferrer nofollow"'
    return f'<a href="{html.escape(url)}" {safety}>{shown}</a>'


def model_switch(failed: str, model: str) -> DrawnMessage:
    """Return the line that says which model answered instead of the one that failed."""
    return message("assistant", f"↪️ *{label(failed)} did not answer; {label(model)} answered.*")


def note(
    outcome: TurnOutcome,
    sentence: str | None = None,
    error_id: str | None = None,
    finish_reason: str | None = None,
) -> list[DrawnMessage]:
    """Return the note below an answer: one message, or none where there is nothing to say.

    It is the last message of its answer: Gradio shows the button of no other.
    """
    suffix = f" (error `{error_id}`)" if error_id else ""
    if outcome == "failed":
        return [message("assistant", f"⚠️ {sentence or FAILED}{suffix}")]
    if outcome == "interrupted":
        options = (CONTINUE,) if finish_reason == "length" else ()
        return [message("assistant", f"⏸ *{sentence or STOPPED}*{suffix}", options=options)]
    return [message("assistant", f"ℹ️ *{sentence}*{suffix}")] if sentence else []


def history(stored: Iterable[StoredMessage], files: FilesBySeq = NO_FILES) -> list[DrawnMessage]:
    """Return stored messages, and their files by the messages' seq, as the page shows them."""
    drawn: list[DrawnMessage] = []
    for item in stored:
        if item.role == "assistant":
            drawn += _answer(item)
            continue
        if item.seq in files:
            drawn.append(attachments(files[item.seq]))
        drawn.append(message("user", item.content))
    return drawn


def _answer(item: StoredMessage) -> Iterator[DrawnMessage]:
    details = item.details
    if details.switched_from:
        yield model_switch(details.switched_from, item.model_used or "another model")
    if item.thinking:
        yield thinking_step(shortened(item.thinking), details.thinking_ms / 1000)
    for call in item.tool_calls:
        seconds = call.duration_ms / 1000
        yield tool_step(call.name, call.arguments, call.result, ok=call.ok, seconds=seconds)
        if call.link and (button := link_button(call.link)) is not None:
            yield button
    if item.content:
        yield message("assistant", unlink_composio(item.content))
    for stored in details.pictures:
        yield picture(stored.file_id, stored.name)
    yield from sources(details.sources)
    sentence = sentence_for(item.finish_reason, details.note)
    yield from note(item.status, sentence, item.error_id, item.finish_reason)


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
