"""Writes conversations as a dataset: JSON Lines and the card with which `datasets` loads them.

A line is a conversation: what is shown of it, as trainers read it, and all versions of its messages with
ratings, tools, tokens and cost. Each column has one type in all lines, which the card declares: what is
missing is null, and arguments of tools, which may be anything, are JSON in a text. Thoughts and files
are left out. See ``docs/exports.md``.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import orjson

from cmw_agent.conversations.export import MessagePages
from cmw_agent.conversations.service import ConversationService
from cmw_agent.conversations.zip_stream import ZipStream
from cmw_agent.core.errors import NotFoundError
from cmw_agent.identity.principals import Principal
from memory.records import Conversation, StoredMessage, utcnow

CARD: Final = "README.md"
DATA: Final = "data/train.jsonl"
CONFIG: Final = "conversations"
TIME: Final = "timestamp[us, tz=UTC]"  # as a text, what reads it may write it in another form
FORMAT: Final = "dataset"  # the name of this form of an export
# Returns the messages of a conversation; those of all versions, or those that are shown.
PagesOf = Callable[[Conversation, bool], MessagePages]


def _column(name: str, dtype: str) -> dict[str, str]:
    return {"name": name, "dtype": dtype}


_TOOL: Final = (
    _column("name", "string"),
    _column("arguments", "string"),
    _column("result", "string"),
    _column("ok", "bool"),
)
_VERSION: Final = (
    _column("seq", "int64"),
    _column("parent_seq", "int64"),
    _column("shown", "bool"),
    _column("role", "string"),
    _column("content", "string"),
    _column("status", "string"),
    _column("created_at", TIME),
    _column("model", "string"),
    _column("finish_reason", "string"),
    _column("input_tokens", "int64"),
    _column("output_tokens", "int64"),
    _column("tokens_estimated", "bool"),
    _column("cost_micros", "int64"),
    _column("latency_ms", "int64"),
    _column("rating", "string"),
    _column("rating_reason", "string"),
    _column("rating_comment", "string"),
    {"name": "tools", "list": list(_TOOL)},
)
FEATURES: Final = (
    _column("id", "string"),
    _column("agent", "string"),
    _column("channel", "string"),
    _column("started_at", TIME),
    {"name": "messages", "list": [_column("role", "string"), _column("content", "string")]},
    {"name": "versions", "list": list(_VERSION)},
)
ABOUT: Final = """
# Conversations

One conversation a line. `messages` is what is shown of it. `versions` are all of its messages, those
that an edit or a retry has replaced among them: `parent_seq` names the message that one follows, null for
a first one, and `shown` whether it is among `messages`. `rating` is `like`, `dislike` or null;
`rating_reason` and `rating_comment` are what its user said of it. `cost_micros` are millionths of a
dollar, `arguments` of a tool are JSON. Times are ISO 8601 in UTC.

The texts are what people and models wrote, and may name people. The model's thoughts and files are not
here.

```python
from datasets import load_dataset

conversations = load_dataset("the path of this folder", split="train")
```
"""


def dataset_card() -> bytes:
    """Return the card: the front matter says which file holds which columns."""
    import yaml  # noqa: PLC0415 (few processes write a dataset)

    data_files = [{"split": "train", "path": DATA}]
    front = {
        "pretty_name": "Conversations",
        "configs": [{"config_name": CONFIG, "data_files": data_files}],
        # Without the name the columns would not be those of this configuration, and be guessed.
        "dataset_info": {"config_name": CONFIG, "features": list(FEATURES)},
    }
    written = yaml.safe_dump(front, sort_keys=False, default_flow_style=False)
    return f"---\n{written}---\n{ABOUT}".encode()


async def dataset_lines(
    conversations: AsyncIterator[Conversation],
    pages_of: PagesOf,
    id_of: Callable[[Conversation], str],
) -> AsyncGenerator[bytes]:
    """Yield a line for each conversation, in pieces of as many messages as a page has.

    Args:
        conversations: Those to be written.
        pages_of: Returns the messages of one.
        id_of: Returns what names one in the dataset.
    """
    async for conversation in conversations:
        head = {
            "id": id_of(conversation),
            "agent": conversation.agent_id,
            "channel": conversation.channel,
            "started_at": conversation.started_at.isoformat(),
        }
        yield orjson.dumps(head).removesuffix(b"}") + b',"messages":['
        async for piece in _items(pages_of(conversation, False), _shown):
            yield piece
        yield b'],"versions":['
        async for piece in _items(pages_of(conversation, True), _version):
            yield piece
        yield b"]}\n"


def own_dataset(
    history: ConversationService, principal: Principal, conversation: Conversation | None = None
) -> AsyncGenerator[bytes]:
    """Return the ZIP archive of the dataset of a principal's conversations, in pieces.

    Args:
        history: The conversations.
        principal: Whose they are.
        conversation: The one that is wanted; None for all.
    """

    async def one(wanted: Conversation) -> AsyncGenerator[Conversation]:
        yield wanted

    def pages(item: Conversation, all_versions: bool) -> MessagePages:
        return history.messages(principal, item.conversation_id, all_versions=all_versions)

    chosen = history.conversations(principal) if conversation is None else one(conversation)
    lines = dataset_lines(chosen, pages, lambda item: item.conversation_id)
    # What is compressed can no longer be looked at.
    return dataset_archive(history.files.outgoing(principal, lines), utcnow())


async def dataset_archive(lines: AsyncGenerator[bytes], now: datetime) -> AsyncGenerator[bytes]:
    """Yield the dataset's folder as a ZIP archive."""

    async def card() -> AsyncGenerator[bytes]:
        yield dataset_card()

    archive = ZipStream()
    for name, content in ((CARD, card()), (DATA, lines)):
        async with (
            contextlib.aclosing(content),
            contextlib.aclosing(archive.member(name, now, content, is_packed=False)) as pieces,
        ):
            async for piece in pieces:
                yield piece
    yield archive.end()


async def _items(
    pages: MessagePages, record: Callable[[StoredMessage], Mapping[str, Any]]
) -> AsyncGenerator[bytes]:
    """Yield the records of messages as the items of a JSON list."""
    between = b""
    # One that is deleted while it is read ends there.
    with contextlib.suppress(NotFoundError):
        async with contextlib.aclosing(pages):
            async for page in pages:
                yield between + await asyncio.to_thread(_joined, page, record)
                between = b","


def _joined(
    page: Sequence[StoredMessage], record: Callable[[StoredMessage], Mapping[str, Any]]
) -> bytes:
    return b",".join(orjson.dumps(record(message)) for message in page)


def _shown(message: StoredMessage) -> dict[str, str]:
    return {"role": message.role, "content": message.content}


def _version(message: StoredMessage) -> dict[str, Any]:
    return {
        "seq": message.seq,
        "parent_seq": message.parent_seq or None,
        "shown": not message.superseded,
        "role": message.role,
        "content": message.content,
        "status": message.status,
        "created_at": message.created_at.isoformat(),
        "model": message.model_used,
        "finish_reason": message.finish_reason,
        "input_tokens": message.input_tokens,
        "output_tokens": message.output_tokens,
        "tokens_estimated": message.tokens_estimated,
        "cost_micros": message.cost_micros,
        "latency_ms": message.latency_ms,
        "rating": message.feedback,
        "rating_reason": message.feedback_reason,
        "rating_comment": message.feedback_comment,
        "tools": [
            {
                "name": call.name,
                "arguments": orjson.dumps(call.arguments).decode(),
                "result": call.result,
                "ok": call.ok,
            }
            for call in message.tool_calls
        ],
    }
