"""Folds a turn's events into the answer to store; rebuilds events for an idempotent replay."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cmw_agent.chat.turn import CommandReply
from cmw_agent.core.events import (
    AgentEvent,
    ApprovalRequested,
    ApprovalSettled,
    TextDelta,
    ToolFinished,
    ToolStarted,
    TurnEvent,
    TurnFinished,
    TurnOutcome,
    UsageReported,
)
from cmw_agent.core.sanitize import large_integers_as_text, sanitize_json
from cmw_agent.tools.composio.toolset import CONNECT
from memory.records import StoredMessage, ToolRecord


@dataclass(slots=True)
class AnswerAccumulator:
    """The part of an answer that has come so far.

    Args:
        texts: Pieces of its text.
        tools: Tool calls that have ended.
        input_tokens: Of all its model calls; None where nobody has counted.
        output_tokens: The same.
        has_estimates: Whether some of these tokens are estimated.
        running: Tool calls that run, by call id.
        approvals: Tool calls that wait for their owner's decision, by approval id.
    """

    texts: list[str] = field(default_factory=list)
    tools: list[ToolRecord] = field(default_factory=list)
    input_tokens: int | None = None
    output_tokens: int | None = None
    has_estimates: bool = False
    running: dict[str, ToolStarted] = field(default_factory=dict)
    approvals: dict[str, ApprovalRequested] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The answer's text so far."""
        if len(self.texts) > 1:
            self.texts = ["".join(self.texts)]
        return self.texts[0] if self.texts else ""

    @property
    def tokens(self) -> int | None:
        """All tokens that the answer took; None where nobody has counted."""
        if self.input_tokens is None or self.output_tokens is None:
            return None
        return self.input_tokens + self.output_tokens

    def events(self) -> list[TurnEvent]:
        """Return the events that a page needs which joins now."""
        events = _tool_events(self.tools)
        if self.text:
            events.append(TextDelta(self.text))
        return [*events, *self.running.values(), *self.approvals.values()]

    def add(self, event: AgentEvent) -> None:
        """Fold one event of the agent in."""
        match event:
            case TextDelta(text):
                self.texts.append(text)
            case ToolStarted(call_id):
                self.running[call_id] = event
            case ApprovalRequested(approval_id=approval_id):
                self.approvals[approval_id] = event
            case ApprovalSettled(call_id, _, arguments, approval_id):
                self.approvals.pop(approval_id, None)
                if (call := self.running.get(call_id)) is not None:
                    self.running[call_id] = ToolStarted(call_id, call.name, arguments)
            case ToolFinished(call_id, name, result, ok, seconds, link):
                begun = self.running.pop(call_id, None)
                arguments = dict(begun.arguments) if begun is not None else {}
                duration_ms = round(seconds * 1000)
                self.tools.append(
                    ToolRecord(call_id, name, arguments, result, ok, duration_ms, link)
                )
            case UsageReported(input_tokens, output_tokens, is_estimate):
                self.has_estimates = self.has_estimates or is_estimate
                self.input_tokens = (self.input_tokens or 0) + input_tokens
                self.output_tokens = (self.output_tokens or 0) + output_tokens


def storable(event: AgentEvent) -> AgentEvent:
    """Return `event` without the characters that no database stores.

    One such character would keep the whole answer from being stored, and the conversation
    from going on until the lease has run out.
    """
    match event:
        case TextDelta(text):
            return TextDelta(sanitize_json(text))
        case ToolStarted(call_id, name, arguments):
            return ToolStarted(sanitize_json(call_id), sanitize_json(name), _plain(arguments))
        case ToolFinished(call_id, name, result, ok, seconds, link):
            return ToolFinished(
                sanitize_json(call_id),
                sanitize_json(name),
                sanitize_json(result),
                ok,
                seconds,
                link,
            )
        case ApprovalSettled(call_id, answer, arguments, approval_id):
            return ApprovalSettled(sanitize_json(call_id), answer, _plain(arguments), approval_id)
        case ApprovalRequested(call_id, name, approval_id):
            return ApprovalRequested(sanitize_json(call_id), sanitize_json(name), approval_id)
    return event


def _plain(arguments: Mapping[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = large_integers_as_text(sanitize_json(dict(arguments)))
    return plain


def _tool_events(calls: Sequence[ToolRecord]) -> list[TurnEvent]:
    events: list[TurnEvent] = []
    for call in calls:
        events.append(ToolStarted(call.id, call.name, call.arguments))
        seconds = call.duration_ms / 1000
        events.append(ToolFinished(call.id, call.name, call.result, call.ok, seconds, call.link))
    return events


def replayed(stored: StoredMessage) -> list[TurnEvent]:
    """Return the events that give a stored answer once more."""
    events = _tool_events(stored.tool_calls)
    if stored.content:
        events.append(TextDelta(stored.content))
    outcome: TurnOutcome = stored.status
    events.append(TurnFinished(outcome, None, stored.error_id, stored.tokens_used))
    return events


def reply_events(reply: CommandReply) -> list[AgentEvent]:
    """Return the events of a command's answer; its link comes as a tool's, as channels expect it."""
    events: list[AgentEvent] = []
    if reply.link is not None:
        call_id = secrets.token_hex(8)
        events.append(ToolStarted(call_id, CONNECT, {"toolkit": reply.toolkit}))
        events.append(ToolFinished(call_id, CONNECT, reply.text, True, 0.0, reply.link))
    return [*events, TextDelta(reply.text)]
