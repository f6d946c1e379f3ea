"""One part of a message, in the normal form of Gradio's Chatbot.

The page's own pane (``frontend/src/pane``) draws the parts. What it needs beside a part's text
stands in the part's metadata, under keys of the app's own: the ``kind`` of the part where it is no
plain text, the ``seq`` of the stored message, and what belongs to the kind.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

DrawnMessage = dict[str, Any]

MARKDOWN_SPECIAL = re.compile(r"([\\\[\]()<>*_`!&#|~])")


def message(
    role: str,
    text: str,
    metadata: Mapping[str, Any] | None = None,
    *,
    options: Sequence[str] = (),
) -> DrawnMessage:
    """Return one Chatbot message with one text, in Gradio's normal form.

    Args:
        role: ``user`` or ``assistant``.
        text: Markdown.
        metadata: With a title, the message is a collapsible step.
        options: Labels of the buttons below the message.
    """
    return {
        "role": role,
        "metadata": dict(metadata) if metadata is not None else None,
        "content": [{"type": "text", "text": text}],
        "options": [{"value": label, "label": label} for label in options] or None,
    }


def marked(part: DrawnMessage, **marks: Any) -> DrawnMessage:
    """Return a part with further marks in its metadata."""
    return {**part, "metadata": {**(part["metadata"] or {}), **marks}}


def seq_of(part: DrawnMessage) -> int | None:
    """Return the seq of the stored message that a part is of; None without one."""
    return (part["metadata"] or {}).get("seq")


def label(name: str) -> str:
    """Return a name that somebody else has chosen as one line of Markdown that reads like it."""
    return MARKDOWN_SPECIAL.sub(r"\\\1", " ".join(name.split()))
