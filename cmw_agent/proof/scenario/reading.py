"""Reads a scenario file; an error names its line and column."""

from collections.abc import Sequence
from pathlib import Path

import yaml
from pydantic import ValidationError

from cmw_agent.core.errors import StartupError
from cmw_agent.proof.scenario.definition import Scenario
from cmw_agent.proof.scenario.promptfoo import is_promptfoo, read_promptfoo
from cmw_agent.proof.scenario.samples import read_samples

MAX_BYTES = 1_000_000


def read_scenario(path: Path) -> Scenario:
    """Return the scenario of a file: its own form, tests of promptfoo, or samples in JSON Lines.

    Raises:
        StartupError: It cannot be read, is no YAML, or no scenario; one line with the place.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise StartupError(f"{path} has more than {MAX_BYTES:,} bytes")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StartupError(f"{path} cannot be read ({type(error).__name__})") from error
    if path.suffix == ".jsonl":
        return _validated(path, read_samples(path, text), None)
    try:
        for token in yaml.scan(text, Loader=yaml.SafeLoader):
            if isinstance(token, yaml.AliasToken):
                raise StartupError(f"{_location(path, token.start_mark)}: aliases are not read")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        value = yaml.safe_load(text)
        if is_promptfoo(value):
            node, value = None, read_promptfoo(value, path.stem[:200])
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise StartupError(f"{_location(path, mark)}: {error.problem}") from error
    except (yaml.YAMLError, RecursionError, UnicodeError) as error:
        raise StartupError(f"{path} is no YAML ({type(error).__name__})") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise StartupError(f"{path}: {error}") from error
    scenario = _validated(path, value, node)
    _check_files(path, scenario, node)
    return scenario


def _validated(path: Path, value: object, node: yaml.Node | None) -> Scenario:
    try:
        return Scenario.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        steps = list(first["loc"])
        name = ".".join(map(str, steps))
        reason = first["msg"].removeprefix("Value error, ")
        where = _location(path, _mark(node, steps))
        raise StartupError(f"{where}: {name + ': ' if name else ''}{reason}") from error


def _check_files(path: Path, scenario: Scenario, node: yaml.Node | None) -> None:
    """Refuse files that are not there before anything runs."""
    for turn, each in enumerate(scenario.turns):
        for number, file in enumerate(each.files):
            if not (path.parent / file).is_file():
                where = _location(path, _mark(node, ["turns", turn, "files", number]))
                raise StartupError(f"{where}: there is no file {file}")


def _mark(node: yaml.Node | None, steps: Sequence[int | str]) -> yaml.Mark | None:
    """Return where the deepest part stands that is there; a key's own place where it is unknown."""
    if node is None:
        return None
    mark = node.start_mark
    for step in steps:
        if isinstance(node, yaml.MappingNode):
            found = [(key, value) for key, value in node.value if key.value == str(step)]
            if not found:
                break
            mark, node = found[0][0].start_mark, found[0][1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int):
            if step >= len(node.value):
                break
            node = node.value[step]
            mark = node.start_mark
        else:
            break
    return mark


def _location(path: Path, mark: yaml.Mark | None) -> str:
    if mark is None:
        return str(path)
    return f"{path}, line {mark.line + 1}, column {mark.column + 1}"
