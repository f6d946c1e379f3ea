"""The inside of an answer of which nothing is kept: the caller brings the whole conversation."""

import asyncio
import logging
import time
from collections.abc import Sequence

from cmw_agent.agent.agent import Ask
from cmw_agent.chat.answer import AnswerAccumulator, storable
from cmw_agent.chat.dependencies import ChatDependencies
from cmw_agent.chat.turn import SettleTurn, Turn
from cmw_agent.config.agent_profiles import Profile
from cmw_agent.conversations.sessions import LiveSession
from cmw_agent.core.errors import UserError, frames
from cmw_agent.core.events import AgentEvent, TurnEvent, TurnFinished, TurnOutcome
from cmw_agent.limits.limiter import Slot
from cmw_agent.llm.chat_model import Exchange
from cmw_agent.llm.factory import explain
from cmw_agent.observability.observers import REFUSED, Watch, kind_of, log_end, tell

log = logging.getLogger(__name__)


class StatelessRunner:
    """Answers once what the caller has said; limits hold as for turns, and nothing is stored.

    Connected tools have no place here: there is no conversation in which their user could be
    asked.

    Args:
        kit: What turns share.
        session: Whose answer it is.
        turn: Takes the events.
        said: The conversation, its last message the user's.
        instructions: What the model is told beside the agent's prompt, if anything.
        model: The model that is to answer, where it is not the agent's.
        settle: Charges what was used in a task that nobody's cancellation reaches.
    """

    conversation: str | None = None  # there is none
    is_over = False  # nor has anybody to wait for what is stored

    def __init__(
        self,
        kit: ChatDependencies,
        session: LiveSession,
        turn: Turn,
        said: Sequence[Exchange],
        instructions: str | None,
        model: str | None,
        settle: SettleTurn,
    ) -> None:
        self._kit = kit
        self.session = session
        self._turn = turn
        self._said = said
        self._instructions = instructions
        self._model = model
        self._settle = settle
        self._answer = AnswerAccumulator()
        self._slot: Slot | None = None
        self._watch = Watch()

    async def run(self) -> None:
        """Answer; what becomes of it is told through the turn's events."""
        session, kit = self.session, self._kit
        self._watch = kit.observer.turn(session.channel, session.principal.log_name)
        outcome, started = REFUSED, time.monotonic()
        try:
            profile = await kit.profile(session, session.agent_id)
            async with kit.limits.slot(session.owner) as self._slot:
                self._watch.begun(self._turn.key)
                finished = await self._run(profile)
                outcome = finished.outcome
                await asyncio.shield(self._settle(self._charge()))
            self._turn.emit(finished)
        except UserError as error:
            kit.observer.refused(kind_of(error))
            self._turn.refuse(error)
        finally:
            self._watch.ended(outcome)
            log_end(
                outcome,
                session.channel,
                session.principal.log_name,
                seconds=time.monotonic() - started,
                tokens=self._answer.tokens or 0,
                request=self._turn.request_id,
            )

    def told(self) -> list[TurnEvent]:
        """Return the events that stand for what has come so far."""
        return self._answer.told()

    async def keep(self) -> None:
        """Keep the owner's slot; of the answer nothing is kept."""
        if self._slot is not None:
            await self._slot.renew()

    async def _charge(self) -> bool:
        await self._kit.limits.charge(self.session.owner, self._answer.tokens or 0)
        return True

    async def _run(self, profile: Profile) -> TurnFinished:
        settings = self._kit.settings
        clock = asyncio.timeout(settings.turn_timeout)
        model = self._kit.model(profile, self._model)
        fields = self._kit.fields.of(self.session.owner, model)
        self._watch.asked(model)
        instructions = "\n\n".join(filter(None, (profile.prompt, self._instructions)))
        ask = Ask(instructions=instructions, fields=fields)
        try:
            async with clock:
                await self.session.agent.run(self._said, self._take, ask)
        except asyncio.CancelledError:
            # The cancellation was the brake, and was taken; what follows is the counting.
            if (task := asyncio.current_task()) is not None:
                task.uncancel()
            return TurnFinished("interrupted", tokens=self._answer.tokens)
        except Exception as error:  # noqa: BLE001 (told to the user, named in the log)
            if isinstance(error, TimeoutError) and clock.expired():
                sentence = f"The answer took longer than {settings.turn_timeout:g} seconds."
                return self._broken(UserError(sentence), error)
            told = error if isinstance(error, UserError) else explain(error, settings)
            return self._broken(told, error)
        return TurnFinished("complete", tokens=self._answer.tokens)

    def _take(self, made: AgentEvent) -> None:
        event = storable(made)
        self._answer.add(event)
        tell(self._watch, event)
        self._turn.emit(event)

    def _broken(self, told: UserError, error: BaseException) -> TurnFinished:
        log.error(
            "answer failed error_id=%s kind=%s request=%s principal=%s cause=%s",
            told.error_id,
            getattr(told, "kind", type(told).__name__),
            self._turn.request_id,
            self.session.principal.log_name,
            frames(error),
        )
        has_begun = bool(self._answer.text or self._answer.tools)
        outcome: TurnOutcome = "interrupted" if has_begun else "failed"
        return TurnFinished(outcome, told.sentence, told.error_id, self._answer.tokens)
