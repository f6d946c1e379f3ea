"""`/chat` with gradio_client."""

import asyncio
import itertools

import pytest
from gradio_client import Client  # type: ignore[import-untyped]
from gradio_client.exceptions import AppError  # type: ignore[import-untyped]

from cmw_agent.chat.commands import BEGUN, FORGOTTEN, NOTHING
from tests.doubles.openai_server import OpenAIDouble
from tests.harness import WAIT, Served, canary

pytestmark = pytest.mark.asyncio(loop_scope="module")


def _client(app: Served) -> Client:
    return Client(app.url, verbose=False, analytics_enabled=False)


async def test_two_programs_never_meet(demo: Served) -> None:
    alice, bob = await asyncio.gather(*(asyncio.to_thread(_client, demo) for _ in range(2)))

    def say(client: Client, text: str) -> str:
        return str(client.predict(text, api_name="/chat"))

    secret = canary()
    hello, nobody = await asyncio.gather(
        asyncio.to_thread(say, alice, "My name is Alice"),
        asyncio.to_thread(say, bob, "What is my name?"),
    )
    assert hello.startswith("Hello, Alice!")
    assert nobody == "I don't know your name yet."
    assert secret in await asyncio.to_thread(say, alice, f"keep {secret}")
    assert secret not in await asyncio.to_thread(say, bob, "what did she say")
    assert await asyncio.to_thread(say, alice, "What is my name?") == "Your name is Alice!"
    assert await asyncio.to_thread(say, bob, "What is my name?") == "I don't know your name yet."
    for client in (alice, bob):
        await asyncio.to_thread(client.close)


async def test_a_program_begins_anew_and_deletes_everything_by_commands(demo: Served) -> None:
    client = await asyncio.to_thread(_client, demo)

    async def say(text: str) -> str:
        return str(await asyncio.to_thread(client.predict, text, api_name="/chat"))

    await say("My name is Alice")
    assert await say("/new") == BEGUN
    assert await say("What is my name?") == "I don't know your name yet."
    assert "/forget everything" in await say("/forget")
    assert await say("/forget everything") == FORGOTTEN
    assert await say("/forget everything") == NOTHING
    assert await say("What is my name?") == "I don't know your name yet."
    await asyncio.to_thread(client.close)


async def test_an_answer_grows_and_ends_whole(app: Served, model: OpenAIDouble) -> None:
    client = await asyncio.to_thread(_client, app)
    asked = "[gated-3] word by word"
    coming = await asyncio.to_thread(client.submit, asked, api_name="/chat")
    await model.wait_held(asked)
    async with asyncio.timeout(WAIT):
        grown = [await asyncio.to_thread(next, coming)]
    model.release(asked)
    grown += await asyncio.to_thread(list, coming)
    assert len(grown) > 1
    assert all(late.startswith(early) for early, late in itertools.pairwise(grown))
    assert grown[-1] == f"You said: {asked}"
    await asyncio.to_thread(client.close)


async def test_a_failure_is_a_sentence_for_programs_too(app: Served) -> None:
    client = await asyncio.to_thread(_client, app)
    with pytest.raises(AppError, match="did not accept this app's key"):
        await asyncio.to_thread(client.predict, "[fail-401] please", api_name="/chat")
    with pytest.raises(AppError, match="The message is empty"):
        await asyncio.to_thread(client.predict, " ", api_name="/chat")
    await asyncio.to_thread(client.close)
