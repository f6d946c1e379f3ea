"""What all turns of a process share beside the memory: limits, approvals, profiles, tools, files."""

from dataclasses import dataclass, field

from cmw_agent.agent.access import Agents
from cmw_agent.chat.approval_registry import ApprovalRegistry
from cmw_agent.config.agent_profiles import AgentProfile
from cmw_agent.config.settings import Settings
from cmw_agent.conversations.changes import ConversationChanges
from cmw_agent.conversations.sessions import LiveSession
from cmw_agent.core.errors import NotFoundError
from cmw_agent.files.disk_room import network_digest
from cmw_agent.files.service import Files
from cmw_agent.limits.budgets import Budgets
from cmw_agent.limits.limiter import RateLimiter
from cmw_agent.llm.catalog import ModelCatalog
from cmw_agent.observability.observers import Observer
from cmw_agent.schedules.service import ScheduleService, ScheduleTarget
from cmw_agent.schedules.toolset import ScheduleToolset
from cmw_agent.tools.composio.connecting import ConnectionService
from cmw_agent.tools.composio.toolset import ComposioToolset
from cmw_agent.tools.toolset import CombinedToolset, Toolset


class AgentRemovedError(NotFoundError):
    """The conversation's agent is not there, or its owner may not use it: the user reads the same."""

    sentence = "The agent of this conversation is not here any more; please begin a new chat."


def place_of(session: LiveSession, conversation: str) -> ScheduleTarget:
    """Return where a recurring task runs that a session's user adds."""
    return ScheduleTarget(
        conversation,
        session.provenance.recipient,
        network_digest(session.principal, session.address),
        needs_visits=session.principal.kind == "visitor",
        time_zone=session.time_zone,
    )


@dataclass(frozen=True, slots=True)
class ChatDependencies:
    """What all turns of a process share.

    Args:
        settings: The app's.
        limits: Counts messages, answers at once and tokens.
        approvals: The tool calls that wait for their owners.
        agents: The agents' profiles.
        catalog: The models.
        files: The files of users.
        budgets: Bounds what turns hold at once.
        changes: Tells the owners' pages that turns begin and end.
        connecting: The accounts that users connect; None where none can be.
        observer: Counts turns.
        schedules: The recurring tasks of users; None where nobody may have any.
    """

    settings: Settings
    limits: RateLimiter
    approvals: ApprovalRegistry
    agents: Agents
    catalog: ModelCatalog
    files: Files
    budgets: Budgets
    changes: ConversationChanges
    connecting: ConnectionService | None = None
    observer: Observer = field(default_factory=Observer)
    schedules: ScheduleService | None = None

    async def profile(self, session: LiveSession, agent_id: str) -> AgentProfile:
        """Return the profile of an agent that a session's user may use now.

        Raises:
            AgentRemovedError: There is none of that id, or none for this user.
            UserError: The memory fails.
        """
        tenant_id = session.provenance.tenant_id
        profile = await self.agents.find_for(agent_id, session.principal, tenant_id)
        if profile is None:
            raise AgentRemovedError
        return profile

    def model(self, profile: AgentProfile, *chosen: object) -> str:
        """Return the first of the models `chosen` that is on offer, or the profile's."""
        return self.catalog.models.choose(profile, *chosen)

    async def toolset(self, session: LiveSession, profile: AgentProfile) -> Toolset | None:
        """Return the tools that are the session's user's own: connected ones and schedules."""
        own = (await self._connected(session, profile), self._scheduling(session))
        toolsets = [toolset for toolset in own if toolset is not None]
        return CombinedToolset(toolsets) if len(toolsets) > 1 else next(iter(toolsets), None)

    def _scheduling(self, session: LiveSession) -> Toolset | None:
        conversation = session.conversation_id
        if self.schedules is None or conversation is None or not session.principal.may_schedule:
            return None
        return ScheduleToolset(self.schedules, session.owner, place_of(session, conversation))

    async def _connected(self, session: LiveSession, profile: AgentProfile) -> Toolset | None:
        toolkits = profile.toolkits
        if self.connecting is None or not toolkits:
            return None
        tools = await self.connecting.tools(toolkits)
        return ComposioToolset(self.connecting, session.principal, tools, toolkits, session.place)
