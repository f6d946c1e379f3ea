"""WhatsApp: each message is processed once and each answer sent once, also when processes die."""

import asyncio
import base64
import contextlib
import sqlite3
import sys
import tracemalloc
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from cmw_agent.channels.common.callers import Callers
from cmw_agent.channels.whatsapp.answering import INTERRUPTED, WhatsAppAnswerer, owner_of
from cmw_agent.channels.whatsapp.approvals import WakeSignal
from cmw_agent.channels.whatsapp.client import WhatsAppClient
from cmw_agent.channels.whatsapp.sender import MAX_ATTEMPTS, Sender
from cmw_agent.channels.whatsapp.worker import LOST, RENEW_SECONDS, UNBEGUN, Worker, notice
from cmw_agent.config.settings import Settings
from cmw_agent.core.errors import ServiceUnavailableError
from cmw_agent.identity.principals import Identities, Principal
from cmw_agent.language import languages
from cmw_agent.observability.observers import Observer
from memory.engine.database import Database, migrate, open_database
from memory.queues.inbox import Inbox, InboxMessage, NewInboxMessage
from memory.queues.outbox import NewSend, Outbox
from memory.records import utcnow
from tests.contract.conftest import Clock
from tests.doubles.openai_server import OpenAIDouble
from tests.doubles.openai_steps import Gate, Request, Start, Step, Text
from tests.doubles.whatsapp_bridge import TOKEN, Bridge, whatsapp_bridge
from tests.doubles.whatsapp_cloud import whatsapp_cloud
from tests.harness import WAIT, Served, served, settings_for
from tests.logbook import logbook
from tests.metrics import series, value
from tests.phones import (
    KEY,
    SECRET,
    cloud_body,
    cloud_message,
    cloud_settings,
    deliver,
    message,
    parsed,
    settled,
    whatsapp_settings,
)
from tests.processes import HOUSE, Process, started
from tests.rows import messages, rows
from tests.service import wait_until

KIM, LEE, MAX = "491511@c.us", "491522@c.us", "491533@c.us"
MEDIA_SECONDS = 5.0  # in which two requests are answered, and nothing that stalls


def script(request: Request) -> Sequence[Step]:
    if request.last_user.startswith("hold"):
        return [Start(), Gate(), Text(["late"])]
    return [Text([f"You said: {request.last_user}"])]


async def test_however_often_it_is_delivered_it_is_answered_once(tmp_path: Path) -> None:
    async with whatsapp_bridge() as bridge, OpenAIDouble(scripts={"script": script}) as endpoint:
        model = {"openai_base_url": endpoint.base_url, "model": "script"}
        settings = whatsapp_settings(tmp_path, bridge, **model)
        body = message(KIM, "hello")
        async with aiohttp.ClientSession() as http:
            async with served(settings) as here, served(settings) as there:
                places = [here.url, there.url, here.url, there.url, here.url]
                found = await asyncio.gather(*(deliver(http, url, body) for url in places))
                assert found == [(200, {"status": "accepted"})] * 5
                await settled(http, there.url, done=1)
                await bridge.until(1)
            async with served(settings) as again:
                assert (await deliver(http, again.url, body))[0] == 200
                assert (await deliver(http, again.url, message(KIM, "next")))[0] == 200
                await settled(http, again.url, done=2)
                await bridge.until(2)
        assert bridge.texts(KIM) == ["You said: hello", "You said: next"]
        assert [item["content"] for item in messages(tmp_path, "hello")[::2]] == ["hello", "next"]
        assert len(endpoint.requests) == 2


