"""Replaces in a recording what a regular expression matches, also where a stream cuts it in pieces.

An expression sees whole strings: of a JSON text its strings, names and numbers one by one, of a
streamed reply the strings that follow each other at the same place joined. What it matches becomes `REDACTED`.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import orjson

REDACTED = "[redacted]"
LINE = re.compile(r"[^\n]*\n|[^\n]+")
# Keys under which servers and LangChain stream texts in pieces.
STREAMED = frozenset(
    {
        *("content", "reasoning_content", "reasoning", "thinking", "text", "refusal"),
        *("delta", "arguments", "args", "partial_json"),
    }
)
Slot = tuple[str, Callable[[str], None]]  # a string, and what puts another in its place


class Redaction:
    """One rule.

    Args:
        pattern: What is replaced.
    """

    __slots__ = ("_pattern",)

    def __init__(self, pattern: re.Pattern[str]) -> None:
        self._pattern = pattern

    def value(self, value: Any) -> Any:
        """Return a JSON value with its strings redacted."""
        return self.values([value])[0]

    def values(self, values: Sequence[Any]) -> list[Any]:
        """Return JSON values that follow each other, such as the events of a stream, redacted."""
        copies = [self._copied(value) for value in values]
        holder = {"": copies}
        places: dict[tuple[str, ...], list[Slot]] = {}
        _collect(holder, (), places)
        for path, slots in places.items():
            groups = [slots] if path[-1] in STREAMED else [[slot] for slot in slots]
            for group in groups:
                self._replace(group)
        return copies

    def json(self, body: bytes) -> bytes:
        """Return a JSON text with its strings redacted; a text that is no JSON as one string."""
        try:
            value = orjson.loads(body)
        except orjson.JSONDecodeError:
            return self._plain(_text(body)).encode(errors="surrogateescape")
        redacted = self.value(value)
        return body if redacted == value else orjson.dumps(redacted)

    def stream(self, chunks: Sequence[bytes]) -> list[bytes]:
        """Return the chunks of a streamed reply; lines that change stand in the chunk of their end."""
        lines = LINE.findall(_text(b"".join(chunks)))
        parsed = {number: value for number, line in enumerate(lines) if (value := _event(line))}
        events = dict(zip(parsed, self.values(list(parsed.values())), strict=True))
        changed = [
            self._line(line, parsed.get(number), events.get(number))
            for number, line in enumerate(lines)
        ]
        if changed == lines:
            return list(chunks)
        cut: list[bytes] = [b""] * len(chunks)
        ends = list(accumulate(len(chunk) for chunk in chunks))
        position = 0
        for line, new in zip(lines, changed, strict=True):
            position += len(line.encode(errors="surrogateescape"))
            cut[bisect_right(ends, position - 1)] += new.encode(errors="surrogateescape")
        return cut

    def _copied(self, value: Any) -> Any:
        """Return a copy of a value, with its names and numbers redacted one by one."""
        if isinstance(value, dict):
            return {self._plain(str(key)): self._copied(each) for key, each in value.items()}
        if isinstance(value, list):
            return [self._copied(each) for each in value]
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return REDACTED if is_number and self._pattern.search(str(value)) else value

    def _line(self, line: str, before: Any, after: Any) -> str:
        if before is None:
            return self._plain(line)
        if before == after:
            return line
        end = line[len(line.rstrip("\r\n")) :]
        head = "data: " if line.startswith("data:") else ""
        return f"{head}{orjson.dumps(after).decode()}{end}"

    def _plain(self, text: str) -> str:
        return self._pattern.sub(REDACTED, text)

    def _replace(self, slots: Sequence[Slot]) -> None:
        joined = "".join(text for text, _ in slots)
        spans = [found.span() for found in self._pattern.finditer(joined) if found.group()]
        if not spans:
            return
        starts = list(accumulate((len(text) for text, _ in slots), initial=0))
        new = [""] * len(slots)

        def copy(begin: int, end: int) -> None:
            number = bisect_right(starts, begin) - 1
            while number < len(slots) and starts[number] < end:
                new[number] += joined[max(begin, starts[number]) : min(end, starts[number + 1])]
                number += 1

        before = 0
        for begin, end in spans:
            copy(before, begin)
            new[bisect_right(starts, begin) - 1] += REDACTED
            before = end
        copy(before, len(joined))
        for (_, put), text in zip(slots, new, strict=True):
            put(text)


def _text(data: bytes) -> str:
    return data.decode(errors="surrogateescape")


def _event(line: str) -> Any:
    try:
        return orjson.loads(line.removeprefix("data:").strip())
    except (orjson.JSONDecodeError, UnicodeEncodeError):
        return None


def _collect(value: Any, path: tuple[str, ...], places: dict[tuple[str, ...], list[Slot]]) -> None:
    """Collect the strings in a value by their places; items of a list have the same one."""
    if isinstance(value, dict):
        for key, each in value.items():
            _visit(each, (*path, str(key)), places, _putter(value, key))
    elif isinstance(value, list):
        for number, each in enumerate(value):
            _visit(each, path, places, _putter(value, number))


def _visit(
    value: Any,
    path: tuple[str, ...],
    places: dict[tuple[str, ...], list[Slot]],
    put: Callable[[str], None],
) -> None:
    if isinstance(value, str):
        places.setdefault(path, []).append((value, put))
    else:
        _collect(value, path, places)


def _putter(holder: Any, key: Any) -> Callable[[str], None]:
    def put(text: str) -> None:
        holder[key] = text

    return put
