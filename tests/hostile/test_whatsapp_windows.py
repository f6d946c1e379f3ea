"""WhatsApp's service window: what Meta would refuse waits until the person writes again."""

import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from cmw_agent.channels.whatsapp.templates import MAX_CHARS, beginning
from tests.doubles.openai_server import OpenAIDouble
from tests.doubles.whatsapp_cloud import Cloud, whatsapp_cloud
from tests.harness import Served, served
from tests.phones import (
    KEY,
    cloud_body,
    cloud_message,
    cloud_settings,
    deliver,
    settled,
    status_of,
)
from tests.rows import rows
from tests.scheduled import FakeClock, RecordingObserver, run_due, scheduler_of

KIM, LEE, KIM_ID = "491511", "491522", "DE.4711"
NAMED = {"whatsapp_template": "news", "whatsapp_template_language": "en_US"}


@dataclass(slots=True)
class Place:
    """An app behind Meta's Cloud API."""

    app: Served
    cloud: Cloud
    folder: Path
    http: aiohttp.ClientSession

    async def says(self, text: str, /, *, ago: float = 0, **more: Any) -> None:
        message = cloud_message(KIM, body=text) | {"timestamp": str(int(time.time() - ago))} | more
        assert (await deliver(self.http, self.app.url, cloud_body(message)))[0] == 200

    async def fails(self, code: int, sent: dict[str, Any]) -> None:
        """Let Meta report that a text that it has taken was not delivered."""
        status = {
            "id": "wamid.out",
            "status": "failed",
            "recipient_id": KIM,
            "biz_opaque_callback_data": sent["biz_opaque_callback_data"],
            "errors": [{"code": code}],
        }
        assert (await deliver(self.http, self.app.url, cloud_body(statuses=[status])))[0] == 200

    @property
    def texts(self) -> list[str]:
        return [item["text"]["body"] for item in self.cloud.sent if item["type"] == "text"]

    @property
    def templates(self) -> list[dict[str, Any]]:
        return [item["template"] for item in self.cloud.sent if item["type"] == "template"]


@contextlib.asynccontextmanager
async def place(folder: Path, **changes: Any) -> AsyncIterator[Place]:
    async with whatsapp_cloud() as cloud, OpenAIDouble() as endpoint:
        cloud.templates = {("news", "en_US", 0), ("news_of", "en_US", 1)}
        model = {"openai_base_url": endpoint.base_url, "model": "echo"}
        settings = cloud_settings(folder, cloud, **(model | changes))
        async with served(settings) as app, aiohttp.ClientSession() as http:
            yield Place(app, cloud, folder, http)


async def test_a_late_answer_waits_behind_a_template_and_comes_before_the_next_answer(
    tmp_path: Path,
) -> None:
    async with place(tmp_path, **NAMED) as at:
        await at.says("first", ago=86_250)
        await at.says("second", ago=86_200)
        status = await settled(at.http, at.app.url, sends={"held": 2, "sent": 1}, done=2)
        assert status["template"] == "news"
        assert at.templates == [{"name": "news", "language": {"code": "en_US"}}]
        assert at.texts == []
        await at.says("third")
        await settled(at.http, at.app.url, sends={"sent": 4}, done=3)
        assert at.texts == [f"You said: {word}" for word in ("first", "second", "third")]
        assert len(at.templates) == 1
        assert at.cloud.refused == []


async def test_without_a_template_a_text_waits_too_and_the_log_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with place(tmp_path) as at:
        await at.says("first", ago=86_200)
        status = await settled(at.http, at.app.url, sends={"held": 1}, done=1)
        assert status["template"] is None
        assert status["failures"] == []
        assert at.cloud.sent == []
        assert "texts wait for their recipients" in caplog.text
        await at.says("second")
        await settled(at.http, at.app.url, sends={"sent": 2}, done=2)
        assert at.texts == ["You said: first", "You said: second"]


