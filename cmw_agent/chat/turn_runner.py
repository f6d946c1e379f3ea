"""The inside of one turn: from its beginning in the database to the answer stored there."""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Literal

from cmw_agent.agent.agent import Ask
from cmw_agent.chat.answer import AnswerAccumulator, replayed, storable
from cmw_agent.chat.approval_gate import TurnApprovalGate
from cmw_agent.chat.context_cache import CachedContext, ContextCache
from cmw_agent.chat.dependencies import ChatDependencies, CommandRunner
from cmw_agent.chat.turn import SETTLE_SECONDS, CommandReply, SettleTurn, Turn
from cmw_agent.config.agent_profiles import Profile
from cmw_agent.conversations.sessions import LiveSession, RunningTurn
from cmw_agent.core.errors import ServiceUnavailableError, UserError, frames
from cmw_agent.core.events import (
    AgentEvent,
    ApprovalRequested,
    TextDelta,
    ToolFinished,
    ToolStarted,
    TurnEvent,
    TurnFinished,
    TurnStarted,
)
from cmw_agent.core.store_errors import refusal_for
from cmw_agent.limits.limiter import RateLimitError, Slot
from cmw_agent.llm.chat_model import Exchange
from cmw_agent.llm.factory import explain
from cmw_agent.llm.pricing import cost_micros
from cmw_agent.observability.observers import (
    REFUSED,
    REPEATED,
    Watch,
    kind_of,
    log_end,
    tell,
)
from cmw_agent.tools.composio.toolset import CONNECT
from memory.errors import StoreError
from memory.manager import ConversationMemoryManager
from memory.records import TurnTicket

log = logging.getLogger(__name__)

KEEP_SECONDS = 5.0  # how often a running answer's partial text is stored; a lease lasts for two
MODEL = "model"  # the one that the user has chosen for a conversation
CHARS_PER_TOKEN = 4

BeginTurn = Callable[[ConversationMemoryManager, Profile], Coroutine[Any, Any, TurnTicket]]


@dataclass(frozen=True, slots=True)
class TurnDependencies:
    """What all turns of a process share: see `ChatService`, which makes it."""

    kit: ChatDependencies
    transcripts: ContextCache
    commands: CommandRunner | None
    settle: SettleTurn
    answered: Callable[[LiveSession, CachedContext], None]


