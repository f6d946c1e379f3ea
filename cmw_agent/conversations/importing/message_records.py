"""Turns the worker's messages into records that the memory stores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, get_args

from cmw_agent.conversations.importing.records import ImportLimits, UnreadableError
from memory.conversations.imports import ImportedHead, ImportMark, MessageToImport
from memory.records import (
    MAX_COMMENT_CHARS,
    AnswerDetails,
    Arrangement,
    ConversationOrigin,
    ConversationStatus,
    Feedback,
    FeedbackReason,
    MessageStatus,
    PictureRecord,
    SourceRecord,
    StoredFile,
    ToolRecord,
    new_conversation_id,
)

UNTITLED = "Imported conversation"


@dataclass(frozen=True, slots=True)
class Moment:
    """A time in a file; `is_future` says that the file had a later one than now."""

    at: datetime
    is_future: bool = False


def moment(seconds: Any, now: datetime, otherwise: datetime) -> Moment:
    """Return a time of a file, no later than now.

    Args:
        seconds: Unix seconds; anything else is no time.
        now: The current time.
        otherwise: The time where the file has none.
    """
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return Moment(otherwise)
    if seconds > now.timestamp():
        return Moment(now, is_future=True)
    return Moment(datetime.fromtimestamp(max(seconds, 0), UTC))


def started_at(event: Mapping[str, Any], now: datetime) -> datetime:
    """Return when a conversation began, no later than now."""
    return moment(event.get("created_at") or event.get("updated_at"), now, now).at


def head_record(
    event: Mapping[str, Any],
    messages: Sequence[MessageToImport],
    mark: ImportMark | None,
    origin: ConversationOrigin,
    now: datetime,
    *,
    status: ConversationStatus,
    is_expiring: bool,
) -> ImportedHead:
    """Return what is stored of a conversation beside its messages, under a new id.

    Args:
        event: What the worker says of it.
        messages: The first of its messages; the first question is the title of one without any.
        mark: By what it is recognised.
        origin: Where it comes from.
        now: The current time.
        status: Its status afterwards.
        is_expiring: Whether conversations are deleted some time after their last use: then this
            one counts as used now.
    """
    questions = (message.content for message in messages if message.role == "user")
    title = event.get("title") or next(questions, "").strip() or UNTITLED
    began = started_at(event, now)
    used_at = moment(event.get("updated_at"), now, began).at
    return ImportedHead(
        conversation_id=new_conversation_id(),
        title=str(title),
        started_at=began,
        last_activity_at=now if is_expiring else max(began, used_at),
        status=status,
        origin=origin,
        mark=mark,
        arrangement=_arrangement(event),
    )


def _arrangement(event: Mapping[str, Any]) -> Arrangement:
    folder = event.get("folder")
    return Arrangement(
        is_pinned=event.get("is_pinned") is True,
        is_archived=event.get("is_archived") is True,
        folder=folder if isinstance(folder, str) else None,
    )


def message_record(
    item: dict[str, Any],
    files: Sequence[StoredFile | None],
    created_at: datetime,
    limits: ImportLimits,
) -> MessageToImport:
    """Return a message that can be stored; its seq is its index and 1.

    Args:
        item: An `ImportedMessage` as the worker writes it.
        files: Its files, in the order of the message; None for one that is not stored.
        created_at: When it was written.
        limits: Of its texts.

    Raises:
        UnreadableError: The worker has not written what it should.
    """
    try:
        parent, files_from = item["parent"], item.get("files_from")
        return replace(
            _record(item, files, created_at, limits),
            parent_seq=0 if parent is None else int(parent) + 1,
            is_shown=bool(item["is_shown"]),
            files_seq=None if files_from is None else int(files_from) + 1,
        )
    except (KeyError, TypeError, ValueError):
        raise UnreadableError("worker") from None


def _record(
    item: dict[str, Any],
    files: Sequence[StoredFile | None],
    created_at: datetime,
    limits: ImportLimits,
) -> MessageToImport:
    role, extras = item["role"], item.get("extras") or {}
    stored = [file for file in files if file is not None]
    max_chars = limits.message_chars if role == "user" else limits.answer_chars
    text, thinking = _text(item["text"], max_chars), item.get("thinking")
    if role == "user":
        if not text.strip() and not stored and item["files"]:
            names = ", ".join(str(file["name"]) for file in item["files"])
            text = f"[{names}: not imported]"
        ids = [file.file_id for file in stored]
        return MessageToImport("user", text, created_at, file_ids=ids)
    if role != "assistant":
        raise ValueError(role)
    status: MessageStatus = extras.get("status", "complete")
    feedback: Feedback | None = extras.get("feedback")
    reason: FeedbackReason | None = extras.get("feedback_reason")
    if (
        status not in get_args(MessageStatus)
        or feedback not in (None, *get_args(Feedback))
        or reason not in (None, *get_args(FeedbackReason))
    ):
        raise ValueError(status)
    comment = extras.get("feedback_comment")
    return MessageToImport(
        "assistant",
        text,
        created_at,
        status=status,
        model_used=item.get("model"),
        thinking=_text(thinking, max_chars) if thinking else None,
        tool_calls=[_tool_record(call) for call in extras.get("tool_calls", ())],
        finish_reason=extras.get("finish_reason"),
        feedback=feedback,
        feedback_reason=reason,
        feedback_comment=_text(comment, MAX_COMMENT_CHARS) if comment else None,
        details=_details(extras, stored),
        file_ids=[file.file_id for file in stored],
    )


def _text(value: Any, max_chars: int) -> str:
    if not isinstance(value, str) or len(value) > max_chars:
        raise ValueError("no text")
    return value


def _tool_record(call: dict[str, Any]) -> ToolRecord:
    # No id and no duration: the call was not made here.
    return ToolRecord("", call["name"], call["arguments"], call["result"], bool(call["ok"]), 0)


def _details(extras: dict[str, Any], files: Sequence[StoredFile]) -> AnswerDetails:
    return AnswerDetails(
        thinking_ms=int(extras.get("thinking_ms", 0)),
        sources=tuple(SourceRecord(s["url"], s["title"]) for s in extras.get("sources", ())),
        pictures=tuple(PictureRecord(file.file_id, file.name) for file in files),
        switched_from=extras.get("switched_from"),
        note=extras.get("note"),
    )
