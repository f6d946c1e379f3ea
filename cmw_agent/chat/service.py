"""ChatService: the one use case, for every channel.

A turn takes the lease on its conversation and stores the user's message *before* the
model is called, streams the agent's events to whoever asked, and stores the answer as
complete, interrupted or failed however it ends. The work (`cmw_agent.chat.turn_runner`) runs in a task of
its own, so that it can be stopped at any moment, also while the model is silent.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

from cmw_agent.chat.approval_registry import ApprovalRegistry
from cmw_agent.chat.context_cache import CachedContext, ContextCache
from cmw_agent.chat.dependencies import ChatDependencies, CommandRunner
from cmw_agent.chat.stateless_runner import StatelessRunner
from cmw_agent.chat.summarizer import Summarizer
from cmw_agent.chat.turn import SETTLE_SECONDS, Turn
from cmw_agent.chat.turn_runner import KEEP_SECONDS, MODEL, BeginTurn, TurnDependencies, TurnRunner
from cmw_agent.config.agent_profiles import Profile
from cmw_agent.conversations.sessions import LiveSession
from cmw_agent.core.errors import (
    ConversationInUseError,
    InvalidMessageError,
    NotFoundError,
    ServiceUnavailableError,
    UserError,
)
from cmw_agent.core.sanitize import checked_message
from cmw_agent.identity.principals import Principal
from cmw_agent.limits.budgets import Hold, Kind
from cmw_agent.llm.chat_model import Exchange
from cmw_agent.observability.observers import kind_of
from memory.errors import StoreError
from memory.manager import ConversationMemoryManager
from memory.records import ConversationOrigin, NewTurn, TurnTicket

TURNS: Kind = "turns"


class ChatService:
    """Runs turns; see the module's text.

    Args:
        kit: What turns share.
        commands: Does what messages with a slash say; None leaves them to the model.
    """

    def __init__(self, kit: ChatDependencies, commands: CommandRunner | None = None) -> None:
        self._kit = kit
        self._settings = kit.settings
        self._work: dict[Turn, TurnRunner | StatelessRunner] = {}
        self._settling: set[asyncio.Task[bool]] = set()
        self._at_rest = asyncio.Event()
        self._at_rest.set()
        self._keeper: asyncio.Task[None] | None = None
        self._summaries = Summarizer(kit)
        self._transcripts = ContextCache(kit.settings.history_tokens)
        self._shared = TurnDependencies(
            kit, self._transcripts, commands, self._settle, self._answered
        )
        self._open = True

    @property
    def running(self) -> int:
        """Turns that run now."""
        return len(self._work)

    @property
    def approvals(self) -> ApprovalRegistry:
        """The tool calls that wait for their users."""
        return self._kit.approvals

    @property
    def has_room(self) -> bool:
        """Whether a turn can begin now."""
        return self._open and self._kit.budgets.bound(TURNS, None, None) is None

    def refusal(self, principal: Principal, address: str | None) -> UserError | None:
        """Return why the principal can begin no turn from an address now, or None when it can."""
        try:
            self._must_be_open()
        except UserError as error:
            return error
        found = self._kit.budgets.refusal(TURNS, principal.id, address)
        return self._noted(found) if found is not None else None

    async def admit(self, principal: Principal, address: str | None) -> None:
        """Count a message that is about to come, for its user and for the address it is from.

        Each channel asks for this once, before the turn.

        Raises:
            RateLimitError: The user, or the address, has sent enough for now.
        """
        try:
            await self._kit.limits.admit(principal.id, address)
        except UserError as error:
            raise self._noted(error) from None

    def turn(
        self,
        session: LiveSession,
        text: str,
        *,
        key: str,
        files: Sequence[str] = (),
        model: str | None = None,
        context: Mapping[str, Any] | None = None,
        create: bool = True,
        request_id: str = "-",
    ) -> Turn:
        """Begin a turn: `text` is the user's message, `key` makes a repetition harmless.

        Args:
            session: Whose turn it is, and in which conversation.
            text: The message.
            key: Names the request; 1 to 100 characters.
            files: Ids of the owner's own uploads that the message brings.
            model: The model that is to answer from now on in this conversation; others than
                the settings name are passed over.
            context: What a conversation that begins with this turn keeps beside its messages;
                no model sees it.
            create: Whether a conversation that is not there is made; the turn is refused
                otherwise.
            request_id: Names the request in the logs.

        Raises:
            InvalidMessageError: The text is empty, too long or not text.
            ConversationInUseError: A turn runs in this session already.
            RateLimitError, BudgetFullError: As many turns as may be run for the address, or for all.
        """
        text = self._checked(text)
        conversation = _conversation_of(session)
        provenance = session.provenance

        def begin(
            memory: ConversationMemoryManager, profile: Profile
        ) -> Coroutine[Any, Any, TurnTicket]:
            chosen = {MODEL: self._kit.model(profile, model)} if model else {}
            kept = {**(context or {}), **chosen}
            origin = ConversationOrigin(
                agent_id=profile.id,
                channel=session.channel,
                website_domain=provenance.website_domain,
                ip_address=provenance.ip_address,
                context=kept or None,
                tenant_id=provenance.tenant_id,
                external_id=provenance.external_id,
            )
            new = NewTurn(
                conversation,
                text,
                key,
                origin=origin if create else None,
                model=profile.model,
                budget=self._settings.history_tokens,
                known=self._transcripts.known(session, conversation),
                files=files,
            )
            return memory.begin_turn(session.owner, new)

        turn = Turn(key, text, is_new=True, request_id=request_id)
        return self._begin(session, turn, begin, model)

    def again(
        self,
        session: LiveSession,
        *,
        key: str,
        text: str | None = None,
        seen: int | None = None,
        request_id: str = "-",
    ) -> Turn:
        """Answer the last message once more, or, with `text`, its edited form.

        The turn is refused when the last message is not the one with the `seq` that the
        user has `seen`.

        Raises:
            InvalidMessageError, ConversationInUseError, RateLimitError, BudgetFullError: As for `turn`.
        """
        if text is not None:
            text = self._checked(text)
        conversation = _conversation_of(session)

        def begin(memory: ConversationMemoryManager, _: Profile) -> Coroutine[Any, Any, TurnTicket]:
            return memory.begin_retry(
                session.owner,
                conversation,
                key=key,
                text=text,
                expected_seq=seen,
                budget=self._settings.history_tokens,
            )

        turn = Turn(key, text or "", is_new=False, request_id=request_id)
        return self._begin(session, turn, begin, None)

    def complete(
        self,
        session: LiveSession,
        said: Sequence[Exchange],
        *,
        instructions: str | None = None,
        model: str | None = None,
        request_id: str = "-",
    ) -> Turn:
        """Answer a conversation that the caller has brought along; nothing of it is kept.

        The turn's events begin with the answer's, since nothing is stored before.

        Args:
            session: Whose answer it is, and which agent's.
            said: The conversation; its last message is the user's.
            instructions: What the model is told beside the agent's prompt.
            model: The model that is to answer, where it is not the agent's.
            request_id: Names the request in the logs.

        Raises:
            InvalidMessageError: The last message is empty, too long or not text.
            RateLimitError, BudgetFullError: As many turns as may be run for the address, or for all.
        """
        *earlier, last = said
        text = self._checked(str(last.content))
        self._must_be_open()
        turn = Turn(secrets.token_hex(16), text, is_new=True, request_id=request_id)
        asked = [*earlier, Exchange("user", text)]
        hold = self._slot(session)
        work = StatelessRunner(self._kit, session, turn, asked, instructions, model, self._settle)
        self._start(turn, work, hold)
        return turn

    def take_up(self, session: LiveSession) -> Turn | None:
        """Give the session the turn that its owner's closed page has left waiting, if any.

        Its iterator begins with what has come so far.
        """
        for turn, work in self._work.items():
            is_own = work.session.owner == session.owner
            if is_own and work.conversation == session.conversation_id and not turn.is_read:
                turn.follow(work.told())
                work.session = session
                session.turn = turn
                return turn
        return None

    async def stored(self, owner: str, conversation: str) -> None:
        """Wait until the answers of a conversation that have ended are stored.

        Who reads it next so finds whole what a page, closed by now, has shown whole. It knows of
        this process's answers, and waits for `SETTLE_SECONDS` at most.
        """
        ending = [
            turn
            for turn, work in self._work.items()
            if work.is_over and work.session.owner == owner and work.conversation == conversation
        ]
        await asyncio.gather(*(turn.ended() for turn in ending))

    @property
    def is_open(self) -> bool:
        """Whether turns can begin, as far as the process wants any."""
        return self._open

    async def drain(self, seconds: float) -> None:
        """Take no new turn, let the running ones end for `seconds`, stop the rest.

        It returns when each is stored. Those that wait for their users' words are running ones.
        Another call with fewer seconds hurries the first.
        """
        self._open = False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._at_rest.wait()
        turns = list(self._work)
        for turn in turns:
            turn.stop()
        await asyncio.gather(*(turn.ended() for turn in turns))

    async def close(self) -> None:
        """Take no new turn, stop the running ones and wait until each is stored."""
        await self.drain(0)
        await self._summaries.close()
        if self._settling:
            await asyncio.wait(self._settling, timeout=SETTLE_SECONDS)
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper

    def _must_be_open(self) -> None:
        if not self._open:
            restarts = "The app is about to restart; please try again in a moment."
            raise self._noted(ServiceUnavailableError(restarts))

    def _slot(self, session: LiveSession) -> Hold:
        try:
            return self._kit.budgets.take(TURNS, session.owner, session.address)
        except UserError as error:
            raise self._noted(error) from None

    def _begin(self, session: LiveSession, turn: Turn, begin: BeginTurn, model: str | None) -> Turn:
        if not 0 < len(turn.key) <= 100:
            raise InvalidMessageError("The message's key must have 1 to 100 characters.")
        self._must_be_open()
        if session.turn is not None and session.turn.key != turn.key:
            raise self._noted(ConversationInUseError())
        hold = self._slot(session)
        first = session.turn
        self._summaries.stop(session)
        work = TurnRunner(self._shared, session, turn, begin, first, model)
        if first is None:
            session.turn = turn
        self._start(turn, work, hold)
        return turn

    def _start(self, turn: Turn, work: TurnRunner | StatelessRunner, hold: Hold) -> None:
        self._work[turn] = work
        self._at_rest.clear()
        # A task that is cancelled before its first step never comes to the end of `_run`.
        running = turn.start(self._run(turn, work, hold), hold)
        running.add_done_callback(lambda _: self._finished(turn, work, hold))
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep(), name="turn-keeper")

    def _checked(self, text: str) -> str:
        try:
            return checked_message(text, self._settings.max_message_chars)
        except InvalidMessageError as error:
            raise self._noted(error) from None

    def _noted(self, error: UserError) -> UserError:
        self._kit.observer.refused(kind_of(error))
        return error

    async def _run(self, turn: Turn, work: TurnRunner | StatelessRunner, hold: Hold) -> None:
        try:
            await work.run()
        finally:
            # Here and not after the task's end: whoever sees that may begin the next turn.
            self._finished(turn, work, hold)

    def _finished(self, turn: Turn, work: TurnRunner | StatelessRunner, hold: Hold) -> None:
        self._work.pop(turn, None)
        hold.release()
        if not self._work:
            self._at_rest.set()
        if work.session.turn is turn:
            work.session.turn = None

    def _answered(self, session: LiveSession, held: CachedContext) -> None:
        if self._open:
            self._summaries.begin(session, held)

    async def _keep(self) -> None:
        # One task stores the partial text of all running answers and renews their
        # leases, so that a killed process loses seconds of an answer, not all of it.
        # Twice as often as each is due, or a new turn's first renewal would come too late.
        while True:
            await asyncio.sleep(KEEP_SECONDS / 2)
            await self._keep_all()  # apart: this frame must not hold the last turn until the next

    async def _keep_all(self) -> None:
        for work in list(self._work.values()):
            with contextlib.suppress(StoreError):
                await work.keep()

    def _settle(self, storing: Coroutine[Any, Any, bool]) -> asyncio.Task[bool]:
        """Store an answer in a task that nobody's cancellation reaches."""
        task = asyncio.create_task(storing, name="turn-settle")
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)
        return task


def _conversation_of(session: LiveSession) -> str:
    if session.conversation_id is None:
        raise NotFoundError
    return session.conversation_id
