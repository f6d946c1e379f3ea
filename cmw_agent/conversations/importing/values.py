"""Reads values of unknown JSON, and makes texts storable."""

import math
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from cmw_agent.conversations.importing.records import Note
from cmw_agent.core.sanitize import CONTROLS, UNSTORABLE
from memory.records import Role

NAME_CHARS = 200  # of a title, a model, a file's name
ID_CHARS = 200  # of an id at the source
REPLACEMENT = "\ufffd"
Notes = Counter[Note]


def record(value: Any) -> dict[str, Any]:
    """Return a JSON object; an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def records(value: Any) -> list[dict[str, Any]]:
    """Return the objects in a JSON list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def optional(value: Any) -> str | None:
    """Return a text that is not empty; None for anything else."""
    return value if isinstance(value, str) and value else None


def name(value: Any) -> str | None:
    """Return a short text on one line, storable and cut; None for anything else."""
    if not isinstance(value, str):
        return None
    return " ".join(UNSTORABLE.sub(REPLACEMENT, value[: 4 * NAME_CHARS]).split())[:NAME_CHARS]


def first_id(value: dict[str, Any], *names: str) -> str | None:
    """Return the first text at these names, as far as an id goes; None where there is none."""
    found = next(filter(None, (optional(value.get(name)) for name in names)), None)
    return found[:ID_CHARS] if found is not None else None


def text(value: Any, role: Role, notes: Notes) -> str:
    """Return a message's text with what cannot be stored replaced, which is noted."""
    if not isinstance(value, str):
        return ""
    unstorable = CONTROLS if role == "user" else UNSTORABLE
    if role == "user":
        value = value.replace("\r\n", "\n").replace("\r", "\n")
    clean = UNSTORABLE.sub(REPLACEMENT, unstorable.sub(REPLACEMENT, value))
    if clean != value:
        notes["characters"] += 1
    return clean


def seconds(value: Any) -> float | None:
    """Return a time as Unix seconds: from a number of seconds or milliseconds, or from ISO 8601."""
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            return None
        return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    if not math.isfinite(number) or number <= 0:
        return None
    return number / 1000 if number > 1e11 else number
