"""Recognises texts of the app that were stored in English, with their values filled in."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from cmw_agent.language.wording import PLACEHOLDER

MAX_CHARS = 600  # of a text that is looked for
MIN_CHARS = 12  # of a catalogue's text beside its values: less could be anything
BOUNDARY = re.compile(r"(?<=[.!?]) ")  # between two sentences


@dataclass(frozen=True, slots=True)
class StoredTexts:
    """The catalogue's texts with values, as patterns.

    Args:
        patterns: What each text looks like with its values, and the text.
    """

    patterns: Sequence[tuple[re.Pattern[str], str]]

    @classmethod
    def of(cls, texts: Iterable[str]) -> Self:
        """Return the patterns of those texts that have values."""
        with_values = [text for text in texts if PLACEHOLDER.search(text)]
        enough = [text for text in with_values if len(PLACEHOLDER.sub("", text)) >= MIN_CHARS]
        # The text with most letters of its own says most about what it matches.
        enough.sort(key=lambda text: -len(PLACEHOLDER.sub("", text)))
        return cls([(_pattern(text), text) for text in enough])

    def find(self, text: str) -> tuple[str, Mapping[str, str]] | None:
        """Return the catalogue's text that `text` was made of, and the values; None for others."""
        if len(text) > MAX_CHARS:
            return None
        for pattern, source in self.patterns:
            if (match := pattern.fullmatch(text)) is not None:
                return source, match.groupdict()
        return None


def sentences(text: str) -> list[tuple[str, str]]:
    """Return the ways to divide a text of several sentences, the longest first part first."""
    ends = [match.start() for match in BOUNDARY.finditer(text[:MAX_CHARS])]
    return [(text[:end], text[end + 1 :]) for end in reversed(ends)]


def _pattern(text: str) -> re.Pattern[str]:
    parts, at, seen = list[str](), 0, set[str]()
    for match in PLACEHOLDER.finditer(text):
        name = match[1]
        parts.append(re.escape(text[at : match.start()]))
        parts.append(f"(?P={name})" if name in seen else f"(?P<{name}>.+?)")
        seen.add(name)
        at = match.end()
    return re.compile("".join(parts) + re.escape(text[at:]), re.DOTALL)
