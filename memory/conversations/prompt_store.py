"""Stores the saved prompts of each owner."""

import secrets

from memory.conversations import prompts
from memory.conversations.owner_store import OwnerStore
from memory.errors import InvalidTextError, PromptNotFoundError
from memory.records import SavedPrompt
from memory.validation import check_owner, check_texts, is_id, title_of


class PromptStore(OwnerStore):
    """Stores prompts: what another owner has and what does not exist give PromptNotFoundError."""

    async def prompts(self, owner: str) -> list[SavedPrompt]:
        """Return the owner's prompts, by name."""
        return await self._read(owner, prompts.prompts)

    async def create_prompt(self, owner: str, name: str, text: str) -> SavedPrompt:
        """Store a prompt under a new id.

        Args:
            owner: The owner.
            name: Its name; brought onto one line and cut to the length of a title.
            text: What it puts into the message box.

        Raises:
            InvalidTextError: Name or text is empty or cannot be stored.
            TooManyPromptsError: The owner has as many as one may have.
        """
        check_owner(owner)
        cut = _checked(name, text)
        prompt_id = secrets.token_hex(16)
        return await self._write(owner, prompts.create, prompt_id, cut, text, self._clock())

    async def update_prompt(self, owner: str, prompt_id: str, name: str, text: str) -> None:
        """Give a prompt another name and text.

        Raises PromptNotFoundError, and InvalidTextError as for `create_prompt`.
        """
        check_owner(owner)
        cut = _checked(name, text)
        _check_id(prompt_id)
        await self._write(owner, prompts.update, prompt_id, cut, text, self._clock())

    async def delete_prompt(self, owner: str, prompt_id: str) -> None:
        """Delete a prompt. Raises PromptNotFoundError."""
        check_owner(owner)
        _check_id(prompt_id)
        await self._write(owner, prompts.delete, prompt_id)


def _checked(name: str, text: str) -> str:
    """Return the name as it is stored. Raises InvalidTextError."""
    check_texts(name=name, text=text)
    cut = title_of(name)
    if not cut:
        raise InvalidTextError("name")
    if not text.strip():
        raise InvalidTextError("text")
    return cut


def _check_id(prompt_id: str) -> None:
    if not is_id(prompt_id):
        raise PromptNotFoundError
