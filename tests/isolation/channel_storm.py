"""The canary storm on the channels: REST, `/v1`, websites and WhatsApp at once.

Identifiers that could be confused are equal on purpose: session ids under several keys, senders'
names, and prompts of one site's visitors.
"""

import asyncio
import hmac
import secrets
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import aiohttp
import orjson

from tests.doubles.whatsapp_bridge import TOKEN, Bridge
from tests.harness import WAIT, canary
from tests.isolation.storm import User
from tests.isolation.world import AppWithModel

KEYS = {name: f"key-of-{name}-{'k' * 16}" for name in ("shop", "bank", "museum", "school")}
SECRET = "w" * 32
SITES = tuple(f"https://site-{number}.example" for number in range(4))
AGENTS = f"""
[[agents]]
id = "assistant"
allowed_origins = {orjson.dumps(list(SITES)).decode()}
"""


@dataclass(slots=True)
class Guest(User):
    """A user of another channel than the page: all bytes that came to them."""

    bytes_received: bytearray = field(default_factory=bytearray)

    def text_received(self) -> str:
        """Return all that was delivered to this user."""
        return self.bytes_received.decode()


def api_keys() -> str:
    """Return the setting with all API keys."""
    return ",".join(f"{name}:{key}" for name, key in KEYS.items())


def settings_of_channels(bridge: Bridge) -> dict[str, Any]:
    """Return the settings that open all channels."""
    return {
        "api_keys": api_keys(),
        "whatsapp_secret": SECRET,
        "whatsapp_bridge_url": bridge.url,
        "whatsapp_bridge_token": TOKEN,
    }


CHANNELS = ("rest", "events", "completions", "widget", "phone")
# Those in which something of a user is kept, so that an MCP server may have a session for them.
KEEPING = ("rest", "events", "kept_completions", "widget", "phone")


def guests(each: int, turns: int, channels: Sequence[str] = CHANNELS) -> dict[str, list[Guest]]:
    """Return so many users of each channel, who will say so much."""
    return {
        channel: [
            Guest("nothing", [f"note {canary()} please" for _ in range(turns)]) for _ in range(each)
        ]
        for channel in channels
    }


async def channel_storm(
    world: AppWithModel, bridge: Bridge, crowd: dict[str, list[Guest]], patience: float = WAIT
) -> list[Guest]:
    """Let the users of all channels talk at once."""
    ways: dict[str, Callable[..., Coroutine[Any, Any, None]]] = {
        "rest": _rest,
        "events": _events,
        "completions": _completions,
        "kept_completions": _kept_completions,
        "widget": _widget,
    }
    async with aiohttp.ClientSession() as http:

        async def visit(channel: str, place: int, guest: Guest) -> None:
            try:
                async with asyncio.timeout(patience):
                    if channel == "phone":
                        await _phone(world, http, bridge, place, guest)
                    else:
                        await ways[channel](world, http, place, guest)
            except Exception as error:  # noqa: BLE001 (a broken build may send anything)
                guest.trouble = error

        await asyncio.gather(
            *(
                visit(channel, place, guest)
                for channel, some in crowd.items()
                for place, guest in enumerate(some)
            )
        )
    return [guest for some in crowd.values() for guest in some]


def _key(place: int) -> dict[str, str]:
    return {"Authorization": f"Bearer {list(KEYS.values())[place % len(KEYS)]}"}


async def _asked(
    http: aiohttp.ClientSession, guest: Guest, method: str, url: str, **options: Any
) -> bytes:
    async with http.request(method, url, **options) as answer:
        body = await answer.read()
        guest.bytes_received += body
        assert answer.status == 200, body
        return body


async def _rest(world: AppWithModel, http: aiohttp.ClientSession, place: int, guest: Guest) -> None:
    # users 0 to 3 hold four keys and one session id
    url, session = f"{world.url}/api/chat/assistant", f"session-{place // len(KEYS)}"
    for text in guest.said:
        body = {"message": text, "session_id": session}
        answer = await _asked(http, guest, "POST", f"{url}/message", json=body, headers=_key(place))
        guest.answered.append(orjson.loads(answer)["response"])
    for path in ("", "/export"):
        await _asked(http, guest, "GET", f"{url}/sessions/{session}{path}", headers=_key(place))


