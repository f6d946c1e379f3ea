"""Writes a conversation as Markdown, JSON or one HTML file that needs nothing else.

Stored messages in, text out. What people and models wrote is escaped, and the HTML file may
load and run nothing.
"""

import html
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import orjson

from cmw_agent.long_texts import off_loop
from cmw_agent.text import fence_for
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
MESSAGE_CHARS = 300  # of a file, for a message beside its text
NAMES: Final[Mapping[str, str]] = MappingProxyType({"user": "You", "assistant": "Assistant"})
NOTES: Final[Mapping[str, str]] = MappingProxyType(
    {"interrupted": "This answer was cut short.", "failed": "No answer came."}
)


def as_json(conversation: Conversation, messages: Sequence[StoredMessage]) -> str:
    """Return everything that is stored of a conversation for its owner, as JSON."""
    return orjson.dumps(record(conversation, messages), option=orjson.OPT_INDENT_2).decode()


def record(conversation: Conversation, messages: Sequence[StoredMessage]) -> dict[str, Any]:
    """Return a conversation as values that JSON knows."""
    return {
        "id": conversation.session_id,
        "title": conversation.title,
        "agent": conversation.agent_id,
        "channel": conversation.channel,
        "started_at": conversation.started_at.isoformat(),
        "last_activity_at": conversation.last_activity_at.isoformat(),
        "messages": [_message(item) for item in messages],
    }


def as_markdown(conversation: Conversation, messages: Sequence[StoredMessage]) -> str:
    """Return a conversation as Markdown; the answers' own Markdown stays as it is."""
    parts = [f"# {conversation.title}", f"*{_when(conversation)}*"]
    for item in messages:
        parts.append(f"## {NAMES[item.role]}")
        for call in item.tool_calls:
            arguments = orjson.dumps(call.arguments).decode()
            parts.append(_fenced(f"{call.name}({arguments})\n{call.result}"))
        if item.content:
            parts.append(item.content)
        if (note := NOTES.get(item.status)) is not None:
            parts.append(f"*{note}*")
    return "\n\n".join(parts) + "\n"


def as_html(conversation: Conversation, messages: Sequence[StoredMessage]) -> str:
    """Return a conversation as one HTML file."""
    title = html.escape(conversation.title)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{STYLE}</style></head><body>"
        f"<header><h1>{title}</h1><p>{html.escape(_when(conversation))}</p></header>\n"
        f"{''.join(map(_section, messages))}</body></html>\n"
    )


Writer = Callable[[Conversation, Sequence[StoredMessage]], str]
# the ending of the file, its media type, and who writes it
FORMATS: Final[Mapping[str, tuple[str, Writer]]] = MappingProxyType(
    {
        "md": ("text/markdown", as_markdown),
        "json": ("application/json", as_json),
        "html": ("text/html", as_html),
    }
)


async def write(
    ending: str, conversation: Conversation, messages: Sequence[StoredMessage]
) -> tuple[str, bytes]:
    """Return the media type and the bytes of a conversation's file, which ends in `ending`.

    Raises:
        KeyError: `FORMATS` does not hold the ending.
    """
    media_type, writer = FORMATS[ending]

    def written() -> bytes:
        return writer(conversation, messages).encode()

    return media_type, await off_loop(size_of(messages), written)


def size_of(messages: Sequence[StoredMessage]) -> int:
    """Return about how many characters a conversation's file has."""
    return sum(
        MESSAGE_CHARS + len(item.content) + sum(len(call.result) for call in item.tool_calls)
        for item in messages
    )


def _message(item: StoredMessage) -> dict[str, Any]:
    return {
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


def _section(item: StoredMessage) -> str:
    calls = "".join(
        f"<details><summary>{html.escape(call.name)}</summary><pre>"
        f"{html.escape(orjson.dumps(call.arguments).decode())}\n{html.escape(call.result)}"
        "</pre></details>"
        for call in item.tool_calls
    )
    note = f"<p><em>{NOTES[item.status]}</em></p>" if item.status in NOTES else ""
    return (
        f'<section><h2>{NAMES[item.role]}</h2>{calls}<article class="{item.role}">'
        f"{html.escape(item.content)}</article>{note}</section>\n"
    )


def _when(conversation: Conversation) -> str:
    first, last = conversation.started_at, conversation.last_activity_at
    return f"{first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC"


def _fenced(text: str) -> str:
    fence = fence_for(text)
    return f"{fence}\n{text}\n{fence}"
