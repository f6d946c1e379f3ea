"""The sources that an answer cites, as numbered lines below its text."""

from collections.abc import Iterable
from typing import Protocol


class CitedSource(Protocol):
    """A source: of an event, or as it is stored."""

    @property
    def url(self) -> str:
        """Its address; empty where it has none of the web."""

    @property
    def title(self) -> str:
        """Its title, which may be empty."""


def source_lines(sources: Iterable[CitedSource]) -> list[str]:
    """Return one line of plain text for each source, with its number."""
    return [
        f"[{number}] {' – '.join(part for part in (source.title, source.url) if part) or '?'}"
        for number, source in enumerate(sources, start=1)
    ]
