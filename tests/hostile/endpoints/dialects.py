"""Cases of words, fields and errors that differ from server to server."""

import json
from collections.abc import Sequence

from tests.doubles.raw_endpoint import RawReply
from tests.hostile.endpoints.case import (
    CALL,
    DONE,
    NO_TOOLS,
    SUM,
    Case,
    Requests,
    calling,
    chunk,
    document,
    ended,
    event,
    piece,
    refused,
    said,
    stream,
    tool_results,
    whole,
)

FINE = "All is well."
THOUGHT = "First this, then that."


def _finish(reason: str, finish: str, notice: str = "") -> Case:
    status = "complete" if finish == "stop" else "interrupted"
    replies = [stream(said(FINE), ended(reason))]
    return Case(f"finish-{reason.lower()}", replies, FINE, status, finish, notice=notice)


FINISHES = [
    *(_finish(reason, "stop") for reason in
      ("STOP", "eos", "eos_token", "end_turn", "stop_sequence", "COMPLETE", "tool_calls")),
    *(_finish(reason, "length", "Continue") for reason in
      ("max_tokens", "model_length", "MAX_OUTPUT_TOKENS")),
    *(_finish(reason, "content_filter", "withheld") for reason in
      ("SAFETY", "RECITATION", "sensitive")),
    *(_finish(reason, "error", "error") for reason in
      ("abort", "network_error", "insufficient_system_resource", "MALFORMED_FUNCTION_CALL")),
]  # fmt: skip


def _failed(name: str, *pieces: bytes | list[bytes], text: str = "", requests: int = 1,
            notice: str = "") -> Case:  # fmt: skip
    status = "interrupted" if text else "failed"
    return Case(name, [stream(*pieces)], text, status, None, requests=requests, notice=notice)


_router = {"index": 0, "delta": {"content": ""}, "finish_reason": "error",
           "error": {"code": 400, "message": "Provider returned error"}}  # fmt: skip
FAILURES = [
    _failed("blank-calls-promised", chunk({"role": "assistant"}), ended("tool_calls")),
    _failed("blank-null-delta", event({"choices": [{"index": 0, "delta": None,
            "finish_reason": "stop"}]}), DONE),
    _failed("blank-empty-calls", chunk({"content": "", "tool_calls": []}), ended()),
    _failed("blank-usage", event({"choices": [], "usage": {"prompt_tokens": 1,
            "completion_tokens": 0}}), DONE),
    _failed("error-anthropic", event({"type": "error", "error": {"type":
            "invalid_request_error", "message": "no"}})),
    _failed("error-in-choice", event({"choices": [_router]}), DONE),
    _failed("error-in-choice-text", said("Half"), event({"choices": [_router]}), DONE,
            text="Half"),
    _failed("error-quota-stream", event({"error": {"message": "You exceeded your quota",
            "code": "insufficient_quota"}}), notice="credit"),
    _failed("error-plain-event", b"event: error\ndata: upstream failed\n\n", DONE, requests=3),
]  # fmt: skip
NO_ERRORS = [
    Case(f"error-{name}", [stream(chunk({"content": FINE}, None, error=value), ended())], FINE)
    for name, value in (("null", None), ("empty", ""), ("no-fields", {}), ("false", False))
]


def _results(requests: Requests) -> None:
    assert ["42" in result for result in tool_results(requests[1])] == [True]


def _not_run(requests: Requests) -> None:
    assert ["42" in result for result in tool_results(requests[1])] == [False]


def _call(name: str, *pieces: bytes, ok: bool = True, finish: str = "tool_calls",
          failed: str | None = None) -> Case:  # fmt: skip
    replies = [stream(*pieces, ended(finish)), whole(FINE)]
    tools = [("calculate", True)] if ok else [(failed, False)] if failed else []
    return Case(name, replies, FINE, tools=tools, requests=2, check=_results if ok else _not_run)


