"""Threads that agents keep of conversations by themselves: they end with their conversations."""

import asyncio
from collections.abc import Mapping
from typing import Final

from cmw_agent.agent.own.run import thread_id
from cmw_agent.agent.own.runner import OwnRunner
from cmw_agent.core.errors import UserError, describe_exception
from cmw_agent.core.logs import get_logger
from cmw_agent.core.store_errors import mapped_store_errors
from cmw_agent.language import wording
from memory.threads import StoredThread, ThreadStore

log = get_logger(__name__)

SECONDS: Final = 30.0  # that an agent's memory may take to delete a thread
NOT_DELETED: Final = wording(
    "What this agent remembers of a deleted chat cannot be removed now; please try again later."
)


class AgentThreads:
    """Notes which threads agents keep, and deletes those whose conversations are gone.

    Args:
        store: Knows the threads.
        keepers: What keeps them, by the ids of its agents.
    """

    def __init__(self, store: ThreadStore, keepers: Mapping[str, OwnRunner]) -> None:
        self._store = store
        self._keepers = keepers

    async def begin(self, owner: str, conversation_id: str, agent_id: str) -> None:
        """Note that an agent is about to write its thread of a conversation.

        Args:
            owner: The conversation's owner.
            conversation_id: The conversation.
            agent_id: Its agent.

        Raises:
            UserError: A deleted conversation of this id is still remembered, or the memory fails.
        """
        if agent_id not in self._keepers:
            return
        thread = StoredThread(agent_id, thread_id(owner, conversation_id))
        if thread in await self.sweep(owner):
            raise UserError(NOT_DELETED)
        with mapped_store_errors():
            await self._store.keep(owner, conversation_id, thread)

    async def sweep(self, owner: str) -> list[StoredThread]:
        """Delete the threads of an owner's deleted conversations; return those that could not be.

        Raises:
            UserError: The memory fails.
        """
        if not self._keepers:
            return []
        with mapped_store_errors():
            orphaned = await self._store.orphaned(owner, self._keepers)
            left = [thread for thread in orphaned if not await self._is_deleted(thread)]
            for thread in orphaned:
                if thread not in left:
                    await self._store.forget(owner, thread.thread_id)
        return left

    async def sweep_all(self) -> int:
        """Delete the threads of everybody's deleted conversations; return how many could not be.

        Raises:
            UserError: The memory fails.
        """
        if not self._keepers:
            return 0
        with mapped_store_errors():
            owners = await self._store.owners_of_orphaned(self._keepers)
        return sum([len(await self.sweep(owner)) for owner in owners])

    async def _is_deleted(self, thread: StoredThread) -> bool:
        try:
            async with asyncio.timeout(SECONDS):
                await self._keepers[thread.agent_id].forget(thread.thread_id)
        except Exception as error:  # noqa: BLE001 (whatever a memory of others raises)
            cause = describe_exception(error)
            log.warning("an agent's thread is not deleted", agent=thread.agent_id, cause=cause)
            return False
        return True
