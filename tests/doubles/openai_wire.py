"""Encodes the responses of an OpenAI-compatible endpoint: HTTP, server-sent events, JSON.

All functions are pure.
"""

import json
import secrets
import time
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

LAST_FRAME = b"0\r\n\r\n"
DONE = b"data: [DONE]\n\n"
EVENT_STREAM = "text/event-stream; charset=utf-8"

# Like the real service, text goes out as UTF-8 and not as \\u escapes: a client that cuts the byte
# stream at arbitrary places must cope with a character split in two.
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def encode(value: object) -> bytes:
    """Return `value` as JSON; a lone surrogate, which UTF-8 cannot encode, becomes an escape."""
    try:
        return _ENCODER.encode(value).encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()


def frame(data: bytes) -> bytes:
    """Return `data` as one chunk of a chunked HTTP body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(payload: bytes) -> bytes:
    """Return `payload` as one server-sent event."""
    return b"data: %b\n\n" % payload


def head(status: int, headers: Mapping[str, str]) -> bytes:
    """Return the status line and headers of a response, with the empty line that ends them."""
    known = status in HTTPStatus._value2member_map_
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase if known else 'Unknown'}"]
    lines.extend(f"{name}: {value}" for name, value in headers.items())
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def error_body(message: str, *, kind: str, code: str | None) -> bytes:
    """Return the JSON that the real service sends with a 4xx or 5xx status."""
    return encode({"error": {"message": message, "type": kind, "param": None, "code": code}})


class Completion:
    """Encodes one completion, as chunks or as a whole.

    The chunks of a completion differ only in their tokens, so that the bytes before and after the
    token are made once.
    """

    def __init__(self, model: str, *, with_usage: bool) -> None:
        self.id = f"chatcmpl-{secrets.token_hex(12)}"
        self._with_usage = with_usage
        self._common = {
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": model,
            "service_tier": "default",
            "system_fingerprint": "fp_double",
        }
        marker = secrets.token_hex(16)
        whole = event(encode(self._chunk({"content": marker}, None)))
        self._before, self._after = whole.split(encode(marker))
        self._length = len(self._before) + len(self._after)

    def _chunk(self, delta: Mapping[str, Any], finish_reason: str | None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        chunk = {**self._common, "choices": [choice]}
        return {**chunk, "usage": None} if self._with_usage else chunk

    def token(self, token: str) -> bytes:
        """Return the framed chunk that adds `token` to the answer."""
        content = encode(token)
        length = self._length + len(content)
        return b"%x\r\n%b%b%b\r\n" % (length, self._before, content, self._after)

    def role(self) -> bytes:
        """Return the framed first chunk, which only names the role."""
        return self.delta({"role": "assistant", "content": "", "refusal": None})

    def delta(self, delta: Mapping[str, Any], finish_reason: str | None = None) -> bytes:
        """Return a framed chunk with this delta."""
        return frame(event(encode(self._chunk(delta, finish_reason))))

    def end(self, finish_reason: str, usage: Mapping[str, int]) -> bytes:
        """Return the last framed chunks: finish reason, usage if requested, [DONE], end of body."""
        parts = [self.delta({}, finish_reason)]
        if self._with_usage:
            chunk = {**self._common, "choices": [], "usage": usage}
            parts.append(frame(event(encode(chunk))))
        return b"".join([*parts, frame(DONE), LAST_FRAME])

    def failure(self, message: str) -> bytes:
        """Return an unframed event with an error and an empty choice, as OpenRouter sends it."""
        chunk = self._chunk({"content": ""}, "error")
        error = {"code": "server_error", "message": message}
        return event(encode({**chunk, "provider": "double", "error": error}))

    def whole(
        self,
        content: str | None,
        tool_calls: Sequence[Mapping[str, Any]],
        finish_reason: str | None,
        usage: Mapping[str, int],
    ) -> bytes:
        """Return the JSON body of an answer that is not streamed; without finish reason it has no choice."""
        message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": None}
        if tool_calls:
            message["tool_calls"] = tool_calls
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason}
        answer = {
            **self._common,
            "object": "chat.completion",
            "choices": [choice] if finish_reason else [],
            "usage": usage,
        }
        return encode(answer)