async def test_one_owner_s_messages_are_answered_in_order_and_others_meanwhile(
    tmp_path: Path,
) -> None:
    async with whatsapp_bridge() as bridge, OpenAIDouble(scripts={"script": script}) as endpoint:
        model = {"openai_base_url": endpoint.base_url, "model": "script"}
        settings = whatsapp_settings(tmp_path, bridge, **model)
        async with served(settings) as app, aiohttp.ClientSession() as http:
            for text in ("hold on", "second", "third"):
                assert (await deliver(http, app.url, message(KIM, text)))[0] == 200
            await endpoint.wait_held()
            assert (await deliver(http, app.url, message(LEE, "meanwhile")))[0] == 200
            await bridge.until(1)
            assert bridge.delivered == [(LEE, "You said: meanwhile")]
            for number in range(19):  # beside the two that wait
                assert (await deliver(http, app.url, message(KIM, f"more {number}")))[0] == 200
            await bridge.until(2)
            assert bridge.delivered[1][1].startswith("One moment, please")
            endpoint.release_all()
            await bridge.until(5)
            assert bridge.texts(KIM)[1:4] == ["late", "You said: second", "You said: third"]


async def test_what_was_taken_is_acknowledged_while_its_answer_waits_and_typing_is_shown(
    tmp_path: Path,
) -> None:
    async with whatsapp_bridge() as bridge, OpenAIDouble(scripts={"script": script}) as endpoint:
        model = {"openai_base_url": endpoint.base_url, "model": "script"}
        settings = whatsapp_settings(tmp_path, bridge, **model)
        async with served(settings) as app, aiohttp.ClientSession() as http:
            found = await deliver(http, app.url, message(KIM, "hold on"))
            assert found == (200, {"status": "accepted"})
            await endpoint.wait_held()
            assert bridge.delivered == []
            await bridge.until_typing(("start", KIM))
            assert ("stop", KIM) not in bridge.typing
            endpoint.release_all()
            await bridge.until(1)
            await bridge.until_typing(("stop", KIM))
            assert bridge.typing == [("start", KIM), ("stop", KIM)]


async def test_a_file_that_a_bridge_delivers_reaches_the_model(tmp_path: Path) -> None:
    async with whatsapp_bridge() as bridge, OpenAIDouble(scripts={"script": script}) as endpoint:
        model = {"openai_base_url": endpoint.base_url, "model": "script"}
        settings = whatsapp_settings(tmp_path, bridge, **model)
        coded = base64.b64encode(b"written words").decode()
        file = {"type": "document", "mediaBase64": coded, "mediaFilename": "a.txt"}
        async with served(settings) as app, aiohttp.ClientSession() as http:
            body = message(KIM, "", caption="look", **file)
            assert (await deliver(http, app.url, body))[0] == 200
            await bridge.until(1)
            assert "written words" in str(endpoint.requests[-1].messages)
            assert bridge.texts(KIM)[0].startswith("You said: look")
            assert "guessed" not in bridge.texts(KIM)[0]
            assert rows(tmp_path, "SELECT media FROM channel_messages") == [{"media": None}]
        inline = whatsapp_settings(tmp_path, bridge, whatsapp_inline=True, **model)
        async with served(inline) as app, aiohttp.ClientSession() as http:
            body = message(LEE, "", caption="see", **file)
            assert (await deliver(http, app.url, body))[1]["reply"].startswith("You said: see")
            assert "written words" in str(endpoint.requests[-1].messages)
            assert "look" not in str(endpoint.requests[-1].messages)
            coded = base64.b64encode("Договор от 3 мая".encode("cp1251")).decode()
            body = message(LEE, "", caption="old", **(file | {"mediaBase64": coded}))
            reply = (await deliver(http, app.url, body))[1]["reply"]
            assert reply.endswith("_It was read as Windows-1251, which was guessed._")
            assert "Договор от 3 мая" in str(endpoint.requests[-1].messages)


