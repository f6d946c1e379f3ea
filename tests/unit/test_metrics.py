"""Metrics: counters rise with their events; `/metrics` answers this machine or the token alone."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import Response
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from cmw_agent.core.errors import (
    ConversationInUseError,
    InvalidMessageError,
    NotFoundError,
    OverloadedError,
    ServiceUnavailableError,
    UserError,
)
from cmw_agent.limits.limiter import RateLimitError
from cmw_agent.observability.labels import REFUSALS
from cmw_agent.observability.metrics import Metrics
from cmw_agent.observability.metrics_route import MetricsRoute
from cmw_agent.observability.observers import Observer, refusal_kind
from cmw_agent.runtime.runtime import Runtime
from cmw_agent.server.build import build_app
from tests.doubles.openai_server import OpenAIDouble
from tests.harness import Browser, served, settings_for
from tests.metrics import Series, series, value
from tests.service import all_events, session_of, turn_end

TOKEN = "scrape-me-with-this"


def read(metrics: Metrics) -> Series:
    return series(metrics.exposition().decode())


async def test_a_real_turn_on_the_page_is_counted_once(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, max_turns=7)
    async with served(settings) as app, Browser(app.url) as browser:
        tab = await browser.open()
        await tab.send("hello")
        async with browser.http.get(f"{app.url}/metrics") as answer:
            assert answer.status == 200
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
            found = series(await answer.text())
    assert value(found, "cmw_turns_total", channel="web", outcome="complete") == 1
    assert value(found, "cmw_turn_seconds_count", channel="web") == 1
    assert value(found, "cmw_first_token_seconds_count", channel="web") == 1
    assert value(found, "cmw_first_token_seconds_sum", channel="web") > 0
    assert value(found, "cmw_live_sessions") == 1
    assert value(found, "cmw_turns_running") == 0
    assert value(found, "cmw_turns_max") == 7
    assert value(found, "process_resident_memory_bytes") > 1_000_000
    assert sum(v for (name, _), v in found.items() if name == "cmw_turns_total") == 1


async def turns_of(folder: Path, model: str, *said: str, **changes: Any) -> Series:
    """Return the metrics after turns that a model of the double answers."""
    metrics = Metrics(5)
    async with OpenAIDouble() as endpoint:
        settings = settings_for(folder, openai_base_url=endpoint.base_url, model=model, **changes)
        runtime = Runtime(settings, metrics)
        async with runtime.running():
            session = await session_of(runtime)
            for number, text in enumerate(said):
                try:
                    await all_events(runtime.chat.turn(session, text, key=str(number)))
                except UserError:
                    continue
    return read(metrics)


async def test_tokens_and_tools_are_counted_as_they_come(tmp_path: Path) -> None:
    found = await turns_of(tmp_path, 'tool:calculate:{"expression": "6*7"}', "what is it?")
    assert value(found, "cmw_tool_calls_total", tool="calculate", outcome="ok") == 1
    assert value(found, "cmw_turns_total", channel="web", outcome="complete") == 1
    assert value(found, "cmw_tokens_total", direction="input") > 0
    assert value(found, "cmw_tokens_total", direction="output") > 0


async def test_a_tool_that_a_model_invents_makes_no_series_of_its_own(tmp_path: Path) -> None:
    found = await turns_of(tmp_path, "tool:canary-of-a-model:{}", "go")
    assert value(found, "cmw_tool_calls_total", tool="connected", outcome="failed") == 1
    assert not any("canary" in str(key) for key in found)


async def test_failures_are_told_from_answers(tmp_path: Path) -> None:
    found = await turns_of(tmp_path, "fail-500", "one", "two")
    assert value(found, "cmw_turns_total", channel="web", outcome="failed") == 2
    assert value(found, "cmw_turns_total", channel="web", outcome="complete") == 0
    assert value(found, "cmw_first_token_seconds_count", channel="web") == 0
    assert value(found, "cmw_turn_seconds_count", channel="web") == 2


async def test_what_is_not_taken_is_counted_and_no_turn(tmp_path: Path) -> None:
    found = await turns_of(tmp_path, "echo", "", "x" * 200, "fine", max_message_chars=100)
    assert value(found, "cmw_refusals_total", kind="invalid") == 2
    assert sum(v for (name, _), v in found.items() if name == "cmw_turns_total") == 1


async def test_a_request_that_comes_again_is_no_second_answer(tmp_path: Path) -> None:
    metrics = Metrics(5)
    runtime = Runtime(settings_for(tmp_path), metrics)
    async with runtime.running():
        session = await session_of(runtime)
        for _ in range(3):
            end = turn_end(await all_events(runtime.chat.turn(session, "hi", key="same")))
            assert end.outcome == "complete"
    found = read(metrics)
    assert value(found, "cmw_turns_total", channel="web", outcome="complete") == 1
    assert value(found, "cmw_turns_total", channel="web", outcome="repeated") == 2
    assert value(found, "cmw_turn_seconds_count", channel="web") == 1


async def test_running_turns_show_while_they_run_and_a_stopped_one_as_interrupted(
    tmp_path: Path,
) -> None:
    async with OpenAIDouble() as endpoint:
        settings = settings_for(tmp_path, openai_base_url=endpoint.base_url, model="gated-1")
        application = build_app(settings)
        async with application.own.router.lifespan_context(application.own):
            runtime = application.runtime
            session = await session_of(runtime)
            turn = runtime.chat.turn(session, "hello", key="1")
            await endpoint.wait_held()
            async with httpx.AsyncClient(
                transport=httpx.ASGITransport(application.asgi), base_url="http://localhost"
            ) as client:
                during = series((await client.get("/metrics")).text)
                turn.stop()
                await turn.ended()
                after = series((await client.get("/metrics")).text)
    assert value(during, "cmw_turns_running") == 1
    assert value(after, "cmw_turns_running") == 0
    stopped = [value(after, "cmw_turns_total", channel="web", outcome="interrupted")]
    assert stopped == [1]


def test_what_the_channels_and_schedules_tell_is_counted_under_fixed_words() -> None:
    metrics = Metrics(5)
    before = len(read(metrics))
    for outcome in ("sent", "failed", "canary-outcome"):
        metrics.sent("whatsapp", outcome)
    metrics.sent("canary-channel", "sent")
    metrics.sends_waiting(3)
    metrics.messages_waiting(4)
    metrics.schedule_ran("complete")
    metrics.schedule_ran("canary-run")
    metrics.refused("canary-kind")
    metrics.turn("canary-channel", "canary-name").turn_ended("canary-end")
    found = read(metrics)
    assert value(found, "cmw_sends_total", channel="whatsapp", outcome="sent") == 1
    assert value(found, "cmw_sends_total", channel="whatsapp", outcome="other") == 1
    assert value(found, "cmw_sends_total", channel="other", outcome="sent") == 1
    assert value(found, "cmw_sends_waiting") == 3
    assert value(found, "cmw_messages_waiting") == 4
    assert value(found, "cmw_schedule_runs_total", outcome="complete") == 1
    assert value(found, "cmw_schedule_runs_total", outcome="other") == 1
    assert value(found, "cmw_refusals_total", kind="other") == 1
    assert len(found) == before
    assert "canary" not in str(found)


@pytest.mark.parametrize("name", ["cmw_sends_waiting", "cmw_messages_waiting"])
def test_a_count_that_all_replicas_share_says_that_it_is_not_to_be_summed(name: str) -> None:
    replicas = Metrics(5), Metrics(5)
    for metrics in replicas:  # each counts what the one database holds
        metrics.sends_waiting(3)
        metrics.messages_waiting(3)
    assert max(value(read(metrics), name) for metrics in replicas) == 3
    (about,) = [
        line
        for line in replicas[0].exposition().decode().splitlines()
        if line.startswith(f"# HELP {name} ")
    ]
    assert about.endswith("of the whole database; take max, not sum.")


def test_every_reason_for_a_refusal_has_a_series() -> None:
    errors = (
        *(
            OverloadedError(),
            ServiceUnavailableError(),
            NotFoundError(),
            ConversationInUseError(),
            InvalidMessageError(),
        ),
        *(RateLimitError(), UserError(), UserError(status=418)),
    )
    assert {refusal_kind(error) for error in errors} == set(REFUSALS) - {"other"}


def test_who_keeps_nothing_keeps_nothing() -> None:
    watch = Observer().turn("web", "name")
    watch.turn_ended("complete")
    assert vars(watch) == {"_observers": ()}


# -- who may read -----------------------------------------------------------------


OPEN = [
    ("127.0.0.1", {}),
    ("127.8.0.1", {"host": "localhost:7860"}),
    ("::1", {"host": "[::1]:7860"}),
    ("::ffff:127.0.0.1", {}),
    ("10.0.0.9", {"authorization": f"Bearer {TOKEN}"}),
    ("10.0.0.9", {"authorization": f"bearer {TOKEN}", "host": "chat.example"}),
    ("127.0.0.1", {"authorization": f"Bearer {TOKEN}", "x-forwarded-for": "8.8.8.8"}),
]
SHUT = [
    ("10.0.0.9", {}),
    ("::ffff:10.0.0.9", {}),
    ("testclient", {}),
    ("10.0.0.9", {"authorization": "Bearer "}),
    ("10.0.0.9", {"authorization": f"Basic {TOKEN}"}),
    ("10.0.0.9", {"authorization": f"Bearer {TOKEN}x"}),
    ("10.0.0.9", {"authorization": f"Bearer {TOKEN[:-1]}"}),
    ("10.0.0.9", {"authorization": "Bearer \xfc"}),
    ("10.0.0.9", {"x-forwarded-for": "127.0.0.1"}),
    ("127.0.0.1", {"x-forwarded-for": "127.0.0.1"}),
    ("127.0.0.1", {"x-forwarded-for": ""}),
    ("127.0.0.1", {"x-real-ip": "8.8.8.8"}),
    ("127.0.0.1", {"forwarded": "for=8.8.8.8"}),
    ("127.0.0.1", {"x-forwarded-proto": "https"}),
    ("127.0.0.1", {"via": "1.1 proxy"}),
    ("127.0.0.1", {"host": "chat.example"}),
    ("127.0.0.1", {"host": "127.0.0.1.evil.example"}),
    ("127.0.0.1", {"host": "["}),
]


Headers = dict[str, str]


async def ask(app: Any, peer: str, headers: Headers, path: str = "/metrics") -> httpx.Response:
    transport = httpx.ASGITransport(app, client=(peer, 5))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        sent = [(name.encode(), text.encode("latin-1")) for name, text in headers.items()]
        return await client.get(path, headers=sent)


async def test_this_machine_and_whoever_has_the_token_read_and_nobody_else_finds_it(
    tmp_path: Path,
) -> None:
    settings = settings_for(tmp_path, metrics_token=TOKEN, allowed_hosts="*")
    app = build_app(settings).asgi
    for peer, headers in OPEN:
        answer = await ask(app, peer, headers)
        assert answer.status_code == 200, (peer, headers)
        assert "cmw_live_sessions" in answer.text
    for peer, headers in SHUT:
        answer, gone = [await ask(app, peer, headers, path) for path in ("/metrics", "/no-such")]
        assert answer.status_code == 404, (peer, headers)
        assert answer.content == gone.content
        for one in (answer, gone):
            del one.headers["x-request-id"]
        assert answer.headers == gone.headers


@pytest.mark.parametrize("sent", ["Bearer ", "Bearer None", f"Bearer {TOKEN}"])
async def test_without_a_token_in_the_settings_no_token_opens(sent: str) -> None:
    route = MetricsRoute(Metrics(1), None, lambda: Response(status_code=404)).route()
    app = Starlette(routes=[route])
    assert (await ask(app, "10.0.0.9", {"authorization": sent})).status_code == 404
    assert (await ask(app, "127.0.0.1", {})).status_code == 200


@pytest.mark.parametrize("trusted", ["127.0.0.1", "*"])
async def test_behind_a_trusted_proxy_nobody_passes_for_this_machine(trusted: str) -> None:
    route = MetricsRoute(Metrics(1), None, lambda: Response(status_code=404)).route()
    app = ProxyHeadersMiddleware(Starlette(routes=[route]), trusted)  # type: ignore[arg-type]
    for sent in ("8.8.8.8", "127.0.0.1", "::1, 127.0.0.1", ""):
        assert (await ask(app, "127.0.0.1", {"x-forwarded-for": sent})).status_code == 404


async def test_two_processes_count_apart(tmp_path: Path) -> None:
    first, second = Metrics(1), Metrics(1)
    first.turn("web", "name").turn_ended("complete")
    await asyncio.sleep(0)
    assert value(read(first), "cmw_turns_total", channel="web", outcome="complete") == 1
    assert value(read(second), "cmw_turns_total", channel="web", outcome="complete") == 0
