"""Reads conversations of Open WebUI's chat export.

A conversation is at `chat`, or not wrapped at all: a tree at `history.messages` with `currentId`,
or, in old exports, a list at `messages`.
"""

from typing import Any

from cmw_agent.conversations.importing import values
from cmw_agent.conversations.importing.message_tree import Draft, Node, linear, messages_of
from cmw_agent.conversations.importing.records import FileReference, ImportedConversation
from cmw_agent.conversations.importing.values import Notes


def is_conversation(value: dict[str, Any]) -> bool:
    """Return whether a JSON object has the shape of Open WebUI's conversations."""
    chat = value.get("chat")
    if isinstance(chat, dict):
        return isinstance(chat.get("history"), dict) or isinstance(chat.get("messages"), list)
    history = value.get("history")
    return isinstance(history, dict) and isinstance(history.get("messages"), dict)


def read(value: dict[str, Any]) -> ImportedConversation:
    """Return one conversation. Raises UnreadableError."""
    notes = Notes()
    chat = values.record(value.get("chat")) or value
    history = values.record(chat.get("history"))
    nodes = [
        Node(key, values.optional(values.record(message).get("parentId")), _draft(message, notes))
        for key, message in values.record(history.get("messages")).items()
    ]
    if nodes:
        tree = messages_of(nodes, values.optional(history.get("currentId")), notes)
    else:
        drafts = [_draft(message, notes) for message in values.records(chat.get("messages"))]
        tree = linear([draft for draft in drafts if draft is not None])
    return ImportedConversation(
        title=values.name(value.get("title") or chat.get("title")) or "",
        created_at=values.seconds(value.get("created_at") or chat.get("timestamp")),
        updated_at=values.seconds(value.get("updated_at")),
        messages=tree,
        is_pinned=value.get("pinned") is True,
        is_archived=value.get("archived") is True,
        source_id=values.first_id(value, "id") or values.first_id(chat, "id"),
        notes=notes,
    )


def _draft(value: Any, notes: Notes) -> Draft | None:
    message = values.record(value)
    role = message.get("role")
    if role not in ("user", "assistant"):
        notes["system" if role == "system" else "tools"] += 1
        return None
    content = message.get("content")
    if isinstance(content, list):  # as OpenAI's content parts
        parts = [values.optional(part.get("text")) for part in values.records(content)]
        content = "\n\n".join(filter(None, parts))
    text = values.text(content, role, notes)
    files = tuple(
        FileReference(None, values.name(file.get("name")) or "a file")
        for file in values.records(message.get("files"))
    )
    if not text.strip() and not files:
        return None
    return Draft(
        role,
        text,
        at=values.seconds(message.get("timestamp")),
        model=values.name(message.get("model")),
        files=files,
    )
