"""Validates user messages and sanitizes what models produce before it is stored or shown."""

import math
import re
import unicodedata
from typing import Any

from cmw_agent.core.errors import InvalidMessageError
from cmw_agent.language import wording

# C0 and C1 controls except tab and line ends: no keyboard produces them, and terminals and
# databases mishandle them.
CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
# Explicit bidirectional controls (Unicode UAX #9) can make text display in a misleading order.
BIDI = re.compile("[\u202a-\u202e\u2066-\u2069\u200e\u200f\u061c]")
# NUL and lone surrogates: PostgreSQL stores neither, and UTF-8 cannot encode surrogates.
UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
# NFC sorts each run of combining marks by insertion, which is quadratic. Stream-Safe Text Format
# (UAX #15) allows 30 of them in a row; no language needs more.
MAX_MARKS = 30
SPLITTER = "\u034f"  # combining grapheme joiner, with which that format ends a run
# No mark is a letter, space or ASCII. One character may decompose into two marks, and the letter
# before the run may contribute up to three more.
MARKS = re.compile(rf"[^\w\s\x00-\x7f]{{{(MAX_MARKS - 3) // 2},}}")
BACKTICKS = re.compile("`+")
MAX_DEPTH = 20  # levels of a tool's arguments; JSON encoders fail at a few hundred
# Integers that every JSON encoder and decoder used here accepts.
MIN_INTEGER, MAX_INTEGER = -(2**63), 2**64 - 1


def is_storable(text: str) -> bool:
    """Return whether `text` has no character that cannot be stored."""
    return "\x00" not in text if text.isascii() else UNSTORABLE.search(text) is None


def sanitize_json(value: Any, levels: int = MAX_DEPTH) -> Any:
    """Return a model's JSON value with everything replaced that cannot be stored or shown.

    Unstorable characters become U+FFFD, NaN and infinities become their names, and values nested
    more than `levels` deep become an ellipsis.
    """
    if isinstance(value, str):
        return UNSTORABLE.sub("\ufffd", value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if not isinstance(value, dict | list | tuple):
        return value
    if not levels:
        return "…"
    if isinstance(value, dict):
        return {
            sanitize_json(str(key)): sanitize_json(item, levels - 1) for key, item in value.items()
        }
    return [sanitize_json(item, levels - 1) for item in value]


def one_line(text: str, max_characters: int) -> str:
    """Return a text that can be stored and shown, in one line and cut."""
    return " ".join(str(sanitize_json(text)).split())[:max_characters]


def large_integers_as_text(value: Any) -> Any:
    """Return a JSON value with integers beyond 64 bits as text, so that no digit is lost."""
    if isinstance(value, int) and not MIN_INTEGER <= value <= MAX_INTEGER:
        return str(value)
    if isinstance(value, dict):
        return {key: large_integers_as_text(item) for key, item in value.items()}
    return [large_integers_as_text(item) for item in value] if isinstance(value, list) else value


def normalize_unicode(text: str) -> str:
    """Return `text` in NFC and Stream-Safe Text Format (Unicode UAX #15), in linear time."""
    if text.isascii():
        return text
    return unicodedata.normalize("NFC", MARKS.sub(_stream_safe, text))


def _stream_safe(run: re.Match[str]) -> str:
    parts: list[str] = []
    before = run.string[max(0, run.start() - 1) : run.start()]
    marks = _trailing_marks(unicodedata.normalize("NFD", before))
    for character in run[0]:
        decomposed = unicodedata.normalize("NFD", character)
        trailing = _trailing_marks(decomposed)
        if trailing < len(decomposed):
            marks = 0
        elif marks + trailing > MAX_MARKS:
            parts.append(SPLITTER)
            marks = 0
        marks += trailing
        parts.append(character)
    return "".join(parts)


def _trailing_marks(text: str) -> int:
    return len(text) - len(text.rstrip("".join(filter(unicodedata.combining, text))))


def fence_for(text: str) -> str:
    """Return a Markdown code fence for `text`: longer than any run of backticks in it."""
    longest = max(map(len, BACKTICKS.findall(text)), default=0)
    return "`" * max(3, longest + 1)


def validate_message(text: object, limit: int, *, may_be_empty: bool = False) -> str:
    r"""Return a user's message, validated and normalized.

    Line ends become ``\n``, the text is normalized to NFC, bidirectional controls and
    surrounding white space are removed.

    Args:
        text: What a client sent.
        limit: Maximum length, in characters.
        may_be_empty: Whether a message without a text is one, as that of files alone is.

    Raises:
        InvalidMessageError: `text` is not a string, is empty, is longer than `limit`, or contains
            control characters (such as NUL) or lone surrogates.
    """
    if not isinstance(text, str):
        raise InvalidMessageError(wording("The message must be text."))
    if len(text) > limit:
        raise InvalidMessageError(
            wording(
                "The message is too long: {count} characters, at most {limit} are taken.",
                count=len(text),
                limit=limit,
            )
        )
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidMessageError(
            wording("The message holds a broken character; please retype it.")
        ) from None
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if CONTROLS.search(text):
        raise InvalidMessageError(
            wording("The message holds control characters; please remove them.")
        )
    # Normalized last: characters on both sides of a removed control may combine.
    text = normalize_unicode(BIDI.sub("", text)).strip()
    if not text and not may_be_empty:
        raise InvalidMessageError(wording("The message is empty; please write something first."))
    return text
