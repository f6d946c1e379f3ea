"""Draws a conversation as a list of parts, which is the value of a Gradio Chatbot.

The dictionaries are in Gradio's own normal form, so that Gradio need not convert the
whole history at each update. A dictionary never changes once it has been returned:
an update is a new list that reuses the old dictionaries.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from cmw_agent.conversations.export import FILES_ALONE
from cmw_agent.core.connect_links import HOST, unlink_composio
from cmw_agent.core.events import Source, TurnOutcome
from cmw_agent.core.finish_reasons import sentence_for
from cmw_agent.files.media_types import SHOWN
from cmw_agent.files.notes import sentence_of
from cmw_agent.language import Language, wording
from cmw_agent.web.page.drawn_message import DrawnMessage, label, marked, message
from cmw_agent.web.page.steps import link_button, shortened, thinking_step, tool_step
from memory.records import SourceRecord, StoredFile, StoredMessage

DrawnFile = dict[str, Any]
FilesBySeq = Mapping[int, Sequence[StoredFile]]
NO_FILES: FilesBySeq = MappingProxyType({})

MAX_SOURCES = 100  # that an answer shows
WEB_ADDRESS = re.compile(r"https?://[^\s<>\"'`]+", re.IGNORECASE)
CONTINUE = "Continue"  # the button below a cut answer sends this
FAILED = wording("No answer came; please retry.")
STOPPED = wording("This answer was stopped before its end; retry to get a whole one.")
PAGE_MESSAGES = 40  # of a conversation, that the page shows at first
WAITING = "…"


def waiting() -> DrawnMessage:
    """Return what stands where an answer will be, until something of it has come."""
    return message("assistant", WAITING, {"kind": "waiting"})


def attachments(files: Sequence[StoredFile], language: Language) -> DrawnMessage:
    """Return the files of a message: images as previews, other files as links, each with its note."""
    return _files("user", [_attachment(file, language) for file in files])


def _attachment(file: StoredFile, language: Language) -> DrawnFile:
    note = sentence_of(file.notes)
    # A browser shows no picture of any other kind.
    drawn = {"id": file.file_id, "name": file.name, "picture": file.media_type in SHOWN}
    return drawn | ({"note": language.translate(note)} if note else {})


def question(text: str, files: Sequence[StoredFile], language: Language) -> list[DrawnMessage]:
    """Return a message of the user: its files, and its text where it has one."""
    parts = [attachments(files, language)] if files else []
    return [*parts, message("user", text)] if text or not parts else parts


def edited(parts: Sequence[DrawnMessage], text: str) -> list[DrawnMessage]:
    """Return the parts of a message of the user with another text."""
    files = [part for part in parts if (part["metadata"] or {}).get("kind") == "files"]
    return [*files, message("user", text)]


def picture(file_id: str, name: str) -> DrawnMessage:
    """Return a picture of an answer."""
    return _files("assistant", [{"id": file_id, "name": name, "picture": True}])


def _files(role: str, files: Sequence[DrawnFile]) -> DrawnMessage:
    """Return files as one part.

    The page fetches pictures only for this kind of part, which no text of a message can make.
    """
    text = "  \n".join(map(_file_line, files))
    return message(role, text, {"kind": "files", "files": list(files)})


def _file_line(file: DrawnFile) -> str:
    line = f"📎 [{label(file['name'])}](files/{file['id']})"
    return f"{line}: *{label(file['note'])}*" if "note" in file else line


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


def model_switch(failed: str, model: str, language: Language) -> DrawnMessage:
    """Return the line that says which model answered instead of the one that failed."""
    template = "{failed} did not answer; {model} answered."
    shown = language.gettext(template, failed=label(failed), model=label(model))
    sentence = language.gettext(template, failed=failed, model=model)
    return message("assistant", f"↪️ *{shown}*", {"kind": "switch", "sentence": sentence})


def note(
    language: Language,
    outcome: TurnOutcome,
    sentence: str | None = None,
    error_id: str | None = None,
    finish_reason: str | None = None,
) -> list[DrawnMessage]:
    """Return the note below an answer: one message, or none where there is nothing to say."""
    error = language.gettext("error")
    suffix = f" ({error} `{error_id}`)" if error_id else ""
    sentence = language.translate(sentence) if sentence else None
    options: tuple[str, ...] = ()
    if outcome == "failed":
        said = sentence or language.translate(FAILED)
        text = f"⚠️ {said}{suffix}"
    elif outcome == "interrupted":
        said = sentence or language.translate(STOPPED)
        text = f"⏸ *{said}*{suffix}"
        options = (CONTINUE,) if finish_reason == "length" else ()
    elif sentence:
        said, text = sentence, f"ℹ️ *{sentence}*{suffix}"
    else:
        return []
    marks = {"kind": "note", "outcome": outcome, "sentence": said, "error": error_id}
    return [message("assistant", text, marks, options=options)]


def history(
    stored: Iterable[StoredMessage], language: Language, files: FilesBySeq = NO_FILES
) -> list[DrawnMessage]:
    """Return stored messages, and their files by the messages' seq, as the page shows them."""
    drawn: list[DrawnMessage] = []
    for item in stored:
        if item.role == "assistant":
            marks = {"seq": item.seq} | ({"rating": item.feedback} if item.feedback else {})
            drawn += [marked(part, **marks) for part in _answer(item, language)]
            continue
        own = files.get(item.seq, ())
        text = item.content if item.content or own else language.translate(FILES_ALONE)
        drawn += [marked(part, seq=item.seq) for part in question(text, own, language)]
    return drawn


def _answer(item: StoredMessage, language: Language) -> Iterator[DrawnMessage]:
    details = item.details
    if details.switched_from:
        model = item.model_used or language.gettext("another model")
        yield model_switch(details.switched_from, model, language)
    if item.thinking:
        yield thinking_step(
            shortened(item.thinking, language), language, details.thinking_ms / 1000
        )
    for call in item.tool_calls:
        seconds = call.duration_ms / 1000
        yield tool_step(
            call.name, call.arguments, language, call.result, ok=call.ok, seconds=seconds
        )
        if call.link and (button := link_button(call.link, language)) is not None:
            yield button
    if item.content:
        yield message("assistant", unlink_composio(item.content))
    for stored in details.pictures:
        yield picture(stored.file_id, stored.name)
    yield from sources(details.sources)
    sentence = sentence_for(item.finish_reason, details.note)
    yield from note(language, item.status, sentence, item.error_id, item.finish_reason)


def by_seq(files: Iterable[StoredFile]) -> dict[int, list[StoredFile]]:
    """Return files by the seq of their messages."""
    groups: dict[int, list[StoredFile]] = {}
    for file in files:
        if file.seq is not None:
            groups.setdefault(file.seq, []).append(file)
    return groups
