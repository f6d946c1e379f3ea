"""Reads and writes tests of promptfoo (https://www.promptfoo.dev/docs/configuration/reference).

Read are files with one prompt, and tests with ``vars`` and assertions that all tests have alike, but for their
values. What a scenario cannot say is an error, so that nothing is left out in silence.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import yaml

from cmw_agent.proof.scenario.definition import Expectation, Scenario, filled, values_of
from cmw_agent.proof.scenario.samples import users_for

_VARIABLE = re.compile(r"\{\{\s*(\w+)\s*\}\}")
MILLISECONDS = 1_000
# What may differ from test to test: those whose texts take variables.
VARIED = {
    "contains": "contains",
    "icontains": "contains",
    "not-icontains": "lacks",
    "llm-rubric": "judge",
}
ALIKE: Mapping[str, Callable[[Mapping[str, Any]], Mapping[str, Any]]] = {
    "regex": lambda given: {"regex": given["value"]},
    "is-json": lambda given: {"json_schema": given.get("value") or {}},
    "latency": lambda given: {"seconds": given["threshold"] / MILLISECONDS},
    "cost": lambda given: {"cost": given["threshold"]},
}


def is_promptfoo(value: object) -> bool:
    """Return whether a YAML document is one of promptfoo's."""
    return isinstance(value, Mapping) and "tests" in value and "scenario" not in value


def read_promptfoo(value: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return what a scenario file of these tests would say.

    Args:
        value: The document.
        name: The scenario's name.

    Raises:
        ValueError, TypeError: It says what a scenario cannot; the text says what.
    """
    prompts, tests = value.get("prompts"), value["tests"]
    if not isinstance(prompts, list) or len(prompts) != 1 or not isinstance(prompts[0], str):
        raise ValueError("one prompt is wanted, as text")
    if not isinstance(tests, list) or not tests or not all(isinstance(t, Mapping) for t in tests):
        raise ValueError("tests with `vars` are wanted, in the file itself")
    names = sorted({name for test in tests for name in test.get("vars", {})})
    variables = {name: [_value(test, name) for test in tests] for name in names}
    kinds = {tuple(_kind(one) for one in test.get("assert", ())) for test in tests}
    if len(kinds) > 1:
        raise ValueError("all tests must have assertions of the same types, in the same order")
    expected: list[Mapping[str, Any]] = []
    for index, kind in enumerate(kinds.pop()):
        given = [test["assert"][index] for test in tests]
        if kind in VARIED:
            variables[f"assert_{index}"] = [_swapped(str(one["value"])) for one in given]
            text: Any = f"{{assert_{index}}}"
            expected.append({VARIED[kind]: {"rubric": text} if kind == "llm-rubric" else text})
        elif kind in ALIKE and all(one == given[0] for one in given):
            expected.append(ALIKE[kind](given[0]))
        else:
            raise ValueError(f"an assertion of type {kind!r} is not known, or differs among tests")
    users = users_for(len(tests))
    return {
        "scenario": name,
        "users": users,
        "repeats": len(tests) // users,
        "variables": variables,
        "turns": [{"say": _swapped(prompts[0]), "expect": expected}],
    }


def written(scenario: Scenario) -> str:
    """Return a scenario's turns as tests of promptfoo; the turns of one user are one conversation."""
    tests = []
    for user in range(1, scenario.users + 1):
        values = values_of(scenario, 1, user)
        for turn in scenario.turns:
            asserts = [one for each in turn.expect if (one := _assertion(each, values)) is not None]
            tests.append(
                {
                    "vars": {"message": filled(turn.say, values)},
                    "metadata": {"conversationId": f"user-{user}"},
                    "assert": asserts,
                }
            )
    document = {"description": scenario.scenario, "prompts": ["{{message}}"], "tests": tests}
    return str(yaml.safe_dump(document, allow_unicode=True, sort_keys=False))


def _assertion(expected: Expectation, values: Mapping[str, str]) -> dict[str, Any] | None:
    if expected.contains is not None:
        return {"type": "icontains", "value": filled(expected.contains, values)}
    if expected.lacks is not None:
        return {"type": "not-icontains", "value": filled(expected.lacks, values)}
    if expected.regex is not None:
        escaped = {name: re.escape(value) for name, value in values.items()}
        return {"type": "regex", "value": filled(expected.regex, escaped)}
    if expected.json_schema is not None:
        return {"type": "is-json", "value": expected.json_schema}
    if expected.judge is not None:
        return {"type": "llm-rubric", "value": filled(expected.judge.rubric, values)}
    if expected.seconds is not None:
        return {"type": "latency", "threshold": expected.seconds * MILLISECONDS}
    if expected.cost is not None:
        return {"type": "cost", "threshold": expected.cost}
    return None  # tools and tokens, which promptfoo knows by code alone


def _kind(given: Any) -> str:
    if not isinstance(given, Mapping) or not isinstance(given.get("type"), str):
        raise TypeError("an assertion without a type")
    kind: str = given["type"]
    return kind


def _value(test: Mapping[str, Any], name: str) -> str:
    value = test.get("vars", {}).get(name)
    if not isinstance(value, (str, int, float)):
        raise TypeError(f"each test needs a text for {name!r}")
    return str(value)


def _swapped(text: str) -> str:
    """Return a text with variables as scenarios write them."""
    return _VARIABLE.sub(r"{\1}", text)


def unsupported_kinds(scenario: Scenario) -> Sequence[str]:
    """Return the kinds of expectations that promptfoo cannot be given."""
    expected = [each for turn in scenario.turns for each in turn.expect]
    kinds = [
        kind for kind in ("tool", "tokens") if any(getattr(e, kind) is not None for e in expected)
    ]
    return [*kinds, *(["the simulated user"] if scenario.user is not None else [])]
