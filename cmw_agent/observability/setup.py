"""Sets up what observes a process: metrics always, and traces where an OTLP endpoint is set."""

import contextlib
from collections.abc import AsyncIterator

from cmw_agent.config.settings import Settings
from cmw_agent.observability.loop_watchdog import Watchdog
from cmw_agent.observability.metrics import Metrics
from cmw_agent.observability.observers import Observer
from cmw_agent.observability.tracing import Traces


class ProcessObservers:
    """The observers of one process.

    Args:
        settings: As loaded at start.

    Attributes:
        metrics: The process's metrics.
        observer: Receives what the process does, for metrics and traces.
    """

    def __init__(self, settings: Settings) -> None:
        self.metrics = Metrics(settings.max_turns)
        self._traces = Traces(settings.otlp_endpoint) if settings.otlp_endpoint else None
        self.observer: Observer = (
            Observer(self.metrics, self._traces) if self._traces is not None else self.metrics
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Watch the event loop and export traces for the block."""
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(Watchdog(self.metrics).running())
            if self._traces is not None:
                await stack.enter_async_context(self._traces.running())
            yield
