"""Further cases of tool calls, and of what must come back with their results."""

import json
from collections.abc import Callable, Sequence
from typing import Any

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
    refused,
    said,
    stream,
    tool_results,
    whole,
)

OK = [("calculate", True)]
TWO = [("calculate", True), ("calculate", True)]
SEVEN = '{"expression": "3+4"}'
HEAD, TAIL = '{"expression": ', '"12+30"}'


def _sound(requests: Requests) -> None:
    """Check that each call of the second request is well formed, and has its result."""
    messages = requests[1].body["messages"]
    calls = assistant_calls(requests[1])
    ids = [call["id"] for call in calls]
    assert len(set(ids)) == len(ids)
    for call in calls:
        assert call["type"] == "function"
        assert isinstance(json.loads(call["function"]["arguments"]), dict)
        assert "index" not in call
    assert [m["tool_call_id"] for m in messages if m["role"] == "tool"] == ids


def _gives(*results: str) -> Callable[[Requests], None]:
    def check(requests: Requests) -> None:
        _sound(requests)
        found = tool_results(requests[1])
        assert len(found) == len(results)
        for result, text in zip(found, results, strict=True):
            assert text in result

    return check


def _works(name: str, *pieces: bytes | list[bytes], finish: str = "tool_calls", source: str = "",
           thinking: str | None = None, text: str = "It is 42.") -> Case:  # fmt: skip
    replies = [stream(*pieces, ended(finish)), whole("It is 42.")]
    return Case(name, replies, text, tools=OK, requests=2, check=_gives("42"), source=source,
                thinking=thinking)  # fmt: skip


def _both(name: str, *pieces: bytes, source: str = "") -> Case:
    replies = [stream(*pieces, ended("tool_calls")), whole("Both.")]
    check = _gives("42", "7")
    return Case(name, replies, "Both.", tools=TWO, requests=2, check=check, source=source)


def _fails(name: str, *pieces: bytes, failed: str | None = None) -> Case:
    def check(requests: Requests) -> None:
        _sound(requests)
        assert not any(
            "42" in result and "12+30" not in result for result in tool_results(requests[1])
        )

    return Case(name, [stream(*pieces, ended("tool_calls")), whole("I see.")], "I see.", requests=2,
                tools=[(failed, False)] if failed else [], check=check)  # fmt: skip


def _one(arguments: Any, **fields: Any) -> bytes:
    return calling(piece("calculate", arguments, **{"index": 0, "id": "a", **fields}))


ASSEMBLED = [
    _works("call2-finish-stop-null-content", chunk({"content": None, "tool_calls": [CALL]}),
           finish="stop"),
    _works("call2-function-call-finish", calling(CALL), finish="function_call"),
    _works("call2-empty-pieces", _one(""), calling(piece(None, "", index=0)),
           calling(piece(None, SUM, index=0)), calling(piece(None, "", index=0))),
    _works("call2-null-arguments-first", _one(None, type=None),
           calling({"index": 0, "function": {"name": None, "arguments": SUM}})),
    _works("call2-letters", _one(""), *(calling(piece(None, sign, index=0)) for sign in SUM)),
    _works("call2-arguments-before-id", calling(piece("calculate", HEAD, index=0)),
           calling(piece(None, TAIL, index=0, id="late")), source="Zoo-Code#695"),
    _works("call2-index-string", calling(piece("calculate", HEAD, index="0", id="a")),
           calling(piece(None, TAIL, index="0"))),
    _works("call2-index-seven", calling(piece("calculate", HEAD, index=7, id="a")),
           calling(piece(None, TAIL)), source="vercel/ai#18333"),
    _works("call2-id-number", calling(piece("calculate", SUM, index=0, id=17))),
    _works("call2-id-each-time", _one(HEAD), calling(piece(None, TAIL, index=0, id="a"))),
    _works("call2-new-id-each-time", _one(HEAD), calling(piece(None, TAIL, index=0, id="b")),
           source="one-api: random id per chunk"),
    _works("call2-name-null-after", _one(HEAD), calling(piece(None, TAIL, index=0, id=None))),
    _works("call2-name-in-pieces", calling(piece("calc", "", index=0, id="a")),
           calling(piece("ulate", SUM, index=0))),
    _works("call2-functions-prefix", calling(piece("functions.calculate", SUM, index=0, id="a"))),
    _works("call2-flat", calling({"index": 0, "id": "a", "name": "calculate", "arguments": SUM})),
    _works("call2-calls-object", chunk({"tool_calls": CALL})),
    _works("call2-parameters", calling({"index": 0, "id": "a", "function": {"name": "calculate",
           "parameters": {"expression": "12+30"}}})),
    _works("call2-unicode-escapes", _one('{"expression": "12\\u002b30"}')),
    _works("call2-type-missing-index-null", calling({"id": "a", "index": None, "type": "",
           "function": {"name": "calculate", "arguments": SUM}})),
    _works("call2-whole-again", _one(SUM), calling({**CALL, "id": "a"}),
           source="gateways send the whole call once more at the end"),
    _works("call2-thoughts-between", _one(HEAD), chunk({"reasoning_content": "Let me reckon."}),
           calling(piece(None, TAIL, index=0)), thinking="Let me reckon."),
    _works("call2-text-between", _one(HEAD), chunk({"content": ""}), calling(piece(None, TAIL,
           index=0))),
    _works("call2-finish-with-call", [chunk({"tool_calls": [CALL]}, "tool_calls")]),
    _works("call2-finish-each", [chunk({"tool_calls": [piece("calculate", HEAD, index=0, id="a")]},
           "tool_calls"), chunk({"tool_calls": [piece(None, TAIL, index=0)]}, "tool_calls")]),
    _works("call2-with-legacy-too", chunk({"tool_calls": [CALL], "function_call":
           {"name": "calculate", "arguments": SUM}})),
    _both("call2-both-index-zero-split", _one(HEAD), calling(piece(None, TAIL, index=0)),
          calling(piece("calculate", HEAD, index=0, id="b")),
          calling(piece(None, '"3+4"}', index=0)), source="maka#1976"),
    _both("call2-second-index-collides", _one(SUM), calling(piece("calculate", "", index=0, id="b")),
          calling(piece(None, SEVEN, index=1)), source="agno#8880"),
    _both("call2-interleaved", calling(piece("calculate", HEAD, index=0, id="a"),
          piece("calculate", HEAD, index=1, id="b")), calling(piece(None, '"3+4"}', index=1)),
          calling(piece(None, TAIL, index=0))),
    _both("call2-same-empty-id", calling(piece("calculate", SUM, index=0, id="")),
          calling(piece("calculate", SEVEN, index=1, id=""))),
    _both("call2-index-gap", calling(piece("calculate", SUM, index=1, id="a")),
          calling(piece("calculate", SEVEN, index=3, id="b"))),
]  # fmt: skip

