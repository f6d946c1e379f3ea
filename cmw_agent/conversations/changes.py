"""ConversationChanges: tells the open pages of an owner what has changed in the owner's conversations.

A change names a conversation and what has happened to it, never a text: a page asks for what it
shows, as the principal that it is.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

# An answer began; it ended; another version is shown; the conversation was deleted; its place or
# title in the list has changed; so much has changed that the page is to ask for everything.
ChangeKind = Literal["began", "ended", "shown", "deleted", "listed", "missed"]
KINDS: tuple[ChangeKind, ...] = ("began", "ended", "shown", "deleted", "listed", "missed")
MAX_UNREAD = 64  # changes that wait for a page; one more, and the page asks for everything


@dataclass(frozen=True, slots=True)
class Change:
    """What has changed.

    Args:
        kind: What has happened.
        conversation: Id of the conversation; None where it concerns all of the owner's.
        tab: Name that the page which has done it gave itself; None where none did.
    """

    kind: ChangeKind
    conversation: str | None = None
    tab: str | None = None


class ChangeReader:
    """The changes that one open page has not got yet.

    Attributes:
        arrived: Is set when there are some; whoever waits for something else may set it as well.
    """

    def __init__(self) -> None:
        self.arrived = asyncio.Event()
        self._changes: dict[Change, None] = {}

    def put(self, change: Change) -> None:
        """Add a change; the same one is not added twice."""
        self._changes.pop(change, None)
        self._changes[change] = None
        if len(self._changes) > MAX_UNREAD:
            self._changes = {Change("missed"): None}
        self.arrived.set()

    def take(self) -> list[Change]:
        """Return the changes, oldest first, and forget them."""
        changes = list(self._changes)
        self._changes.clear()
        self.arrived.clear()
        return changes


class ConversationChanges:
    """Hands changes to the pages of their owner, and to no other page.

    The budget of heartbeats bounds the number of pages.
    """

    def __init__(self) -> None:
        self._readers: dict[str, set[ChangeReader]] = {}
        # Gets the owner's name and what has changed here, for the pages at other processes.
        self.forward: Callable[[str, Change], None] | None = None

    def __len__(self) -> int:
        return sum(map(len, self._readers.values()))

    @contextlib.contextmanager
    def reading(self, owner: str) -> Iterator[ChangeReader]:
        """Collect the changes of an owner for the block."""
        reader, name = ChangeReader(), _name(owner)
        self._readers.setdefault(name, set()).add(reader)
        try:
            yield reader
        finally:
            readers = self._readers[name]
            readers.discard(reader)
            if not readers:
                del self._readers[name]

    def publish(self, owner: str, change: Change) -> None:
        """Tell all pages of an owner, here and at other processes, what has changed."""
        name = _name(owner)
        self.tell(name, change)
        if self.forward is not None:
            self.forward(name, change)

    def tell(self, owner_name: str, change: Change) -> None:
        """Tell the pages at this process of the owner with this name what has changed."""
        for reader in self._readers.get(owner_name, ()):
            reader.put(change)

    def tell_all_missed(self) -> None:
        """Tell all pages at this process to ask for everything: other processes were not heard."""
        for readers in self._readers.values():
            for reader in readers:
                reader.put(Change("missed"))


def _name(owner: str) -> str:
    """Return what names an owner among the processes, and grants nothing."""
    return sha256(owner.encode()).hexdigest()
