"""Reads conversations of ChatGPT's data export (`conversations.json`).

A conversation is a tree at `mapping`: nodes with `id`, `parent` and `message`; `current_node` names
the last one that was shown.
"""

from collections.abc import Iterator
from typing import Any

from cmw_agent.conversations.importing import values
from cmw_agent.conversations.importing.message_tree import Draft, Node, messages_of
from cmw_agent.conversations.importing.records import FileReference, ImportedConversation
from cmw_agent.conversations.importing.values import Notes

THOUGHTS = frozenset({"thoughts", "reasoning_recap"})
TEXTS = frozenset({"text", "multimodal_text", "code"})


def is_conversation(value: dict[str, Any]) -> bool:
    """Return whether a JSON object has the shape of ChatGPT's conversations."""
    return isinstance(value.get("mapping"), dict)


def read(value: dict[str, Any]) -> ImportedConversation:
    """Return one conversation. Raises UnreadableError."""
    notes = Notes()
    nodes = [
        Node(key, values.optional(values.record(node).get("parent")), _draft(node, notes))
        for key, node in value["mapping"].items()
    ]
    return ImportedConversation(
        title=values.name(value.get("title")) or "",
        created_at=values.seconds(value.get("create_time")),
        updated_at=values.seconds(value.get("update_time")),
        messages=messages_of(nodes, values.optional(value.get("current_node")), notes),
        is_archived=value.get("is_archived") is True,
        source_id=values.first_id(value, "conversation_id", "id"),
        notes=notes,
    )


def _draft(node: Any, notes: Notes) -> Draft | None:
    message = values.record(values.record(node).get("message"))
    role = values.record(message.get("author")).get("role")
    content, metadata = (
        values.record(message.get("content")),
        values.record(message.get("metadata")),
    )
    if role not in ("user", "assistant"):
        if role == "tool":
            notes["tools"] += 1
        elif role == "system" and any(_texts(content)):
            notes["system"] += 1
        return None
    kind = content.get("content_type")
    if metadata.get("is_visually_hidden_from_conversation") is True or kind in (
        "user_editable_context",
        "model_editable_context",
    ):
        notes["system"] += 1
        return None
    if message.get("recipient", "all") != "all" or (kind not in TEXTS and kind not in THOUGHTS):
        notes["tools"] += 1  # the call of a tool, or what came of one
        return None
    text = "\n\n".join(values.text(part, role, notes) for part in _texts(content))
    files = tuple(_files(content, metadata))
    if kind in THOUGHTS:
        return Draft(role, "", thinking=text or None) if kind == "thoughts" and text else None
    if not text.strip() and not files:
        return None
    return Draft(
        role,
        text,
        at=values.seconds(message.get("create_time")),
        model=values.name(metadata.get("model_slug")),
        files=files,
    )


def _texts(content: dict[str, Any]) -> Iterator[str]:
    if isinstance(content.get("text"), str):
        yield content["text"]
    for thought in values.records(content.get("thoughts")):
        yield from filter(None, map(values.optional, map(thought.get, ("summary", "content"))))
    parts = content.get("parts")
    for part in parts if isinstance(parts, list) else ():
        spoken = values.optional(values.record(part).get("text"))  # of a recording
        if part_text := (part if isinstance(part, str) else spoken):
            yield part_text


def _files(content: dict[str, Any], metadata: dict[str, Any]) -> Iterator[FileReference]:
    for attachment in values.records(metadata.get("attachments")):
        yield FileReference(None, values.name(attachment.get("name")) or "a file")
    if metadata.get("attachments"):
        return  # the pictures among them are parts of the message, too
    for part in values.records(content.get("parts")):
        if "asset_pointer" in part:
            yield FileReference(None, "a picture or recording")
