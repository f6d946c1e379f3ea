"""Writes a conversation as Markdown, JSON or one HTML file that needs nothing else.

Piece by piece, so that no whole conversation is in memory. What people and models wrote is
escaped, and the HTML file may load and run nothing.
"""

import asyncio
import contextlib
import html
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, Final

import orjson

from cmw_agent.core.finish_reasons import sentence_for
from cmw_agent.core.sanitize import fence_for
from cmw_agent.core.sources import source_lines
from memory.records import Conversation, StoredMessage

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
NAMES: Final[Mapping[str, str]] = MappingProxyType({"user": "You", "assistant": "Assistant"})
NOTES: Final[Mapping[str, str]] = MappingProxyType(
    {"interrupted": "This answer was cut short.", "failed": "No answer came."}
)


MessagePages = AsyncGenerator[list[StoredMessage]]


@dataclass(frozen=True, slots=True)
class Format:
    """A form in which conversations are saved.

    Args:
        media_type: Of the file.
        head: Returns what stands before the messages.
        message: Returns one of them.
        tail: What stands behind them.
        first: What stands before the first message.
        between: What stands before each further one.
        empty: What stands behind the head where there is no message.
    """

    media_type: str
    head: Callable[[Conversation], str]
    message: Callable[[StoredMessage], str]
    tail: str
    first: str = ""
    between: str = ""
    empty: str | None = None

    def page(self, messages: Sequence[StoredMessage], *, is_first: bool) -> bytes:
        """Return some messages that follow each other."""
        text = self.between.join(map(self.message, messages))
        return f"{self.first if is_first else self.between}{text}".encode()


async def written(
    form: Format, conversation: Conversation, pages: MessagePages
) -> AsyncGenerator[bytes]:
    """Yield a conversation in a form, in pieces of as many messages as a page has."""
    yield form.head(conversation).encode()
    is_first = True
    async with contextlib.aclosing(pages):
        async for page in pages:
            # Escaping a page of long messages would hold the loop.
            yield await asyncio.to_thread(form.page, page, is_first=is_first)
            is_first = False
    yield (form.empty if is_first and form.empty is not None else form.tail).encode()


