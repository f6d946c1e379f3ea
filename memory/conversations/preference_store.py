"""Stores what each owner has chosen for themselves."""

from memory.conversations import preferences
from memory.conversations.owner_store import OwnerStore
from memory.records import ConsentKind
from memory.validation import check_texts


class PreferenceStore(OwnerStore):
    """Stores an owner's language, and what they let the operator do."""

    async def language(self, owner: str) -> str | None:
        """Return the tag of the owner's language; None where they have chosen none."""
        return await self._read(owner, preferences.language)

    async def set_language(self, owner: str, tag: str) -> None:
        """Store the owner's language. Raises InvalidTextError."""
        check_texts(tag=tag)
        await self._write(owner, preferences.set_language, tag)

    async def consents(self, owner: str) -> frozenset[ConsentKind]:
        """Return what the owner lets the operator do."""
        return await self._read(owner, preferences.consents)

    async def set_consent(self, owner: str, kind: ConsentKind, *, is_given: bool) -> None:
        """Store that the owner gives a consent, or takes it back, which holds from then on."""
        await self._write(owner, preferences.set_consent, kind, is_given, self._clock())
