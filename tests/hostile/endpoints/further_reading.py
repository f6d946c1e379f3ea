"""Further cases of bytes between which the answer stands, and of what comes beside its text."""

import gzip
import json
import zlib
from collections.abc import Sequence

from tests.doubles.raw_endpoint import RawReply
from tests.hostile.endpoints.case import (
    DONE,
    Case,
    chunk,
    document,
    ended,
    event,
    said,
    stream,
    whole,
)

FINE = "All is well."
WHOLE = b"".join(whole("All ", "is well.").pieces)
SMILE = "\U0001f600"


def _read(name: str, *pieces: bytes, text: str = FINE, stays_open: bool = False, source: str = "",
          **headers: str) -> Case:  # fmt: skip
    names = {key.replace("_", "-"): value for key, value in headers.items()}
    return Case(name, [RawReply(pieces, headers=names, stays_open=stays_open)], text, source=source)


def _raw(**delta: object) -> bytes:
    return json.dumps({"choices": [{"index": 0, "delta": delta}]}).encode()


_all, _well, _stop = (
    _raw(content="All "),
    _raw(content="is well."),
    json.dumps({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}).encode(),
)
_pretty = json.dumps({"choices": [{"index": 0, "message": {"role": "assistant", "content": FINE},
                      "finish_reason": "stop"}]}, indent=2).encode()  # fmt: skip
_big = {"choices": [{"index": 0, "delta": {"content": FINE}, "logprobs": {"x": "y" * 6_000_000}}]}
_smile = json.dumps({"choices": [{"index": 0, "delta": {"content": f"Hi {SMILE}"}}]},
                    ensure_ascii=False).encode()  # fmt: skip

