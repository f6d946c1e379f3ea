"""ChatService: the one use case, for every channel.

A turn takes the lease on its conversation and stores the user's message *before* the
model is called, streams the agent's events to whoever asked, and stores the answer as
complete, interrupted or failed however it ends. The work runs in a task of its own,
so that it can be stopped at any moment, also while the model is silent.
"""

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self

from cmw_agent.agent import Exchange
from cmw_agent.errors import (
    ConversationChanged,
    ConversationInUse,
    InvalidMessage,
    NotFound,
    Overloaded,
    Unavailable,
    UserError,
    frames,
)
from cmw_agent.events import (
    AgentEvent,
    Outcome,
    TextDelta,
    ToolFinished,
    ToolStarted,
    TurnEvent,
    TurnFinished,
    TurnStarted,
    UsageReported,
)
from cmw_agent.models import explain
from cmw_agent.sessions import Session
from cmw_agent.settings import Settings
from cmw_agent.text import checked_message, mended
from memory.errors import (
    ConversationBusy,
    ConversationMoved,
    ConversationNotFound,
    InvalidText,
    StoreError,
)
from memory.manager import ConversationMemoryManager
from memory.records import StoredMessage, ToolRecord, TurnTicket

log = logging.getLogger(__name__)

KEEP_SECONDS = 5.0  # how often a running answer's partial text is stored
SETTLE_SECONDS = 30.0  # how long storing an answer may take

Begin = Callable[[ConversationMemoryManager], Coroutine[Any, Any, TurnTicket]]


@dataclass(slots=True)
class Answer:
    """What has come of an answer so far."""

    texts: list[str] = field(default_factory=list)
    tools: list[ToolRecord] = field(default_factory=list)
    tokens: int | None = None
    running: dict[str, ToolStarted] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The answer's text so far."""
        if len(self.texts) > 1:
            self.texts = ["".join(self.texts)]
        return self.texts[0] if self.texts else ""

    def add(self, event: AgentEvent) -> None:
        """Take in one event of the agent."""
        match event:
            case TextDelta(text):
                self.texts.append(text)
            case ToolStarted(call_id):
                self.running[call_id] = event
            case ToolFinished(call_id, name, result, ok, seconds):
                call = self.running.pop(call_id, None)
                arguments = dict(call.arguments) if call is not None else {}
                self.tools.append(
                    ToolRecord(call_id, name, arguments, result, ok, round(seconds * 1000))
                )
            case UsageReported(input_tokens, output_tokens):
                self.tokens = (self.tokens or 0) + input_tokens + output_tokens


class Turn:
    """A turn that was asked for: an async iterator of its events, and its brake.

    `key` is its idempotency key, `text` the user's message as it is stored (empty when
    an old message is answered once more), `is_new` whether the message is a further one.

    Use it as an async context manager: leaving the block stops the turn if it still
    runs, and waits until what came is stored.

    Raises:
        UserError: From the iteration, when the turn could not begin; nothing was
            stored then.
    """

    def __init__(self, key: str, text: str, *, is_new: bool) -> None:
        self.key = key
        self.text = text
        self.is_new = is_new
        self._events: deque[TurnEvent] = deque()
        self._ready = asyncio.Event()
        self._refusal: UserError | None = None
        self._task: asyncio.Task[None] | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> TurnEvent:
        while not self._events:
            if self._task is None or self._task.done():
                if self._refusal is not None:
                    refusal, self._refusal = self._refusal, None
                    raise refusal
                raise StopAsyncIteration
            self._ready.clear()
            await self._ready.wait()
        return self._events.popleft()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        await self.ended()

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run `work` as this turn's own task."""
        self._task = asyncio.create_task(work, name="turn")
        self._task.add_done_callback(lambda _: self._ready.set())
        return self._task

    def emit(self, event: TurnEvent) -> None:
        """Hand `event` on; text that nobody has fetched yet is merged."""
        last = self._events[-1] if self._events else None
        if isinstance(event, TextDelta) and isinstance(last, TextDelta):
            self._events[-1] = TextDelta(last.text + event.text)
        else:
            self._events.append(event)
        self._ready.set()

    def refuse(self, error: UserError) -> None:
        """Say that the turn could not begin."""
        self._refusal = error

    def stop(self) -> None:
        """Ask the turn to end now; what has come is kept."""
        if self._task is not None and not self._task.done():
            self._task.cancel()

    async def ended(self) -> None:
        """Wait until the turn is stored."""
        if self._task is not None:
            await asyncio.wait([self._task], timeout=SETTLE_SECONDS)