@pytest.mark.parametrize("is_inline", [False, True])
async def test_a_file_is_in_nobody_s_memory_while_its_answer_waits(
    is_inline: bool, tmp_path: Path
) -> None:
    large = b"word " * 140_000
    file = {"type": "document", "mediaFilename": "a.txt"}
    async with whatsapp_bridge() as bridge, OpenAIDouble(scripts={"script": script}) as endpoint:
        model = {"openai_base_url": endpoint.base_url, "model": "script"}
        settings = whatsapp_settings(tmp_path, bridge, whatsapp_inline=is_inline, **model)
        async with served(settings) as app, aiohttp.ClientSession() as http:
            await deliver(http, app.url, message(LEE, "warm"))
            await settled(http, app.url, done=1)
            coded = base64.b64encode(large).decode()
            raw = orjson.dumps(message(KIM, "", caption="hold on", mediaBase64=coded, **file))
            tracemalloc.start()
            try:
                delivering = asyncio.create_task(deliver(http, app.url, raw))
                await endpoint.wait_held()
                held = [
                    trace.size
                    for trace in tracemalloc.take_snapshot().traces
                    if trace.size > len(large) // 2
                ]
            finally:
                tracemalloc.stop()
            endpoint.release_all()
            assert (await delivering)[0] == 200
            await settled(http, app.url, done=2)
            assert held == []


async def test_a_restart_ends_what_runs_and_says_so_and_takes_up_what_waits(
    tmp_path: Path,
) -> None:
    async with whatsapp_bridge() as bridge, OpenAIDouble(scripts={"script": script}) as endpoint:
        model = {"openai_base_url": endpoint.base_url, "model": "script"}
        settings = whatsapp_settings(tmp_path, bridge, **model)
        async with aiohttp.ClientSession() as http:
            async with served(settings) as app:
                for text in ("hold on", "second"):
                    assert (await deliver(http, app.url, message(KIM, text)))[0] == 200
                await endpoint.wait_held()
            async with served(settings) as app:
                await settled(http, app.url, done=2)
                await bridge.until(2)
        assert bridge.texts(KIM) == [INTERRUPTED, "You said: second"]
        assert [item.last_user for item in endpoint.requests] == ["hold on", "second"]


class Shop:
    """A worker of its own beside an app that has none, and a clock for it."""

    def __init__(self, app: Served, wire: WhatsAppClient, folder: Path) -> None:
        self.runtime, self.bell, self.folder = app.application.runtime, WakeSignal(), folder
        self.url = app.url
        self.seconds = 0.0
        callers = Callers(self.runtime, Identities(("k" * 32,)))
        answerer = WhatsAppAnswerer(self.runtime, callers, wire, self.bell)
        sender = Sender(self.runtime.outbox, wire, Observer())
        self.worker = Worker(self.runtime, answerer, sender, self.bell, clock=lambda: self.seconds)

    async def takes(self, body: dict[str, Any], holder: str = "") -> InboxMessage:
        """Let a message be stored, and taken by the holder if there is one; return it."""
        (found,) = parsed(body)
        owner = owner_of(found.message, self.runtime.settings.whatsapp_agent).id
        new = NewInboxMessage(found.message.message_id, found.message.as_json())
        await self.runtime.inbox.add(owner, new, taken_by=holder)
        self.bell.notify()
        return InboxMessage(new.message_id, owner, new.payload, holder)

    async def until(self, **states: int) -> None:
        async with asyncio.timeout(WAIT):
            while True:
                if dict((await self.runtime.inbox.statistics()).counts) == states:
                    return
                await asyncio.sleep(0.02)

    def does(self, statement: str) -> None:
        """Change the database as another process does."""
        with closing(sqlite3.connect(self.folder / "chat.db", timeout=5)) as connection:
            connection.execute(statement)
            connection.commit()


@contextlib.asynccontextmanager
async def shop(
    folder: Path,
    endpoint: OpenAIDouble,
    outside: Settings | None = None,
    *,
    is_open: bool = True,
) -> AsyncIterator[Shop]:
    settings = settings_for(folder, openai_base_url=endpoint.base_url, model="script")
    async with served(settings) as app, aiohttp.ClientSession() as client:
        wire = WhatsAppClient(outside or settings, client, media_seconds=MEDIA_SECONDS)
        at = Shop(app, wire, folder)
        async with at.worker.running() if is_open else contextlib.nullcontext():
            yield at


