"""Streams of answers are sent as they grow, and end however their turns end."""

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from cmw_agent.channels.common.turn_streams import EVENTS, server_sent, wait_until_begun
from cmw_agent.channels.openai.streams import ChatCompletionBuilder, chunks
from cmw_agent.chat.turn import Turn
from cmw_agent.core.errors import ServiceUnavailableError
from cmw_agent.core.events import TextDelta, TurnStarted
from tests.isolation.world import app_with_model
from tests.rest import KEYS, client
from tests.service import wait_until

MOST = 10  # pieces, of a stream that has four at most
STARTED = TurnStarted("a" * 8, "b", 1, 2)
Ending = Callable[[Turn], Awaitable[None]]

both = pytest.mark.parametrize("channel", ["rest", "v1"])


async def cancelled(turn: Turn) -> None:
    raise asyncio.CancelledError


async def silent(turn: Turn) -> None:
    """End without a word."""


async def refused(turn: Turn) -> None:
    turn.refuse(ServiceUnavailableError("Please try again.", error_id="e" * 8))


async def streamed(channel: str, ending: Ending) -> list[bytes]:
    """Return what is written of a turn that has begun, says a word and ends by `ending`."""
    turn = Turn("k", "text", is_new=True)

    async def work() -> None:
        turn.emit(STARTED)
        turn.emit(TextDelta("hello"))
        await begins_to_end.wait()
        await ending(turn)

    begins_to_end = asyncio.Event()
    reader = turn.read()
    turn.start(work())
    first = await wait_until_begun(reader)
    begins_to_end.set()
    pieces: AsyncIterator[bytes] = (
        server_sent(reader, first)
        if channel == "rest"
        else chunks(reader, first, ChatCompletionBuilder("m"), with_usage=False)
    )
    found: list[bytes] = []
    async for piece in pieces:
        found.append(piece)
        assert len(found) < MOST, "the stream does not end"
    return found


def last_of(channel: str, pieces: list[bytes]) -> tuple[str, dict[str, object]]:
    """Return name and content of the event that tells how an answer ended."""
    if channel == "v1":
        assert pieces[-1] == b"data: [DONE]\n\n"
        return "error", json.loads(pieces[-2].removeprefix(b"data: "))["error"]
    name, _, data = pieces[-1].decode().partition("\n")
    return name.removeprefix("event: "), json.loads(data.removeprefix("data: "))


@both
@pytest.mark.parametrize("ending", [cancelled, silent])
async def test_a_turn_that_ends_without_a_word_ends_its_stream(
    channel: str, ending: Ending
) -> None:
    pieces = await streamed(channel, ending)
    name, told = last_of(channel, pieces)
    assert any(b"hello" in piece for piece in pieces)
    if channel == "rest":
        assert (name, told["response"]) == ("done", "hello")
        assert told["metadata"] == {
            "status": "interrupted",
            "tokens": None,
            "tools": [],
            "finish_reason": None,
        }
    else:
        assert str(told["message"]).startswith("The answer was cut short.")


@both
async def test_a_turn_that_is_refused_after_it_began_tells_so_in_its_stream(channel: str) -> None:
    name, told = last_of(channel, await streamed(channel, refused))
    assert name == "error"
    assert str(told["detail" if channel == "rest" else "message"]).startswith("Please try again.")
    assert "e" * 8 in str(told)


async def test_streams_of_a_repeated_request_end_when_the_process_does(tmp_path: Path) -> None:
    async with app_with_model(tmp_path, "gated-1", api_keys=KEYS) as here, client(here.url) as shop:
        chat, named = here.app.application.runtime.chat, {"Accept": EVENTS, "Idempotency_Key": "k"}
        first = asyncio.create_task(shop.say("a b c", "s", **named))
        await wait_until(lambda: here.endpoint.request_count == 1)
        second = asyncio.create_task(shop.say("a b c", "s", **named))
        await wait_until(lambda: chat.running == 2)
        await chat.drain(0)
        for reply in (await first, await second):
            assert reply.events[-1][0] == "done"
            assert reply.events[-1][1]["metadata"]["status"] == "interrupted"


async def test_a_repeated_request_that_is_stopped_while_it_begins_is_told_so(
    tmp_path: Path,
) -> None:
    async with app_with_model(tmp_path, "gated-1", api_keys=KEYS) as here, client(here.url) as shop:
        chat, named = here.app.application.runtime.chat, {"Accept": EVENTS, "Idempotency_Key": "k"}
        first = asyncio.create_task(shop.say("a b c", "s", **named))
        await wait_until(lambda: here.endpoint.request_count == 1)
        with contextlib.closing(
            sqlite3.connect(tmp_path / "chat.db", isolation_level=None)
        ) as other:
            other.execute("BEGIN IMMEDIATE")
            second = asyncio.create_task(shop.say("a b c", "s", **named))
            await wait_until(lambda: chat.running == 2)
            await rounds()  # it waits for the lock now
            ending = asyncio.create_task(chat.drain(0))
            await rounds()
            other.execute("ROLLBACK")
        await ending
        for reply in (await first, await second):
            assert reply.events[-1][0] == "done"
            assert reply.events[-1][1]["metadata"]["status"] == "interrupted"


async def test_what_is_stopped_before_it_begins_is_to_be_sent_again() -> None:
    turn = Turn("k", "text", is_new=True)
    reader = turn.read()
    turn.start(asyncio.sleep(0))
    turn.stop()
    with pytest.raises(
        ServiceUnavailableError, match="stopped before it was stored; please send it again"
    ):
        await wait_until_begun(reader)


async def rounds() -> None:
    """Let every task take the steps that need nothing from outside."""
    for _ in range(10):
        await asyncio.sleep(0)