class ChatService:
    """Runs turns; see the module's text.

    Args:
        settings: Time-outs, budgets and limits.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._work: dict[Turn, _Work] = {}
        self._settling: set[asyncio.Task[bool]] = set()
        self._keeper: asyncio.Task[None] | None = None
        self._open = True

    @property
    def running(self) -> int:
        """Turns that run now."""
        return len(self._work)

    def refusal(self) -> UserError | None:
        """Return why no turn can begin now, or None when one can."""
        if not self._open:
            return Unavailable("The app is about to restart; please try again in a moment.")
        if len(self._work) >= self._settings.max_turns:
            return Overloaded()
        return None

    def turn(self, session: Session, text: str, *, key: str, channel: str = "web") -> Turn:
        """Begin a turn: `text` is the user's message, `key` makes a repetition harmless.

        Raises:
            InvalidMessage: The text is empty, too long or not text.
            ConversationInUse: A turn runs in this session already.
            Overloaded: The process runs as many turns as it may.
        """
        text = checked_message(text, self._settings.max_message_chars)
        conversation = _conversation_of(session)

        def begin(memory: ConversationMemoryManager) -> Coroutine[Any, Any, TurnTicket]:
            return memory.begin_turn(
                session.owner,
                conversation,
                text,
                key=key,
                create=True,
                channel=channel,
                model=self._settings.model,
                budget=self._settings.history_tokens,
            )

        return self._begin(session, text, key, begin, is_new=True)

    def again(
        self, session: Session, *, key: str, text: str | None = None, seen: int | None = None
    ) -> Turn:
        """Answer the last message once more, or, with `text`, its edited form.

        The turn is refused when the last message is not the one with the `seq` that the
        user has `seen`.

        Raises:
            InvalidMessage, ConversationInUse, Overloaded: As for `turn`.
        """
        if text is not None:
            text = checked_message(text, self._settings.max_message_chars)
        conversation = _conversation_of(session)

        def begin(memory: ConversationMemoryManager) -> Coroutine[Any, Any, TurnTicket]:
            return memory.begin_retry(
                session.owner,
                conversation,
                key=key,
                text=text,
                seen=seen,
                budget=self._settings.history_tokens,
            )

        return self._begin(session, text or "", key, begin, is_new=False)

    async def close(self) -> None:
        """Take no new turn, stop the running ones and wait until each is stored."""
        self._open = False
        turns = list(self._work)
        for turn in turns:
            turn.stop()
        await asyncio.gather(*(turn.ended() for turn in turns))
        if self._settling:
            await asyncio.wait(self._settling, timeout=SETTLE_SECONDS)
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper

    def _begin(self, session: Session, text: str, key: str, begin: Begin, *, is_new: bool) -> Turn:
        if not 0 < len(key) <= 100:
            raise InvalidMessage("The message's key must have 1 to 100 characters.")
        if (refusal := self.refusal()) is not None:
            raise refusal
        if session.turn is not None and session.turn.key != key:
            raise ConversationInUse
        first = session.turn
        turn = Turn(key, text, is_new=is_new)
        work = _Work(self, session, turn, begin, first)
        self._work[turn] = work
        if first is None:
            session.turn = turn
        # A task that is cancelled before its first step never comes to the end of `_run`.
        running = turn.start(self._run(session, turn, work))
        running.add_done_callback(lambda _: self._finished(session, turn))
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep(), name="turn-keeper")
        return turn

    async def _run(self, session: Session, turn: Turn, work: "_Work") -> None:
        try:
            await work.run()
        finally:
            # Here and not after the task's end: whoever sees that may begin the next turn.
            self._finished(session, turn)

    def _finished(self, session: Session, turn: Turn) -> None:
        self._work.pop(turn, None)
        if session.turn is turn:
            session.turn = None

    async def _keep(self) -> None:
        # One task stores the partial text of all running answers and renews their
        # leases, so that a killed process loses seconds of an answer, not all of it.
        while True:
            await asyncio.sleep(KEEP_SECONDS)
            await self._keep_all()  # apart: this frame must not hold the last turn until the next

    async def _keep_all(self) -> None:
        for work in list(self._work.values()):
            with contextlib.suppress(StoreError):
                await work.keep()

    def settle(self, storing: Coroutine[Any, Any, bool]) -> asyncio.Task[bool]:
        """Store an answer in a task that nobody's cancellation reaches."""
        task = asyncio.create_task(storing, name="turn-settle")
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)
        return task

    @property
    def settings(self) -> Settings:
        """The settings this service works by."""
        return self._settings


