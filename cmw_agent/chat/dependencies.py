"""What a process's turns share beside the memory: limits, approvals, profiles, tools, files."""

from dataclasses import dataclass, field
from typing import Protocol

from cmw_agent.agent.access import Agents
from cmw_agent.chat.approval_registry import ApprovalRegistry
from cmw_agent.chat.turn import Command, CommandReply
from cmw_agent.config.agent_profiles import Profile
from cmw_agent.config.settings import Settings
from cmw_agent.conversations.sessions import LiveSession
from cmw_agent.core.errors import NotFoundError
from cmw_agent.files.disk_room import network_digest
from cmw_agent.files.service import Files
from cmw_agent.limits.budgets import Budgets
from cmw_agent.limits.limiter import RateLimiter
from cmw_agent.llm.request_fields import RequestFields
from cmw_agent.observability.observers import Observer
from cmw_agent.schedules.service import ScheduleService, ScheduleTarget
from cmw_agent.schedules.toolset import ScheduleToolset
from cmw_agent.tools.composio.connecting import Connecting
from cmw_agent.tools.composio.toolset import ComposioToolset
from cmw_agent.tools.toolset import CombinedToolset, Toolset


class CommandRunner(Protocol):
    """What does what a message with a slash says; see `cmw_agent.chat.commands`."""

    def find(self, text: str) -> Command | None:
        """Return the command that a message is, if it is one."""

    async def run(self, session: LiveSession, command: Command) -> CommandReply:
        """Return the answer to a command for the session's own user."""


class AgentRemovedError(NotFoundError):
    """The conversation's agent is not there, or its owner may not use it: told alike."""

    sentence = "The agent of this conversation is not here any more; please begin a new chat."


def place_of(session: LiveSession, conversation: str) -> ScheduleTarget:
    """Return where a recurring task runs that is made in a session."""
    return ScheduleTarget(
        conversation,
        session.provenance.recipient,
        network_digest(session.principal, session.address),
        needs_visits=session.principal.kind == "visitor",
    )


@dataclass(frozen=True, slots=True)
class ChatDependencies:
    """See the module's text.

    `connecting` is None where no accounts can be connected, `schedules` where nobody may have
    recurring tasks.
    """

    settings: Settings
    limits: RateLimiter
    approvals: ApprovalRegistry
    agents: Agents
    fields: RequestFields
    files: Files
    budgets: Budgets
    connecting: Connecting | None = None
    observer: Observer = field(default_factory=Observer)
    schedules: ScheduleService | None = None

    async def profile(self, session: LiveSession, agent_id: str) -> Profile:
        """Return the profile of an agent that a session's user may use now.

        Raises:
            AgentRemovedError: There is none of that id, or none for this user.
            UserError: The memory fails.
        """
        tenant_id = session.provenance.tenant_id
        found = await self.agents.find_for(agent_id, session.principal, tenant_id)
        if found is None:
            raise AgentRemovedError
        return found

    def model(self, profile: Profile, *chosen: object) -> str:
        """Return the first of the models `chosen` that is on offer, or the profile's."""
        known = (self.settings.model, *self.settings.models)
        offered = (name for name in chosen if isinstance(name, str) and name in known)
        return next(offered, profile.model)

    async def box(self, session: LiveSession, profile: Profile) -> Toolset | None:
        """Return the tools that are the session's user's own: connected ones and schedules."""
        boxes = [await self._connected(session, profile), self._scheduling(session)]
        found = [box for box in boxes if box is not None]
        return CombinedToolset(found) if len(found) > 1 else next(iter(found), None)

    def _scheduling(self, session: LiveSession) -> Toolset | None:
        conversation = session.conversation_id
        if self.schedules is None or conversation is None or not session.principal.may_schedule:
            return None
        return ScheduleToolset(self.schedules, session.owner, place_of(session, conversation))

    async def _connected(self, session: LiveSession, profile: Profile) -> Toolset | None:
        toolkits = profile.toolkits
        if self.connecting is None or not toolkits:
            return None
        tools = await self.connecting.tools(toolkits)
        return ComposioToolset(self.connecting, session.principal, tools, toolkits, session.place)
