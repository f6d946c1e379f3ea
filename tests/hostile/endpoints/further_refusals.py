"""Further cases of refused requests: in gateways' own words, and in combination."""

import json
from collections.abc import Callable, Sequence
from email.utils import formatdate

from tests.doubles.raw_endpoint import RawReply
from tests.hostile.endpoints.case import (
    CALL,
    DONE,
    NO_TOOLS,
    Case,
    Requests,
    assistant_calls,
    calling,
    chunk,
    document,
    ended,
    event,
    refused,
    said,
    stream,
    whole,
)

FINE = "All is well."


def _without(field: str) -> Callable[[Requests], None]:
    def check(requests: Requests) -> None:
        assert field in requests[0].body
        assert field not in requests[1].body

    return check


def _no_system(requests: Requests) -> None:
    roles = [message["role"] for message in requests[1].body["messages"]]
    assert "system" not in roles
    assert "helpful" in json.dumps(requests[1].body["messages"])


def _not_streamed(requests: Requests) -> None:
    assert not requests[1].body.get("stream")
    assert "stream_options" not in requests[1].body


def _adapts(name: str, check: Callable[[Requests], None], body: object, status: int = 400,
            reply: RawReply | None = None, notice: str = "") -> Case:  # fmt: skip
    replies = [document(body, status), reply or whole(FINE)]
    return Case(name, replies, FINE, requests=2, learns=1, notice=notice, check=check)


_json = {"choices": [{"index": 0, "message": {"role": "assistant", "content": FINE},
         "finish_reason": "stop"}]}  # fmt: skip


def _error(message: str, **more: object) -> dict[str, object]:
    return {"error": {"message": message, **more}}


ADAPTED = [
    _adapts("adapt2-openrouter-raw", _without("tools"), _error("Provider returned error", code=400,
            metadata={"raw": '{"error": {"message": "This model does not support tools"}}'}), notice=NO_TOOLS),
    _adapts("adapt2-nested-string", _without("stream_options"), {"error": json.dumps(
            _error("stream_options: Extra inputs are not permitted"))}),
    _adapts("adapt2-message-detail", _without("stream_options"), {"object": "error", "message":
            {"detail": [{"type": "extra_forbidden", "loc": ["body", "stream_options"],
            "msg": "Extra inputs are not permitted", "input": {"include_usage": True}}]}}, 422),
    _adapts("adapt2-detail-list", _without("safety_identifier"), {"detail": [{"type":
            "extra_forbidden", "loc": ["body", "safety_identifier"], "msg":
            "Extra inputs are not permitted"}]}, 422),
    _adapts("adapt2-gemini", _without("safety_identifier"), [_error('Invalid JSON payload received. '
            'Unknown name "safety_identifier": Cannot find field.', code=400,
            status="INVALID_ARGUMENT")]),
    _adapts("adapt2-cloudflare", _without("stream_options"), {"errors": [{"message": "AiError: Bad "
            "input: Error: oneOf at '/' not met, additional properties 'stream_options' not allowed",
            "code": 5006}], "success": False}),
    _adapts("adapt2-jinja-500", _without("tools"), _error("tools param requires --jinja flag",
            code=500, type="server_error"), 500, notice=NO_TOOLS),
    _adapts("adapt2-system-500", _no_system, _error("Value is not callable: null at row 1: System "
            "role not supported"), 500),
    _adapts("adapt2-developer", _no_system, [_error("Developer instruction is not enabled for "
            "models/gemma-3-27b-it", status="INVALID_ARGUMENT")]),
    _adapts("adapt2-role-param", _no_system, _error("Unsupported value: 'messages[0].role' does not "
            "support 'system' with this model.", param="messages[0].role", code="unsupported_value")),
    _adapts("adapt2-stream-verified", _not_streamed, _error("Your organization must be verified to "
            "stream this model.", param="stream", code="unsupported_value"), reply=document(_json)),
    _adapts("adapt2-stream-then-sse", _not_streamed, _error("Streaming is not supported for this "
            "model", param="stream")),
    _adapts("adapt2-tool-tgi", _without("tools"), {"error": "Tool error: tools are not supported",
            "error_type": "tool_error"}, 422, notice=NO_TOOLS),
    Case("adapt2-four", [refused(400, "Unrecognized request argument supplied: stream_options"),
         refused(400, "Unknown parameter: 'safety_identifier'."), refused(400, "System role not "
         "supported"), refused(400, "m does not support tools"), whole(FINE)], FINE, requests=5,
         learns=4, notice=NO_TOOLS),
    Case("adapt2-then-retry", [refused(400, "m does not support tools"), refused(503, "Busy"),
         whole(FINE)], FINE, requests=3, learns=2, notice=NO_TOOLS),
    Case("adapt2-retry-then", [refused(503, "Busy"), refused(400, "m does not support tools"),
         whole(FINE)], FINE, requests=3, learns=2, notice=NO_TOOLS),
]  # fmt: skip