@contextlib.asynccontextmanager
async def beside(folder: Path, ahead: timedelta = timedelta()) -> AsyncIterator[Inbox]:
    """The inbox as another process sees it, whose clock is ahead."""
    database = open_database(f"sqlite:///{folder / 'chat.db'}")
    try:
        yield Inbox(database, "whatsapp", clock=lambda: utcnow() + ahead)
    finally:
        await database.dispose()


LEASES_END = "UPDATE channel_messages SET lease_until = '2000-01-01' WHERE state = 'running'"


async def test_what_is_cancelled_before_its_first_step_is_given_back(tmp_path: Path) -> None:
    async with OpenAIDouble(scripts={"script": script}) as endpoint:
        async with shop(tmp_path, endpoint, is_open=False) as at:
            at.worker._begin(await at.takes(message(KIM, "hello"), "h"))
            await at.worker._close()
        async with beside(tmp_path) as inbox:
            assert dict((await inbox.statistics()).counts) == {"received": 1}
        assert endpoint.requests == []


@pytest.mark.parametrize("when", ["before its first step", "before its turn", "in its turn"])
async def test_a_reply_that_is_given_up_is_nobody_else_s_to_give(when: str, tmp_path: Path) -> None:
    async with OpenAIDouble(scripts={"script": script}) as endpoint:
        async with shop(tmp_path, endpoint) as at:
            task = at.worker.reply(await at.takes(message(KIM, "hold on"), "h"))
            if when == "in its turn":
                await endpoint.wait_held()
            elif when == "before its turn":
                await asyncio.sleep(0)  # one step
            task.cancel()  # as what waits for it does, when that takes too long
            await at.until(failed=1)
            await asyncio.wait([task])
            assert task.cancelled()
            await at.takes(message(KIM, "next"))
            await at.until(failed=1, done=1)
        assert [item.last_user for item in endpoint.requests][-1] == "next"
        assert len(rows(tmp_path, "SELECT * FROM channel_sends")) == 1


async def test_a_process_that_is_about_to_end_asks_for_an_inline_message_again(
    tmp_path: Path,
) -> None:
    async with whatsapp_bridge() as bridge, aiohttp.ClientSession() as http:
        settings = whatsapp_settings(tmp_path, bridge, whatsapp_inline=True)
        async with served(settings) as here, served(settings) as there:
            await here.application.runtime.chat.drain(0)
            body = message(KIM, "hello")
            assert await deliver(http, here.url, body) == (200, {"reply": UNBEGUN})
            await settled(http, there.url, failed=1)
            assert (await deliver(http, there.url, message(KIM, "hello")))[1]["reply"] != UNBEGUN
            await settled(http, there.url, failed=1, done=1)
            assert bridge.requests == []


async def test_a_process_never_gives_up_its_own_messages(tmp_path: Path) -> None:
    async with (
        OpenAIDouble(scripts={"script": script}) as endpoint,
        shop(tmp_path, endpoint) as at,
    ):
        await at.takes(message(KIM, "hold on"))
        await endpoint.wait_held()
        at.does(LEASES_END)  # it was put to sleep
        await at.takes(message(LEE, "meanwhile"))
        await at.until(running=1, done=1)
        endpoint.release_all()
        await at.until(done=2)


