"""Buffers of messages that pages have not read yet: one for each session, within a budget."""

import asyncio
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from cmw_agent.identity.principals import Principal
from cmw_agent.language import Language, languages
from cmw_agent.limits.budgets import BudgetKind, Budgets, BudgetScope, Hold
from cmw_agent.limits.limiter import network_of

MAILBOXES: BudgetKind = "mailboxes"
UNREAD_SECONDS = 30.0  # how long an event waits for somebody to read it
UNREAD_MESSAGES = 32  # that wait for a slow reader before its events pause


class NotReadError(TimeoutError):
    """Nobody has read an event for too long: there is nobody to tell."""


@dataclass(slots=True)
class EventBuffer:
    """Messages that one session's page has not read yet.

    Attributes:
        principal: Whose page it is.
        hold: The buffer's part of the budget.
        network: The network address that this part counts for.
        messages: Server-sent events, oldest first.
        running: Tasks of its events by the events' ids, until their last message was fetched.
        arrived: Set when there is something to send.
        fetched: Set when messages were taken.
        open_events: Ids of the events that have not ended.
        reader: Whoever reads now.
        farewell: What goes out last, once the stream is to end.
        unread_seconds: How long a writer waits for the reader.
        connection: Which of its page's connections it is for; see `renew`.
        language: The language that the page is drawn in.
    """

    principal: Principal
    hold: Hold | None = None
    network: str | None = None
    messages: deque[bytes] = field(default_factory=deque)
    running: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    fetched: asyncio.Event = field(default_factory=asyncio.Event)
    open_events: set[str] = field(default_factory=set)
    reader: object | None = None
    farewell: bytes | None = None
    unread_seconds: float = UNREAD_SECONDS
    connection: int = 0
    language: Language = field(default_factory=lambda: languages().english)

    async def put(self, message: bytes) -> None:
        """Add a message; wait while the reader is far behind.

        Raises:
            NotReadError: Nobody read for too long.
        """
        while len(self.messages) >= UNREAD_MESSAGES:
            self.fetched.clear()
            try:
                await asyncio.wait_for(self.fetched.wait(), self.unread_seconds)
            except TimeoutError:
                raise NotReadError from None
        self.messages.append(message)
        self.arrived.set()

    def end(self, event: str, message: bytes) -> None:
        """Add the last message of an event."""
        self.open_events.discard(event)
        self.messages.append(message)
        self.arrived.set()

    def abandon(self) -> None:
        """Cancel the events of a reader who has gone; the answers are stored elsewhere."""
        self.messages.clear()
        self.fetched.set()
        for task in list(self.running.values()):
            task.cancel()

    def renew(self, connection: int) -> None:
        """Go on with a later connection of the page, which has given up what it asked for before.

        The stream of an earlier connection may look open for minutes where the network has
        changed; what it were sent would be lost.
        """
        self.connection = connection
        self.reader = None
        self.abandon()
        self.arrived.set()

    def take(self) -> bytes:
        """Return all messages that wait, as they go over the wire."""
        messages = b"".join(self.messages)
        self.messages.clear()
        self.arrived.clear()
        self.fetched.set()
        return messages


class EventBuffers:
    """The event buffers of all sessions, by the session's key.

    A flood of invented sessions pushes out only other invented ones: where a budget is used up, a
    buffer that nobody reads makes room for its own principal's next, or for one of its own
    network where its principal is an ephemeral one or has more than one. Where the app is full,
    the network that has most buffers makes room for one that has none.

    Args:
        budgets: Bounds how many there are.
        unread_seconds: How long an event waits for somebody to read it.
    """

    def __init__(self, budgets: Budgets, unread_seconds: float = UNREAD_SECONDS) -> None:
        self._budgets = budgets
        self._unread_seconds = unread_seconds
        self._buffers: dict[str, EventBuffer] = {}

    def __len__(self) -> int:
        return len(self._buffers)

    def __iter__(self) -> Iterator[tuple[str, EventBuffer]]:
        return iter(list(self._buffers.items()))

    def get(self, key: str) -> EventBuffer | None:
        """Return a session's buffer, if it has one. Whose it is the guard has checked."""
        return self._buffers.get(key)

    def open(self, key: str, principal: Principal, address: str | None) -> EventBuffer:
        """Return a session's buffer, made where it has none.

        Raises:
            RateLimitError, BudgetFullError: There is no room for another one of the principal,
                from the address, or at all.
        """
        buffer = self._buffers.get(key)
        if buffer is not None:
            return buffer
        network = network_of(address) if address else None
        while (bound := self._budgets.bound(MAILBOXES, principal.id, network)) is not None:
            self._make_room(bound, principal, network)
        hold = self._budgets.take(MAILBOXES, principal.id, network)
        buffer = self._buffers[key] = EventBuffer(
            principal, hold, network, unread_seconds=self._unread_seconds
        )
        return buffer

    def drop(self, key: str, buffer: EventBuffer) -> None:
        """Forget a session's buffer, unless it has another one by now."""
        if self._buffers.get(key) is buffer:
            del self._buffers[key]
            if buffer.hold is not None:
                buffer.hold.release()

    def _make_room(self, bound: BudgetScope, principal: Principal, network: str | None) -> None:
        """Push out a buffer that nobody reads.

        Raises:
            RateLimitError, BudgetFullError: There is none that may be.
        """
        unread = [(key, buffer) for key, buffer in self._buffers.items() if buffer.reader is None]
        if bound == "owner":
            candidates = [item for item in unread if item[1].principal == principal]
        elif bound == "network" or self._budgets.used_by(MAILBOXES, network):
            candidates = [
                item for item in unread if item[1].network == network and self._is_crowd(item)
            ]
        else:
            crowd = [item for item in unread if self._is_crowd(item)]
            fullest = max(crowd, key=self._network_use, default=None)
            candidates = [fullest] if fullest is not None else []
        if not candidates:
            raise self._budgets.budget(MAILBOXES).error(bound)
        key, buffer = candidates[0]
        buffer.abandon()
        self.drop(key, buffer)

    def _network_use(self, item: tuple[str, EventBuffer]) -> int:
        return self._budgets.used_by(MAILBOXES, item[1].network)

    def _is_crowd(self, item: tuple[str, EventBuffer]) -> bool:
        principal = item[1].principal
        return not principal.is_stored or self._budgets.used_by_owner(MAILBOXES, principal.id) > 1
