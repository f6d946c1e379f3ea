"""What one process of the app holds while it runs, made and closed by the lifespan."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Coroutine
from functools import partial
from typing import Any

from langchain_core.language_models import BaseChatModel

from cmw_agent.agent.access import Agents
from cmw_agent.agent.agent import CmwAgent, Graph, build_graph
from cmw_agent.chat.approval_registry import ApprovalRegistry
from cmw_agent.chat.commands import ChatCommands
from cmw_agent.chat.dependencies import AgentRemovedError, ChatDependencies
from cmw_agent.chat.service import ChatService
from cmw_agent.config.agent_profiles import load_profiles
from cmw_agent.config.settings import Settings
from cmw_agent.conversations.service import ConversationService
from cmw_agent.conversations.sessions import LiveSession, SessionMaker, SessionRegistry
from cmw_agent.conversations.store_errors import refusal_for
from cmw_agent.core.errors import ServiceUnavailableError
from cmw_agent.files.service import Files
from cmw_agent.identity.principals import Principal
from cmw_agent.limits.budgets import Budgets
from cmw_agent.limits.limiter import open_limits
from cmw_agent.llm.coalescing import FlushInterval
from cmw_agent.llm.factory import open_model
from cmw_agent.llm.request_fields import open_request_fields
from cmw_agent.observability.observers import Observer, Silent
from cmw_agent.runtime.periodic import PeriodicTask
from cmw_agent.runtime.scheduler import Deliver, Scheduler
from cmw_agent.runtime.scheduler_loop import open_schedules, scheduling
from cmw_agent.schedules.service import ScheduleService
from cmw_agent.tools.composio.connecting import Connecting
from cmw_agent.tools.composio.connections import open_connections
from memory.connections import ConnectionStore
from memory.engine.database import Database, bypasses_row_security, migrate, open_database, ping
from memory.engine.process_lock import sole_use
from memory.errors import StoreError
from memory.logins import Logins
from memory.maintenance.recovery import interrupt_abandoned
from memory.maintenance.retention import Retention
from memory.manager import ConversationMemoryManager
from memory.queues.inbox import Inbox
from memory.queues.outbox import Outbox
from memory.queues.schedules import VISIT_PRECISION, Schedules
from memory.reports.statistics import Statistics
from memory.reports.usage_statistics import statistics

log = logging.getLogger(__name__)

WHATSAPP = "whatsapp"
WHATSAPP_SLACK = 600  # seconds, for clocks that differ
ABOVE_POLICIES = (
    "the role in CMW_DATABASE_URL is a superuser or has BYPASSRLS: row-level security does not "
    "hold for it; give the app an ordinary role"
)
SHORT_LIVED = "sqlite:///:memory:"


class _Maker:
    """Makes the personal parts of sessions from the process's shared parts."""

    def __init__(
        self,
        settings: Settings,
        graph: Graph,
        model: BaseChatModel,
        kept: ConversationMemoryManager,
        short_lived: ConversationMemoryManager,
    ) -> None:
        self._settings = settings
        self._graph = graph
        self._model = model
        self._kept = kept
        self._short_lived = short_lived

    def agent(self, principal: Principal) -> CmwAgent:
        return CmwAgent(
            self._graph,
            owner=principal.id,
            model=self._model,
            instructions=self._settings.system_prompt,
        )

    def memory(self, principal: Principal) -> ConversationMemoryManager:
        return self._kept if principal.is_kept else self._short_lived


