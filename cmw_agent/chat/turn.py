"""A turn as its caller sees it: an iterator of events that can be stopped."""

import asyncio
from collections import deque
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from cmw_agent.agent.agent import Ask
from cmw_agent.core.errors import UserError
from cmw_agent.core.events import TextDelta, ThinkingDelta, TurnEvent, TurnStarted
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
    """

    model: str
    messages: Sequence[HistoryMessage]
    ask: Ask


class Turn:
    """A turn that was asked for: an async iterator of its events, which can be stopped.

    Use it as an async context manager: leaving the block stops the turn if it still
    runs, and waits until what came is stored. One that waits for its user's decision goes on
    alone, until another page follows it.

    Args:
        key: Its idempotency key.
        text: The user's message as it is stored; empty when an old message is answered once more.
        is_new: Whether the message is a further one.
        request_id: Names the request in the logs.

    Raises:
        UserError: From the iteration, when the turn could not begin; nothing was
            stored then.
    """

    def __init__(self, key: str, text: str, *, is_new: bool, request_id: str = "-") -> None:
        self.key = key
        self.text = text
        self.is_new = is_new
        self.request_id = request_id
        self._events: deque[TurnEvent] = deque()
        self._ready = asyncio.Event()
        self._refusal: UserError | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_read = True
        self._hold: Hold | None = None
        self._is_beginning = False
        self._is_stop_requested = False
        self.waits = 0  # for how many decisions of its user

    @property
    def is_waiting(self) -> bool:
        """Whether it waits for its user's decision, and so outlives the page that asked for it."""
        return self.waits > 0

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

    @property
    def is_read(self) -> bool:
        """Whether a page or a client reads its events."""
        return self._is_read

    def follow(self, events: Sequence[TurnEvent]) -> None:
        """Let another page read on: first `events`, which stand for what has come, then the rest."""
        self._events = deque(events)
        self._is_read = True
        self._ready.set()

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
        if self.is_waiting:
            self._is_read = False
            return
        self.stop()
        await self.ended()

    def start(
        self, work: Coroutine[Any, Any, None], hold: Hold | None = None
    ) -> asyncio.Task[None]:
        """Run `work` as this turn's own task, in the slot of `hold`."""
        self._hold = hold
        self._task = asyncio.create_task(work, name="turn")
        self._task.add_done_callback(lambda _: self._ready.set())
        return self._task

    def emit(self, event: TurnEvent) -> None:
        """Hand `event` on; text and thoughts that nobody has fetched yet are merged."""
        last = self._events[-1] if self._events else None
        if isinstance(event, TextDelta) and isinstance(last, TextDelta):
            self._events[-1] = TextDelta(last.text + event.text)
        elif isinstance(event, ThinkingDelta) and isinstance(last, ThinkingDelta):
            self._events[-1] = ThinkingDelta(last.text + event.text)
        else:
            self._events.append(event)
        self._ready.set()

    def refuse(self, error: UserError) -> None:
        """Make the iteration raise `error`: the turn could not begin."""
        self._refusal = error

    def stop(self) -> None:
        """Ask the turn to end now; what has come is kept.

        While the turn begins, it ends once the user's message is stored: no message is lost.
        """
        if self._is_beginning:
            self._is_stop_requested = True
        elif self._task is not None and not self._task.done():
            self._task.cancel()

    def hold_stop(self) -> None:
        """Postpone stops until `release_stop`: the user's message is being stored."""
        self._is_beginning = True

    def release_stop(self) -> bool:
        """Let stops end the turn from here on; return whether one came while it began."""
        self._is_beginning = False
        return self._is_stop_requested

    async def ended(self) -> None:
        """Wait until the turn is stored."""
        if self._task is not None:
            await asyncio.wait([self._task], timeout=SETTLE_SECONDS)


def clear_cancellation() -> None:
    """Clear the current task's cancellation, so that what came can be stored."""
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()
