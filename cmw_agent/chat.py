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
from collections.abc import Callable, Coroutine
from typing import Any, Literal

from cmw_agent.agent import Exchange
from cmw_agent.answers import Answer, replayed, storable
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
    TurnFinished,
    TurnStarted,
)
from cmw_agent.models import explain
from cmw_agent.sessions import Session
from cmw_agent.settings import Settings
from cmw_agent.summaries import Summaries
from cmw_agent.text import checked_message
from cmw_agent.turns import SETTLE_SECONDS, Turn
from memory.errors import (
    ConversationBusy,
    ConversationMoved,
    ConversationNotFound,
    InvalidText,
    StoreError,
)
from memory.manager import ConversationMemoryManager
from memory.records import TurnTicket

log = logging.getLogger(__name__)

KEEP_SECONDS = 5.0  # how often a running answer's partial text is stored

Begin = Callable[[ConversationMemoryManager], Coroutine[Any, Any, TurnTicket]]


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
        self._summaries = Summaries(settings)
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
        await self._summaries.close()
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
        self._summaries.stop(session)
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

    def answered(self, session: Session, ticket: TurnTicket) -> None:
        """Look after a conversation whose answer is stored."""
        if self._open:
            self._summaries.begin(session, ticket)

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
        if finished.outcome == "complete":
            self._service.answered(self._session, ticket)

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
                await self._session.agent.run(exchanges, self._take, summary=ticket.summary)
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
