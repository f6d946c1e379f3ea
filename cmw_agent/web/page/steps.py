"""Draws the collapsible steps of an answer: tool calls, connections of accounts, thoughts."""

import json
import re
from collections.abc import Mapping
from typing import Any

from cmw_agent.core.connect_links import TICKET_LINK, unlink_composio
from cmw_agent.core.sanitize import fence_for
from cmw_agent.web.page.drawn_message import DrawnMessage, message

NOT_IN_TOOL_NAME = re.compile(r"[^\w-]+")
MAX_TOOL_NAME_CHARS = 64
MAX_THOUGHTS_CHARS = 4_000  # of one step; the last ones are shown
NEEDS_APPROVAL = "needs your approval"
ACCOUNT_NEEDED = "🔗 An account is needed"
THINKING = "💭 Thinking…"
LEFT_OUT = "*The beginning of these thoughts is left out here.*\n\n"


def tool_step(
    name: str,
    arguments: Mapping[str, Any],
    result: str | None = None,
    *,
    ok: bool = True,
    seconds: float | None = None,
    awaits_approval: bool = False,
) -> DrawnMessage:
    """Return a collapsible step of one tool call.

    Args:
        name: The tool's name, as the model wrote it.
        arguments: As the model wrote them.
        result: The tool's result, or its error where `ok` is false; None while it runs.
        ok: Whether the call succeeded.
        seconds: The duration of the call.
        awaits_approval: Whether the call waits for the user's decision.
    """
    text = f"**Arguments**\n{_fenced(json.dumps(dict(arguments), indent=1, ensure_ascii=False))}"
    # The model writes the name, and the page reads it as Markdown.
    safe_name = NOT_IN_TOOL_NAME.sub("_", name)[:MAX_TOOL_NAME_CHARS]
    title = f"✋ {safe_name} {NEEDS_APPROVAL}" if awaits_approval else f"🛠️ {safe_name}"
    state = "approval" if awaits_approval else "running"
    metadata: dict[str, Any] = {"title": title, "status": "pending"}
    if result is not None:
        text += f"\n**{'Result' if ok else 'Error'}**\n{_fenced(result)}"
        metadata["status"] = "done"
        metadata["title"] = f"{'🛠️' if ok else '⚠️'} {safe_name}"
        state = "done" if ok else "failed"
    if seconds is not None:
        metadata["duration"] = max(round(seconds, 4), 0.0001)  # Gradio hides a zero
    metadata |= {"kind": "tool", "name": safe_name, "state": state}
    return message("assistant", text, metadata)


def link_button(link: str) -> DrawnMessage | None:
    """Return the panel with the button at which the user connects an account.

    Only the app makes panels of this title: no text of a model can. None where `link` is not a
    link of the app's own.
    """
    if not TICKET_LINK.fullmatch(link):
        return None
    metadata = {"title": ACCOUNT_NEEDED, "kind": "connect", "link": link}
    return message("assistant", f"[Connect your account]({link})", metadata)


def thinking_step(thoughts: str, seconds: float | None = None) -> DrawnMessage:
    """Return the collapsed step of what a model has thought.

    Args:
        thoughts: As `shortened` them where there are many.
        seconds: For how long the model thought; None while it thinks.
    """
    title = THINKING if seconds is None else f"💭 Thought for {_duration(seconds)}"
    state = "running" if seconds is None else "done"
    metadata = {"title": title, "status": "done", "kind": "thoughts", "state": state}
    return message("assistant", unlink_composio(thoughts), metadata)


def shortened(thoughts: str, limit: int = MAX_THOUGHTS_CHARS) -> str:
    """Return the last part of thoughts that have more than `limit` characters, else all of them.

    The result has `MAX_THOUGHTS_CHARS` of them at most then, and says that the rest is left out.
    """
    if len(thoughts) <= limit:
        return thoughts
    return LEFT_OUT + thoughts[-MAX_THOUGHTS_CHARS:]


def _duration(seconds: float) -> str:
    if seconds < 1:
        return "a moment"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _fenced(text: str) -> str:
    fence = fence_for(text)
    return f"{fence}\n{text}\n{fence}\n"
