"""A turn that the memory stores: its message, its partial and its final answer."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from cmw_agent.agent.agent import Ask
from cmw_agent.chat.answer import AnswerAccumulator
from cmw_agent.chat.answer_events import replayed
from cmw_agent.chat.approval_gate import TurnApprovalGate
from cmw_agent.chat.commands import ChatCommands
from cmw_agent.chat.context_cache import CachedContext, ContextCache
from cmw_agent.chat.dependencies import ChatDependencies
from cmw_agent.chat.model_choice import ModelChoice, settle
from cmw_agent.chat.summarizer import SummaryRequest
from cmw_agent.chat.titler import MAX_SEQ, TitleRequest
from cmw_agent.chat.turn import (
    SETTLE_SECONDS,
    AgentRequest,
    Beginning,
    CommandReply,
    Turn,
    clear_cancellation,
)
from cmw_agent.config.agent_profiles import AgentProfile
from cmw_agent.conversations.running_turns import RunningTurn
from cmw_agent.conversations.sessions import LiveSession
from cmw_agent.core.errors import UserError
from cmw_agent.core.events import PictureStored, TurnEvent, TurnFinished, TurnStarted
from cmw_agent.core.store_errors import mapped_store_errors, refusal_for
from cmw_agent.llm.chat_model import HistoryMessage
from cmw_agent.llm.fallback import RunModels
from cmw_agent.llm.pricing import cost_micros
from memory.errors import StoreError
from memory.records import ConversationOrigin, NewTurn, TurnSignals, TurnTicket

CHARS_PER_TOKEN = 4
PAGE = "web"  # the channel of the page
NOT_KEPT = "A picture of this answer was not kept."


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A further message of the user.

    Args:
        conversation: Id of the conversation.
        text: The message.
        files: Ids of the owner's uploads that it brings.
        choice: The model that is to answer from now on and its effort, if the user has chosen one.
        context: What a conversation that begins with it keeps beside its messages.
        create: Whether a conversation that is not there is made.
    """

    conversation: str
    text: str
    files: tuple[str, ...]
    choice: ModelChoice
    context: Mapping[str, Any]
    create: bool


@dataclass(frozen=True, slots=True)
class Regeneration:
    """A message once more.

    Args:
        conversation: Id of the conversation.
        text: Its edited form, if it was edited.
        seq: Sequence number of the message, or of an answer to it; None for the last message.
        expected_seq: Sequence number of the message that the user saw last, where it is checked.
    """

    conversation: str
    text: str | None
    seq: int | None
    expected_seq: int | None


@dataclass(frozen=True, slots=True)
class StoredTurnServices:
    """What the stored turns of a process share.

    Args:
        dependencies: What all turns share.
        contexts: The context windows that are kept between turns.
        commands: Runs messages that begin with a slash; None leaves them to the model.
    """

    dependencies: ChatDependencies
    contexts: ContextCache
    commands: ChatCommands | None


