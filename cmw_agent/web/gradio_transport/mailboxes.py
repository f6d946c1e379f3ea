"""What waits to be read by the pages: a mailbox for each session, within a budget."""

import asyncio
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from cmw_agent.identity.principals import Principal
from cmw_agent.limits.budgets import Bound, Budgets, Hold, Kind
from cmw_agent.limits.limiter import network_of

MAILBOXES: Kind = "mailboxes"
UNREAD_SECONDS = 30.0  # how long an event waits for somebody to read it
UNREAD_MESSAGES = 32  # that wait for a slow reader before its events pause


@dataclass(slots=True)
class EventBuffer:
    """What waits to be read by one session's page.

    `running` holds the tasks of its events until what they gave was fetched, `open_events`
    the ids of those that have not ended yet, `reader` whoever reads now. `farewell` is the last
    that goes out, once there is one. `hold` is its part of the budget, `network` the address that
    this counts for.
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

    async def put(self, message: bytes) -> None:
        """Add a message; wait while the reader is far behind.

        Raises:
            TimeoutError: Nobody read for too long.
        """
        while len(self.messages) >= UNREAD_MESSAGES:
            self.fetched.clear()
            await asyncio.wait_for(self.fetched.wait(), UNREAD_SECONDS)
        self.messages.append(message)
        self.arrived.set()

    def end(self, event: str, message: bytes) -> None:
        """Add the last message of an event."""
        self.open_events.discard(event)
        self.messages.append(message)
        self.arrived.set()

    def abandon(self) -> None:
        """Stop what still runs for a reader who has gone; what came of it is kept elsewhere."""
        self.messages.clear()
        self.fetched.set()
        for task in list(self.running.values()):
            task.cancel()

    def take(self) -> bytes:
        """Return all messages that wait, as they go over the wire."""
        taken = b"".join(self.messages)
        self.messages.clear()
        self.arrived.clear()
        self.fetched.set()
        return taken


class EventBuffers:
    """The mailboxes of all sessions, by the session's key.

    A flood of invented sessions pushes out only other inventions: where a budget is used up, a
    mailbox that nobody reads makes room for its own principal's next, or for one of its own
    network where its principal is an ephemeral one or has more than one. Where the app is full,
    the network that has most mailboxes makes room for one that has none.

    Args:
        budgets: Bounds how many there are.
    """

    def __init__(self, budgets: Budgets) -> None:
        self._budgets = budgets
        self._boxes: dict[str, EventBuffer] = {}

    def __len__(self) -> int:
        return len(self._boxes)

    def __iter__(self) -> Iterator[tuple[str, EventBuffer]]:
        return iter(list(self._boxes.items()))

    def get(self, key: str) -> EventBuffer | None:
        """Return a session's mailbox, if it has one. Whose it is the guard has checked."""
        return self._boxes.get(key)

    def open(self, key: str, principal: Principal, address: str | None) -> EventBuffer:
        """Return a session's mailbox, made where it has none.

        Raises:
            RateLimitError, BudgetFullError: There is no room for another one of the principal, from the address, or
                at all.
        """
        box = self._boxes.get(key)
        if box is not None:
            return box
        network = network_of(address) if address else None
        while (bound := self._budgets.bound(MAILBOXES, principal.id, network)) is not None:
            self._make_room(bound, principal, network)
        hold = self._budgets.take(MAILBOXES, principal.id, network)
        box = self._boxes[key] = EventBuffer(principal, hold, network)
        return box

    def drop(self, key: str, box: EventBuffer) -> None:
        """Forget a session's mailbox, unless it has another one by now."""
        if self._boxes.get(key) is box:
            del self._boxes[key]
            if box.hold is not None:
                box.hold.release()

    def _make_room(self, bound: Bound, principal: Principal, network: str | None) -> None:
        """Push out a mailbox that nobody reads.

        Raises:
            RateLimitError, BudgetFullError: There is none that may be.
        """
        unread = [(key, box) for key, box in self._boxes.items() if box.reader is None]
        if bound == "owner":
            found = [item for item in unread if item[1].principal == principal]
        elif bound == "network" or self._budgets.used_by(MAILBOXES, network):
            found = [item for item in unread if item[1].network == network and self._is_crowd(item)]
        else:
            crowd = [item for item in unread if self._is_crowd(item)]
            fullest = max(crowd, key=self._network_use, default=None)
            found = [fullest] if fullest is not None else []
        if not found:
            raise self._budgets.budget(MAILBOXES).error(bound)
        key, box = found[0]
        box.abandon()
        self.drop(key, box)

    def _network_use(self, item: tuple[str, EventBuffer]) -> int:
        return self._budgets.used_by(MAILBOXES, item[1].network)

    def _is_crowd(self, item: tuple[str, EventBuffer]) -> bool:
        principal = item[1].principal
        return not principal.is_kept or self._budgets.used_by_owner(MAILBOXES, principal.id) > 1
