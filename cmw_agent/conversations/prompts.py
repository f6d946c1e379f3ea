"""Service of owners' saved prompts: list, create, change, delete."""

from collections.abc import Callable

from cmw_agent.core.errors import InvalidMessageError
from cmw_agent.core.store_errors import mapped_store_errors
from cmw_agent.identity.principals import Principal
from cmw_agent.language import wording
from cmw_agent.limits.budgets import Budgets
from memory.conversations.prompts import MAX_PROMPTS
from memory.errors import TooManyPromptsError
from memory.manager import ConversationMemoryManager
from memory.records import SavedPrompt
from memory.validation import TITLE_LENGTH, title_of

MAX_CHARS = 8_000  # of a prompt's text
NO_NAME = wording("A prompt needs a name, of at most {count} characters.", count=TITLE_LENGTH)
NO_TEXT = wording("A prompt needs a text.")
TOO_LONG = wording("A prompt has at most {count} characters.", count=MAX_CHARS)
TOO_MANY = wording(
    "You have {count} prompts, which is as many as can be saved; please delete one.",
    count=MAX_PROMPTS,
)


class PromptService:
    """Saves prompts for their owners. One object serves the process.

    Args:
        memory_of: Returns the memory that holds a principal's prompts.
        budgets: Limits how many are saved within an hour.
    """

    def __init__(
        self, memory_of: Callable[[Principal], ConversationMemoryManager], budgets: Budgets
    ) -> None:
        self._memory_of = memory_of
        self._budgets = budgets

    async def prompts(self, principal: Principal) -> list[SavedPrompt]:
        """Return the principal's prompts, by name."""
        with mapped_store_errors():
            return await self._memory_of(principal).prompts(principal.id)

    async def create(
        self, principal: Principal, name: str, text: str, address: str | None
    ) -> SavedPrompt:
        """Save a prompt.

        Args:
            principal: Its owner.
            name: Its name.
            text: What it puts into the message box.
            address: Network address of the request, or None.

        Raises:
            UserError: Name or text cannot be saved, or a limit is reached.
        """
        _check(name, text)
        self._budgets.spend("prompts", principal.id, address)
        with mapped_store_errors():
            try:
                return await self._memory_of(principal).create_prompt(principal.id, name, text)
            except TooManyPromptsError:
                raise InvalidMessageError(TOO_MANY, status=409) from None

    async def update(
        self, principal: Principal, prompt_id: str, name: str, text: str, address: str | None
    ) -> None:
        """Give one of the principal's prompts another name and text; as for `create`."""
        _check(name, text)
        self._budgets.spend("prompts", principal.id, address)
        with mapped_store_errors():
            await self._memory_of(principal).update_prompt(principal.id, prompt_id, name, text)

    async def delete(self, principal: Principal, prompt_id: str) -> None:
        """Delete one of the principal's prompts.

        Raises:
            NotFoundError: The principal has no such prompt.
        """
        with mapped_store_errors():
            await self._memory_of(principal).delete_prompt(principal.id, prompt_id)


def _check(name: str, text: str) -> None:
    if not title_of(name) or len(name) > TITLE_LENGTH:
        raise InvalidMessageError(NO_NAME)
    if not text.strip():
        raise InvalidMessageError(NO_TEXT)
    if len(text) > MAX_CHARS:
        raise InvalidMessageError(TOO_LONG)
