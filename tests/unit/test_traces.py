"""Spans reach a collector, hold no word of anybody, and nothing waits for a collector."""

import asyncio
from pathlib import Path

import pytest

from cmw_agent.ops.traces import Traces
from cmw_agent.web.runtime import Runtime
from tests.doubles.openai_server import OpenAIDouble, refused_url
from tests.doubles.otlp_collector import OTLPCollector
from tests.harness import WAIT, Browser, canary, served, settings_for
from tests.metrics import series, value
from tests.service import session_of, told


async def drawn(folder: Path, traces: Traces, model: str, said: str) -> str:
    """Do one turn and draw it; return the one-way name of who asked."""
    async with OpenAIDouble() as endpoint:
        settings = settings_for(folder, openai_base_url=endpoint.base_url, model=model)
        runtime = Runtime(settings, traces)
        async with traces.running(), runtime.running():
            session = await session_of(runtime)
            await told(runtime.chat.turn(session, said, key="1"))
            return session.principal.log_name


async def test_a_turn_is_a_span_with_its_model_calls_and_tools(tmp_path: Path) -> None:
    secret = canary()
    model = 'tool:calculate:{"expression": "6*7"}'
    async with OTLPCollector() as collector:
        name = await drawn(tmp_path, Traces(collector.url), model, secret)
    (root,) = collector.named("turn")
    first, second = collector.named("model call")
    (tool,) = collector.named("tool")
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
        "cmw.channel": "web",
        "cmw.principal": name,
        "cmw.outcome": "complete",
        **counts,
    }
    assert first.attributes["gen_ai.request.model"] == model
    assert second.events == ("first token",)
    assert tool.attributes == {"cmw.tool": "calculate", "cmw.outcome": "ok"}
    assert all(0 < span.nanoseconds <= root.nanoseconds for span in collector.spans)
    assert not any(secret.encode() in body for body in collector.bodies)


async def test_what_a_model_invents_stands_in_no_span(tmp_path: Path) -> None:
    secret = canary()

    async with OTLPCollector() as collector:
        await drawn(tmp_path, Traces(collector.url), "tool:made-up:{}", secret)
    (tool,) = collector.named("tool")
    assert tool.attributes == {"cmw.tool": "connected", "cmw.outcome": "failed"}
    assert not any(secret.encode() in body for body in collector.bodies)


async def test_a_failed_turn_is_drawn_as_one(tmp_path: Path) -> None:
    secret = canary()
    async with OTLPCollector() as collector:
        await drawn(tmp_path, Traces(collector.url), "fail-500", secret)
    (root,) = collector.named("turn")
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
    assert [span.attributes["cmw.outcome"] for span in collector.named("turn")] == ["complete"]
    assert len(collector.named("model call")) == 1


def test_outside_of_its_time_nothing_is_drawn() -> None:
    traces = Traces("http://127.0.0.1:9")
    assert traces.turn("web", "name") is traces
