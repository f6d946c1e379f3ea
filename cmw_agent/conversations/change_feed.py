"""Tells the pages at the other processes of the same database what has changed here."""

import contextlib
from collections.abc import AsyncIterator

import orjson

from cmw_agent.conversations.changes import KINDS, Change, ConversationChanges
from memory.engine.database import Database


@contextlib.asynccontextmanager
async def change_feed(database: Database, changes: ConversationChanges) -> AsyncIterator[None]:
    """Exchange changes with the other processes for the block, where the database can.

    A notice names the owner by a digest, and holds ids alone.
    """

    def received(text: str) -> None:
        if (found := _unpacked(text)) is not None:
            changes.tell(*found)

    notices = database.notices(received, changes.tell_all_missed)
    if notices is None:
        yield
        return
    changes.forward = lambda name, change: notices.send(_packed(name, change))
    try:
        async with notices.running():
            yield
    finally:
        changes.forward = None


def _packed(owner_name: str, change: Change) -> str:
    return orjson.dumps([owner_name, change.kind, change.conversation, change.tab]).decode()


def _unpacked(text: str) -> tuple[str, Change] | None:
    """Return the owner's name and the change; None for what another version may have sent."""
    with contextlib.suppress(ValueError, TypeError):
        name, kind, conversation, tab = orjson.loads(text)
        if isinstance(name, str) and kind in KINDS:
            return name, Change(kind, conversation, tab)
    return None