CALLS = [
    _call("call-stop", calling(CALL), finish="stop"),
    _call("call-index-one", calling(piece("calculate", SUM, index=1, id="a"))),
    _call("call-name-late", calling(piece(None, '{"expression": ', index=0, id="a")),
          calling(piece("calculate", '"12+30"}', index=0))),
    _call("call-no-type", calling(piece("calculate", SUM, index=0, id="a"))),
    _call("call-spaces", calling(piece("calculate", f" \n{SUM}\n", index=0, id="a"))),
    _call("call-single-quotes", calling(piece("calculate", "{'expression': '12+30'}", index=0,
          id="a")), ok=False),
    _call("call-comma", calling(piece("calculate", '{"expression": "12+30",}', index=0, id="a")),
          ok=False),
    _call("call-two-objects", calling(piece("calculate", SUM + SUM, index=0, id="a")), ok=False),
    _call("call-null-arguments", calling(piece("calculate", "null", index=0, id="a")), ok=False,
          failed="calculate"),
    _call("call-wrong-field", calling(piece("calculate", '{"formula": "12+30"}', index=0,
          id="a")), ok=False, failed="calculate"),
    _call("call-unknown-tool", calling(piece("compute", SUM, index=0, id="a")), ok=False,
          failed="compute"),
    Case("call-with-text", [stream(said("Let me see."), calling(CALL), ended("tool_calls")),
         whole("It is 42.")], "Let me see.\n\nIt is 42.", tools=[("calculate", True)], requests=2,
         check=_results),
    Case("call-no-function", [stream(calling({"index": 0, "id": "a"}), ended("tool_calls")),
         whole(FINE)], FINE, requests=2),
]  # fmt: skip


def _thinks(name: str, *pieces: bytes | list[bytes], text: str = "The answer.") -> Case:
    return Case(name, [stream(*pieces, ended())], text, thinking=THOUGHT)


THOUGHTS = [
    _thinks("think-thinking-tag", said(f"<thinking>{THOUGHT}</thinking>\nThe answer.")),
    _thinks("think-capitals", said(f"<THINK>{THOUGHT}</THINK>The answer.")),
    _thinks("think-empty-strings", chunk({"reasoning_content": THOUGHT, "content": ""}),
            chunk({"reasoning_content": "", "content": "The answer."})),
    _thinks("think-null-content", chunk({"reasoning_content": THOUGHT, "content": None}),
            chunk({"reasoning_content": None, "content": "The answer."})),
    Case("think-empty-tags", [stream(said("<think>\n\n</think>\n\nThe answer."), ended())],
         "The answer."),
    Case("think-closed-at-once", [stream(said("</think>\n\nThe answer."), ended())],
         "The answer."),
    Case("think-after-tool", [stream(calling(CALL), ended("tool_calls")),
         stream(said(f"<think>{THOUGHT}</think>The answer."), ended())], "The answer.",
         thinking=THOUGHT, tools=[("calculate", True)], requests=2),
    Case("think-in-code", [stream(said("```html\n<think>\n</think>\n```"), ended())],
         "```html\n<think>\n</think>\n```"),
    Case("less-than", [stream(said("1 <", " 2 and a <t", "b> c"), ended())],
         "1 < 2 and a <tb> c"),
]  # fmt: skip


def _adapts(name: str, field: str, message: str, status: int = 400) -> Case:
    def check(requests: Requests) -> None:
        assert field in requests[0].body
        assert field not in requests[1].body

    replies = [refused(status, message), whole(FINE)]
    notice = NO_TOOLS if field == "tools" else ""
    return Case(name, replies, FINE, requests=2, learns=1, notice=notice, check=check)


