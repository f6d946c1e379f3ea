"""Cases of bytes that a reader must understand, and of what is more than text."""

import json

from tests.doubles.raw_endpoint import RawReply
from tests.hostile.endpoints.case import (
    Case,
    chunk,
    document,
    ended,
    said,
    stream,
    whole,
)

SMILE = "\U0001f600"


def _bytes(name: str, *pieces: bytes, text: str = "Hello you", source: str = "",
           stays_open: bool = False) -> Case:  # fmt: skip
    return Case(name, [RawReply(pieces, stays_open=stays_open)], text, source=source)


_whole = b"".join(whole("Hello ", "you").pieces)
_json = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello you"},
         "finish_reason": "stop"}], "usage": {"prompt_tokens": 1, "completion_tokens": 2}}  # fmt: skip
_split = json.dumps({"choices": [{"index": 0, "delta": {"content": "Hello you"}}]}, indent=1)
_end = b"".join(ended())


def _content(raw: str) -> bytes:
    return b'data: {"choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % raw.encode()


_utf8 = SMILE.encode()
_head = b'data: {"choices":[{"index":0,"delta":{"content":"'
_tail = b'"}}]}\n\n'
_nan = chunk({"content": "Hello you"}).replace(
    b'"finish_reason"',
    b'"logprobs": {"content": [{"logprob": -Infinity, "x": NaN}]}, "finish_reason"',
)
_big = chunk({"content": "Hello you"}, None, padding="x" * 5_000_000)

READER = [
    _bytes("read-plain", _whole),
    _bytes("read-bom", b"\xef\xbb\xbf" + _whole, source="WHATWG"),
    _bytes("read-cr", _whole.replace(b"\n", b"\r"), source="WHATWG"),
    _bytes("read-crlf", _whole.replace(b"\n", b"\r\n")),
    _bytes("read-unknown-field", b"x-field: 1\nfoo\n" + _whole, source="WHATWG"),
    _bytes("read-lines", b"".join(b"data: %b\n" % line.encode() for line in _split.splitlines())
           + b"\n" + _end, source="WHATWG"),
    _bytes("read-comment", b": hi\n\n" + _whole + b": bye\n\n"),
    _bytes("read-data-comment", b"data: : comment\n\n" + _whole),
    _bytes("read-no-newline", _whole.rstrip(b"\n")),
    _bytes("read-no-newline-finish", b"".join([*said("Hello you"), chunk({}, "stop")]).rstrip()),
    _bytes("read-surrogates", _content("Hello \\ud83d"), _content("\\ude00"), _end,
           text=f"Hello {SMILE}", source="eliza#30904"),
    _bytes("read-lone-surrogate", _content("Hello \\ud83d"), _content("you"), _end,
           text="Hello \ufffdyou"),
    _bytes("read-utf8", _head + b"Hello " + _utf8[:2] + _tail, _head + _utf8[2:] + _tail, _end,
           text=f"Hello {SMILE}", source="sglang#2955"),
    _bytes("read-infinity", _nan, _end),
    _bytes("read-5mb", _big, _end),
    _bytes("read-letters", *(bytes([byte]) for byte in _whole)),
    Case("read-json", [document(_json)], "Hello you", source="opencodex#3770"),
    Case("read-json-as-stream", [RawReply([json.dumps(_json).encode()])], "Hello you"),
    _bytes("read-open", b"".join([*said("Hello you"), chunk({}, "stop")]), stays_open=True,
           source="claude-code-router#1271"),
    _bytes("read-open-done", _whole, stays_open=True),
    Case("read-html", [RawReply([b"<html><body>Welcome</body></html>"], 200,
         {"content-type": "text/html"})], "", "failed", None),
    Case("read-lying-length", [RawReply([_whole], 200, {"content-length": "9999999"})],
         "Hello you"),
    Case("read-short-length", [RawReply([_whole], 200, {"content-length": "40"})], "", "failed",
         None, requests=1),
]  # fmt: skip

_annotation = {"type": "url_citation", "url_citation": {"url": "https://a.example/", "title": "A"}}
_pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNg+M9QDwADgQF/e5IkGQAAAABJRU5ErkJggg=="
_picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{_pixel}"}}
MORE = [
    Case("more-annotations", [stream(said("Hello you"), chunk({"annotations": [_annotation]}),
         ended())], "Hello you", source="LibreChat#9514"),
    Case("more-citations", [stream(chunk({"content": "Hello you"}, None,
         citations=["https://a.example/"]), ended())], "Hello you"),
    Case("more-picture", [stream(said("Hello you"), chunk({"images": [_picture]}), ended())],
         "Hello you"),
    Case("more-usage", [stream(chunk({"content": "Hello you"}, None, usage={"prompt_tokens": 5,
         "completion_tokens": 2}), ended(usage={}))], "Hello you"),
]  # fmt: skip

CASES: list[Case] = [*READER, *MORE]
