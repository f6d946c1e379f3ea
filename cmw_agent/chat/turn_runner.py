"""Runs one turn of either kind: admit, begin, answer under the clock, store, report the end."""

import asyncio
import contextlib
import time
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Any, Literal

from cmw_agent.chat.answer import AnswerAccumulator
from cmw_agent.chat.answer_events import reply_events, storable
from cmw_agent.chat.dependencies import ChatDependencies
from cmw_agent.chat.stateless_turn import StatelessTurn
from cmw_agent.chat.stored_turn import NOT_KEPT, StoredTurn
from cmw_agent.chat.summarizer import SummaryRequest
from cmw_agent.chat.turn import (
    SETTLE_SECONDS,
    Beginning,
    CommandReply,
    Turn,
    TurnReader,
    clear_cancellation,
)
from cmw_agent.config.agent_profiles import AgentProfile
from cmw_agent.conversations.changes import Change, ChangeKind
from cmw_agent.conversations.sessions import LiveSession
from cmw_agent.core.errors import (
    NotFoundError,
    ServiceUnavailableError,
    UserError,
    describe_exception,
    new_error_id,
)
from cmw_agent.core.events import (
    AgentEvent,
    AnswerNoted,
    FinishReason,
    PictureReceived,
    PictureStored,
    TextDelta,
    TurnFinished,
)
from cmw_agent.core.finish_reasons import sentence_for
from cmw_agent.core.logs import get_logger
from cmw_agent.core.store_errors import refusal_for
from cmw_agent.language import joined, wording
from cmw_agent.limits.limiter import RateLimitError, Slot
from cmw_agent.llm.chat_model import HistoryMessage
from cmw_agent.llm.errors import log_fields
from cmw_agent.llm.explanations import explain
from cmw_agent.observability.observers import (
    REFUSED,
    REPEATED,
    TurnObserver,
    log_end,
    notify,
    refusal_kind,
)
from memory.errors import StoreError
from memory.records import StoredDecision

log = get_logger(__name__)

TurnStrategy = StoredTurn | StatelessTurn
KEEP_SECONDS = 5.0  # how often a running answer's partial text is stored; a lease lasts for two
WATCHED_SECONDS = 1.0  # the same, where a page at another process reads it
PICTURE_SECONDS = 60.0  # for storing the pictures of an answer
PICTURES_TOO_SLOW = wording("The answer's pictures could not be stored in time; please ask again.")
NOT_STORED = wording("The answer could not be stored; please copy it before you go on.")


class SettlingTasks:
    """The tasks of a process that store the ends of turns: cancelling a turn does not reach them."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[bool]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, storing: Coroutine[Any, Any, bool]) -> asyncio.Task[bool]:
        """Run `storing` in a task of its own."""
        task = asyncio.create_task(storing, name="turn-settle")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def wait(self) -> None:
        """Wait until all have ended, for `SETTLE_SECONDS` at most."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=SETTLE_SECONDS)


