"""Opens what lives as long as the process: the database, the memory and the services over them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_core.language_models import BaseChatModel

from cmw_agent.agent.access import Agents
from cmw_agent.agent.agent import CmwAgent
from cmw_agent.agent.own.own_agents import OwnAgents
from cmw_agent.agent.own.threads import AgentThreads
from cmw_agent.agent.tool_loop import ToolLoop
from cmw_agent.chat.approval_registry import ApprovalRegistry
from cmw_agent.chat.approvals import ApprovalService
from cmw_agent.chat.commands import ChatCommands
from cmw_agent.chat.dependencies import ChatDependencies
from cmw_agent.chat.service import ChatService
from cmw_agent.config.mcp_servers import McpServer
from cmw_agent.config.model_profiles import Models
from cmw_agent.config.settings import Settings
from cmw_agent.conversations.change_feed import change_feed
from cmw_agent.conversations.changes import ConversationChanges
from cmw_agent.conversations.importing.service import ImportService
from cmw_agent.conversations.running_turns import RunningTurns
from cmw_agent.conversations.service import ConversationService
from cmw_agent.conversations.sessions import SessionMaker, SessionRegistry
from cmw_agent.conversations.shares import ShareService
from cmw_agent.conversations.tombstones import Tombstones
from cmw_agent.core.logs import get_logger
from cmw_agent.files.copies import FileCopies
from cmw_agent.files.service import Files
from cmw_agent.files.voice import VoiceInput
from cmw_agent.identity.canaries import Canaries
from cmw_agent.identity.principals import Principal
from cmw_agent.identity.secret_key import load_keys
from cmw_agent.identity.tripwire import Tripwire
from cmw_agent.limits.budgets import Budgets
from cmw_agent.limits.limiter import open_limits
from cmw_agent.llm.catalog import open_models
from cmw_agent.llm.coalescing import FlushInterval
from cmw_agent.llm.transcription import Transcription
from cmw_agent.observability.canary_filter import canaries_kept_out
from cmw_agent.observability.observers import Observer
from cmw_agent.runtime.recordings import open_recorder
from cmw_agent.runtime.scheduler_loop import open_schedules
from cmw_agent.schedules.service import ScheduleService
from cmw_agent.tools.composio.connecting import ConnectionService
from cmw_agent.tools.composio.connections import open_connections
from memory.connections import ConnectionStore
from memory.conversations.share_store import ShareStore
from memory.engine.database import Database, bypasses_row_security, migrate, open_database
from memory.engine.process_lock import sole_use
from memory.logins import Logins
from memory.maintenance.recovery import interrupt_abandoned
from memory.maintenance.retention import Retention
from memory.manager import ConversationMemoryManager
from memory.mcp_servers import McpServerStore
from memory.queues.inbox import Inbox
from memory.queues.outbox import Outbox
from memory.queues.schedules import Schedules
from memory.queues.window_store import ServiceWindows
from memory.threads import ThreadStore

if TYPE_CHECKING:
    from cmw_agent.tools.mcp.opening import McpClients
    from cmw_agent.tools.openapi.loading import LoadedService
    from cmw_agent.tools.openapi.services import ApiServices

log = get_logger(__name__)

WHATSAPP = "whatsapp"
ABOVE_POLICIES = (
    "the role in CMW_DATABASE_URL is a superuser or has BYPASSRLS: row-level security does not "
    "hold for it; give the app an ordinary role"
)
EPHEMERAL_DATABASE = "sqlite:///:memory:"


class PersonalSessionMaker:
    """Makes the personal parts of sessions from the process's shared parts.

    Args:
        settings: As loaded at start.
        loop: The tool loop that all agents share.
        model: The model that agents ask.
        memory: Holds the conversations of principals whose conversations are stored.
        ephemeral_memory: Holds those of ephemeral visitors, until the process ends.
        tripwire: Watches what agents write; None without one.
    """

    def __init__(
        self,
        settings: Settings,
        loop: ToolLoop,
        model: BaseChatModel,
        memory: ConversationMemoryManager,
        ephemeral_memory: ConversationMemoryManager,
        tripwire: Tripwire | None = None,
    ) -> None:
        self._settings = settings
        self._loop = loop
        self._model = model
        self._memory = memory
        self._ephemeral_memory = ephemeral_memory
        self._tripwire = tripwire

    def agent(self, principal: Principal) -> CmwAgent:
        """Return an agent for one session of the principal."""
        return CmwAgent(
            self._loop,
            owner=principal.id,
            model=self._model,
            instructions=self._settings.system_prompt,
            tripwire=self._tripwire,
        )

    def memory(self, principal: Principal) -> ConversationMemoryManager:
        """Return the memory that holds the principal's conversations."""
        return self._memory if principal.is_stored else self._ephemeral_memory


