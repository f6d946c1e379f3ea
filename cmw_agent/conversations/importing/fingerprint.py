"""Fingerprints of conversations, by which one is recognised that is imported once more."""

import hashlib

from cmw_agent.conversations.importing.records import ImportedConversation, Source
from memory.records import Role


class Fingerprint:
    """Stands for the messages of a conversation: their texts, and which follows which.

    The title, and which version is shown, may change without making it another conversation.
    """

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, role: Role, parent: int | None, text: str) -> None:
        """Add the next message; `parent` is the index of the one before it."""
        # A surrogate, which cannot be stored, is in no conversation.
        data = text.encode(errors="replace")
        self._digest.update(f"{role} {parent} {len(data)} ".encode())
        self._digest.update(data)

    def hexdigest(self) -> str:
        """Return the fingerprint, 64 hexadecimal digits."""
        return self._digest.hexdigest()


def fingerprint_of(conversation: ImportedConversation) -> str:
    """Return the fingerprint of a conversation's messages."""
    found = Fingerprint()
    for message in conversation.messages:
        found.add(message.role, message.parent, message.text)
    return found.hexdigest()


def name_of(source: Source, conversation: ImportedConversation) -> str:
    """Return a digest that names a conversation at its source.

    It is of the id there; of title and time where the file has no id.
    """
    named = repr((source, conversation.source_id))
    if conversation.source_id is None:
        named = repr((source, conversation.title, conversation.created_at))
    return hashlib.sha256(named.encode(errors="replace")).hexdigest()