class TurnRunner:
    """Runs one turn.

    Args:
        dependencies: What turns share.
        settling: Takes the task that stores the turn's end.
        turn: Takes the events.
        strategy: What differs between stored and stateless turns.
    """

    def __init__(
        self,
        dependencies: ChatDependencies,
        settling: SettlingTasks,
        turn: Turn,
        strategy: TurnStrategy,
    ) -> None:
        self._dependencies = dependencies
        self._settling = settling
        self._turn = turn
        self._strategy = strategy
        self._answer = AnswerAccumulator()
        self._beginning: Beginning | None = None  # None until the turn has begun
        self._stored = False
        self._slot: Slot | None = None
        self._started = self._checkpointed = time.monotonic()
        self._watch = TurnObserver()
        self._outcome: str = REFUSED
        self._tab = strategy.session.tab
        self._is_announced = False  # the owner's pages know that it has begun
        self._model: str | None = None  # id of the requested model
        self._given: Sequence[HistoryMessage] = ()  # what the model is given
        self.keep_seconds = KEEP_SECONDS
        self.is_over = False  # no event comes any more; it may still have to be stored
        turn.hold_stop()

    @property
    def session(self) -> LiveSession:
        """Whose turn it is."""
        return self._strategy.session

    @property
    def conversation(self) -> str | None:
        """The id of the conversation, once the turn has begun; None where there is none."""
        return self._strategy.conversation

    async def run(self) -> SummaryRequest | None:
        """Run the turn; its events say what becomes of it.

        Returns:
            What may be summarised where a complete answer was stored, None otherwise.
        """
        session, observer = self.session, self._dependencies.observer
        self._watch = observer.turn(session.channel, self._strategy.log_name)
        try:
            if not self._strategy.needs_slot:
                return await self._run()
            async with self._dependencies.limits.slot(
                session.owner, session.key_budget
            ) as self._slot:
                return await self._run()
        except RateLimitError as error:
            self._refuse(error)
            return None
        finally:
            self._log_end()

    def join(self, session: LiveSession) -> TurnReader:
        """Let a further session of the owner read, first the events that reproduce the partial answer."""
        begun, ended = self._turn.started, self._turn.finished
        events = [begun, *self._answer.events(), ended]
        return self._turn.read(session, filter(None, events))

    async def keep(self) -> None:
        """Store the partial answer where it is time to.

        Stops the turn when its lease was lost, or another process asks for that.
        """
        now = time.monotonic()
        if self._beginning is None or now - self._checkpointed < self.keep_seconds * 0.8:
            return
        if self._slot is not None:
            await self._slot.renew()
        signals = await self._strategy.checkpoint(self._answer)
        self._checkpointed = now
        if signals is None or signals.is_stop_requested:
            self._turn.stop()
            return
        self._take_decisions(signals.decisions)
        self.keep_seconds = WATCHED_SECONDS if signals.is_watched else KEEP_SECONDS

    def removed(self) -> None:
        """Tell the owner's pages that the turn runs no more."""
        if self._is_announced:
            self._announce("ended")

    def _announce(self, kind: ChangeKind) -> None:
        if (conversation := self.conversation) is None:
            return
        self._is_announced = True
        changes = self._dependencies.changes
        changes.publish(self.session.owner, Change(kind, conversation, self._tab))

    def _take_decisions(self, decisions: Sequence[StoredDecision]) -> None:
        """Settle the calls about which the owner has decided at another process."""
        owner, conversation = self.session.owner, self.conversation or ""
        for decision in decisions:
            with contextlib.suppress(NotFoundError):  # it was settled at an earlier checkpoint
                self._dependencies.approvals.take(owner, conversation, decision)

    async def _run(self) -> SummaryRequest | None:
        try:
            profile = await self._dependencies.profile(self.session, self.session.agent_id)
            beginning = await self._strategy.begin(profile)
        except UserError as error:
            self._refuse(error)
            return None
        except Exception as error:  # noqa: BLE001 (the user reads it, the log names it)
            self._refuse(_unexpected(error))
            return None
        if self._turn.release_stop():
            beginning = replace(beginning, is_stopped=True)
        if beginning.started is not None:
            self._turn.emit(beginning.started)
        self._turn.set_begun()
        if beginning.is_repeated:
            await self._repeat(beginning)
            return None
        self._announce("began")
        return await self._complete(beginning, profile)

    async def _repeat(self, beginning: Beginning) -> None:
        self._outcome = REPEATED
        if beginning.is_stopped:
            self._turn.emit(TurnFinished("interrupted"))
            return
        try:
            events = await self._strategy.replay()
        except UserError as error:
            self._turn.refuse(error)
            return
        for event in events:
            self._turn.emit(event)

    async def _complete(self, beginning: Beginning, profile: AgentProfile) -> SummaryRequest | None:
        finished = TurnFinished("interrupted")
        if not beginning.is_stopped:
            self._beginning = beginning
            self._watch.turn_begun(self._turn_id or self._turn.key)
            finished = await self._answer_it(profile)
            await self._take_pictures()
            finished = self._noted(finished)
        self.is_over = True
        finished = await self._store(finished)
        await self._record_content(finished.finish_reason)
        summary: SummaryRequest | None = None
        if finished.outcome == "complete" and self._stored:
            summary = self._strategy.keep_context(self._answer.text)
        self._outcome = finished.outcome
        self._turn.emit(finished)
        return summary

    async def _answer_it(self, profile: AgentProfile) -> TurnFinished:
        clock = asyncio.timeout(self._dependencies.settings.turn_timeout)
        try:
            async with clock:
                request = await self._strategy.request(profile, clock)
                if isinstance(request, CommandReply):
                    for event in reply_events(request):
                        self._take(event)
                    return TurnFinished("complete")
                self._given = request.messages
                self._watch.model_called(request.model)
                for sentence in request.notes:
                    self._take(AnswerNoted(sentence))
                reason = await self.session.agent.run(request.messages, self._take, request.ask)
        except asyncio.CancelledError:
            clear_cancellation()
            return TurnFinished("interrupted", tokens=self._answer.tokens)
        except Exception as error:  # noqa: BLE001 (the user reads it, the log names it)
            return self._broken(self._to_user_error(error, expired=clock.expired()), error)
        return self._ended(reason)

    def _ended(self, reason: FinishReason) -> TurnFinished:
        """Return how a turn ended whose answer's end the model's server reported as `reason`."""
        tokens = self._answer.tokens
        if reason == "stop":
            return TurnFinished("complete", tokens=tokens, finish_reason=reason)
        error_id = new_error_id()
        self._log_failure("turn interrupted", error_id, reason)
        return TurnFinished("interrupted", sentence_for(reason), error_id, tokens, reason)

    def _take(self, event: AgentEvent) -> None:
        event = storable(event)
        self._answer.add(event)
        notify(self._watch, event)
        # Channels get a picture once it is stored, and a note with the turn's end.
        if not isinstance(event, PictureReceived | AnswerNoted):
            self._turn.emit(event)

    async def _take_pictures(self) -> None:
        """Have the pictures of the answer stored, however it ended; a note says what was not."""
        if not self._answer.pictures:
            return
        try:
            async with asyncio.timeout(PICTURE_SECONDS):
                await self._strategy.take_pictures(self._answer, self._take_late)
        except asyncio.CancelledError:
            clear_cancellation()
            self._answer.add_note(NOT_KEPT)
        except TimeoutError:
            self._answer.add_note(PICTURES_TOO_SLOW)
        except Exception as cause:  # noqa: BLE001 (the rest of the answer must be stored)
            error = UserError()
            self._log_failure("pictures failed", error.error_id, type(cause).__name__, cause)
            self._answer.add_note(joined(NOT_KEPT, str(error)))
        self._answer.pictures.clear()

    def _noted(self, finished: TurnFinished) -> TurnFinished:
        """Return the turn's end with the answer's note; an answer that is only a note is none."""
        if not self._answer.note:
            return finished
        if finished.outcome == "complete" and self._answer.is_empty:
            error = UserError(self._answer.note)
            return self._broken(error, error)
        return replace(finished, sentence=joined(finished.sentence, self._answer.note))

    def _take_late(self, event: TextDelta | PictureStored) -> None:
        self._answer.add(event)
        self._turn.emit(event)

    def _to_user_error(self, error: Exception, *, expired: bool) -> UserError:
        settings = self._dependencies.settings
        if isinstance(error, UserError):
            return error
        if isinstance(error, TimeoutError) and expired:
            return UserError(
                wording(
                    "The answer took longer than {seconds} seconds.",
                    seconds=f"{settings.turn_timeout:g}",
                )
            )
        if isinstance(error, StoreError):
            return refusal_for(error)
        switched = self._answer.switched
        model = switched.model if switched is not None else self._model
        profile = self._dependencies.catalog.models.by_id.get(model or "")
        return explain(error, settings, profile, has_visitor_key=self._strategy.has_visitor_key)

    def _broken(self, error: UserError, cause: BaseException) -> TurnFinished:
        # What came is worth keeping; nothing at all is a failure.
        outcome: Literal["interrupted", "failed"] = (
            "failed" if self._answer.is_empty else "interrupted"
        )
        kind = getattr(error, "kind", type(error).__name__)
        self._log_failure(f"turn {outcome}", error.error_id, kind, cause)
        return TurnFinished(outcome, error.sentence, error.error_id, self._answer.tokens)

    def _log_failure(
        self, event: str, error_id: str, kind: str, cause: BaseException | None = None
    ) -> None:
        log.error(
            event,
            error_id=error_id,
            kind=kind,
            request=self._turn.request_id,
            principal=self._strategy.log_name,
            turn=self._turn_id or "-",
            cause=describe_exception(cause) if cause is not None else "-",
            **log_fields(cause),
        )

    async def _store(self, finished: TurnFinished) -> TurnFinished:
        task = self._settling.start(self._finish(finished))
        try:
            self._stored = await asyncio.wait_for(asyncio.shield(task), SETTLE_SECONDS)
        except asyncio.CancelledError:
            clear_cancellation()
            await asyncio.wait([task], timeout=SETTLE_SECONDS)
        except (StoreError, TimeoutError) as error:
            return self._broken(ServiceUnavailableError(NOT_STORED), error)
        return finished

    async def _record_content(self, reason: FinishReason | None) -> None:
        """Give the traces what was said, where the operator records that and the owner agrees."""
        is_recorded = self._dependencies.settings.trace_content and self._given
        if not is_recorded or not isinstance(self._strategy, StoredTurn):
            return
        with contextlib.suppress(StoreError):  # then it is not known
            if "traces" in await self.session.memory.consents(self.session.owner):
                given = [(message.role, _text(message.content)) for message in self._given]
                self._watch.content_reported(given, self._answer.text, reason or "error")

    async def _finish(self, finished: TurnFinished) -> bool:
        latency_ms = round((time.monotonic() - self._started) * 1000)
        try:
            return await self._strategy.finish(finished, self._answer, latency_ms)
        finally:
            owner, tokens = self.session.owner, self._answer.tokens
            await self._dependencies.limits.charge(owner, tokens or 0, self.session.key_budget)

    @property
    def _turn_id(self) -> str | None:
        started = self._beginning.started if self._beginning is not None else None
        return started.turn_id if started is not None else None

    def _refuse(self, error: UserError) -> None:
        self._dependencies.observer.refused(refusal_kind(error))
        self._turn.refuse(error)

    def _log_end(self) -> None:
        self._watch.turn_ended(self._outcome)
        log_end(
            self._outcome,
            self.session.channel,
            self._strategy.log_name,
            seconds=time.monotonic() - self._started,
            tokens=self._answer.tokens or 0,
            request=self._turn.request_id,
            turn=self._turn_id or "-",
        )


def _text(content: str | list[dict[str, Any]]) -> str:
    """Return the text of a message, without its pictures."""
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content if part["type"] == "text")


def _unexpected(cause: BaseException) -> UserError:
    error = UserError()
    log.error("turn refused", error_id=error.error_id, cause=describe_exception(cause))
    return error
