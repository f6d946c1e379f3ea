"""Metrics of a process for Prometheus.

Every series exists from the start, so that the first failure shows as an increase, and so that
the number of series is the same for one user and for five hundred. The format is Prometheus' text
exposition (https://prometheus.io/docs/instrumenting/exposition_formats/).
"""

import itertools
import time
from collections.abc import Callable, Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from cmw_agent.observability.labels import (
    ANSWERED,
    CHANNELS,
    CONNECTED,
    OTHER,
    OUTCOMES,
    REFUSALS,
    RUNS,
    SENDS,
    TOOLS,
)
from cmw_agent.observability.observers import Observer, TurnObserver

TURN_SECONDS = (0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 300, 600, 1200, 1800)
LAG_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
FIRST_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 60, 120, 300, 600)

SHARED = "of the whole database; take max, not sum"  # of a gauge that no process has for itself

Read = Callable[[], float]


class Metrics(Observer):
    """Counts what a process does; each instance has a registry of its own.

    Args:
        max_turns: Turns that the process may run at once.
    """

    def __init__(self, max_turns: int) -> None:
        super().__init__()
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        GCCollector(registry=self._registry)
        self._sessions = self._gauge("cmw_live_sessions", "Sessions in memory.")
        self._running = self._gauge("cmw_turns_running", "Turns that run now.")
        self._sends_waiting = self._gauge(
            "cmw_sends_waiting", f"Messages that wait to be handed on, {SHARED}."
        )
        self._messages_waiting = self._gauge(
            "cmw_messages_waiting", f"Messages that wait to be answered, {SHARED}."
        )
        self._gauge("cmw_turns_max", "Turns that may run at once.").set(max_turns)
        self._refusals = self._counters("cmw_refusals", "Messages not taken.", kind=REFUSALS)
        self._sends = self._counters(
            "cmw_sends", "Messages handed on.", channel=CHANNELS, outcome=SENDS
        )
        self._runs = self._counters("cmw_schedule_runs", "Recurring tasks run.", outcome=RUNS)
        self.turns = self._counters("cmw_turns", "Turns.", channel=CHANNELS, outcome=OUTCOMES)
        self.turn_seconds = self._histograms("cmw_turn_seconds", "Whole turns.", TURN_SECONDS)
        self.first_seconds = self._histograms(
            "cmw_first_token_seconds", "From the message to the first text.", FIRST_SECONDS
        )
        self.tokens = self._counters(
            "cmw_tokens", "Tokens that models have counted.", direction=("input", "output")
        )
        self.tools = self._counters(
            "cmw_tool_calls", "Calls of tools.", tool=TOOLS, outcome=("ok", "failed")
        )

        self._lag = Histogram(
            "cmw_loop_lag_seconds",
            "How late the event loop ran what was due, looked at twenty times a second.",
            registry=self._registry,
            buckets=LAG_SECONDS,
        )
        self._breaches = Counter(
            "cmw_isolation_breaches",
            "Texts of one user that were stopped on their way to another, or to the log.",
            registry=self._registry,
        )
        self._holds = Counter(
            "cmw_loop_holds", "Times that the event loop was held.", registry=self._registry
        )

    def read_from(self, sessions: Read, running: Read) -> None:
        """Read the live sessions and running turns from these functions at each exposition."""
        self._sessions.set_function(sessions)
        self._running.set_function(running)

    def exposition(self) -> bytes:
        """Return all series, in a few milliseconds."""
        return generate_latest(self._registry)

    def turn(self, channel: str, principal: str) -> TurnObserver:
        """See `Observer`; the principal is not counted."""
        return _TurnMetrics(self, channel if channel in CHANNELS else OTHER)

    def refused(self, kind: str) -> None:
        """See `Observer`."""
        self._refusals[kind if kind in REFUSALS else OTHER,].inc()

    def sent(self, channel: str, outcome: str) -> None:
        """See `Observer`."""
        label = channel if channel in CHANNELS else OTHER
        self._sends[label, outcome if outcome in SENDS else OTHER].inc()

    def sends_waiting(self, count: int) -> None:
        """See `Observer`."""
        self._sends_waiting.set(count)

    def messages_waiting(self, count: int) -> None:
        """See `Observer`."""
        self._messages_waiting.set(count)

    def schedule_ran(self, outcome: str) -> None:
        """See `Observer`."""
        self._runs[outcome if outcome in RUNS else OTHER,].inc()

    def breached(self) -> None:
        """See `Observer`."""
        self._breaches.inc()

    def loop_lagged(self, seconds: float) -> None:
        """The event loop ran what was due so many seconds late."""
        self._lag.observe(seconds)

    def loop_held(self) -> None:
        """Something held the event loop for long; see `cmw_agent.observability.loop_watchdog`."""
        self._holds.inc()

    def _gauge(self, name: str, about: str) -> Gauge:
        return Gauge(name, about, registry=self._registry)

    def _counters(
        self, name: str, about: str, **labels: tuple[str, ...]
    ) -> Mapping[tuple[str, ...], Counter]:
        counter = Counter(name, about, list(labels), registry=self._registry)
        return {words: counter.labels(*words) for words in itertools.product(*labels.values())}

    def _histograms(
        self, name: str, about: str, buckets: tuple[float, ...]
    ) -> Mapping[str, Histogram]:
        histogram = Histogram(name, about, ["channel"], registry=self._registry, buckets=buckets)
        return {channel: histogram.labels(channel) for channel in CHANNELS}


class _TurnMetrics(TurnObserver):
    """Counts one turn."""

    def __init__(self, metrics: Metrics, channel: str) -> None:
        super().__init__()
        self._metrics = metrics
        self._channel = channel
        self._began = time.monotonic()
        self._has_spoken = False

    def text_arrived(self) -> None:
        """See `TurnObserver`."""
        if not self._has_spoken:
            self._has_spoken = True
            seconds = time.monotonic() - self._began
            self._metrics.first_seconds[self._channel].observe(seconds)

    def tool_ended(self, call_id: str, name: str, *, ok: bool, seconds: float) -> None:
        """See `TurnObserver`."""
        tool = name if name in TOOLS else CONNECTED
        self._metrics.tools[tool, "ok" if ok else "failed"].inc()

    def tokens_counted(self, input_tokens: int, output_tokens: int) -> None:
        """See `TurnObserver`."""
        self._metrics.tokens["input",].inc(input_tokens)
        self._metrics.tokens["output",].inc(output_tokens)

    def turn_ended(self, outcome: str) -> None:
        """See `TurnObserver`."""
        label = outcome if outcome in OUTCOMES else OTHER
        self._metrics.turns[self._channel, label].inc()
        if label in ANSWERED:
            seconds = time.monotonic() - self._began
            self._metrics.turn_seconds[self._channel].observe(seconds)
