"""Has the model name conversations on the page after their first complete answer, in the background."""

import asyncio
import re
from dataclasses import dataclass
from datetime import datetime

from cmw_agent.chat.answer import AnswerAccumulator
from cmw_agent.chat.dependencies import ChatDependencies
from cmw_agent.conversations.sessions import LiveSession
from cmw_agent.core.errors import describe_exception
from cmw_agent.core.logs import get_logger
from cmw_agent.core.sanitize import BIDI, CONTROLS, sanitize_json
from cmw_agent.llm.errors import log_fields
from cmw_agent.llm.fallback import RunModels
from memory.validation import title_of

log = get_logger(__name__)

MAX_RUNNING = 8  # requests of one process
MAX_WAITING = 1_000  # further conversations are named after their next answer
MAX_SECONDS = 20.0
MAX_TOKENS = 24  # of a title
THINKING_TOKENS = 1_000  # of a title of a model that thinks first
MAX_CHARS = 1_000  # of the question, of the answer and of the model's reply
MAX_SEQ = 6  # of the question: no title is requested after the third exchange

_TAG = re.compile(r"<[^<>]*>")
_MARKUP = re.compile(r"[*`~|]+|^\s*(?:#+|>|[-+•]|\d+[.)])\s+|^_+|(?<!_)_+$")
_LABEL = re.compile(r"^(?:title|titel|titre|título|название|заголовок)\s*[:：]\s*", re.IGNORECASE)
_QUOTES = "\"'“”„‟«»‹›‘’「」『』"

Naming = tuple[str, str]  # owner, conversation


@dataclass(frozen=True, slots=True)
class TitleRequest:
    """A conversation that has no title yet.

    Args:
        conversation_id: The conversation.
        conversation_created_at: Tells it from a deleted one of the same id.
        question: The user's last message.
        answer: The answer to it.
        models: The conversation's model is their first; no other is sent its messages.
    """

    conversation_id: str
    conversation_created_at: datetime
    question: str
    answer: str
    models: RunModels


class Titler:
    """The title requests of one process, each in a background task.

    Args:
        dependencies: The settings, the models and the limits. The demo model names nothing.
    """

    def __init__(self, dependencies: ChatDependencies) -> None:
        self._settings = dependencies.settings
        self._catalog = dependencies.catalog
        self._limits = dependencies.limits
        self._tasks: dict[asyncio.Task[None], Naming] = {}
        self._room = asyncio.Semaphore(MAX_RUNNING)

    def begin(self, session: LiveSession, request: TitleRequest) -> None:
        """Have a conversation named, unless titles are off or the process is at its limit."""
        model = request.models.current.id
        is_demo = self._catalog.models.by_id[model].is_demo
        if self._settings.titles == "off" or is_demo or len(self._tasks) >= MAX_WAITING:
            return
        self.stop(session.owner, request.conversation_id)
        task = asyncio.create_task(self._name(session, request), name="title")
        self._tasks[task] = (session.owner, request.conversation_id)
        task.add_done_callback(self._tasks.pop)

    def stop(self, owner: str, conversation_id: str) -> None:
        """Stop the naming of a conversation: the messages that it is named after are about to change."""
        for task, naming in self._tasks.items():
            if naming == (owner, conversation_id):
                task.cancel()

    def is_naming(self, owner: str) -> bool:
        """Whether one of the owner's conversations is about to get a title."""
        return any(naming[0] == owner for naming in self._tasks.values())

    async def close(self) -> None:
        """Stop all requests, and wait until they have ended."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=MAX_SECONDS)

    async def _name(self, session: LiveSession, request: TitleRequest) -> None:
        try:
            async with self._room, asyncio.timeout(MAX_SECONDS):
                title = await self._ask(session, request)
                if title is not None:
                    await session.memory.store_title(
                        session.owner,
                        request.conversation_id,
                        title,
                        conversation_created_at=request.conversation_created_at,
                    )
        except Exception as error:  # noqa: BLE001 (the first message stays the title)
            log.warning("no title", cause=describe_exception(error), **log_fields(error))

    async def _ask(self, session: LiveSession, request: TitleRequest) -> str | None:
        model = self._catalog.short(request.models.current, MAX_TOKENS, THINKING_TOKENS)
        question, answer = request.question[:MAX_CHARS], request.answer[:MAX_CHARS]
        usage = AnswerAccumulator()
        try:
            return title_in(await session.agent.title(question, answer, model, usage.add))
        finally:
            await asyncio.shield(self._limits.charge(session.owner, usage.tokens or 0))


def title_in(text: str) -> str | None:
    """Return the title in a model's text: one line without markup and quotes; None without one."""
    begun = text[:MAX_CHARS]  # an endpoint may ignore the limit of tokens
    plain = sanitize_json(BIDI.sub("", CONTROLS.sub(" ", _TAG.sub(" ", begun))))
    for line in plain.splitlines():
        title = " ".join(_MARKUP.sub("", line).split())
        title = _LABEL.sub("", title).strip(_QUOTES + " ").rstrip(".。").strip(_QUOTES + " ")
        if any(character.isalnum() for character in title):
            return title_of(title)
    return None
