"""Traces: a span of each turn, with one for each model call and tool call.

Names and attributes are those of OpenTelemetry's conventions for generative AI
(https://opentelemetry.io/docs/specs/semconv/gen-ai/), and `cmw.…` where these have none.

Spans hold times, counts and fixed words: `Principal.log_name`, turn ids, and names of models that
the settings give. What was said stands in a turn's span only where the operator has switched that on
and the turn's owner agrees to it. A turn's first model call has its span from its beginning. No event says when a
later call begins, or whether there is one: its span is made at the call's first event and begins
at the end of the tool or call before it.

Spans are sent by OTLP over HTTP (https://opentelemetry.io/docs/specs/otlp/#otlphttp). The SDK and
the exporter are imported only where an endpoint is set; until then, and after the end, spans are
those of OpenTelemetry's no-op tracer.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import orjson
from opentelemetry.context import Context
from opentelemetry.trace import NoOpTracer, Span, SpanKind, Tracer, set_span_in_context

from cmw_agent.core.errors import describe_exception
from cmw_agent.core.logs import get_logger
from cmw_agent.observability.labels import CHANNELS, CONNECTED, OTHER, OUTCOMES, TOOLS
from cmw_agent.observability.observers import Observer, TurnObserver

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

log = get_logger(__name__)

EXPORT_SECONDS = 5.0  # for one request to the collector
FLUSH_SECONDS = 5.0  # for what is left at the end
MAX_WAITING = 8_192  # spans; further ones are dropped while the collector is away
MAX_TOOLS = 64  # open spans of one turn
OPERATION: Final = "gen_ai.operation.name"
AGENT, CHAT, TOOL = "invoke_agent", "chat", "execute_tool"  # values of it
FORM: Final = "openai"  # the form in which models' servers are asked, whoever runs them
ERROR, UNKNOWN = "error.type", "_OTHER"


class Traces(Observer):
    """Observes turns by spans; the spans are no-ops outside of `running`.

    Args:
        endpoint: The collector's URL, without ``/v1/traces``.
        flush_seconds: Time-out for sending the remaining spans at the end.
    """

    def __init__(self, endpoint: str, flush_seconds: float = FLUSH_SECONDS) -> None:
        self._endpoint = endpoint
        self._flush_seconds = flush_seconds
        self._tracer: Tracer = NoOpTracer()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Export spans during the block, and the remaining ones at its end."""
        provider = _provider(self._endpoint)
        self._tracer = provider.get_tracer("cmw_agent")
        try:
            yield
        finally:
            self._tracer = NoOpTracer()
            await _shut_down(provider, self._flush_seconds)

    def turn(self, channel: str, principal: str) -> TurnObserver:
        """See `Observer`."""
        return TurnSpans(self._tracer, channel if channel in CHANNELS else OTHER, principal)


