"""Parses server-sent events of chat completions and merges their deltas."""

from typing import Any

import orjson

from cmw_agent.llm.http_client import NotAStreamError, StreamRefusedError, UpstreamError

Chunk = dict[str, Any]


MAX_EVENT = 4_194_304  # bytes; no server sends one event this long


# what stands in a JSON string only in an escaped form, or ends it
NOT_PLAIN = bytes(range(0x20)) + b'"\\'


TEXT_KEY = b'"content":"'


FRAMES_TRIED = 4  # a server that writes each event differently is parsed event by event


class SSEParser:
    """Turns bytes, however they are cut, into the chunks of ``data:`` lines.

    `fault` is set when a line is not one of server-sent events, is no chunk, or reports an
    error; what came before it is still returned, and nothing after it.
    """

    def __init__(self) -> None:
        self._rest: list[bytes] = []  # the pieces of a line without its end
        self._rest_length = 0
        self._frame: _Frame | None = None
        self._tries_left = FRAMES_TRIED
        self.done = False
        self.empty = True
        self.fault: UpstreamError | None = None

    def feed(self, data: bytes) -> list[Chunk]:
        """Return the chunks that are whole with `data`."""
        chunks: list[Chunk] = []
        if self._rest:
            # Joined once a line ends: a long event that trickles is not copied for each piece.
            self._rest.append(data)
            self._rest_length += len(data)
            if b"\n" not in data and self._rest_length <= MAX_EVENT:
                return chunks
            data = b"".join(self._rest)
        if self._frame is not None:
            data = self._frame.take(data, chunks)
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
                    chunks.append(self._parse(payload))
            elif line and not line.startswith((b":", b"event:", b"id:", b"retry:")):
                raise NotAStreamError
        if len(rest) > MAX_EVENT:
            raise NotAStreamError

    def _parse(self, payload: bytes) -> Chunk:
        try:
            chunk = orjson.loads(payload)
        except orjson.JSONDecodeError as error:
            raise NotAStreamError from error
        if not isinstance(chunk, dict):
            raise NotAStreamError
        if chunk.get("error"):
            raise StreamRefusedError
        if not _has_shape(chunk):
            raise NotAStreamError
        self.empty = False
        if self._tries_left:
            self._learn(payload, chunk)
        return chunk

    def _learn(self, payload: bytes, chunk: Chunk) -> None:
        frame = _Frame.around(payload, chunk)
        if frame is not None:
            self._frame = frame
            self._tries_left -= 1


class _Frame:
    """What the text events of one stream have in common: all but their text.

    A server writes the same bytes around each piece of text. Where they are the same as
    around a piece that was parsed, and nothing in between needs unescaping, what is in
    between is the text, by the grammar of JSON strings (RFC 8259, section 7): so a read
    full of such events is split once instead of parsed event by event.
    """

    def __init__(self, head: bytes, tail: bytes, chunk: Chunk) -> None:
        self._head = b"data: " + head
        self._tail = tail + b"\n\n"
        self._between = self._tail + self._head
        self._chunk = chunk

    @classmethod
    def around(cls, payload: bytes, chunk: Chunk) -> "_Frame | None":
        """Return the frame of a text event, or None when it has no plain text."""
        text = _plain_text(chunk)
        if not text or payload.count(TEXT_KEY) != 1:
            return None
        start = payload.index(TEXT_KEY) + len(TEXT_KEY)
        end = payload.index(b'"', start)
        head, tail = payload[:start], payload[end:]
        try:
            # Is that the text's place, and nothing else's of the same name?
            probe = orjson.loads(head + b"?" + tail)
        except orjson.JSONDecodeError:
            return None
        return cls(head, tail, chunk) if probe == _with_text(chunk, "?", keep=True) else None

    def take(self, data: bytes, chunks: list[Chunk]) -> bytes:
        """Add the run of text events that `data` begins with as one chunk; return the rest."""
        end = data.rfind(self._tail)
        if end < 0 or not data.startswith(self._head):
            return data
        plain = data[len(self._head) : end].replace(self._between, b"")
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
    """Merges runs of plain text deltas; all else passes through in its place."""

    def __init__(self) -> None:
        self.started = False
        self.finished = False

    def merge(self, chunks: list[Chunk]) -> list[Chunk]:
        """Return `chunks` with each run of plain text as one chunk."""
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
    """Return the text of a chunk that holds nothing else, or None."""
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
