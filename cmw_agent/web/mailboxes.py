"""What waits to be read by the pages: a mailbox for each session, and a bound for all of them."""

import asyncio
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from cmw_agent.identity import Principal
from cmw_agent.sessions import PER_PRINCIPAL

UNREAD_SECONDS = 30.0  # how long an event waits for somebody to read it
UNREAD_MESSAGES = 32  # that wait for a slow reader before its events pause


@dataclass(slots=True)
class Mailbox:
    """What waits to be read by one session's page.

    `running` holds the tasks of its events until what they gave was fetched, `open_events`
    the ids of those that have not ended yet, `reader` whoever reads now. `farewell` is the last
    that goes out, once there is one.
    """

    principal: Principal
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


class Mailboxes:
    """The mailboxes of all sessions, by the session's key.

    A flood of invented sessions pushes out only other inventions: a mailbox that nobody reads
    makes room for its own principal's next, or for anybody's where its principal is an
    ephemeral one or has more than one.

    Args:
        capacity: Mailboxes at most.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._boxes: dict[str, Mailbox] = {}
        self._of_owner: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._boxes)

    def __iter__(self) -> Iterator[tuple[str, Mailbox]]:
        return iter(list(self._boxes.items()))

    def get(self, key: str) -> Mailbox | None:
        """Return a session's mailbox, if it has one. Whose it is the guard has checked."""
        return self._boxes.get(key)

    def open(self, key: str, principal: Principal) -> Mailbox | None:
        """Return a session's mailbox, made where it has none; None where there is no room."""
        box = self._boxes.get(key)
        if box is not None:
            return box
        if not self._has_room(principal):
            return None
        box = self._boxes[key] = Mailbox(principal)
        self._of_owner[principal.id] += 1
        return box

    def drop(self, key: str, box: Mailbox) -> None:
        """Forget a session's mailbox, unless it has another one by now."""
        if self._boxes.get(key) is box:
            del self._boxes[key]
            self._of_owner[box.principal.id] -= 1
            if not self._of_owner[box.principal.id]:
                del self._of_owner[box.principal.id]

    def _has_room(self, principal: Principal) -> bool:
        own_full = self._of_owner[principal.id] >= PER_PRINCIPAL
        if not own_full and len(self._boxes) < self._capacity:
            return True
        unread = (
            (key, box)
            for key, box in self._boxes.items()
            if box.reader is None
            and (box.principal == principal if own_full else self._is_crowd(box.principal))
        )
        found = next(unread, None)
        if found is None:
            return False
        key, box = found
        box.abandon()
        self.drop(key, box)
        return True

    def _is_crowd(self, principal: Principal) -> bool:
        return not principal.is_kept or self._of_owner[principal.id] > 1
