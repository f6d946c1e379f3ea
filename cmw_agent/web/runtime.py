"""What one process of the app holds while it runs, made and closed by the lifespan."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from functools import partial

from langchain_core.language_models import BaseChatModel

from cmw_agent.agent import CmwAgent, Graph, build_graph
from cmw_agent.chat import ChatService
from cmw_agent.errors import Unavailable
from cmw_agent.history import History
from cmw_agent.identity import Principal
from cmw_agent.models import open_model
from cmw_agent.sessions import SessionRegistry
from cmw_agent.settings import Settings
from cmw_agent.streaming import Window
from cmw_agent.web.upkeep import Upkeep
from memory.analytics import statistics
from memory.database import Database, migrate, open_database, ping
from memory.errors import StoreError
from memory.figures import Statistics
from memory.lock import sole_use
from memory.logins import Logins
from memory.manager import ConversationMemoryManager
from memory.recovery import interrupt_abandoned
from memory.retention import Retention

log = logging.getLogger(__name__)

SHORT_LIVED = "sqlite+aiosqlite:///:memory:"


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


class Runtime:
    """The live parts of one process.

    Args:
        settings: As loaded at start.

    Raises:
        Unavailable: From its properties, before the start and after the end.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._chat: ChatService | None = None
        self._registry: SessionRegistry | None = None
        self._history: History | None = None
        self._database: Database | None = None
        self._logins: Logins | None = None
        self._kept: ConversationMemoryManager | None = None

    @property
    def chat(self) -> ChatService:
        """The service that runs turns."""
        if self._chat is None:
            raise Unavailable
        return self._chat

    @property
    def registry(self) -> SessionRegistry:
        """The live sessions."""
        if self._registry is None:
            raise Unavailable
        return self._registry

    @property
    def history(self) -> History:
        """What owners do with their conversations."""
        if self._history is None:
            raise Unavailable
        return self._history

    @property
    def logins(self) -> Logins:
        """The logins of accounts."""
        if self._logins is None:
            raise Unavailable
        return self._logins

    @property
    def kept(self) -> ConversationMemoryManager:
        """The memory of everyone whose conversations are kept."""
        if self._kept is None:
            raise Unavailable
        return self._kept

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Open everything, keep it open for the block, close it in reverse order."""
        settings = self.settings
        async with contextlib.AsyncExitStack() as stack:
            database = open_database(settings.database_url.get_secret_value())
            stack.push_async_callback(database.dispose)
            await migrate(database)
            short_lived = open_database(SHORT_LIVED)
            stack.push_async_callback(short_lived.dispose)
            await migrate(short_lived)
            lock = stack.enter_context(sole_use(settings.database_url.get_secret_value()))
            await interrupt_abandoned(database, everything=lock.alone)
            await lock.share()
            model = await stack.enter_async_context(open_model(settings, Window()))
            self._database = database
            self._logins = Logins(database)
            self._kept = ConversationMemoryManager(database)
            self._chat = ChatService(settings)
            maker = _Maker(
                settings,
                build_graph(),
                model,
                self._kept,
                ConversationMemoryManager(short_lived),
            )
            self._registry = SessionRegistry(
                maker,
                capacity=settings.max_sessions,
                idle_seconds=settings.session_idle_seconds,
            )
            self._history = History(maker.memory, self._registry)
            clean_up = partial(self._clean_up, self._registry, Retention(database))
            try:
                async with Upkeep(clean_up, seconds=settings.cleanup_seconds):
                    yield
            finally:
                await self._chat.close()
                await self._registry.close()
                self._chat = self._registry = self._history = self._database = None
                self._logins = self._kept = None

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
            raise Unavailable
        try:
            return await statistics(self._database)
        except StoreError as error:
            raise Unavailable from error

    async def _clean_up(self, registry: SessionRegistry, retention: Retention) -> None:
        expired = await registry.expire()
        log.info("idle sessions released count=%d live=%d", expired, len(registry))
        settings = self.settings
        cleaned = await retention.clean(
            days=settings.retention_days, idle_seconds=settings.session_idle_seconds
        )
        log.info("conversations cleaned up %s", cleaned)
