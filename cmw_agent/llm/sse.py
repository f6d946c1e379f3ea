"""Parses the server-sent events of streamed chat completions.

Formats: https://html.spec.whatwg.org/multipage/server-sent-events.html and
https://platform.openai.com/docs/api-reference/chat-streaming. Servers deviate from both; what the
openai SDK reads is read, and what it does not read but can only mean one thing is read too:
events without an empty line between them, a JSON body where events were asked for, one chunk per
line without ``data:``.
"""

from collections.abc import Callable
from typing import Any

from cmw_agent.llm.chunks import (
    Chunk,
    chunks_of,
    has_content,
    has_message,
    read_json,
    without_message,
)
from cmw_agent.llm.errors import (
    NotAStreamError,
    StreamRefusedError,
    TooLargeError,
    UpstreamError,
)
from cmw_agent.llm.merging import text_in
from cmw_agent.llm.sse_template import Template
from cmw_agent.llm.stream_errors import refusal

Translate = Callable[[Chunk], list[Chunk]]

MAX_EVENT = 33_554_432  # bytes
MAX_REPLY = 67_108_864  # bytes of a whole reply
FIRST_PART = 2_048  # bytes of a reply from which a template is learned, where more has come
MAX_ATTEMPTS = 4  # a server that formats each event differently is parsed event by event
BOM = b"\xef\xbb\xbf"
ERROR_EVENTS = frozenset({b"error", b"exception"})
PAGES = (b"<!doctype", b"<html", b"<?xml")
LINE_ENDS = (b"\r\n\r\n", b"\n\n", b"\r\r")


