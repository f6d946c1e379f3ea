"""An OpenTelemetry collector for tests: a real HTTP server for OTLP with protobuf bodies.

See https://opentelemetry.io/docs/specs/otlp/#otlphttp. It records the parsed spans and the raw
bodies.
"""

from dataclasses import dataclass
from typing import Any, Self

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


@dataclass(frozen=True, slots=True)
class Span:
    """One span: its name, ids (a root's parent is empty), attributes and events' names."""

    name: str
    trace_id: bytes
    span_id: bytes
    parent_id: bytes
    attributes: dict[str, Any]
    events: tuple[str, ...]
    nanoseconds: int
    service: str


class OTLPCollector:
    """The collector: an async context manager that serves on 127.0.0.1 while it is open.

    `status` is the HTTP status that it answers with; with any but 200 it records no spans.
    """

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.bodies: list[bytes] = []
        self.status = 200
        self.url = ""
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/v1/traces", self._receive)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    def of(self, operation: str) -> list[Span]:
        """Return the spans of this operation, as OpenTelemetry's conventions name it."""
        return [
            span for span in self.spans if span.attributes.get("gen_ai.operation.name") == operation
        ]

    async def _receive(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.bodies.append(body)
        if self.status != 200:
            return web.Response(status=self.status)
        if request.content_type != "application/x-protobuf":
            return web.Response(status=415)
        self.spans += _spans(body)
        answer = ExportTraceServiceResponse().SerializeToString()
        return web.Response(body=answer, content_type="application/x-protobuf")


def _spans(body: bytes) -> list[Span]:
    sent = ExportTraceServiceRequest.FromString(body)
    return [
        Span(
            span.name,
            span.trace_id,
            span.span_id,
            span.parent_span_id,
            _attributes(span.attributes),
            tuple(event.name for event in span.events),
            span.end_time_unix_nano - span.start_time_unix_nano,
            _attributes(resource.resource.attributes).get("service.name", ""),
        )
        for resource in sent.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}