class TurnRunner:
    """Does one turn.

    Args:
        shared: What all turns share.
        session: Whose turn it is.
        turn: Takes the events.
        begin: Stores the beginning.
        first: The turn that runs under the same key already, where one does.
        model: The model that the user has chosen with this message, if any.
    """

    def __init__(
        self,
        shared: TurnDependencies,
        session: LiveSession,
        turn: Turn,
        begin: BeginTurn,
        first: RunningTurn | None,
        model: str | None = None,
    ) -> None:
        self._shared = shared
        self.session = session
        self._turn = turn
        self._begin = begin
        self._first = first
        self._model = model
        self._can_ask = session.can_ask  # as it is now: another request may be refused meanwhile
        self._answer = AnswerAccumulator()
        self._ticket: TurnTicket | None = None
        self._stored = False
        self._slot: Slot | None = None
        self._gate: TurnApprovalGate | None = None
        self._started = self._kept = time.monotonic()
        self._observer = shared.kit.observer
        self._watch = Watch()
        self._outcome: str = REFUSED
        self.is_over = False  # nothing comes any more; it may still have to be stored

    @property
    def conversation(self) -> str | None:
        """The id of the conversation, once the turn has begun."""
        return self._ticket.conversation_id if self._ticket is not None else None

    async def run(self) -> None:
        """Do the turn; what becomes of it is told through its events."""
        session = self.session
        self._watch = self._observer.turn(session.channel, session.principal.log_name)
        try:
            if self._first is not None:
                await self._run()
                return
            async with self._shared.kit.limits.slot(self.session.owner) as self._slot:
                await self._run()
        except RateLimitError as error:
            self._refuse(error)
        finally:
            self._tell_end()

    def told(self) -> list[TurnEvent]:
        """Return the events that stand for what has come so far, for another page."""
        ticket = self._ticket
        events: list[TurnEvent] = [] if ticket is None else [_started(ticket)]
        return [*events, *self._answer.told(), *(self._gate.asked if self._gate else ())]

    async def keep(self) -> None:
        """Store the partial answer where it is time to; stop the turn when its lease was lost."""
        ticket, now = self._ticket, time.monotonic()
        if ticket is None or now - self._kept < KEEP_SECONDS * 0.8:
            return
        if self._slot is not None:
            await self._slot.renew()
        kept = await self.session.memory.checkpoint(
            self.session.owner,
            ticket.turn_id,
            content=self._answer.text,
            tool_calls=self._answer.tools,
        )
        self._kept = now
        if not kept:
            self._turn.stop()

    async def _run(self) -> None:
        profile = await self._admitted()
        ticket = await self._open(profile) if profile is not None else None
        if ticket is None:
            return
        self._turn.emit(_started(ticket))
        if not ticket.fresh:
            self._outcome = REPEATED
            await self._repeat(ticket)
            return
        self._ticket = ticket
        self._watch.begun(ticket.turn_id)
        held = self._shared.transcripts.take(self.session, ticket)
        finished, model = await self._answer_it(ticket, held)
        self.is_over = True
        finished = await self._store(ticket, finished, model)
        if finished.outcome == "complete" and self._stored:
            text = self._answer.text
            self._shared.transcripts.keep(self.session, held, ticket.answer_seq, text)
            self._shared.answered(self.session, held)
        self._outcome = finished.outcome
        self._turn.emit(finished)

    async def _admitted(self) -> Profile | None:
        """Return the agent that the session's user may use; None where the turn was refused."""
        try:
            return await self._shared.kit.profile(self.session, self.session.agent_id)
        except UserError as error:
            self._refuse(error)
        except Exception as error:  # noqa: BLE001 (told to the user, named in the log)
            self._refuse(_unexpected(error))
        return None

    async def _open(self, profile: Profile) -> TurnTicket | None:
        # Shielded: when the caller goes away while the message is being stored, the
        # turn must still learn that it was, or its lease would stay.
        opening = asyncio.ensure_future(self._begin(self.session.memory, profile))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            await self._abandon(opening)
        except StoreError as error:
            self._refuse(refusal_for(error))
        except Exception as error:  # noqa: BLE001 (told to the user, named in the log)
            self._refuse(_unexpected(error))
        return None

    def _refuse(self, error: UserError) -> None:
        self._observer.refused(kind_of(error))
        self._turn.refuse(error)

    def _tell_end(self) -> None:
        self._watch.ended(self._outcome)
        log_end(
            self._outcome,
            self.session.channel,
            self.session.principal.log_name,
            seconds=time.monotonic() - self._started,
            tokens=self._answer.tokens or 0,
            request=self._turn.request_id,
            turn=self._ticket.turn_id if self._ticket else "-",
        )

    async def _abandon(self, opening: asyncio.Future[TurnTicket]) -> None:
        _keep_running()
        try:
            ticket = await asyncio.wait_for(opening, SETTLE_SECONDS)
        except (StoreError, TimeoutError) as error:
            self._refuse(refusal_for(error))
            return
        self._turn.emit(_started(ticket))
        if not ticket.fresh:
            self._outcome = REPEATED
            self._turn.emit(TurnFinished("interrupted"))
            return
        self._outcome = "interrupted"
        self._turn.emit(await self._store(ticket, TurnFinished("interrupted"), None))

    async def _answer_it(
        self, ticket: TurnTicket, held: CachedContext
    ) -> tuple[TurnFinished, str | None]:
        settings = self._shared.kit.settings
        clock = asyncio.timeout(settings.turn_timeout)
        model: str | None = None
        try:
            async with clock:
                # A stored conversation's agent is its own, whatever the session says.
                profile = await self._shared.kit.profile(self.session, ticket.agent_id)
                if (done := await self._command(held)) is not None:
                    self._reply(done)
                else:
                    model = await self._choose(ticket, profile)
                    await self._ask_agent(ticket, held, profile, model, clock)
        except asyncio.CancelledError:
            _keep_running()
            return TurnFinished("interrupted", tokens=self._answer.tokens), model
        except Exception as error:  # noqa: BLE001 (told to the user, named in the log)
            return self._failed(error, expired=clock.expired()), model
        return TurnFinished("complete", tokens=self._answer.tokens), model

    def _reply(self, reply: CommandReply) -> None:
        if reply.link is not None:
            # As a tool's: no channel looks for a link in a text.
            call = secrets.token_hex(8)
            self._take(ToolStarted(call, CONNECT, {"toolkit": reply.toolkit}))
            self._take(ToolFinished(call, CONNECT, reply.text, True, 0.0, reply.link))
        self._take(TextDelta(reply.text))

    async def _command(self, held: CachedContext) -> CommandReply | None:
        commands = self._shared.commands
        found = commands.find(self._turn.text) if commands is not None else None
        if found is None or commands is None or not held.said:
            return None
        try:
            return await commands.run(self.session, found)
        except UserError as error:
            return CommandReply(error.sentence)

    async def _choose(self, ticket: TurnTicket, profile: Profile) -> str:
        kit = self._shared.kit
        stored = ticket.context.get(MODEL)
        model = kit.model(profile, self._model, stored)
        if self._model and model != kit.model(profile, stored):
            changes = {MODEL: model}
            await self.session.memory.update_context(
                self.session.owner, ticket.conversation_id, changes
            )
        return model

    async def _ask_agent(
        self,
        ticket: TurnTicket,
        held: CachedContext,
        profile: Profile,
        model: str,
        clock: asyncio.Timeout,
    ) -> None:
        kit, session = self._shared.kit, self.session
        self._gate = TurnApprovalGate(
            kit, session, self._turn, ticket, clock, can_ask=self._can_ask
        )
        ask = Ask(
            instructions=profile.prompt,
            summary=held.told,
            fields=kit.fields.of(session.owner, model),
            toolset=await kit.box(session, profile),
            gate=self._gate,
        )
        shown = await self._with_files(ticket, held)
        self._watch.asked(model)
        await session.agent.run(shown, self._take, ask)

    async def _with_files(self, ticket: TurnTicket, held: CachedContext) -> list[Exchange]:
        """Return the window, its messages with what their files hold."""
        if not ticket.has_files:
            return held.exchanges
        kit, session = self._shared.kit, self.session
        places = [item.seq for item in held.said if item.role == "user"]
        room = kit.settings.history_tokens * CHARS_PER_TOKEN
        found = await kit.files.contents(
            session.principal, ticket.conversation_id, places, chars=room
        )
        return [
            Exchange("user", [{"type": "text", "text": item.content}, *found[item.seq]])
            if item.seq in found
            else exchange
            for item, exchange in zip(held.said, held.exchanges, strict=True)
        ]

    def _take(self, made: AgentEvent) -> None:
        event = storable(made)
        self._answer.add(event)
        tell(self._watch, event)
        if isinstance(event, ApprovalRequested) and self._gate is not None:
            self._gate.asked.append(event)
        self._turn.emit(event)

    def _failed(self, error: Exception, *, expired: bool) -> TurnFinished:
        settings = self._shared.kit.settings
        if isinstance(error, UserError):
            return self._broken(error, error)
        if isinstance(error, TimeoutError) and expired:
            sentence = f"The answer took longer than {settings.turn_timeout:g} seconds."
            return self._broken(UserError(sentence), error)
        known = refusal_for(error) if isinstance(error, StoreError) else None
        return self._broken(known or explain(error, settings), error)

    def _broken(self, told: UserError, error: BaseException) -> TurnFinished:
        # What came is worth keeping; nothing at all is a failure.
        outcome: Literal["interrupted", "failed"] = (
            "interrupted" if self._answer.text or self._answer.tools else "failed"
        )
        log.error(
            "turn %s error_id=%s kind=%s request=%s principal=%s turn=%s cause=%s",
            outcome,
            told.error_id,
            getattr(told, "kind", type(told).__name__),
            self._turn.request_id,
            self.session.principal.log_name,
            self._ticket.turn_id if self._ticket else "-",
            frames(error),
        )
        return TurnFinished(outcome, told.sentence, told.error_id, self._answer.tokens)

    async def _store(
        self, ticket: TurnTicket, finished: TurnFinished, model: str | None
    ) -> TurnFinished:
        task = self._shared.settle(self._finish(ticket, finished, model))
        try:
            self._stored = await asyncio.wait_for(asyncio.shield(task), SETTLE_SECONDS)
        except asyncio.CancelledError:
            _keep_running()
            await asyncio.wait([task], timeout=SETTLE_SECONDS)
        except (StoreError, TimeoutError) as error:
            told = ServiceUnavailableError(
                "The answer could not be stored; please copy it before you go on."
            )
            return self._broken(told, error)
        return finished

    async def _finish(self, ticket: TurnTicket, finished: TurnFinished, model: str | None) -> bool:
        kit, answer, owner = self._shared.kit, self._answer, self.session.owner
        counts = answer.input_tokens, answer.output_tokens
        try:
            return await self.session.memory.finish_turn(
                owner,
                ticket.turn_id,
                status=finished.outcome,
                content=answer.text,
                tool_calls=answer.tools,
                tokens_used=answer.tokens,
                latency_ms=round((time.monotonic() - self._started) * 1000),
                model_used=model,
                error_id=finished.error_id,
                input_tokens=counts[0],
                output_tokens=counts[1],
                cost_micros=self._cost(model),
                tokens_estimated=answer.has_estimates,
            )
        finally:
            await kit.limits.charge(owner, answer.tokens or 0)

    def _cost(self, model: str | None) -> int | None:
        asked, answered = self._answer.input_tokens, self._answer.output_tokens
        if model is None or asked is None or answered is None:
            return None
        return cost_micros(self._shared.kit.settings.prices, model, asked, answered)

    async def _repeat(self, ticket: TurnTicket) -> None:
        """Tell a repeated request what became of the first: one turn, one answer."""
        if self._first is not None:
            await self._first.ended()
        try:
            stored = await self.session.memory.answer(self.session.owner, ticket.turn_id)
        except StoreError as error:
            self._turn.refuse(refusal_for(error))
            return
        for event in replayed(stored):
            self._turn.emit(event)


def _unexpected(error: BaseException) -> UserError:
    told = UserError()
    log.error("turn refused error_id=%s cause=%s", told.error_id, frames(error))
    return told


def _started(ticket: TurnTicket) -> TurnStarted:
    return TurnStarted(ticket.turn_id, ticket.conversation_id, ticket.user_seq, ticket.answer_seq)


def _keep_running() -> None:
    # The cancellation was the brake, and was taken; what follows is the storing.
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()
