"""Shares of owners, and the snapshots that the principals of their links read."""

from sqlalchemy import Connection

from memory.conversations import share_copies, share_files, shares
from memory.conversations.files import FileBound
from memory.conversations.owner_store import OwnerStore
from memory.engine.scopes import Handover
from memory.errors import ShareNotFoundError
from memory.share_records import NewShare, Share, SharedCopy, SharedFile, SharedMessage, Snapshot
from memory.validation import check_id, check_owner, is_id


class ShareStore(OwnerStore):
    """Stores, lists and revokes an owner's shares, and reads snapshots for a link's principal.

    In the methods that take a `reader`, who is the principal of a link, a transaction reaches its
    snapshot alone: no row of the owner, and nothing of the conversation as it is now.
    """

    async def create_share(
        self, owner: str, new: NewShare, *, bound_of: FileBound | None = None
    ) -> Share:
        """Store a snapshot of a conversation as it is shown now, and its link.

        Args:
            owner: The owner.
            new: What is shared.
            bound_of: Says whether its files would exceed a quota, also where many are shared at once;
                without it there is no quota.

        Raises:
            ConversationNotFoundError: The owner has no such conversation.
            ConversationBusyError: An answer is being written in it.
            ConversationMovedError: It has a file of which no copy was made.
            TooManySharesError, ShareTooLargeError, QuotaExceededError: A bound is exceeded.
        """
        check_owner(owner)
        check_id(new.conversation_id)
        now = self._clock()
        return await self._database.write(
            lambda connection: shares.create(connection, owner, new, bound_of, now),
            undo=lambda _: lambda connection: shares.revoke(connection, owner, new.share_id),
            owner=owner,
        )

    async def shares(self, owner: str, conversation_id: str | None = None) -> list[Share]:
        """Return the owner's open shares, or those of one conversation, newest first."""
        if conversation_id is not None and not is_id(conversation_id):
            return []
        return await self._read(owner, shares.shares, conversation_id, self._clock())

    async def revoke_share(self, owner: str, share_id: str) -> list[str]:
        """Delete a share with its snapshot; return the ids of its copies of bytes.

        Raises:
            ShareNotFoundError: The owner has no such share.
        """
        if not is_id(share_id):
            raise ShareNotFoundError
        return await self._write(owner, shares.revoke, share_id)

    async def snapshot(self, reader: str) -> Snapshot:
        """Return what a link shows, without the messages. Raises ShareNotFoundError."""
        return await self._read(reader, shares.snapshot, self._clock())

    async def snapshot_page(
        self, reader: str, *, from_seq: int, limit: int
    ) -> tuple[Snapshot, list[SharedMessage], list[SharedFile]]:
        """Return a snapshot, its messages from `from_seq` on, and their files without texts.

        Raises:
            ShareNotFoundError: There is no such share, or it has ended.
        """
        check_owner(reader)
        now = self._clock()

        def page(
            connection: Connection,
        ) -> tuple[Snapshot, list[SharedMessage], list[SharedFile]]:
            messages = shares.messages(connection, reader, from_seq, limit)
            files = shares.files_of(connection, reader, messages)
            # Last, since a link may end between two statements: where it is open now, all was there.
            return shares.snapshot(connection, reader, now), messages, files

        return await self._database.read(page, owner=reader)

    async def snapshot_file(self, reader: str, number: int) -> SharedFile:
        """Return a file of a snapshot, without its text. Raises ShareNotFoundError."""
        check_owner(reader)
        now = self._clock()

        def one(connection: Connection) -> SharedFile:
            shares.snapshot(connection, reader, now)
            return share_files.find(connection, reader, number)

        return await self._database.read(one, owner=reader)

    async def snapshot_files(self, reader: str) -> list[SharedFile]:
        """Return all files of a snapshot, with their texts. Raises ShareNotFoundError."""
        check_owner(reader)
        now = self._clock()

        def whole(connection: Connection) -> list[SharedFile]:
            files = share_files.list_all(connection, reader)
            shares.snapshot(connection, reader, now)  # last, as in `snapshot_page`
            return files

        return await self._database.read(whole, owner=reader)

    async def copy_snapshot(self, owner: str, reader: str, new: SharedCopy) -> None:
        """Make a conversation of `owner` out of the snapshot of the link's principal `reader`.

        Raises:
            ShareNotFoundError: There is no such share, or it has ended.
            UnknownFileError: One of the files is not the owner's, or is attached already.
        """
        check_owner(owner)
        check_owner(reader)
        now = self._clock()
        await self._database.write(
            lambda connection: share_copies.copy(connection, owner, reader, new, now),
            undo=lambda _: lambda connection: share_copies.drop(connection, owner, new),
            owner=Handover(reader, owner),
        )
