"""An answer that is not streamed begins before a proxy gives up on it, and is still one document."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
import pytest_asyncio

from tests.doubles.openai_models import refusal
from tests.doubles.openai_server import OpenAIDouble
from tests.doubles.openai_steps import Gate, Request, Step
from tests.harness import WAIT, served, settings_for
from tests.isolation.world import AppWithModel
from tests.rest import KEYS, SHOP

SOON = 0.05  # seconds until the first space
CHAT: dict[str, Any] = {"model": "gated-0", "messages": [{"role": "user", "content": "hello"}]}
REQUESTS = [
    ("/api/chat/assistant/message", {"message": "hello"}),
    ("/v1/chat/completions", CHAT),
    ("/v1/responses", {"model": "gated-0", "input": "hello"}),
]


@pytest_asyncio.fixture
async def here(tmp_path: Path) -> AsyncIterator[AppWithModel]:
    async with app(tmp_path) as made:
        yield made


def late_refusal(request: Request) -> Sequence[Step]:
    return [Gate(), refusal(request, 401)]


@contextlib.asynccontextmanager
async def app(
    folder: Path, model: str = "gated-0", seconds: float = SOON
) -> AsyncIterator[AppWithModel]:
    async with OpenAIDouble(scripts={"failing": late_refusal}) as endpoint:
        settings = settings_for(
            folder,
            openai_base_url=endpoint.base_url,
            model=model,
            api_keys=KEYS,
            whitespace_seconds=seconds,
        )
        async with served(settings) as running:
            yield AppWithModel(running, endpoint, folder / "chat.db")


def session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        headers={"authorization": f"Bearer {SHOP}"}, timeout=aiohttp.ClientTimeout(WAIT)
    )


@pytest.mark.parametrize(("path", "body"), REQUESTS)
async def test_a_late_answer_begins_with_white_space_and_is_the_same_document(
    here: AppWithModel, path: str, body: dict[str, Any]
) -> None:
    async with session() as http, http.post(here.url + path, json=body) as answer:
        assert answer.status == 200
        assert answer.content_type == "application/json"
        assert await answer.content.readexactly(2) == b"  "  # while the model is silent
        await here.endpoint.wait_held("hello")
        here.endpoint.release_all()
        assert "You said: hello" in json.dumps(json.loads(await answer.read()))


async def test_openai_s_client_reads_a_late_answer(here: AppWithModel) -> None:
    async with openai.AsyncOpenAI(base_url=f"{here.url}/v1", api_key=SHOP, max_retries=0) as ai:
        async with asyncio.timeout(WAIT):
            asking = asyncio.create_task(ai.chat.completions.create(**CHAT))
            await here.endpoint.wait_held("hello")
            await asyncio.wait({asking}, timeout=10 * SOON)
            here.endpoint.release_all()
            assert (await asking).choices[0].message.content == "You said: hello"


@pytest.mark.parametrize(("path", "body"), REQUESTS)
async def test_an_error_after_the_first_byte_is_a_document_that_says_so(
    tmp_path: Path, path: str, body: dict[str, Any]
) -> None:
    sent = {**body, "model": "failing"} if "model" in body else body
    async with (
        app(tmp_path, "failing") as here,
        session() as http,
        http.post(here.url + path, json=sent) as answer,
    ):
        assert answer.status == 200
        assert await answer.content.readexactly(1) == b" "
        await here.endpoint.wait_held("hello")
        here.endpoint.release_all()
        content = json.loads(await answer.read())
    if path.startswith("/v1"):
        assert content["error"]["message"]
        assert "choices" not in content
    else:
        assert content["status"] >= 500
        assert content["error_id"]


async def test_an_error_at_once_keeps_its_status(here: AppWithModel) -> None:
    async with session() as http:
        for path, body, status in (
            ("/v1/chat/completions", {**CHAT, "model": "nowhere"}, 404),
            ("/api/chat/assistant/message", {}, 422),
        ):
            async with http.post(here.url + path, json=body) as answer:
                assert answer.status == status
                assert not (await answer.read()).startswith(b" ")


async def test_a_stream_begins_before_the_model_s_first_word_and_has_no_white_space(
    here: AppWithModel,
) -> None:
    address, sent = f"{here.url}/v1/chat/completions", {**CHAT, "stream": True}
    async with session() as http, http.post(address, json=sent) as answer:
        assert answer.content_type == "text/event-stream"
        assert (await answer.content.readuntil(b"\n\n")).startswith(b"data: ")
        await here.endpoint.wait_held("hello")
        here.endpoint.release_all()
        assert b"hello" in await answer.read()


async def test_a_client_that_leaves_a_late_answer_stops_its_turn(here: AppWithModel) -> None:
    async with session() as http:
        async with http.post(f"{here.url}/v1/chat/completions", json=CHAT) as answer:
            assert await answer.content.readexactly(1) == b" "
            answer.close()
        await here.endpoint.wait_aborted(1)


async def test_without_the_setting_an_answer_waits_for_its_status(tmp_path: Path) -> None:
    async with app(tmp_path, seconds=0) as here, session() as http:
        asking = asyncio.create_task(_post(http, here.url))
        await here.endpoint.wait_held("hello")
        await asyncio.wait({asking}, timeout=10 * SOON)
        here.endpoint.release_all()
        assert (await asking).startswith(b"{")


async def _post(http: aiohttp.ClientSession, url: str) -> bytes:
    async with http.post(f"{url}/v1/chat/completions", json=CHAT) as answer:
        return await answer.read()
