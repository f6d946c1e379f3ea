"""The fast path of streamed text: reads a run of events that differ in their text alone.

A server writes the same bytes around each piece of text. Where they equal those of an event that
was parsed, what is between them is a JSON string by the grammar (RFC 8259, section 7). A read full of
such events is thus split once instead of parsed event by event.
"""

import orjson

from cmw_agent.llm.chunks import Chunk
from cmw_agent.llm.merging import extras_of, text_in, with_text

# Bytes that end a JSON string or must be escaped in it.
NOT_PLAIN = bytes(range(0x20)) + b'"\\'


class Template:
    """The bytes around the text that all text events of one stream share.

    Attributes:
        field: Name of the delta's field that has the text.
    """

    def __init__(self, head: bytes, tail: bytes, field: str, chunk: Chunk) -> None:
        self.field = field
        self._head = head
        self._tail = tail
        self._separator = tail + head
        # Without id, model and the like: nothing behind the parser reads them, and a copy for each
        # run costs as much as the rest of it.
        self._chunk: Chunk = {**extras_of(chunk), "choices": chunk["choices"]}

    @classmethod
    def of(cls, line: bytes, end: bytes, payload: bytes, chunk: Chunk) -> "Template | None":
        """Return the template of a text event, or None when it has no plain text.

        Args:
            line: The event's line, which ends with its payload.
            end: What stands between this line and the next event's.
            payload: The event's JSON.
            chunk: The parsed payload.
        """
        found = text_in(chunk)
        if found is None or not found[1]:
            return None
        field = found[0]
        key = b'"%b":"' % field.encode()
        if payload.count(key) != 1 or not line.endswith(payload):
            return None
        start = payload.index(key) + len(key)
        stop = payload.find(b'"', start)
        head, tail = payload[:start], payload[stop:]
        try:
            # Checks that the key found is the delta's and not another field of that name.
            probe = orjson.loads(head + b"?" + tail)
        except orjson.JSONDecodeError:
            return None
        if probe != with_text(chunk, field, "?", keep=True):
            return None
        prefix = line[: len(line) - len(payload)]
        return cls(prefix + head, tail + end, field, chunk)

    def fits(self, line: bytes) -> bool:
        """Return whether an event's line begins as those of this template do."""
        return line.startswith(self._head)

    def consume(self, data: bytes, chunks: list[Chunk]) -> bytes:
        """Append the text events at the start of `data` to `chunks` as one; return the rest."""
        end = data.rfind(self._tail)
        if end < 0 or not data.startswith(self._head):
            return data
        text = self._text(data[len(self._head) : end])
        if text is None:
            return data
        chunks.append(with_text(self._chunk, self.field, text))
        return data[end + len(self._tail) :]

    def _text(self, run: bytes) -> str | None:
        """Return the text of a run of events; None where one of them is not of this template."""
        plain = run.replace(self._separator, b"")
        if _is_plain(plain):
            try:
                return plain.decode()
            except UnicodeDecodeError:
                return None
        # As a list, of as many strings as there are events: a quotation mark that ends a string
        # within an event, or a backslash before a separator, makes another list or no JSON.
        try:
            texts = orjson.loads(b'["%b"]' % run.replace(self._separator, b'","'))
        except orjson.JSONDecodeError:
            return None
        is_run = len(texts) == 1 + run.count(self._separator)
        return "".join(texts) if is_run and all(type(text) is str for text in texts) else None


def _is_plain(text: bytes) -> bool:
    return len(text.translate(None, NOT_PLAIN)) == len(text)