@contextlib.asynccontextmanager
async def _meanwhile(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Let `work` go on beside the block, no longer than that."""
    task = asyncio.create_task(work, name="meanwhile")
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


class Runtime:
    """The live parts of one process.

    Args:
        settings: As loaded at start.
        observer: Is told what the process does.

    Raises:
        StartupError: The file of agents is wrong.
        Unavailable: From its properties, before the start and after the end.
    """

    def __init__(self, settings: Settings, observer: Observer | None = None) -> None:
        self.settings = settings
        self.observer: Observer = observer or Silent()
        # sends what recurring tasks answer where a channel sends any; to be set before the start
        self.deliver: Deliver | None = None
        self.agents = Agents(load_profiles(settings), settings.keys, self._names_of)
        self.budgets = Budgets.of(settings)
        self._chat: ChatService | None = None
        self._registry: SessionRegistry | None = None
        self._history: ConversationService | None = None
        self._files: Files | None = None
        self._kit: ChatDependencies | None = None
        self._maker: SessionMaker | None = None
        self._database: Database | None = None
        self._logins: Logins | None = None
        self._kept: ConversationMemoryManager | None = None
        self._inbox: Inbox | None = None
        self._outbox: Outbox | None = None

    @property
    def chat(self) -> ChatService:
        """The service that runs turns."""
        if self._chat is None:
            raise ServiceUnavailableError
        return self._chat

    @property
    def registry(self) -> SessionRegistry:
        """The live sessions."""
        if self._registry is None:
            raise ServiceUnavailableError
        return self._registry

    @property
    def history(self) -> ConversationService:
        """What owners do with their conversations."""
        if self._history is None:
            raise ServiceUnavailableError
        return self._history

    @property
    def files(self) -> Files:
        """What owners do with files."""
        if self._files is None:
            raise ServiceUnavailableError
        return self._files

    async def model(self, session: LiveSession, chosen: str | None) -> str:
        """Return the model that answers in a session's conversation.

        Raises:
            UserError: The memory fails.
        """
        if self._kit is None:
            raise ServiceUnavailableError
        try:
            profile = await self._kit.profile(session, session.agent_id)
        except AgentRemovedError:
            return self.settings.model
        return self._kit.model(profile, chosen)

    async def _names_of(self, account: str) -> frozenset[str] | None:
        try:
            return await self.logins.names(account)
        except StoreError as error:
            raise refusal_for(error) from error

    async def visited(self, principal: Principal) -> None:
        """Note that a principal's page is open."""
        if self._kit is not None and self._kit.schedules is not None:
            await self._kit.schedules.visited(principal)

    async def visit(self, session: LiveSession) -> None:
        """Note that the user of a session is here, as often as visits are known."""
        now = time.monotonic()
        if (
            session.visited_at is None
            or now - session.visited_at >= VISIT_PRECISION.total_seconds()
        ):
            session.visited_at = now
            await self.visited(session.principal)

    @property
    def approvals(self) -> ApprovalRegistry:
        """The tool calls that wait for their users."""
        if self._kit is None:
            raise ServiceUnavailableError
        return self._kit.approvals

    @property
    def connecting(self) -> Connecting | None:
        """The accounts that users connect; None where the settings allow none."""
        if self._kit is None:
            raise ServiceUnavailableError
        return self._kit.connecting

    @property
    def logins(self) -> Logins:
        """The logins of accounts."""
        if self._logins is None:
            raise ServiceUnavailableError
        return self._logins

    @property
    def kept(self) -> ConversationMemoryManager:
        """The memory of everyone whose conversations are kept."""
        if self._kept is None:
            raise ServiceUnavailableError
        return self._kept

    @property
    def inbox(self) -> Inbox:
        """What came by WhatsApp."""
        if self._inbox is None:
            raise ServiceUnavailableError
        return self._inbox

    @property
    def outbox(self) -> Outbox:
        """What goes out there."""
        if self._outbox is None:
            raise ServiceUnavailableError
        return self._outbox

    def memory_of(self, principal: Principal) -> ConversationMemoryManager:
        """Return the memory that holds a principal's conversations."""
        if self._maker is None:
            raise ServiceUnavailableError
        return self._maker.memory(principal)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Open everything, keep it open for the block, close it in reverse order."""
        settings = self.settings
        async with contextlib.AsyncExitStack() as stack:
            database = open_database(settings.database_url.get_secret_value())
            stack.push_async_callback(database.dispose)
            await migrate(database)
            if await bypasses_row_security(database):
                log.warning("%s", ABOVE_POLICIES)
            short_lived = open_database(SHORT_LIVED)
            stack.push_async_callback(short_lived.dispose)
            await migrate(short_lived)
            lock = stack.enter_context(sole_use(settings.database_url.get_secret_value()))
            await interrupt_abandoned(database, everything=lock.alone)
            await lock.share()
            model = await stack.enter_async_context(open_model(settings, FlushInterval()))
            self._database = database
            self._logins = Logins(database)
            self._kept = ConversationMemoryManager(database)
            self._inbox, self._outbox = Inbox(database, WHATSAPP), Outbox(database, WHATSAPP)
            graph = build_graph(
                model_calls=settings.max_model_calls, tool_calls=settings.max_tool_calls
            )
            maker = self._maker = _Maker(
                settings, graph, model, self._kept, ConversationMemoryManager(short_lived)
            )
            self._registry = SessionRegistry(
                maker,
                capacity=settings.max_sessions,
                idle_seconds=settings.session_idle_seconds,
            )
            retention = Retention(database)
            self._files = Files(settings, maker.memory, retention.existing_files, self.budgets)
            self._history = ConversationService(maker.memory, self._registry, self._files)
            store = open_schedules(database, settings)
            accounts = ConnectionStore(database)
            kit = self._kit = await self._equipped(stack, model, self._files, store, accounts)
            names = tuple(tool.name for tool in graph.tools)
            commands = ChatCommands(self._history, kit.connecting, names, kit.schedules)
            self._chat = ChatService(kit, commands)
            scheduler = self._scheduler(store, self._chat, self._registry)
            clean_up = partial(self._clean_up, self._registry, retention, self._files, scheduler)
            try:
                async with (
                    PeriodicTask(clean_up, seconds=settings.cleanup_seconds),
                    scheduling(scheduler),
                ):
                    yield
            finally:
                await self._chat.close()
                await self._registry.close()
                self._chat = self._registry = self._history = self._database = None
                self._inbox = self._outbox = None
                self._logins = self._kept = self._files = self._kit = self._maker = None

    async def _equipped(
        self,
        stack: contextlib.AsyncExitStack,
        model: BaseChatModel,
        files: Files,
        store: Schedules,
        accounts: ConnectionStore,
    ) -> ChatDependencies:
        settings = self.settings
        connecting: Connecting | None = None
        if settings.connections:
            connections = await stack.enter_async_context(open_connections(settings))
            # so that the first user need not wait for them
            await stack.enter_async_context(_meanwhile(connections.load()))
            connecting = Connecting(connections, accounts)
        return ChatDependencies(
            settings,
            limits=await stack.enter_async_context(open_limits(settings)),
            approvals=ApprovalRegistry(settings.approval_seconds, self.budgets),
            budgets=self.budgets,
            agents=self.agents,
            fields=await stack.enter_async_context(open_request_fields(settings, model)),
            files=files,
            connecting=connecting,
            observer=self.observer,
            schedules=self._book(store),
        )

    def _book(self, store: Schedules) -> ScheduleService | None:
        if not self.settings.schedules_per_user:
            return None
        return ScheduleService(store, self.settings, self.budgets.budget("tasks"))

    def _scheduler(
        self, store: Schedules, chat: ChatService, registry: SessionRegistry
    ) -> Scheduler | None:
        settings = self.settings
        if not settings.schedules_per_user:
            return None
        origin, deliver = settings.public_url or "", self.deliver
        return Scheduler(store, chat, registry, self.observer, origin=origin, deliver=deliver)

    @property
    def live_sessions(self) -> int:
        """How many sessions are in memory."""
        return len(self._registry) if self._registry is not None else 0

    @property
    def running_turns(self) -> int:
        """How many turns run now."""
        return self._chat.running if self._chat is not None else 0

    @property
    def is_draining(self) -> bool:
        """Whether the process takes no new turns, since it is about to end."""
        return self._chat is not None and not self._chat.is_open

    async def ready(self) -> bool:
        """Whether the database answers and turns can begin."""
        if self._database is None or self._chat is None:
            return False
        try:
            await asyncio.wait_for(ping(self._database), 5)
        except (StoreError, TimeoutError):
            return False
        return True

    async def statistics(self) -> Statistics:
        """What is stored, in numbers.

        Raises:
            Unavailable: The database does not answer, or is not open.
        """
        if self._database is None:
            raise ServiceUnavailableError
        try:
            return await statistics(self._database)
        except StoreError as error:
            raise ServiceUnavailableError from error

    async def _clean_up(
        self,
        registry: SessionRegistry,
        retention: Retention,
        files: Files,
        scheduler: Scheduler | None,
    ) -> None:
        expired = await registry.expire()
        log.info("idle sessions released count=%d live=%d", expired, len(registry))
        settings = self.settings
        cleaned = await retention.clean(
            days=settings.retention_days, idle_seconds=settings.session_idle_seconds
        )
        log.info("conversations cleaned up %s", cleaned)
        log.info("bytes of files deleted count=%d", await files.sweep())
        if scheduler is not None:
            log.info("recurring tasks ended count=%d", await scheduler.end_unvisited())
        kept = settings.whatsapp_window_seconds + WHATSAPP_SLACK
        purged = await self.inbox.purge(kept) + await self.outbox.purge(kept)
        log.info("ids of messages deleted count=%d", purged)
