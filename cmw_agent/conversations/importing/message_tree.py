"""Builds the tree of a conversation's messages from nodes that name their parents."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from cmw_agent.conversations.importing.records import (
    FileReference,
    ImportedMessage,
    UnreadableError,
)
from cmw_agent.conversations.importing.values import Notes
from memory.records import Role


@dataclass(frozen=True, slots=True)
class Draft:
    """A message before it has its position in the tree."""

    role: Role
    text: str
    at: float | None = None
    thinking: str | None = None
    model: str | None = None
    files: tuple[FileReference, ...] = ()


@dataclass(frozen=True, slots=True)
class Node:
    """A node of a source's tree; `draft` is None for one that is not imported."""

    key: str
    parent: str | None
    draft: Draft | None


def messages_of(
    nodes: Sequence[Node], leaf: str | None, notes: Notes
) -> tuple[ImportedMessage, ...]:
    """Return the messages of a tree, older ones first; parts of one answer become one message.

    A message whose parent is not in the file begins a version of its own, which is noted.

    Args:
        nodes: All nodes, in the order of the file.
        leaf: The key of the last node that was shown; the newest message where there is no such.
        notes: Counts what is changed.

    Raises:
        UnreadableError: The nodes form a circle.
    """
    by_key = {node.key: node for node in nodes}
    orphans = (node for node in nodes if node.parent is not None and node.parent not in by_key)
    notes["parents"] += sum(node.draft is not None for node in orphans)
    ordered = _oldest_first(nodes, by_key)
    following = _following_messages(ordered, by_key)
    indexes: dict[str, int | None] = {}  # of the message that stands for a node
    messages: list[ImportedMessage] = []
    last_keys: list[str] = []  # of the nodes that became each message
    for node in ordered:
        parent = indexes.get(node.parent or "")
        if node.draft is None:
            indexes[node.key] = parent
        elif (
            parent is not None
            and messages[parent].role == node.draft.role == "assistant"
            and following[last_keys[parent]] == 1
        ):
            messages[parent] = _joined(messages[parent], node.draft)
            indexes[node.key], last_keys[parent] = parent, node.key
        else:
            indexes[node.key] = len(messages)
            messages.append(_message(len(messages), parent, node.draft))
            last_keys.append(node.key)
    return with_path(messages, indexes.get(leaf or ""))


def linear(drafts: Sequence[Draft]) -> tuple[ImportedMessage, ...]:
    """Return messages that follow each other, all of them shown."""
    return tuple(
        replace(_message(index, index - 1 if index else None, draft), is_shown=True)
        for index, draft in enumerate(drafts)
    )


def with_path(messages: Sequence[ImportedMessage], leaf: int | None) -> tuple[ImportedMessage, ...]:
    """Return messages of which those are shown that lead to one, and on to the newest behind it.

    Args:
        messages: A tree, parents first.
        leaf: The index of the message; None for the newest of all.
    """
    end = len(messages) - 1 if leaf is None else leaf
    below = {end}
    for item in messages[end + 1 :]:
        if item.parent in below:
            below.add(item.index)
            end = item.index
    shown: set[int] = set()
    following: int | None = end
    while messages and following is not None:
        shown.add(following)
        following = messages[following].parent
    return tuple(replace(item, is_shown=item.index in shown) for item in messages)


def _oldest_first(nodes: Sequence[Node], by_key: Mapping[str, Node]) -> list[Node]:
    """Return the nodes in the order of their times, each behind its parent."""
    places: dict[str, tuple[float, int]] = {}  # the latest time on the way to a node, and its depth
    for node in nodes:
        path: dict[str, None] = {}
        key: str | None = node.key
        while key is not None and key in by_key and key not in places:
            if key in path:
                raise UnreadableError("circle")
            path[key] = None
            key = by_key[key].parent
        latest, depth = places.get(key or "", (0.0, -1))
        for each in reversed(path):
            draft = by_key[each].draft
            latest, depth = max(latest, (draft and draft.at) or 0.0), depth + 1
            places[each] = latest, depth
    return sorted(by_key.values(), key=lambda node: places[node.key])


def _following_messages(ordered: Sequence[Node], by_key: Mapping[str, Node]) -> dict[str, int]:
    """Return how many messages follow each node directly, or behind nodes that are left out."""
    counts = {node.key: 0 for node in ordered}
    for node in reversed(ordered):
        if node.parent is not None and node.parent in by_key:
            counts[node.parent] += counts[node.key] if node.draft is None else 1
    return counts


def _joined(before: ImportedMessage, draft: Draft) -> ImportedMessage:
    return replace(
        before,
        text="\n\n".join(filter(None, (before.text, draft.text))),
        thinking="\n\n".join(filter(None, (before.thinking, draft.thinking))) or None,
        model=draft.model or before.model,
        files=before.files + draft.files,
    )


def _message(index: int, parent: int | None, draft: Draft) -> ImportedMessage:
    return ImportedMessage(
        index=index,
        parent=parent,
        is_shown=False,
        role=draft.role,
        text=draft.text,
        at=draft.at,
        thinking=draft.thinking,
        model=draft.model,
        files=draft.files,
    )
