"""Summarises what a conversation's window no longer holds, after the answer and in the background.

One part at a time and never twice: the memory hands a part to one process only. A new turn in the
session stops the summary; the part is then taken up after that turn.
"""

import asyncio
import logging
from functools import partial

from cmw_agent.chat.answer import AnswerAccumulator
from cmw_agent.chat.context_cache import CachedContext
from cmw_agent.chat.dependencies import ChatDependencies
from cmw_agent.conversations.sessions import LiveSession
from cmw_agent.core.errors import frames
from cmw_agent.core.sanitize import mended
from cmw_agent.identity.principals import SessionKey
from cmw_agent.llm.chat_model import Exchange
from memory.conversations.summaries import SummaryPart

log = logging.getLogger(__name__)

AT_ONCE = 8  # of one process
MAX_WAITING = 1_000  # further ones are taken up after their conversation's next turn
QUIET_SECONDS = 1.0  # after an answer
LEAST_MESSAGES = 8  # beyond the window before the database is asked whether they are worth it
MANY_MESSAGES = 60  # beyond the window, so that a summary waits for no pause
MAX_SECONDS = 60.0
MAX_CHARS = 8_000
SHARE = 4  # a part is worth a summary from a quarter of the window's budget on


class Summarizer:
    """The background tasks of one process.

    Args:
        kit: The budget of the window, the fields of requests and the limits; with the demo model nothing is
            summarised.
    """

    def __init__(self, kit: ChatDependencies) -> None:
        self._settings = kit.settings
        self._fields = kit.fields
        self._limits = kit.limits
        self._pauses: dict[SessionKey, asyncio.TimerHandle] = {}
        self._tasks: dict[SessionKey, asyncio.Task[None]] = {}
        self._due: set[SessionKey] = set()  # those that have been put off long enough
        self._room = asyncio.Semaphore(AT_ONCE)

    def begin(self, session: LiveSession, held: CachedContext) -> None:
        """Summarise what stands before the window, if it is worth it."""
        first = held.said[0].seq if held.said else 1
        waiting = first - held.summarised
        key = session.key
        is_full = len(self._tasks) + len(self._pauses) >= MAX_WAITING
        is_busy = key in self._tasks or key in self._pauses
        if self._settings.demo or is_full or is_busy or waiting <= LEAST_MESSAGES:
            return
        # Who goes on at once would only stop it again, so it waits for a pause; where none
        # comes it is begun, and not stopped, when much is waiting.
        work = partial(self._start, session, held.conversation_id, first)
        if waiting > MANY_MESSAGES:
            self._due.add(key)
            work()
        else:
            self._pauses[key] = asyncio.get_running_loop().call_later(QUIET_SECONDS, work)

    def stop(self, session: LiveSession) -> None:
        """Stop what is being summarised in this session: its user is back."""
        if (pause := self._pauses.pop(session.key, None)) is not None:
            pause.cancel()
        task = self._tasks.get(session.key)
        if task is not None and session.key not in self._due:
            task.cancel()

    def _start(self, session: LiveSession, conversation: str, first: int) -> None:
        key = session.key
        self._pauses.pop(key, None)
        work = self._summarise(session, conversation, first)
        task = self._tasks[key] = asyncio.create_task(work, name="summary")
        task.add_done_callback(lambda _: self._ended(key))

    def _ended(self, key: SessionKey) -> None:
        self._tasks.pop(key, None)
        self._due.discard(key)

    async def close(self) -> None:
        """Stop everything."""
        for pause in self._pauses.values():
            pause.cancel()
        self._pauses.clear()
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=MAX_SECONDS)

    async def _summarise(self, session: LiveSession, conversation: str, first: int) -> None:
        async with self._room:
            await self._summarise_part(session, conversation, first)

    async def _summarise_part(self, session: LiveSession, conversation: str, first: int) -> None:
        memory, owner = session.memory, session.owner
        least = self._settings.history_tokens // SHARE
        try:
            part = await memory.claim_older(owner, conversation, before_seq=first, min_tokens=least)
            if part is None:
                return
            summary: str | None = None
            try:
                summary = await self._ask(session, part)
            finally:
                await asyncio.shield(memory.store_summary(owner, conversation, part, summary))
        except Exception as error:  # noqa: BLE001 (the conversation goes on without it)
            log.warning("no summary cause=%s", frames(error))

    async def _ask(self, session: LiveSession, part: SummaryPart) -> str | None:
        said = [Exchange(item.role, item.content) for item in part.messages]
        used = AnswerAccumulator()
        try:
            async with asyncio.timeout(MAX_SECONDS):
                fields = self._fields.of(session.owner)
                summary = await session.agent.summarise(part.summary, said, fields, used.add)
                return mended(summary).strip()[:MAX_CHARS] or None
        except TimeoutError:
            return None
        finally:
            await asyncio.shield(self._limits.charge(session.owner, used.tokens or 0))
