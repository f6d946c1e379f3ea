"""Imports: conversations from elsewhere become an owner's, part by part."""

import json

from memory.conversations import imports
from memory.conversations.owner_store import OwnerStore
from memory.validation import check_id, check_owner, check_texts


class ImportStore(OwnerStore):
    """Stores the conversations that an owner imports."""

    async def import_part(self, owner: str, part: imports.ImportPart) -> int:
        """Store a part of an imported conversation, in one transaction.

        The conversation is hidden until the part that `is_last` is stored; one that is never
        completed is deleted with the deleted ones.

        Returns:
            The seq of the part's last message.

        Raises:
            ConversationNotFoundError: The parts before it are gone, or the conversation is complete.
            InvalidTextError: A text cannot be stored.
            ValueError: The part has more than `imports.MAX_MESSAGES` messages, or is no part of a
                tree (see `imports.store`).
        """
        check_owner(owner)
        head, origin = part.head, part.head.origin
        check_id(head.conversation_id)
        if len(part.messages) > imports.MAX_MESSAGES:
            raise ValueError("a part of an import has too many messages")
        check_texts(
            title=head.title,
            folder=head.arrangement.folder,
            agent_id=origin.agent_id,
            channel=origin.channel,
            tenant_id=origin.tenant_id,
            external_id=origin.external_id,
            context=json.dumps(origin.context, ensure_ascii=False),
        )
        for message in part.messages:
            check_texts(
                content=message.content,
                thinking=message.thinking,
                model_used=message.model_used,
                finish_reason=message.finish_reason,
                feedback_comment=message.feedback_comment,
            )
        return await self._write(owner, imports.store, part, self._clock())

    async def known_import(self, owner: str, mark: imports.ImportMark) -> imports.Known | None:
        """Return what the owner has of a conversation that is about to be imported; None for nothing.

        What is deleted is not known.
        """
        check_owner(owner)
        return await self._read(owner, imports.import_state, mark)