class TurnSpans(TurnObserver):
    """The spans of one turn."""

    def __init__(self, tracer: Tracer, channel: str, principal: str) -> None:
        super().__init__()
        self._tracer = tracer
        # Given explicitly: nothing is read from, or left in, a ContextVar.
        self._turn = tracer.start_span(AGENT, Context())
        self._within = set_span_in_context(self._turn, Context())
        self._turn.set_attributes(
            {OPERATION: AGENT, "cmw.channel": channel, "cmw.principal": principal}
        )
        self._model = ""
        self._call: Span | None = None
        # when a later call may have begun, in nanoseconds since 1970; None where none can have
        self._free_since: int | None = None
        self._has_spoken = False
        self._tools: dict[str, Span] = {}
        self._tokens = [0, 0]

    @property
    def is_recording(self) -> bool:
        """Whether the spans go to a collector."""
        return self._turn.is_recording()

    def turn_begun(self, turn_id: str) -> None:
        """See `TurnObserver`."""
        self._turn.set_attribute("cmw.turn", turn_id)

    def model_called(self, model: str) -> None:
        """See `TurnObserver`."""
        self._end_call()  # of a model that failed
        self._model = model
        self._begin_call()

    def text_arrived(self) -> None:
        """See `TurnObserver`."""
        self._resume()
        if not self._has_spoken and self._call is not None:
            self._has_spoken = True
            self._call.add_event("first token")

    def tool_called(self, call_id: str, name: str) -> None:
        """See `TurnObserver`."""
        self._end_call()
        self._free_since = None  # what lies between two tools of one answer is no call
        if call_id in self._tools or len(self._tools) >= MAX_TOOLS:
            return
        known = name if name in TOOLS else CONNECTED
        span = self._tools[call_id] = self._tracer.start_span(f"{TOOL} {known}", self._within)
        span.set_attributes(
            {OPERATION: TOOL, "gen_ai.tool.name": known, "gen_ai.tool.type": "function"}
        )

    def tool_ended(self, call_id: str, name: str, *, ok: bool, seconds: float) -> None:
        """See `TurnObserver`."""
        span = self._tools.pop(call_id, None)
        if span is not None:
            span.set_attribute("cmw.outcome", "ok" if ok else "failed")
            if not ok:
                span.set_attribute(ERROR, UNKNOWN)
            span.end()
        if not self._tools:
            self._free_since = time.time_ns()

    def tokens_counted(self, input_tokens: int, output_tokens: int) -> None:
        """See `TurnObserver`."""
        self._tokens[0] += input_tokens
        self._tokens[1] += output_tokens
        self._resume()
        if self._call is not None:
            _count(self._call, input_tokens, output_tokens)
            self._end_call()  # a model counts last
            self._free_since = time.time_ns()

    def content_reported(
        self, messages: Sequence[tuple[str, str]], answer: str, reason: str
    ) -> None:
        """See `TurnObserver`."""
        given = [_message(role, text) for role, text in messages]
        written = [_message("assistant", answer) | {"finish_reason": reason}]
        for name, value in (("input", given), ("output", written)):
            self._turn.set_attribute(f"gen_ai.{name}.messages", orjson.dumps(value).decode())

    def turn_ended(self, outcome: str) -> None:
        """See `TurnObserver`."""
        self._end_call()
        for span in self._tools.values():
            span.set_attribute("cmw.outcome", OTHER)
            span.end()
        _count(self._turn, *self._tokens)
        self._turn.set_attribute("cmw.outcome", outcome if outcome in OUTCOMES else OTHER)
        if outcome == "failed":
            self._turn.set_attribute(ERROR, UNKNOWN)
        self._turn.end()

    def _resume(self) -> None:
        """Begin the span of a later call, whose first event has arrived."""
        if self._call is None and self._free_since is not None:
            self._begin_call(self._free_since)

    def _begin_call(self, since: int | None = None) -> None:
        name = f"{CHAT} {self._model}"
        kind = SpanKind.CLIENT
        self._call = self._tracer.start_span(name, self._within, kind, start_time=since)
        self._call.set_attributes(
            {OPERATION: CHAT, "gen_ai.provider.name": FORM, "gen_ai.request.model": self._model}
        )
        self._has_spoken = False
        self._free_since = None

    def _end_call(self) -> None:
        if self._call is not None:
            self._call.end()
            self._call = None


def _message(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "content": text}]}


def _count(span: Span, input_tokens: int, output_tokens: int) -> None:
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
    """Send the remaining spans, for so many seconds at most.

    In another thread, since the SDK blocks while it waits for its own.
    """
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def shut_down() -> None:
        try:
            provider.shutdown()
        except Exception as error:  # noqa: BLE001 (the end goes on)
            log.warning("traces were not sent", cause=describe_exception(error))
        with contextlib.suppress(RuntimeError):  # the loop has not waited
            loop.call_soon_threadsafe(done.set)

    threading.Thread(target=shut_down, name="traces-end", daemon=True).start()
    try:
        await asyncio.wait_for(done.wait(), seconds)
    except TimeoutError:
        log.warning("traces were not sent in time", seconds=seconds)
