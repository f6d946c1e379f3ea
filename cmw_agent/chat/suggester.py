"""Has the model suggest what the user may write next, after each answer on the page, in the background.

Suggestions are stored nowhere: the process holds the last ones of a conversation for ten minutes, or
until its next message.
"""

import asyncio
import re
from dataclasses import dataclass

from cmw_agent.chat.answer import AnswerAccumulator
from cmw_agent.chat.dependencies import ChatDependencies
from cmw_agent.conversations.sessions import LiveSession
from cmw_agent.core.errors import describe_exception
from cmw_agent.core.logs import get_logger
from cmw_agent.core.sanitize import BIDI, CONTROLS, sanitize_json
from cmw_agent.llm.errors import log_fields
from cmw_agent.llm.fallback import RunModels

log = get_logger(__name__)

MAX_RUNNING = 8  # requests of one process
MAX_HELD = 1_000  # conversations whose suggestions are held or awaited; the oldest go first
HELD_SECONDS = 600.0
MAX_SECONDS = 20.0
MAX_TOKENS = 100  # of all suggestions of an answer
THINKING_TOKENS = 1_000  # of a model that thinks first
MAX_CHARS = 1_000  # of the question, of the answer and of the model's reply
MAX_SUGGESTIONS = 3
SUGGESTION_CHARS = 120

_MARK = re.compile(r"^(?:[-+*•–]|\d{1,2}[.):])\s+")
_QUOTES = "\"'“”„‟«»‹›‘’「」『』*_` "

Conversation = tuple[str, str]  # owner, id


@dataclass(frozen=True, slots=True)
class Exchange:
    """The question and the answer of a turn that has ended well.

    Args:
        conversation_id: The conversation.
        question: The user's message.
        answer: The answer to it.
        models: The conversation's model is their first; no other is sent its messages.
    """

    conversation_id: str
    question: str
    answer: str
    models: RunModels


class Suggester:
    """The suggestions of one process, each in a background task.

    Args:
        dependencies: The settings, the models and the limits. The demo model suggests nothing.
    """

    def __init__(self, dependencies: ChatDependencies) -> None:
        self._is_on = dependencies.settings.suggestions == "on"
        self._catalog = dependencies.catalog
        self._limits = dependencies.limits
        self._tasks: dict[Conversation, asyncio.Task[list[str]]] = {}
        self._room = asyncio.Semaphore(MAX_RUNNING)

    def begin(self, session: LiveSession, exchange: Exchange) -> None:
        """Have the next messages suggested, unless that is off."""
        is_demo = self._catalog.models.by_id[exchange.models.current.id].is_demo
        if not self._is_on or is_demo:
            return
        key = (session.owner, exchange.conversation_id)
        self.stop(*key)
        if len(self._tasks) >= MAX_HELD:
            self.stop(*next(iter(self._tasks)))
        task = asyncio.create_task(self._suggest(session, exchange), name="suggestions")
        self._tasks[key] = task
        asyncio.get_running_loop().call_later(HELD_SECONDS, self._expire, key, task)

    def stop(self, owner: str, conversation_id: str) -> None:
        """Drop the suggestions of a conversation: it goes on, or is deleted."""
        task = self._tasks.pop((owner, conversation_id), None)
        if task is not None:
            task.cancel()

    def _expire(self, key: Conversation, task: asyncio.Task[list[str]]) -> None:
        if self._tasks.get(key) is task:
            self.stop(*key)

    async def suggestions(self, owner: str, conversation_id: str) -> list[str]:
        """Return what is suggested after the last answer; nothing for an unknown conversation."""
        task = self._tasks.get((owner, conversation_id))
        if task is None:
            return []
        await asyncio.wait({task}, timeout=MAX_SECONDS)
        return task.result() if task.done() and not task.cancelled() else []

    async def close(self) -> None:
        """Stop all requests, and wait until they have ended."""
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=MAX_SECONDS)

    async def _suggest(self, session: LiveSession, exchange: Exchange) -> list[str]:
        try:
            async with self._room, asyncio.timeout(MAX_SECONDS):
                return suggestions_in(await self._ask(session, exchange))
        except Exception as error:  # noqa: BLE001 (an answer without suggestions is whole)
            log.warning("no suggestions", cause=describe_exception(error), **log_fields(error))
            return []

    async def _ask(self, session: LiveSession, exchange: Exchange) -> str:
        model = self._catalog.short(exchange.models.current, MAX_TOKENS, THINKING_TOKENS)
        question, answer = exchange.question[:MAX_CHARS], exchange.answer[-MAX_CHARS:]
        usage = AnswerAccumulator()
        try:
            return await session.agent.suggestions(question, answer, model, usage.add)
        finally:
            await asyncio.shield(self._limits.charge(session.owner, usage.tokens or 0))


def suggestions_in(text: str) -> list[str]:
    """Return the suggestions in a model's text: one a line, without list marks and quotes."""
    begun = text[:MAX_CHARS]  # an endpoint may ignore the limit of tokens
    found: list[str] = []
    for line in sanitize_json(BIDI.sub("", CONTROLS.sub(" ", begun))).splitlines():
        suggestion = _MARK.sub("", " ".join(line.split())).strip(_QUOTES)
        is_one = any(character.isalnum() for character in suggestion)
        if is_one and len(suggestion) <= SUGGESTION_CHARS and not suggestion.endswith(":"):
            found.append(suggestion)
    return list(dict.fromkeys(found))[:MAX_SUGGESTIONS]