REFUSED = [
    _fails("call2-python", _one("{'expression': '12+30', 'x': None}")),
    _fails("call2-fence", _one('```json\n{"expression": "12+30"}\n```')),
    _fails("call2-newline-in-number", _one('{"expression": 12\n+30}')),
    _fails("call2-nan", _one('{"expression": NaN}')),
    _fails("call2-empty", _one(""), failed="calculate"),
    _fails("call2-number-field", _one('{"expression": 43}'), failed="calculate"),
    _fails("call2-deep", _one("[" * 5000)),
    _fails("call2-name-empty", calling(piece("", SUM, index=0, id="a"))),
    _fails("call2-name-odd", calling(piece("calcu late<|channel|>", SUM, index=0, id="a")),
           failed="calcu late<|channel|>"),
    _fails("call2-extra-brace", _one(SUM[:-1])),
    _fails("call2-boolean", _one(True)),
]  # fmt: skip


def _last_assistant(requests: Requests) -> dict[str, Any]:
    found: list[dict[str, Any]]
    found = [m for m in requests[1].body["messages"] if m.get("tool_calls")]
    return found[-1]


def _back(**fields: Any) -> Callable[[Requests], None]:
    def check(requests: Requests) -> None:
        message = _last_assistant(requests)
        for name, value in fields.items():
            assert message.get(name) == value, message

    return check


def _call_back(name: str, value: Any) -> Callable[[Requests], None]:
    def check(requests: Requests) -> None:
        assert assistant_calls(requests[1])[0][name] == value

    return check


def _echo(name: str, check: Callable[[Requests], None], *pieces: bytes, thinking: str | None = None,
          source: str = "") -> Case:  # fmt: skip
    replies = [stream(*pieces, ended("tool_calls")), whole("It is 42.")]
    return Case(name, replies, "It is 42.", tools=OK, requests=2, check=check, thinking=thinking,
                source=source)  # fmt: skip


