"""A message on WhatsApp is dealt with once, and its answer sent once, whatever dies meanwhile."""

import asyncio
import contextlib
import sqlite3
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from cmw_agent.channels.callers import Callers
from cmw_agent.channels.whatsapp_messages import parsed
from cmw_agent.channels.whatsapp_questions import Bell
from cmw_agent.channels.whatsapp_sender import MOST_ATTEMPTS, Sender
from cmw_agent.channels.whatsapp_turns import INTERRUPTED, Answerer
from cmw_agent.channels.whatsapp_wire import Wire
from cmw_agent.channels.whatsapp_worker import LOST, Worker
from cmw_agent.identity import Identities
from cmw_agent.observers import Silent
from memory.database import Database, migrate, open_database
from memory.inbox import Message, NewMessage
from memory.outbox import NewSend, Outbox
from tests.contract.conftest import Clock
from tests.doubles.openai_server import OpenAIDouble
from tests.doubles.openai_steps import Gate, Request, Start, Step, Text
from tests.doubles.whatsapp_bridge import TOKEN, Bridge, whatsapp_bridge
from tests.harness import served, settings_for
from tests.phones import KEY, SECRET, deliver, message, settled, status_of, whatsapp_settings
from tests.processes import HOUSE, Process, started
from tests.rows import messages, rows

KIM, LEE, MAX = "491511@c.us", "491522@c.us", "491533@c.us"


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
            assert bridge.taken == [(LEE, "You said: meanwhile")]
            for number in range(19):  # beside the two that wait
                assert (await deliver(http, app.url, message(KIM, f"more {number}")))[0] == 200
            await bridge.until(2)
            assert bridge.taken[1][1].startswith("One moment, please")
            endpoint.release_all()
            await bridge.until(5)
            assert bridge.texts(KIM)[1:4] == ["late", "You said: second", "You said: third"]


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


async def test_what_is_cancelled_before_its_first_step_is_given_back(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    async with served(settings) as app, aiohttp.ClientSession() as client:
        runtime, bell, wire = app.application.runtime, Bell(), Wire(settings, client)
        callers = Callers(runtime, Identities(("k" * 32,)))
        sender = Sender(runtime.outbox, wire, Silent())
        worker = Worker(runtime, Answerer(runtime, callers, wire, bell), sender, bell)
        (found,) = parsed(message(KIM, "hello"))
        new = NewMessage("m1", found.message.as_json())
        async with worker.running():
            await runtime.inbox.add("owner", new, taken=True)
            task = worker.reply(Message("m1", "owner", new.payload))
            task.cancel()
        assert task.cancelled()
        assert dict((await runtime.inbox.figures()).counts) == {"received": 1}


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
            found = await settled(http, url, done=2, lost=1)
            await bridge.until(2)
            # neither the answer that perhaps arrived nor the question that was perhaps acted upon
            for body in (answered, running):
                assert (await deliver(http, url, body))[0] == 200
            await deliver(http, url, message(MAX, "last"))
            await bridge.until(3)
            found = await status_of(http, url)
            assert found["sends"] == {"sent": 3, "uncertain": 1}
            assert [item["kind"] for item in found["failures"]] == ["crashed"]
            assert found["messages"] == {"done": 3, "lost": 1}
            assert await process.stop() == 0
        assert bridge.texts(KIM) == []
        assert sorted(bridge.texts(LEE)) == sorted([LOST, "You said: not begun"])
        assert [item.last_user for item in endpoint.requests] == [
            "hello", "hold on", "not begun", "last",
        ]  # fmt: skip
        assert len(bridge.asked) == 4


# -- sending ---------------------------------------------------------------------------------


class Post:
    """An outbox with a clock that the test moves, and what sends from it."""

    def __init__(self, database: Database, bridge: Bridge, wire: Wire) -> None:
        self.clock = Clock()
        self.outbox = Outbox(database, "whatsapp", clock=self.clock)
        self.sender = Sender(self.outbox, wire, Silent())
        self.bridge = bridge

    async def deliver(self) -> int:
        """Deliver what is due; return how many sends that were."""
        due = await self.sender.due()
        for send in due:
            await self.sender.deliver(send)
        return len(due)

    async def states(self) -> dict[str, int]:
        return dict((await self.outbox.figures()).counts)


@pytest.fixture
async def post(tmp_path: Path) -> AsyncIterator[Post]:
    database = open_database(f"sqlite:///{tmp_path / 'chat.db'}")
    await migrate(database)
    async with whatsapp_bridge() as bridge, aiohttp.ClientSession() as client:
        settings = whatsapp_settings(tmp_path, bridge)
        yield Post(database, bridge, Wire(settings, client))
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
    for attempt in range(MOST_ATTEMPTS):
        assert await post.deliver() == 1, attempt
        post.clock.advance(5_000)
    assert await post.deliver() == 0
    figures = await post.outbox.figures()
    assert [(f.state, f.kind, f.attempts) for f in figures.failures] == [
        ("failed", "http_500", MOST_ATTEMPTS)
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
    (failure,) = (await post.outbox.figures()).failures
    assert (failure.state, failure.kind) == (state, kind)
    assert len(post.bridge.asked) == 1


async def test_parts_arrive_in_order_and_others_do_not_wait(post: Post) -> None:
    await post.outbox.add("owner", texts("one", "two"))
    await post.outbox.add("other", texts("other", to=LEE))
    post.bridge.plan = [500]
    assert await post.deliver() == 2
    assert post.bridge.taken == [(LEE, "other")]
    assert await post.deliver() == 0
    post.clock.advance(1)
    assert [await post.deliver(), await post.deliver()] == [1, 1]
    assert post.bridge.texts(KIM) == ["one", "two"]