class StoredTurn:
    """What `TurnRunner` does in a turn whose message and answer the memory stores.

    Args:
        services: What stored turns share.
        session: Whose turn it is.
        turn: The turn.
        request: What the user wants.
        first: The turn that runs under the same key already, where one does.
    """

    def __init__(
        self,
        services: StoredTurnServices,
        session: LiveSession,
        turn: Turn,
        request: NewMessage | Regeneration,
        first: RunningTurn | None,
    ) -> None:
        self.session = session
        self._dependencies = services.dependencies
        self._contexts = services.contexts
        self._commands = services.commands
        self._turn = turn
        self._request = request
        self._first = first
        # As they are now: the session may serve another request meanwhile.
        self._can_ask = session.can_ask
        self._origin = session.provenance
        self._begun: TurnTicket | None = None
        self._context: CachedContext | None = None
        self._model: str | None = None  # id of the first model of the run
        self._summary_models: RunModels | None = None

    @property
    def log_name(self) -> str:
        """The name of the turn's principal in the logs."""
        return self.session.principal.log_name

    @property
    def needs_slot(self) -> bool:
        """Whether the turn takes one of its owner's slots: a repeated request takes none."""
        return self._first is None

    @property
    def conversation(self) -> str | None:
        """The id of the conversation, once the turn has begun."""
        return self._begun.conversation_id if self._begun is not None else None

    @property
    def _ticket(self) -> TurnTicket:
        if self._begun is None:
            raise RuntimeError("the turn has not begun")
        return self._begun

    async def begin(self, profile: AgentProfile) -> Beginning:
        """Store the message and an empty answer, and take the conversation's lease.

        Raises:
            UserError: The turn cannot begin.
        """
        # Shielded: when the turn is stopped while the message is being stored, it must still
        # learn that it was, or its lease would stay.
        storing = asyncio.ensure_future(self._store_beginning(profile))
        is_stopped = False
        try:
            try:
                ticket = await asyncio.shield(storing)
            except asyncio.CancelledError:
                clear_cancellation()
                is_stopped = True
                ticket = await asyncio.wait_for(storing, SETTLE_SECONDS)
        except (StoreError, TimeoutError) as error:
            raise refusal_for(error) from error
        self._begun = ticket
        started = TurnStarted(
            ticket.turn_id,
            ticket.conversation_id,
            ticket.user_seq,
            ticket.answer_seq,
            ticket.parent_seq,
        )
        return Beginning(started, is_repeated=not ticket.fresh, is_stopped=is_stopped)

    def _store_beginning(self, profile: AgentProfile) -> Coroutine[Any, Any, TurnTicket]:
        owner, memory, request = self.session.owner, self.session.memory, self._request
        if isinstance(request, NewMessage):
            return memory.begin_turn(owner, self._new_turn(request, profile))
        return memory.begin_retry(
            owner,
            request.conversation,
            key=self._turn.key,
            text=request.text,
            seq=request.seq,
            expected_seq=request.expected_seq,
            budget=self._dependencies.settings.history_tokens,
        )

    def _new_turn(self, request: NewMessage, profile: AgentProfile) -> NewTurn:
        models = self._dependencies.catalog.models
        context = {**request.context, **request.choice.context(models, profile)}
        origin = ConversationOrigin(
            agent_id=profile.id,
            channel=self.session.channel,
            website_domain=self._origin.website_domain,
            ip_address=self._origin.ip_address,
            context=context or None,
            tenant_id=self._origin.tenant_id,
            external_id=self._origin.external_id,
        )
        return NewTurn(
            request.conversation,
            request.text,
            self._turn.key,
            origin=origin if request.create else None,
            model=profile.model,
            budget=self._dependencies.settings.history_tokens,
            known=self._contexts.known(self.session, request.conversation),
            files=request.files,
        )

    async def replay(self) -> list[TurnEvent]:
        """Return the events of the answer that the first of repeated requests got.

        Raises:
            UserError: The memory fails.
        """
        if self._first is not None:
            await self._first.ended()
        with mapped_store_errors():
            stored = await self.session.memory.answer(self.session.owner, self._ticket.turn_id)
        return replayed(stored)

    async def request(
        self, profile: AgentProfile, clock: asyncio.Timeout
    ) -> AgentRequest | CommandReply:
        """Return what the agent is asked, or the answer where the message is a command.

        Args:
            profile: Not read: a stored conversation has its own agent.
            clock: The turn's time-out; it stands while the owner is asked for an approval.

        Raises:
            UserError: The agent cannot be asked.
            StoreError: The memory fails.
        """
        dependencies, session, ticket = self._dependencies, self.session, self._ticket
        context = self._context = self._contexts.take(session, ticket)
        # A stored conversation's agent is its own, whatever the session says.
        profile = await dependencies.profile(session, ticket.agent_id)
        if (reply := await self._run_command(context)) is not None:
            return reply
        models = await self._choose_model(profile)
        model = self._model = models.current.id
        # A summary does without the effort that the user has chosen for the answer.
        self._summary_models = dependencies.catalog.run(session.owner, profile, model)
        gate = TurnApprovalGate(
            dependencies, session, self._turn, ticket, clock, can_ask=self._can_ask
        )
        ask = Ask(
            instructions=profile.prompt,
            summary=context.summary_before,
            model=models,
            toolset=await dependencies.toolset(session, profile),
            gate=gate,
        )
        return AgentRequest(model, await self._with_files(context), ask)

    async def _run_command(self, context: CachedContext) -> CommandReply | None:
        commands = self._commands
        command = commands.find(self._turn.text) if commands is not None else None
        if command is None or commands is None or not context.messages:
            return None
        try:
            return await commands.run(self.session, command)
        except UserError as error:
            return CommandReply(error.sentence)

    async def _choose_model(self, profile: AgentProfile) -> RunModels:
        """Return the models that answer; keep the user's new choice in the conversation."""
        session, ticket, request = self.session, self._ticket, self._request
        catalog = self._dependencies.catalog
        chosen = request.choice if isinstance(request, NewMessage) else ModelChoice()
        model, effort, changes = settle(catalog.models, profile, chosen, ticket.context)
        if changes:
            await session.memory.update_context(session.owner, ticket.conversation_id, changes)
        return catalog.run(session.owner, profile, model, effort)

    async def _with_files(self, context: CachedContext) -> list[HistoryMessage]:
        """Return the context window, its messages with the content of their files."""
        if not self._ticket.has_files:
            return context.exchanges
        dependencies, session = self._dependencies, self.session
        seqs = [message.seq for message in context.messages if message.role == "user"]
        max_chars = dependencies.settings.history_tokens * CHARS_PER_TOKEN
        contents = await dependencies.files.contents(
            session.principal, self._ticket.conversation_id, seqs, chars=max_chars
        )
        return [
            HistoryMessage(
                "user", [{"type": "text", "text": message.content}, *contents[message.seq]]
            )
            if message.seq in contents
            else exchange
            for message, exchange in zip(context.messages, context.exchanges, strict=True)
        ]

    async def take_pictures(
        self, answer: AnswerAccumulator, emit: Callable[[PictureStored], None]
    ) -> None:
        """Store the answer's pictures as its owner's files; a note says why one was not."""
        session = self.session
        for number, picture in enumerate(answer.pictures, start=1):
            try:
                file = await self._dependencies.files.add_picture(
                    session.principal, f"picture-{number}", picture.data, session.address
                )
            except UserError as error:
                answer.add_note(f"{NOT_KEPT} {error.sentence}")
            else:
                emit(PictureStored(file.file_id, file.name))

    async def checkpoint(self, answer: AnswerAccumulator) -> TurnSignals | None:
        """Store the partial answer and renew the lease; return None where that was lost."""
        return await self.session.memory.checkpoint(
            self.session.owner,
            self._ticket.turn_id,
            content=answer.text,
            tool_calls=answer.tools,
            thinking=answer.thinking,
            details=answer.details,
        )

    async def finish(
        self, finished: TurnFinished, answer: AnswerAccumulator, latency_ms: int
    ) -> bool:
        """Store the answer and end the lease; return False where that was lost."""
        return await self.session.memory.finish_turn(
            self.session.owner,
            self._ticket.turn_id,
            status=finished.outcome,
            content=answer.text,
            tool_calls=answer.tools,
            tokens_used=answer.tokens,
            latency_ms=latency_ms,
            model_used=self._model_of(answer),
            error_id=finished.error_id,
            input_tokens=answer.input_tokens,
            output_tokens=answer.output_tokens,
            cost_micros=self._cost(answer),
            tokens_estimated=answer.has_estimates,
            thinking=answer.thinking,
            finish_reason=finished.finish_reason,
            details=answer.details,
        )

    def _model_of(self, answer: AnswerAccumulator) -> str | None:
        """Return the id of the model that answered; None where no model was called."""
        return self._model if answer.switched is None else answer.switched.model

    def _cost(self, answer: AnswerAccumulator) -> int | None:
        """Return what the answer cost in millionths of a dollar, where known."""
        prompt, completion = answer.input_tokens, answer.output_tokens
        model = self._model_of(answer)
        if model is None or prompt is None or completion is None:
            return None
        prices = self._dependencies.catalog.models.prices
        return cost_micros(prices, model, prompt, completion)

    def keep_context(self, text: str) -> SummaryRequest | None:
        """Keep the context window, the answer's text included, for the session's next turn."""
        if self._context is None:
            return None
        self._contexts.keep(self.session, self._context, self._ticket.answer_seq, text)
        if self._summary_models is None:
            return None  # a command, which asks no model
        title = self._title_request(self._context, self._summary_models, text)
        return SummaryRequest(self._context, self._summary_models, title)

    def _title_request(
        self, context: CachedContext, models: RunModels, answer: str
    ) -> TitleRequest | None:
        """Return what names the conversation; None for one that is in no list of the page."""
        session, ticket, created_at = self.session, self._ticket, context.conversation_created_at
        is_listed = session.channel == PAGE and session.principal.is_kept
        if ticket.has_title or ticket.user_seq > MAX_SEQ or not is_listed or created_at is None:
            return None
        questions = [message.content for message in context.messages if message.role == "user"]
        return TitleRequest(ticket.conversation_id, created_at, questions[-1], answer, models)
