"""Parses the server-sent events of streamed chat completions, and merges their text deltas.

Formats: https://html.spec.whatwg.org/multipage/server-sent-events.html and
https://platform.openai.com/docs/api-reference/chat-streaming.
"""

from collections.abc import Callable
from typing import Any

import orjson

from cmw_agent.llm.errors import NotAStreamError, StreamRefusedError, UpstreamError

Chunk = dict[str, Any]
Translate = Callable[[Chunk], list[Chunk]]

MAX_EVENT = 4_194_304  # bytes; no server sends one event this long
# Bytes that end a JSON string or must be escaped in it.
NOT_PLAIN = bytes(range(0x20)) + b'"\\'
TEXT_KEY = b'"content":"'
MAX_TEMPLATES = 4  # a server that formats each event differently is parsed event by event


class SSEParser:
    """Parses a byte stream, split anywhere, into the chunks of its ``data:`` lines.

    Args:
        translate: Turns an event of another interface into chunks.

    Attributes:
        done: The end marker ``[DONE]`` was read.
        empty: No chunk has been parsed so far.
        fault: Set by a line that is not a server-sent event, is not a chunk, or reports an
            error. Chunks before that line are returned, and none after it.
    """

    def __init__(self, translate: Translate | None = None) -> None:
        self._translate = translate
        self._rest: list[bytes] = []  # pieces of an unfinished line
        self._rest_length = 0
        self._template: _Template | None = None
        self._templates_left = MAX_TEMPLATES
        self.done = False
        self.empty = True
        self.fault: UpstreamError | None = None

    def feed(self, data: bytes) -> list[Chunk]:
        """Return the chunks that `data` completes."""
        chunks: list[Chunk] = []
        if self._rest:
            # Joined when a line ends: a long event in small pieces is not copied for each piece.
            self._rest.append(data)
            self._rest_length += len(data)
            if b"\n" not in data and self._rest_length <= MAX_EVENT:
                return chunks
            data = b"".join(self._rest)
        if self._template is not None:
            data = self._template.consume(data, chunks)
        try:
            self._read(data, chunks)
        except UpstreamError as error:
            self.fault = error
        return chunks

    def _read(self, data: bytes, chunks: list[Chunk]) -> None:
        lines = data.split(b"\n")
        rest = lines.pop()
        self._rest, self._rest_length = [rest] if rest else [], len(rest)
        for line in (raw.rstrip(b"\r") for raw in lines):
            if line.startswith(b"data:"):
                payload = line[5:].strip()
                if payload == b"[DONE]":
                    self.done = True
                    break
                if payload:
                    chunks.extend(self._parse(payload))
            elif line and not line.startswith((b":", b"event:", b"id:", b"retry:")):
                raise NotAStreamError
        if len(rest) > MAX_EVENT:
            raise NotAStreamError

    def _parse(self, payload: bytes) -> list[Chunk]:
        try:
            chunk = orjson.loads(payload)
        except orjson.JSONDecodeError as error:
            raise NotAStreamError from error
        if not isinstance(chunk, dict):
            raise NotAStreamError
        if self._translate is None:
            return [self._checked(chunk, payload)]
        return [self._checked(part, b"") for part in self._translate(chunk)]

    def _checked(self, chunk: Chunk, payload: bytes) -> Chunk:
        if chunk.get("error"):
            raise StreamRefusedError
        if not _has_shape(chunk):
            raise NotAStreamError
        self.empty = False
        if self._templates_left:
            self._learn_template(payload, chunk)
        return chunk

    def _learn_template(self, payload: bytes, chunk: Chunk) -> None:
        template = _Template.of(payload, chunk)
        if template is not None:
            self._template = template
            self._templates_left -= 1