@dataclass(frozen=True, slots=True)
class Services:
    """The live parts of one process; they exist all together or not at all.

    Args:
        database: The database of stored conversations.
        turns: The turns that run in conversations.
        memory: The conversations in it.
        session_maker: Makes the personal parts of sessions.
        dependencies: What all turns share beside the memory.
        approvals: Lists and settles the tool calls that wait for their owners.
        commands: Runs messages that begin with a slash.
        schedules: Everybody's recurring tasks.
        threads: What agents remember of conversations by themselves.
        inbox: Messages that came by WhatsApp.
        outbox: Messages that go out by WhatsApp.
        windows: Until when people on WhatsApp may be sent any text.
        mcp: What the process has of MCP servers; None where none are configured.
    """

    database: Database
    logins: Logins
    memory: ConversationMemoryManager
    session_maker: SessionMaker
    registry: SessionRegistry
    retention: Retention
    files: Files
    turns: RunningTurns
    history: ConversationService
    imports: ImportService
    shares: ShareService
    commands: ChatCommands
    voice: VoiceInput
    dependencies: ChatDependencies
    approvals: ApprovalService
    chat: ChatService
    schedules: Schedules
    threads: AgentThreads
    inbox: Inbox
    outbox: Outbox
    windows: ServiceWindows
    mcp: "McpClients | None" = None

    async def close(self) -> None:
        """Stop running turns and imports, and release all sessions."""
        await asyncio.gather(self.chat.close(), self.imports.drain(0))
        await self.registry.close()


@contextlib.asynccontextmanager
async def open_services(
    settings: Settings,
    agents: Agents,
    models: Models,
    budgets: Budgets,
    observer: Observer,
    changes: ConversationChanges,
    own_agents: OwnAgents,
    mcp_servers: Sequence[McpServer] = (),
    apis: "Sequence[LoadedService]" = (),
) -> AsyncIterator[Services]:
    """Open the services for the block; close what they hold in reverse order.

    The caller closes the services themselves (`Services.close`) before the block ends.
    """
    async with contextlib.AsyncExitStack() as stack:
        database = await stack.enter_async_context(_stored(settings))
        ephemeral = await stack.enter_async_context(_migrated(EPHEMERAL_DATABASE))
        catalog = await stack.enter_async_context(open_models(settings, models, FlushInterval()))
        await stack.enter_async_context(change_feed(database, changes))
        memory = ConversationMemoryManager(database)
        tripwire = stack.enter_context(_tripwire(settings, observer))
        loop = ToolLoop(model_calls=settings.max_model_calls, tool_calls=settings.max_tool_calls)
        maker = PersonalSessionMaker(
            settings,
            loop,
            catalog.default,
            memory,
            ConversationMemoryManager(ephemeral),
            tripwire,
        )
        registry = SessionRegistry(
            maker, capacity=settings.max_sessions, idle_seconds=settings.session_idle_seconds
        )
        retention = Retention(database)
        files = Files(settings, maker.memory, retention.existing_files, budgets, tripwire=tripwire)
        copies = FileCopies(settings, maker.memory, budgets)
        turns = RunningTurns()
        mcp = await stack.enter_async_context(
            _mcp_clients(settings, mcp_servers, database, tripwire)
        )
        sessions = mcp.sessions if mcp is not None else None
        imports = ImportService(settings, maker.memory, files, budgets)
        connecting = await stack.enter_async_context(_connecting(settings, database))
        threads = AgentThreads(ThreadStore(database), own_agents.keeping_threads)
        recorder = await asyncio.to_thread(open_recorder, settings)
        history = ConversationService(
            maker.memory,
            registry,
            turns,
            files,
            copies,
            imports,
            budgets,
            changes,
            mcp,
            threads,
            tombstones=Tombstones(settings.data_dir),
            recorder=recorder,
            connecting=connecting,
        )
        schedules = open_schedules(database, settings)
        dependencies = ChatDependencies(
            settings,
            limits=await stack.enter_async_context(
                open_limits(settings, limits_of=agents.limits_of)
            ),
            approvals=ApprovalRegistry(settings.approval_seconds, budgets),
            budgets=budgets,
            changes=changes,
            agents=agents,
            catalog=catalog,
            files=files,
            connecting=connecting,
            observer=observer,
            schedules=_schedule_service(schedules, settings, budgets),
            own_agents=own_agents,
            mcp=sessions,
            apis=await stack.enter_async_context(_api_services(settings, apis)),
            threads=threads,
            recorder=recorder,
        )
        tools = tuple(tool.name for tool in loop.tools)
        commands = ChatCommands(
            history, dependencies.connecting, tools, dependencies.schedules, sessions
        )
        yield Services(
            database=database,
            logins=Logins(database),
            memory=memory,
            session_maker=maker,
            registry=registry,
            retention=retention,
            files=files,
            turns=turns,
            history=history,
            imports=imports,
            shares=ShareService(ShareStore(database), copies, agents, budgets, tripwire),
            commands=commands,
            voice=VoiceInput(Transcription(settings)),
            dependencies=dependencies,
            approvals=ApprovalService(dependencies.approvals, maker.memory),
            chat=ChatService(dependencies, turns, commands),
            schedules=schedules,
            threads=threads,
            inbox=Inbox(database, WHATSAPP),
            outbox=Outbox(database, WHATSAPP),
            windows=ServiceWindows(database, WHATSAPP),
            mcp=mcp,
        )


