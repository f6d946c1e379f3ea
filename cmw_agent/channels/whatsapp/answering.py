"""WhatsAppAnswerer: answers one message, from limits, files and commands to the turn's text."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass
from functools import partial

from cmw_agent.channels.common.callers import Caller, Callers
from cmw_agent.channels.common.turn_streams import UNSEEN, TurnResult, wait_until_begun
from cmw_agent.channels.whatsapp.approvals import ApprovalPrompts, WakeSignal
from cmw_agent.channels.whatsapp.client import WhatsAppClient
from cmw_agent.channels.whatsapp.formatting import PARSER_WORK, unlinked, unoffered, whatsapp
from cmw_agent.channels.whatsapp.inbound import InboundMessage, MessageKind, digest
from cmw_agent.chat.commands import command_of
from cmw_agent.chat.turn import TurnReader
from cmw_agent.conversations.sessions import LiveSession, SessionOrigin
from cmw_agent.core.errors import (
    ConversationInUseError,
    OverloadedError,
    ServiceUnavailableError,
    UnknownSessionError,
    UserError,
)
from cmw_agent.core.events import ApprovalRequested, TurnEvent
from cmw_agent.core.long_texts import off_loop
from cmw_agent.core.retry import retry
from cmw_agent.core.sources import source_lines
from cmw_agent.files.notes import sentence_of
from cmw_agent.identity import channel_principals
from cmw_agent.identity.principals import Principal
from cmw_agent.language import Language, languages, wording
from cmw_agent.limits.limiter import RateLimitError
from cmw_agent.runtime.runtime import Runtime
from memory.queues.inbox import InboxMessage, NewInboxMessage
from memory.records import StoredFile, utcnow

CHANNEL = "whatsapp"
TRIES, BUSY_SECONDS = 12, 2.0  # where there is no room, or another process holds the conversation
NO_ROOM = (OverloadedError,)
BUSY = (ConversationInUseError, OverloadedError, ServiceUnavailableError)
TYPING_SECONDS = 20.0  # after which WhatsApp forgets that somebody types
NAMES: Mapping[MessageKind, str] = {
    "image": wording("picture"),
    "audio": wording("recording"),
    "document": wording("document"),
}
INTERRUPTED = wording("_The answer was interrupted; please ask again._")
SILENT = wording("(I have no answer to that.)")
ALONE = wording("Please write to me alone to connect an account.")


class TurnNotStartedError(Exception):
    """The process takes no new turn: another one is to deal with the message."""


@dataclass(slots=True)
class Progress:
    """How far a message has come: whether something was begun that must not be done twice.

    `was_touched` says that its task has made its first step, `is_reply` that a request waits for
    the answer.
    """

    was_touched: bool = False
    has_begun: bool = False
    turn: TurnReader | None = None
    is_reply: bool = False


def owner_of(incoming: InboundMessage, agent_id: str) -> Principal:
    """Return who has sent a message: in a group another than alone."""
    return channel_principals.phone(incoming.chat, incoming.sender, agent_id)


class WhatsAppAnswerer:
    """Answers single messages.

    Args:
        services: The live parts of the process.
        callers: Gives the session.
        client: Shows that an answer is being written, and fetches files.
        signal: Notified when something came.
    """

    def __init__(
        self, services: Runtime, callers: Callers, client: WhatsAppClient, signal: WakeSignal
    ) -> None:
        self._services = services
        self._callers = callers
        self._client = client
        self._questions = ApprovalPrompts(services, signal)

    def is_waiting(self, owner: str) -> bool:
        """Whether this owner's turn waits for their decision; it counts for nothing meanwhile."""
        return self._questions.is_waiting(owner)

    async def answer(self, message: InboxMessage, progress: Progress, *, can_ask: bool) -> str:
        """Return the answer in WhatsApp's own form; an empty one where none is to be sent.

        Raises:
            TurnNotStartedError: The process is about to end, and nothing was done.
            StoreError: The memory fails.
        """
        incoming = InboundMessage.from_json(message.payload)
        principal = owner_of(incoming, self._services.settings.whatsapp_agent)
        if principal.id != message.owner:
            raise UnknownSessionError
        async with self._typing(incoming):
            try:
                await self._services.chat.admit(principal, None)
                text = await self._answer(message, incoming, principal, progress, can_ask=can_ask)
            except RateLimitError as error:
                return await self._rate_limited(principal, error, self._language_of(incoming))
            except UserError as error:
                return error.text(self._language_of(incoming))
        return await off_loop(
            PARSER_WORK * len(text),
            partial(private, language=self._language_of(incoming)) if incoming.is_group else alone,
            text,
        )

    def _language_of(self, incoming: InboundMessage) -> Language:
        return languages().of(incoming.language or self._services.settings.language)

    async def _answer(
        self,
        message: InboxMessage,
        incoming: InboundMessage,
        principal: Principal,
        progress: Progress,
        *,
        can_ask: bool,
    ) -> str:
        language = self._language_of(incoming)
        if incoming.kind == "text":
            control_reply = await self._callers.run_control_command(
                principal, incoming.text, language
            )
            if control_reply is not None:
                return control_reply
            if incoming.is_group and _asks_for_link(incoming.text):
                return language.translate(ALONE)
        file = await self._upload(message, incoming, principal)
        agent_id = self._services.settings.whatsapp_agent
        caller = Caller(
            principal,
            agent_id,
            await self._callers.current(principal),
            CHANNEL,
            SessionOrigin(recipient=f"{incoming.via} {incoming.chat}"),
            origin=str(message.payload.get("origin", "")),
            can_ask=can_ask,
            language=language,
        )
        session = await self._callers.session(principal, caller)
        text = incoming.text.strip() or f"({language.gettext(NAMES.get(incoming.kind, 'message'))})"
        files = () if file is None else (file.file_id,)
        turn, first = await self._begin(session, text, message.message_id, files)
        progress.has_begun, progress.turn = True, turn
        result = await self._run(turn, first, principal, caller.conversation_id, incoming)
        return "\n\n".join(filter(None, (_text_of(result, language), _note_of(file, language))))

    async def _upload(
        self, message: InboxMessage, incoming: InboundMessage, principal: Principal
    ) -> StoredFile | None:
        if incoming.kind == "text":
            return None
        name = incoming.filename or NAMES.get(incoming.kind, "file")
        add, has_media_id = self._services.files.add, bool(incoming.media_id)

        async def upload() -> StoredFile:
            body = self._client.media(incoming) if has_media_id else self._inline_media(message)
            async with contextlib.aclosing(body):
                return await add(principal, name, incoming.media_type, body)

        return await retry(upload, tries=TRIES, pause_after=partial(_pause_after, NO_ROOM))

    async def _inline_media(self, message: InboxMessage) -> AsyncGenerator[bytes, None]:
        """Yield the bytes that came with a message, loaded now and not kept in memory."""
        if media := await self._services.inbox.media(message.owner, message.message_id):
            yield media

    async def _begin(
        self, session: LiveSession, text: str, key: str, files: tuple[str, ...]
    ) -> tuple[TurnReader, TurnEvent]:
        async def begin() -> tuple[TurnReader, TurnEvent]:
            chat = self._services.chat
            if not chat.is_open:
                raise TurnNotStartedError
            turn = chat.turn(session, text, key=key, files=files, request_id=key[:12])
            return turn, await wait_until_begun(turn)

        return await retry(begin, tries=TRIES, pause_after=partial(_pause_after, BUSY))

    async def _run(
        self,
        turn: TurnReader,
        first: TurnEvent,
        principal: Principal,
        conversation: str,
        incoming: InboundMessage,
    ) -> TurnResult:
        result = TurnResult()
        asking: asyncio.Task[None] | None = None
        try:
            async with turn:
                result.add(first)
                async for event in turn:
                    result.add(event)
                    if isinstance(event, ApprovalRequested) and asking is None:
                        question = self._questions.ask(principal, conversation, incoming)
                        asking = asyncio.create_task(question, name="whatsapp-question")
        finally:
            if asking is not None:
                asking.cancel()
                await asyncio.wait([asking])
        return result

    async def _rate_limited(
        self, principal: Principal, error: RateLimitError, language: Language
    ) -> str:
        """Say that there were too many messages, once in a minute."""
        minute = str(int(utcnow().timestamp()) // 60)
        marker = NewInboxMessage(digest("limit", principal.id, minute), {})
        arrival = await self._services.inbox.answered(principal.id, marker)
        return error.sentence_in(language) if arrival == "new" else ""

    @contextlib.asynccontextmanager
    async def _typing(self, incoming: InboundMessage) -> AsyncIterator[None]:
        is_shown = asyncio.Event()
        task = asyncio.create_task(self._type(incoming, is_shown), name="whatsapp-typing")
        try:
            yield
            await is_shown.wait()  # as read, also where the answer comes at once
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def _type(self, incoming: InboundMessage, is_shown: asyncio.Event) -> None:
        way, chat, message_id = incoming.via, incoming.chat, incoming.message_id
        try:
            await self._client.mark_read(incoming)
            if way == "bridge":
                is_shown.set()
            while True:
                await self._client.typing(way, chat, message_id, on=True)
                is_shown.set()
                await asyncio.sleep(TYPING_SECONDS)
        finally:
            is_shown.set()
            await self._client.typing(way, chat, message_id, on=False)


def _pause_after(retried: tuple[type[Exception], ...], error: Exception, _: int) -> float | None:
    return BUSY_SECONDS if isinstance(error, retried) else None


def _asks_for_link(text: str) -> bool:
    command = command_of(text)
    if command is None or command.name != "connect":
        return False
    return command.rest.lower() not in ("", "list")


def alone(markdown: str) -> str:
    """Return a text for one person in WhatsApp's form, without links to Composio's site.

    The app gives none there: what a model writes may be anybody's.
    """
    return unlinked(whatsapp(unlinked(markdown)[0]))[0]


def private(markdown: str, *, language: Language) -> str:
    """Return a text for a group in WhatsApp's form, without links that connect an account.

    Another member who followed one would connect their account for the person whom it is for.
    """
    text, count = unoffered(markdown)
    # again, since what goes with Markdown's signs may have stood within a link
    formatted, more = unoffered(whatsapp(text))
    return f"{formatted}\n\n{language.translate(ALONE)}".strip() if count or more else formatted


def _note_of(file: StoredFile | None, language: Language) -> str | None:
    """Return what the sender must know of a file, as Markdown."""
    note = None if file is None else sentence_of(file.notes)
    return f"_{language.translate(note)}_" if note else None


def _text_of(result: TurnResult, language: Language) -> str:
    """Return a turn's result as Markdown."""
    if (failure := result.failure) is not None:
        return failure.text(language)
    text = result.text
    parts = [text.strip()]
    for tool in result.tools:
        link = tool.get("link")
        if link and link not in text:
            parts.append(str(link))
    parts.append("\n".join(source_lines(result.answer.sources)))
    if result.answer.stored_pictures:
        parts.append(f"_{language.translate(UNSEEN)}_")
    finished = result.finished
    sentence = finished.sentence if finished is not None else None
    if sentence is None and (finished is None or finished.outcome == "interrupted"):
        sentence = INTERRUPTED
    parts.append(language.translate(sentence or ""))
    return "\n\n".join(part for part in parts if part) or language.translate(SILENT)
