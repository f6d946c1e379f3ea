"""ChatService: begins turns, for every channel, and keeps the running ones.

A turn takes the lease on its conversation and stores the user's message *before* the
model is called, streams the agent's events to its caller, and stores the answer as
complete, interrupted or failed however it ends. It runs (`cmw_agent.chat.turn_runner`) in a task of
its own, so that it can be stopped at any moment, also while the model is silent. It belongs to
its conversation: pages of its owner join it and leave it (docs/adr/0037-a-turn-outlives-its-page.md).
"""

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from pydantic import SecretStr

from cmw_agent.agent.client_tools import ClientTools
from cmw_agent.chat.approval_registry import ApprovalRegistry
from cmw_agent.chat.commands import ChatCommands
from cmw_agent.chat.context_cache import ContextCache
from cmw_agent.chat.dependencies import ChatDependencies
from cmw_agent.chat.model_choice import ModelChoice
from cmw_agent.chat.stateless_turn import StatelessTurn
from cmw_agent.chat.stored_turn import NewMessage, Regeneration, StoredTurn, StoredTurnServices
from cmw_agent.chat.suggester import Suggester
from cmw_agent.chat.summarizer import Summarizer
from cmw_agent.chat.titler import Titler
from cmw_agent.chat.turn import Turn, TurnReader
from cmw_agent.chat.turn_runner import KEEP_SECONDS, SettlingTasks, TurnRunner, TurnStrategy
from cmw_agent.conversations.running_turns import RunningTurns
from cmw_agent.conversations.sessions import LiveSession
from cmw_agent.core.errors import (
    ConversationInUseError,
    InvalidMessageError,
    NotFoundError,
    ServiceUnavailableError,
    UserError,
)
from cmw_agent.core.sanitize import validate_message
from cmw_agent.core.store_errors import mapped_store_errors
from cmw_agent.identity.principals import Principal
from cmw_agent.language import wording
from cmw_agent.limits.budgets import BudgetKind, Hold
from cmw_agent.limits.limiter import KeyBudget
from cmw_agent.llm.chat_model import NO_EXTRA_BODY, ExtraBody, HistoryMessage
from cmw_agent.observability.observers import refusal_kind
from memory.errors import StoreError

TURNS: BudgetKind = "turns"
EPHEMERAL_SECONDS = 60.0  # for which an ephemeral principal's turn runs on without readers