async def test_a_renewal_that_failed_is_tried_again_at_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        OpenAIDouble(scripts={"script": script}) as endpoint,
        shop(tmp_path, endpoint) as at,
    ):
        await at.takes(message(KIM, "hold on"))
        await endpoint.wait_held()
        at.does(LEASES_END)
        at.does("ALTER TABLE channel_messages RENAME TO away")
        at.seconds += RENEW_SECONDS
        at.bell.notify()
        # the first may be of a round that had begun before
        await wait_until(lambda: sum(r.module == "worker" for r in caplog.records) >= 2)
        at.does("ALTER TABLE away RENAME TO channel_messages")
        at.bell.notify()
        held = "SELECT 1 FROM channel_messages WHERE lease_until NOT LIKE '2000%'"
        await wait_until(lambda: rows(tmp_path, held) != [])
        endpoint.release_all()
        await at.until(done=1)


async def test_a_turn_s_line_names_the_message_that_it_answers(tmp_path: Path) -> None:
    with logbook() as book:
        async with (
            OpenAIDouble(scripts={"script": script}) as endpoint,
            shop(tmp_path, endpoint) as at,
        ):
            asked = await at.takes(message(KIM, "hello"))
            await at.until(done=1)
            await wait_until(lambda: "turn ended" in book.text)
    (line,) = [text for text in book.lines if "turn ended" in text]
    assert f" request={asked.message_id[:12]} " in line
    assert asked.message_id not in line


async def test_what_waits_to_be_answered_is_told(tmp_path: Path) -> None:
    async with (
        OpenAIDouble(scripts={"script": script}) as endpoint,
        shop(tmp_path, endpoint) as at,
        aiohttp.ClientSession() as http,
    ):
        await at.takes(message(KIM, "hold on"))
        await endpoint.wait_held()
        await at.takes(message(KIM, "second"))
        at.seconds += RENEW_SECONDS
        at.bell.notify()
        async with asyncio.timeout(WAIT):
            found = 0.0
            while found != 1:
                async with http.get(f"{at.url}/metrics") as answer:
                    found = value(series(await answer.text()), "cmw_messages_waiting")
        endpoint.release_all()
        await at.until(done=2)


async def test_an_answer_that_comes_too_late_is_named_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        OpenAIDouble(scripts={"script": script}) as endpoint,
        shop(tmp_path, endpoint) as at,
    ):
        asked = await at.takes(message(KIM, "hold on"))
        await endpoint.wait_held()
        async with beside(tmp_path, ahead=timedelta(minutes=2)) as other:
            assert await other.mark_lost(partial(notice, language=languages().english)) == 1
        endpoint.release_all()
        await wait_until(lambda: "an answer came too late" in caplog.text)
        name = Principal(asked.owner, "phone").log_name
        assert f"message={asked.message_id[:12]} owner={name}" in caplog.text
        assert "late " not in caplog.text.replace("too late ", "")
        assert dict((await at.runtime.inbox.statistics()).counts) == {"lost": 1}


async def test_who_sent_a_file_that_does_not_come_to_its_end_is_told(tmp_path: Path) -> None:
    async with whatsapp_cloud() as cloud, OpenAIDouble() as endpoint:
        cloud.files, cloud.stalled = {"77": b"only the first of these"}, {"77"}
        async with shop(tmp_path, endpoint, cloud_settings(tmp_path, cloud)) as at:
            await at.takes(cloud_body(cloud_message("491511", "document", id="77")))
            await cloud.until(1)
            await at.takes(cloud_body(cloud_message("491511", body="next")))
            await at.until(done=2)
        assert cloud.fetched == ["77"]
        assert "could not be fetched" in cloud.sent[0]["text"]["body"]
        assert rows(tmp_path, "SELECT * FROM agent_files") == []


async def test_the_time_for_a_file_ends_nothing_that_whoever_reads_it_does(tmp_path: Path) -> None:
    async with whatsapp_cloud() as cloud, aiohttp.ClientSession() as client:
        cloud.files, cloud.stalled = {"77": b"only the first of these"}, {"77"}
        wire = WhatsAppClient(cloud_settings(tmp_path, cloud), client, media_seconds=MEDIA_SECONDS)
        is_over = asyncio.Event()
        (found,) = parsed(cloud_body(cloud_message("491511", "image", id="77")))
        picture = found.message
        async with contextlib.aclosing(wire.media(picture)) as body:
            assert await anext(body) == b"o"
            asyncio.get_running_loop().call_later(MEDIA_SECONDS + 0.5, is_over.set)
            await is_over.wait()
            with pytest.raises(ServiceUnavailableError):
                await anext(body)