class _Work:
    """The inside of one turn."""

    def __init__(
        self,
        service: ChatService,
        session: Session,
        turn: Turn,
        begin: Begin,
        first: Any,
    ) -> None:
        self._service = service
        self._session = session
        self._turn = turn
        self._begin = begin
        self._first = first
        self._answer = Answer()
        self._ticket: TurnTicket | None = None
        self._started = time.monotonic()

    async def run(self) -> None:
        ticket = await self._open()
        if ticket is None:
            return
        self._turn.emit(_started(ticket))
        if not ticket.fresh:
            await self._repeat(ticket)
            return
        self._ticket = ticket
        finished = await self._answer_it(ticket)
        self._turn.emit(await self._store(ticket, finished))

    async def _open(self) -> TurnTicket | None:
        # Shielded: when the caller goes away while the message is being stored, the
        # turn must still learn that it was, or its lease would stay.
        opening = asyncio.ensure_future(self._begin(self._session.memory))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            await self._abandon(opening)
        except StoreError as error:
            self._turn.refuse(refusal_for(error))
        except Exception as error:  # noqa: BLE001 (told to the user, named in the log)
            self._turn.refuse(self._unexpected(error))
        return None

    async def _abandon(self, opening: asyncio.Future[TurnTicket]) -> None:
        _keep_running()
        try:
            ticket = await asyncio.wait_for(opening, SETTLE_SECONDS)
        except (StoreError, TimeoutError) as error:
            self._turn.refuse(refusal_for(error))
            return
        if ticket.fresh:
            self._turn.emit(_started(ticket))
            self._turn.emit(await self._store(ticket, TurnFinished("interrupted")))

    async def _answer_it(self, ticket: TurnTicket) -> TurnFinished:
        settings = self._service.settings
        clock = asyncio.timeout(settings.turn_timeout)
        try:
            async with clock:
                exchanges = [Exchange(m.role, m.content) for m in ticket.window]
                await self._session.agent.run(exchanges, self._take)
        except asyncio.CancelledError:
            _keep_running()
            return TurnFinished("interrupted")
        except Exception as error:  # noqa: BLE001 (told to the user, named in the log)
            if isinstance(error, TimeoutError) and clock.expired():
                sentence = f"The answer took longer than {settings.turn_timeout:g} seconds."
                return self._broken(UserError(sentence), error)
            known = refusal_for(error) if isinstance(error, StoreError) else None
            return self._broken(known or explain(error, settings), error)
        return TurnFinished("complete", tokens=self._answer.tokens)

    def _take(self, made: AgentEvent) -> None:
        event = storable(made)
        self._answer.add(event)
        self._turn.emit(event)

    def _broken(self, told: UserError, error: BaseException) -> TurnFinished:
        # What came is worth keeping; nothing at all is a failure.
        outcome: Literal["interrupted", "failed"] = (
            "interrupted" if self._answer.text or self._answer.tools else "failed"
        )
        log.error(
            "turn %s error_id=%s kind=%s principal=%s turn=%s cause=%s",
            outcome,
            told.error_id,
            getattr(told, "kind", type(told).__name__),
            self._session.principal.log_name,
            self._ticket.turn_id if self._ticket else "-",
            frames(error),
        )
        return TurnFinished(outcome, told.sentence, told.error_id, self._answer.tokens)

    def _unexpected(self, error: BaseException) -> UserError:
        told = UserError()
        log.error("turn refused error_id=%s cause=%s", told.error_id, frames(error))
        return told

    async def _store(self, ticket: TurnTicket, finished: TurnFinished) -> TurnFinished:
        storing = self._session.memory.finish_turn(
            self._session.owner,
            ticket.turn_id,
            status=finished.outcome,
            content=self._answer.text,
            tool_calls=self._answer.tools,
            tokens_used=self._answer.tokens,
            latency_ms=round((time.monotonic() - self._started) * 1000),
            model_used=self._service.settings.model,
            error_id=finished.error_id,
        )
        task = self._service.settle(storing)
        try:
            await asyncio.wait_for(asyncio.shield(task), SETTLE_SECONDS)
        except asyncio.CancelledError:
            _keep_running()
            await asyncio.wait([task], timeout=SETTLE_SECONDS)
        except (StoreError, TimeoutError) as error:
            told = Unavailable("The answer could not be stored; please copy it before you go on.")
            return self._broken(told, error)
        return finished

    async def keep(self) -> None:
        """Store the partial answer; stop the turn when its lease was lost."""
        ticket = self._ticket
        if ticket is None or time.monotonic() - self._started < KEEP_SECONDS:
            return
        kept = await self._session.memory.checkpoint(
            self._session.owner,
            ticket.turn_id,
            content=self._answer.text,
            tool_calls=self._answer.tools,
        )
        if not kept:
            self._turn.stop()

    async def _repeat(self, ticket: TurnTicket) -> None:
        """Tell a repeated request what became of the first: one turn, one answer."""
        if self._first is not None:
            await self._first.ended()
        try:
            stored = await self._session.memory.answer(self._session.owner, ticket.turn_id)
        except StoreError as error:
            self._turn.refuse(refusal_for(error))
            return
        for event in replayed(stored):
            self._turn.emit(event)


