"""Asks a recorded turn anew with one thing changed: the model, the prompt, the agent or the tools."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cmw_agent.agent.agent import Ask
from cmw_agent.agent.own.definition import Agent
from cmw_agent.agent.own.own_agents import OwnAgents
from cmw_agent.agent.own.runner import OwnRunner, runner_of
from cmw_agent.config.agent_profiles import AgentProfile, load_profiles
from cmw_agent.config.model_loader import load_models
from cmw_agent.config.model_profiles import Models
from cmw_agent.config.settings import Settings
from cmw_agent.core.errors import StartupError
from cmw_agent.language import languages
from cmw_agent.llm.catalog import ModelCatalog, VisitorKeyNeededError, open_models
from cmw_agent.llm.coalescing import FlushInterval
from cmw_agent.llm.fallback import RunModels
from cmw_agent.proof.replay.cassette import Cassette
from cmw_agent.proof.replay.runner import Replayed, answered
from cmw_agent.proof.replay.tape import ReplayTape
from cmw_agent.proof.replay.tools import (
    Answerer,
    CassetteAnswers,
    ModelAnswers,
    ReplayToolset,
    StubAnswers,
    ToolSource,
    read_stubs,
)
from cmw_agent.proof.scenario.cells import loaded

CHANGED = "replayed"  # id of an agent that a reference names


@dataclass(frozen=True, slots=True)
class Change:
    """What is changed; None is as it was recorded.

    Attributes:
        model: Id of a model of the settings.
        prompt: Another system prompt.
        agent: Id of an agent of the settings, or a reference such as ``my_app:agent``.
        tools: What answers tool calls.
        stubs: A JSON file with the stubs' texts.
    """

    model: str | None = None
    prompt: str | None = field(default=None, repr=False)
    agent: str | None = None
    tools: ToolSource = "cassette"
    stubs: Path | None = None

    @property
    def is_any(self) -> bool:
        """Whether anything is changed, so that models have to be asked."""
        return any((self.model, self.prompt, self.agent, self.tools != "cassette"))

    @property
    def text(self) -> str:
        """What is changed, in words."""
        parts = [
            f"model {self.model}" if self.model else "",
            "another prompt" if self.prompt else "",
            f"agent {self.agent}" if self.agent else "",
            f"tools by {self.tools}" if self.tools != "cassette" else "",
        ]
        return ", ".join(filter(None, parts))


async def ask_anew(
    cassettes: Sequence[Cassette], settings: Settings, change: Change
) -> list[Replayed]:
    """Ask the settings' models for each turn, one after the other; return what came of each.

    Raises:
        StartupError: The settings have no such model or agent.
    """
    stage = _Stage.of(settings, change)
    async with open_models(settings, stage.models, FlushInterval()) as catalog:
        return [await stage.ask(catalog, cassette) for cassette in cassettes]


def own_runner(cassette: Cassette, agent: str | None) -> OwnRunner | None:
    """Return what answered a turn in place of the loop; None where the loop did.

    Args:
        cassette: The turn.
        agent: A reference to what answers instead of what was recorded.

    Raises:
        StartupError: It is not known, or cannot be loaded.
    """
    if cassette.header["uses_model"]:
        return None
    reference, name = agent or cassette.header["graph"], cassette.header["agent"]
    if reference is None:
        raise StartupError(
            f"the agent {name!r} answered by itself, and is defined in code: name what answers "
            "with --agent MODULE:NAME"
        )
    found = loaded(reference, f"agent {name!r}")
    graph = found.graph if isinstance(found, Agent) else found
    return runner_of(graph, f"agent {name!r}")


@dataclass(frozen=True, slots=True)
class _Stage:
    """What changed runs share."""

    settings: Settings
    change: Change
    models: Models
    profiles: "dict[str, AgentProfile]"
    own_agents: OwnAgents
    agent: str | None

    @classmethod
    def of(cls, settings: Settings, change: Change) -> "_Stage":
        models, name = load_models(settings), change.agent
        agents: list[Agent] = []
        if name is not None and ":" in name:
            found: Any = loaded(name, "--agent")
            base = found if isinstance(found, Agent) else Agent(id=CHANGED, graph=found)
            agents, name = [replace(base, id=CHANGED, access=None)], CHANGED
        if change.model is not None and change.model not in models.by_id:
            known = ", ".join(models.by_id)
            raise StartupError(f"--model must be one of {known}, not {change.model}")
        profiles = load_profiles(settings, models, [dict(agent.table) for agent in agents])
        if name is not None and name not in profiles:
            known = ", ".join(profiles)
            raise StartupError(f"--agent must be MODULE:NAME or one of {known}, not {name}")
        own = OwnAgents.of(profiles, agents)
        return cls(settings, change, models, dict(own.marked(profiles)), own, name)

    async def ask(self, catalog: ModelCatalog, cassette: Cassette) -> Replayed:
        """Ask for one turn."""
        given, change = cassette.given, self.change
        profile = self._profile(cassette)
        tape = ReplayTape(cassette, None, is_timed=False)
        models = self._models(catalog, cassette, profile)
        is_new = change.prompt is not None or self.agent is not None
        ask = Ask(
            # The recorded instructions hold the summary already; another prompt does not.
            instructions=(change.prompt or profile.prompt) if is_new else given["instructions"],
            summary=given["summary"] if is_new else None,
            model=models,
            toolset=ReplayToolset(cassette, self._answerer(tape, models)),
            runner=self.own_agents.get(profile.id).runner,
            request_id="replay",
        )
        return await answered(tape, ask, self.settings)

    def _profile(self, cassette: Cassette) -> AgentProfile:
        name = self.agent or cassette.header["agent"]
        if name not in self.profiles:
            raise StartupError(f"there is no agent {name!r} here; choose one with --agent")
        return self.profiles[name]

    def _models(
        self, catalog: ModelCatalog, cassette: Cassette, profile: AgentProfile
    ) -> RunModels:
        recorded: str = cassette.header["models"][0]["id"]
        name = self.change.model or (recorded if self.agent is None else profile.model)
        if name not in self.models.by_id:
            raise StartupError(f"there is no model {name} here; choose one with --model")
        language = languages().of(cassette.header["language"])
        try:
            return catalog.run(cassette.header["owner"], profile, name, language=language)
        except VisitorKeyNeededError:
            raise StartupError(f"the model {name} needs a visitor's own key") from None

    def _answerer(self, tape: ReplayTape, models: RunModels) -> Answerer:
        if self.change.tools == "stub":
            return StubAnswers(read_stubs(self.change.stubs))
        if self.change.tools == "model":
            return ModelAnswers(models.current.model, tape.cassette.given["tools"])
        return CassetteAnswers(tape)
