"""Summarises the messages before a conversation's context window, in the background.

The memory hands each part of a conversation to one process only, so that it is summarised once. A
new turn in the session stops the summary, and the part is summarised after that turn.
"""

import asyncio
from dataclasses import dataclass
from functools import partial

from cmw_agent.chat.answer import AnswerAccumulator
from cmw_agent.chat.context_cache import CachedContext, history_message
from cmw_agent.chat.dependencies import ChatDependencies
from cmw_agent.chat.suggester import Exchange
from cmw_agent.chat.titler import TitleRequest
from cmw_agent.conversations.sessions import LiveSession
from cmw_agent.core.errors import describe_exception
from cmw_agent.core.logs import get_logger
from cmw_agent.core.sanitize import sanitize_json
from cmw_agent.identity.principals import SessionKey
from cmw_agent.llm.errors import log_fields
from cmw_agent.llm.fallback import RunModels
from memory.conversations.summaries import SummaryPart

log = get_logger(__name__)

MAX_RUNNING = 8  # summaries of one process
MAX_WAITING = 1_000  # further ones wait for their conversation's next turn
QUIET_SECONDS = 1.0  # after an answer
MIN_MESSAGES = 8  # before the window, or the database is not asked whether they are worth it
MANY_MESSAGES = 60  # before the window: the summary waits for no pause then
MAX_SECONDS = 60.0
MAX_CHARS = 8_000
SHARE = 4  # a part is summarised from a quarter of the window's budget on


@dataclass(frozen=True, slots=True)
class SummaryRequest:
    """What may be summarised, and named, after an answer.

    Args:
        context: The conversation's context window.
        models: The conversation's model and those that may replace it: no other endpoint is sent
            its messages.
        title: Names the conversation; None where it has a title, or needs none.
        exchange: What the next messages are suggested after; None where no page shows it.
    """

    context: CachedContext
    models: RunModels
    title: TitleRequest | None = None
    exchange: Exchange | None = None


class Summarizer:
    """The summaries of one process, each in a background task.

    Args:
        dependencies: The window's budget, the models and the limits. The demo model
            summarises nothing.
    """

    def __init__(self, dependencies: ChatDependencies) -> None:
        self._settings = dependencies.settings
        self._catalog = dependencies.catalog
        self._limits = dependencies.limits
        self._pauses: dict[SessionKey, asyncio.TimerHandle] = {}
        self._tasks: dict[SessionKey, asyncio.Task[None]] = {}
        self._due: set[SessionKey] = set()  # sessions whose summary no new turn stops
        self._room = asyncio.Semaphore(MAX_RUNNING)

    def begin(self, session: LiveSession, request: SummaryRequest) -> None:
        """Summarise the messages before the context window, if they are worth it."""
        context, models = request.context, request.models
        first_seq = context.messages[0].seq if context.messages else 1
        waiting = first_seq - context.summarized_through_seq
        key = session.key
        is_full = len(self._tasks) + len(self._pauses) >= MAX_WAITING
        is_busy = key in self._tasks or key in self._pauses
        is_demo = self._catalog.models.by_id[models.current.id].is_demo
        if is_demo or is_full or is_busy or waiting <= MIN_MESSAGES:
            return
        # A user who writes on at once would only stop it again, so it waits for a pause; where none
        # comes it is begun, and not stopped, when many messages wait.
        work = partial(self._start, session, context.conversation_id, first_seq, models)
        if waiting > MANY_MESSAGES:
            self._due.add(key)
            work()
        else:
            self._pauses[key] = asyncio.get_running_loop().call_later(QUIET_SECONDS, work)

    def stop(self, session: LiveSession) -> None:
        """Stop the session's summary: its user has written again."""
        if (pause := self._pauses.pop(session.key, None)) is not None:
            pause.cancel()
        task = self._tasks.get(session.key)
        if task is not None and session.key not in self._due:
            task.cancel()

    def _start(
        self, session: LiveSession, conversation: str, first_seq: int, models: RunModels
    ) -> None:
        key = session.key
        self._pauses.pop(key, None)
        work = self._summarise(session, conversation, first_seq, models)
        task = self._tasks[key] = asyncio.create_task(work, name="summary")
        task.add_done_callback(lambda _: self._ended(key))

    def _ended(self, key: SessionKey) -> None:
        self._tasks.pop(key, None)
        self._due.discard(key)

    async def close(self) -> None:
        """Stop all summaries, and wait until they have ended."""
        for pause in self._pauses.values():
            pause.cancel()
        self._pauses.clear()
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=MAX_SECONDS)

    async def _summarise(
        self, session: LiveSession, conversation: str, first_seq: int, models: RunModels
    ) -> None:
        async with self._room:
            await self._summarise_part(session, conversation, first_seq, models)

    async def _summarise_part(
        self, session: LiveSession, conversation: str, first_seq: int, models: RunModels
    ) -> None:
        memory, owner = session.memory, session.owner
        min_tokens = self._settings.history_tokens // SHARE
        try:
            part = await memory.claim_older(
                owner, conversation, before_seq=first_seq, min_tokens=min_tokens
            )
            if part is None:
                return
            summary: str | None = None
            try:
                summary = await self._ask(session, part, models)
            finally:
                await asyncio.shield(memory.store_summary(owner, conversation, part, summary))
        except Exception as error:  # noqa: BLE001 (the conversation goes on without it)
            log.warning("no summary", cause=describe_exception(error), **log_fields(error))

    async def _ask(self, session: LiveSession, part: SummaryPart, models: RunModels) -> str | None:
        messages = list(map(history_message, part.messages))
        usage = AnswerAccumulator()
        try:
            async with asyncio.timeout(MAX_SECONDS):
                summary = await session.agent.summarise(part.summary, messages, models, usage.add)
                return sanitize_json(summary).strip()[:MAX_CHARS] or None
        except TimeoutError:
            return None
        finally:
            await asyncio.shield(self._limits.charge(session.owner, usage.tokens or 0))
