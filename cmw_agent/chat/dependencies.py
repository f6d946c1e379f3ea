"""What all turns of a process share beside the memory: limits, approvals, profiles, tools, files."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from pydantic import SecretStr

from cmw_agent.agent.access import Agents
from cmw_agent.agent.own.own_agents import OwnAgents
from cmw_agent.agent.own.threads import AgentThreads
from cmw_agent.chat.approval_registry import ApprovalRegistry
from cmw_agent.config.agent_profiles import AgentProfile
from cmw_agent.config.model_profiles import Effort
from cmw_agent.config.settings import Settings
from cmw_agent.conversations.changes import ConversationChanges
from cmw_agent.conversations.sessions import LiveSession
from cmw_agent.core.errors import NotFoundError, UserError
from cmw_agent.files.disk_room import network_digest
from cmw_agent.files.service import Files
from cmw_agent.language import wording
from cmw_agent.limits.budgets import Budgets
from cmw_agent.limits.limiter import RateLimiter
from cmw_agent.llm.catalog import ModelCatalog, VisitorKeyNeededError
from cmw_agent.llm.chat_model import NO_EXTRA_BODY, ExtraBody
from cmw_agent.llm.fallback import RunModels
from cmw_agent.llm.visitor_keys import KeyMissingError, key_page
from cmw_agent.observability.observers import Observer
from cmw_agent.recording.recorder import Recorder
from cmw_agent.schedules.service import ScheduleService, ScheduleTarget
from cmw_agent.schedules.toolset import ScheduleToolset
from cmw_agent.tools.composio.connecting import ConnectionService
from cmw_agent.tools.composio.toolset import CONNECT, ComposioToolset
from cmw_agent.tools.mcp.listing import McpListing
from cmw_agent.tools.mcp.toolset import McpToolset
from cmw_agent.tools.search import BOUND, SearchedToolset, ToolIndex
from cmw_agent.tools.toolset import CombinedToolset, Toolset

if TYPE_CHECKING:
    from cmw_agent.tools.mcp.sessions import McpSessions
    from cmw_agent.tools.openapi.services import ApiServices


PAGE = "web"  # the channel of the page


class ModelClosedError(UserError):
    """The user has chosen a model that is for others."""

    status = 403
    sentence = wording("This model is not open to you; please choose another one.")


class AgentRemovedError(NotFoundError):
    """The conversation's agent is not there, or its owner may not use it: the user reads the same."""

    sentence = wording(
        "The agent of this conversation is not here any more; please begin a new chat."
    )


