"""Isolation 17: the labels of metrics have fixed values and hold nothing of users."""

import asyncio
from pathlib import Path

import pytest

from cmw_agent.core.errors import UserError
from cmw_agent.core.events import TextDelta, ToolFinished, ToolStarted, UsageReported
from cmw_agent.observability.metrics import Metrics
from cmw_agent.observability.observers import TurnObserver, notify
from cmw_agent.runtime.runtime import Runtime
from tests.doubles.openai_server import OpenAIDouble
from tests.harness import canary, settings_for
from tests.metrics import series, value
from tests.scheduled import FakeClock, RecordingObserver, run_due, scheduler_of
from tests.service import all_events, session_of

USERS = 500
EACH = 5  # of so many, one does a whole turn; the others' events are told as a turn tells them
AT_ONCE = 25
LABELS = {"channel", "outcome", "direction", "tool", "kind", "le", "generation"}


def hear(watch: TurnObserver, secret: str) -> None:
    """Tell `watch` of a turn all of whose words are `secret`."""
    watch.turn_begun(secret)
    watch.model_called(secret)
    for event in (
        TextDelta(secret),
        ToolStarted(secret, secret, {secret: secret}),
        ToolFinished(secret, secret, secret, False, 0.1, secret),
        UsageReported(1, 2),
    ):
        notify(watch, event)
    watch.turn_ended("complete")


async def test_five_hundred_users_make_no_series_and_leave_no_name(tmp_path: Path) -> None:
    metrics = Metrics(USERS)
    before = series(metrics.exposition().decode())
    secret = canary()
    hidden = {secret}
    async with OpenAIDouble() as endpoint:
        settings = settings_for(
            tmp_path,
            openai_base_url=endpoint.base_url,
            model="echo",
            models=frozenset({f"tool:{secret}:{{}}", "fail-500"}),
            max_sessions=USERS,
        )
        runtime = Runtime(settings, metrics)
        room = asyncio.Semaphore(AT_ONCE)

        async def use(number: int) -> None:
            async with room:
                session = await session_of(runtime, f"{secret}-{number}")
                if number % 100 == 20:
                    session.channel = f"{secret}-{number}"
                model = {5: f"tool:{secret}:{{}}", 10: "fail-500"}.get(number % 50)
                text = "" if number % 50 == 15 else f"{secret} {number}"
                try:
                    await all_events(runtime.chat.turn(session, text, key=f"{secret}", model=model))
                except UserError:
                    return
                finally:
                    hidden.update({session.owner, session.principal.log_name, session.key.value})
                    hidden.add(str(session.conversation_id))

        async with runtime.running():
            async with asyncio.TaskGroup() as users:
                for number in range(0, USERS, EACH):
                    users.create_task(use(number))
            for number in range(USERS):
                if number % EACH:
                    hear(metrics.turn("web", f"{secret}-{number}"), f"{secret}-{number}")
            exposition = metrics.exposition().decode()
    after = series(exposition)
    assert set(after) == set(before)
    assert {name for _, labels in after for name, _ in labels} == LABELS
    assert len(hidden) > 3 * USERS / EACH
    assert not [word for word in hidden if word in exposition]
    # and it did count them
    assert value(after, "cmw_turns_total", channel="web", outcome="complete") > USERS * 0.9
    assert value(after, "cmw_turns_total", channel="web", outcome="failed") == USERS // 50
    assert value(after, "cmw_turns_total", channel="other", outcome="complete") == USERS // 100
    assert value(after, "cmw_refusals_total", kind="invalid") == USERS // 50
    tool = value(after, "cmw_tool_calls_total", tool="connected", outcome="failed")
    assert tool == USERS // 50 + USERS * (EACH - 1) // EACH


@pytest.mark.parametrize("channel", ["web", "whatsapp"])
async def test_a_recurring_task_s_turn_is_a_schedule_s_wherever_its_answer_goes(
    channel: str, tmp_path: Path
) -> None:
    metrics, clock = Metrics(5), FakeClock()
    async with OpenAIDouble() as endpoint:
        settings = settings_for(tmp_path, openai_base_url=endpoint.base_url, model="echo")
        runtime = Runtime(settings, metrics)
        async with runtime.running():
            session = await session_of(runtime)
            session.channel = channel
            await all_events(runtime.chat.turn(session, f"/schedule {clock.far}: news", key="1"))
            clock.jump()
            await run_due(scheduler_of(runtime, clock, RecordingObserver()))
    found = series(metrics.exposition().decode())
    counted = {
        dict(labels)["channel"]: count
        for (name, labels), count in found.items()
        if name == "cmw_turns_total" and count
    }
    assert counted == {channel: 1, "schedule": 1}
    assert value(found, "cmw_turns_total", channel="schedule", outcome="complete") == 1
    assert value(found, "cmw_turn_seconds_count", channel="schedule") == 1
