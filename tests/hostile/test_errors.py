"""Internal errors: one safe sentence with an id for the user; place but no text in the log."""

import asyncio
import contextlib
import re
import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
import orjson
import pytest
from langchain_core.tools import BaseTool, StructuredTool

from cmw_agent.agent.agent import CmwAgent
from cmw_agent.agent.tool_loop import ToolLoop
from cmw_agent.core.events import TextDelta, ToolFinished
from cmw_agent.llm.chat_model import HistoryMessage
from cmw_agent.llm.coalescing import FlushInterval
from cmw_agent.llm.factory import open_model
from cmw_agent.server.build import Parts
from cmw_agent.web.page.handlers import Handlers
from tests.doubles.openai_models import built_in
from tests.doubles.openai_server import OpenAIDouble
from tests.doubles.openai_steps import Request, Step
from tests.harness import (
    API,
    WAIT,
    Browser,
    Event,
    RefusedError,
    Tab,
    canary,
    last_text,
    served,
    settings_for,
    texts,
)
from tests.logbook import Logbook, error_id, logbook
from tests.processes import started
from tests.rows import count, messages, turns

KEY = "sk-secret-of-the-app"
NO_SENTENCE = (
    "Traceback",
    "Error:",
    "File ",
    "/data",
    "chat.db",
    "SELECT",
    "INSERT",
    "sqlite",
)


def check_told(said: str | None, book: Logbook, *hidden: str) -> str:
    """Check that the user reads one safe sentence and that the log knows its id."""
    assert said is not None
    assert re.fullmatch(r"[⚠️⏸* ]{0,4}[A-Z][^\n]{15,160}\.\*? \(error `?[0-9a-f]{8}`?\)", said), said
    for word in (*NO_SENTENCE, KEY, *hidden):
        assert word not in said
    for word in (KEY, "Traceback", *hidden):
        assert word not in book.text
    assert book.naming(error_id(said)), book.text
    assert book.unhandled == []
    return said


# -- the database -----------------------------------------------------------------


class Sabotage:
    """A second connection to the app's database, as an operator or a bug may hold one."""

    def __init__(self, folder: Path) -> None:
        self._connection = sqlite3.connect(folder / "chat.db", isolation_level=None, timeout=5)

    def __enter__(self) -> "Sabotage":
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def run(self, statement: str) -> None:
        self._connection.execute(statement)

    @contextlib.contextmanager
    def raising(self, event: str, text: str) -> Iterator[None]:
        """Make the database refuse `event` with this text for the block."""
        self.run(f"CREATE TRIGGER bad BEFORE {event} BEGIN SELECT RAISE(ABORT, '{text}'); END")
        try:
            yield
        finally:
            self.run("DROP TRIGGER bad")


@contextlib.asynccontextmanager
async def house(folder: Path, model: str = "echo", **changes: Any) -> AsyncIterator["Inside"]:
    with logbook() as book:
        async with OpenAIDouble() as endpoint:
            settings = settings_for(
                folder,
                openai_base_url=endpoint.base_url,
                openai_api_key=KEY,
                model=model,
                **changes,
            )
            async with served(settings) as app, Browser(app.url) as browser:
                yield Inside(folder, book, endpoint, browser, await browser.open())


class Inside:
    def __init__(
        self, folder: Path, book: Logbook, endpoint: OpenAIDouble, browser: Browser, tab: Tab
    ) -> None:
        self.folder = folder
        self.book = book
        self.endpoint = endpoint
        self.browser = browser
        self.tab = tab


SAYINGS = "SELECT * FROM agent_messages /data/chat.db"


@pytest.mark.parametrize("name", ["send", "chat"])
async def test_a_database_that_refuses_a_message_is_told_and_nothing_is_half_saved(
    name: str, tmp_path: Path
) -> None:
    secret = canary()
    async with house(tmp_path) as inside:
        before = count(tmp_path)
        data = [secret, "", "", None] if name == "send" else [secret]
        with (
            Sabotage(tmp_path) as other,
            other.raising("INSERT ON agent_turns", f"{secret} {SAYINGS}"),
        ):
            event = await inside.tab.run(name, data)
        said = check_told(event.error, inside.book, secret)
        assert "cannot be stored right now" in said
        assert count(tmp_path) == before
        assert inside.endpoint.request_count == 0
        assert (await inside.tab.run(name, data)).error is None


