"""Reads datasets of other tools as scenarios, and writes runs in their shapes.

Read and written are JSON Lines of Inspect (``input``, ``target``; https://inspect.aisi.org.uk/datasets.html) and
of OpenAI's fine-tuning (``messages``). Each sample is a conversation of its own: its texts are variables, which
are dealt to the users.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cmw_agent.core.errors import StartupError
from cmw_agent.proof.scenario.conversation import Run
from cmw_agent.proof.scenario.definition import Scenario, filled, values_of

MAX_AT_ONCE = 20  # users of an imported scenario
SAME = "It says the same as this, in whatever words: {target}"


def users_for(samples: int) -> int:
    """Return how many users share so many samples evenly."""
    most = min(MAX_AT_ONCE, samples)
    return next(users for users in range(most, 0, -1) if samples % users == 0)


def read_samples(path: Path, text: str) -> dict[str, Any]:
    """Return what a scenario file of these samples would say.

    Args:
        path: The file, for errors.
        text: Its content, in JSON Lines.

    Raises:
        StartupError: A line is no sample with one question; it names the line.
    """
    pairs, kinds = [], set()
    # `splitlines` would also end a line at U+2028, which may stand in a text.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            sample = json.loads(line)
            is_chat = "messages" in sample
            pairs.append(_exchange(sample["messages"]) if is_chat else _sample(sample))
        except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
            reason = "one question and its answer are wanted"
            raise StartupError(f"{path}, line {number}: no sample: {reason}") from error
        kinds.add(is_chat)
    if not pairs or len(kinds) > 1:
        raise StartupError(f"{path}: {'two shapes in one file' if pairs else 'no samples'}")
    users = users_for(len(pairs))
    expected = {"judge": {"rubric": SAME}} if kinds == {True} else {"contains": "{target}"}
    return {
        "scenario": path.stem[:200],
        "users": users,
        "repeats": len(pairs) // users,
        "variables": {
            "input": [question for question, _ in pairs],
            "target": [target for _, target in pairs],
        },
        "turns": [{"say": "{input}", "expect": [expected]}],
    }


def _sample(sample: Mapping[str, Any]) -> tuple[str, str]:
    given, target = sample["input"], sample["target"]
    if not isinstance(given, str):
        (question,) = [each for each in given if each["role"] != "system"]
        given = question["content"]
    if isinstance(target, list):
        (target,) = target
    return _text(given), _text(target)


def _exchange(messages: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    said = [each for each in messages if each["role"] not in ("system", "developer")]
    question, answered = said
    if (question["role"], answered["role"]) != ("user", "assistant"):
        raise ValueError("no question with its answer")
    return _text(question["content"]), _text(answered["content"])


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("no text")
    return value


def inspect_lines(scenario: Scenario, runs: Sequence[Run]) -> Iterator[str]:
    """Yield the conversations as samples of Inspect; the last message is to be answered."""
    for run in runs:
        *before, last = run.answers
        transcript = [
            *(message for answer in before for message in _messages(answer.said, answer.text))
        ]
        question = {"role": "user", "content": last.said}
        yield json.dumps(
            {
                "id": f"{run.cell}/{run.repeat}/{run.user}",
                "input": [*transcript, question] if transcript else last.said,
                "target": _target(scenario, run) or last.text,
                "metadata": {"cell": run.cell, "passed": run.passed, "answer": last.text},
            }
        )


def openai_lines(scenario: Scenario, runs: Sequence[Run]) -> Iterator[str]:
    """Yield the conversations that passed as examples for OpenAI's fine-tuning."""
    prompts = scenario.matrix.prompts
    for run in runs:
        if run.passed:
            prompt = next((prompts[name] for name in prompts if f" · {name}" in run.cell), None)
            system = [{"role": "system", "content": prompt}] if prompt else []
            said = [each for answer in run.answers for each in _messages(answer.said, answer.text)]
            yield json.dumps({"messages": [*system, *said]})


def _messages(said: str, answered: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": said}, {"role": "assistant", "content": answered}]


def _target(scenario: Scenario, run: Run) -> str | None:
    """Return what the last answer must contain, if the scenario says that."""
    expected = scenario.turns[-1].expect if scenario.turns else []
    wanted = next((each.contains for each in expected if each.contains is not None), None)
    if wanted is None:
        return None
    return filled(wanted, values_of(scenario, run.repeat, run.user))
