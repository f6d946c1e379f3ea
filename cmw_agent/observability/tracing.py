"""A span of each turn, with one for each model call and tool, for an OpenTelemetry collector.

Spans hold times, counts and fixed words: `Principal.log_name` of who asked, ids of turns, the
names of models that the settings give. A turn's first model call has its span from when it is
asked. No event says when a further one is asked, or whether it is at all: its span is made when
something comes of it, and begins where the tool or call before it has ended.

They are sent by OTLP over HTTP (https://opentelemetry.io/docs/specs/otlp/#otlphttp). The libraries
are imported where an address is set alone: that takes a tenth of a second and 10 MB.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from cmw_agent.core.errors import frames
from cmw_agent.observability.labels import CHANNELS, CONNECTED, OTHER, OUTCOMES, TOOLS
from cmw_agent.observability.observers import Silent, Watch

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

log = logging.getLogger(__name__)

EXPORT_SECONDS = 5.0  # for one request to the collector
FLUSH_SECONDS = 5.0  # for what is left at the end
MAX_WAITING = 8_192  # spans; further ones are dropped while the collector is away
MAX_TOOLS = 64  # open spans of one turn


class Traces(Silent):
    """An observer that draws; silent outside of `running`.

    Args:
        endpoint: The collector's address, without ``/v1/traces``.
        flush_seconds: How long the end waits for what is left to be sent.
    """

    def __init__(self, endpoint: str, flush_seconds: float = FLUSH_SECONDS) -> None:
        self._endpoint = endpoint
        self._flush_seconds = flush_seconds
        self._tracer: Tracer | None = None

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Send spans for the block, and what is left at its end."""
        provider = _provider(self._endpoint)
        self._tracer = provider.get_tracer("cmw_agent")
        try:
            yield
        finally:
            self._tracer = None
            await _shut_down(provider, self._flush_seconds)

    def turn(self, channel: str, principal: str) -> Watch:
        """See `Observer`."""
        if self._tracer is None:
            return self
        return _Drawing(self._tracer, channel if channel in CHANNELS else OTHER, principal)


class _Drawing:
    """Draws one turn."""

    def __init__(self, tracer: "Tracer", channel: str, principal: str) -> None:
        from opentelemetry.context import Context  # noqa: PLC0415 (loaded by now)
        from opentelemetry.trace import set_span_in_context  # noqa: PLC0415

        self._tracer = tracer
        # Given explicitly: nothing is read from, or left in, a ContextVar.
        self._turn = tracer.start_span("turn", Context())
        self._within = set_span_in_context(self._turn, Context())
        self._turn.set_attributes({"cmw.channel": channel, "cmw.principal": principal})
        self._model = ""
        self._call: Span | None = None
        # when a model may have been asked again, in nanoseconds since 1970; None where it was not
        self._free_since: int | None = None
        self._has_spoken = False
        self._tools: dict[str, Span] = {}
        self._tokens = [0, 0]

    def begun(self, turn_id: str) -> None:
        """See `Watch`."""
        self._turn.set_attribute("cmw.turn", turn_id)

    def asked(self, model: str) -> None:
        """See `Watch`."""
        self._model = model
        self._begin_call()

    def spoke(self) -> None:
        """See `Watch`."""
        self._resume()
        if not self._has_spoken and self._call is not None:
            self._has_spoken = True
            self._call.add_event("first token")

    def tool_began(self, call_id: str, name: str) -> None:
        """See `Watch`."""
        self._end_call()
        self._free_since = None  # what lies between two tools of one answer is no call
        if call_id in self._tools or len(self._tools) >= MAX_TOOLS:
            return
        span = self._tools[call_id] = self._tracer.start_span("tool", self._within)
        span.set_attribute("cmw.tool", name if name in TOOLS else CONNECTED)

    def tool_ended(self, call_id: str, name: str, *, ok: bool, seconds: float) -> None:
        """See `Watch`."""
        span = self._tools.pop(call_id, None)
        if span is not None:
            span.set_attribute("cmw.outcome", "ok" if ok else "failed")
            span.end()
        if not self._tools:
            self._free_since = time.time_ns()

    def counted(self, input_tokens: int, output_tokens: int) -> None:
        """See `Watch`."""
        self._tokens[0] += input_tokens
        self._tokens[1] += output_tokens
        self._resume()
        if self._call is not None:
            _count(self._call, input_tokens, output_tokens)
            self._end_call()  # a model counts last
            self._free_since = time.time_ns()

    def ended(self, outcome: str) -> None:
        """See `Watch`."""
        self._end_call()
        for span in self._tools.values():
            span.set_attribute("cmw.outcome", OTHER)
            span.end()
        _count(self._turn, *self._tokens)
        self._turn.set_attribute("cmw.outcome", outcome if outcome in OUTCOMES else OTHER)
        self._turn.end()

    def _resume(self) -> None:
        """Begin the span of a further call, of which something has come."""
        if self._call is None and self._free_since is not None:
            self._begin_call(self._free_since)

    def _begin_call(self, since: int | None = None) -> None:
        self._call = self._tracer.start_span("model call", self._within, start_time=since)
        self._call.set_attribute("gen_ai.request.model", self._model)
        self._has_spoken = False
        self._free_since = None

    def _end_call(self) -> None:
        if self._call is not None:
            self._call.end()
            self._call = None


def _count(span: "Span", input_tokens: int, output_tokens: int) -> None:
    span.set_attribute("gen_ai.usage.input_tokens", input_tokens)
    span.set_attribute("gen_ai.usage.output_tokens", output_tokens)


def _provider(endpoint: str) -> "TracerProvider":
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
        OTLPSpanExporter,
    )
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_SECONDS)
    provider = TracerProvider(
        resource=Resource({"service.name": "cmw-agent"}), shutdown_on_exit=False
    )
    provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=MAX_WAITING))
    return provider


async def _shut_down(provider: "TracerProvider", seconds: float) -> None:
    """Send what is left, for so many seconds; the libraries wait for their thread, so in another one."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def work() -> None:
        try:
            provider.shutdown()
        except Exception as error:  # noqa: BLE001 (the end goes on)
            log.warning("traces were not sent cause=%s", frames(error))
        with contextlib.suppress(RuntimeError):  # the loop has not waited
            loop.call_soon_threadsafe(done.set)

    threading.Thread(target=work, name="traces-end", daemon=True).start()
    try:
        await asyncio.wait_for(done.wait(), seconds)
    except TimeoutError:
        log.warning("traces were not sent in time seconds=%g", seconds)
