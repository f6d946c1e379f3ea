"""The composition root: holds what one process needs while it runs, and runs its periodic jobs."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Collection, Sequence
from functools import partial
from typing import TYPE_CHECKING, Literal

from cmw_agent.agent.access import Agents
from cmw_agent.agent.own.definition import Agent
from cmw_agent.agent.own.own_agents import OwnAgents
from cmw_agent.chat.approval_registry import ApprovalRegistry
from cmw_agent.chat.approvals import ApprovalService
from cmw_agent.chat.commands import ChatCommands
from cmw_agent.chat.dependencies import AgentRemovedError
from cmw_agent.chat.service import ChatService
from cmw_agent.config.access_table import load_access
from cmw_agent.config.agent_profiles import load_profiles
from cmw_agent.config.mcp_servers import load_mcp_servers
from cmw_agent.config.model_loader import load_models
from cmw_agent.config.openapi_services import load_openapi_services
from cmw_agent.config.settings import Settings
from cmw_agent.conversations.changes import ConversationChanges
from cmw_agent.conversations.importing.service import ImportService
from cmw_agent.conversations.prompts import PromptService
from cmw_agent.conversations.service import ConversationService
from cmw_agent.conversations.sessions import LiveSession, SessionRegistry
from cmw_agent.conversations.shares import ShareService
from cmw_agent.core.errors import ServiceUnavailableError
from cmw_agent.core.logs import get_logger
from cmw_agent.core.store_errors import mapped_store_errors
from cmw_agent.files.service import Files
from cmw_agent.files.voice import VoiceInput
from cmw_agent.identity.principals import Principal
from cmw_agent.language import Language, languages
from cmw_agent.limits.budgets import Budgets
from cmw_agent.observability.observers import Observer
from cmw_agent.runtime.periodic import PeriodicTask
from cmw_agent.runtime.scheduler import Deliver, Scheduler
from cmw_agent.runtime.scheduler_loop import running_scheduler
from cmw_agent.runtime.services import Services, open_services
from cmw_agent.schedules.service import ScheduleService
from cmw_agent.schedules.toolset import NAMES as SCHEDULING
from cmw_agent.tools.approvals import QUESTION
from cmw_agent.tools.builtin import BUILT_IN
from cmw_agent.tools.composio.connecting import ConnectionService
from cmw_agent.tools.composio.toolset import CONNECT
from memory.engine.database import ping
from memory.errors import DatabaseFullError, StoreError
from memory.logins import Logins
from memory.manager import ConversationMemoryManager
from memory.queues.inbox import Inbox
from memory.queues.outbox import Outbox
from memory.queues.schedules import VISIT_PRECISION
from memory.queues.window_store import ServiceWindows
from memory.reports.rated_answers import RatedAnswer, RatedFilter, rated_answers
from memory.reports.statistics import Statistics
from memory.reports.usage_statistics import statistics

if TYPE_CHECKING:
    from cmw_agent.tools.openapi.loading import LoadedService

log = get_logger(__name__)

WHATSAPP_SLACK = 600  # seconds, for clocks that differ
if TYPE_CHECKING:
    from cmw_agent.tools.mcp.accounts import McpAccounts
    from cmw_agent.tools.mcp.offers import McpOffers

PING_SECONDS = 5.0
TAKEN = (
    *(tool.name for tool in BUILT_IN),
    *SCHEDULING,
    CONNECT,
    QUESTION,
)  # names of every agent's tools
Readiness = Literal["ready", "disk full", "not ready"]


class Runtime:
    """One process of the app: its settings always, its services while it runs.

    Args:
        settings: As loaded at start.
        observer: Receives the process's events, for metrics and traces.
        agents: The agents that are defined in Python.

    Raises:
        StartupError: The file of agents and models is wrong, or an agent in Python is.
        ServiceUnavailableError: From `services` and all that reads them, before the start and
            after the end.
    """

    def __init__(
        self, settings: Settings, observer: Observer | None = None, agents: Sequence[Agent] = ()
    ) -> None:
        self.settings = settings
        self.observer = observer or Observer()
        # Sends the answers of recurring tasks to their recipients; a channel sets it before the start.
        self.deliver: Deliver | None = None
        self.models = load_models(settings)
        profiles = load_profiles(settings, self.models, [dict(agent.table) for agent in agents])
        self.mcp_servers = load_mcp_servers(settings, profiles)
        self.own_agents = OwnAgents.of(profiles, agents, TAKEN)
        self.apis = self._load_apis(profiles)
        access = load_access(settings.agents_file, self.models)
        self.agents = Agents(self.own_agents.marked(profiles), settings.keys, self.names_of, access)
        self.budgets = Budgets.of(settings)
        self.changes = ConversationChanges()
        self._services: Services | None = None

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Open the services and run the periodic jobs for the block; close all in reverse order."""
        settings = self.settings
        async with open_services(
            settings,
            self.agents,
            self.models,
            self.budgets,
            self.observer,
            self.changes,
            self.own_agents,
            self.mcp_servers,
            self.apis,
        ) as services:
            self._services = services
            scheduler = self._scheduler(services)
            clean_up = partial(self._clean_up, services, scheduler)
            try:
                async with (
                    PeriodicTask(clean_up, seconds=settings.cleanup_seconds),
                    running_scheduler(scheduler),
                ):
                    yield
            finally:
                await services.close()
                self._services = None

    @property
    def services(self) -> Services:
        """What lives while the process runs."""
        if self._services is None:
            raise ServiceUnavailableError
        return self._services

    @property
    def chat(self) -> ChatService:
        """The service that runs turns."""
        return self.services.chat

    @property
    def registry(self) -> SessionRegistry:
        """The live sessions."""
        return self.services.registry

    @property
    def history(self) -> ConversationService:
        """The service of owners' conversations."""
        return self.services.history

    @property
    def imports(self) -> ImportService:
        """The service that imports owners' conversations."""
        return self.services.imports

    @property
    def shares(self) -> ShareService | None:
        """The service of links to snapshots of conversations; None where the settings allow none."""
        return self.services.shares if self.settings.shares != "off" else None

    @property
    def prompts(self) -> PromptService:
        """The service of owners' saved prompts."""
        return self.services.history.prompts

    @property
    def voice(self) -> VoiceInput | None:
        """What writes recordings down; None where the settings offer no microphone."""
        return self.services.voice if self.settings.voice_input else None

    @property
    def commands(self) -> ChatCommands:
        """What runs messages that begin with a slash."""
        return self.services.commands

    @property
    def files(self) -> Files:
        """The service of owners' files."""
        return self.services.files

    @property
    def approvals(self) -> ApprovalRegistry:
        """The tool calls that wait for their users in the turns of this process."""
        return self.services.dependencies.approvals

    @property
    def approval_service(self) -> ApprovalService:
        """The service of tool calls that wait for their users, whatever process runs the turn."""
        return self.services.approvals

    @property
    def connecting(self) -> ConnectionService | None:
        """The accounts that users connect; None where the settings allow none."""
        return self.services.dependencies.connecting

    @property
    def has_mcp_servers(self) -> bool:
        """Whether there are MCP servers, or users may add some."""
        return bool(self.mcp_servers) or self.settings.user_mcp == "on"

    @property
    def mcp_accounts(self) -> "McpAccounts | None":
        """The users' accounts at MCP servers; None where none are configured."""
        return self.services.mcp.accounts if self.services.mcp is not None else None

    @property
    def mcp_offers(self) -> "McpOffers | None":
        """The prompts and resources of MCP servers; None where none are configured."""
        return self.services.mcp.offers if self.services.mcp is not None else None

    @property
    def schedules(self) -> ScheduleService | None:
        """The users' recurring tasks; None where nobody may have any."""
        return self.services.dependencies.schedules

    @property
    def logins(self) -> Logins:
        """The logins of accounts."""
        return self.services.logins

    @property
    def memory(self) -> ConversationMemoryManager:
        """The memory of all principals whose conversations are stored."""
        return self.services.memory

    @property
    def inbox(self) -> Inbox:
        """The messages that came by WhatsApp."""
        return self.services.inbox

    @property
    def outbox(self) -> Outbox:
        """The messages that go out by WhatsApp."""
        return self.services.outbox

    @property
    def windows(self) -> ServiceWindows:
        """Until when people on WhatsApp may be sent any text."""
        return self.services.windows

    def memory_of(self, principal: Principal) -> ConversationMemoryManager:
        """Return the memory that holds a principal's conversations."""
        return self.services.session_maker.memory(principal)

    async def language_of(self, owner: str) -> Language:
        """Return the language that a sender on WhatsApp has chosen, or the settings'."""
        chosen: str | None = None
        with contextlib.suppress(StoreError):  # a text in the other language is better than none
            chosen = await self.memory.language(owner)
        return languages().of(chosen or self.settings.language)

    async def model(self, session: LiveSession, chosen: str | None) -> str:
        """Return the model that answers in a session's conversation.

        Raises:
            UserError: The memory fails.
        """
        dependencies = self.services.dependencies
        try:
            profile = await dependencies.profile(session, session.agent_id)
        except AgentRemovedError:
            return self.models.default
        return dependencies.model(profile, chosen)

    async def visited(self, principal: Principal) -> None:
        """Note that a principal's page is open."""
        services = self._services
        if services is not None and services.dependencies.schedules is not None:
            await services.dependencies.schedules.note_visit(principal)

    async def visit(self, session: LiveSession) -> None:
        """Note that the user of a session is here, at most once in `VISIT_PRECISION`."""
        now = time.monotonic()
        if (
            session.visited_at is None
            or now - session.visited_at >= VISIT_PRECISION.total_seconds()
        ):
            session.visited_at = now
            await self.visited(session.principal)

    @property
    def answered_by(self) -> Literal["own graphs", "demo", "configured"]:
        """What answers: a model of an endpoint, the demo, or nothing but graphs of the operator's."""
        if not self.agents.use_models:
            return "own graphs"
        return "demo" if self.models.is_demo else "configured"

    @property
    def live_sessions(self) -> int:
        """How many sessions are in memory."""
        return len(self._services.registry) if self._services is not None else 0

    @property
    def running_turns(self) -> int:
        """How many turns run now."""
        return self._services.chat.running if self._services is not None else 0

    @property
    def is_draining(self) -> bool:
        """Whether the process takes no new turns, since it is about to end."""
        return self._services is not None and not self._services.chat.is_open

    async def readiness(self) -> Readiness:
        """Return whether the database answers and turns can begin."""
        try:
            await asyncio.wait_for(ping(self.services.database), PING_SECONDS)
        except DatabaseFullError:
            return "disk full"
        except (ServiceUnavailableError, StoreError, TimeoutError):
            return "not ready"
        return "ready"

    async def statistics(self) -> Statistics:
        """Return sums over what is stored.

        Raises:
            ServiceUnavailableError: The database does not answer, or is not open.
        """
        with mapped_store_errors():
            return await statistics(self.services.database)

    async def rated_answers(self, wanted: RatedFilter, limit: int) -> list[RatedAnswer]:
        """Return rated answers whose owners let the operator read them, newest rating first.

        Raises:
            ServiceUnavailableError: The database does not answer, or is not open.
        """
        with mapped_store_errors():
            return await rated_answers(self.services.database, wanted, limit=limit)

    async def names_of(self, account: str) -> frozenset[str] | None:
        """Return the names of an account's newest sign-in; None where none of its logins is live.

        Raises:
            UserError: The database fails.
        """
        with mapped_store_errors():
            return await self.logins.names(account)

    def _load_apis(self, agents: Collection[str]) -> "tuple[LoadedService, ...]":
        """Return the services that agents may use, with what they describe of themselves.

        Raises:
            StartupError: One is wrongly configured, or its description cannot be had or used.
        """
        configured = load_openapi_services(self.settings, agents)
        if not configured:
            return ()
        # Only processes that have any need it.
        from cmw_agent.tools.openapi.loading import load_services  # noqa: PLC0415

        return load_services(configured, (*TAKEN, *self.own_agents.tool_names))

    def _scheduler(self, services: Services) -> Scheduler | None:
        if not self.settings.schedules_per_user:
            return None
        return Scheduler(
            services.schedules,
            services.chat,
            services.registry,
            self.observer,
            origin=self.settings.public_url or "",
            deliver=self.deliver,
            language=languages().of(self.settings.language),
            language_of=self.language_of,
        )

    async def _clean_up(self, services: Services, scheduler: Scheduler | None) -> None:
        settings, registry = self.settings, services.registry
        expired = await registry.expire()
        log.info("idle sessions released", count=expired, live=len(registry))
        cleaned = await services.retention.clean(
            days=settings.retention_days, idle_seconds=settings.session_idle_seconds
        )
        log.info("conversations cleaned up %s", cleaned)
        log.info("threads of agents not deleted", count=await services.threads.sweep_all())
        log.info("bytes of files deleted", count=await services.files.sweep())
        if (recorder := services.dependencies.recorder) is not None:
            log.info("recordings deleted", count=await recorder.sweep(settings.retention_days))
        if scheduler is not None:
            log.info("recurring tasks ended", count=await scheduler.end_unvisited())
        max_age = settings.whatsapp_window_seconds + WHATSAPP_SLACK
        purged = await services.inbox.purge(max_age) + await services.outbox.purge(max_age)
        log.info("ids of messages deleted", count=purged)
        log.info("held texts given up", count=await services.windows.give_up())
