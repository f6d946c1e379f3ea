"""Splits a stream of JSON into the conversations in it, without holding the whole of it.

A conversation that is broken or too large is skipped, and those behind it are still found; a strict
streaming parser would end there.
"""

import re
from collections.abc import Iterator

_BRACKET_OR_STRING = re.compile(rb'["\[\]{}]')
_STRING_REST = re.compile(rb'[^"\\]*(?:\\.[^"\\]*)*', re.DOTALL)
_LIST_KEY = re.compile(rb'"conversations"\s*:\s*\Z')
_KEY_BYTES = 64  # before a bracket, in which the key must be found
_QUOTE, _BACKSLASH, _OPEN_LIST = b'"\\['
_OPENING = b"[{"


class JsonSplitter:
    """Finds the conversations in a stream of JSON.

    They are the elements of a list, or of the list at the key "conversations" of an object, or
    objects that follow each other.

    Args:
        max_bytes: Of one conversation.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._element = bytearray()
        self._is_too_large = False
        self._start: int | None = None  # of the element's bytes in this chunk; None outside of one
        self._depth = 0
        self._base = 0  # the depth at which elements begin
        self._is_ignoring = False  # behind the list of an object
        self._in_string = False
        self._is_escaped = False  # the chunk ended in a backslash

    @property
    def is_complete(self) -> bool:
        """Whether what was fed ends where a value ends."""
        return not self._depth and not self._in_string

    def feed(self, data: bytes) -> Iterator[bytes | None]:
        """Yield the conversations that end in the next chunk; None for one that is too large."""
        if self._start is not None:
            self._start = 0
        position = 1 if self._is_escaped and data else 0
        self._is_escaped = self._is_escaped and not data
        while position < len(data):
            if self._in_string:
                position = self._skip_string(data, position)
                continue
            match = _BRACKET_OR_STRING.search(data, position)
            if match is None:
                break
            position = match.end()
            byte = data[match.start()]
            if byte == _QUOTE:
                self._in_string = True
            elif byte in _OPENING:
                self._open(data, match.start(), is_list=byte == _OPEN_LIST)
            elif self._close():
                yield self._taken(data, position)
        self._keep(data, len(data))

    def _skip_string(self, data: bytes, position: int) -> int:
        match = _STRING_REST.match(data, position)
        end = match.end() if match is not None else position
        if end < len(data) and data[end] == _BACKSLASH:
            self._is_escaped = True  # its character is in the next chunk
            return len(data)
        self._in_string = end == len(data)
        return end + 1

    def _open(self, data: bytes, at: int, *, is_list: bool) -> None:
        self._depth += 1
        if self._is_ignoring:
            return
        if self._start is None and self._depth == self._base + 1:
            if is_list and self._depth == 1:
                self._base = 1
            else:
                self._start = at
        elif is_list and self._base == 0 and self._depth == 2 and self._is_at_key(data, at):
            self._drop()
            self._base = 2

    def _close(self) -> bool:
        """Count a closing bracket; return whether it ends a conversation."""
        self._depth = max(0, self._depth - 1)
        if self._start is not None:
            return self._depth == self._base
        self._is_ignoring = self._base == 2 or (self._is_ignoring and self._depth > 0)
        if self._depth < self._base:
            self._base = 0
        return False

    def _is_at_key(self, data: bytes, at: int) -> bool:
        start = max(self._start or 0, at - _KEY_BYTES)
        before = bytes(self._element[-_KEY_BYTES:]) + data[start:at]
        return _LIST_KEY.search(before[-_KEY_BYTES:]) is not None

    def _keep(self, data: bytes, end: int) -> None:
        if self._start is None or self._is_too_large:
            return
        if len(self._element) + end - self._start > self._max_bytes:
            self._element.clear()
            self._is_too_large = True
            return
        self._element += data[self._start : end]

    def _taken(self, data: bytes, end: int) -> bytes | None:
        self._keep(data, end)
        element = None if self._is_too_large else bytes(self._element)
        self._drop()
        return element

    def _drop(self) -> None:
        self._element.clear()
        self._is_too_large, self._start = False, None
