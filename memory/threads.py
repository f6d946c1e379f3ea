"""Threads that agents keep of conversations in memories of their own, such as LangGraph checkpointers.

A row outlives its conversation, so that whoever keeps the thread can delete it then, whatever deleted
the conversation or gave it to another owner.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from memory.conversations.owner_store import OwnerStore
from memory.engine.scopes import EVERYONE
from memory.schema import agent_sessions, agent_threads
from memory.validation import check_id, check_owner, check_texts

MAX_OWNERS = 200  # whose orphaned threads are found at once

_threads, _sessions = agent_threads.c, agent_sessions.c
_OF_OWNER = _threads.owner_id == sa.bindparam("owner_id_", type_=sa.Text)
_OF_AGENTS = sa.and_(_threads.agent_id.in_(sa.bindparam("agents", expanding=True)))
# A deletion that can be taken back leaves the conversation's row.
_IS_ORPHANED = ~sa.exists().where(
    _sessions.session_id == _threads.session_id,
    _sessions.owner_id == _threads.owner_id,
    # One that began later has the id of a deleted one, which some channels derive.
    _sessions.started_at <= _threads.created_at,
)
_ORPHANED: Final = sa.select(_threads.agent_id, _threads.thread_id).where(
    _OF_OWNER, _OF_AGENTS, _IS_ORPHANED
)
_COUNT: Final = (
    sa.select(_threads.agent_id, sa.func.count().label("number"))
    .where(_IS_ORPHANED)
    .group_by(_threads.agent_id)
    .order_by(_threads.agent_id)
)
_OWNERS: Final = (
    sa.select(_threads.owner_id).where(_OF_AGENTS, _IS_ORPHANED).distinct().limit(MAX_OWNERS)
)
_FORGET: Final = sa.delete(agent_threads).where(
    _OF_OWNER, _threads.thread_id == sa.bindparam("thread_id_", type_=sa.Text)
)
_INSERTS: Final[dict[str, Callable[[sa.Table], Any]]] = {
    "sqlite": sqlite.insert,
    "postgresql": postgresql.insert,
}


@dataclass(frozen=True, slots=True)
class StoredThread:
    """A thread that an agent keeps.

    Attributes:
        agent_id: The agent.
        thread_id: The thread's name at the agent.
    """

    agent_id: str
    thread_id: str


def keep(
    connection: sa.Connection,
    owner: str,
    conversation_id: str,
    thread: StoredThread,
    now: datetime,
) -> None:
    """Note the thread of a conversation, once."""
    insert = _INSERTS[connection.dialect.name](agent_threads)
    row = {
        "thread_id": thread.thread_id,
        "owner_id": owner,
        "session_id": conversation_id,
        "agent_id": thread.agent_id,
        "created_at": now,
    }
    connection.execute(insert.on_conflict_do_nothing(index_elements=["thread_id"]), row)


def orphaned(connection: sa.Connection, owner: str, agents: Collection[str]) -> list[StoredThread]:
    """Return the threads of some agents whose conversation the owner has no more."""
    rows = connection.execute(_ORPHANED, {"owner_id_": owner, "agents": list(agents)})
    return [StoredThread(*row) for row in rows]


def forget(connection: sa.Connection, owner: str, thread_id: str) -> None:
    """Forget a thread that is deleted."""
    connection.execute(_FORGET, {"owner_id_": owner, "thread_id_": thread_id})


def owners(connection: sa.Connection, agents: Collection[str]) -> list[str]:
    """Return owners who have orphaned threads of some agents, `MAX_OWNERS` at most."""
    return list(connection.execute(_OWNERS, {"agents": list(agents)}).scalars())


def counts(connection: sa.Connection) -> dict[str, int]:
    """Return how many orphaned threads each agent has."""
    return {row.agent_id: row.number for row in connection.execute(_COUNT)}


class ThreadStore(OwnerStore):
    """Stores which threads agents keep. Each method may raise DatabaseUnavailableError."""

    async def keep(self, owner: str, conversation_id: str, thread: StoredThread) -> None:
        """Note the thread of a conversation, before its agent writes it.

        Raises:
            InvalidTextError: A name cannot be stored.
        """
        check_owner(owner)
        check_id(conversation_id)
        check_texts(agent_id=thread.agent_id, thread_id=thread.thread_id)
        await self._write(owner, keep, conversation_id, thread, self._clock())

    async def orphaned(self, owner: str, agents: Collection[str]) -> list[StoredThread]:
        """Return the threads of some agents whose conversation the owner has no more.

        Args:
            owner: Who had the conversations.
            agents: Ids of the agents.
        """
        return await self._read(owner, orphaned, agents)

    async def forget(self, owner: str, thread_id: str) -> None:
        """Forget a thread that its agent has deleted."""
        await self._write(owner, forget, thread_id)

    async def owners_of_orphaned(self, agents: Collection[str]) -> list[str]:
        """Return owners who have orphaned threads of some agents: maintenance, `MAX_OWNERS` at most."""
        return await self._database.read(
            lambda connection: owners(connection, agents), owner=EVERYONE
        )

    async def orphaned_counts(self) -> dict[str, int]:
        """Return how many orphaned threads each agent has: maintenance."""
        return await self._database.read(counts, owner=EVERYONE)
