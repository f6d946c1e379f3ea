"""Runs a scenario in process: an app without a server, with a throwaway database."""

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path

from pydantic import SecretStr

from cmw_agent.config.settings import Settings
from cmw_agent.config.validators import sqlite_url
from cmw_agent.proof.scenario.cells import Cell
from cmw_agent.proof.scenario.conversation import Conversation, Run, Stage, new_session
from cmw_agent.proof.scenario.definition import Scenario, values_of
from cmw_agent.proof.scenario.models import ScenarioModels
from cmw_agent.runtime.runtime import Runtime

Progress = Callable[[str], None]


async def run_scenario(
    scenario: Scenario,
    cells: list[Cell],
    settings: Settings,
    progress: Progress,
    runs: list[Run],
    *,
    files: Path,
) -> None:
    """Run each combination as often as the scenario says, its users at once.

    Args:
        scenario: What is said and expected.
        cells: The combinations.
        settings: The app's; its database, data folder and limits are replaced.
        progress: Called with a line of text at each step.
        runs: Takes the conversations; whoever stops this has those that were over.
        files: The folder of the files that messages bring.

    Raises:
        StartupError: The settings do not allow it, such as a model that they do not name.
    """
    with tempfile.TemporaryDirectory(prefix="cmw-scenario-") as folder:
        runtime = Runtime(_throwaway(settings, Path(folder)), None, [cell.agent for cell in cells])
        async with runtime.running():
            models = ScenarioModels(runtime.services.dependencies.catalog)
            for judge in scenario.judges:
                models.check(judge.model, "a judge")
            if scenario.user is not None:
                models.check(scenario.user.model, "a simulated user")
            stage = Stage(runtime, models, scenario, files)
            for repeat in range(1, scenario.repeats + 1):
                for cell in cells:
                    progress(f"{cell.name}, {repeat} of {scenario.repeats}")
                    runs += await asyncio.gather(
                        *(
                            _conversation(stage, cell, repeat, user)
                            for user in range(1, scenario.users + 1)
                        )
                    )


def _throwaway(settings: Settings, folder: Path) -> Settings:
    """Return settings without limits of users, with all data in a folder."""
    return settings.model_copy(
        update={
            "data_dir": folder,
            "database_url": SecretStr(sqlite_url(folder)),
            "turns_per_minute": 0,
            "turns_per_address": 0,
            "turns_at_once": 0,
            "tokens_per_day": 0,
            "titles": "off",
            "suggestions": "off",
        }
    )


async def _conversation(stage: Stage, cell: Cell, repeat: int, user: int) -> Run:
    run = Run(cell.name, repeat, user, values_of(stage.scenario, repeat, user))
    session = await new_session(stage.runtime, cell.agent.id)
    # Each user has a seed of their own, the same one in each combination.
    seed = stage.scenario.seed + (repeat - 1) * stage.scenario.users + user - 1
    await Conversation(stage, session, run, seed).play()
    return run
