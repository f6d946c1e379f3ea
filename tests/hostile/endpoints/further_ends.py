"""Further cases of answers that end blank, cut, refused or with an error, in gateways' dialects."""

from collections.abc import Sequence

from tests.doubles.raw_endpoint import RawReply
from tests.hostile.endpoints.case import (
    CALL,
    DONE,
    SUM,
    Case,
    calling,
    chunk,
    document,
    ended,
    event,
    piece,
    said,
    stream,
    whole,
)

FINE = "All is well."


def _failed(name: str, *pieces: bytes | Sequence[bytes], text: str = "", requests: int = 1,
            notice: str = "", finish: str | None = None, thinking: str | None = None,
            source: str = "") -> Case:  # fmt: skip
    status = "interrupted" if text else "failed"
    return Case(name, [stream(*pieces)], text, status, finish, requests=requests, notice=notice,
                thinking=thinking, source=source)  # fmt: skip


def _json(message: object, finish: str | None = "stop", **more: object) -> RawReply:
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return document({"object": "chat.completion", "choices": [choice], **more})


BLANK = [
    _failed("blank2-zero-width", said("\u200b\ufeff"), ended()),
    _failed("blank2-newlines-thought", chunk({"reasoning_content": "\n"}), ended()),
    _failed("blank2-eos-only", said(""), ended("")),
    _failed("blank2-list", chunk({"content": []}), ended()),
    _failed("blank2-empty-part", chunk({"content": [{"type": "text", "text": ""}]}), ended()),
    Case("blank2-json", [_json({"role": "assistant", "content": ""})], status="failed", finish=None),
    Case("blank2-json-null", [_json({"role": "assistant", "content": None})], status="failed",
         finish=None),
    Case("blank2-json-no-message", [document({"object": "chat.completion", "choices":
         [{"index": 0, "finish_reason": "stop"}]})], status="failed", finish=None),
    Case("blank2-json-no-choices", [document({"id": "x", "object": "chat.completion",
         "choices": []})], status="failed", finish=None, source="gemini: candidates missing"),
    Case("blank2-json-null-choices", [document({"id": "", "object": "", "choices": None,
         "usage": {"prompt_tokens": 3, "completion_tokens": 0}})], status="failed", finish=None, requests=3,
         source="openrouter: choices null"),
    _failed("blank2-think-tags", said("<think>\n\n</think>\n\n"), ended()),
    _failed("blank2-reasoning-null-text", chunk({"reasoning": "I wonder", "content": None}), ended(),
            thinking="I wonder"),
    _failed("blank2-safety", chunk({"role": "assistant", "content": ""}), ended("SAFETY"),
            notice="withh"),
    _failed("blank2-prompt-blocked", event({"choices": [], "promptFeedback":
            {"blockReason": "PROHIBITED_CONTENT"}}), DONE),
    _failed("blank2-malformed-call", chunk({"role": "assistant"}), ended("malformed_function_call")),
    _failed("blank2-function-filter", chunk({"role": "assistant"}),
            ended("function_call_filter: MALFORMED_FUNCTION_CALL"), source="gemini openai layer"),
    Case("blank2-then-tool", [stream(calling(CALL), ended("tool_calls")), stream(DONE)], "",
         "interrupted", None, tools=[("calculate", True)], requests=2),
    Case("blank2-filter-after-tool", [stream(calling(CALL), ended("tool_calls")),
         stream(ended("content_filter"))], "", "interrupted", None, tools=[("calculate", True)],
         requests=2, notice="withh"),
]  # fmt: skip

ERRORS = [
    _failed("error2-502-inside", event({"error": {"code": 502, "message": "Provider returned error"}}),
            DONE, requests=3, notice="server"),
    _failed("error2-429-inside", event({"error": {"message": "rate limited",
            "code": "rate_limit_exceeded"}}), requests=3, notice="busy", source="new-api#6643"),
    _failed("error2-429-text", said("Half"), event({"error": {"message": "Too many requests",
            "code": 429}}), text="Half", notice="busy"),
    _failed("error2-anthropic-overloaded", b"event: error\ndata: {\"type\":\"error\",\"error\":"
            b"{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n", requests=3,
            notice="busy"),
    _failed("error2-errors-list", event({"errors": [{"message": "AiError: bad input", "code": 5006}],
            "success": False}), requests=3),
    _failed("error2-base-resp", event({"base_resp": {"status_code": 1008,
            "status_msg": "insufficient balance"}}), notice="credit", source="minimax"),
    _failed("error2-code-msg", event({"code": 500, "msg": "internal"}), requests=3),
    _failed("error2-long-inside", event({"error": {"message": "context length exceeded",
            "code": "context_length_exceeded"}}), notice="longer than the model"),
    _failed("error2-moderated-inside", said("Half"), event({"error": {"message":
            "Output data may contain inappropriate content.", "code": "data_inspection_failed"}}),
            text="Half", notice="content rules", source="dashscope"),
    _failed("error2-nested-string", event({"error": "{\"message\": \"invalid\", \"code\": 400}"})),
    _failed("error2-choice-null-delta", event({"choices": [{"index": 0, "delta": None,
            "finish_reason": "error", "error": {"message": "no"}}]}), DONE, requests=3),
    _failed("error2-error-finish-usage", said("Half"), ended("error", usage={"prompt_tokens": 1}),
            text="Half", finish="error", notice="error"),
    _failed("error2-data-error-plain", b"data: error: upstream timed out\n\n", requests=3),
    _failed("error2-error-field-line", b"error: {\"message\": \"no\", \"code\": 400}\n\n"),
    _failed("error2-after-thoughts", chunk({"reasoning_content": "I wonder"}),
            event({"error": {"message": "no", "code": 400}}), thinking="I wonder"),
    _failed("error2-json-200-quota", [(b'{"error":{"message":"Insufficient Balance",'
            b'"type":"unknown_error"}}')], notice="credit"),
    _failed("error2-detail-list", event({"detail": [{"loc": ["body", "x"], "msg": "field required"}]}
            ), requests=3),
    _failed("error2-after-finish", said(FINE), chunk({}, "length"),
            event({"error": {"message": "no", "code": 400}}), text=FINE),
]  # fmt: skip