class House:
    """The data of one app, which dies and starts again."""

    def __init__(self, folder: Path, bridge: Bridge, endpoint: OpenAIDouble) -> None:
        self.folder = folder
        self.settings = {
            "CMW_DATA_DIR": str(folder),
            "OPENAI_BASE_URL": endpoint.base_url,
            "CMW_MODEL": "script",
            "CMW_SECRET_KEY": "k" * 32,
            "CMW_USER_FIELD": "user",
            "CMW_WHATSAPP_SECRET": SECRET,
            "CMW_WHATSAPP_BRIDGE_URL": bridge.url,
            "CMW_WHATSAPP_BRIDGE_TOKEN": TOKEN,
            "CMW_API_KEYS": f"operator:{KEY}",
        }

    @contextlib.asynccontextmanager
    async def process(self) -> AsyncIterator[tuple[Process, str]]:
        async with started(HOUSE, self.settings) as process:
            yield process, await process.url()

    def leases_end(self) -> None:
        """Let the time pass after which a process counts as dead."""
        with closing(sqlite3.connect(self.folder / "chat.db", timeout=5)) as connection:
            for table in ("channel_messages", "channel_sends"):
                past = f"UPDATE {table} SET lease_until = '2000-01-01 00:00:00.000000'"  # noqa: S608
                connection.execute(f"{past} WHERE lease_until IS NOT NULL")
            connection.commit()

    def states(self) -> dict[str, list[str]]:
        return {
            table: sorted(row["state"] for row in rows(self.folder, f"SELECT * FROM {table}"))  # noqa: S608
            for table in ("channel_messages", "channel_sends")
        }


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
async def test_what_a_killed_process_was_doing_is_seen_and_never_done_again(
    tmp_path: Path,
) -> None:
    async with (
        whatsapp_bridge() as bridge,
        OpenAIDouble(scripts={"script": script}) as endpoint,
        aiohttp.ClientSession() as http,
    ):
        house = House(tmp_path, bridge, endpoint)
        answered, running = message(KIM, "hello"), message(LEE, "hold on")
        async with house.process() as (process, url):
            bridge.plan = ["hang"]
            await deliver(http, url, answered)
            await bridge.until_asked(1)
            await deliver(http, url, running)
            await deliver(http, url, message(LEE, "not begun"))
            await endpoint.wait_held()
            await process.kill()
        assert house.states() == {
            "channel_messages": ["done", "received", "running"],
            "channel_sends": ["sending"],
        }
        house.leases_end()
        async with house.process() as (process, url):
            await settled(http, url, done=2, lost=1)
            await bridge.until(2)
            # neither the answer that perhaps arrived nor the question that was perhaps acted upon
            for body in (answered, running):
                assert (await deliver(http, url, body))[0] == 200
            await deliver(http, url, message(MAX, "last"))
            sends = {"sent": 3, "uncertain": 1}
            found = await settled(http, url, done=3, lost=1, sends=sends)
            assert [item["kind"] for item in found["failures"]] == ["crashed"]
            assert await process.stop() == 0
        assert bridge.texts(KIM) == []
        assert sorted(bridge.texts(LEE)) == sorted([LOST, "You said: not begun"])
        assert [item.last_user for item in endpoint.requests] == [
            "hello", "hold on", "not begun", "last",
        ]  # fmt: skip
        assert len(bridge.requests) == 4


# -- sending ---------------------------------------------------------------------------------


