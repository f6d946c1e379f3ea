"""Records of the files of owners; `cmw_agent.files` stores their bytes."""

from collections.abc import Sequence

from sqlalchemy import Connection

from memory.conversations import files as stored_files
from memory.conversations import shares
from memory.conversations.owner_store import OwnerStore
from memory.engine.scopes import EVERYONE
from memory.errors import UnknownFileError
from memory.records import StoredFile
from memory.validation import check_owner, check_texts, is_id, row_limit


class FileRecordStore(OwnerStore):
    """Stores, reads and deletes the records of uploaded files."""

    async def add_file(
        self,
        owner: str,
        file: StoredFile,
        *,
        bound_of: stored_files.FileBound,
        network: str | None = None,
    ) -> None:
        """Store the record of an uploaded file, which belongs to no message yet.

        Args:
            owner: The owner.
            file: The record; the file's bytes are stored elsewhere.
            bound_of: Says whether the file would exceed a quota, also where many come at once.
            network: A digest of the uploader's network, where the network has a quota.

        Raises:
            QuotaExceededError: `bound_of` refuses the file.
            InvalidTextError: A text cannot be stored.
        """
        check_owner(owner)
        check_texts(
            file_id=file.file_id,
            name=file.name,
            media_type=file.media_type,
            text=file.text,
            network=network,
        )
        await self._database.write(
            lambda connection: stored_files.add(connection, owner, file, network, bound_of),
            undo=lambda _: lambda connection: stored_files.remove(connection, owner, file.file_id),
            owner=EVERYONE,  # the files of a network and of all are counted too
        )

    async def file(self, owner: str, file_id: str) -> StoredFile:
        """Return one file. Raises UnknownFileError, also where its conversation was deleted."""
        check_owner(owner)
        if not is_id(file_id):
            raise UnknownFileError
        return await self._read(owner, stored_files.file, file_id)

    async def files_of(
        self, owner: str, conversation_id: str, seqs: Sequence[int] | None = None
    ) -> list[StoredFile]:
        """Return the files of a conversation's shown path, or of its messages at `seqs`.

        The oldest message's come first.

        At most the newest 200; nothing for an unknown conversation.
        """
        check_owner(owner)
        if not is_id(conversation_id):
            return []
        return await self._read(owner, stored_files.of_conversation, conversation_id, seqs)

    async def all_files(
        self, owner: str, *, limit: int = 50, after_id: str = ""
    ) -> list[StoredFile]:
        """Return a page of all files of an owner, by their ids, which begins behind `after_id`.

        `limit` is brought into 1 to 500. Files of deleted conversations are left out.
        """
        check_owner(owner)
        if after_id and not is_id(after_id):
            return []
        return await self._read(owner, stored_files.of_owner, row_limit(limit), after_id)

    async def remove_file(self, owner: str, file_id: str) -> None:
        """Delete the record of a file that belongs to no message. Raises UnknownFileError."""
        check_owner(owner)
        if not is_id(file_id):
            raise UnknownFileError
        await self._write(owner, stored_files.remove, file_id)

    async def used_bytes(self, owner: str, network: str | None = None) -> stored_files.UsedBytes:
        """Return how many bytes the files of an owner, of a network and of all take."""
        check_owner(owner)
        return await self._database.read(
            lambda connection: stored_files.used_bytes(connection, owner, network), owner=EVERYONE
        )

    async def forget_files(self, owner: str) -> list[str]:
        """Delete the records of all files of an owner, and all shares; return the ids of the bytes."""
        return await self._write(owner, _forget)


def _forget(connection: Connection, owner: str) -> list[str]:
    return [*stored_files.forget(connection, owner), *shares.forget(connection, owner)]
