"""A response as texts to search: its bytes, and what its JSON values read when they are joined.

A stream may cut a word anywhere. So strings of the same path in the events of one stream are joined.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

MAX_PATHS = 10_000
MAX_DEPTH = 40


class JoinedTexts:
    """Collects one response.

    Args:
        limit: How many bytes are kept; `is_full` is true from then on.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._head = ""
        self._bytes = bytearray()
        self._texts_by_path: dict[str, list[str]] = {}
        self.extra: list[str] = []  # what a reader has put together by itself

    @property
    def size(self) -> int:
        """How many bytes of the body came."""
        return len(self._bytes)

    @property
    def is_full(self) -> bool:
        """Whether more came than is kept."""
        return len(self._bytes) > self._limit

    @property
    def body(self) -> bytes:
        """The body."""
        return bytes(self._bytes)

    def head(self, items: Sequence[tuple[str, str]]) -> None:
        """Add the response's header fields."""
        self._head = "\n".join(f"{name}: {value}" for name, value in items)

    def feed(self, chunk: bytes) -> None:
        """Add bytes of the body."""
        self._bytes += chunk

    def event(self, value: Any) -> None:
        """Add an event of a stream, whose strings continue those of earlier ones."""
        for path, text in _strings(value, "", 0):
            if len(self._texts_by_path) < MAX_PATHS or path in self._texts_by_path:
                self._texts_by_path.setdefault(path, []).append(text)

    def json(self) -> None:
        """Read the body as one JSON value, where it is one."""
        try:
            value = json.loads(self._bytes)
        except (ValueError, RecursionError):
            return
        self.extra.extend(text for _, text in _strings(value, "", 0))

    def all(self) -> Iterator[str]:
        """Yield the texts to search."""
        yield self._head
        yield self._bytes.decode(errors="replace")
        yield from ("".join(parts) for parts in self._texts_by_path.values())
        yield "\n".join(self.extra)


def _strings(value: Any, path: str, depth: int) -> Iterator[tuple[str, str]]:
    """Yield the strings of a JSON value, each with its path."""
    if isinstance(value, str):
        yield path, value
    elif depth > MAX_DEPTH:
        return
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _strings(inner, f"{path}.{key}", depth + 1)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _strings(inner, f"{path}.{number}", depth + 1)