@pytest.mark.parametrize("is_late", [False, True], ids=["at once", "afterwards"])
async def test_a_task_s_answer_that_meta_refuses_is_sent_once_when_its_owner_writes(
    is_late: bool, tmp_path: Path
) -> None:
    body = {"whatsapp_template": "news_of", "whatsapp_template_body": "beginning"}
    async with place(tmp_path, **(NAMED | body)) as at:
        hands = FakeClock()
        await at.says(f"/schedule {hands.far}: tell me news")
        await settled(at.http, at.app.url, sends={"sent": 1}, done=1)
        hands.jump()
        if not is_late:
            at.cloud.closed = {KIM}
        runtime = at.app.application.runtime
        observer = RecordingObserver()
        await run_due(scheduler_of(runtime, hands, observer, deliver=runtime.deliver))
        if is_late:
            await settled(at.http, at.app.url, sends={"sent": 2}, done=1)
            at.cloud.closed = {KIM}
            await at.fails(131047, at.cloud.sent[-1])
            del at.cloud.sent[-1]
        await settled(at.http, at.app.url, sends={"sent": 2, "held": 1}, done=1)
        (template,) = at.templates
        (part,) = template["components"]
        assert "tell me news" in part["parameters"][0]["text"]
        at.cloud.closed = set()
        await at.says("here I am")
        await settled(at.http, at.app.url, sends={"sent": 4}, done=2)
        assert at.texts[1:] == ["You said: ⏰ tell me news", "You said: here I am"]
        assert len(at.templates) == 1


async def test_a_window_that_the_user_s_id_opens_is_open_for_the_number_too(tmp_path: Path) -> None:
    async with place(tmp_path, **NAMED) as at:
        at.cloud.closed = {KIM}
        headers = {"authorization": f"Bearer {KEY}"}
        wanted = {"to": KIM, "message": "an operator's text"}
        async with at.http.post(
            f"{at.app.url}/whatsapp/send", json=wanted, headers=headers
        ) as answer:
            assert answer.status == 202
        await settled(at.http, at.app.url, sends={"held": 1, "sent": 1})
        at.cloud.closed = set()
        await at.says("hello", from_user_id=KIM_ID)
        await settled(at.http, at.app.url, sends={"sent": 3}, done=1)
        assert sorted(at.texts) == ["You said: hello", "an operator's text"]


async def test_other_failures_and_those_of_an_operator_s_text_stay_failures(tmp_path: Path) -> None:
    async with place(tmp_path, **NAMED) as at:
        await at.says("hello")
        await settled(at.http, at.app.url, sends={"sent": 1}, done=1)
        await at.fails(131026, at.cloud.sent[0])
        await at.fails(131047, at.cloud.sent[0])
        status = await status_of(at.http, at.app.url)
        assert status["sends"] == {"failed": 1}
        assert [item["kind"] for item in status["failures"]] == ["meta_131026"]


async def test_a_template_that_meta_does_not_know_is_told_and_the_text_waits(
    tmp_path: Path,
) -> None:
    async with place(tmp_path, whatsapp_template="unknown") as at:
        await at.says("first", ago=86_200)
        status = await settled(at.http, at.app.url, sends={"held": 1, "failed": 1}, done=1)
        assert [item["kind"] for item in status["failures"]] == ["meta_132001"]


async def test_what_was_taken_is_kept_for_minutes_alone_and_gone_with_its_owner(
    tmp_path: Path,
) -> None:
    async with place(tmp_path) as at:
        await at.says("a secret")
        await settled(at.http, at.app.url, sends={"sent": 1}, done=1)
        (row,) = rows(tmp_path, "SELECT payload, lease_until FROM channel_sends")
        assert row["payload"]
        assert row["lease_until"]
        assert len(rows(tmp_path, "SELECT * FROM channel_windows")) == 1
        await at.says("/forget everything")
        await settled(at.http, at.app.url, done=2)
        kept = rows(tmp_path, "SELECT payload FROM channel_sends")
        assert "a secret" not in str(kept)
        assert rows(tmp_path, "SELECT * FROM channel_windows") == []


def test_a_parameter_is_one_line_of_bounded_length() -> None:
    assert beginning(" one\n\n  two\tthree ") == "one two three"
    long = beginning("word " * 1_000)
    assert len(long) <= MAX_CHARS
    assert long.endswith("word…")
