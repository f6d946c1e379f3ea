"""Summarises what a conversation's window no longer holds, after the answer and in the background.

One part at a time and never twice: the memory hands a part to one process only. A new turn in the
session stops the summary; the part is then taken up after that turn.
"""

import asyncio
import contextlib
import logging

from cmw_agent.agent import Exchange
from cmw_agent.errors import frames
from cmw_agent.identity import SessionKey
from cmw_agent.sessions import Session
from cmw_agent.settings import Settings
from cmw_agent.text import mended
from memory.records import TurnTicket
from memory.summaries import Part

log = logging.getLogger(__name__)

AT_ONCE = 8  # of one process; further ones wait for their conversation's next turn
LEAST_MESSAGES = 8  # beyond the window before the database is asked whether they are worth it
MOST_SECONDS = 60.0
MOST_CHARS = 8_000
SHARE = 4  # a part is worth a summary from a quarter of the window's budget on


class Summaries:
    """The background tasks of one process.

    Args:
        settings: The budget of the window; with the demo model nothing is summarised.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._tasks: dict[SessionKey, asyncio.Task[None]] = {}

    def begin(self, session: Session, ticket: TurnTicket) -> None:
        """Summarise what stands before the ticket's window, if it is worth it."""
        first = ticket.window[0].seq if ticket.window else 1
        busy = session.key in self._tasks or len(self._tasks) >= AT_ONCE
        if self._settings.demo or busy or first - ticket.summarised <= LEAST_MESSAGES:
            return
        work = self._summarise(session, ticket.session_id, first)
        task = self._tasks[session.key] = asyncio.create_task(work, name="summary")
        task.add_done_callback(lambda _: self._tasks.pop(session.key, None))

    def stop(self, session: Session) -> None:
        """Stop what is being summarised in this session: its user is back."""
        if (task := self._tasks.get(session.key)) is not None:
            task.cancel()

    async def close(self) -> None:
        """Stop everything."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=MOST_SECONDS)

    async def _summarise(self, session: Session, conversation: str, first: int) -> None:
        memory, owner = session.memory, session.owner
        least = self._settings.history_tokens // SHARE
        try:
            part = await memory.claim_older(owner, conversation, before_seq=first, least=least)
            if part is None:
                return
            summary: str | None = None
            try:
                summary = await self._ask(session, part)
            finally:
                await asyncio.shield(memory.store_summary(owner, conversation, part, summary))
        except Exception as error:  # noqa: BLE001 (the conversation goes on without it)
            log.warning("no summary cause=%s", frames(error))

    async def _ask(self, session: Session, part: Part) -> str | None:
        said = [Exchange(item.role, item.content) for item in part.messages]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(MOST_SECONDS):
                summary = await session.agent.summarise(part.summary, said)
                return mended(summary).strip()[:MOST_CHARS] or None
        return None
