"""Reads what the worker says of a conversation, and recognises one that is here already."""

import math
import re
from collections.abc import Mapping
from typing import Any

from cmw_agent.conversations.importing.fingerprint import Fingerprint
from cmw_agent.conversations.importing.records import Source, UnreadableError
from cmw_agent.core.long_texts import off_loop
from memory.conversations.imports import ImportMark, Known
from memory.errors import ConversationNotFoundError
from memory.manager import ConversationMemoryManager
from memory.records import StoredMessage

DIGEST = re.compile(r"[0-9a-f]{64}")
MESSAGES_AT_ONCE = 5  # each may be large


def mark_of(event: Mapping[str, Any]) -> ImportMark:
    """Return by what a conversation is recognised. Raises UnreadableError."""
    digests = [event.get(name) for name in ("name", "fingerprint")]
    if not all(isinstance(each, str) and DIGEST.fullmatch(each) for each in digests):
        raise UnreadableError("worker")
    return ImportMark(*map(str, digests))


def share_of(event: Mapping[str, Any]) -> float:
    """Return how much of the file has been read, from 0 to 1."""
    share = event.get("share_read")
    if not isinstance(share, int | float) or not math.isfinite(share):
        raise UnreadableError("worker")
    return min(1.0, max(0.0, share))


async def known_conversation(
    memory: ConversationMemoryManager,
    owner: str,
    source: Source | None,
    mark: ImportMark,
    event: Mapping[str, Any],
) -> Known | None:
    """Return what the owner has of a conversation: an earlier import, or the original itself.

    Another owner's conversations are not looked at, whatever the file says.
    """
    known = await memory.known_import(owner, mark)
    if known == "same" or source != "own":
        return known
    original = await _original(memory, owner, event)
    return original if original == "same" else known or original


async def _original(
    memory: ConversationMemoryManager, owner: str, event: Mapping[str, Any]
) -> Known | None:
    """Return what the owner has of the conversation that was exported; None where it is gone.

    A file without other versions is compared with the shown path.
    """
    conversation_id, fingerprint = str(event.get("source_id")), Fingerprint()
    with_versions = event.get("is_whole_tree") is True
    try:
        await memory.conversation(owner, conversation_id)
    except ConversationNotFoundError:
        return None
    indexes: dict[int, int] = {}
    after_seq = 0
    while page := await memory.messages_after(
        owner,
        conversation_id,
        after_seq=after_seq,
        limit=MESSAGES_AT_ONCE,
        all_versions=with_versions,
    ):
        size = sum(len(message.content) for message in page)
        await off_loop(size, _add, fingerprint, page, indexes)
        after_seq = page[-1].seq
    return "same" if fingerprint.hexdigest() == event.get("fingerprint") else "changed"


def _add(fingerprint: Fingerprint, page: list[StoredMessage], indexes: dict[int, int]) -> None:
    for message in page:
        indexes[message.seq] = len(indexes)
        fingerprint.add(message.role, indexes.get(message.parent_seq), message.content)