async def all_written(
    conversations: AsyncIterator[Conversation],
    pages_of: Callable[[Conversation], MessagePages],
    *,
    with_thinking: bool = False,
    with_versions: bool = False,
) -> AsyncGenerator[bytes]:
    """Yield conversations as one JSON document, in pieces.

    Args:
        conversations: Those to be written.
        pages_of: Returns the messages of one.
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
        async for piece in written(form, conversation, pages_of(conversation)):
            yield piece
    yield b"\n]}\n"


async def beginning(
    form: Format, conversation: Conversation, pages: MessagePages, max_chars: int
) -> str:
    """Return the first `max_chars` of what `written` yields, and read no more than that takes."""
    texts, chars = [], 0
    async with contextlib.aclosing(written(form, conversation, pages)) as pieces:
        async for piece in pieces:
            texts.append(piece.decode())
            chars += len(texts[-1])
            if chars >= max_chars:
                break
    return "".join(texts)[:max_chars]


def _json_head(conversation: Conversation) -> str:
    text = orjson.dumps(_record(conversation), option=orjson.OPT_INDENT_2).decode()
    return text.removesuffix("]\n}")


def _json_message(item: StoredMessage, *, with_thinking: bool, with_versions: bool) -> str:
    # Line breaks within texts are escaped: these are JSON's own.
    record = message_record(item, with_thinking=with_thinking, with_versions=with_versions)
    text = orjson.dumps(record, option=orjson.OPT_INDENT_2).decode()
    return text.replace("\n", "\n    ")


def compact_head(conversation: Conversation) -> str:
    """Return what stands before the messages of a conversation in JSON of one line."""
    return orjson.dumps(_record(conversation)).decode().removesuffix("]}")


def _compact_message(item: StoredMessage, *, with_thinking: bool, with_versions: bool) -> str:
    record = message_record(item, with_thinking=with_thinking, with_versions=with_versions)
    return orjson.dumps(record).decode()


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


def _markdown_head(conversation: Conversation) -> str:
    return f"# {conversation.title}\n\n*{_when(conversation)}*"


def _markdown_message(item: StoredMessage, *, with_thinking: bool, with_versions: bool) -> str:
    # The answers' own Markdown stays as it is.
    parts = [f"## {_heading(item, with_versions=with_versions)}"]
    if with_thinking and item.thinking:
        parts += [f"{_thought(item)}:", _fenced(item.thinking)]
    for call in item.tool_calls:
        arguments = orjson.dumps(call.arguments).decode()
        parts.append(_fenced(f"{call.name}({arguments})\n{call.result}"))
    if item.content:
        parts.append(item.content)
    if item.details.sources:
        parts.append("  \n".join(source_lines(item.details.sources)))
    parts += [f"*Picture: {picture.name}*" for picture in item.details.pictures]
    if (note := _note(item)) is not None:
        parts.append(f"*{note}*")
    return "\n\n".join(parts)


def _html_head(conversation: Conversation) -> str:
    title = html.escape(conversation.title)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{STYLE}</style></head><body>"
        f"<header><h1>{title}</h1><p>{html.escape(_when(conversation))}</p></header>\n"
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


def _section(item: StoredMessage, *, with_thinking: bool, with_versions: bool) -> str:
    thinking = ""
    if with_thinking and item.thinking:
        thinking = (
            f"<details><summary>{_thought(item)}</summary><pre>{html.escape(item.thinking)}"
            "</pre></details>"
        )
    calls = "".join(
        f"<details><summary>{html.escape(call.name)}</summary><pre>"
        f"{html.escape(orjson.dumps(call.arguments).decode())}\n{html.escape(call.result)}"
        "</pre></details>"
        for call in item.tool_calls
    )
    below = [*source_lines(item.details.sources)]
    below += [f"Picture: {picture.name}" for picture in item.details.pictures]
    if (note := _note(item)) is not None:
        below.append(note)
    notes = "".join(f"<p><em>{html.escape(line)}</em></p>" for line in below)
    return (
        f"<section><h2>{_heading(item, with_versions=with_versions)}</h2>"
        f'{thinking}{calls}<article class="{item.role}">'
        f"{html.escape(item.content)}</article>{notes}</section>\n"
    )


def _heading(item: StoredMessage, *, with_versions: bool) -> str:
    if not with_versions:
        return NAMES[item.role]
    after = f", after message {item.parent_seq}" if item.parent_seq else ""
    hidden = ", not shown" if item.superseded else ""
    return f"{NAMES[item.role]} (message {item.seq}{after}{hidden})"


def _note(item: StoredMessage) -> str | None:
    """Return the notice below an answer; None for an answer that ended well."""
    return sentence_for(item.finish_reason, item.details.note) or NOTES.get(item.status)


def _thought(item: StoredMessage) -> str:
    seconds = item.details.thinking_ms / 1000
    return f"Thought for {seconds:.1f} s" if seconds else "Thoughts"


def _when(conversation: Conversation) -> str:
    first, last = conversation.started_at, conversation.last_activity_at
    return f"{first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC"


def _fenced(text: str) -> str:
    fence = fence_for(text)
    return f"{fence}\n{text}\n{fence}"


def formats(*, with_thinking: bool = False, with_versions: bool = False) -> Mapping[str, Format]:
    """Return the forms by the ending of the file.

    Args:
        with_thinking: Whether the models' thoughts are written, too.
        with_versions: Whether each message says which one it follows, and whether it is shown.
    """
    markdown = partial(_markdown_message, with_thinking=with_thinking, with_versions=with_versions)
    as_json = partial(_json_message, with_thinking=with_thinking, with_versions=with_versions)
    as_html = partial(_section, with_thinking=with_thinking, with_versions=with_versions)
    return {
        "md": Format("text/markdown", _markdown_head, markdown, "\n", "\n\n", "\n\n"),
        "json": Format(
            "application/json",
            _json_head,
            as_json,
            tail="\n  ]\n}",
            first="\n    ",
            between=",\n    ",
            empty="]\n}",
        ),
        "html": Format("text/html", _html_head, as_html, "</body></html>\n"),
    }


FORMATS: Final[Mapping[str, Format]] = MappingProxyType(formats())