class _Template:
    """The bytes around the text that all text events of one stream share.

    A server writes the same bytes around each piece of text. Where they equal those of an
    event that was parsed, and nothing between them needs unescaping, the bytes between them
    are the text, by the grammar of JSON strings (RFC 8259, section 7). A read full of such
    events is thus split once instead of parsed event by event.
    """

    def __init__(self, head: bytes, tail: bytes, chunk: Chunk) -> None:
        self._head = b"data: " + head
        self._tail = tail + b"\n\n"
        self._separator = self._tail + self._head
        self._chunk = chunk

    @classmethod
    def of(cls, payload: bytes, chunk: Chunk) -> "_Template | None":
        """Return the template of a text event, or None when it has no plain text."""
        text = _plain_text(chunk)
        if not text or payload.count(TEXT_KEY) != 1:
            return None
        start = payload.index(TEXT_KEY) + len(TEXT_KEY)
        end = payload.index(b'"', start)
        head, tail = payload[:start], payload[end:]
        try:
            # Checks that the key found is the delta's content and not another field of that name.
            probe = orjson.loads(head + b"?" + tail)
        except orjson.JSONDecodeError:
            return None
        return cls(head, tail, chunk) if probe == _with_text(chunk, "?", keep=True) else None

    def consume(self, data: bytes, chunks: list[Chunk]) -> bytes:
        """Append the text events at the start of `data` to `chunks` as one; return the rest."""
        end = data.rfind(self._tail)
        if end < 0 or not data.startswith(self._head):
            return data
        plain = data[len(self._head) : end].replace(self._separator, b"")
        if not _is_plain(plain):
            return data
        try:
            text = plain.decode()
        except UnicodeDecodeError:
            return data
        chunks.append(_with_text(self._chunk, text))
        return data[end + len(self._tail) :]


def _is_plain(text: bytes) -> bool:
    return len(text.translate(None, NOT_PLAIN)) == len(text)


def _has_shape(chunk: Chunk) -> bool:
    choices = chunk.get("choices") or []
    return isinstance(choices, list) and all(
        isinstance(choice, dict) and isinstance(choice.get("delta") or {}, dict)
        for choice in choices
    )


class Merger:
    """Merges consecutive text deltas; other chunks pass through in order.

    Attributes:
        started: A chunk has been returned.
        finished: A chunk with a finish reason has been seen.
    """

    def __init__(self) -> None:
        self.started = False
        self.finished = False

    def merge(self, chunks: list[Chunk]) -> list[Chunk]:
        """Return `chunks` with consecutive text deltas merged into one chunk."""
        merged: list[Chunk] = []
        texts: list[str] = []
        last: Chunk | None = None
        for chunk in chunks:
            text = _plain_text(chunk)
            self.finished = self.finished or _finish_reason(chunk) is not None
            if text is None:
                if last is not None:
                    merged.append(_with_text(last, "".join(texts)))
                    last, texts = None, []
                merged.append(chunk)
            elif text:
                texts.append(text)
                last = chunk
        if last is not None:
            merged.append(_with_text(last, "".join(texts)))
        self.started = self.started or bool(merged)
        return merged


def _finish_reason(chunk: Chunk) -> Any:
    choices = chunk.get("choices")
    return (choices[0].get("finish_reason") or None) if choices else None


def _plain_text(chunk: Chunk) -> str | None:
    """Return the text of a chunk that contains only text, or None."""
    choices = chunk.get("choices")
    if not choices or chunk.get("usage"):
        return None
    choice = choices[0]
    delta = choice.get("delta") or {}
    if choice.get("finish_reason") or choice.get("logprobs"):
        return None
    if delta.get("tool_calls") or delta.get("function_call"):
        return None
    content = delta.get("content")
    return content if isinstance(content, str) else ""


def _with_text(chunk: Chunk, text: str, *, keep: bool = False) -> Chunk:
    rest = chunk["choices"][0]["delta"] if keep else {"role": "assistant"}
    choice = {**chunk["choices"][0], "delta": {**rest, "content": text}}
    return {**chunk, "choices": [choice, *chunk["choices"][1:]] if keep else [choice]}