def schedule_target(session: LiveSession, conversation: str) -> ScheduleTarget:
    """Return where a recurring task runs that a session's user adds."""
    return ScheduleTarget(
        conversation,
        session.provenance.recipient,
        network_digest(session.principal, session.address),
        needs_visits=session.principal.kind == "visitor",
        time_zone=session.time_zone,
        language=session.language,
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
        own_agents: What the operator's agents bring.
        mcp: The sessions with MCP servers; None where none are configured.
        apis: Services that describe themselves by OpenAPI; None where none are configured.
        threads: What those of them that remember conversations keep; None where none does.
        recorder: Records turns; None where the settings have none recorded.
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
    own_agents: OwnAgents = field(default_factory=OwnAgents)
    mcp: "McpSessions | None" = None
    apis: "ApiServices | None" = None
    threads: AgentThreads | None = None
    recorder: Recorder | None = None

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
        """Return the first of the models `chosen` that is on offer, or the profile's.

        See `require_open` for a model that is closed to the user.
        """
        return self.catalog.models.choose(profile, *chosen)

    def require_open(self, profile: AgentProfile, chosen: str | None) -> None:
        """Refuse a model that the user has chosen and that is for others.

        Raises:
            ModelClosedError: It is.
        """
        if chosen is not None and chosen in profile.closed_models and chosen != profile.model:
            raise ModelClosedError

    def run_models(
        self,
        session: LiveSession,
        profile: AgentProfile,
        model: str,
        effort: Effort | None = None,
        parameters: ExtraBody = NO_EXTRA_BODY,
        *,
        visitor_key: SecretStr | None = None,
    ) -> RunModels:
        """Return the models of one run for a session's user; see `ModelCatalog.run`.

        Raises:
            KeyMissingError: The model needs a visitor's own key.
        """
        try:
            return self.catalog.run(
                session.owner,
                profile,
                model,
                effort,
                parameters,
                language=session.language,
                visitor_key=visitor_key,
            )
        except VisitorKeyNeededError:
            address = key_page(self.settings)
            raise KeyMissingError(is_page=session.channel == PAGE, address=address) from None

    async def toolset(self, session: LiveSession, profile: AgentProfile) -> Toolset | None:
        """Return the tools for a run: the agent's own, schedules and connected ones."""
        own = [self.own_tools(session, profile), self._scheduling(session)]
        connected = await self.connected_tools(session, profile)
        toolsets = [toolset for toolset in (*own, connected) if toolset is not None]
        return CombinedToolset(toolsets) if len(toolsets) > 1 else next(iter(toolsets), None)

    def own_tools(self, session: LiveSession, profile: AgentProfile) -> Toolset | None:
        """Return the agent's own tools for the session's user; None where it has none."""
        agent = self.own_agents.get(profile.id)
        return agent.toolset(session.owner, self.settings.tool_timeout)

    def stateless_tools(self, session: LiveSession, profile: AgentProfile) -> Toolset | None:
        """Return the tools of a run that is not stored: the agent's own, and those of services."""
        own, services = self.own_tools(session, profile), self._services(profile)
        if services is not None and self.apis is not None and len(services.schemas) > BOUND:
            services = SearchedToolset(services, partial(self.apis.indexes, profile.id))
        toolsets = [each for each in (own, services) if each is not None]
        return CombinedToolset(toolsets) if len(toolsets) > 1 else next(iter(toolsets), None)

    def _scheduling(self, session: LiveSession) -> Toolset | None:
        conversation = session.conversation_id
        if self.schedules is None or conversation is None or not session.principal.may_schedule:
            return None
        return ScheduleToolset(
            self.schedules, session.owner, schedule_target(session, conversation)
        )

    async def connected_tools(self, session: LiveSession, profile: AgentProfile) -> Toolset | None:
        """Return the tools of accounts, MCP servers and services; by search where they are many."""
        listings = await self._listings(session, profile)
        accounts = await self._accounts(session, profile)
        servers = self._servers(session, profile, listings)
        services = self._services(profile)
        toolsets = [each for each in (accounts, servers, services) if each is not None]
        if not toolsets:
            return None
        toolset = CombinedToolset(toolsets) if len(toolsets) > 1 else toolsets[0]
        if len(toolset.schemas) <= BOUND:
            return toolset

        def indexes() -> list[ToolIndex]:
            found = [listing.index for listing in listings]
            found += self.apis.indexes(profile.id) if self.apis is not None else []
            return [*found, self.connecting.index] if self.connecting is not None else found

        return SearchedToolset(toolset, indexes, always=(CONNECT,))

    async def _accounts(self, session: LiveSession, profile: AgentProfile) -> Toolset | None:
        toolkits = profile.toolkits
        if self.connecting is None or not toolkits:
            return None
        found = await self.connecting.tools(toolkits)
        tools = [tool for tool in found if profile.allows_tool(tool.slug)]
        connected = await self.connecting.connected(session.principal)
        return ComposioToolset(
            self.connecting,
            session.principal,
            tools,
            toolkits,
            session.connection_origin,
            connected,
        )

    def _services(self, profile: AgentProfile) -> Toolset | None:
        # An agent that answers by itself calls its own tools alone.
        if self.apis is None or not profile.uses_model:
            return None
        return self.apis.toolset(profile.id, profile.allows_tool)

    async def _listings(self, session: LiveSession, profile: AgentProfile) -> list[McpListing]:
        # An agent that answers by itself calls its own tools alone.
        if self.mcp is None or self.own_agents.get(profile.id).runner is not None:
            return []
        return await self.mcp.listings(session.owner, profile.id)

    def _servers(
        self, session: LiveSession, profile: AgentProfile, listings: Sequence[McpListing]
    ) -> Toolset | None:
        allowed = [
            tool for listing in listings for tool in listing.tools if profile.allows_tool(tool.name)
        ]
        if self.mcp is None or not allowed:
            return None
        return McpToolset(
            self.mcp, session.owner, allowed, session.conversation_id, session.language
        )
