"""Draws a conversation as a list of parts, which is the value of a Gradio Chatbot.

The dictionaries are in Gradio's own normal form, so that Gradio need not convert the
whole history at each update. A dictionary never changes once it has been returned:
an update is a new list that reuses the old dictionaries.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

from cmw_agent.core.connect_links import HOST, unlink_composio
from cmw_agent.core.events import Source, TurnOutcome
from cmw_agent.core.finish_reasons import sentence_for
from cmw_agent.web.page.drawn_message import DrawnMessage, label, marked, message
from cmw_agent.web.page.steps import link_button, shortened, thinking_step, tool_step
from memory.records import SourceRecord, StoredFile, StoredMessage

FilesBySeq = Mapping[int, Sequence[StoredFile]]
NO_FILES: FilesBySeq = MappingProxyType({})

MAX_SOURCES = 100  # that an answer shows
WEB_ADDRESS = re.compile(r"https?://[^\s<>\"'`]+", re.IGNORECASE)
CONTINUE = "Continue"  # the button below a cut answer sends this
FAILED = "No answer came; please retry."
STOPPED = "This answer was stopped before its end; retry to get a whole one."
PAGE_MESSAGES = 40  # of a conversation, that the page shows at first
WAITING = "…"


def waiting() -> DrawnMessage:
    """Return what stands where an answer will be, until something of it has come."""
    return message("assistant", WAITING, {"kind": "waiting"})


def attachments(files: Sequence[StoredFile]) -> DrawnMessage:
    """Return the files of a message: images as previews, other files as links."""
    return _files("user", [(file.file_id, file.name, file.kind == "image") for file in files])


def picture(file_id: str, name: str) -> DrawnMessage:
    """Return a picture of an answer."""
    return _files("assistant", [(file_id, name, True)])


def _files(role: str, files: Sequence[tuple[str, str, bool]]) -> DrawnMessage:
    """Return files, each as its id, name and whether it is a picture, as one part.

    The page fetches pictures only for this kind of part, which no text of a message can make.
    """
    text = "  \n".join(f"📎 [{label(name)}](files/{file_id})" for file_id, name, _ in files)
    listed = [
        {"id": file_id, "name": name, "picture": is_picture} for file_id, name, is_picture in files
    ]
    return message(role, text, {"kind": "files", "files": listed})


def sources(cited: Sequence[Source | SourceRecord]) -> list[DrawnMessage]:
    """Return the numbered links below an answer: one message, or none where nothing is cited.

    A source whose address is none of the web keeps its number, without a link.
    """
    if not cited:
        return []
    listed = [_source(source.url, source.title) for source in cited[:MAX_SOURCES]]
    text = "\n".join(_numbered(number, source) for number, source in enumerate(listed, 1))
    return [message("assistant", text, {"kind": "sources", "sources": listed})]


def _source(url: str, title: str) -> dict[str, str | None]:
    is_link = WEB_ADDRESS.fullmatch(url) and HOST not in url.lower()
    return {"title": " ".join((title or url).split()), "url": url if is_link else None}


def _numbered(number: int, source: Mapping[str, str | None]) -> str:
    title = label(source["title"] or "")
    return f"{number}. [{title}](<{source['url']}>)" if source["url"] else f"{number}. {title}"


def model_switch(failed: str, model: str) -> DrawnMessage:
    """Return the line that says which model answered instead of the one that failed."""
    text = f"↪️ *{label(failed)} did not answer; {label(model)} answered.*"
    sentence = f"{failed} did not answer; {model} answered."
    return message("assistant", text, {"kind": "switch", "sentence": sentence})


def note(
    outcome: TurnOutcome,
    sentence: str | None = None,
    error_id: str | None = None,
    finish_reason: str | None = None,
) -> list[DrawnMessage]:
    """Return the note below an answer: one message, or none where there is nothing to say."""
    suffix = f" (error `{error_id}`)" if error_id else ""
    options: tuple[str, ...] = ()
    if outcome == "failed":
        said, text = sentence or FAILED, f"⚠️ {sentence or FAILED}{suffix}"
    elif outcome == "interrupted":
        said, text = sentence or STOPPED, f"⏸ *{sentence or STOPPED}*{suffix}"
        options = (CONTINUE,) if finish_reason == "length" else ()
    elif sentence:
        said, text = sentence, f"ℹ️ *{sentence}*{suffix}"
    else:
        return []
    marks = {"kind": "note", "outcome": outcome, "sentence": said, "error": error_id}
    return [message("assistant", text, marks, options=options)]


def history(stored: Iterable[StoredMessage], files: FilesBySeq = NO_FILES) -> list[DrawnMessage]:
    """Return stored messages, and their files by the messages' seq, as the page shows them."""
    drawn: list[DrawnMessage] = []
    for item in stored:
        if item.role == "assistant":
            marks = {"seq": item.seq} | ({"rating": item.feedback} if item.feedback else {})
            drawn += [marked(part, **marks) for part in _answer(item)]
            continue
        if item.seq in files:
            drawn.append(marked(attachments(files[item.seq]), seq=item.seq))
        drawn.append(message("user", item.content, {"seq": item.seq}))
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


def by_seq(files: Iterable[StoredFile]) -> dict[int, list[StoredFile]]:
    """Return files by the seq of their messages."""
    groups: dict[int, list[StoredFile]] = {}
    for file in files:
        if file.seq is not None:
            groups.setdefault(file.seq, []).append(file)
    return groups
