"""Every bridge: people's messages are answered by its own routes, and nothing else is."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import orjson
import pytest

from tests.doubles.openai_server import OpenAIDouble
from tests.doubles.openai_steps import Gate, Request, Start, Step, Text
from tests.doubles.whatsapp_bridges import GROUP, OWN, SECRET, WIRES, Wire, bridge_server
from tests.harness import WAIT, served
from tests.phones import settled, status_of, whatsapp_settings

KIM, LEE = "491511000001", "491522000002"


def held(_: Request) -> Sequence[Step]:
    return [Start(), Gate(), Text(["late"])]


def made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


@dataclass(slots=True)
class Here:
    """An app behind one bridge."""

    wire: Wire
    url: str
    http: aiohttp.ClientSession
    endpoint: OpenAIDouble

    async def deliver(self, body: dict[str, Any], secret: str = SECRET) -> int:
        """Deliver a webhook as the bridge does; return the status."""
        raw = orjson.dumps(body)
        headers = {"content-type": "application/json", **self.wire.proof(raw, secret)}
        address = self.url + self.wire.address(secret)
        async with self.http.post(address, data=raw, headers=headers) as answer:
            await answer.read()
            return answer.status

    async def say(self, sender: str, text: str, **more: Any) -> int:
        """Deliver a text."""
        body = self.wire.text(sender, text, identifier=self.wire.new_id(), **more)
        return await self.deliver(body)

    def chat(self, name: str) -> str:
        """Return a chat as the bridge's send route is given it."""
        return self.wire.chat_of(name)


@contextlib.asynccontextmanager
async def app_behind(name: str, folder: Path, **changes: Any) -> AsyncIterator[Here]:
    async with bridge_server(name) as wire, OpenAIDouble(scripts={"held": held}) as endpoint:
        values = {
            "whatsapp_groups": "addressed",
            "openai_base_url": endpoint.base_url,
            "model": "echo",
            **wire.settings(),
            **changes,
        }
        settings = whatsapp_settings(made(folder), **values)
        async with served(settings) as app, aiohttp.ClientSession() as http:
            yield Here(wire, app.url, http, endpoint)


@pytest.fixture(params=WIRES)
async def here(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Here]:
    async with app_behind(request.param, tmp_path) as found:
        yield found


async def test_a_text_is_answered_once_where_it_was_written(here: Here) -> None:
    body = here.wire.text(KIM, "hello", identifier=here.wire.new_id())
    assert [await here.deliver(body) for _ in range(3)] == [200, 200, 200]
    assert await here.say(LEE, "hello too") == 200
    await settled(here.http, here.url, done=2, sends={"sent": 2})
    assert sorted(here.wire.server.delivered) == sorted(
        [
            (here.chat(f"{KIM}@c.us"), "You said: hello"),
            (here.chat(f"{LEE}@c.us"), "You said: hello too"),
        ]
    )
    await here.wire.server.until_seen(2)


async def test_while_an_answer_is_written_the_bridge_shows_it(tmp_path: Path) -> None:
    for name, wire in WIRES.items():
        if not wire.has_typing:
            continue
        async with app_behind(name, tmp_path / name, model="held") as here:
            assert await here.say(KIM, "hello") == 200
            await here.endpoint.wait_held()
            await here.wire.server.until_typing(here.chat(f"{KIM}@c.us"))
            here.endpoint.release_all()
            await here.wire.server.until(1)


async def test_a_file_is_read_wherever_the_bridge_keeps_it(here: Here) -> None:
    assert await here.deliver(here.wire.file(KIM, "look", b"written words")) == 200
    await here.wire.server.until(1)
    (answer,) = here.wire.server.delivered
    assert answer == (
        here.chat(f"{KIM}@c.us"),
        "You said: look[File: a.txt]\nwritten words",
    )


