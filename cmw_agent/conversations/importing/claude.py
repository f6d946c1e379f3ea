"""Reads conversations of Claude's data export (`conversations.json`).

A conversation is a list at `chat_messages`. Newer exports name each message's parent at
`parent_message_uuid`; without it the messages follow each other.
"""

from collections.abc import Iterator
from typing import Any

from cmw_agent.conversations.importing import values
from cmw_agent.conversations.importing.message_tree import Draft, Node, linear, messages_of
from cmw_agent.conversations.importing.records import FileReference, ImportedConversation
from cmw_agent.conversations.importing.values import Notes
from memory.records import Role

NO_MESSAGE = "00000000-0000-4000-8000-000000000000"  # the parent of a first message
ROLES: dict[object, Role] = {"human": "user", "user": "user", "assistant": "assistant"}


def is_conversation(value: dict[str, Any]) -> bool:
    """Return whether a JSON object has the shape of Claude's conversations."""
    return isinstance(value.get("chat_messages"), list)


def read(value: dict[str, Any]) -> ImportedConversation:
    """Return one conversation. Raises UnreadableError."""
    notes = Notes()
    messages = values.records(value["chat_messages"])
    drafts = [_draft(message, notes) for message in messages]
    keys = [values.optional(message.get("uuid")) for message in messages]
    is_tree = all(keys) and any("parent_message_uuid" in message for message in messages)
    if is_tree:
        parents = [_parent(message) for message in messages]
        nodes = [
            Node(key or "", parent, draft)
            for key, parent, draft in zip(keys, parents, drafts, strict=True)
        ]
        leaf = values.optional(value.get("current_leaf_message_uuid"))
        tree = messages_of(nodes, leaf, notes)
    else:
        tree = linear([draft for draft in drafts if draft is not None])
    return ImportedConversation(
        title=values.name(value.get("name")) or "",
        created_at=values.seconds(value.get("created_at")),
        updated_at=values.seconds(value.get("updated_at")),
        messages=tree,
        source_id=values.first_id(value, "uuid"),
        notes=notes,
    )


def _parent(message: dict[str, Any]) -> str | None:
    parent = values.optional(message.get("parent_message_uuid"))
    return parent if parent != NO_MESSAGE else None


def _draft(message: dict[str, Any], notes: Notes) -> Draft | None:
    sender = message.get("sender")
    role = ROLES.get(sender) if isinstance(sender, str) else None
    if role is None:
        notes["system"] += 1
        return None
    blocks = values.records(message.get("content"))
    notes["tools"] += sum(block.get("type") in ("tool_use", "tool_result") for block in blocks)
    parts = [block.get("text") for block in blocks if block.get("type") == "text"]
    text = "\n\n".join(values.text(part, role, notes) for part in parts if part)
    text = text or values.text(message.get("text"), role, notes)
    thoughts = (block.get("thinking") for block in blocks if block.get("type") == "thinking")
    thinking = "\n\n".join(values.text(thought, role, notes) for thought in thoughts)
    pasted = [values.text(part, role, notes) for part in _pasted(message)]
    files = tuple(
        FileReference(None, values.name(file.get("file_name")) or "a file")
        for file in values.records(message.get("files"))
    )
    text = "\n\n".join(filter(None, (text, *pasted)))
    if not text.strip() and not thinking and not files:
        return None
    at = values.seconds(message.get("created_at"))
    return Draft(role, text, at=at, thinking=thinking or None, files=files)


def _pasted(message: dict[str, Any]) -> Iterator[str]:
    """Yield the texts of attachments, each behind the file's name."""
    for attachment in values.records(message.get("attachments")):
        if content := values.optional(attachment.get("extracted_content")):
            yield f"{values.name(attachment.get('file_name')) or 'Attachment'}:\n\n{content}"
