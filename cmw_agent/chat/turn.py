"""A running turn and its readers, each an iterator of its events."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from cmw_agent.agent.agent import Ask
from cmw_agent.conversations.sessions import LiveSession
from cmw_agent.core.errors import UserError
from cmw_agent.core.events import (
    TextDelta,
    ThinkingDelta,
    ToolProgressed,
    TurnEvent,
    TurnFinished,
    TurnStarted,
)
from cmw_agent.limits.budgets import Hold
from cmw_agent.llm.chat_model import HistoryMessage

SETTLE_SECONDS = 30.0  # how long storing an answer may take


@dataclass(frozen=True, slots=True)
class Command:
    """A message that no model answers.

    Args:
        name: Without the slash, in lower case.
        rest: The text behind it.
    """

    name: str
    rest: str


@dataclass(frozen=True, slots=True)
class CommandReply:
    """The answer to a command.

    Args:
        text: Markdown.
        toolkit: The toolkit that is connected at `link`.
        link: An address that the user is to be shown, if any.
    """

    text: str
    toolkit: str = ""
    link: str | None = None


@dataclass(frozen=True, slots=True)
class Beginning:
    """How a turn has begun.

    Args:
        started: The turn's first event; None where nothing is stored.
        is_repeated: The same request came before.
        is_stopped: The turn was stopped while it began.
    """

    started: TurnStarted | None = None
    is_repeated: bool = False
    is_stopped: bool = False


@dataclass(frozen=True, slots=True)
class AgentRequest:
    """What the agent is asked in a turn.

    Args:
        model: The model's name.
        messages: The conversation; its last message is the user's.
        ask: The rest.
        notes: Sentences that stand below the answer, on what the model is not given.
    """

    model: str
    messages: Sequence[HistoryMessage]
    ask: Ask
    notes: Sequence[str] = ()


class Turn:
    """A turn that runs in a task of its own, and those who read its events.

    It belongs to its conversation, not to a page: any number of readers come and go.

    Args:
        key: Its idempotency key.
        text: The user's message as it is stored; empty when it is of files alone, or when an old
            message is answered once more.
        is_new: Whether the message is a further one.
        request_id: Names the request in the logs.
        unread_seconds: For how long it runs on once nobody reads it; None until its end. With 0
            it still runs on where it waits for its user's decision.
        clock: Returns a time in seconds.
    """

    def __init__(
        self,
        key: str,
        text: str,
        *,
        is_new: bool,
        request_id: str = "-",
        unread_seconds: float | None = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.key = key
        self.text = text
        self.is_new = is_new
        self.request_id = request_id
        self.started: TurnStarted | None = None
        self.finished: TurnFinished | None = None
        self.refusal: UserError | None = None
        self.waits = 0  # for how many decisions of its user
        self.is_stopped = False
        self._is_beginning = False
        self._unread_seconds = unread_seconds
        self._clock = clock
        self._unread_since: float | None = None
        self._readers: list[TurnReader] = []
        self._begun = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._hold: Hold | None = None

    @property
    def is_over(self) -> bool:
        """Whether its task has ended, or never began."""
        return self._task is None or self._task.done()

    def pause(self) -> None:
        """Wait for one more decision of its user: a turn that waits takes nobody's slot."""
        self.waits += 1
        if self._hold is not None:
            self._hold.suspend()

    def go_on(self) -> None:
        """Wait for one decision less."""
        self.waits -= 1
        if not self.waits and self._hold is not None:
            self._hold.resume()

    def start(
        self, work: Coroutine[Any, Any, None], hold: Hold | None = None
    ) -> asyncio.Task[None]:
        """Run `work` as this turn's own task, in the slot of `hold`."""
        self._hold = hold
        self._task = asyncio.create_task(work, name="turn")
        self._task.add_done_callback(lambda _: self._wake())
        return self._task

    def read(
        self, session: LiveSession | None = None, events: Iterable[TurnEvent] | None = None
    ) -> "TurnReader":
        """Return a further reader.

        Args:
            session: The live session that reads.
            events: For a reader that joins the turn: the events that it gets first, in place of
                those that were emitted before.
        """
        reader = TurnReader(self, session, events)
        self._readers.append(reader)
        self._unread_since = None
        return reader

    def leave(self, reader: "TurnReader") -> None:
        """Remove a reader; without readers the turn stops as `unread_seconds` says."""
        if reader in self._readers:
            self._readers.remove(reader)
        if self._readers or self.is_over or self.finished is not None:
            return
        self._unread_since = self._clock()
        if self._unread_seconds == 0 and not self.waits:
            self.stop()

    def stop_if_unread(self) -> None:
        """Stop the turn where nobody has read it for `unread_seconds`."""
        since, seconds = self._unread_since, self._unread_seconds
        if since is not None and seconds and self._clock() - since >= seconds:
            self.stop()

    def emit(self, event: TurnEvent) -> None:
        """Hand `event` to all readers."""
        if isinstance(event, TurnStarted):
            self.started = event
            self.set_begun()
        elif isinstance(event, TurnFinished):
            self.finished = event
        for reader in self._readers:
            reader.put(event)

    def refuse(self, error: UserError) -> None:
        """Make the readers raise `error`: the turn could not begin."""
        self.refusal = error

    def stop(self) -> None:
        """Stop the turn; its partial answer is stored.

        A turn that still begins ends once the user's message is stored: no message is lost.
        """
        if self._task is None or self._task.done():
            return
        self.is_stopped = True
        if not self._is_beginning:
            self._task.cancel()

    def hold_stop(self) -> None:
        """Postpone stops until `release_stop`: the user's message is being stored."""
        self._is_beginning = True

    def release_stop(self) -> bool:
        """Let stops end the turn from here on; return whether one came while it began."""
        self._is_beginning = False
        return self.is_stopped

    async def ended(self) -> None:
        """Wait until the turn is stored, for `SETTLE_SECONDS` at most."""
        if self._task is not None:
            await asyncio.wait([self._task], timeout=SETTLE_SECONDS)

    def set_begun(self) -> None:
        """Wake those who wait in `begun`; a turn that stores nothing has no event for it."""
        self._begun.set()

    async def begun(self) -> None:
        """Wait until the turn has begun, or has ended without a beginning."""
        await self._begun.wait()

    def release_sessions(self) -> None:
        """Remove the readers from their sessions at the turn's end; their events stay readable."""
        for reader in self._readers:
            reader.release_session()

    def _wake(self) -> None:
        self.set_begun()
        for reader in self._readers:
            reader.wake()


