"""Draws the collapsible steps of an answer: tool calls, connections of accounts, thoughts."""

import json
import re
from collections.abc import Mapping
from typing import Any

from cmw_agent.core.connect_links import TICKET_LINK, unlink_composio
from cmw_agent.core.events import ToolProgressed
from cmw_agent.core.sanitize import fence_for
from cmw_agent.language import Language
from cmw_agent.web.page.drawn_message import DrawnMessage, message

NOT_IN_TOOL_NAME = re.compile(r"[^\w-]+")
MAX_TOOL_NAME_CHARS = 64
MAX_THOUGHTS_CHARS = 4_000  # of one step; the last ones are shown


def tool_step(
    name: str,
    arguments: Mapping[str, Any],
    language: Language,
    result: str | None = None,
    *,
    ok: bool = True,
    seconds: float | None = None,
    awaits_approval: bool = False,
    progress: str = "",
) -> DrawnMessage:
    """Return a collapsible step of one tool call.

    Args:
        name: The tool's name, as the model wrote it.
        arguments: As the model wrote them.
        language: The language of the labels.
        result: The tool's result, or its error where `ok` is false; None while it runs.
        ok: Whether the call succeeded.
        seconds: The duration of the call.
        awaits_approval: Whether the call waits for the user's decision.
        progress: How far a call has come that runs; empty where the tool does not say.
    """
    arguments_label = language.gettext("Arguments")
    text = f"**{arguments_label}**\n{_fenced(json.dumps(dict(arguments), indent=1, ensure_ascii=False))}"
    # The model writes the name, and the page reads it as Markdown.
    safe_name = NOT_IN_TOOL_NAME.sub("_", name)[:MAX_TOOL_NAME_CHARS]
    title = f"🛠️ {safe_name}"
    if awaits_approval:
        title = "✋ " + language.gettext("{name} needs your approval", name=safe_name)
    state = "approval" if awaits_approval else "running"
    metadata: dict[str, Any] = {"title": title, "status": "pending"}
    if result is not None:
        label = language.gettext("Result") if ok else language.gettext("Error")
        text += f"\n**{label}**\n{_fenced(result)}"
        metadata["status"] = "done"
        metadata["title"] = f"{'🛠️' if ok else '⚠️'} {safe_name}"
        state = "done" if ok else "failed"
    if seconds is not None:
        metadata["duration"] = max(round(seconds, 4), 0.0001)  # Gradio hides a zero
    metadata |= {"kind": "tool", "name": safe_name, "state": state}
    if progress:
        metadata["progress"] = progress
    return message("assistant", text, metadata)


def progress_line(event: ToolProgressed, language: Language) -> str:
    """Return how far a call has come, such as "3 of 10 – reading"."""
    done = language.number(event.done)
    if event.total is not None:
        total = language.number(event.total)
        done = language.gettext("{done} of {total}", done=done, total=total)
    return f"{done} – {event.message}" if event.message else done


def link_button(link: str, language: Language) -> DrawnMessage | None:
    """Return the panel with the button at which the user connects an account.

    Only the app makes panels of this title: no text of a model can. None where `link` is not a
    link of the app's own.
    """
    if not TICKET_LINK.fullmatch(link):
        return None
    title = "🔗 " + language.gettext("An account is needed")
    button = language.gettext("Connect your account")
    metadata = {"title": title, "kind": "connect", "link": link}
    return message("assistant", f"[{button}]({link})", metadata)


def thinking_step(thoughts: str, language: Language, seconds: float | None = None) -> DrawnMessage:
    """Return the collapsed step of what a model has thought.

    Args:
        thoughts: As `shortened` them where there are many.
        language: The language of the label.
        seconds: For how long the model thought; None while it thinks.
    """
    title = f"💭 {_thinking(language, seconds)}"
    state = "running" if seconds is None else "done"
    metadata = {"title": title, "status": "done", "kind": "thoughts", "state": state}
    return message("assistant", unlink_composio(thoughts), metadata)


def shortened(thoughts: str, language: Language, limit: int = MAX_THOUGHTS_CHARS) -> str:
    """Return the last part of thoughts that have more than `limit` characters, else all of them.

    The result has `MAX_THOUGHTS_CHARS` of them at most then, and says that the rest is left out.
    """
    if len(thoughts) <= limit:
        return thoughts
    left_out = language.gettext("The beginning of these thoughts is left out here.")
    return f"*{left_out}*\n\n{thoughts[-MAX_THOUGHTS_CHARS:]}"


def _thinking(language: Language, seconds: float | None) -> str:
    if seconds is None:
        return language.gettext("Thinking…")
    if seconds < 1:
        return language.gettext("Thought for a moment")
    minutes, rest = map(str, divmod(round(seconds), 60))
    if minutes == "0":
        return language.gettext("Thought for {seconds} s", seconds=rest)
    return language.gettext("Thought for {minutes} min {seconds} s", minutes=minutes, seconds=rest)


def _fenced(text: str) -> str:
    fence = fence_for(text)
    return f"{fence}\n{text}\n{fence}\n"
