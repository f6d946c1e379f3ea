"""The event server's edits and event buffers."""

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message, Scope

from cmw_agent.conversations.changes import ConversationChanges
from cmw_agent.identity.principals import Principal, SessionKey
from cmw_agent.limits.budgets import Budgets
from cmw_agent.web.gradio_transport.event_server import EventServer, PageEvent
from cmw_agent.web.gradio_transport.mailboxes import UNREAD_MESSAGES, EventBuffer
from cmw_agent.web.gradio_transport.protocol import edits
from cmw_agent.web.page.drawn_message import DrawnMessage, message
from cmw_agent.web.security.guard import PRINCIPAL
from cmw_agent.web.security.route_allowlist import API
from tests.harness import UNCHANGED, WAIT, Browser, _patched, served, settings_for
from tests.service import wait_until

MESSAGES = st.lists(
    st.builds(message, st.sampled_from(["user", "assistant"]), st.text(max_size=6)),
    max_size=5,
)


@given(MESSAGES, MESSAGES)
def test_edits_turn_the_old_value_into_the_new_one(
    old: list[DrawnMessage], new: list[DrawnMessage]
) -> None:
    assert _patched(old, edits(old, new)) == new


@given(st.text(), st.text())
def test_edits_of_text_do_the_same(old: str, new: str) -> None:
    assert _patched(old, edits(old, new)) == new


@given(MESSAGES, st.text(min_size=1), st.text(min_size=1))
def test_text_that_grows_is_sent_as_what_it_grew_by(
    above: list[DrawnMessage], start: str, more: str
) -> None:
    old = [*above, message("assistant", start)]
    new = [*above, message("assistant", start + more)]
    assert edits(old, new) == [["append", [len(above), "content", 0, "text"], more]]


async def test_a_writer_waits_for_a_slow_reader_and_loses_nothing() -> None:
    box = EventBuffer(Principal("v1", "visitor"))
    written: list[int] = []

    async def write() -> None:
        for number in range(UNREAD_MESSAGES * 2):
            await box.put(b"%d " % number)
            written.append(number)

    writer = asyncio.create_task(write())
    async with asyncio.timeout(5):
        await box.arrived.wait()
        while len(written) < UNREAD_MESSAGES:  # noqa: ASYNC110 (until the writer waits)
            await asyncio.sleep(0)
        assert len(box.messages) == UNREAD_MESSAGES
        taken = box.take()
        await writer
    taken += box.take()
    assert taken.split() == [b"%d" % n for n in range(UNREAD_MESSAGES * 2)]


async def test_a_stream_and_a_heartbeat_show_that_they_live_while_nothing_comes(
    tmp_path: Path,
) -> None:
    answered = asyncio.Event()

    async def handler(_request: object) -> str:
        await answered.wait()
        return "late"

    async def admit(_principal: Principal, _address: str | None) -> None:
        raise AssertionError("no turn begins here")

    async def page_closed(_key: SessionKey, _principal: Principal) -> None:
        closed.set()

    server = EventServer(
        {1: PageEvent("slow", handler, 0, 1)},
        refusal=lambda _principal, _address: None,
        admit=admit,
        page_closed=page_closed,
        budgets=Budgets.of(settings_for(tmp_path, max_sessions=2)),
        changes=ConversationChanges(),
        heartbeat_seconds=0.01,
    )
    key, closed = "a" * 64, asyncio.Event()
    joining = Exchange("POST", "/queue/join", {"fn_index": 1, "data": [], "session_hash": key})
    await server(joining.scope, joining.receive, joining.send)
    reading, living = (
        Exchange("GET", "/queue/data", query=f"session_hash={key}"),
        Exchange("GET", f"/heartbeat/{key}"),
    )
    tasks = [
        asyncio.create_task(server(one.scope, one.receive, one.send)) for one in (reading, living)
    ]
    async with asyncio.timeout(WAIT):
        await reading.has(b'"msg":"heartbeat"', 3)
        await living.has(b"ALIVE", 3)
        answered.set()
        await reading.has(b'"late"', 1)
        await reading.has(b'"close_stream"', 1)
        await tasks[0]
        living.gone.set()
        await closed.wait()
        await tasks[1]


class Exchange:
    """A request to the event server, past the guard, and what is sent back."""

    def __init__(self, method: str, path: str, body: object = None, query: str = "") -> None:
        self.scope: Scope = {
            "type": "http",
            "method": method,
            "path": API + path,
            "query_string": query.encode(),
            "headers": [],
            PRINCIPAL: Principal("v1", "visitor"),
        }
        self.gone = asyncio.Event()
        self._pending = [orjson.dumps(body)] if body is not None else []
        self._sent = b""
        self._came = asyncio.Condition()

    async def receive(self) -> Message:
        if self._pending:
            return {"type": "http.request", "body": self._pending.pop(), "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        async with self._came:
            self._sent += message.get("body", b"")
            self._came.notify_all()

    async def has(self, part: bytes, times: int) -> None:
        """Wait until so many of `part` have been sent."""
        async with self._came:
            await self._came.wait_for(lambda: self._sent.count(part) >= times)


async def test_a_page_is_not_sent_again_what_it_has_put_together(tmp_path: Path) -> None:
    async with served(settings_for(tmp_path)) as app, Browser(app.url) as person:
        tab = person.tab()
        await tab.open()
        put_together = await tab.send("My name is Ada")
        ending = put_together.raw[-1]["output"]["data"]
        assert ending == [UNCHANGED] * len(ending)
        (answer,) = put_together.value[-1]["content"]
        assert answer["text"].startswith("Hello, Ada!")
        # A program takes its result from the end.
        whole = await tab.run("send", ["What is my name?", "", "", None], trigger_id=None)
        (answer,) = whole.raw[-1]["output"]["data"][0][-1]["content"]
        assert answer["text"] == "Your name is Ada!"


async def test_what_nobody_reads_is_no_error_of_the_app(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(_request: object) -> AsyncIterator[str]:
        while True:
            yield str(next(numbers))

    async def nothing(*_: object) -> None:
        """No turn begins and no page closes here."""

    numbers = itertools.count()
    server = EventServer(
        {1: PageEvent("endless", handler, 0, 1)},
        refusal=lambda _principal, _address: None,
        admit=nothing,
        page_closed=nothing,
        budgets=Budgets.of(settings_for(tmp_path, max_sessions=2)),
        changes=ConversationChanges(),
        unread_seconds=0.01,
    )
    joining = Exchange("POST", "/queue/join", {"fn_index": 1, "data": [], "session_hash": "a" * 64})
    with caplog.at_level(logging.INFO):
        await server(joining.scope, joining.receive, joining.send)
        await wait_until(lambda: not len(server))
    assert [record.levelname for record in caplog.records if "read" in record.message] == ["INFO"]
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
