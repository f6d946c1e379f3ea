"""Session slots: for each owner and MCP server the session, and what the server listed."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from cmw_agent.tools.mcp.connection import McpConnection
from cmw_agent.tools.mcp.listing import McpListing

FRESH_SECONDS = 300.0  # that a listing is used without asking again
AGAIN_SECONDS = 30.0  # before a server is asked again that did not answer
Key = tuple[str, str]


class TooManySessionsError(Exception):
    """All sessions are in use."""


@dataclass(slots=True)
class SessionSlot:
    """One owner's session with one server, and what the server listed to them."""

    connection: McpConnection | None = None
    listing: McpListing = field(default_factory=McpListing)
    listed_at: float | None = None
    failed_at: float | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def is_busy(self) -> bool:
        """Whether somebody uses it now."""
        return self.lock.locked() or (self.connection is not None and self.connection.is_busy)

    @property
    def is_open(self) -> bool:
        """Whether there is an open session."""
        return self.connection is not None and self.connection.is_open

    def is_fresh(self, now: float) -> bool:
        """Whether the listing can be used, or must do since the server did not answer."""
        if self.failed_at is not None and now - self.failed_at < AGAIN_SECONDS:
            return True
        if self.listed_at is None or now - self.listed_at >= FRESH_SECONDS:
            return False
        return self.connection is None or not self.connection.has_changed

    def connected(self, connect: Callable[[], McpConnection]) -> McpConnection:
        """Return the open session, or a new one."""
        if self.connection is None or not self.connection.is_open:
            self.connection = connect()
        return self.connection


class SessionSlots:
    """The slots of one process, of which there is a bounded number.

    Args:
        capacity: How many; the one that was not used for longest makes room.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._slots: OrderedDict[Key, SessionSlot] = OrderedDict()

    def of(self, owner: str, server: str) -> SessionSlot:
        """Return the slot of an owner's use of a server.

        Raises:
            TooManySessionsError: There is no room.
        """
        key = (owner, server)
        if key not in self._slots:
            self._make_room()
            self._slots[key] = SessionSlot()
        self._slots.move_to_end(key)
        return self._slots[key]

    def find(self, owner: str, server: str) -> SessionSlot | None:
        """Return the slot of an owner's use of a server; None where there was none lately."""
        return self._slots.get((owner, server))

    def forget(self, owner: str, server: str | None = None) -> None:
        """Close an owner's sessions with all servers, or with one, and forget what they listed."""
        for key in [key for key in self._slots if key[0] == owner]:
            if server is None or key[1] == server:
                self._drop(key)

    def _make_room(self) -> None:
        if len(self._slots) < self._capacity:
            return
        idle = next((key for key, slot in self._slots.items() if not slot.is_busy), None)
        if idle is None:
            raise TooManySessionsError
        self._drop(idle)

    def _drop(self, key: Key) -> None:
        connection = self._slots.pop(key).connection
        if connection is not None:
            connection.end()
