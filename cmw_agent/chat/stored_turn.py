"""A turn that the memory stores: its message, its partial and its final answer."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import SecretStr

from cmw_agent.agent.agent import Ask
from cmw_agent.chat.answer import AnswerAccumulator
from cmw_agent.chat.answer_events import replayed
from cmw_agent.chat.approval_gate import TurnApprovalGate
from cmw_agent.chat.commands import ChatCommands
from cmw_agent.chat.context_cache import FILES_ALONE, CachedContext, ContextCache
from cmw_agent.chat.context_receipt import context_receipt, with_answer
from cmw_agent.chat.dependencies import PAGE, ChatDependencies
from cmw_agent.chat.model_choice import ModelChoice, settle
from cmw_agent.chat.suggester import Exchange
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
from cmw_agent.chat.turn_recording import TurnRecording
from cmw_agent.config.agent_profiles import AgentProfile
from cmw_agent.conversations.running_turns import RunningTurn
from cmw_agent.conversations.sessions import LiveSession
from cmw_agent.core.errors import UserError
from cmw_agent.core.events import PictureStored, TurnEvent, TurnFinished, TurnStarted
from cmw_agent.core.store_errors import mapped_store_errors, refusal_for
from cmw_agent.files.content import window_chars
from cmw_agent.language import joined, wording
from cmw_agent.llm.chat_model import NO_EXTRA_BODY, ExtraBody, HistoryMessage
from cmw_agent.llm.fallback import RunModels
from cmw_agent.llm.pricing import cost_micros
from memory.errors import StoreError
from memory.records import (
    AnswerDetails,
    ConversationOrigin,
    NewTurn,
    TurnSignals,
    TurnTicket,
    utcnow,
)

NOT_KEPT = wording("A picture of this answer was not kept.")


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
        parameters: Parameters of chat completions that the caller sets for this answer.
        visitor_key: The user's own key for the model, which is stored nowhere.
    """

    conversation: str
    text: str
    files: tuple[str, ...]
    choice: ModelChoice
    context: Mapping[str, Any]
    create: bool
    parameters: ExtraBody
    visitor_key: SecretStr | None = None


