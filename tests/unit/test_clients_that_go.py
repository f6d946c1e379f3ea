"""A turn ends when its client disconnects, on every HTTP channel."""

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
import pytest_asyncio
from starlette.types import Message

from cmw_agent.channels.common.turn_streams import (
    EVENTS,
    TurnResponse,
    server_sent,
    wait_until_begun,
)
from cmw_agent.channels.openai.streams import ChatCompletionBuilder, chunks
from cmw_agent.llm.chat_model import HistoryMessage
from tests.doubles.openai_server import OpenAIDouble
from tests.harness import settings_for
from tests.isolation.test_embed import AGENTS, SHOP, Widget
from tests.isolation.world import AppWithModel, app_with_model
from tests.rest import KEYS, client
from tests.rest import SHOP as KEY
from tests.service import running_app, session_of, wait_until

shared = pytest.mark.asyncio(loop_scope="module")
KEYED = {"authorization": f"Bearer {KEY}"}
ASKED = {"model": "assistant", "messages": [{"role": "user", "content": "Hello"}]}
MESSAGE, V1 = "/api/chat/assistant/message", "/v1/chat/completions"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[AppWithModel]:
    folder = tmp_path_factory.mktemp("gone")
    (folder / "agents.toml").write_text(AGENTS)
    async with app_with_model(folder, "gated-0", api_keys=KEYS) as made:
        yield made


async def visitor(here: AppWithModel) -> dict[str, str]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
        widget = await Widget(here.url, http).visit()
    return {"origin": SHOP, "authorization": f"Bearer {widget.token}"}


REQUESTS: dict[str, tuple[str, dict[str, Any], dict[str, str]]] = {
    "embed": ("/embed/shop/message", {"message": "Hello", "key": "k"}, {}),
    "rest": (MESSAGE, {"message": "Hello"}, KEYED),
    "rest-streamed": (MESSAGE, {"message": "Hello"}, {**KEYED, "accept": EVENTS}),
    "v1": (V1, ASKED, KEYED),
    "v1-streamed": (V1, {**ASKED, "stream": True}, KEYED),
    "v1-session": (V1, ASKED, {**KEYED, "x-session-id": "one"}),
    "v1-session-streamed": (V1, {**ASKED, "stream": True}, {**KEYED, "x-session-id": "two"}),
}


@shared
@pytest.mark.parametrize("kind", REQUESTS)
async def test_a_client_that_goes_takes_its_turn_along(kind: str, here: AppWithModel) -> None:
    path, content, headers = REQUESTS[kind]
    headers = headers or await visitor(here)
    runtime, asked = here.app.application.runtime, here.endpoint.request_count
    before = len(here.rows()["agent_turns"])
    body, where = json.dumps(content), urlsplit(here.url)
    head = {"host": where.netloc, "content-type": "application/json", **headers}
    lines = [f"{name}: {value}" for name, value in head.items()]
    lines = [f"POST {path} HTTP/1.1", *lines, f"content-length: {len(body)}", "", body]
    _, writer = await asyncio.open_connection(where.hostname, where.port)
    writer.write("\r\n".join(lines).encode())
    await wait_until(lambda: here.endpoint.request_count > asked)
    assert runtime.running_turns == 1
    writer.transport.abort()
    await wait_until(lambda: runtime.running_turns == 0)
    states = [row["state"] for row in here.rows()["agent_turns"][before:]]
    assert states == ([] if kind in ("v1", "v1-streamed") else ["interrupted"])


@shared
@pytest.mark.parametrize("kind", ["rest", "v1-session"])
async def test_a_named_request_is_answered_to_its_end_for_who_asks_again(
    kind: str, here: AppWithModel
) -> None:
    path, content, headers = REQUESTS[kind]
    asked, where = here.endpoint.request_count, here.url + path
    named = {**headers, "idempotency-key": "the-same"}
    async with aiohttp.ClientSession() as http:
        first = asyncio.create_task(http.post(where, json=content, headers=named))
        await wait_until(lambda: here.endpoint.request_count > asked)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        second = asyncio.create_task(http.post(where, json=content, headers=named))
        here.endpoint.release_all()
        answer = await (await second).json()
    text = answer["response"] if kind == "rest" else answer["choices"][0]["message"]["content"]
    assert "Hello" in text
    assert here.rows()["agent_turns"][-1]["state"] == "complete"
    assert here.endpoint.request_count == asked + 1


SCOPE = {"type": "http", "asgi": {"spec_version": "2.3"}}


@pytest.mark.parametrize("channel", ["rest", "v1"])
@pytest.mark.parametrize("when", ["before", "at once", "at the first event", "broken"])
async def test_a_response_leaves_its_turn_however_it_ends(
    channel: str, when: str, tmp_path: Path
) -> None:
    gone = asyncio.Event()
    if when == "at once":
        gone.set()

    async def receive() -> Message:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if when == "at the first event" and message.get("body"):
            gone.set()
            await asyncio.Event().wait()
        if when == "broken":
            raise OSError

    async with (
        OpenAIDouble() as endpoint,
        running_app(
            settings_for(tmp_path, openai_base_url=endpoint.base_url, model="gated-2")
        ) as runtime,
    ):
        session = await session_of(runtime)
        if channel == "rest":
            turn = runtime.chat.turn(session, "a b c d", key="k")
            first = await wait_until_begun(turn)
            events = server_sent(turn, first)
        else:
            turn = runtime.chat.complete(session, [HistoryMessage("user", "a b c d")])
            first = await wait_until_begun(turn)
            events = chunks(turn, first, ChatCompletionBuilder("m"), with_usage=False)
        response = TurnResponse(turn, events)
        assert runtime.chat.running == 1
        running = asyncio.create_task(response(SCOPE, receive, send))
        if when == "before":
            await asyncio.sleep(0)
            running.cancel()
        with contextlib.suppress(asyncio.CancelledError, OSError):
            await asyncio.wait_for(running, 20)
        assert runtime.chat.running == 0


async def test_a_turn_does_not_outlive_a_request_that_failed_after_its_beginning(
    tmp_path: Path,
) -> None:
    async with (
        app_with_model(tmp_path, "gated-0", api_keys=KEYS, log_level="ERROR") as here,
        client(here.url) as shop,
    ):
        first = asyncio.create_task(shop.say("one", "s"))
        await wait_until(lambda: here.endpoint.request_count == 1)
        here.endpoint.release_all()
        assert (await first).status == 200
        with contextlib.closing(sqlite3.connect(here.database)) as connection, connection:
            connection.execute(
                "CREATE TRIGGER broken BEFORE UPDATE OF context_data ON agent_sessions "
                "BEGIN SELECT RAISE(ABORT, 'broken'); END"
            )
        content = {"message": "two", "session_id": "s", "metadata": {"a": "b"}}
        assert (await shop.ask("POST", MESSAGE, content)).status >= 500
        assert here.app.application.runtime.running_turns == 0
        assert here.rows()["agent_turns"][-1]["state"] == "interrupted"