READER = [
    _read("read2-bom-crlf", b"\xef\xbb\xbf" + WHOLE.replace(b"\n", b"\r\n")),
    _read("read2-cr", WHOLE.replace(b"\n", b"\r")),
    _read("read2-cr-pieces", *(WHOLE.replace(b"\n", b"\r")[n : n + 7] for n in range(0, len(WHOLE), 7))),
    _read("read2-one-newline", WHOLE.replace(b"\n\n", b"\n")),
    _read("read2-indented", b"".join(b" data: " + part + b"\n\n" for part in (_all, _well, _stop))),
    _read("read2-upper", b"".join(b"data:\t" + part + b"\n\n" for part in (_all, _well, _stop)) + DONE),
    _read("read2-multi-line", b"data: {\"choices\": [{\"index\": 0,\ndata: \"delta\": {\"content\": "
          b"\"All is well.\"},\ndata: \"finish_reason\": \"stop\"}]}\n\n" + DONE),
    _read("read2-comment-in-data", b"data: : keep-alive\n\n" + WHOLE),
    _read("read2-keepalive-amid", *(piece for part in (b"data: " + _all, b"data: " + _well, b"data: "
          + _stop) for piece in (part + b"\n\n", b": OPENROUTER PROCESSING\n\n", b":\n\n"))),
    _read("read2-unknown-fields", b"id: 1\nretry: 10\nfoo: bar\nfoo\n" + WHOLE),
    _read("read2-event-names", WHOLE.replace(b"data: {", b"event: completion.chunk\ndata: {")),
    _read("read2-message-event", WHOLE.replace(b"data: {", b"event: message\ndata: {")),
    _read("read2-done-event", b"data: " + _all + b"\n\ndata: " + _well + b"\n\ndata: " + _stop
          + b"\n\nevent: done\ndata: {}\n\n"),
    _read("read2-done-json", b"data: " + _all + b"\n\ndata: " + _well + b"\n\ndata: " + _stop
          + b'\n\ndata: "[DONE]"\n\n'),
    _read("read2-done-lower", WHOLE.replace(b"[DONE]", b"[done]")),
    _read("read2-no-last-newline", WHOLE.rstrip(b"\n")),
    _read("read2-no-done-no-newline", b"data: " + _all + b"\n\ndata: " + _well + b"\n\ndata: " + _stop),
    _read("read2-open-usage", WHOLE.replace(DONE, b"") + event({"choices": [], "usage":
          {"prompt_tokens": 3, "completion_tokens": 2}}), stays_open=True),
    _read("read2-gzip", gzip.compress(WHOLE), content_encoding="gzip"),
    _read("read2-deflate", zlib.compress(WHOLE), content_encoding="deflate"),
    _read("read2-gzip-pieces", *(gzip.compress(WHOLE)[n : n + 5] for n in range(0, 400, 5)),
          content_encoding="gzip"),
    _read("read2-identity", WHOLE, content_encoding="identity"),
    _read("read2-pretty-json", _pretty, content_type="application/json"),
    _read("read2-pretty-json-stream", _pretty),
    _read("read2-json-data-event", b"data: " + json.dumps(json.loads(_pretty)).encode() + b"\n\n"),
    _read("read2-json-array", b"[" + b",\n".join((_all, _well, _stop)) + b"]",
          content_type="application/json", source="gemini without alt=sse"),
    _read("read2-big", b"data: " + json.dumps(_big).encode() + b"\n\ndata: " + _stop + b"\n\n" + DONE),
    _read("read2-smile-bytes", *(bytes([byte]) for byte in b"data: " + _smile + b"\n\ndata: " + _stop
          + b"\n\n"), text=f"Hi {SMILE}"),
    _read("read2-surrogates-three", *(b'data: {"choices":[{"index":0,"delta":{"content":"' + half
          + b'"}}]}\n\n' for half in (b"Hi ", b"\\ud83d", b"\\ude00")), b"data: " + _stop + b"\n\n",
          text=f"Hi {SMILE}"),
    _read("read2-lone-at-end", b'data: {"choices":[{"index":0,"delta":{"content":"Hi \\ud83d"}}]}\n\n',
          b"data: " + _stop + b"\n\n", text="Hi \ufffd"),
    _read("read2-nul", b'data: {"choices":[{"index":0,"delta":{"content":"All\\u0000 is well."}}]}\n\n'
          b"data: " + _stop + b"\n\n", text="All\ufffd is well."),
    _read("read2-infinity", b'data: {"choices":[{"index":0,"delta":{"content":"All is well."},'
          b'"logprobs":{"x":[Infinity,-Infinity,NaN]}}]}\n\ndata: ' + _stop + b"\n\n"),
    _read("read2-control-in-string", b'data: {"choices":[{"index":0,"delta":{"content":"All is\twell."'
          b"}}]}\n\ndata: " + _stop + b"\n\n", text="All is\twell."),
    _read("read2-text-completion", b'data: {"object":"text_completion","choices":[{"index":0,"text":'
          b'"All is well.","finish_reason":"stop"}]}\n\n' + DONE),
    _read("read2-index-missing", b'data: {"choices":[{"delta":{"content":"All is well."}}]}\n\n'
          b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'),
    _read("read2-delta-and-message", event({"choices": [{"index": 0, "delta": {"content": "All "},
          "message": {"content": "All "}}]}), event({"choices": [{"index": 0, "delta": {"content":
          "is well."}, "message": {"content": FINE}, "finish_reason": "stop"}]}), DONE),
    _read("read2-whole-at-end", event({"choices": [{"index": 0, "delta": {"content": FINE}}]}),
          event({"object": "chat.completion", "choices": [{"index": 0, "message": {"role": "assistant",
          "content": FINE}, "finish_reason": "stop"}]}), DONE, source="perplexity"),
    _read("read2-content-object", event({"choices": [{"index": 0, "delta": {"content": {"type": "text",
          "text": FINE}}}]}), b"data: " + _stop + b"\n\n"),
    _read("read2-content-strings", event({"choices": [{"index": 0, "delta": {"content": ["All ",
          "is well."]}}]}), b"data: " + _stop + b"\n\n"),
    Case("read2-302-html", [RawReply([b"<!DOCTYPE html><html>Sign in</html>"], 200,
         {"content-type": "text/html"})], "", "failed", None, notice="not an answer"),
    Case("read2-html-as-sse", [RawReply([b"<html><body>504 Gateway Time-out</body></html>"])], "",
         "failed", None),
    Case("read2-empty-json", [document({})], "", "failed", None, requests=1),
    Case("read2-null-json", [document(b"null")], "", "failed", None),
    Case("read2-models-list", [document({"object": "list", "data": []})], "", "failed", None),
]  # fmt: skip

_link = {"type": "url_citation", "url_citation": {"url": "https://a.example/", "title": "A"}}
_pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNg+M9QDwADgQF/e5IkGQAAAABJRU5ErkJggg=="
_url = f"data:image/png;base64,{_pixel}"
MORE = [
    Case("more2-search-results", [stream(chunk({"content": FINE}, None, search_results=[{"title": "A",
         "url": "https://a.example/", "date": None}]), ended())], FINE),
    Case("more2-citations-each", [stream(chunk({"content": "All "}, None, citations=[
         "https://a.example/"]), chunk({"content": "is well."}, None, citations=["https://a.example/"]),
         ended())], FINE),
    Case("more2-flat-annotation", [stream(said(FINE), chunk({"annotations": [{"type": "url_citation",
         "url": "https://a.example/", "title": "A"}]}), ended())], FINE),
    Case("more2-annotations-null", [stream(chunk({"content": FINE, "annotations": None}),
         chunk({"annotations": []}), ended())], FINE),
    Case("more2-bad-link", [stream(said(FINE), chunk({"annotations": [{"type": "url_citation",
         "url_citation": {"url": "javascript:alert(1)", "title": "<b>x</b>"}}, 7, None, _link]}),
         ended())], FINE),
    Case("more2-file-citation", [stream(said(FINE), chunk({"annotations": [{"type": "file_citation",
         "file_id": "f"}]}), ended())], FINE),
    Case("more2-picture-only", [stream(chunk({"images": [{"type": "image_url", "image_url":
         {"url": _url}}]}), ended())], ""),
    Case("more2-picture-string", [stream(said(FINE), chunk({"images": [_url]}), ended())], FINE),
    Case("more2-usage-null", [stream(chunk({"content": FINE}, None, usage=None), ended(usage=None))],
         FINE),
    Case("more2-usage-zero-late", [stream(chunk({"content": FINE}, None, usage={"prompt_tokens": 9,
         "completion_tokens": 3, "total_tokens": 12}), ended(usage={"prompt_tokens": 0,
         "completion_tokens": 0, "total_tokens": 0}))], FINE),
    Case("more2-usage-negative", [stream(said(FINE), ended(usage={"prompt_tokens": -5,
         "completion_tokens": 10**30}))], FINE),
    Case("more2-usage-x-groq", [stream(said(FINE), ended(x_groq={"usage": {"prompt_tokens": 5,
         "completion_tokens": 2}}))], FINE),
    Case("more2-audio-null", [stream(chunk({"content": FINE, "audio": None, "refusal": None,
         "function_call": None, "tool_calls": None}), ended())], FINE),
    Case("more2-refusal-and-text", [stream(chunk({"content": "I am sorry: "}),
         chunk({"refusal": "no."}), ended())], "I am sorry: no."),
    Case("more2-refusal-json", [document({"choices": [{"index": 0, "finish_reason": "stop", "message":
         {"role": "assistant", "content": None, "refusal": "I cannot."}}]})], "I cannot."),
    Case("more2-prompt-logprobs", [stream(chunk({"content": FINE}, None, prompt_logprobs=None,
         kv_transfer_params=None, timings={"x": 1}), ended())], FINE),
]  # fmt: skip

CASES: Sequence[Case] = [*READER, *MORE]
