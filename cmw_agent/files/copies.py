"""Copies files: for a snapshot that outlives them, and for a conversation that is a copy of another.

A copy shares its bytes with the original where the file system can link them; neither is ever
changed, and each lives until its own record is deleted.
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from cmw_agent.config.settings import Settings
from cmw_agent.core.store_errors import mapped_store_errors
from cmw_agent.files.disk_room import DiskRoom, network_digest
from cmw_agent.files.service import FileMissingError, MemoryOf, files_unavailable
from cmw_agent.files.storage import FileStore
from cmw_agent.identity.principals import Principal
from cmw_agent.limits.budgets import Budgets
from memory.conversations.files import FileBound
from memory.errors import QuotaExceededError, StoreError
from memory.manager import ConversationMemoryManager
from memory.records import StoredFile, utcnow
from memory.share_records import SharedFile


class FileCopies:
    """Copies files within the quotas of the principal for whom it does.

    Args:
        settings: Data folder and limits.
        memory_of: Returns the memory that stores a principal's files.
        budgets: Limits uploads, as which copies count, and bytes on disk.
    """

    def __init__(self, settings: Settings, memory_of: MemoryOf, budgets: Budgets) -> None:
        self._store = FileStore(settings.data_dir / "files")
        self._memory_of = memory_of
        self._budgets = budgets
        self._room = DiskRoom(settings, budgets)

    @property
    def bound_of(self) -> FileBound:
        """Says whose quota further files would exceed."""
        return self._room.bound_of

    @contextlib.asynccontextmanager
    async def for_snapshot(
        self, principal: Principal, conversation: str
    ) -> AsyncIterator[Mapping[str, str]]:
        """Copy the bytes of a conversation's files; drop the copies if the block fails.

        Args:
            principal: Owner of the conversation.
            conversation: Its id.

        Yields:
            Ids of the copies by the ids of the files.

        Raises:
            UserError: A quota is exceeded, a file's bytes are gone, or the memory fails.
        """
        with mapped_store_errors():
            files = await self._memory_of(principal).files_of(principal.id, conversation)
        await self._check_room(principal, None, files)
        copies = {file.file_id: secrets.token_hex(16) for file in files}
        async with self._copied(copies):
            try:
                yield copies
            except QuotaExceededError as error:  # others were stored meanwhile
                raise self._room.error(error.bound, error.used) from None

    @contextlib.asynccontextmanager
    async def adopted(
        self, principal: Principal, files: Sequence[StoredFile], address: str | None
    ) -> AsyncIterator[Mapping[str, str]]:
        """Make copies of files uploads of a principal; delete them if the block fails.

        Args:
            principal: Whose the copies become.
            files: Files that the principal may read, with their texts.
            address: Network address of the request, or None.

        Yields:
            Ids of the copies by the ids of the files.

        Raises:
            UserError: A quota is exceeded, a file's bytes are gone, or the memory fails.
        """
        if not files:
            yield {}
            return
        memory, network = self._memory_of(principal), network_digest(principal, address)
        copies = {file.file_id: secrets.token_hex(16) for file in files}
        async with contextlib.AsyncExitStack() as copied:
            with self._budgets.take("uploads", principal.id, address):
                await self._check_room(principal, network, files)
                await copied.enter_async_context(self._copied(copies))
                added = await copied.enter_async_context(contextlib.AsyncExitStack())
                for file in files:
                    copy_id = copies[file.file_id]
                    await self._add(principal, _upload_of(file, copy_id), network)
                    added.push_async_callback(_remove, memory, principal.id, copy_id)
            yield copies
            added.pop_all()

    async def path(self, shared: SharedFile) -> Path:
        """Return the path of the bytes of a snapshot's file.

        Raises:
            FileMissingError: The bytes are gone.
        """
        path = self._store.path(shared.file.file_id)
        if not await asyncio.to_thread(path.is_file):
            raise FileMissingError
        return path

    async def drop(self, ids: Sequence[str]) -> None:
        """Delete copies whose records are deleted."""
        await self._store.drop(ids)

    async def _check_room(
        self, principal: Principal, network: str | None, files: Sequence[StoredFile]
    ) -> None:
        size = sum(file.kept_bytes for file in files)
        with mapped_store_errors():
            used = await self._memory_of(principal).used_bytes(principal.id, network)
        if files and (bound := self._room.bound_of(used, size)) is not None:
            raise self._room.error(bound, used.owner)
        await self._room.check_disk(size)

    async def _add(self, principal: Principal, file: StoredFile, network: str | None) -> None:
        memory = self._memory_of(principal)
        adding = memory.add_file(principal.id, file, network=network, bound_of=self._room.bound_of)
        with mapped_store_errors():
            try:
                await adding
            except QuotaExceededError as error:
                raise self._room.error(error.bound, error.used) from None

    @contextlib.asynccontextmanager
    async def _copied(self, copies: Mapping[str, str]) -> AsyncIterator[None]:
        """Copy bytes from each id to the other; drop the copies if the block fails."""
        try:
            for source, copy in copies.items():
                await self._copy(source, copy)
            yield
        except BaseException:
            await asyncio.shield(self._store.drop(copies.values()))
            raise

    async def _copy(self, source: str, copy: str) -> None:
        try:
            await self._store.copy(source, copy)
        except FileNotFoundError:
            raise FileMissingError from None
        except OSError as error:
            raise files_unavailable(error) from None


def _upload_of(file: StoredFile, copy_id: str) -> StoredFile:
    # It is as old as an upload: the clean-up deletes those that have long belonged to no message.
    return replace(file, file_id=copy_id, conversation_id=None, seq=None, created_at=utcnow())


async def _remove(memory: ConversationMemoryManager, owner: str, file_id: str) -> None:
    with contextlib.suppress(StoreError):  # the clean-up does it later
        await memory.remove_file(owner, file_id)