@contextlib.asynccontextmanager
async def _migrated(url: str) -> AsyncIterator[Database]:
    """Open a database for the block and bring it to this version's schema."""
    database = open_database(url)
    try:
        await migrate(database)
        yield database
    finally:
        await database.dispose()


@contextlib.asynccontextmanager
async def _stored(settings: Settings) -> AsyncIterator[Database]:
    """Open the database of stored conversations; turns that a dead process left are ended."""
    url = settings.database_url.get_secret_value()
    async with _migrated(url) as database:
        for remark in database.remarks:
            log.warning("%s", remark)
        if await bypasses_row_security(database):
            log.warning("%s", ABOVE_POLICIES)
        with sole_use(url) as lock:
            await interrupt_abandoned(database, everything=lock.alone)
            await lock.share()
            yield database


@contextlib.contextmanager
def _tripwire(settings: Settings, observer: Observer) -> Iterator[Tripwire | None]:
    """Open the tripwire, for the logs too; None where the settings have none."""
    if not settings.tripwire:
        yield None
        return
    secret = settings.secret_key
    keys = load_keys(secret.get_secret_value() if secret else None, settings.data_dir)
    canaries = Canaries(keys)
    with canaries_kept_out(canaries, observer.breached):
        yield Tripwire(canaries, observer.breached)


@contextlib.asynccontextmanager
async def _connecting(
    settings: Settings, database: Database
) -> AsyncIterator[ConnectionService | None]:
    """Open what users connect accounts with; None where the settings allow none."""
    if not settings.connections:
        yield None
        return
    # Their tools are loaded meanwhile, so that the first user need not wait for them.
    async with open_connections(settings) as connections, _in_background(connections.load()):
        yield ConnectionService(connections, ConnectionStore(database))


@contextlib.asynccontextmanager
async def _api_services(
    settings: Settings, apis: "Sequence[LoadedService]"
) -> "AsyncIterator[ApiServices | None]":
    """Open the connections to services that describe themselves; None where there are none."""
    if not apis:
        yield None
        return
    from cmw_agent.tools.openapi.services import open_api_services  # noqa: PLC0415

    async with open_api_services(apis, settings.tool_timeout) as services:
        yield services


@contextlib.asynccontextmanager
async def _mcp_clients(
    settings: Settings,
    servers: Sequence[McpServer],
    database: Database,
    tripwire: Tripwire | None,
) -> AsyncIterator["McpClients | None"]:
    """Open what the process has of MCP servers; None where there can be none."""
    if not servers and settings.user_mcp == "off":
        yield None
        return
    # The SDK takes 30 MB, which an app without servers saves.
    from cmw_agent.identity.sealing import Sealer  # noqa: PLC0415
    from cmw_agent.tools.mcp.opening import open_clients  # noqa: PLC0415

    secret = settings.secret_key.get_secret_value() if settings.secret_key else None
    sealer = Sealer(load_keys(secret, settings.data_dir))
    store = McpServerStore(database)
    async with open_clients(settings, servers, store, sealer, tripwire) as clients:
        yield clients


@contextlib.asynccontextmanager
async def _in_background(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run `work` beside the block; it is cancelled at the block's end."""
    task = asyncio.create_task(work, name="meanwhile")
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _schedule_service(
    schedules: Schedules, settings: Settings, budgets: Budgets
) -> ScheduleService | None:
    """Return the service of recurring tasks; None where users may have none."""
    if not settings.schedules_per_user:
        return None
    return ScheduleService(schedules, settings, budgets.budget("tasks"))