async def _events(
    world: AppWithModel, http: aiohttp.ClientSession, place: int, guest: Guest
) -> None:
    url = f"{world.url}/api/chat/assistant/message"
    for text in guest.said:
        body = {"message": text, "session_id": f"stream-{place // len(KEYS)}"}
        headers = {**_key(place), "Accept": "text/event-stream"}
        answer = await _asked(http, guest, "POST", url, json=body, headers=headers)
        guest.answered.append(_done(answer))


async def _completions(
    world: AppWithModel, http: aiohttp.ClientSession, place: int, guest: Guest
) -> None:
    url, said = f"{world.url}/v1/chat/completions", []
    for text in guest.said:
        said.append({"role": "user", "content": text})
        user = f"user-{place // len(KEYS)}"  # without it, all requests of a key are one owner
        body = {"model": "assistant", "messages": said, "user": user}
        answer = await _asked(http, guest, "POST", url, json=body, headers=_key(place))
        told = orjson.loads(answer)["choices"][0]["message"]["content"]
        guest.answered.append(told)
        said.append({"role": "assistant", "content": told})


async def _kept_completions(
    world: AppWithModel, http: aiohttp.ClientSession, place: int, guest: Guest
) -> None:
    url = f"{world.url}/v1/chat/completions"
    headers = {**_key(place), "X-Session-Id": f"kept-{place // len(KEYS)}"}
    for text in guest.said:
        body = {"model": "assistant", "messages": [{"role": "user", "content": text}]}
        answer = await _asked(http, guest, "POST", url, json=body, headers=headers)
        guest.answered.append(orjson.loads(answer)["choices"][0]["message"]["content"])


async def _widget(
    world: AppWithModel, http: aiohttp.ClientSession, place: int, guest: Guest
) -> None:
    url, headers = f"{world.url}/embed/assistant", {"Origin": SITES[place % len(SITES)]}
    visit = await _asked(http, guest, "POST", f"{url}/visit", json={}, headers=headers)
    headers["Authorization"] = f"Bearer {orjson.loads(visit)['token']}"
    for text in guest.said:
        body = {"message": text, "key": secrets.token_hex(8)}
        answer = await _asked(http, guest, "POST", f"{url}/message", json=body, headers=headers)
        guest.answered.append(_done(answer))
    await _asked(http, guest, "GET", f"{url}/messages", headers=headers)


async def _phone(
    world: AppWithModel, http: aiohttp.ClientSession, bridge: Bridge, place: int, guest: Guest
) -> None:
    sender = f"49170{place:07}@c.us"
    for text in guest.said:
        message: dict[str, Any] = {
            "id": f"m-{secrets.token_hex(8)}",
            "from": sender,
            "body": text,
            "type": "chat",
            "sender": {"id": sender, "name": "Alex"},
        }
        body = orjson.dumps(message)
        sign = hmac.new(SECRET.encode(), body, sha256).hexdigest()
        headers = {"Content-Type": "application/json", "X-Hub-Signature-256": f"sha256={sign}"}
        async with http.post(f"{world.url}/whatsapp/incoming", data=body, headers=headers) as taken:
            assert taken.status == 200, await taken.read()
        while not any(text in told for told in bridge.texts(sender)):
            bridge.changed.clear()
            await bridge.changed.wait()
    guest.answered += bridge.texts(sender)
    guest.bytes_received += "\n".join(bridge.texts(sender)).encode()


def _done(stream: bytes) -> str:
    """Return the whole answer that a stream of events ends with."""
    name = ""
    for line in stream.splitlines():
        if line.startswith(b"event: "):
            name = line[7:].decode()
        elif line.startswith(b"data: ") and name == "done":
            return str(orjson.loads(line[6:])["response"])
    raise AssertionError(stream[-300:])