async def test_a_database_that_refuses_an_answer_is_told_and_the_answer_stays_on_the_page(
    tmp_path: Path,
) -> None:
    secret = canary()
    # nothing comes before the gate: a part of the answer could be stored meanwhile
    async with house(tmp_path, "gated-0") as inside:
        asking = asyncio.create_task(inside.tab.send(secret))
        await inside.endpoint.wait_held(secret)
        with (
            Sabotage(tmp_path) as other,
            other.raising("UPDATE ON agent_messages", f"{secret} {SAYINGS}"),
        ):
            inside.endpoint.release(secret)
            event = await asking
        assert event.error is None
        assert texts(event.value)[:2] == [secret, f"You said: {secret}"]
        said = check_told(last_text(event.value), inside.book, secret)
        assert "could not be stored" in said
        question, answer = messages(tmp_path, secret)
        assert question["content"] == secret
        assert (answer["content"], answer["status"]) == ("", "interrupted")


@pytest.mark.parametrize("table", ["agent_messages", "agent_turns", "agent_sessions"])
async def test_a_table_that_is_gone_is_told_by_every_event(table: str, tmp_path: Path) -> None:
    secret = canary()
    async with house(tmp_path) as inside:
        await inside.tab.send(secret)
        with Sabotage(tmp_path) as other:
            other.run(f"DROP TABLE {table}")
        told = []
        for name, data in (("send", [secret, "", "", None]), ("chat", [secret]), ("retry", [""])):
            told.append((await inside.tab.run(name, data)).error)
        async with Browser(inside.browser.url) as stranger:
            opened = await stranger.tab(query="?c=abc").open()
            told += [opened.error] if opened.error else []
        for said in told:
            assert table not in check_told(said, inside.book, secret)


async def test_a_file_that_was_overwritten_is_told(tmp_path: Path) -> None:
    secret = canary()
    async with house(tmp_path) as inside:
        await inside.tab.send(secret)
        with Sabotage(tmp_path) as other:
            other.run("PRAGMA wal_checkpoint(TRUNCATE)")
        (tmp_path / "chat.db").write_bytes(b"not a database " * 10_000)
        event = await inside.tab.send(secret)
        check_told(event.error, inside.book, secret)
        async with inside.browser.http.get(f"{inside.browser.url}/readyz") as answer:
            assert answer.status == 503
            assert await answer.json() == {"status": "not ready", "model": "configured"}
        async with inside.browser.http.get(f"{inside.browser.url}/healthz") as answer:
            assert answer.status == 200


@pytest.mark.slow
async def test_a_locked_database_is_told_reading_goes_on_and_writing_follows(
    tmp_path: Path,
) -> None:
    secret = canary()
    async with house(tmp_path) as inside:
        await inside.tab.send(f"first {secret}")
        with Sabotage(tmp_path) as other:
            other.run("BEGIN EXCLUSIVE")
            asking = asyncio.create_task(inside.tab.send(f"second {secret}"))
            async with Browser(inside.browser.url) as reader:
                assert (await reader.tab().open()).error is None
            check_told((await asking).error, inside.book, secret)
            other.run("ROLLBACK")
        assert [m["content"] for m in messages(tmp_path) if m["role"] == "user"] == [
            f"first {secret}"
        ]
        event = await inside.tab.send(f"third {secret}")
        assert last_text(event.value) == f"You said: third {secret}"


# -- the handlers -----------------------------------------------------------------


def failing(text: str) -> type[Handlers]:
    class Failing(Handlers):
        async def new_chat(self, request: gr.Request) -> Any:
            raise RuntimeError(text)

        async def stop(self, request: gr.Request) -> None:
            raise KeyError(text) from OSError(text)

    return Failing


