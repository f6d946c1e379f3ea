"""Scripts of the OpenAI double for answers with thoughts, sources, pictures and every kind of end."""

import base64
import random
import struct
import zlib
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from tests.doubles.openai_steps import Plain, Raw, Request, Script, Step, Stop, Text
from tests.doubles.openai_wire import encode, event

THOUGHT = "zebrathought"
SOURCES = [
    {"url": "https://a.example/1", "title": "One"},
    {"url": "https://b.example/2", "title": ""},
]


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> Raw:
    """Return the step that sends one chunk."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    content = {"id": "c1", "object": "chat.completion.chunk", "choices": [choice], **more}
    return Raw(event(encode(content)))


def ending(finish: str | None, *before: Step) -> list[Step]:
    """Return the steps `before`, a finish reason where there is one, and [DONE]."""
    end = [] if finish is None else [chunk({}, finish)]
    return [*(before or [Text(["Half ", "of it"])]), *end, Stop()]


def png(width: int = 2, height: int = 2, color: bytes = b"\xff\0\0") -> bytes:
    """Return a picture; its lines repeat `color`."""

    def part(kind: bytes, content: bytes) -> bytes:
        checked = kind + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    lines = (b"\0" + (color * width)[: 3 * width]) * height
    parts = [part(b"IHDR", head), part(b"IDAT", zlib.compress(lines)), part(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def data_uri(data: bytes, media_type: str = "image/png") -> str:
    """Return bytes as a data URI."""
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def pictured(*uris: str) -> list[Step]:
    """Return the steps of an answer with pictures."""
    return ending("stop", Text(["Here "]), images(*uris))


def images(*uris: str) -> Raw:
    """Return the step that sends pictures."""
    return chunk({"images": [{"type": "image_url", "image_url": {"url": uri}} for uri in uris]})


def citing() -> list[Step]:
    """Return the steps of an answer that cites sources."""
    notes = [
        {"type": "url_citation", "url_citation": source | {"start_index": 0, "end_index": 1}}
        for source in SOURCES
    ]
    return ending("stop", Text(["As they say."]), chunk({"annotations": notes}))


def counted() -> list[Step]:
    """Return the steps of an answer whose usage has details."""
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": 20,
        "total_tokens": 30,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 15},
    }
    return ending("stop", Text(["Yes"]), chunk({}, None, usage=usage))


def thinking() -> list[Step]:
    """Return the steps of an answer with thoughts in a field of their own."""
    thought = [chunk({"reasoning_content": part}) for part in (THOUGHT, " hm")]
    return ending("stop", *thought, Text(["Yes"]))


def unopened() -> list[Step]:
    """Return the steps of an answer whose thoughts end with a tag that nothing opened."""
    return ending("stop", Text([THOUGHT, " hm", "</think>", "Yes"]))


def alternating(request: Request) -> Sequence[Step]:
    """Answer as a server whose template refuses two user messages in a row; "fail" fails."""
    if request.last_user == "fail":
        return [Raw(event(encode({"error": {"message": "no", "code": 400}}))), Stop()]
    roles = [message["role"] for message in request.messages]
    if ("user", "user") in pairwise(roles):
        text = "Conversation roles must alternate user/assistant/user/assistant/..."
        return [Plain(400, encode({"error": {"message": text}}))]
    return ending("stop", Text(["Well"]))


def fixed(*steps: Step) -> Script:
    """Return a script that always gives these steps."""
    return lambda _: steps


ENDS = ("length", "content_filter", "error", "missing")
SCRIPTS: dict[str, Script] = {
    **{reason: fixed(*ending(None if reason == "missing" else reason)) for reason in ENDS},
    "thinking": fixed(*thinking()),
    "unopened": fixed(*unopened()),
    "citing": fixed(*citing()),
    "counted": fixed(*counted()),
    "pictured": fixed(*pictured(data_uri(png()))),
    "no-picture": fixed(*pictured(data_uri(b"%PDF-1.4 no picture"))),
    "damaged-picture": fixed(*pictured(data_uri(png()[:40]))),
    "damaged-picture-alone": fixed(*ending("stop", images(data_uri(png()[:40])))),
    "large-picture": fixed(*pictured(data_uri(png(2048, 1, random.Random(1).randbytes(6144))))),
    "uncounted": fixed(*ending("stop")),
    "alternating": alternating,
}