def _same_effect(requests: Requests) -> None:
    assert len(assistant_calls(requests[2])) == 1


# What is learned in the middle of a turn, which only the first conversation sees.
ONCE = [
    Case("adapt2-field-after-tool", [stream(calling(CALL), ended("tool_calls")),
         refused(400, "Unknown parameter: 'safety_identifier'."), whole("It is 42.")], "It is 42.",
         tools=[("calculate", True)], requests=3, check=_same_effect),
]  # fmt: skip


def _explained(name: str, notice: str, status: int, body: object, requests: int = 1) -> Case:
    reply = document(body, status)
    return Case(name, [reply], "", "failed", None, notice=notice, requests=requests)


EXPLAINED = [
    _explained("explain2-newapi-quota", "credit", 403, _error("用户额度不足, 剩余额度: $0.000000",
               code="insufficient_user_quota", type="new_api_error")),
    _explained("explain2-oneapi-token", "credit", 401, _error("该令牌额度已用尽", type="one_api_error")),
    _explained("explain2-moonshot", "credit", 429, _error("Your account is suspended, please check "
               "your plan and billing details", type="exceeded_current_quota_error")),
    _explained("explain2-glm", "credit", 429, _error("余额不足或无可用资源包,请充值。", code="1113")),
    _explained("explain2-dashscope", "credit", 400, {"code": "Arrearage", "message": "Access denied"}),
    _explained("explain2-xai", "credit", 403, {"code": "The caller does not have permission", "error":
               "Your newly created teams doesn't have any credits yet."}),
    _explained("explain2-litellm", "credit", 400, _error("Budget has been exceeded! Current cost: "
               "10.1, Max budget: 10.0", type="budget_exceeded", code="400")),
    _explained("explain2-openrouter-key", "credit", 403, _error("Key limit exceeded (total limit).",
               code=403)),
    _explained("explain2-402-empty", "credit", 402, b""),
    _explained("explain2-long-glm", "longer than the model", 400, _error("Prompt exceeds max length",
               code="1261")),
    _explained("explain2-long-sglang", "longer than the model", 400, {"object": "error", "message":
               "Requested token count exceeds the model's maximum context length of 4096 tokens.",
               "type": "BadRequestError", "code": 400}),
    _explained("explain2-long-copilot", "longer than the model", 400, _error("prompt token count of "
               "140000 exceeds the limit of 128000", code="model_max_prompt_tokens_exceeded")),
    _explained("explain2-long-kimi", "longer than the model", 400, _error("Invalid request: Your "
               "request exceeded model token limit: 8192 (requested: 9000)")),
    _explained("explain2-long-xai", "longer than the model", 400, {"error": "This model's maximum "
               "prompt length is 131072 but the request contains 200000 tokens."}),
    _explained("explain2-long-500", "longer than the model", 500, _error("the request exceeds the "
               "available context size. try increasing the context size", code=500)),
    _explained("explain2-long-html", "longer than the model", 413, b"<html><h1>413 Request Entity "
               b"Too Large</h1><hr>nginx</html>"),
    _explained("explain2-risk", "content rules", 400, _error("Content Exists Risk",
               type="invalid_request_error")),
    _explained("explain2-glm-1301", "content rules", 400, _error("系统检测到输入或生成内容可能包含不安全或敏感内容",
               code="1301")),
    _explained("explain2-azure", "content rules", 400, _error("The response was filtered due to the "
               "prompt triggering Azure OpenAI's content management policy.", code="content_filter",
               innererror={"code": "ResponsibleAIPolicyViolation"})),
    _explained("explain2-xai-usage", "content rules", 403, _error("Content violates usage "
               "guidelines.")),
    _explained("explain2-lmstudio", "does not know the model", 404, {"error": "No models loaded. "
               "Please load a model in the developer page."}),
    _explained("explain2-ollama", "does not know the model", 404, _error('model "m" not found, try '
               "pulling it first", type="api_error")),
    _explained("explain2-deepseek-model", "does not know the model", 400, _error("Model Not Exist")),
    _explained("explain2-hf", "does not know the model", 400, {"error": "Model m is not supported by "
               "provider hf-inference"}),
    _explained("explain2-deployment", "does not know the model", 404, _error("The API deployment for "
               "this resource does not exist.", code="DeploymentNotFound")),
    _explained("explain2-double-v1", "address", 404, _error("Invalid URL (POST /v1/v1/chat/completi"
               "ons)")),
    _explained("explain2-go-404", "address", 404, b"404 page not found"),
    _explained("explain2-301-away", "address", 301, b""),
    _explained("explain2-firewall", "key", 403, b"<html><title>Attention Required! | Cloudflare"
               b"</title></html>"),
    _explained("explain2-429-day", "busy", 429, _error("Rate limit reached for model `m` on tokens "
               "per day (TPD)", code="rate_limit_exceeded"), requests=3),
    _explained("explain2-403-rate", "busy", 403, {"message": "API rate limit exceeded for user"}),
    _explained("explain2-binary", "", 400, b"\xff\xfe\x00junk\x80" * 30),
    _explained("explain2-empty-500", "problem", 500, b"", requests=3),
    _explained("explain2-huge", "", 400, b'{"error": {"message": "' + b"x" * 300_000 + b'"}}'),
]  # fmt: skip