SIGNATURE = {"google": {"thought_signature": "sig"}}
ENCRYPTED = {"type": "reasoning.encrypted", "data": "xyz", "id": "call_1", "format": "google"}
ECHOED = [
    _echo("echo2-reasoning-name", _back(reasoning="I add."), chunk({"reasoning": "I "}),
          chunk({"reasoning": "add."}), calling(CALL), thinking="I add."),
    _echo("echo2-signature-late", _call_back("extra_content", SIGNATURE), calling(CALL),
          calling({"index": 0, "extra_content": SIGNATURE})),
    _echo("echo2-signature-of-call", _call_back("thought_signature", "sig"),
          calling({**CALL, "thought_signature": "sig"})),
    _echo("echo2-provider-fields", _call_back("provider_specific_fields", {"thought_signature": "s"}),
          calling({**CALL, "provider_specific_fields": {"thought_signature": "s"}}),
          source="litellm"),
    _echo("echo2-encrypted-detail", _back(reasoning_details=[ENCRYPTED]),
          chunk({"reasoning_details": [ENCRYPTED]}), calling(CALL), source="openrouter gemini 3"),
    _echo("echo2-message-extra", _back(extra_content=SIGNATURE), chunk({"extra_content": SIGNATURE}),
          calling(CALL)),
    _echo("echo2-copilot", _back(reasoning_opaque="abc", reasoning_text="I add."),
          chunk({"reasoning_text": "I add."}), chunk({"reasoning_opaque": "abc"}), calling(CALL),
          thinking="I add.", source="copilot"),
    _echo("echo2-thinking-blocks", _back(thinking_blocks=[{"type": "thinking", "thinking": "I add.",
          "signature": "s"}]), chunk({"reasoning_content": "I add.", "thinking_blocks":
          [{"type": "thinking", "thinking": "I add.", "signature": "s"}]}), calling(CALL),
          thinking="I add.", source="litellm anthropic"),
    _echo("echo2-empty-reasoning", _sound, chunk({"reasoning_content": ""}), calling(CALL)),
    _echo("echo2-text-too", _back(content="Let me see."), chunk({"reasoning_content": "I add."}),
          *said("Let me see."), calling(CALL), thinking="I add."),
    Case("echo2-json", [document({"choices": [{"index": 0, "finish_reason": "tool_calls", "message":
         {"role": "assistant", "content": "", "reasoning_content": "I add.", "tool_calls": [CALL]}}]}
         ), whole("It is 42.")], "It is 42.", tools=OK, requests=2,
         check=_back(reasoning_content="I add."), thinking="I add."),
    Case("echo2-two-steps", [stream(chunk({"reasoning_content": "One."}), calling(CALL),
         ended("tool_calls")), stream(chunk({"reasoning_content": "Two."}),
         calling({**CALL, "id": "call_2"}), ended("tool_calls")), whole("It is 42.")], "It is 42.",
         tools=TWO, requests=3, thinking="One.\n\nTwo."),
]  # fmt: skip
ECHOED = [
    Case(c.name, c.replies, "Let me see.\n\nIt is 42.", tools=c.tools, requests=2, check=c.check,
         thinking=c.thinking) if c.name == "echo2-text-too" else c for c in ECHOED
]  # fmt: skip


def _marked(name: str, text: str, shown: str = "") -> Case:
    status = "interrupted" if shown else "failed"
    return Case(name, [stream(said(*text.partition(">")), ended())], shown, status,
                "error" if shown else None)  # fmt: skip


TEXT_CALLS = [
    _marked("calltext2-qwen-xml", "<tool_call>\n<function=calculate>\n<parameter=expression>\n12+30\n"
            "</parameter>\n</function>\n</tool_call>"),
    _marked("calltext2-function", "<function=calculate>{\"expression\": \"12+30\"}</function>"),
    _marked("calltext2-mistral", '[TOOL_CALLS][{"name": "calculate", "arguments": {"expression": '
            '"12+30"}}]'),
    _marked("calltext2-python-tag", '<|python_tag|>{"name": "calculate", "parameters": {}}'),
    _marked("calltext2-deepseek", "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>"
            "calculate\n```json\n{\"expression\": \"12+30\"}\n```<｜tool▁call▁end｜>"
            "<｜tool▁calls▁end｜>"),
    _marked("calltext2-kimi", "<|tool_calls_section_begin|><|tool_call_begin|>functions.calculate:0"
            "<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_calls_section_end|>"),
    _marked("calltext2-glm", "<tool_call>calculate\n<arg_key>expression</arg_key>\n<arg_value>12+30"
            "</arg_value>\n</tool_call>"),
    _marked("calltext2-after-text", "Let me see.\n<tool_call>{\"name\": \"calculate\", "
            "\"arguments\": {}}</tool_call>", "Let me see.\n"),
    _marked("calltext2-anthropic", "<function_calls>\n<invoke name=\"calculate\">\n"
            "<parameter name=\"expression\">12+30</parameter>\n</invoke>\n</function_calls>"),
    _marked("calltext2-harmony", "<|channel|>commentary to=functions.calculate <|constrain|>json"
            "<|message|>{\"expression\": \"12+30\"}<|call|>"),
]  # fmt: skip

# The second request is refused, asked otherwise or once more: the tool has run once.
AFTER_EFFECT = [
    Case("effect2-retry-503", [stream(calling(CALL), ended("tool_calls")), refused(503, "Busy"),
         whole("It is 42.")], "It is 42.", tools=OK, requests=3),
    Case("effect2-error-event", [stream(calling(CALL), ended("tool_calls")), stream(
         [b'data: {"error": {"message": "Overloaded", "code": 529}}\n\n']), whole("It is 42.")],
         "It is 42.", tools=OK, requests=3),
    Case("effect2-refused", [stream(calling(CALL), ended("tool_calls")), refused(400, "Bad")], "",
         "interrupted", None, tools=OK, requests=2),
]  # fmt: skip

CASES: Sequence[Case] = [*ASSEMBLED, *REFUSED, *ECHOED, *TEXT_CALLS, *AFTER_EFFECT]