@dataclass(frozen=True, slots=True)
class Regeneration:
    """A message once more.

    Args:
        conversation: Id of the conversation.
        text: Its edited form, if it was edited.
        seq: Sequence number of the message, or of an answer to it; None for the last message.
        expected_seq: Sequence number of the message that the user saw last, where it is checked.
        visitor_key: The user's own key for the model, which is stored nowhere.
    """

    conversation: str
    text: str | None
    seq: int | None
    expected_seq: int | None
    visitor_key: SecretStr | None = None


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
        self._receipt: dict[str, Any] | None = None  # of what the model was given
        self._recording: TurnRecording | None = None
        self.has_visitor_key = False  # whether the requests to the model carry the user's own key

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
        self._dependencies.require_open(profile, request.choice.model)
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
            model=profile.model if profile.uses_model else None,
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
            profile: The session's agent; the conversation's own is looked up where it differs.
            clock: The turn's time-out; it stands while the owner is asked for an approval.

        Raises:
            UserError: The agent cannot be asked.
            StoreError: The memory fails.
        """
        dependencies, session, ticket = self._dependencies, self.session, self._ticket
        context = self._context = self._contexts.take(session, ticket)
        # A stored conversation's agent is its own, whatever the session says.
        if profile.id != ticket.agent_id:
            profile = await dependencies.profile(session, ticket.agent_id)
        if (reply := await self._run_command(context)) is not None:
            return reply
        models = await self._choose_model(profile)
        model = models.current.id
        self._model = model if profile.uses_model else None  # a graph has models of its own
        # A summary does without the effort that the user has chosen for the answer.
        self._summary_models = dependencies.run_models(
            session, profile, model, visitor_key=self._request.visitor_key
        )
        is_stored = session.principal.is_stored
        if is_stored and dependencies.threads is not None:
            await dependencies.threads.begin(session.owner, ticket.conversation_id, profile.id)
        self._recording = self._begun_recording(profile, models)
        gate = TurnApprovalGate(
            dependencies, session, self._turn, ticket, clock, can_ask=self._can_ask
        )
        ask = Ask(
            instructions=profile.prompt,
            summary=context.summary_before,
            model=models,
            toolset=await dependencies.toolset(session, profile),
            gate=gate,
            runner=dependencies.own_agents.get(profile.id).runner,
            conversation_id=ticket.conversation_id if is_stored else None,
            request_id=self._turn.request_id,
            tape=self._recording.tape if self._recording is not None else None,
        )
        messages, notes, file_ids = await self._with_files(context)
        tools = ask.toolset.names if ask.toolset is not None else ()
        self._receipt = context_receipt(
            ticket,
            profile.id,
            ask.instructions or "",
            context,
            file_ids=file_ids,
            tools=tools,
        )
        return AgentRequest(model, messages, ask, notes)

    def _begun_recording(self, profile: AgentProfile, models: RunModels) -> TurnRecording | None:
        """Return the turn's recording; None where turns are not recorded, or this one is not stored."""
        dependencies, session = self._dependencies, self.session
        if dependencies.recorder is None or not session.principal.is_stored:
            return None
        return TurnRecording(
            dependencies.recorder,
            session.owner,
            self._ticket,
            profile,
            dependencies.catalog.models,
            models,
            session.language.tag,
        )

    async def _run_command(self, context: CachedContext) -> CommandReply | None:
        commands = self._commands
        command = commands.find(self._turn.text) if commands is not None else None
        if command is None or commands is None or not context.messages:
            return None
        try:
            return await commands.run(self.session, command)
        except UserError as error:
            return CommandReply(error.sentence_in(self.session.language))

    async def _choose_model(self, profile: AgentProfile) -> RunModels:
        """Return the models that answer; keep the user's new choice in the conversation."""
        session, ticket, request = self.session, self._ticket, self._request
        catalog = self._dependencies.catalog
        chosen = request.choice if isinstance(request, NewMessage) else ModelChoice()
        model, effort, changes = settle(catalog.models, profile, chosen, ticket.context)
        if changes:
            await session.memory.update_context(session.owner, ticket.conversation_id, changes)
        parameters = request.parameters if isinstance(request, NewMessage) else NO_EXTRA_BODY
        models = self._dependencies.run_models(
            session, profile, model, effort, parameters, visitor_key=request.visitor_key
        )
        self.has_visitor_key = models.has_visitor_key
        return models

    async def _with_files(
        self, context: CachedContext
    ) -> tuple[list[HistoryMessage], Sequence[str], Sequence[str]]:
        """Return the context window, its messages with the content of their files.

        And sentences on what the model is not given of them, where the question brings files; a
        later one has the same left out. And the ids of the files.
        """
        if not self._ticket.has_files:
            return context.exchanges, (), ()
        dependencies, session = self._dependencies, self.session
        seqs = [message.seq for message in context.messages if message.role == "user"]
        contents = await dependencies.files.contents(
            session.principal,
            self._ticket.conversation_id,
            seqs,
            chars=window_chars(dependencies.settings),
        )
        messages = [
            HistoryMessage("user", [*_text_parts(message.content), *contents[message.seq]])
            if message.seq in contents
            else exchange
            for message, exchange in zip(context.messages, context.exchanges, strict=True)
        ]
        left_out = contents.left_out if seqs and seqs[-1] in contents else ()
        return messages, left_out, contents.file_ids

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
                answer.add_note(joined(NOT_KEPT, error.sentence))
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
        recording, cassette = self._recording, None
        if recording is not None:
            cassette = await recording.save(finished, answer)
        is_stored = await self._store_answer(finished, answer, latency_ms)
        if recording is not None and cassette is not None and not is_stored:
            # The conversation may be deleted: written before its end, the file is deleted with it,
            # or here.
            await recording.drop(cassette)
        return is_stored

    async def _store_answer(
        self, finished: TurnFinished, answer: AnswerAccumulator, latency_ms: int
    ) -> bool:
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
            details=self._details(finished, answer),
        )

    def _details(self, finished: TurnFinished, answer: AnswerAccumulator) -> AnswerDetails:
        """Return the answer's details, with its receipt where a request was sent to a model."""
        details = answer.details
        if not finished.finish_reason:
            # A finish reason has a sentence of its own, which is found again where it is read.
            details = replace(details, note=finished.sentence)
        if self._receipt is None:
            return details
        receipt = with_answer(
            self._receipt,
            at=utcnow(),
            status=finished.outcome,
            model=self._model_of(answer),
            text=answer.text,
            tools=answer.tools,
        )
        return replace(details, receipt=receipt)

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
        exchange = self._exchange(self._context, self._summary_models, text)
        return SummaryRequest(self._context, self._summary_models, title, exchange)

    def _exchange(self, context: CachedContext, models: RunModels, answer: str) -> Exchange | None:
        """Return what the next messages are suggested after; None where no page shows it."""
        if self.session.channel != PAGE:
            return None
        return Exchange(self._ticket.conversation_id, _last_question(context), answer, models)

    def _title_request(
        self, context: CachedContext, models: RunModels, answer: str
    ) -> TitleRequest | None:
        """Return what names the conversation; None for one that is in no list of the page."""
        session, ticket, created_at = self.session, self._ticket, context.conversation_created_at
        is_listed = session.channel == PAGE and session.principal.is_stored
        if ticket.has_title or ticket.user_seq > MAX_SEQ or not is_listed or created_at is None:
            return None
        question = _last_question(context)
        return TitleRequest(ticket.conversation_id, created_at, question, answer, models)


def _last_question(context: CachedContext) -> str:
    questions = [message.content for message in context.messages if message.role == "user"]
    return questions[-1] or FILES_ALONE


def _text_parts(text: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": text}] if text else []