def _retried(name: str, *first: RawReply, source: str = "") -> Case:
    return Case(name, [*first, whole(FINE)], FINE, requests=len(first) + 1, source=source)


def _sse(*pieces: bytes) -> RawReply:
    return stream(*pieces)


RETRIED = [
    _retried("retry2-twice", refused(503, "Busy"), refused(429, "Busy")),
    *(_retried(f"retry2-{status}", document(b"<html>Error</html>", status)) for status in
      (521, 523, 524, 525, 530, 598, 599)),
    _retried("retry2-overloaded", _sse(event({"type": "error", "error": {"type": "overloaded_error",
             "message": "Overloaded"}}))),
    _retried("retry2-code-only", _sse(event({"error": {"message": "rate limited",
             "code": "rate_limit_exceeded"}})), source="new-api#6643"),
    _retried("retry2-role-then-error", _sse(chunk({"role": "assistant", "content": ""}),
             event({"error": {"message": "upstream reset", "code": 502}}))),
    _retried("retry2-comment-then-error", _sse(b": OPENROUTER PROCESSING\n\n",
             event({"error": {"message": "Provider returned error", "code": 502}}))),
    _retried("retry2-event-error", _sse(b"event: error\ndata: {\"message\": \"upstream\"}\n\n")),
    _retried("retry2-json-error-200", document({"error": {"message": "Overloaded", "code": 503}})),
    _retried("retry2-comments-then-close", _sse(b": ping\n\n: ping\n\n")),
    _retried("retry2-after-date", refused(429, "Busy", headers={"retry_after":
             formatdate(0, usegmt=True)})),
    _retried("retry2-after-float", refused(429, "Busy", headers={"retry_after": "0.01"})),
    _retried("retry2-after-junk", refused(429, "Busy", headers={"retry_after": "soon"})),
    _retried("retry2-after-negative", refused(503, "Busy", headers={"retry_after": "-5"})),
    Case("retry2-after-hour", [refused(429, "Busy", headers={"retry_after": "3600"}), whole(FINE)],
         "", "failed", None, notice="busy"),
    Case("retry2-not-after-text", [stream(said("Half"), event({"error": {"message": "Overloaded",
         "code": 529}})), whole(FINE)], "Half", "interrupted", None),
    Case("retry2-not-after-thoughts", [stream(chunk({"reasoning_content": "I wonder"}),
         event({"error": {"message": "Overloaded", "code": 529}})), whole(FINE)], "", "failed", None,
         thinking="I wonder"),
    Case("retry2-not-400", [refused(400, "Bad"), whole(FINE)], "", "failed", None),
    Case("retry2-in-vain", [refused(502, "Bad gateway")], "", "failed", None, requests=3,
         notice="problem"),
    Case("retry2-quota-not", [stream(event({"error": {"message": "quota", "code":
         "insufficient_quota", "status": 429}}), DONE)], "", "failed", None, notice="credit"),
]  # fmt: skip

CASES: Sequence[Case] = [*ADAPTED, *EXPLAINED, *RETRIED]
