"""The combinations of a scenario's matrix, each as an agent of its own."""

import itertools
import sys
from dataclasses import dataclass, replace
from typing import Any

from cmw_agent.agent.own.definition import Agent
from cmw_agent.agent.own.references import AGENTS, load
from cmw_agent.proof.scenario.definition import Scenario
from cmw_agent.proof.scenario.remote import RemoteAgent, is_address


@dataclass(frozen=True, slots=True)
class Cell:
    """One combination.

    Attributes:
        name: What the table calls it.
        agent: What answers.
    """

    name: str
    agent: Agent


def cells_of(scenario: Scenario) -> list[Cell]:
    """Return all combinations, in the order of the file.

    Raises:
        StartupError: An agent cannot be loaded.
    """
    matrix = scenario.matrix
    agents = [
        (each, loaded(each, f"scenario {scenario.scenario!r}")) for each in matrix.agents
    ] or [("", None)]
    models: list[str | None] = [*matrix.models] or [None]
    prompts: list[tuple[str | None, str | None]] = [*matrix.prompts.items()] or [(None, None)]
    temperatures: list[float | None] = [*matrix.temperatures] or [None]
    combinations = itertools.product(agents, models, prompts, temperatures)
    return [_cell(number, *combination) for number, combination in enumerate(combinations, start=1)]


def _cell(
    number: int,
    agent: tuple[str, Any],
    model: str | None,
    prompt: tuple[str | None, str | None],
    temperature: float | None,
) -> Cell:
    reference, found = agent
    base = found if isinstance(found, Agent) else Agent(id="cell", graph=found)
    varied = replace(
        base,
        id=f"cell-{number}",
        name=f"cell {number}",
        model=base.model if model is None else model,
        prompt=base.prompt if prompt[1] is None else prompt[1],
        temperature=base.temperature if temperature is None else temperature,
        access=None,
    )
    warmth = None if temperature is None else f"temperature {temperature:g}"
    parts = [reference, model, prompt[0], warmth]
    return Cell(" · ".join(part for part in parts if part) or "built-in", varied)


def loaded(reference: str, subject: str) -> Any:
    """Return the agent that a reference or an address names, from the current folder too.

    Raises:
        StartupError: It cannot be loaded.
    """
    if is_address(reference):
        return RemoteAgent(reference).answer
    if "" not in sys.path:
        sys.path.insert(0, "")  # the current folder, as for a script
    return load(reference, AGENTS, subject)