async def test_in_a_group_only_what_is_for_the_app_is_answered(here: Here) -> None:
    assert await here.say(KIM, "dinner at eight?", group=True) == 200
    assert await here.say(KIM, f"@{LEE} and you?", group=True) == 200
    assert await here.say(KIM, "bottles are empty", group=True) == 200
    assert await here.say(KIM, "what now", group=True, mentions=[OWN]) == 200
    await here.wire.server.until(1)
    assert await here.say(LEE, "Bot, and for me?", group=True) == 200
    await here.wire.server.until(2)
    (first, _) = here.wire.sent_ids
    await settled(here.http, here.url, done=2, sends={"sent": 2})
    assert await here.say(LEE, "why so?", group=True, quotes=first) == 200
    assert await here.say(LEE, "never mind", group=True, quotes=here.wire.new_id()) == 200
    await here.wire.server.until(3)
    await settled(here.http, here.url, done=3, sends={"sent": 3})
    assert here.wire.server.delivered == [
        (here.chat(GROUP), f"You said: {text}") for text in ("what now", "and for me?", "why so?")
    ]


@pytest.mark.parametrize("name", WIRES)
async def test_in_groups_all_or_nothing_is_answered_where_the_settings_say_so(
    name: str, tmp_path: Path
) -> None:
    async with app_behind(name, tmp_path / "all", whatsapp_groups="all") as here:
        assert await here.say(KIM, "anything", group=True) == 200
        await here.wire.server.until(1)
    async with app_behind(name, tmp_path / "none", whatsapp_groups="none") as here:
        assert await here.say(KIM, "what now", group=True, mentions=[OWN]) == 200
        assert await here.say(KIM, "alone") == 200
        await here.wire.server.until(1)
        assert here.wire.server.delivered == [(here.chat(f"{KIM}@c.us"), "You said: alone")]


async def test_what_is_no_message_of_a_person_is_taken_and_has_no_effect(here: Here) -> None:
    bodies = here.wire.quiet()
    for what, body in bodies.items():
        assert await here.deliver(body) == 200, what
    flood = [here.deliver(bodies["ack"]) for _ in range(200)]
    assert set(await asyncio.gather(*flood)) == {200}
    assert await here.say(KIM, "hello") == 200
    await settled(here.http, here.url, done=1, sends={"sent": 1})
    status = await status_of(here.http, here.url)
    assert status["events_without_message"] == len(bodies) + 200
    assert len(here.endpoint.requests) == 1


async def test_a_wrong_secret_is_refused_and_counted(here: Here) -> None:
    body = here.wire.text(KIM, "hello", identifier=here.wire.new_id())
    assert await here.deliver(body, "wrong-secret-0001") == 401
    raw = orjson.dumps(body)
    headers = {"content-type": "application/json"}
    async with here.http.post(f"{here.url}/whatsapp/incoming", data=raw, headers=headers) as answer:
        assert answer.status == 401
    status = await status_of(here.http, here.url)
    assert status["refused"] == {"401": 2}
    assert status["messages"] == {}


async def test_a_body_that_is_too_large_is_refused_unread_and_counted(here: Here) -> None:
    fields = {
        "host": urlsplit(here.url).netloc,
        "content-type": "application/json",
        "content-length": str(100_000_000),
        **here.wire.proof(b"", SECRET),
    }
    there = urlsplit(here.url)
    reader, writer = await asyncio.open_connection(there.hostname, there.port)
    lines = [
        f"POST {here.wire.address(SECRET)} HTTP/1.1",
        *(f"{k}: {v}" for k, v in fields.items()),
    ]
    writer.write("\r\n".join([*lines, "", "{"]).encode())
    async with asyncio.timeout(WAIT):
        assert b" 413 " in await reader.readline()  # while the rest is still to come
    writer.close()
    with contextlib.suppress(ConnectionError):  # the app may be first
        await writer.wait_closed()
    assert (await status_of(here.http, here.url))["refused"] == {"413": 1}
    assert await here.say(KIM, "hello") == 200
    await here.wire.server.until(1)


async def test_the_status_says_whether_the_bridge_is_connected(here: Here) -> None:
    status = await status_of(here.http, here.url)
    assert (status["bridge"], status["bridge_is_well"]) == (here.wire.name, True)
