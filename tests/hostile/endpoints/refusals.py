"""Cases of requests that an endpoint refuses: asked otherwise, asked again, or explained."""

import json
from collections.abc import Callable, Sequence

from tests.doubles.raw_endpoint import RawReply
from tests.hostile.endpoints.case import (
    NO_TOOLS,
    Case,
    Requests,
    document,
    event,
    refused,
    stream,
    whole,
)


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
    assert requests[0].body["stream"] is True
    assert not requests[1].body.get("stream")


FINE = "All is well."
_json = {"choices": [{"index": 0, "message": {"role": "assistant", "content": FINE},
         "finish_reason": "stop"}]}  # fmt: skip


def _adapts(name: str, message: str, check: Callable[[Requests], None], *, status: int = 400,
            reply: RawReply | None = None, source: str = "", notice: str = "",
            **details: str) -> Case:  # fmt: skip
    replies = [refused(status, message, **details), reply or whole(FINE)]
    return Case(
        name, replies, FINE, requests=2, learns=1, notice=notice, check=check, source=source
    )


ADAPTED = [
    _adapts("adapt-tools", "registry/m does not support tools", _without("tools"),
            source="zed#37221", notice=NO_TOOLS),
    _adapts("adapt-tools-404", "No endpoints found that support tool use.", _without("tools"),
            status=404, notice=NO_TOOLS),
    _adapts("adapt-usage", "Unrecognized request argument supplied: stream_options",
            _without("stream_options"), source="opencode#4698"),
    _adapts("adapt-usage-extra", "[{'loc': ('body', 'stream_options'), 'msg': 'extra fields "
            "not permitted'}]", _without("stream_options"), status=422),
    _adapts("adapt-system", "System role not supported", _no_system, source="gemma"),
    _adapts("adapt-stream", "This model does not support streaming.", _not_streamed,
            reply=document(_json), source="chat-ui#1386", param="stream"),
    _adapts("adapt-user", "Unknown parameter: 'safety_identifier'.",
            _without("safety_identifier"), param="safety_identifier"),
]  # fmt: skip


def _explained(name: str, notice: str, reply: RawReply, source: str = "") -> Case:
    return Case(name, [reply], "", "failed", None, notice=notice, source=source)


EXPLAINED = [
    _explained("explain-key", "key", refused(401, "Incorrect API key provided")),
    _explained("explain-quota", "credit", refused(429, "You exceeded your current quota",
               code="insufficient_quota", type="insufficient_quota"), "langchainjs#1929"),
    _explained("explain-credit", "credit", refused(402, "Insufficient credits"), "qwen-code#73"),
    _explained("explain-long", "longer than the model", refused(400, "This model's maximum context length is "
               "8192 tokens.", code="context_length_exceeded"), "llama.cpp#15780"),
    _explained("explain-413", "longer than the model", refused(413, "Request too large")),
    _explained("explain-policy", "content rules", refused(400, "Your request was rejected by our "
               "content policy", code="content_policy_violation")),
    _explained("explain-moderated", "content rules", refused(403, "Input was flagged: moderation")),
    _explained("explain-model", "does not know the model", refused(404, "The model `m` does not "
               "exist", code="model_not_found")),
    _explained("explain-address", "address", document({"detail": "Not Found"}, 404)),
]  # fmt: skip

_busy = {"error": {"message": "Overloaded", "code": 529}}


def _retried(name: str, first: RawReply, source: str = "") -> Case:
    return Case(name, [first, whole(FINE)], FINE, requests=2, source=source)


RETRIED = [
    *(_retried(f"retry-{status}", refused(status, "Try again")) for status in
      (408, 409, 429, 500, 502, 503, 504, 520, 522, 529)),
    _retried("retry-error-event", stream(event(_busy)), "OmniRoute#8210"),
    _retried("retry-after-ms", refused(429, "Busy", headers={"retry_after_ms": "1"})),
    _retried("retry-should", refused(400, "Busy", headers={"x_should_retry": "true"})),
    Case("retry-not", [refused(500, "No", headers={"x_should_retry": "false"}), whole(FINE)],
         "", "failed", None),
]  # fmt: skip

CASES: Sequence[Case] = [*ADAPTED, *EXPLAINED, *RETRIED]
