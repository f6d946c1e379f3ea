"""Writes a conversation as Markdown, JSON or one HTML file that needs nothing else.

Piece by piece, so that no whole conversation is in memory. What people and models wrote is
escaped, and the HTML file may load and run nothing.
"""

import asyncio
import contextlib
import html
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from functools import partial
from types import MappingProxyType
from typing import Any, Final

import orjson

from cmw_agent.core.finish_reasons import sentence_for
from cmw_agent.core.sanitize import fence_for
from cmw_agent.core.sources import source_lines
from cmw_agent.files.notes import sentence_of
from cmw_agent.language import Language, wording
from memory.records import Conversation, StoredFile, StoredMessage

STYLE = """
:root { color-scheme: light dark; font: 16px/1.55 system-ui, sans-serif; }
body { max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }
header { border-bottom: 1px solid #8886; margin-bottom: 1.5rem; }
h1 { font-size: 1.3rem; margin: 0; } header p, h2, footer { color: #777; font-size: .82rem; }
h2 { margin: 1.5rem 0 .2rem; font-weight: 600; }
article { white-space: pre-wrap; overflow-wrap: anywhere; }
.user { background: #0d948820; border-radius: 1rem; padding: .6rem 1rem; }
details { font-size: .85rem; margin: .4rem 0; } pre { white-space: pre-wrap; overflow-wrap: anywhere; }
"""
NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {"user": wording("You"), "assistant": wording("Assistant")}
)
FILES_ALONE = wording("A message of files alone.")  # where its files are not shown
NOTES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "interrupted": wording("This answer was cut short."),
        "failed": wording("No answer came."),
    }
)


MessagePages = AsyncGenerator[list[StoredMessage]]
# Returns the files of messages with these seqs.
FilesOf = Callable[[Sequence[int]], Awaitable[Sequence[StoredFile]]]


async def no_files(_seqs: Sequence[int]) -> Sequence[StoredFile]:
    """Return no files: those of a conversation whose files are not looked for."""
    return ()


@dataclass(frozen=True, slots=True)
class Format:
    """A form in which conversations are saved.

    Args:
        media_type: Of the file.
        head: Returns what stands before the messages.
        message: Returns one of them, given the files that it brought.
        tail: What stands behind them.
        first: What stands before the first message.
        between: What stands before each further one.
        empty: What stands behind the head where there is no message.
    """

    media_type: str
    head: Callable[[Conversation], str]
    message: Callable[[StoredMessage, Sequence[StoredFile]], str]
    tail: str
    first: str = ""
    between: str = ""
    empty: str | None = None

    def page(
        self, messages: Sequence[StoredMessage], files: Sequence[StoredFile] = (), *, is_first: bool
    ) -> bytes:
        """Return some messages that follow each other, with the files that they brought."""
        of_seq: dict[int | None, list[StoredFile]] = {}
        for file in files:
            of_seq.setdefault(file.seq, []).append(file)
        text = self.between.join(self.message(item, of_seq.get(item.seq, ())) for item in messages)
        return f"{self.first if is_first else self.between}{text}".encode()


async def written(
    form: Format, conversation: Conversation, pages: MessagePages, files_of: FilesOf = no_files
) -> AsyncGenerator[bytes]:
    """Yield a conversation in a form, in pieces of as many messages as a page has."""
    yield form.head(conversation).encode()
    is_first = True
    async with contextlib.aclosing(pages):
        async for page in pages:
            files = await files_of([message.seq for message in page if message.role == "user"])
            # Escaping a page of long messages would hold the loop.
            yield await asyncio.to_thread(form.page, page, files, is_first=is_first)
            is_first = False
    yield (form.empty if is_first and form.empty is not None else form.tail).encode()


async def all_written(
    conversations: AsyncIterator[Conversation],
    pages_of: Callable[[Conversation], MessagePages],
    files_of: Callable[[Conversation], FilesOf] = lambda _: no_files,
    *,
    with_thinking: bool = False,
    with_versions: bool = False,
) -> AsyncGenerator[bytes]:
    """Yield conversations as one JSON document, in pieces.

    Args:
        conversations: Those to be written.
        pages_of: Returns the messages of one.
        files_of: Returns what finds the files of its messages.
        with_thinking: Whether the models' thoughts are written, too.
        with_versions: Whether each message says which one it follows, and whether it is shown.
    """
    yield b'{"conversations":['
    between = b"\n"
    message = partial(_compact_message, with_thinking=with_thinking, with_versions=with_versions)
    form = Format("application/json", compact_head, message, "]}", between=",")
    async for conversation in conversations:
        yield between
        between = b",\n"
        async for piece in written(
            form, conversation, pages_of(conversation), files_of(conversation)
        ):
            yield piece
    yield b"\n]}\n"


async def beginning(
    form: Format,
    conversation: Conversation,
    pages: MessagePages,
    max_chars: int,
    files_of: FilesOf = no_files,
) -> str:
    """Return the first `max_chars` of what `written` yields, and read no more than that takes."""
    texts, chars = [], 0
    async with contextlib.aclosing(written(form, conversation, pages, files_of)) as pieces:
        async for piece in pieces:
            texts.append(piece.decode())
            chars += len(texts[-1])
            if chars >= max_chars:
                break
    return "".join(texts)[:max_chars]


