"""What people in messengers, of recurring tasks and on websites read of an answer's end."""

from pathlib import Path
from typing import Any

import aiohttp
import pytest

from cmw_agent.channels.common.turn_streams import UNSEEN
from cmw_agent.core.finish_reasons import SENTENCES
from cmw_agent.runtime.scheduler import Delivery
from tests.answers import ENDS, SCRIPTS, SOURCES, THOUGHT
from tests.doubles.openai_server import OpenAIDouble
from tests.harness import served, settings_for
from tests.isolation.test_embed import Widget
from tests.phones import deliver, message, whatsapp_settings
from tests.scheduled import FakeClock, RecordingObserver, run_due, scheduler_of
from tests.service import all_events, running_app, session_of

KIM = "491511000001@c.us"
SITE = "https://shop.example"
CITED = "As they say.\n\n[1] One – https://a.example/1\n[2] https://b.example/2"


def made(folder: Path, name: str) -> Path:
    """Return a new folder."""
    path = folder / name
    path.mkdir()
    return path


async def whatsapp_reply(folder: Path, model: str) -> str:
    """Return what a sender reads whose message `model` answers."""
    async with OpenAIDouble(scripts=SCRIPTS) as endpoint:
        options: dict[str, Any] = {
            "openai_base_url": endpoint.base_url,
            "model": model,
            "whatsapp_inline": True,
        }
        settings = whatsapp_settings(folder, **options)
        async with served(settings) as app, aiohttp.ClientSession() as http:
            status, told = await deliver(http, app.url, message(KIM, "hello"))
            assert status == 200
            return str(told["reply"])


async def scheduled_answer(folder: Path, model: str) -> tuple[str, list[str]]:
    """Return what a recurring task that `model` answers sends, and how its run counts."""
    clock, heard, sent = FakeClock(), RecordingObserver(), list[Delivery]()

    async def send(delivery: Delivery) -> None:
        sent.append(delivery)

    async with OpenAIDouble(scripts=SCRIPTS) as endpoint:
        settings = settings_for(folder, openai_base_url=endpoint.base_url, model=model)
        async with running_app(settings) as runtime:
            session = await session_of(runtime)
            session.channel = "whatsapp"
            await all_events(runtime.chat.turn(session, f"/schedule {clock.far}: news", key="k"))
            clock.jump()
            await run_due(scheduler_of(runtime, clock, heard, deliver=send))
    (delivery,) = sent
    return delivery.text, heard.outcomes


@pytest.mark.parametrize("reason", ENDS)
async def test_a_messenger_shows_the_sentence_about_an_answer_s_end_below_it(
    reason: str, tmp_path: Path
) -> None:
    assert await whatsapp_reply(tmp_path, reason) == f"Half of it\n\n{SENTENCES[reason]}"


@pytest.mark.parametrize("reason", ENDS)
async def test_a_recurring_task_sends_the_sentence_about_an_answer_s_end_below_it(
    reason: str, tmp_path: Path
) -> None:
    text, outcomes = await scheduled_answer(tmp_path, reason)
    assert text == f"Half of it\n\n{SENTENCES[reason]}"
    is_answered = reason in ("length", "missing")
    assert outcomes == ["complete" if is_answered else "failed"]


@pytest.mark.parametrize("model", ["thinking", "unopened"])
async def test_no_thoughts_are_sent(model: str, tmp_path: Path) -> None:
    assert await whatsapp_reply(made(tmp_path, "phone"), model) == "Yes"
    text, _ = await scheduled_answer(made(tmp_path, "task"), model)
    assert text.strip() == "Yes"


async def test_sources_are_sent_as_numbered_links(tmp_path: Path) -> None:
    assert await whatsapp_reply(made(tmp_path, "phone"), "citing") == CITED
    assert (await scheduled_answer(made(tmp_path, "task"), "citing"))[0] == CITED


async def test_a_messenger_is_told_of_a_picture_that_it_cannot_show(tmp_path: Path) -> None:
    assert await whatsapp_reply(tmp_path, "pictured") == f"Here\n\n_{UNSEEN}_"


@pytest.mark.parametrize("model", ["length", "citing", "thinking", "pictured"])
async def test_a_website_s_widget_gets_what_is_said_of_an_answer_and_no_thoughts(
    model: str, tmp_path: Path
) -> None:
    (tmp_path / "agents.toml").write_text(
        f'[[agents]]\nid = "shop"\nname = "Shop"\nallowed_origins = ["{SITE}"]\n'
    )
    async with OpenAIDouble(scripts=SCRIPTS) as endpoint:
        settings = settings_for(tmp_path, openai_base_url=endpoint.base_url, model=model)
        async with served(settings) as app, aiohttp.ClientSession() as http:
            widget = await Widget(app.url, http).visit()
            told = await widget.say("hello")
            shown = (await widget.send("GET", "/messages")).json["messages"][1]
            assert THOUGHT.encode() not in widget.received
    notices: dict[str, Any] = {"length": SENTENCES["length"], "pictured": UNSEEN}
    name, done = told.events()[-1]
    assert (name, done["metadata"].get("notice")) == ("done", notices.get(model))
    sources = SOURCES if model == "citing" else []
    assert [
        s for name, data in told.events() if name == "sources" for s in data["sources"]
    ] == sources
    assert shown["sources"] == sources
    assert shown["notice"] == notices.get(model)