class Post:
    """An outbox with a clock that the test moves, and what sends from it."""

    def __init__(self, database: Database, bridge: Bridge, wire: WhatsAppClient) -> None:
        self.clock = Clock()
        self.outbox = Outbox(database, "whatsapp", clock=self.clock)
        self.sender = Sender(self.outbox, wire, Observer())
        self.bridge = bridge

    async def deliver(self) -> int:
        """Deliver what is due; return how many sends that were."""
        due = await self.sender.due()
        for send in due:
            await self.sender.deliver(send)
        return len(due)

    async def states(self) -> dict[str, int]:
        return dict((await self.outbox.statistics()).counts)


@pytest.fixture
async def post(tmp_path: Path) -> AsyncIterator[Post]:
    database = open_database(f"sqlite:///{tmp_path / 'chat.db'}")
    await migrate(database)
    async with whatsapp_bridge() as bridge, aiohttp.ClientSession() as client:
        settings = whatsapp_settings(tmp_path, bridge)
        yield Post(database, bridge, WhatsAppClient(settings, client))
    await database.dispose()


def texts(*parts: str, to: str = KIM) -> list[NewSend]:
    return [NewSend(f"{to} {part}", to, "bridge", part) for part in parts]


async def test_what_did_not_arrive_is_sent_again_later_and_later(post: Post) -> None:
    await post.outbox.add("owner", texts("one"))
    post.bridge.plan = [503, 500, 429, 200]
    waits = []
    while (await post.states()).get("sent") is None:
        waited = 0
        while not await post.deliver():
            post.clock.advance(1)
            waited += 1
        waits.append(waited)
    assert waits == [0, 1, 4, 16]
    assert post.bridge.texts(KIM) == ["one"]


async def test_the_other_side_s_wish_for_a_pause_counts(post: Post) -> None:
    await post.outbox.add("owner", texts("one"))
    post.bridge.plan, post.bridge.headers = [429], {"Retry-After": "30"}
    assert await post.deliver() == 1
    post.clock.advance(29)
    assert await post.deliver() == 0
    post.clock.advance(1)
    assert await post.deliver() == 1
    assert await post.states() == {"sent": 1}


async def test_after_so_many_attempts_it_has_failed_visibly(post: Post) -> None:
    await post.outbox.add("owner", texts("one"))
    post.bridge.plan = [500] * 100
    for attempt in range(MAX_ATTEMPTS):
        assert await post.deliver() == 1, attempt
        post.clock.advance(5_000)
    assert await post.deliver() == 0
    figures = await post.outbox.statistics()
    assert [(f.state, f.kind, f.attempts) for f in figures.failures] == [
        ("failed", "http_500", MAX_ATTEMPTS)
    ]


@pytest.mark.parametrize(
    ("step", "state", "kind"),
    [(400, "failed", "http_400"), (302, "failed", "http_302"), ("cut", "uncertain", "cut")],
)
async def test_what_cannot_succeed_or_perhaps_did_is_never_sent_again(
    step: Any, state: str, kind: str, post: Post
) -> None:
    await post.outbox.add("owner", texts("one"))
    post.bridge.plan = [step]
    assert await post.deliver() == 1
    post.clock.advance(100_000)
    assert await post.deliver() == 0
    (failure,) = (await post.outbox.statistics()).failures
    assert (failure.state, failure.kind) == (state, kind)
    assert len(post.bridge.requests) == 1


async def test_parts_arrive_in_order_and_others_do_not_wait(post: Post) -> None:
    await post.outbox.add("owner", texts("one", "two"))
    await post.outbox.add("other", texts("other", to=LEE))
    post.bridge.plan = [500]
    assert await post.deliver() == 2
    assert post.bridge.delivered == [(LEE, "other")]
    assert await post.deliver() == 0
    post.clock.advance(1)
    assert [await post.deliver(), await post.deliver()] == [1, 1]
    assert post.bridge.texts(KIM) == ["one", "two"]