def _json_head(conversation: Conversation) -> str:
    text = orjson.dumps(_record(conversation), option=orjson.OPT_INDENT_2).decode()
    return text.removesuffix("]\n}")


def _json_message(
    item: StoredMessage,
    files: Sequence[StoredFile],
    *,
    with_thinking: bool,
    with_versions: bool,
) -> str:
    # Line breaks within texts are escaped: these are JSON's own.
    record = message_record(item, with_thinking=with_thinking, with_versions=with_versions)
    record |= _attached(files)
    text = orjson.dumps(record, option=orjson.OPT_INDENT_2).decode()
    return text.replace("\n", "\n    ")


def compact_head(conversation: Conversation) -> str:
    """Return what stands before the messages of a conversation in JSON of one line."""
    return orjson.dumps(_record(conversation)).decode().removesuffix("]}")


def _compact_message(
    item: StoredMessage,
    files: Sequence[StoredFile],
    *,
    with_thinking: bool,
    with_versions: bool,
) -> str:
    record = message_record(item, with_thinking=with_thinking, with_versions=with_versions)
    return orjson.dumps(record | _attached(files)).decode()


def _attached(files: Sequence[StoredFile]) -> dict[str, Any]:
    """Return what JSON says of files that are not in it."""
    return {"attached": list(map(file_record, files))} if files else {}


def file_record(file: StoredFile) -> dict[str, Any]:
    """Return a file as JSON exports name it."""
    record = {"name": file.name, "media_type": file.media_type}
    note = sentence_of(file.notes)
    return record | ({"note": note} if note else {})


def _record(conversation: Conversation) -> dict[str, Any]:
    return {
        "id": conversation.conversation_id,
        "title": conversation.title,
        "agent": conversation.agent_id,
        "channel": conversation.channel,
        "started_at": conversation.started_at.isoformat(),
        "last_activity_at": conversation.last_activity_at.isoformat(),
        "pinned": conversation.is_pinned,
        "archived": conversation.is_archived,
        "folder": conversation.folder,
        "messages": [],
    }


def _markdown_head(conversation: Conversation, *, language: Language) -> str:
    return f"# {conversation.title}\n\n*{_when(conversation, language)}*"


def _markdown_message(
    item: StoredMessage,
    files: Sequence[StoredFile],
    *,
    language: Language,
    with_thinking: bool,
    with_versions: bool,
) -> str:
    # The answers' own Markdown stays as it is.
    parts = [f"## {_heading(item, language, with_versions=with_versions)}"]
    if with_thinking and item.thinking:
        parts += [f"{_thought(item, language)}:", _fenced(item.thinking)]
    for call in item.tool_calls:
        arguments = orjson.dumps(call.arguments).decode()
        parts.append(_fenced(f"{call.name}({arguments})\n{call.result}"))
    if item.content:
        parts.append(item.content)
    elif item.role == "user" and not files:
        parts.append(f"*{language.translate(FILES_ALONE)}*")
    parts += [f"*{_file(file, language)}*" for file in files]
    if item.details.sources:
        parts.append("  \n".join(source_lines(item.details.sources)))
    parts += [f"*{_picture(picture.name, language)}*" for picture in item.details.pictures]
    if (note := _note(item, language)) is not None:
        parts.append(f"*{note}*")
    return "\n\n".join(parts)


def _html_head(conversation: Conversation, *, language: Language) -> str:
    title = html.escape(conversation.title)
    return (
        f'<!doctype html>\n<html lang="{language.tag}"><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{STYLE}</style></head><body>"
        f"<header><h1>{title}</h1><p>{html.escape(_when(conversation, language))}</p></header>\n"
    )


def message_record(
    item: StoredMessage, *, with_thinking: bool, with_versions: bool = False
) -> dict[str, Any]:
    """Return a message as JSON exports have it."""
    record = {
        "seq": item.seq,
        "role": item.role,
        "content": item.content,
        "tool_calls": [
            {"name": call.name, "arguments": call.arguments, "result": call.result, "ok": call.ok}
            for call in item.tool_calls
        ],
        "status": item.status,
        "model": item.model_used,
        "tokens": item.tokens_used,
        "input_tokens": item.input_tokens,
        "output_tokens": item.output_tokens,
        "cost_micros": item.cost_micros,
        "created_at": item.created_at.isoformat(),
        "feedback": item.feedback,
    }
    details = item.details
    further = {
        "feedback_reason": item.feedback_reason,
        "feedback_comment": item.feedback_comment,
        "tokens_estimated": item.tokens_estimated,
        "finish_reason": item.finish_reason,
        "note": sentence_for(item.finish_reason, details.note),
        "sources": [{"url": source.url, "title": source.title} for source in details.sources],
        "pictures": [{"id": item.file_id, "name": item.name} for item in details.pictures],
        "switched_from": details.switched_from,
        "cached_tokens": details.cached_tokens,
        "reasoning_tokens": details.reasoning_tokens,
        "thinking": item.thinking if with_thinking else None,
        "thinking_seconds": details.thinking_ms / 1000,
    }
    links = {"parent_seq": item.parent_seq or None, "shown": not item.superseded}
    return (
        record
        | (links if with_versions else {})
        | {name: value for name, value in further.items() if value}
    )


