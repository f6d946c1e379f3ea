"""Stores the order of each owner's conversations: titles, pins, folders, archive."""

from datetime import datetime

from memory.conversations import order
from memory.conversations.owner_store import OwnerStore
from memory.records import Arrangement, Conversation, Section
from memory.validation import check_id, check_owner, check_texts, is_id, row_limit, title_of


class OrderStore(OwnerStore):
    """Stores titles that models give, and where conversations stand in their owners' lists."""

    async def store_title(
        self, owner: str, conversation_id: str, title: str, *, conversation_created_at: datetime
    ) -> bool:
        """Replace a title that is still the first message by one that a model gave.

        Args:
            owner: The owner.
            conversation_id: The conversation.
            title: The title; cut to the length of a title.
            conversation_created_at: Tells the conversation from a deleted one of the same id.

        Returns:
            Whether it was stored; it is not where the owner has given a title, nor for an
            unknown conversation.

        Raises:
            InvalidTextError: The title cannot be stored.
        """
        check_texts(title=title)
        check_owner(owner)
        cut = title_of(title)
        if not cut or not is_id(conversation_id):
            return False
        return await self._write(
            owner, order.store_title, conversation_id, cut, conversation_created_at
        )

    async def arrange(self, owner: str, conversation_id: str, change: Arrangement) -> None:
        """Pin, archive or file a conversation, or take that back.

        A folder's name is brought onto one line and cut to the length of a title. Raises
        ConversationNotFoundError, and InvalidTextError for a name that cannot be stored.
        """
        check_texts(folder=change.folder)
        check_owner(owner)
        check_id(conversation_id)
        folder = None if change.folder is None else title_of(change.folder)
        cut = Arrangement(change.is_pinned, change.is_archived, folder)
        await self._write(owner, order.arrange, conversation_id, cut)

    async def listed(
        self,
        owner: str,
        section: Section,
        *,
        limit: int = 50,
        before: tuple[datetime, str] | None = None,
    ) -> list[Conversation]:
        """Return a section of the owner's conversations, newest activity first.

        Args:
            owner: The owner.
            section: `archived`; `arranged`, which are pinned or in a folder, and not archived;
                or `recent`, the rest.
            limit: Brought into 1 to 500.
            before: The `position` of the last conversation of the previous page.
        """
        check_owner(owner)
        if before is not None and not is_id(before[1]):
            return []
        return await self._read(owner, order.listed, section, row_limit(limit), before)