class TurnReader:
    """Reads a turn: an async iterator of its events.

    Use it as an async context manager: leaving the block leaves the turn, which runs on as its
    `unread_seconds` says. Text and thoughts that were not fetched yet are merged, so that a slow
    reader keeps at most one answer.

    Args:
        turn: The turn.
        session: The live session that reads; it stays in memory meanwhile.
        events: The events that it gets first, for a reader that joins the turn.

    Raises:
        UserError: From the iteration, when the turn could not begin; nothing was stored then.
    """

    def __init__(
        self,
        turn: Turn,
        session: LiveSession | None = None,
        events: Iterable[TurnEvent] | None = None,
    ) -> None:
        self._turn = turn
        self._session = session
        self._events: deque[TurnEvent] = deque(events or ())
        self._ready = asyncio.Event()
        self._is_refused = False
        self.is_joined = events is not None
        self.has_left = False
        if session is not None:
            session.readers.add(self)

    @property
    def text(self) -> str:
        """The user's message as it is stored; empty when an old message is answered once more."""
        return self._turn.text

    @property
    def is_new(self) -> bool:
        """Whether the message is a further one, below all that the conversation had."""
        return self._turn.is_new

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> TurnEvent:
        while not self._events:
            if self.has_left or self._turn.is_over:
                if self._turn.refusal is not None and not (self.has_left or self._is_refused):
                    self._is_refused = True
                    raise self._turn.refusal
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
        await self.close()

    async def close(self) -> None:
        """Leave the turn; where it ends now, wait until what came is stored."""
        self.leave()
        if self._turn.is_stopped or self._turn.finished is not None:
            await self._turn.ended()

    def leave(self) -> None:
        """Leave the turn: no event comes any more."""
        if self.has_left:
            return
        self.has_left = True
        self._events.clear()
        self.release_session()
        self._turn.leave(self)
        self._ready.set()

    def release_session(self) -> None:
        """Remove this reader from its session, which may then leave the process."""
        if self._session is not None:
            self._session.readers.discard(self)

    def stop(self) -> None:
        """Stop the turn for all its readers; its partial answer is stored."""
        self._turn.stop()

    async def begun(self) -> bool:
        """Wait until the turn has begun; return False where it could not: the iteration raises why."""
        await self._turn.begun()
        return self._turn.refusal is None

    async def ended(self) -> None:
        """Wait until the turn is stored."""
        await self._turn.ended()

    def put(self, event: TurnEvent) -> None:
        """Take a further event of the turn."""
        last = self._events[-1] if self._events else None
        if isinstance(event, TextDelta) and isinstance(last, TextDelta):
            self._events[-1] = TextDelta(last.text + event.text)
        elif isinstance(event, ThinkingDelta) and isinstance(last, ThinkingDelta):
            self._events[-1] = ThinkingDelta(last.text + event.text)
        elif _replaces(event, last):
            self._events[-1] = event
        else:
            self._events.append(event)
        self._ready.set()

    def wake(self) -> None:
        """Look again whether the turn has ended."""
        self._ready.set()


def _replaces(event: TurnEvent, last: TurnEvent | None) -> bool:
    """Return whether an event says all that the one before it said: both report one call's progress."""
    return (
        isinstance(event, ToolProgressed)
        and isinstance(last, ToolProgressed)
        and event.call_id == last.call_id
    )


def clear_cancellation() -> None:
    """Clear the current task's cancellation, so that what came can be stored."""
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()
