"""The app below a path of a FastAPI app that has another Gradio app too."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import gradio as gr
import pytest
import pytest_asyncio
import uvicorn
from fastapi import FastAPI

from cmw_agent import Agent, StartupError, build_app, mount
from tests.agents import samples
from tests.harness import Browser, last_text, settings_for
from tests.rest import KEYS, client
from tests.service import wait_until


@pytest_asyncio.fixture
async def parent_url(tmp_path: Path) -> AsyncIterator[str]:
    parent = FastAPI()
    parent.add_api_route("/own", lambda: {"whose": "the parent's"})
    with gr.Blocks() as other:
        gr.Markdown("Another app")
    gr.mount_gradio_app(parent, other, path="/other")
    settings = settings_for(tmp_path, root_path="/chat", api_keys=KEYS)
    mount(parent, build_app(settings, agents=[Agent(id="echo", graph=samples.echo)]), "/chat")
    config = uvicorn.Config(parent, port=0, log_config=None, lifespan="on")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server._serve())
    await wait_until(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    await serving


async def test_a_mounted_app_chats_beside_its_parent_and_another_gradio_app(
    parent_url: str,
) -> None:
    async with Browser(f"{parent_url}/chat") as browser:
        tab = await browser.open()
        assert last_text((await tab.send("one")).value) == "You said: one"
        for path, text in (("/own", "the parent's"), ("/other/", "gradio")):
            async with browser.http.get(parent_url + path) as answer:
                assert answer.status == 200
                assert text in await answer.text()
        async with browser.http.get(f"{parent_url}/chat/nothing") as answer:
            assert answer.status == 404
    async with client(f"{parent_url}/chat", agent="echo") as shop:
        assert (await shop.say("one")).json["response"] == "You said: one"


async def test_an_app_of_another_path_is_not_mounted(tmp_path: Path) -> None:
    app = build_app(settings_for(tmp_path))
    with pytest.raises(StartupError, match="must be made for the path '/chat'"):
        mount(FastAPI(), app, "/chat")