CUT = [
    _failed("cut2-length-with-text", said("Half"), [chunk({"content": " an"}, "length"), DONE],
            text="Half an", finish="length", notice="Continue", source="vllm#35705"),
    _failed("cut2-json-length", _json({"role": "assistant", "content": "Half"}, "length").pieces,
            text="Half", finish="length", notice="Continue"),
    _failed("cut2-json-filter", _json({"role": "assistant", "content": "Half"},
            "content_filter").pieces, text="Half", finish="content_filter", notice="withheld"),
    _failed("cut2-recitation-text", said("Half"), ended("RECITATION"), text="Half",
            finish="content_filter", notice="withheld"),
    _failed("cut2-stop-then-length", said("Half"), chunk({}, "stop"), ended("length"), text="Half",
            finish="length", notice="Continue"),
    _failed("cut2-native", said("Half"), [chunk({}, "length"), chunk({"content": ""}, "stop"), DONE],
            text="Half", finish="length", notice="Continue"),
    _failed("cut2-thoughts-then-half", chunk({"reasoning_content": "I wonder"}), said("Half"),
            ended("length"), text="Half", finish="length", notice="Continue", thinking="I wonder"),
    _failed("cut2-unclosed-think", said("<think>I wonder"), ended("length"), thinking="I wonder",
            notice="thinking"),
    _failed("cut2-half-event", said("Half an"), b'data: {"choices":[{"delta":{"conte', text="Half an",
            notice="broke"),
    _failed("cut2-null-finish", said("All of it"), [chunk({}, None), DONE], text="All of it",
            finish="missing", notice="did not say"),
    _failed("cut2-json-no-finish", _json({"role": "assistant", "content": "All of it"}, None).pieces,
            text="All of it", finish="missing", notice="did not say"),
    Case("cut2-two-finishes", [stream(said(FINE), chunk({}, "stop"), ended("stop"))], FINE),
    Case("cut2-text-after-finish", [stream(said("All is "), chunk({}, "stop"), said("well."), DONE)],
         FINE),
]  # fmt: skip


def _cut_call(
    name: str, *pieces: bytes | Sequence[bytes], text: str = "", notice: str = ""
) -> Case:
    status, finish = ("interrupted", "length") if text else ("failed", None)
    return Case(name, [stream(*pieces), whole("Well")], text, status, finish, notice=notice)


CUT_CALLS = [
    _cut_call("cutcall2-second-cut", calling(CALL), calling(piece("calculate", '{"expr', index=1,
              id="b")), ended("length")),
    _cut_call("cutcall2-max-tokens", calling(piece("calculate", '{"expression": "1', index=0,
              id="a")), ended("max_tokens")),
    _cut_call("cutcall2-filter", calling(CALL), ended("content_filter"), notice="withh"),
    _cut_call("cutcall2-name-only", calling(piece("calculate", index=0, id="a")), ended("length")),
    _cut_call("cutcall2-json", _json({"role": "assistant", "content": None, "tool_calls": [CALL]},
              "length").pieces),
    _cut_call("cutcall2-text-tag", said('<tool_call>{"name": "calculate", "arg'), ended("length")),
    Case("cutcall2-closed", [stream(calling(piece("calculate", '{"expression": "12+3', index=0,
         id="a")))], "", "failed", None, requests=1, notice="broke"),
    Case("cutcall2-closed-whole", [stream(calling(CALL))], "", "failed", None, requests=1,
         notice="broke"),
    Case("cutcall2-error-after", [stream(calling(CALL), event({"error": {"message": "no",
         "code": 400}}))], "", "failed", None),
    Case("cutcall2-done-no-finish-cut", [stream(calling(piece("calculate", '{"expression": "12+3',
         index=0, id="a")), DONE), whole("I see")], "I see", requests=2),
    Case("cutcall2-one-of-two", [stream(calling(piece("calculate", SUM, index=0, id="a"),
         piece("calculate", '{"expression": "3+', index=1, id="b")), ended("tool_calls")),
         whole("I see")], "I see", tools=[("calculate", True)], requests=2),
]  # fmt: skip

CASES: Sequence[Case] = [*BLANK, *ERRORS, *CUT, *CUT_CALLS]
