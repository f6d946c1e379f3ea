"""What a scenario file says."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

_NAME = re.compile(r"\{(\w+)\}")
MAX_RUNS = 10_000  # users × repeats × cells
KINDS = (
    "contains",
    "lacks",
    "regex",
    "json_schema",
    "tool",
    "judge",
    "seconds",
    "tokens",
    "cost",
)


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"no regular expression: {error}") from error
    return text


def _schema(value: dict[str, Any]) -> dict[str, Any]:
    try:
        Draft202012Validator.check_schema(value)
    except SchemaError as error:
        raise ValueError(f"no JSON schema: {error.message}") from error
    return value


class ToolExpectation(_Table):
    """A tool that must have been called, with at least these arguments."""

    name: str
    arguments: dict[str, Any] = Field(default_factory=dict)


class JudgeExpectation(_Table):
    """What a model must find of an answer.

    Attributes:
        rubric: What must be true of it, in words.
        model: Id of the model of the settings that judges; None for the default.
    """

    rubric: str = Field(min_length=1, max_length=10_000)
    model: str | None = None


class Expectation(_Table):
    """One thing that must hold of an answer; exactly one of these is set.

    Attributes:
        contains: A text that stands in it, whatever its case.
        lacks: A text that does not.
        regex: An expression that matches somewhere in it.
        json_schema: A JSON schema that it fulfils as a whole.
        tool: A tool that was called for it.
        judge: What a model must find of it.
        seconds: How long it may take.
        tokens: How many tokens it may use.
        cost: How many dollars it may cost.
    """

    contains: str | None = None
    lacks: str | None = None
    regex: Annotated[str, AfterValidator(_pattern)] | None = None
    json_schema: Annotated[dict[str, Any], AfterValidator(_schema)] | None = None
    tool: ToolExpectation | None = None
    judge: JudgeExpectation | None = None
    seconds: float | None = Field(default=None, gt=0)
    tokens: int | None = Field(default=None, gt=0)
    cost: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(getattr(self, kind) is not None for kind in KINDS) != 1:
            raise ValueError(f"an expectation has exactly one of {', '.join(KINDS)}")
        return self


def _condition(expected: Expectation) -> Expectation:
    if expected.judge is not None:
        raise ValueError("a condition is not judged by a model")
    return expected


class Turn(_Table):
    """A user's message and what must hold of the answer.

    Attributes:
        say: The message.
        expect: What must hold of the answer.
        files: Paths of files that the message brings, from the folder of the scenario.
        wait: How many seconds the user waits before they write.
        when: What must hold of the answer before; the turn is left out otherwise.
        approve: Whether calls that need approval are approved; None for what the scenario says.
    """

    say: str = Field(min_length=1)
    expect: list[Expectation] = Field(default_factory=list)
    files: list[Path] = Field(default_factory=list, max_length=20)
    wait: float = Field(default=0.0, ge=0, le=3_600)
    when: Annotated[Expectation, AfterValidator(_condition)] | None = None
    approve: bool | None = None


class SimulatedUser(_Table):
    """A user whose messages a model writes.

    Attributes:
        persona: Who they are.
        goal: What they want.
        turns: How many messages they write at most; they may end before.
        model: Id of the model of the settings that writes; None for the default.
        expect: What must hold of the last answer.
    """

    persona: str = Field(min_length=1, max_length=10_000)
    goal: str = Field(min_length=1, max_length=10_000)
    turns: int = Field(default=5, ge=1, le=100)
    model: str | None = None
    expect: list[Expectation] = Field(default_factory=list)


class Matrix(_Table):
    """What is varied; every combination is a row of the table.

    Attributes:
        agents: References such as ``my_app:graph``.
        models: Ids of models of the settings.
        prompts: System prompts by their names.
        temperatures: Sampling temperatures.
    """

    agents: list[str] = Field(default_factory=list)
    models: list[str] = Field(default_factory=list)
    prompts: dict[str, str] = Field(default_factory=dict)
    temperatures: list[float] = Field(default_factory=list)

    @property
    def size(self) -> int:
        """How many combinations there are."""
        sizes = (self.agents, self.models, self.prompts, self.temperatures)
        product = 1
        for each in sizes:
            product *= max(1, len(each))
        return product


class Scenario(_Table):
    """A scenario.

    Attributes:
        scenario: Its name.
        turns: What each user says, and what must hold.
        user: Who goes on after the turns, by a model.
        users: How many talk at once.
        repeats: How often each combination is run.
        variables: Values that stand for ``{name}`` in texts, dealt to the users in turn.
        matrix: What is varied.
        approve: Whether calls that need approval are approved; they are denied otherwise.
        seconds: How long one answer may take.
        seed: What models that judge are given as their seed, and the first simulated user's.
    """

    scenario: str = Field(min_length=1, max_length=200)
    turns: list[Turn] = Field(default_factory=list, max_length=1_000)
    user: SimulatedUser | None = None
    users: int = Field(default=1, ge=1, le=100)
    repeats: int = Field(default=1, ge=1, le=1_000)
    variables: dict[str, Annotated[list[str], Field(min_length=1)]] = Field(default_factory=dict)
    matrix: Matrix = Field(default_factory=Matrix)
    approve: bool = False
    seconds: float = Field(default=120.0, gt=0, le=3_600)
    seed: int = Field(default=0, ge=0, lt=2**31)

    @property
    def judges(self) -> Iterator[JudgeExpectation]:
        """What models must find of answers."""
        expected = [each for turn in self.turns for each in turn.expect]
        expected += self.user.expect if self.user is not None else []
        yield from (each.judge for each in expected if each.judge is not None)

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if not self.turns and self.user is None:
            raise ValueError("turns or a user are missing")
        if self.turns and self.turns[0].when is not None:
            raise ValueError("the first turn has no answer before it that `when` could look at")
        if self.users * self.repeats * self.matrix.size > MAX_RUNS:
            raise ValueError(f"users × repeats × combinations are more than {MAX_RUNS:,}")
        return self


def values_of(scenario: Scenario, repeat: int, user: int) -> Mapping[str, str]:
    """Return the values of a user's variables, which are dealt on through the repeats.

    Args:
        scenario: The scenario.
        repeat: The number of the repeat, from 1.
        user: The number of the user, from 1.
    """
    index = (repeat - 1) * scenario.users + user - 1
    return {name: values[index % len(values)] for name, values in scenario.variables.items()}


def filled(text: str, values: Mapping[str, str]) -> str:
    """Return a text with the variables' values in it."""
    return _NAME.sub(lambda found: values.get(found[1], found[0]), text)