def _section(
    item: StoredMessage,
    files: Sequence[StoredFile],
    *,
    language: Language,
    with_thinking: bool,
    with_versions: bool,
) -> str:
    thinking = ""
    if with_thinking and item.thinking:
        thinking = (
            f"<details><summary>{_thought(item, language)}</summary><pre>{html.escape(item.thinking)}"
            "</pre></details>"
        )
    calls = "".join(
        f"<details><summary>{html.escape(call.name)}</summary><pre>"
        f"{html.escape(orjson.dumps(call.arguments).decode())}\n{html.escape(call.result)}"
        "</pre></details>"
        for call in item.tool_calls
    )
    below = [*source_lines(item.details.sources)]
    below += [_file(file, language) for file in files]
    if item.role == "user" and not item.content and not files:
        below.insert(0, language.translate(FILES_ALONE))
    below += [_picture(picture.name, language) for picture in item.details.pictures]
    if (note := _note(item, language)) is not None:
        below.append(note)
    notes = "".join(f"<p><em>{html.escape(line)}</em></p>" for line in below)
    return (
        f"<section><h2>{_heading(item, language, with_versions=with_versions)}</h2>"
        f'{thinking}{calls}<article class="{item.role}">'
        f"{html.escape(item.content)}</article>{notes}</section>\n"
    )


def _heading(item: StoredMessage, language: Language, *, with_versions: bool) -> str:
    name = language.translate(NAMES[item.role])
    if not with_versions:
        return name
    seq, parent = str(item.seq), str(item.parent_seq)
    position = language.gettext("message {seq}", seq=seq)
    if item.parent_seq:
        position = language.gettext("message {seq}, after message {parent}", seq=seq, parent=parent)
    not_shown = language.gettext("not shown")
    hidden = f", {not_shown}" if item.superseded else ""
    return f"{name} ({position}{hidden})"


def _note(item: StoredMessage, language: Language) -> str | None:
    """Return the notice below an answer; None for an answer that ended well."""
    note = sentence_for(item.finish_reason, item.details.note) or NOTES.get(item.status)
    return language.translate(note) if note else None


def _thought(item: StoredMessage, language: Language) -> str:
    seconds = item.details.thinking_ms / 1000
    if not seconds:
        return language.gettext("Thoughts")
    return language.gettext("Thought for {seconds} s", seconds=f"{seconds:.1f}")


def _file(file: StoredFile, language: Language) -> str:
    note = sentence_of(file.notes)
    named = language.gettext("File: {name}", name=file.name)
    return f"{named}. {language.translate(note)}" if note else named


def _picture(name: str, language: Language) -> str:
    return language.gettext("Picture: {name}", name=name)


def _when(conversation: Conversation, language: Language) -> str:
    first, last = conversation.started_at, conversation.last_activity_at
    return language.gettext(
        "{first} to {last} UTC",
        first=language.moment(first, UTC),
        last=language.moment(last, UTC),
    )


def _fenced(text: str) -> str:
    fence = fence_for(text)
    return f"{fence}\n{text}\n{fence}"


def receipts_form() -> Format:
    """Return the form that has the receipts of a conversation's answers, one on a line."""
    return Format("application/x-ndjson", lambda _: "", _receipt_line, "")


def _receipt_line(item: StoredMessage, _files: Sequence[StoredFile]) -> str:
    receipt = item.details.receipt
    return "" if receipt is None else f"{orjson.dumps(receipt).decode()}\n"


def formats(
    language: Language, *, with_thinking: bool = False, with_versions: bool = False
) -> Mapping[str, Format]:
    """Return the forms by the ending of the file.

    Args:
        language: The language of headings and notes.
        with_thinking: Whether the models' thoughts are written, too.
        with_versions: Whether each message says which one it follows, and whether it is shown.
    """
    markdown = partial(
        _markdown_message,
        language=language,
        with_thinking=with_thinking,
        with_versions=with_versions,
    )
    as_json = partial(_json_message, with_thinking=with_thinking, with_versions=with_versions)
    as_html = partial(
        _section, language=language, with_thinking=with_thinking, with_versions=with_versions
    )
    markdown_head = partial(_markdown_head, language=language)
    html_head = partial(_html_head, language=language)
    return {
        "md": Format("text/markdown", markdown_head, markdown, "\n", "\n\n", "\n\n"),
        "json": Format(
            "application/json",
            _json_head,
            as_json,
            tail="\n  ]\n}",
            first="\n    ",
            between=",\n    ",
            empty="]\n}",
        ),
        "html": Format("text/html", html_head, as_html, "</body></html>\n"),
    }


ENDINGS: Final = ("md", "json", "html")  # the endings of the files
RECEIPTS: Final = "receipts"  # the format that has no text: what models saw for the answers
