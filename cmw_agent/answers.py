"""What has come of an answer: collected while it runs, told again when it is asked for again."""

from dataclasses import dataclass, field

from cmw_agent.events import (
    AgentEvent,
    Outcome,
    TextDelta,
    ToolFinished,
    ToolStarted,
    TurnEvent,
    TurnFinished,
    UsageReported,
)
from cmw_agent.text import mended
from memory.records import StoredMessage, ToolRecord


@dataclass(slots=True)
class Answer:
    """What has come of an answer so far."""

    texts: list[str] = field(default_factory=list)
    tools: list[ToolRecord] = field(default_factory=list)
    tokens: int | None = None
    running: dict[str, ToolStarted] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The answer's text so far."""
        if len(self.texts) > 1:
            self.texts = ["".join(self.texts)]
        return self.texts[0] if self.texts else ""

    def add(self, event: AgentEvent) -> None:
        """Take in one event of the agent."""
        match event:
            case TextDelta(text):
                self.texts.append(text)
            case ToolStarted(call_id):
                self.running[call_id] = event
            case ToolFinished(call_id, name, result, ok, seconds):
                call = self.running.pop(call_id, None)
                arguments = dict(call.arguments) if call is not None else {}
                self.tools.append(
                    ToolRecord(call_id, name, arguments, result, ok, round(seconds * 1000))
                )
            case UsageReported(input_tokens, output_tokens):
                self.tokens = (self.tokens or 0) + input_tokens + output_tokens


def storable(event: AgentEvent) -> AgentEvent:
    """Return `event` without what a model may say and no database stores.

    One such character would keep the whole answer from being stored, and the conversation
    from going on until the lease has run out.
    """
    match event:
        case TextDelta(text):
            return TextDelta(mended(text))
        case ToolStarted(call_id, name, arguments):
            return ToolStarted(mended(call_id), mended(name), mended(dict(arguments)))
        case ToolFinished(call_id, name, result, ok, seconds):
            return ToolFinished(mended(call_id), mended(name), mended(result), ok, seconds)
    return event


def replayed(stored: StoredMessage) -> list[TurnEvent]:
    """Return the events that a stored answer stands for."""
    events: list[TurnEvent] = []
    for call in stored.tool_calls:
        events.append(ToolStarted(call.id, call.name, call.arguments))
        events.append(
            ToolFinished(call.id, call.name, call.result, call.ok, call.duration_ms / 1000)
        )
    if stored.content:
        events.append(TextDelta(stored.content))
    outcome: Outcome = stored.status
    events.append(TurnFinished(outcome, None, stored.error_id, stored.tokens_used))
    return events