ADAPTED = [
    _adapts("adapt-vllm-tools", "tools", '"auto" tool choice requires --enable-auto-tool-choice '
            "and --tool-call-parser to be set"),
    _adapts("adapt-functions", "tools", "Function calling is not enabled for this model"),
    _adapts("adapt-rust", "stream_options", "Failed to deserialize the JSON body into the target "
            "type: unknown field `stream_options`, expected one of `model`, `messages`", 422),
    _adapts("adapt-go", "safety_identifier", 'json: unknown field "safety_identifier"'),
    _adapts("adapt-extra", "safety_identifier", "Extra inputs are not permitted: "
            "safety_identifier", 422),
    Case("adapt-twice", [refused(400, "stream_options is not supported"),
         refused(400, "registry/m does not support tools"), whole(FINE)], FINE, requests=3, learns=2,
         notice=NO_TOOLS),
    Case("adapt-in-vain", [refused(400, "registry/m does not support tools")], "", "failed", None,
         requests=2),
]  # fmt: skip


def _explained(name: str, notice: str, status: int, body: object, requests: int = 1) -> Case:
    reply = document(body, status)
    return Case(name, [reply], "", "failed", None, notice=notice, requests=requests)


EXPLAINED = [
    _explained("explain-string", "key", 401, {"error": "Unauthorized"}),
    _explained("explain-balance", "credit", 403, {"error": {"message": "Insufficient balance"}}),
    _explained("explain-tgi", "longer than the model", 422, {"error": "Input validation error: `inputs` tokens "
               "+ `max_new_tokens` must be <= 4096. Given: 5000", "error_type": "validation"}),
    _explained("explain-llama", "longer than the model", 400, {"error": {"code": 400, "message": "the request "
               "exceeds the available context size", "type": "exceed_context_size_error"}}),
    _explained("explain-prompt", "longer than the model", 400, {"error": {"message": "prompt is too long: "
               "9000 tokens > 8000 maximum"}}),
    _explained("explain-detail", "model", 404, {"detail": "Model m not found"}),
    _explained("explain-list", "key", 401, [{"error": {"message": "API key not valid"}}]),
    _explained("explain-html", "address", 404, b"<html><h1>404 Not Found</h1></html>"),
    _explained("explain-405", "address", 405, {"detail": "Method Not Allowed"}),
]  # fmt: skip


def _read(name: str, *pieces: bytes, **headers: str) -> Case:
    names = {key.replace("_", "-"): value for key, value in headers.items()}
    return Case(name, [RawReply(pieces, headers=names)], FINE)


_whole = b"".join(whole("All ", "is well.").pieces)
_lines = b"".join(
    json.dumps({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]})
    .encode() + b"\n" for text, finish in (("All ", None), ("is well.", "stop"))
)  # fmt: skip
READ = [
    _read("read-no-space", _whole.replace(b"data: ", b"data:")),
    _read("read-done-twice", _whole + DONE),
    _read("read-ping", b'event: ping\ndata: {"type": "ping"}\n\n' + _whole),
    _read("read-ping-text", b"data: ping\n\n" + _whole),
    _read("read-null", b"data: null\n\n" + _whole),
    _read("read-empty", b"data: \n\ndata:\n\n" + _whole),
    _read("read-plain-text", _whole, content_type="text/plain; charset=utf-8"),
    _read("read-octets", _whole, content_type="application/octet-stream"),
    _read("read-azure", event({"choices": [], "prompt_filter_results": [{}]}) + _whole),
    _read("read-lines-of-json", _lines, content_type="application/x-ndjson"),
    _read("read-comments-only-first", b": OPENROUTER PROCESSING\n\n" * 20, _whole),
    Case("read-nothing-first", [RawReply([]), whole(FINE)], FINE, requests=2),
    Case("read-second-choice", [stream(event({"choices": [{"index": 0, "delta": {"content": FINE}},
         {"index": 1, "delta": {"content": "Other"}}]}), ended())], FINE),
    Case("read-usage-odd", [stream(chunk({"content": FINE}, None, usage={"prompt_tokens": "5",
         "completion_tokens": 2.0, "total_tokens": None}), ended(usage="none"))], FINE),
]  # fmt: skip

CASES: Sequence[Case] = [
    *FINISHES, *FAILURES, *NO_ERRORS, *CALLS, *THOUGHTS, *ADAPTED, *EXPLAINED, *READ,
]  # fmt: skip