def storable(event: AgentEvent) -> AgentEvent:
    """Return `event` without what a model may say and no database stores.

    One such character would keep the whole answer from being stored, and the conversation
    from going on until the lease has run out.
    """
    match event:
        case TextDelta(text):
            return TextDelta(mended(text))
        case ToolStarted(call_id, name, arguments):
            return ToolStarted(mended(call_id), mended(name), mended(dict(arguments)))
        case ToolFinished(call_id, name, result, ok, seconds):
            return ToolFinished(mended(call_id), mended(name), mended(result), ok, seconds)
    return event


def replayed(stored: StoredMessage) -> list[TurnEvent]:
    """Return the events that a stored answer stands for."""
    events: list[TurnEvent] = []
    for call in stored.tool_calls:
        events.append(ToolStarted(call.id, call.name, call.arguments))
        events.append(
            ToolFinished(call.id, call.name, call.result, call.ok, call.duration_ms / 1000)
        )
    if stored.content:
        events.append(TextDelta(stored.content))
    outcome: Outcome = stored.status
    events.append(TurnFinished(outcome, None, stored.error_id, stored.tokens_used))
    return events


def refusal_for(error: BaseException) -> UserError:
    """Return what a failure of the memory means to a user."""
    if isinstance(error, ConversationBusy):
        return ConversationInUse()
    if isinstance(error, ConversationMoved):
        return ConversationChanged()
    if isinstance(error, ConversationNotFound):
        return NotFound()
    if isinstance(error, InvalidText):
        return InvalidMessage("The message holds characters that cannot be stored.")
    told = Unavailable()
    log.error("store failed error_id=%s cause=%s", told.error_id, frames(error))
    return told


def _started(ticket: TurnTicket) -> TurnStarted:
    return TurnStarted(ticket.turn_id, ticket.session_id, ticket.user_seq, ticket.answer_seq)


def _conversation_of(session: Session) -> str:
    if session.conversation_id is None:
        raise NotFound
    return session.conversation_id


def _keep_running() -> None:
    # The cancellation was the brake, and was taken; what follows is the storing.
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()
