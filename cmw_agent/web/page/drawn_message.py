"""One message of a Gradio Chatbot, in Gradio's own normal form."""

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
        options: Labels of the buttons below the message; Gradio shows them below the last one only.
    """
    return {
        "role": role,
        "metadata": dict(metadata) if metadata is not None else None,
        "content": [{"type": "text", "text": text}],
        "options": [{"value": label, "label": label} for label in options] or None,
    }


def label(name: str) -> str:
    """Return a name that somebody else has chosen as one line of Markdown that reads like it."""
    return MARKDOWN_SPECIAL.sub(r"\\\1", " ".join(name.split()))
