"""Versions of messages of an owner, and forks of conversations."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from memory.conversations import forks, tree
from memory.conversations.owner_store import OwnerStore
from memory.records import MessageLink, StoredMessage, new_conversation_id
from memory.validation import check_id, check_owner, check_seq, check_texts, is_id, row_limit


class TreeStore(OwnerStore):
    """Selects the version of a message that is shown, and forks conversations at a message."""

    async def versions(
        self,
        owner: str,
        conversation_id: str,
        messages: Sequence[StoredMessage | MessageLink],
    ) -> dict[int, tuple[int, ...]]:
        """Return the seqs of all versions, oldest first, by the seq of the message that is shown.

        Args:
            owner: The owner.
            conversation_id: The conversation; nothing for an unknown one.
            messages: Messages of its shown path. Those with one version are left out.
        """
        check_owner(owner)
        if not is_id(conversation_id):
            return {}
        return await self._read(owner, tree.versions, conversation_id, messages)

    async def path(self, owner: str, conversation_id: str, *, limit: int = 40) -> list[MessageLink]:
        """Return the newest messages of the shown path without their contents, oldest first.

        `limit` is brought into 1 to 500. Raises ConversationNotFoundError.
        """
        check_owner(owner)
        check_id(conversation_id)
        newest_first = await self._read(owner, tree.path, conversation_id, row_limit(limit))
        return newest_first[::-1]

    async def select_version(self, owner: str, conversation_id: str, seq: int) -> None:
        """Let the path that is shown lead through a message, and on to the newest that follows it.

        Raises:
            ConversationNotFoundError: The owner has no such conversation, or it no such message.
            ConversationBusyError: An answer is being written in it.
        """
        check_owner(owner)
        check_id(conversation_id)
        check_seq(seq)
        await self._write(owner, tree.select_version, conversation_id, seq, self._clock())

    async def plan_fork(self, owner: str, conversation_id: str, seq: int) -> forks.ForkPlan:
        """Return what `fork` copies: its files need copies first. Raises as `fork`."""
        check_owner(owner)
        check_id(conversation_id)
        check_seq(seq)
        return await self._read(owner, forks.plan, conversation_id, seq, self._clock())

    async def fork(
        self,
        owner: str,
        conversation_id: str,
        seq: int,
        *,
        context: Mapping[str, Any],
        copies: Mapping[str, str],
    ) -> str:
        """Make a conversation with a copy of another's path up to a message; return its id.

        Args:
            owner: The owner of both.
            conversation_id: The conversation that is copied.
            seq: The message; a question is copied with its answer.
            context: JSON values that the new one stores beside its messages.
            copies: Ids of copies, which are unattached uploads, by the ids of the files that
                `plan_fork` names.

        Raises:
            ConversationNotFoundError: The owner has no such conversation, or it no such message.
            ConversationBusyError: An answer is being written in it.
            MessageNotShownError: The message is not on the path that is shown.
            ForkTooLongError: The path is longer, or has more files, than is copied.
            UnknownFileError: A copy is missing, or is not the owner's own unattached upload.
        """
        check_owner(owner)
        check_id(conversation_id)
        check_seq(seq)
        check_texts(context=json.dumps(dict(context), ensure_ascii=False))
        new_id, at = new_conversation_id(), self._clock()

        def work(connection: sa.Connection) -> str:
            forks.fork(
                connection,
                owner,
                conversation_id,
                seq,
                new_id=new_id,
                context=context,
                copies=copies,
                at=at,
            )
            return new_id

        def undo(made: str) -> Callable[[sa.Connection], bool]:
            return lambda connection: forks.remove(connection, owner, made)

        return await self._database.write(work, undo=undo, owner=owner)
