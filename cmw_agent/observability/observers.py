"""What a process tells of its work to whoever counts it or draws it: numbers, times and fixed words.

An observer is told neither a text nor an argument nor a result, so it cannot pass one on. It is
called from the event loop, must not block and must not raise.
"""

import logging
from collections.abc import Mapping
from typing import Any, Protocol

from cmw_agent.core.errors import OverloadedError, UserError
from cmw_agent.core.events import AgentEvent, TextDelta, ToolFinished, ToolStarted, UsageReported

log = logging.getLogger(__name__)

REFUSED = "refused"  # the turn could not begin
REPEATED = "repeated"  # the request came again: no model was asked
REQUEST = "cmw.request"  # where the guard leaves a request's id, which its answer carries too


class Watch(Protocol):
    """Is told of one turn, in order; `ended` comes once, and last."""

    def begun(self, turn_id: str) -> None:
        """The user's message is stored."""

    def asked(self, model: str) -> None:
        """A model that the settings name is about to be asked.

        Told before a turn's first call alone; further ones show by what comes of them.
        """

    def spoke(self) -> None:
        """More of the answer's text has come."""

    def tool_began(self, call_id: str, name: str) -> None:
        """A tool is called; both words are the model's."""

    def tool_ended(self, call_id: str, name: str, *, ok: bool, seconds: float) -> None:
        """A tool has returned, or refused, after so many seconds."""

    def counted(self, input_tokens: int, output_tokens: int) -> None:
        """One model call, which ends so, took so many tokens."""

    def ended(self, outcome: str) -> None:
        """The turn is over: an `events.Outcome`, `REFUSED` or `REPEATED`."""


class Observer(Protocol):
    """Is told what a process does."""

    def turn(self, channel: str, principal: str) -> Watch:
        """A turn is asked for; return who is told of it.

        Args:
            channel: The session's.
            principal: `Principal.log_name` of who asks.
        """

    def refused(self, kind: str) -> None:
        """A message was not taken; `kind` is one of `kind_of`."""

    def sent(self, channel: str, outcome: str) -> None:
        """A message was handed to a messenger; `outcome` is a fixed word."""

    def sends_waiting(self, count: int) -> None:
        """So many messages wait to be handed to messengers, by whichever process."""

    def messages_waiting(self, count: int) -> None:
        """So many messages of messengers wait to be answered, by whichever process."""

    def schedule_ran(self, outcome: str) -> None:
        """A recurring task was run; `outcome` is a fixed word."""


class Silent:
    """An observer, and the watch of a turn, that keeps nothing."""

    def turn(self, channel: str, principal: str) -> Watch:
        """See `Observer`."""
        return self

    def refused(self, kind: str) -> None:
        """See `Observer`."""

    def sent(self, channel: str, outcome: str) -> None:
        """See `Observer`."""

    def sends_waiting(self, count: int) -> None:
        """See `Observer`."""

    def messages_waiting(self, count: int) -> None:
        """See `Observer`."""

    def schedule_ran(self, outcome: str) -> None:
        """See `Observer`."""

    def begun(self, turn_id: str) -> None:
        """See `Watch`."""

    def asked(self, model: str) -> None:
        """See `Watch`."""

    def spoke(self) -> None:
        """See `Watch`."""

    def tool_began(self, call_id: str, name: str) -> None:
        """See `Watch`."""

    def tool_ended(self, call_id: str, name: str, *, ok: bool, seconds: float) -> None:
        """See `Watch`."""

    def counted(self, input_tokens: int, output_tokens: int) -> None:
        """See `Watch`."""

    def ended(self, outcome: str) -> None:
        """See `Watch`."""


def tell(watch: Watch, event: AgentEvent) -> None:
    """Tell `watch` that `event` has come, and nothing of what it says."""
    match event:
        case TextDelta():
            watch.spoke()
        case ToolStarted(call_id, name):
            watch.tool_began(call_id, name)
        case ToolFinished(call_id, name, _, ok, seconds):
            watch.tool_ended(call_id, name, ok=ok, seconds=seconds)
        case UsageReported(input_tokens, output_tokens, is_estimate=False):
            watch.counted(input_tokens, output_tokens)
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
    """Write the line of a turn's end; `principal` is `Principal.log_name` of whose it was."""
    log.info(
        "turn ended outcome=%s channel=%s seconds=%.3f tokens=%d request=%s principal=%s turn=%s",
        outcome,
        channel,
        seconds,
        tokens,
        request,
        principal,
        turn,
    )


def request_of(scope: Mapping[str, Any]) -> str:
    """Return the id of the request with this ASGI scope, for the log lines of its turn."""
    return str(scope.get(REQUEST, "-"))


def kind_of(error: UserError) -> str:
    """Return a fixed word for why a message was not taken."""
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
