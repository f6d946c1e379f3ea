"""Checks of arguments before SQL: SQLite would cut some texts and PostgreSQL refuse them."""

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import asdict, fields
from typing import Any

from memory.errors import ConversationNotFoundError, InvalidTextError
from memory.records import (
    AnswerDetails,
    PictureRecord,
    SourceRecord,
    StoredDecision,
    StoredQuestion,
    ToolRecord,
)

TITLE_LENGTH = 60
MAX_ROWS = 500  # of one list
MAX_SEQ = 2**31 - 1  # of PostgreSQL's integer
_STOPS = " .,:;!?…"
_BEFORE, _AFTER = 40, 80  # characters of a snippet around the first word that was found
_NO_DETAILS = AnswerDetails()
_DETAILS = tuple(field.name for field in fields(AnswerDetails))
# Control characters, and those that turn the direction of the text around them.
_UNSEEN = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)
_ID = re.compile(r"[\x21-\x7e]{1,128}")


def storable(text: str) -> bool:
    """Return whether every database returns the text as it was."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def check_texts(**fields: str | None) -> None:
    """Raise InvalidTextError with the name of the first field that is not storable."""
    for field, text in fields.items():
        if text is not None and not storable(text):
            raise InvalidTextError(field)


def check_owner(owner: str) -> None:
    """Raise ValueError for an empty owner: a mistake of the caller, never of a user."""
    if not owner or not storable(owner):
        raise ValueError("an owner is required")


def is_id(identifier: str) -> bool:
    """Return whether this can be an id: 1 to 128 visible ASCII characters."""
    return _ID.fullmatch(identifier) is not None


def check_id(identifier: str) -> None:
    """Raise ConversationNotFoundError for what cannot be an id."""
    if not is_id(identifier):
        raise ConversationNotFoundError


def row_limit(limit: int) -> int:
    """Return `limit`, brought into 1 to 500."""
    return min(max(limit, 1), MAX_ROWS)


def check_seq(seq: int) -> None:
    """Raise ConversationNotFoundError for what cannot be a message's sequence number."""
    if not 0 < seq <= MAX_SEQ:
        raise ConversationNotFoundError


def title_of(text: str) -> str:
    """Return a text on one line, of at most 60 characters, cut between words where it can be.

    Control characters are left out, and those that turn the direction of the text around them.
    """
    line = " ".join(_UNSEEN.sub("", text).split())
    if len(line) <= TITLE_LENGTH:
        return line
    words, _, _ = line[:TITLE_LENGTH].rpartition(" ")
    cut = words if len(words) > TITLE_LENGTH // 2 else line[: TITLE_LENGTH - 1]
    return f"{cut.rstrip(_STOPS)}…"


def snippet(text: str, words: list[str]) -> str:
    """Return the part of a text, on one line, around the first of `words`."""
    folded = text.lower()
    positions = [position for word in words if (position := folded.find(word.lower())) >= 0]
    start = max(0, min(positions, default=0) - _BEFORE)
    end = min(len(text), start + _BEFORE + _AFTER)
    part = " ".join(text[start:end].split())
    return f"{'…' if start else ''}{part}{'…' if end < len(text) else ''}"


def pack_tools(tool_calls: Sequence[ToolRecord]) -> list[dict[str, Any]] | None:
    """Return tool calls as JSON values; None when there are none.

    Raises InvalidTextError when a text in them is not storable, or a value is not JSON.
    """
    if not tool_calls:
        return None
    packed = [without_nothing(call, ("account", "account_label")) for call in tool_calls]
    check_values(tool_calls=packed)
    return packed


def without_nothing(record: Any, names: Collection[str]) -> dict[str, Any]:
    """Return a dataclass as a dictionary, without those of the named fields that are None.

    An older replica knows a new field only where something uses it.
    """
    return {
        name: value
        for name, value in asdict(record).items()
        if value is not None or name not in names
    }


def unpack_tools(packed: list[dict[str, Any]] | None) -> tuple[ToolRecord, ...]:
    """Return tool calls from the JSON values of `pack_tools`."""
    return tuple(ToolRecord(**call) for call in packed or ())


def pack_details(details: AnswerDetails | None) -> dict[str, Any] | None:
    """Return details as a JSON value without what they lack; None where they hold nothing.

    Raises InvalidTextError when a text in them is not storable.
    """
    if details is None or details == _NO_DETAILS:
        return None
    # Not `asdict` of all: it would copy the receipt, which names each message of the window.
    values = ((name, getattr(details, name)) for name in _DETAILS)
    packed = {name: _packed(value) for name, value in values if value}
    if not packed:
        return None
    check_values(details=packed)
    return packed


def _packed(value: Any) -> Any:
    return [asdict(item) for item in value] if isinstance(value, tuple) else value


def unpack_details(packed: dict[str, Any] | None) -> AnswerDetails:
    """Return details from the JSON value of `pack_details`."""
    if not packed:
        return AnswerDetails()
    sources = tuple(SourceRecord(**source) for source in packed.get("sources", ()))
    pictures = tuple(PictureRecord(**picture) for picture in packed.get("pictures", ()))
    return AnswerDetails(**packed | {"sources": sources, "pictures": pictures})


def unpack_open_questions(
    questions: list[dict[str, Any]] | None, decisions: list[dict[str, Any]] | None
) -> tuple[StoredQuestion, ...]:
    """Return the stored questions that are not decided."""
    decided = {decision.approval_id for decision in unpack_decisions(decisions)}
    stored = (StoredQuestion(**question) for question in questions or ())
    return tuple(question for question in stored if question.approval_id not in decided)


def unpack_decisions(packed: list[dict[str, Any]] | None) -> tuple[StoredDecision, ...]:
    """Return the stored decisions."""
    return tuple(StoredDecision(**decision) for decision in packed or ())


def check_values(**fields: Any) -> None:
    """Raise InvalidTextError with the name of the first field that is not JSON that can be stored."""
    for field, value in fields.items():
        try:
            text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            raise InvalidTextError(field) from None
        # json writes NUL as \u0000; a backslash before it would make it the six harmless characters
        has_nul = r"\u0000" in text and re.search(r"(?<!\\)(?:\\\\)*\\u0000", text)
        if has_nul or not storable(text):
            raise InvalidTextError(field)
