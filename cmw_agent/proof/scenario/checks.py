"""Whether an answer is as a scenario expects it."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jsonschema import Draft202012Validator

from cmw_agent.proof.scenario.definition import Expectation, ToolExpectation, filled

MAX_SHOWN = 80  # characters of a reason's text


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a model found of an answer.

    Attributes:
        rubric: What must be true of it.
        model: Id of the model that judged; None for the default.
        passed: Whether it is.
        reason: Why.
    """

    rubric: str
    model: str | None
    passed: bool
    reason: str


@dataclass(slots=True)
class Answer:
    """What came of one message.

    Attributes:
        said: The message.
        text: The answer.
        calls: The tools that were called, with their arguments.
        seconds: How long it took.
        tokens: What it used, where known.
        cost: What it cost in dollars, where known.
        error: Why there is no whole answer.
        failures: The expectations that do not hold, a sentence each.
        verdicts: What models found of it.
    """

    said: str
    text: str = ""
    calls: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    seconds: float = 0.0
    tokens: int = 0
    cost: float | None = None
    error: str | None = None
    failures: list[str] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)


def failure(expected: Expectation, answer: Answer, values: Mapping[str, str]) -> str | None:
    """Return why an expectation does not hold; None where it does.

    Args:
        expected: The expectation; not a judge's, which `cmw_agent.proof.scenario.judges` asks.
        answer: The answer.
        values: The user's variables.
    """
    text = answer.text
    if expected.contains is not None:
        wanted = filled(expected.contains, values)
        return None if wanted.lower() in text.lower() else f"{_shown(wanted)} is not in it"
    if expected.lacks is not None:
        unwanted = filled(expected.lacks, values)
        return f"{_shown(unwanted)} is in it" if unwanted.lower() in text.lower() else None
    if expected.regex is not None:
        pattern = filled(expected.regex, {name: re.escape(each) for name, each in values.items()})
        return None if re.search(pattern, text) else f"{_shown(pattern)} does not match"
    if expected.json_schema is not None:
        return _schema_failure(expected.json_schema, text)
    if expected.tool is not None:
        return _tool_failure(expected.tool, answer)
    return _excess(expected, answer)


def _excess(expected: Expectation, answer: Answer) -> str | None:
    """Return what an answer took more of than it may; None where it did not."""
    if expected.seconds is not None and answer.seconds > expected.seconds:
        return f"it took {answer.seconds:.2f} s, more than {expected.seconds:g} s"
    if expected.tokens is not None:
        if not answer.tokens:
            return "its tokens are not known"
        if answer.tokens > expected.tokens:
            return f"it used {answer.tokens} tokens, more than {expected.tokens}"
    if expected.cost is not None:
        if answer.cost is None:
            return "its cost is not known: its model has no price"
        if answer.cost > expected.cost:
            return f"it cost ${answer.cost:.6f}, more than ${expected.cost:g}"
    return None


def _schema_failure(schema: Mapping[str, Any], text: str) -> str | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return "it is no JSON"
    error = next(iter(Draft202012Validator(schema).iter_errors(value)), None)
    return None if error is None else f"the JSON schema does not hold: {error.message[:MAX_SHOWN]}"


def _tool_failure(expected: ToolExpectation, answer: Answer) -> str | None:
    for name, arguments in answer.calls:
        if name == expected.name and expected.arguments.items() <= dict(arguments).items():
            return None
    called = ", ".join(name for name, _ in answer.calls) or "none"
    return f"the tool {expected.name} was not called so (called: {called})"


def _shown(text: str) -> str:
    return repr(text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…")