@pytest.mark.parametrize("name", ["new_chat", "stop"])
async def test_a_defect_of_a_handler_is_told_and_the_page_goes_on(
    name: str, tmp_path: Path
) -> None:
    secret = canary()
    parts = Parts(handlers=failing(f"{secret} {SAYINGS}\r\nforged"))
    with logbook() as book:
        async with served(settings_for(tmp_path), parts) as app, Browser(app.url) as browser:
            tab = await browser.open()
            event = await tab.run(name, [])
            said = check_told(event.error, book, secret, "/data/chat.db", "forged")
            assert said.startswith("Something went wrong on our side; please try again.")
            (line,) = book.naming(error_id(said))
            assert "test_errors.py" in line  # the log knows the place
            assert (await tab.send("My name is Alice")).error is None


async def test_more_sessions_than_the_process_holds_are_told_to_wait(tmp_path: Path) -> None:
    async with house(tmp_path, "gated-1", max_sessions=1) as inside:
        asking = asyncio.create_task(inside.tab.send("hello"))
        await inside.endpoint.wait_held()
        async with Browser(inside.browser.url) as other:
            with pytest.raises(RefusedError) as refused:
                await other.open()
        assert refused.value.status == 503
        too_many = "The app has too many open pages right now; please try again in 5 seconds."
        assert too_many in refused.value.detail
        inside.endpoint.release_all()
        assert (await asking).error is None


# -- the tools --------------------------------------------------------------------


async def answered(tools: list[BaseTool], endpoint: OpenAIDouble, folder: Path) -> list[Any]:
    settings = settings_for(
        folder, openai_base_url=endpoint.base_url, model='tool:broken:{"word":"hello"}'
    )
    events: list[Any] = []
    async with open_model(settings, FlushInterval(0.01)) as model:
        agent = CmwAgent(ToolLoop(tools), owner="v1", model=model, instructions="Be kind.")
        await agent.run([HistoryMessage("user", "go")], events.append)
    return events


async def test_a_defect_of_a_tool_tells_its_kind_to_the_model_and_nothing_to_anybody(
    tmp_path: Path,
) -> None:
    secret = canary()

    async def broken(word: str) -> str:
        """Break."""
        raise RuntimeError(f"{secret} {SAYINGS}")

    tool = StructuredTool.from_function(coroutine=broken, name="broken", description="Breaks.")
    with logbook() as book:
        async with OpenAIDouble() as endpoint:
            events = await answered([tool], endpoint, tmp_path)
            (finished,) = [event for event in events if isinstance(event, ToolFinished)]
            assert not finished.ok
            assert finished.result == "The tool broken failed (RuntimeError)."
            told = "".join(event.text for event in events if isinstance(event, TextDelta))
            assert told == "The tools said: The tool broken failed (RuntimeError)."
            assert secret not in str(events) + orjson.dumps(endpoint.requests[-1].body).decode()
    assert secret not in book.text


@pytest.mark.parametrize(
    "call",
    [
        'calculate:{"expression":"$message"}',
        'calculate:{"wrong":"$message"}',
        'calculate:{"expression":["$message"]}',
        'current_time:{"time_zone":"$message"}',
        'no_such_tool:{"a":"$message"}',
    ],
)
async def test_a_tool_that_refuses_ends_no_turn_and_stays_out_of_the_log(
    call: str, tmp_path: Path
) -> None:
    secret = canary()
    async with house(tmp_path, f"tool:{call}") as inside:
        event = await inside.tab.send(secret)
        assert event.error is None
        assert last_text(event.value).startswith("The tools said: ")
        assert [turn["state"] for turn in turns(tmp_path)] == ["complete"]
        (calls,) = [m["tool_calls"] for m in messages(tmp_path) if m["tool_calls"]]
        assert orjson.loads(calls)[0]["ok"] is False
        for word in ("Traceback", "File ", "pydantic"):
            assert word not in str(event.value)
        assert secret not in inside.book.text
        assert inside.book.unhandled == []


