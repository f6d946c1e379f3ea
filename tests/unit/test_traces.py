"""Tracing: spans reach a collector without users' texts, and nothing waits for a collector."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from cmw_agent.observability.tracing import Traces, TurnSpans
from cmw_agent.runtime.runtime import Runtime
from tests.doubles.openai_server import OpenAIDouble, refused_url
from tests.doubles.openai_steps import Request, Step, ToolCalls
from tests.doubles.otlp_collector import OTLPCollector
from tests.harness import WAIT, Browser, canary, served, settings_for
from tests.metrics import series, value
from tests.service import all_events, session_of


@dataclass(frozen=True, slots=True)
class Drawn:
    """Who asked, by its name for logs, and how often a model was asked."""

    name: str
    asked: int


def insistent(_request: Request) -> Sequence[Step]:
    """A model that calls a tool, whatever came of the one before."""
    return [ToolCalls([("calculate", '{"expression": "6*7"}')])]


async def drawn(folder: Path, traces: Traces, model: str, said: str, **more: Any) -> Drawn:
    """Do one turn and draw it."""
    async with OpenAIDouble(scripts={"insistent": insistent}) as endpoint:
        values = {"openai_base_url": endpoint.base_url, "model": model, **more}
        runtime = Runtime(settings_for(folder, **values), traces)
        async with traces.running(), runtime.running():
            session = await session_of(runtime)
            await all_events(runtime.chat.turn(session, said, key="1"))
            return Drawn(session.principal.log_name, endpoint.request_count)


@pytest.fixture(autouse=True)
def _ended() -> Iterator[None]:
    """Let no exporter of this test try again, with jitter from `random`, while others run."""
    yield
    join_exporters()


def join_exporters() -> None:
    """Wait for the end of what still tries to send."""
    for thread in threading.enumerate():
        if thread.name == "traces-end":
            thread.join(WAIT)
            assert not thread.is_alive()


def of_tool(name: str) -> dict[str, str]:
    """Return what the span of a tool says of it."""
    return {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": name,
        "gen_ai.tool.type": "function",
    }


async def test_a_turn_is_a_span_with_its_model_calls_and_tools(tmp_path: Path) -> None:
    secret = canary()
    model = 'tool:calculate:{"expression": "6*7"}'
    async with OTLPCollector() as collector:
        name = (await drawn(tmp_path, Traces(collector.url, WAIT), model, secret)).name
    (root,) = collector.of("invoke_agent")
    first, second = collector.of("chat")
    (tool,) = collector.of("execute_tool")
    assert not root.parent_id
    assert root.service == "cmw-agent"
    assert {span.parent_id for span in (first, second, tool)} == {root.span_id}
    assert {span.trace_id for span in collector.spans} == {root.trace_id}
    counts = {
        key: first.attributes[key] + second.attributes[key]
        for key in ("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens")
    }
    assert root.attributes.pop("cmw.turn")
    assert root.attributes == {
        "gen_ai.operation.name": "invoke_agent",
        "cmw.channel": "web",
        "cmw.principal": name,
        "cmw.outcome": "complete",
        **counts,
    }
    assert first.attributes["gen_ai.request.model"] == model
    assert first.attributes["gen_ai.provider.name"] == "openai"
    assert [span.name for span in (root, first, tool)] == [
        "invoke_agent",
        f"chat {model}",
        "execute_tool calculate",
    ]
    assert second.events == ("first token",)
    assert tool.attributes == {**of_tool("calculate"), "cmw.outcome": "ok"}
    assert all(0 < span.nanoseconds <= root.nanoseconds for span in collector.spans)
    assert not any(secret.encode() in body for body in collector.bodies)


TWICE = 'tools:[{"name": "calculate"}, {"name": "calculate"}]'


@pytest.mark.parametrize(
    ("model", "asked", "changes"),
    [
        (TWICE, 2, {}),
        ("insistent", 1, {"max_model_calls": 1}),  # its turn ends after a tool
        ("insistent", 3, {"max_model_calls": 3}),
        ("insistent", 4, {"max_model_calls": 4, "max_tool_calls": 1}),  # calls, and no tool runs
        ("fail-500", 1, {}),
    ],
)
async def test_a_model_call_is_drawn_for_each_request_to_the_model(
    model: str, asked: int, changes: dict[str, Any], tmp_path: Path
) -> None:
    async with OTLPCollector() as collector:
        done = await drawn(tmp_path, Traces(collector.url, WAIT), model, "go", **changes)
    assert done.asked >= asked  # an error may be asked about again within one call
    calls = collector.of("chat")
    assert len(calls) == asked
    (root,) = collector.of("invoke_agent")
    for count in ("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"):
        drawn_for = sum(call.attributes.get(count, 0) for call in calls)
        assert drawn_for == root.attributes[count]


def drawn_times(collector: OTLPCollector) -> list[tuple[int, int]]:
    """Return (start, end) of each span, in the order in which they ended."""
    return [
        (span.start_time_unix_nano, span.end_time_unix_nano)
        for body in collector.bodies
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


async def test_tools_one_after_the_other_are_drawn_with_no_call_between_them() -> None:
    async with OTLPCollector() as collector:
        traces = Traces(collector.url, WAIT)
        async with traces.running():
            watch = traces.turn("web", "name")
            watch.model_called("model")
            watch.tokens_counted(1, 2)
            for call_id in ("first", "second"):
                watch.tool_called(call_id, "calculate")
                watch.tool_ended(call_id, "calculate", ok=True, seconds=0.1)
            spoke = time.time_ns()
            watch.text_arrived()
            watch.turn_ended("complete")
    ended = [span.name for span in collector.spans]
    tool_name = "execute_tool calculate"
    assert ended == ["chat model", tool_name, tool_name, "chat model", "invoke_agent"]
    assert [span.events for span in collector.of("chat")] == [(), ("first token",)]
    tool, call = drawn_times(collector)[2:4]
    assert tool[1] <= call[0] <= spoke  # it was asked when the tool had ended, before it spoke


async def test_what_a_model_invents_stands_in_no_span(tmp_path: Path) -> None:
    secret = canary()

    async with OTLPCollector() as collector:
        await drawn(tmp_path, Traces(collector.url, WAIT), "tool:made-up:{}", secret)
    (tool,) = collector.of("execute_tool")
    failed = {"cmw.outcome": "failed", "error.type": "_OTHER"}
    assert tool.attributes == {**of_tool("connected"), **failed}
    assert not any(secret.encode() in body for body in collector.bodies)


async def test_a_failed_turn_is_drawn_as_one(tmp_path: Path) -> None:
    secret = canary()
    async with OTLPCollector() as collector:
        await drawn(tmp_path, Traces(collector.url, WAIT), "fail-500", secret)
    (root,) = collector.of("invoke_agent")
    assert root.attributes["cmw.outcome"] == "failed"
    assert not any(secret.encode() in body for body in collector.bodies)


@pytest.mark.parametrize("answers", [True, False])
async def test_a_collector_that_fails_keeps_nobody_waiting(answers: bool, tmp_path: Path) -> None:
    async with OTLPCollector() as collector:
        collector.status = 500
        with refused_url() as nowhere:
            traces = Traces(collector.url if answers else nowhere, flush_seconds=0.2)
            async with asyncio.timeout(WAIT):
                await drawn(tmp_path, traces, "echo", "hello")
            # while the ports are still these and nobody else's
            await asyncio.to_thread(join_exporters)
    assert not collector.spans


async def test_the_served_app_counts_and_draws_alike(tmp_path: Path) -> None:
    async with OTLPCollector() as collector:
        settings = settings_for(tmp_path, otlp_endpoint=collector.url)
        async with served(settings) as app, Browser(app.url) as browser:
            tab = await browser.open()
            await tab.send("hello")
            async with browser.http.get(f"{app.url}/metrics") as answer:
                found = series(await answer.text())
    assert value(found, "cmw_turns_total", channel="web", outcome="complete") == 1
    assert [span.attributes["cmw.outcome"] for span in collector.of("invoke_agent")] == ["complete"]
    assert len(collector.of("chat")) == 1


@pytest.mark.parametrize("is_recorded", [True, False])
async def test_what_was_said_is_recorded_of_who_agrees_while_the_operator_wants_it(
    is_recorded: bool, tmp_path: Path
) -> None:
    hers, later, his = canary(), canary(), canary()
    async with OTLPCollector() as collector:
        settings = settings_for(
            tmp_path, otlp_endpoint=collector.url, trace_content=is_recorded, admins="root"
        )
        async with served(settings) as app, Browser(app.url) as alice, Browser(app.url) as bob:
            tab, other = await alice.open(), await bob.open()
            consent = {"kind": "traces", "agreed": True}
            async with alice.http.post(f"{app.url}/consents", json=consent) as answer:
                assert answer.status == (200 if is_recorded else 404)
            # Another consent is another.
            ratings = {"kind": "ratings", "agreed": True}
            async with bob.http.post(f"{app.url}/consents", json=ratings) as answer:
                assert answer.status == 200
            await tab.send(hers)
            await other.send(his)
            withdrawn = {"kind": "traces", "agreed": False}
            async with alice.http.post(f"{app.url}/consents", json=withdrawn) as answer:
                assert answer.status == 200
            await tab.send(later)
    said = [
        span.attributes
        for span in collector.of("invoke_agent")
        if "gen_ai.input.messages" in span.attributes
    ]
    assert len(said) == is_recorded
    for attributes in said:
        (message,) = json.loads(attributes["gen_ai.input.messages"])
        assert message == {"role": "user", "parts": [{"type": "text", "content": hers}]}
        (written,) = json.loads(attributes["gen_ai.output.messages"])
        assert (written["role"], written["finish_reason"]) == ("assistant", "stop")
    for secret in (later, his, *(() if is_recorded else (hers,))):
        assert not any(secret.encode() in body for body in collector.bodies)


def test_outside_of_its_time_nothing_is_drawn() -> None:
    traces = Traces("http://127.0.0.1:9")
    watch = traces.turn("web", "name")
    assert isinstance(watch, TurnSpans)
    assert not watch.is_recording
    watch.model_called("model")
    watch.turn_ended("complete")
