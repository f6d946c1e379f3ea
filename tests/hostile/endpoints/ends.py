"""Cases of answers that end blank, cut, refused or with an error."""

from tests.hostile.endpoints.case import (
    CALL,
    DONE,
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

BLANK = [
    Case("blank-stop", [stream(chunk({"role": "assistant"}), ended())], source="lmstudio#2339"),
    Case("blank-done", [stream(DONE)], notice="not an answer"),
    Case("blank-spaces", [stream(said(" \n", "\n "), ended())]),
    Case("blank-nulls", [stream(chunk({"content": None, "tool_calls": None}), ended())]),
    Case("blank-no-choices", [stream(event({"choices": []}), DONE)], notice="not an answer"),
    Case(
        "thoughts-stop",
        [stream(chunk({"reasoning_content": "I wonder"}), ended())],
        thinking="I wonder",
        notice="thought, but",
        source="vllm#17349",
    ),
    Case(
        "thoughts-length",
        [stream(chunk({"reasoning_content": "I wonder"}), ended("length"))],
        thinking="I wonder",
        notice="while thinking",
        source="sglang#20789",
    ),
    Case(
        "thoughts-tag",
        [stream(said("<think>I won", "der"), ended())],
        thinking="I wonder",
        notice="thought, but",
    ),
    Case(
        "withheld", [stream(chunk({"role": "assistant"}), ended("content_filter"))], notice="withh"
    ),
]
BLANK = [
    Case(
        case.name,
        case.replies,
        status="failed",
        finish=None,
        thinking=case.thinking,
        notice=case.notice or "an empty answer",
        source=case.source,
    )
    for case in BLANK
]

ERRORS = [
    Case(
        name,
        [stream(*pieces)],
        text,
        "interrupted" if text else "failed",
        None,
        requests=requests,
    )
    for name, pieces, text, requests in (
        ("error-object", [event({"object": "error", "message": "no", "code": 400}), DONE], "", 1),
        ("error-string", [event({"error": "bad request", "code": 400}), DONE], "", 1),
        ("error-event", [b'event: error\ndata: {"message": "no", "code": 400}\n\n'], "", 1),
        ("error-event-text", [*said("Half"), b"event: error\ndata: it broke\n\n", DONE], "Half", 1),
        ("error-middle", [*said("Half"), event({"error": {"message": "no"}}), DONE], "Half", 1),
        ("error-detail", [*said("Half"), event({"detail": "no"}), DONE], "Half", 1),
    )
]
ERRORS.append(
    Case(
        "error-200",
        [document({"error": {"message": "no", "code": 400}})],
        status="failed",
        finish=None,
    )
)

CUT = [
    Case("cut-length", [stream(said("Half an"), ended("length"))], "Half an", "interrupted",
         "length", notice="Continue"),
    Case("cut-max-tokens", [stream(said("Half an"), ended("MAX_TOKENS"))], "Half an",
         "interrupted", "length", notice="Continue"),
    Case("cut-filter", [stream(said("Half an"), ended("content_filter"))], "Half an",
         "interrupted", "content_filter", notice="withheld"),
    Case("cut-error", [stream(said("Half an"), ended("error"))], "Half an", "interrupted",
         "error", notice="error"),
    Case("cut-missing", [stream(said("All of it"), DONE)], "All of it", "interrupted", "missing",
         notice="did not say"),
    Case("cut-closed", [stream(said("Half an"))], "Half an", "interrupted", None, notice="broke"),
    Case("refusal", [stream(chunk({"refusal": "I cannot "}), chunk({"refusal": "do that."}),
         ended())], "I cannot do that.", source="openai-agents-python#4159"),
]  # fmt: skip

AFTER_TOOLS = [
    Case("blank-after-tool", [stream(calling(CALL), ended("tool_calls")), stream(ended())], "",
         "interrupted", None, tools=[("calculate", True)], requests=2, source="aionrs#241"),
    Case("cut-after-tool", [stream(calling(CALL), ended("tool_calls")),
         stream(said("It is"), ended("length"))], "It is", "interrupted", "length",
         tools=[("calculate", True)], requests=2, notice="Continue"),
    Case("cut-call-length", [stream(calling(piece("calculate", '{"expression": "12+3', index=0,
         id="a")), ended("length")), whole("Well")], "", "failed", None, notice="tool call, which was not made", source="pi#6285"),
    Case("whole-call-length", [stream(calling(CALL), ended("length")), whole("Well")], "",
         "failed", None, notice="tool call, which was not made"),
    Case("cut-call-lie", [stream(calling(piece("calculate", '{"expression": "12+3', index=0,
         id="a")), ended("tool_calls")), whole("I see")], "I see", requests=2,
         source="agentao#125"),
    Case("text-and-cut-call", [stream(said("Let me see."), calling(piece("calculate",
         '{"expression": "12+3', index=0, id="a")), ended("length")), whole("Well")],
         "Let me see.", "interrupted", "length", notice="Continue"),
]  # fmt: skip

CASES: list[Case] = [*BLANK, *ERRORS, *CUT, *AFTER_TOOLS]