# -- the log of a whole process ---------------------------------------------------

LINE = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (DEBUG|INFO|WARNING|ERROR|CRITICAL) [\w.]+: .*"
)
FORGED = "2026-01-01 00:00:00,000 ERROR root: forged"


async def raw(url: str, request: bytes) -> None:
    """Send bytes that no client library would."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    await writer.drain()
    writer.write_eof()
    async with asyncio.timeout(WAIT):
        await reader.read()
    writer.close()
    await writer.wait_closed()


async def live(url: str, endpoint: OpenAIDouble, secret: str) -> list[str]:
    """Use the app in every way; return what must not be in its log."""
    hidden = [secret]
    async with Browser(url) as browser, Browser(url, cookies=False) as bare:
        tab = await browser.open()
        async with bare.http.get(f"{url}/visitor") as answer:
            token = (await answer.json())["token"]
        other = await bare.open(headers={"x-cmw-visitor": token})
        for one in (tab, other):
            await one.send(f"echo {secret}")
            for fault in ("cut-3", "fail-401", "fail-400", "bad-json", "error-in-stream"):
                await one.send(f"{fault} {secret}")
            await one.send(f'tool:calculate:{{"expression":"$message"}} {secret}')
            await one.run("chat", [f"echo {secret}"])
            await one.run("retry", [""])
            await one.send(f"\0{secret}")
            await one.send(secret * 3000)
        stopped = Event(await tab.join("send", [f"hang {secret}", "", "", None]))
        await endpoint.wait_until(
            lambda: any(r.tokens_sent for r in endpoint.matching(f"hang {secret}"))
        )
        await tab.join("stop", [])
        async with asyncio.timeout(WAIT):
            async for _ in tab.follow(stopped):
                pass
        for path in (f"{API}/heartbeat/{tab.hash}%0d%0a{FORGED}", f"/{secret}%0d%0a{FORGED}"):
            async with browser.http.get(url + path) as answer:
                assert answer.status in (400, 404)
        headers = {"cookie": f"cmw_visitor={secret}", "user-agent": secret, "referer": secret}
        async with bare.http.get(f"{url}/?c={secret}", headers=headers) as answer:
            assert answer.status == 200
        hidden += [tab.hash, other.hash, token]
        hidden += [cookie.value for cookie in browser.http.cookie_jar]
    forged = FORGED.encode()
    for request in (
        b"GET / HTTP/9.9\r\nhost: x\r\n\r\n" + forged,
        b"\r\n".join([b"nonsense", forged, b"", b""]),
        b"GET /\x0b" + forged + b" HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\nx: a\n" + forged + b"\r\n\r\n",
    ):
        await raw(url, request)
    return hidden


def by_message(request: Request) -> Sequence[Step]:
    answer = built_in(request.last_user.partition(" ")[0]) or built_in("echo")
    assert answer is not None
    return answer(request)


async def test_the_log_at_debug_holds_no_message_no_secret_and_no_forged_line(
    tmp_path: Path,
) -> None:
    secret, signing = canary(), "k" * 20 + canary()
    async with OpenAIDouble(scripts={"by-message": by_message}) as endpoint:
        settings = {
            "CMW_LOG_LEVEL": "DEBUG",
            "CMW_MODEL": "by-message",
            "CMW_SECRET_KEY": signing,
            "OPENAI_BASE_URL": endpoint.base_url,
            "OPENAI_API_KEY": KEY,
            f"CMW_\n{FORGED}": "1",
            "CMW_LOG_FORMAT": "text",
        }
        async with started(tmp_path, settings) as process:
            hidden = await live(await process.url(), endpoint, secret)
            await process.stop()
            lines = process.err.decode().splitlines()
    assert lines
    text = "\n".join(lines)
    for word in (*hidden, signing, KEY, "canary-"):
        assert word not in text, [line for line in lines if word in line][:3]
    for line in lines:
        assert LINE.fullmatch(line), line
        assert not line.startswith(FORGED[:30])
    assert any("error_id=" in line for line in lines)