class SSEParser:
    """Parses a byte stream, split anywhere, into chunks. Call `finish` at its end.

    Args:
        translate: Turns an event of another interface into chunks.

    Attributes:
        done: The end marker ``[DONE]`` was read.
        empty: No chunk has been parsed so far.
        only_comments: Nothing but comments has come.
        whole: A whole message was read, from a server that does not stream.
        fault: Set by an event that is no chunk or reports an error, or by too many bytes. Chunks
            before it are returned, and none after it.
    """

    def __init__(self, translate: Translate | None = None) -> None:
        self._translate = translate
        self._rest = bytearray()  # an unfinished line
        self._after_cr = False  # the last line ended with CR: an LF that follows is part of its end
        self._is_first = True
        self._length = 0
        self._event = b""  # name of the current event
        self._data: bytearray | None = None  # of an event in several lines
        self._body: bytearray | None = None  # JSON in lines without `data:`
        self._templates: dict[str, Template] = {}
        self._attempts = 0  # at learning a template in this read
        self._has_deltas = False
        self.done = False
        self.empty = self.only_comments = True
        self.whole = False
        self.fault: UpstreamError | None = None

    def feed(self, data: bytes) -> list[Chunk]:
        """Return the chunks that `data` completes."""
        chunks: list[Chunk] = []
        if not data or self.fault is not None or self.done:
            return chunks
        if not self._length and len(data) > FIRST_PART:
            # What the first events teach is of use for the others of the first read.
            return self.feed(data[:FIRST_PART]) + self.feed(data[FIRST_PART:])
        self._length += len(data)
        if self._after_cr:
            data = data.removeprefix(b"\n")
            self._after_cr = False
        if self._rest:
            # Joined when a line ends: a long event in small pieces is not copied for each piece.
            self._rest.extend(data)
            if b"\n" not in data and b"\r" not in data:
                self._check_length()
                return chunks
            data = bytes(self._rest)
            self._rest.clear()
        if self._templates and self._data is None and self._body is None and not self._event:
            data = data.lstrip(b"\r\n")
            for template in self._templates.values():
                data = template.consume(data, chunks)
            if not data and self._length <= MAX_REPLY:
                return chunks
        self._attempts = 0
        try:
            self._read(data, chunks)
        except UpstreamError as error:
            self.fault = error
        self._check_length()
        return chunks

    def finish(self) -> list[Chunk]:
        """Return the chunks of what came last, where the stream ends without a line end."""
        chunks: list[Chunk] = []
        if self.fault is not None or self.done:
            return chunks
        line = bytes(self._rest)
        self._rest.clear()
        try:
            self._take(line, b"", chunks)
            self._end_event(chunks)
            self._end_body(chunks)
        except NotAStreamError:
            pass  # an event that was cut
        except UpstreamError as error:
            self.fault = error
        return chunks

    def _check_length(self) -> None:
        held = len(self._rest) + len(self._data or b"") + len(self._body or b"")
        if self.fault is None and (held > MAX_EVENT or self._length > MAX_REPLY):
            self.fault = TooLargeError()

    def _read(self, data: bytes, chunks: list[Chunk]) -> None:
        lines = data.splitlines()
        if data and data[-1] not in b"\r\n":
            self._rest.extend(lines.pop())
        self._after_cr = data.endswith(b"\r")
        for line in lines:
            if line:
                self._take(line, data, chunks)
                if self.done:
                    return
            elif self._data is not None or self._event:
                self._end_event(chunks)

    def _take(self, line: bytes, data: bytes, chunks: list[Chunk]) -> None:
        """Read one line of `data`."""
        if self._is_first:
            line = line.removeprefix(BOM)
            self._is_first = False
        if line.startswith(b"data:"):
            self.only_comments = False
            self._take_data(line, data, chunks)
        elif line and not line.startswith(b":"):
            self.only_comments = False
            self._take_other(line.strip(), data, chunks)

    def _take_data(self, line: bytes, data: bytes, chunks: list[Chunk]) -> None:
        payload = line[5:].strip()
        if payload[:1] == b"[" and payload[:6].upper() == b"[DONE]":
            self._end_event(chunks)
            self._end_body(chunks)
            self.done = True
        elif self._data is not None:
            self._data.extend(b"\n" + line[5:])
        elif payload.startswith((b"{", b"[", b'"')):
            if self._body is not None:
                self._end_body(chunks)
            # No object is the beginning of a longer JSON text, so one that is whole is not kept
            # back until the empty line, which some servers never send.
            value = _whole_json(payload)
            if value is None:
                self._data = bytearray(line[5:])
            else:
                self._add(value, chunks)
                if self._attempts < MAX_ATTEMPTS and chunks and not self._event:
                    self._learn_template(line, data, payload, chunks[-1])
        elif payload.startswith(b"data:"):
            self._take_data(payload, data, chunks)
        elif self._event in ERROR_EVENTS or payload[:6].lower().startswith((b"error", b"[error")):
            raise refusal(payload.decode("utf-8", "replace"))

    def _take_other(self, line: bytes, data: bytes, chunks: list[Chunk]) -> None:
        """Read a line that is neither data nor a comment; lines that mean nothing are skipped."""
        name, _, value = line.partition(b":")
        if self._body is None and line.startswith((b"{", b"[")):
            found = _whole_json(line)
            if found is not None:
                self._add(found, chunks)
            else:
                self._body = bytearray(line)
        elif line.startswith(b"data:"):
            self._take_data(line, data, chunks)
        elif self._body is not None:
            self._body.extend(b"\n" + line)
        elif name == b"event":
            self._event = value.strip()
        elif self.empty and line[:9].lower().startswith(PAGES):
            raise NotAStreamError
        elif name == b"error":
            text = value.strip()
            raise refusal(_whole_json(text) or text.decode("utf-8", "replace"))

    def _end_event(self, chunks: list[Chunk]) -> None:
        """Parse an event in several lines."""
        data, self._data = self._data, None
        if data is not None:
            self._add(read_json(bytes(data)), chunks)
        elif self._event in ERROR_EVENTS:
            raise StreamRefusedError
        self._event = b""

    def _end_body(self, chunks: list[Chunk]) -> None:
        """Parse JSON that was not sent as events; what is no JSON after all is skipped."""
        body, self._body = self._body, None
        value = _whole_json(bytes(body).strip()) if body is not None else None
        if value is not None:
            self._add(value, chunks)

    def _add(self, value: Any, chunks: list[Chunk]) -> None:
        if isinstance(value, str) and value.startswith("[DONE]"):
            self.done = True
            return
        if self._event in ERROR_EVENTS:
            raise refusal(value)
        if self._translate is not None and isinstance(value, dict):
            value = self._translate(value)
        for chunk in chunks_of(value):
            self.empty = False
            self.whole = self.whole or chunk.get("object") == "chat.completion"
            if has_message(chunk):
                chunks.append(without_message(chunk) if self._has_deltas else chunk)
            else:
                self._has_deltas = self._has_deltas or has_content(chunk)
                chunks.append(chunk)

    def _learn_template(self, line: bytes, data: bytes, payload: bytes, chunk: Chunk) -> None:
        """Learn from the first text event of a read that is unlike those before it."""
        for template in self._templates.values():
            if template.fits(line):
                return
        found = text_in(chunk)
        if found is None or not found[1]:
            return
        place = data.find(line) + len(line)
        end = next((end for end in LINE_ENDS if data.startswith(end, place)), b"\n\n")
        learned = Template.of(line, end, payload, chunk)
        self._attempts += 1
        if learned is not None:
            self._templates[learned.field] = learned


def _whole_json(text: bytes) -> Any:
    """Return the value of a JSON text; None where it is none."""
    if not text.endswith((b"}", b"]", b'"')):
        return None
    try:
        return read_json(text)
    except NotAStreamError:
        return None
