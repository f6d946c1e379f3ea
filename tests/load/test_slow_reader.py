"""A page that reads slowly delays nobody, and its buffer is bounded."""

import asyncio
import gc
import socket
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from cmw_agent.web.gradio_transport.mailboxes import UNREAD_MESSAGES, EventBuffer
from tests.doubles.openai_server import OpenAIDouble
from tests.doubles.openai_steps import Request, Start, Step, Text
from tests.harness import API, WAIT, Browser, Event, applied, last_text, served, settings_for
from tests.service import until

PIECES = 1_500
PIECE = "slow " * 1_600


def by_length(request: Request) -> list[Step]:
    """More text than all buffers on its way hold, or a word."""
    if "long" in request.last_user:
        return [Start(), Text([PIECE] * PIECES)]
    return [Start(), Text([f"You said: {request.last_user}"])]


def small_socket(address: Any) -> socket.socket:
    made = socket.socket(address[0], address[1], address[2])
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    made.setblocking(False)
    return made


def most_unread() -> int:
    """Return how many messages wait in the fullest mailbox."""
    boxes = [found for found in gc.get_objects() if type(found) is EventBuffer]
    return max((len(box.messages) for box in boxes), default=0)


@pytest.mark.slow
async def test_a_slow_reader_holds_up_nobody_and_fills_no_memory(tmp_path: Path) -> None:
    async with (
        OpenAIDouble(scripts={"by-length": by_length}) as endpoint,
        served(settings_for(tmp_path, openai_base_url=endpoint.base_url, model="by-length")) as app,
        Browser(app.url, connector=aiohttp.TCPConnector(socket_factory=small_socket)) as slow,
        Browser(app.url) as quick,
    ):
        tab, other = await slow.open(), await quick.open()
        event = Event(await tab.join("send", ["a long one", "", "", None]))
        async with slow.http.get(
            f"{app.url}{API}/queue/data", params={"session_hash": tab.hash}
        ) as stream:
            await until(lambda: most_unread() >= UNREAD_MESSAGES)
            # Everybody else goes on, turn after turn, and the full mailbox gets no fuller.
            for n in range(5):
                assert last_text((await other.send(f"turn {n}")).value) == f"You said: turn {n}"
                assert most_unread() <= UNREAD_MESSAGES
            # A socket that had room for a last one may have made some in the mailbox too.
            await until(lambda: most_unread() == UNREAD_MESSAGES)
            # The slow one loses nothing either.
            async with asyncio.timeout(WAIT * 2):
                received = await stream.read()
        for line in received.splitlines():
            if line.startswith(b"data:"):
                applied(event, orjson.loads(line[5:]))
        assert event.error is None
        assert last_text(event.value) == PIECE * PIECES
