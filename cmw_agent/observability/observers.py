"""Observers: receive what a process does, as numbers, times and fixed words.

An observer receives no argument and no result of a tool, and no message text but by
`TurnObserver.said`, so it cannot disclose one. It is called from the event loop, must not block and must not raise.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from cmw_agent.core.errors import OverloadedError, UserError
from cmw_agent.core.events import (
    AgentEvent,
    ModelSwitched,
    TextDelta,
    ToolFinished,
    ToolStarted,
    UsageReported,
)
from cmw_agent.core.logs import get_logger

log = get_logger(__name__)

REFUSED = "refused"  # the turn could not begin
REPEATED = "repeated"  # the request was a repetition: no model was called
REQUEST = "cmw.request"  # key of the ASGI scope under which the guard stores the request's id


class TurnObserver:
    """Observes one turn. `ended` is called once, and last.

    Without observers this class observes nothing. A subclass overrides what it needs.

    Args:
        observers: Receive all calls, in this order.
    """

    _observers: "tuple[TurnObserver, ...]" = ()

    def __init__(self, *observers: "TurnObserver") -> None:
        self._observers = observers

    def turn_begun(self, turn_id: str) -> None:
        """The user's message is stored."""
        for observer in self._observers:
            observer.turn_begun(turn_id)

    def model_called(self, model: str) -> None:
        """The turn's first call of a model begins; later calls show by their events alone.

        It is called again where another model answers in place of one that failed.

        Args:
            model: A model's id, from the settings or the file of models.
        """
        for observer in self._observers:
            observer.model_called(model)

    def text_arrived(self) -> None:
        """More of the answer's text has arrived."""
        for observer in self._observers:
            observer.text_arrived()

    def tool_called(self, call_id: str, name: str) -> None:
        """A tool is called; both arguments come from the model."""
        for observer in self._observers:
            observer.tool_called(call_id, name)

    def tool_ended(self, call_id: str, name: str, *, ok: bool, seconds: float) -> None:
        """A tool has returned or failed, after so many seconds."""
        for observer in self._observers:
            observer.tool_ended(call_id, name, ok=ok, seconds=seconds)

    def tokens_counted(self, input_tokens: int, output_tokens: int) -> None:
        """A model call has ended and taken so many tokens."""
        for observer in self._observers:
            observer.tokens_counted(input_tokens, output_tokens)

    def content_reported(
        self, messages: Sequence[tuple[str, str]], answer: str, reason: str
    ) -> None:
        """What was said in the turn, where its owner lets the operator record that.

        Args:
            messages: Role and text of each message that the model was given, oldest first.
            answer: The text of the answer.
            reason: How the answer ended.
        """
        for observer in self._observers:
            observer.content_reported(messages, answer, reason)

    def turn_ended(self, outcome: str) -> None:
        """The turn has ended.

        Args:
            outcome: A `core.events.TurnOutcome`, `REFUSED` or `REPEATED`.
        """
        for observer in self._observers:
            observer.turn_ended(outcome)


class Observer:
    """Observes one process.

    Without observers this class observes nothing. A subclass overrides what it needs.

    Args:
        observers: Receive all calls, in this order.
    """

    _observers: "tuple[Observer, ...]" = ()

    def __init__(self, *observers: "Observer") -> None:
        self._observers = observers

    def turn(self, channel: str, principal: str) -> TurnObserver:
        """A turn is requested; return its observer.

        Args:
            channel: The session's channel.
            principal: `Principal.log_name` of the principal.
        """
        return TurnObserver(*(observer.turn(channel, principal) for observer in self._observers))

    def refused(self, kind: str) -> None:
        """A message was refused; `kind` is one of `refusal_kind`."""
        for observer in self._observers:
            observer.refused(kind)

    def sent(self, channel: str, outcome: str) -> None:
        """A message was handed to a messenger; `outcome` is a fixed word."""
        for observer in self._observers:
            observer.sent(channel, outcome)

    def sends_waiting(self, count: int) -> None:
        """So many messages wait to be handed to messengers, in all processes."""
        for observer in self._observers:
            observer.sends_waiting(count)

    def messages_waiting(self, count: int) -> None:
        """So many messages of messengers wait to be answered, in all processes."""
        for observer in self._observers:
            observer.messages_waiting(count)

    def schedule_ran(self, outcome: str) -> None:
        """A recurring task has run; `outcome` is a fixed word."""
        for observer in self._observers:
            observer.schedule_ran(outcome)

    def breached(self) -> None:
        """What was to reach one user, or the log, held the canary of another."""
        for observer in self._observers:
            observer.breached()


def notify(watch: TurnObserver, event: AgentEvent) -> None:
    """Report to `watch` that `event` has arrived, without its content."""
    match event:
        case TextDelta():
            watch.text_arrived()
        case ToolStarted(call_id, name):
            watch.tool_called(call_id, name)
        case ToolFinished(call_id, name, _, ok, seconds):
            watch.tool_ended(call_id, name, ok=ok, seconds=seconds)
        case ModelSwitched(_, model):
            watch.model_called(model)
        case UsageReported(input_tokens, output_tokens, is_estimate=False):
            watch.tokens_counted(input_tokens, output_tokens)
        case _:
            pass


def log_end(
    outcome: str,
    channel: str,
    principal: str,
    *,
    seconds: float,
    tokens: int,
    request: str,
    turn: str = "-",
) -> None:
    """Log the end of a turn; `principal` is `Principal.log_name` of its owner."""
    log.info(
        "turn ended",
        outcome=outcome,
        channel=channel,
        seconds=seconds,
        tokens=tokens,
        request=request,
        principal=principal,
        turn=turn,
    )


def request_id_of(scope: Mapping[str, Any]) -> str:
    """Return the id of the request with this ASGI scope, for the log lines of its turn."""
    return str(scope.get(REQUEST, "-"))


def refusal_kind(error: UserError) -> str:
    """Return the fixed word for the reason why a message was refused."""
    if isinstance(error, OverloadedError):
        return "overloaded"
    match error.status:
        case 404 | 410:
            return "not_found"
        case 409:
            return "in_use"
        case 422:
            return "invalid"
        case 429:
            return "limited"
        case 503:
            return "unavailable"
    return "failed"
