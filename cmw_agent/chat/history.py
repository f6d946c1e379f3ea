"""Prepares the messages of a conversation for a model."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from cmw_agent.llm.chat_model import HistoryMessage


def merge_user_messages(history: Sequence[HistoryMessage]) -> Sequence[HistoryMessage]:
    """Return a conversation in which no user message follows another directly.

    Messages without an answer, as after a failed turn, become one with the next: the templates of
    many models refuse two in a row.
    """
    if not any(first.role == second.role == "user" for first, second in pairwise(history)):
        return history
    merged: list[HistoryMessage] = []
    for message in history:
        if merged and merged[-1].role == message.role == "user":
            merged[-1] = HistoryMessage("user", _joined(merged[-1].content, message.content))
        else:
            merged.append(message)
    return merged


def _joined(
    first: str | list[dict[str, Any]], second: str | list[dict[str, Any]]
) -> str | list[dict[str, Any]]:
    if isinstance(first, str) and isinstance(second, str):
        return f"{first}\n\n{second}"
    return [*_parts(first), *_parts(second)]


def _parts(content: str | list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content
