"""What the operator's agents bring beside their profiles: what answers, and their tools."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from cmw_agent.agent.own.definition import Agent
from cmw_agent.agent.own.references import AGENTS, TOOLS, load
from cmw_agent.agent.own.runner import OwnRunner, runner_of
from cmw_agent.config.agent_profiles import AgentProfile
from cmw_agent.tools.own_tools import OwnTool, OwnToolset, check_names


@dataclass(frozen=True, slots=True)
class OwnAgent:
    """What an agent brings.

    Attributes:
        runner: Answers in place of the built-in loop; None for that.
        tools: Its own tools.
    """

    runner: OwnRunner | None = None
    tools: tuple[OwnTool, ...] = ()

    def toolset(self, owner: str, seconds: float) -> OwnToolset | None:
        """Return its tools for a run; None where it has none.

        Args:
            owner: Id of the principal that the run works for.
            seconds: How long a call may take.
        """
        return OwnToolset(self.tools, owner, seconds) if self.tools else None


class OwnAgents:
    """What the agents bring, by their ids.

    Args:
        by_id: Those that bring something.
    """

    def __init__(self, by_id: Mapping[str, OwnAgent] = MappingProxyType({})) -> None:
        self._by_id = by_id

    @classmethod
    def of(
        cls,
        profiles: Mapping[str, AgentProfile],
        definitions: Sequence[Agent] = (),
        taken: Collection[str] = (),
    ) -> "OwnAgents":
        """Return what agents bring, loaded and checked.

        Args:
            profiles: All agents' profiles by id.
            definitions: Those of them that are defined in Python.
            taken: Names of tools that every agent has.

        Raises:
            StartupError: Something cannot be imported, is of a kind that cannot be used, or two
                tools have one name.
        """
        in_code = {item.id: item for item in definitions}
        found: dict[str, OwnAgent] = {}
        for profile in profiles.values():
            subject = f"agent {profile.id!r}"
            code = in_code.get(profile.id)
            graph = code.graph if code is not None else None
            values = list(code.tools) if code is not None else []
            if graph is None and profile.graph is not None:
                graph = load(profile.graph, AGENTS, subject)
            values += [load(name, TOOLS, subject) for name in profile.tools]
            tools = tuple(OwnTool.of(value) for value in values)
            check_names(tools, taken, subject)
            if graph is not None or tools:
                runner = runner_of(graph, subject) if graph is not None else None
                found[profile.id] = OwnAgent(runner, tools)
        return cls(found)

    def marked(self, profiles: Mapping[str, AgentProfile]) -> Mapping[str, AgentProfile]:
        """Return the profiles, each saying whether the built-in loop answers for it."""
        return MappingProxyType(
            {
                name: replace(profile, uses_model=self.get(name).runner is None)
                for name, profile in profiles.items()
            }
        )

    @property
    def keeping_threads(self) -> Mapping[str, OwnRunner]:
        """What answers for the agents that remember conversations by themselves, by their ids."""
        runners = ((name, agent.runner) for name, agent in self._by_id.items())
        return {name: runner for name, runner in runners if runner and runner.keeps_threads}

    @property
    def keeping_threads_elsewhere(self) -> Mapping[str, OwnRunner]:
        """Those of them whose memories other processes reach."""
        found = self.keeping_threads.items()
        return {name: runner for name, runner in found if runner.keeps_threads_elsewhere}

    @property
    def tool_names(self) -> frozenset[str]:
        """The names of all agents' own tools."""
        return frozenset(tool.name for agent in self._by_id.values() for tool in agent.tools)

    def get(self, agent_id: str) -> OwnAgent:
        """Return what an agent brings."""
        return self._by_id.get(agent_id) or OwnAgent()
