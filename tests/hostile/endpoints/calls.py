"""Cases of tool calls in the forms of many servers."""

import json

from tests.hostile.endpoints.case import (
    CALL,
    SUM,
    Case,
    Requests,
    assistant_calls,
    calling,
    chunk,
    document,
    ended,
    piece,
    said,
    stream,
    tool_results,
    whole,
)

OK = [("calculate", True)]
TWO = [("calculate", True), ("calculate", True)]


def _result_42(requests: Requests) -> None:
    assert "42" in tool_results(requests[1])[0]


def _two_results(requests: Requests) -> None:
    first, second = tool_results(requests[1])
    assert "42" in first
    assert "7" in second
    ids = [call["id"] for call in assistant_calls(requests[1])]
    assert len(set(ids)) == 2
    assert all(isinstance(call_id, str) and call_id for call_id in ids)


def _refused_arguments(requests: Requests) -> None:
    (result,) = tool_results(requests[1])
    assert "42" not in result
    (call,) = assistant_calls(requests[1])
    json.loads(call["function"]["arguments"])


def _extra_content(requests: Requests) -> None:
    (call,) = assistant_calls(requests[1])
    assert call["extra_content"] == {"google": {"thought_signature": "sig"}}


def _reasoning_back(requests: Requests) -> None:
    (message,) = [m for m in requests[1].body["messages"] if m.get("tool_calls")]
    assert message["reasoning_content"] == "I should add."


def _details_back(requests: Requests) -> None:
    (message,) = [m for m in requests[1].body["messages"] if m.get("tool_calls")]
    (detail,) = message["reasoning_details"]
    assert (detail["text"], detail["signature"]) == ("I should add.", "sig")


def _works(name: str, *pieces: bytes | list[bytes], source: str = "") -> Case:
    replies = [stream(*pieces, ended("tool_calls")), whole("It is 42.")]
    return Case(name, replies, "It is 42.", tools=OK, requests=2, check=_result_42, source=source)


def _fails(name: str, *pieces: bytes) -> Case:
    replies = [stream(*pieces, ended("tool_calls")), whole("I see.")]
    return Case(name, replies, "I see.", requests=2, check=_refused_arguments)


def _both(name: str, *pieces: bytes, source: str = "") -> Case:
    replies = [stream(*pieces, ended("tool_calls")), whole("Both.")]
    return Case(name, replies, "Both.", tools=TWO, requests=2, check=_two_results, source=source)


SEVEN = '{"expression": "3+4"}'
ASSEMBLED = [
    _works("call-whole", calling(CALL)),
    _works("call-name-repeated", calling(piece("calculate", '{"expression"', index=0, id="a")),
           calling(piece("calculate", ': "12+', index=0, id="a")),
           calling(piece("calculate", '30"}', index=0, id="a")), source="hermes#12230"),
    _works("call-no-id", calling(piece("calculate", SUM, index=0)), source="vllm#18412"),
    _works("call-null-id", calling(piece("calculate", SUM, index=0, id=None))),
    _works("call-object", calling(piece("calculate", {"expression": "12+30"}, index=0, id="a")),
           source="llama.cpp#20198"),
    _works("call-double", calling(piece("calculate", json.dumps(SUM), index=0, id="a"))),
    _works("call-no-index", calling(piece("calculate", '{"expression": ', id="a")),
           calling(piece(None, '"12+30"}')), source="vercel/ai#15879"),
    _works("call-null-index", calling(piece("calculate", '{"expression": ', id="a", index=None)),
           calling(piece(None, '"12+30"}', index=None))),
    _works("call-empty-id-after", calling(piece("calculate", '{"expression": ', id="a", index=0)),
           calling(piece("", '"12+30"}', index=0, id="")), source="lmdeploy#3412"),
    _works("call-old-form", chunk({"function_call": {"name": "calculate", "arguments": ""}}),
           chunk({"function_call": {"arguments": SUM}}), source="CLIProxyAPI#57"),
    _both("calls-one-id", calling(piece("calculate", SUM, index=0, id="a"),
          piece("calculate", SEVEN, index=1, id="a")), source="eca#233"),
    _both("calls-one-index", calling(piece("calculate", SUM, index=0, id="a")),
          calling(piece("calculate", SEVEN, index=0, id="b")), source="lmdeploy#3412"),
    _both("calls-no-index", calling(piece("calculate", SUM, id="a")),
          calling(piece("calculate", SEVEN, id="b"))),
    _both("calls-bare", calling(piece("calculate", SUM)), calling(piece("calculate", SEVEN))),
    _fails("call-no-json", calling(piece("calculate", "12+30", index=0, id="a"))),
    _fails("call-list", calling(piece("calculate", '["12+30"]', index=0, id="a"))),
    _fails("call-trailing", calling(piece("calculate", SUM + "}", index=0, id="a"))),
    _fails("call-number", calling(piece("calculate", "17", index=0, id="a"))),
]  # fmt: skip

_message = {"role": "assistant", "content": None, "tool_calls": [CALL]}
_choice = {"index": 0, "message": _message, "finish_reason": "tool_calls"}
_thinking = chunk({"reasoning_content": "I should add."})
_detail = {"type": "reasoning.text", "text": "I should add.", "signature": "sig", "index": 0}

ECHOED = [
    Case("call-json", [document({"choices": [_choice]}), whole("It is 42.")], "It is 42.",
         tools=OK, requests=2, check=_result_42, source="opencodex#3770"),
    Case("echo-signature", [stream(calling({**CALL, "extra_content":
         {"google": {"thought_signature": "sig"}}}), ended("tool_calls")), whole("It is 42.")],
         "It is 42.", tools=OK, requests=2, check=_extra_content, source="pi#3234"),
    Case("echo-reasoning", [stream(_thinking, calling(CALL), ended("tool_calls")),
         whole("It is 42.")], "It is 42.", tools=OK, requests=2, check=_reasoning_back,
         thinking="I should add.", source="hermes#15353"),
    Case("echo-details", [stream(chunk({"reasoning_details": [_detail]}), calling(CALL),
         ended("tool_calls")), whole("It is 42.")], "It is 42.", tools=OK, requests=2,
         check=_details_back, thinking="I should add."),
    Case("call-as-text", [stream(said('<tool_call>{"name": "calculate", ', '"arguments": ', SUM,
         "}</tool_call>"), ended())], "", "failed", None, notice="text_calls = true", source="mlxcel#654"),
]  # fmt: skip

CASES: list[Case] = [*ASSEMBLED, *ECHOED]
