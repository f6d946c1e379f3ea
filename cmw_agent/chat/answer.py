"""What has come of an answer: collected while it runs, told again when it is asked for again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

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
from cmw_agent.core.sanitize import mended, written_out
from memory.records import StoredMessage, ToolRecord


@dataclass(slots=True)
class AnswerAccumulator:
    """What has come of an answer so far."""

    texts: list[str] = field(default_factory=list)
    tools: list[ToolRecord] = field(default_factory=list)
    input_tokens: int | None = None
    output_tokens: int | None = None
    has_estimates: bool = False  # whether some of these tokens are estimated
    running: dict[str, ToolStarted] = field(default_factory=dict)

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

    def told(self) -> list[TurnEvent]:
        """Return the events that stand for what has come so far."""
        events = _tool_events(self.tools)
        if self.text:
            events.append(TextDelta(self.text))
        return [*events, *self.running.values()]

    def add(self, event: AgentEvent) -> None:
        """Take in one event of the agent."""
        match event:
            case TextDelta(text):
                self.texts.append(text)
            case ToolStarted(call_id):
                self.running[call_id] = event
            case ApprovalSettled(call_id, _, arguments):
                if (asked := self.running.get(call_id)) is not None:
                    self.running[call_id] = ToolStarted(call_id, asked.name, arguments)
            case ToolFinished(call_id, name, result, ok, seconds, link):
                call = self.running.pop(call_id, None)
                sent = dict(call.arguments) if call is not None else {}
                milliseconds = round(seconds * 1000)
                self.tools.append(ToolRecord(call_id, name, sent, result, ok, milliseconds, link))
            case UsageReported(input_tokens, output_tokens, is_estimate):
                self.has_estimates = self.has_estimates or is_estimate
                self.input_tokens = (self.input_tokens or 0) + input_tokens
                self.output_tokens = (self.output_tokens or 0) + output_tokens


def storable(event: AgentEvent) -> AgentEvent:
    """Return `event` without what a model may say and no database stores.

    One such character would keep the whole answer from being stored, and the conversation
    from going on until the lease has run out.
    """
    match event:
        case TextDelta(text):
            return TextDelta(mended(text))
        case ToolStarted(call_id, name, arguments):
            return ToolStarted(mended(call_id), mended(name), _plain(arguments))
        case ToolFinished(call_id, name, result, ok, seconds, link):
            return ToolFinished(mended(call_id), mended(name), mended(result), ok, seconds, link)
        case ApprovalSettled(call_id, answer, arguments, approval_id):
            return ApprovalSettled(mended(call_id), answer, _plain(arguments), approval_id)
        case ApprovalRequested(call_id, name, approval_id):
            return ApprovalRequested(mended(call_id), mended(name), approval_id)
    return event


def _plain(arguments: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = written_out(mended(dict(arguments)))
    return found


def _tool_events(calls: Sequence[ToolRecord]) -> list[TurnEvent]:
    events: list[TurnEvent] = []
    for call in calls:
        events.append(ToolStarted(call.id, call.name, call.arguments))
        seconds = call.duration_ms / 1000
        events.append(ToolFinished(call.id, call.name, call.result, call.ok, seconds, call.link))
    return events


def replayed(stored: StoredMessage) -> list[TurnEvent]:
    """Return the events that a stored answer stands for."""
    events = _tool_events(stored.tool_calls)
    if stored.content:
        events.append(TextDelta(stored.content))
    outcome: TurnOutcome = stored.status
    events.append(TurnFinished(outcome, None, stored.error_id, stored.tokens_used))
    return events
