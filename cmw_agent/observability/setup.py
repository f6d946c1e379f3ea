"""Whoever watches a process: always what counts, and where an address is set what draws."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from cmw_agent.config.settings import Settings
from cmw_agent.observability.loop_watchdog import Watchdog
from cmw_agent.observability.metrics import Metrics
from cmw_agent.observability.observers import Observer, Watch
from cmw_agent.observability.tracing import Traces


class Watching:
    """The observers of one process.

    Args:
        settings: As loaded at start.
    """

    def __init__(self, settings: Settings) -> None:
        self.metrics = Metrics(settings.max_turns)
        self._traces = Traces(settings.otlp_endpoint) if settings.otlp_endpoint else None

    @property
    def observer(self) -> Observer:
        """Who is to be told."""
        return self.metrics if self._traces is None else _Both(self.metrics, self._traces)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Watch the event loop, and send traces where they are wanted, for the block."""
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(Watchdog(self.metrics).running())
            if self._traces is not None:
                await stack.enter_async_context(self._traces.running())
            yield


@dataclass(frozen=True, slots=True)
class _Both:
    """Tells two observers; the second one is told of turns alone."""

    first: Observer
    second: Observer

    def turn(self, channel: str, principal: str) -> Watch:
        first = self.first.turn(channel, principal)
        return _BothWatches(first, self.second.turn(channel, principal))

    def refused(self, kind: str) -> None:
        self.first.refused(kind)

    def sent(self, channel: str, outcome: str) -> None:
        self.first.sent(channel, outcome)

    def sends_waiting(self, count: int) -> None:
        self.first.sends_waiting(count)

    def messages_waiting(self, count: int) -> None:
        self.first.messages_waiting(count)

    def schedule_ran(self, outcome: str) -> None:
        self.first.schedule_ran(outcome)


@dataclass(frozen=True, slots=True)
class _BothWatches:
    first: Watch
    second: Watch

    def begun(self, turn_id: str) -> None:
        self.first.begun(turn_id)
        self.second.begun(turn_id)

    def asked(self, model: str) -> None:
        self.first.asked(model)
        self.second.asked(model)

    def spoke(self) -> None:
        self.first.spoke()
        self.second.spoke()

    def tool_began(self, call_id: str, name: str) -> None:
        self.first.tool_began(call_id, name)
        self.second.tool_began(call_id, name)

    def tool_ended(self, call_id: str, name: str, *, ok: bool, seconds: float) -> None:
        self.first.tool_ended(call_id, name, ok=ok, seconds=seconds)
        self.second.tool_ended(call_id, name, ok=ok, seconds=seconds)

    def counted(self, input_tokens: int, output_tokens: int) -> None:
        self.first.counted(input_tokens, output_tokens)
        self.second.counted(input_tokens, output_tokens)

    def ended(self, outcome: str) -> None:
        self.first.ended(outcome)
        self.second.ended(outcome)
