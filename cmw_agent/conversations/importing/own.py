"""Reads conversations of this app's own exports, as `conversations.export` writes them."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, get_args

from cmw_agent.conversations.importing import values
from cmw_agent.conversations.importing.message_tree import with_path
from cmw_agent.conversations.importing.records import (
    AnswerExtras,
    FileReference,
    ImportedConversation,
    ImportedMessage,
)
from cmw_agent.conversations.importing.values import Notes
from cmw_agent.core.finish_reasons import SENTENCES
from cmw_agent.core.sanitize import large_integers_as_text, sanitize_json
from memory.records import (
    MAX_COMMENT_CHARS,
    Feedback,
    FeedbackReason,
    MessageStatus,
    Role,
)

MAX_THOUGHT_SECONDS = 86_400.0
KEYS = frozenset({"messages", "title", "started_at"})


def is_conversation(value: dict[str, Any]) -> bool:
    """Return whether a JSON object has the shape of this app's conversations."""
    return value.keys() >= KEYS and isinstance(value["messages"], list)


def read(value: dict[str, Any]) -> ImportedConversation:
    """Return one conversation."""
    notes = Notes()
    messages: list[ImportedMessage] = []
    brought: dict[tuple[str, ...], int] = {}  # paths of files, and the message that brought them
    last_shown: int | None = None
    indexes: dict[int, int] = {}  # by the numbers of messages in the file
    for item in values.records(value["messages"]):
        role: Any = item.get("role")
        if role not in get_args(Role):
            notes["system"] += 1
            continue
        index = len(messages)
        message = _message(item, role, index, _parent(item, index, indexes, notes), notes)
        messages.append(_with_earlier_files(message, brought))
        last_shown = index if item.get("shown") is not False else last_shown
        if isinstance(seq := item.get("seq"), int):
            indexes[seq] = index
    return ImportedConversation(
        title=values.name(value.get("title")) or "",
        created_at=values.seconds(value.get("started_at")),
        updated_at=values.seconds(value.get("last_activity_at")),
        messages=with_path(messages, last_shown),
        source_id=values.first_id(value, "id"),
        agent=values.name(value.get("agent")),
        is_pinned=value.get("pinned") is True,
        is_archived=value.get("archived") is True,
        folder=values.name(value.get("folder")),
        notes=notes,
    )


def _parent(
    item: dict[str, Any], index: int, indexes: Mapping[int, int], notes: Notes
) -> int | None:
    """Return the index of the message before one: an export with all versions names it."""
    if "shown" not in item:
        return index - 1 if index else None
    if not isinstance(seq := item.get("parent_seq"), int) or not seq:
        return None
    notes["parents"] += seq not in indexes
    return indexes.get(seq)


def _with_earlier_files(
    message: ImportedMessage, brought: dict[tuple[str, ...], int]
) -> ImportedMessage:
    """Return a message without the files that it has from the version before it, if it has any."""
    paths = tuple(filter(None, (file.path for file in message.files)))
    if message.role != "user" or not paths or len(paths) != len(message.files):
        return message
    first = brought.setdefault(paths, message.index)
    return message if first == message.index else replace(message, files=(), files_from=first)


def _message(
    item: dict[str, Any], role: Role, index: int, parent: int | None, notes: Notes
) -> ImportedMessage:
    thinking = values.text(item.get("thinking"), "assistant", notes)
    return ImportedMessage(
        index=index,
        parent=parent,
        is_shown=False,
        role=role,
        text=values.text(item.get("content"), role, notes),
        at=values.seconds(item.get("created_at")),
        thinking=thinking or None,
        model=values.name(item.get("model")),
        files=tuple(_files(item)),
        extras=_extras(item) if role == "assistant" else None,
    )


def _extras(item: dict[str, Any]) -> AnswerExtras:
    thought: Any = item.get("thinking_seconds")
    is_number = isinstance(thought, int | float)
    thinking_ms = round(1000 * min(max(thought, 0), MAX_THOUGHT_SECONDS)) if is_number else 0
    status: Any = item.get("status")
    feedback: Any = item.get("feedback")
    reason = values.name(item.get("finish_reason"))
    # An export writes the reason's own sentence before the note.
    note = (values.name(item.get("note")) or "").removeprefix(SENTENCES.get(reason or "", ""))
    return AnswerExtras(
        status=status if status in get_args(MessageStatus) else "complete",
        tool_calls=tuple(map(_tool_call, values.records(item.get("tool_calls")))),
        sources=tuple(
            {name: _clean(source.get(name)) for name in ("url", "title")}
            for source in values.records(item.get("sources"))
        ),
        feedback=feedback if feedback in get_args(Feedback) else None,
        **_explanation(item, feedback),
        finish_reason=reason,
        note=note.strip() or None,
        switched_from=values.name(item.get("switched_from")),
        thinking_ms=thinking_ms,
    )


def _explanation(item: dict[str, Any], feedback: Any) -> dict[str, Any]:
    reason: Any = item.get("feedback_reason")
    is_reason = feedback == "dislike" and reason in get_args(FeedbackReason)
    comment = _clean(item.get("feedback_comment"))[:MAX_COMMENT_CHARS].strip()
    return {
        "feedback_reason": reason if is_reason else None,
        "feedback_comment": comment or None if feedback in get_args(Feedback) else None,
    }


def _tool_call(call: dict[str, Any]) -> dict[str, Any]:
    arguments = values.record(sanitize_json(call.get("arguments")))
    return {
        "name": values.name(call.get("name")) or "tool",
        "arguments": large_integers_as_text(arguments),
        "result": _clean(call.get("result")),
        "ok": call.get("ok") is not False,
    }


def _clean(value: Any) -> str:
    return values.text(value, "assistant", Notes())


def _files(item: dict[str, Any]) -> Iterator[FileReference]:
    for file in (*values.records(item.get("files")), *values.records(item.get("pictures"))):
        path = _clean(file.get("path"))
        yield FileReference(path or None, values.name(file.get("name")) or "a file")