class ChatService:
    """Runs the turns of a process.

    Args:
        dependencies: What turns share.
        turns: The stored turns that run, by conversation.
        commands: Runs messages that begin with a slash; None leaves them to the model.
        clock: Returns a time in seconds, monotonic; for how long a turn has no reader.
    """

    def __init__(
        self,
        dependencies: ChatDependencies,
        turns: RunningTurns,
        commands: ChatCommands | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._dependencies = dependencies
        self._turns = turns
        self._clock = clock
        self._settings = dependencies.settings
        self._runners: dict[Turn, TurnRunner] = {}
        self._settling = SettlingTasks()
        self._idle = asyncio.Event()  # set while no turn runs
        self._idle.set()
        self._keeper: asyncio.Task[None] | None = None
        self._summaries = Summarizer(dependencies)
        self.titles = Titler(dependencies)
        self.suggester = Suggester(dependencies)
        self._contexts = ContextCache(dependencies.settings.history_tokens)
        self._stored_turns = StoredTurnServices(dependencies, self._contexts, commands)
        self._open = True

    @property
    def running(self) -> int:
        """Turns that run now."""
        return len(self._runners)

    @property
    def approvals(self) -> ApprovalRegistry:
        """The tool calls that wait for their users."""
        return self._dependencies.approvals

    @property
    def has_room(self) -> bool:
        """Whether a turn can begin now."""
        return self._open and self._dependencies.budgets.bound(TURNS, None, None) is None

    @property
    def is_open(self) -> bool:
        """Whether turns can begin: the process is not about to end."""
        return self._open

    def refusal(self, principal: Principal, address: str | None) -> UserError | None:
        """Return why the principal can begin no turn from an address now, or None when it can."""
        try:
            self._require_open()
        except UserError as error:
            return error
        refusal = self._dependencies.budgets.refusal(TURNS, principal.id, address)
        return self._counted(refusal) if refusal is not None else None

    async def admit(
        self, principal: Principal, address: str | None, key_budget: KeyBudget | None = None
    ) -> None:
        """Count a message that is about to come, for its user, its key and the address it is from.

        Each channel asks for this once, before the turn.

        Raises:
            RateLimitError: The user, the key or the address has sent enough for now.
        """
        try:
            await self._dependencies.limits.admit(principal.id, address, key_budget)
        except UserError as error:
            raise self._counted(error) from None

    @contextlib.asynccontextmanager
    async def slot(
        self, principal: Principal, address: str | None, key_budget: KeyBudget | None
    ) -> AsyncIterator[None]:
        """Hold what one answer takes, for a request to the model's server that is no turn.

        Raises:
            RateLimitError, BudgetFullError: As many answers as may be are being written.
        """
        self._require_open()
        dependencies = self._dependencies
        try:
            hold = dependencies.budgets.take(TURNS, principal.id, address)
        except UserError as error:
            raise self._counted(error) from None
        try:
            async with dependencies.limits.slot(principal.id, key_budget):
                yield
        finally:
            hold.release()

    async def charge(self, principal: Principal, tokens: int, key_budget: KeyBudget | None) -> None:
        """Add tokens that a request which is no turn has taken."""
        await self._dependencies.limits.charge(principal.id, tokens, key_budget)

    def turn(
        self,
        session: LiveSession,
        text: str,
        *,
        key: str,
        files: Sequence[str] = (),
        model: str | None = None,
        effort: str | None = None,
        context: Mapping[str, Any] | None = None,
        parameters: ExtraBody = NO_EXTRA_BODY,
        visitor_key: SecretStr | None = None,
        create: bool = True,
        outlives_readers: bool = False,
        request_id: str = "-",
    ) -> TurnReader:
        """Begin a turn: `text` is the user's message, `key` makes a repetition harmless.

        Args:
            session: Whose turn it is, and in which conversation.
            text: The message; it may be empty where it brings files.
            key: Names the request; 1 to 100 characters.
            files: Ids of the owner's own uploads that the message brings.
            model: The model that is to answer from now on in this conversation; others than
                the settings name are passed over.
            effort: How much the model is to think from now on in this conversation, where it has
                a choice; one of `cmw_agent.config.model_values.EFFORTS`.
            context: What a conversation that begins with this turn keeps beside its messages;
                no model sees it.
            parameters: Parameters of chat completions for this answer, such as `temperature`.
            visitor_key: The user's own key for the model; this turn alone has it.
            create: Whether a conversation that is not there is made; the turn is refused
                otherwise.
            outlives_readers: Whether the turn goes on when nobody reads it any more, as far as the
                settings and its principal let it; it is stopped otherwise.
            request_id: Names the request in the logs.

        Raises:
            InvalidMessageError: The text is empty without files, too long or not text.
            ConversationInUseError: A turn runs in this conversation already.
            RateLimitError, BudgetFullError: As many turns as may be run for the address, or for all.
        """
        text = self._checked(text, may_be_empty=bool(files))
        request = NewMessage(
            _conversation_of(session),
            text,
            tuple(files),
            ModelChoice.of(model, effort),
            context or {},
            create,
            parameters,
            visitor_key,
        )
        turn = Turn(
            key,
            text,
            is_new=True,
            request_id=request_id,
            unread_seconds=self._unread_seconds(session, outlives_readers),
            clock=self._clock,
        )
        return self._begin(session, turn, request)

    def regenerate(
        self,
        session: LiveSession,
        *,
        key: str,
        text: str | None = None,
        seq: int | None = None,
        expected_seq: int | None = None,
        visitor_key: SecretStr | None = None,
        outlives_readers: bool = False,
        request_id: str = "-",
    ) -> TurnReader:
        """Answer a message of the user once more, or, with `text`, its edited form.

        What was there stays as another version.

        Args:
            session: Whose turn it is, and in which conversation.
            key: Names the request, as for `turn`.
            text: The edited form of the message.
            seq: Sequence number of the message, or of the answer that is to be given again; the
                last message without it.
            expected_seq: Sequence number of the user's last message, where that is checked: the
                turn is refused when it is another one.
            visitor_key: The user's own key for the model, as for `turn`.
            outlives_readers: Whether the turn runs on once nobody reads it, as for `turn`.
            request_id: Names the request in the logs.

        Raises:
            InvalidMessageError, ConversationInUseError, RateLimitError, BudgetFullError: As for `turn`.
        """
        if text is not None:
            text = self._checked(text)
        request = Regeneration(_conversation_of(session), text, seq, expected_seq, visitor_key)
        turn = Turn(
            key,
            text or "",
            is_new=False,
            request_id=request_id,
            unread_seconds=self._unread_seconds(session, outlives_readers),
            clock=self._clock,
        )
        return self._begin(session, turn, request)

    def complete(
        self,
        session: LiveSession,
        messages: Sequence[HistoryMessage],
        *,
        instructions: str | None = None,
        model: str | None = None,
        effort: str | None = None,
        parameters: ExtraBody = NO_EXTRA_BODY,
        client_tools: ClientTools | None = None,
        visitor_key: SecretStr | None = None,
        request_id: str = "-",
        is_private: bool = False,
    ) -> TurnReader:
        """Answer a conversation that the caller has brought along; nothing of it is stored.

        The turn's events begin with the answer's, since nothing is stored before.

        Args:
            session: Whose answer it is, and which agent's.
            messages: The conversation, whose last message may be anybody's.
            instructions: What the model is told beside the agent's prompt.
            model: The model that is to answer, where it is not the agent's.
            effort: How much it is to think, where it has a choice.
            parameters: Parameters of chat completions, such as `temperature`.
            client_tools: Tools that the caller runs itself; calls of them end the answer.
            visitor_key: The user's own key for the model, as for `turn`.
            request_id: Names the request in the logs.
            is_private: Whether the logs leave out the principal too.

        Raises:
            InvalidMessageError: The last message is the user's and empty, too long or not text.
            RateLimitError, BudgetFullError: As many turns as may be run for the address, or for all.
        """
        *earlier, last = messages
        last = self._checked_message(last)
        self._require_open()
        text = last.content if isinstance(last.content, str) else ""
        turn = Turn(secrets.token_hex(16), text, is_new=True, request_id=request_id)
        history = [*earlier, last]
        strategy = StatelessTurn(
            self._dependencies,
            session,
            history,
            instructions,
            ModelChoice.of(model, effort),
            parameters=parameters,
            client_tools=client_tools,
            visitor_key=visitor_key,
            is_private=is_private,
        )
        self._start(turn, strategy, self._take_slot(session))
        return turn.read(session)

    def join(self, session: LiveSession) -> TurnReader | None:
        """Let a session read the turn that runs in its conversation, whoever has begun it.

        The reader's first events reproduce the partial answer. None where no turn runs.
        """
        if session.conversation_id is None:
            return None
        turn = self._turns.find(session.owner, session.conversation_id)
        runner = self._runners.get(turn) if isinstance(turn, Turn) else None
        return runner.join(session) if runner is not None else None

    async def answering(self, session: LiveSession, conversation: str) -> int | None:
        """Return the seq of the answer that is being written in a conversation, here or elsewhere.

        None where none is; a turn that begins is waited for.

        Raises:
            UserError: The memory fails.
        """
        turn = self._turns.find(session.owner, conversation)
        if isinstance(turn, Turn):
            await turn.begun()
            if turn.started is None or not self.is_running(session.owner, conversation):
                return None
            return turn.started.answer_seq
        with mapped_store_errors():
            running = await session.memory.running_answer(session.owner, conversation)
        return running.answer.seq if running is not None else None

    def is_running(self, owner: str, conversation: str) -> bool:
        """Whether a turn runs in a conversation of this owner."""
        return self._turns.find(owner, conversation) is not None

    async def stop(self, owner: str, conversation: str) -> None:
        """Stop the turn that runs in a conversation of this owner; return when it is stored."""
        await self._turns.stop(owner, conversation)

    async def stop_login(self, principal: Principal) -> None:
        """Stop the turns that a principal began, those of an account's one login."""
        await self._turns.stop_login(principal)

    async def unread_ended(self, principal: Principal) -> None:
        """Wait until the turns of a principal have ended by themselves and are stored."""
        await self._turns.ended(principal.id)

    async def stored(self, owner: str, conversation: str) -> None:
        """Wait until the answers of a conversation that have ended are stored.

        A page that reads it next finds whole what another page, closed by now, has shown whole. It
        knows of this process's answers, and waits for `SETTLE_SECONDS` at most.
        """
        ending = [
            turn
            for turn, runner in self._runners.items()
            if runner.is_over
            and runner.session.owner == owner
            and runner.conversation == conversation
        ]
        await asyncio.gather(*(turn.ended() for turn in ending))

    async def drain(self, seconds: float) -> None:
        """Begin no more turns, let the running ones end for `seconds`, stop the rest.

        It returns when each is stored. Those that wait for their users' decisions are running ones.
        Another call with fewer seconds hurries the first.
        """
        self._open = False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        turns = list(self._runners)
        for turn in turns:
            turn.stop()
        await asyncio.gather(*(turn.ended() for turn in turns))
        await self.titles.close()
        await self.suggester.close()

    async def close(self) -> None:
        """Begin no more turns, stop the running ones and wait until each is stored."""
        await self.drain(0)
        await self._summaries.close()
        await self._settling.wait()
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper

    def _require_open(self) -> None:
        if not self._open:
            restarts = "The app is about to restart; please try again in a moment."
            raise self._counted(ServiceUnavailableError(restarts))

    def _take_slot(self, session: LiveSession) -> Hold:
        try:
            return self._dependencies.budgets.take(TURNS, session.owner, session.address)
        except UserError as error:
            raise self._counted(error) from None

    def _unread_seconds(self, session: LiveSession, outlives_readers: bool) -> float | None:
        """Return for how many seconds a session's turn runs on unread; None: until its end."""
        if not outlives_readers or self._settings.left_answers == "stop":
            return 0.0
        return None if session.principal.is_stored else EPHEMERAL_SECONDS

    def _begin(
        self, session: LiveSession, turn: Turn, request: NewMessage | Regeneration
    ) -> TurnReader:
        if not 0 < len(turn.key) <= 100:
            raise InvalidMessageError(wording("The message's key must have 1 to 100 characters."))
        self._require_open()
        owner, conversation = session.owner, request.conversation
        first = self._turns.find(owner, conversation)
        if first is not None and first.key != turn.key:
            raise self._counted(ConversationInUseError())
        hold = self._take_slot(session)
        self._summaries.stop(session)
        self.suggester.stop(owner, conversation)
        if isinstance(request, Regeneration):
            self.titles.stop(session.owner, request.conversation)
        strategy = StoredTurn(self._stored_turns, session, turn, request, first)
        if first is None:
            self._turns.add(session.principal, conversation, turn)
        self._start(turn, strategy, hold)
        return turn.read(session)

    def _start(self, turn: Turn, strategy: TurnStrategy, hold: Hold) -> None:
        runner = TurnRunner(self._dependencies, self._settling, turn, strategy)
        self._runners[turn] = runner
        self._idle.clear()
        # A task that is cancelled before its first step never comes to the end of `_run`.
        task = turn.start(self._run(turn, runner, hold), hold)
        task.add_done_callback(lambda _: self._remove(turn, hold))
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep(), name="turn-keeper")

    def _checked(self, text: str, *, may_be_empty: bool = False) -> str:
        limit = self._settings.max_message_chars
        try:
            return validate_message(text, limit, may_be_empty=may_be_empty)
        except InvalidMessageError as error:
            raise self._counted(error) from None

    def _checked_message(self, message: HistoryMessage) -> HistoryMessage:
        """Return a message with its text checked where it is the user's."""
        if message.role != "user":
            return message
        if isinstance(message.content, str):
            return HistoryMessage("user", self._checked(message.content), message.fields)
        parts = [
            {**part, "text": self._checked(part["text"])} if part["type"] == "text" else part
            for part in message.content
        ]
        return HistoryMessage("user", parts, message.fields)

    def _counted(self, error: UserError) -> UserError:
        """Return `error`; the observer counts that a message was not taken."""
        self._dependencies.observer.refused(refusal_kind(error))
        return error

    async def _run(self, turn: Turn, runner: TurnRunner, hold: Hold) -> None:
        try:
            summary = await runner.run()
            if summary is not None and self._open:
                self._summaries.begin(runner.session, summary)
                if summary.title is not None:
                    self.titles.begin(runner.session, summary.title)
                if summary.exchange is not None:
                    self.suggester.begin(runner.session, summary.exchange)
        finally:
            # Here and not after the task's end: a caller that sees it may begin the next turn.
            self._remove(turn, hold)

    def _remove(self, turn: Turn, hold: Hold) -> None:
        runner = self._runners.pop(turn, None)
        hold.release()
        if not self._runners:
            self._idle.set()
        self._turns.remove(turn)
        turn.release_sessions()
        if runner is not None:
            runner.removed()

    async def _keep(self) -> None:
        # One task stores the partial text of all running answers and renews their
        # leases, so that a killed process loses seconds of an answer, not all of it.
        # Twice as often as each is due, or a new turn's first renewal would come too late.
        while True:
            periods = (runner.keep_seconds for runner in self._runners.values())
            await asyncio.sleep(min(periods, default=KEEP_SECONDS) / 2)
            await self._keep_all()  # apart: this frame must not hold the last turn until the next

    async def _keep_all(self) -> None:
        for turn, runner in list(self._runners.items()):
            turn.stop_if_unread()
            with contextlib.suppress(StoreError):
                await runner.keep()


def _conversation_of(session: LiveSession) -> str:
    if session.conversation_id is None:
        raise NotFoundError
    return session.conversation_id
