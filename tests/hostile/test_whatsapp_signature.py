"""The WhatsApp webhook accepts only current requests signed over their exact bytes, each once."""

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
import pytest_asyncio

from cmw_agent.channels.whatsapp.authentication import META_HEADER as HEADER
from cmw_agent.channels.whatsapp.authentication import BodySignature as Signatures
from tests.doubles.whatsapp_bridge import Bridge, whatsapp_bridge
from tests.harness import WAIT, served, settings_for
from tests.phones import (
    KEY,
    PATH,
    SECRET,
    deliver,
    in_group,
    message,
    settled,
    status_of,
    whatsapp_settings,
)
from tests.rows import count, rows

NEXT = "whatsapp-secret-2"
KIM = "491511@c.us"
ON_THE_WAY = {"received", "running", "pending", "sending"}

shared = pytest.mark.asyncio(loop_scope="module")


@dataclass(slots=True)
class Here:
    url: str
    folder: Path
    bridge: Bridge
    http: aiohttp.ClientSession


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Here]:
    folder = tmp_path_factory.mktemp("signed")
    async with whatsapp_bridge() as bridge:
        values: dict[str, Any] = {"whatsapp_secret": f"{NEXT},{SECRET}", "max_file_bytes": 2048}
        settings = whatsapp_settings(folder, bridge, whatsapp_verify_token="verify-me", **values)
        async with served(settings) as app, aiohttp.ClientSession() as http:
            yield Here(app.url, folder, bridge, http)


def stored(here: Here) -> tuple[int, int]:
    """How many messages and conversations there are."""
    return rows(here.folder, "SELECT count(*) AS n FROM channel_messages")[0]["n"], count(
        here.folder
    )[0]


async def at_rest(here: Here) -> int:
    """Wait until nothing is on its way, in or out; return how many messages are done then."""
    async with asyncio.timeout(WAIT):
        while True:
            found = await status_of(here.http, here.url)
            if not ON_THE_WAY & (found["messages"].keys() | found["sends"].keys()):
                return int(found["messages"].get("done", 0))
            await asyncio.sleep(0.02)


async def post(here: Here, body: bytes, *signatures: str) -> int:
    headers = [("content-type", "application/json"), *((HEADER, value) for value in signatures)]
    async with here.http.post(here.url + PATH, data=body, headers=headers) as answer:
        content = await answer.read()
        assert SECRET.encode() not in content
        if answer.status != 200:
            assert answer.headers["content-type"] == "application/problem+json"
        return answer.status


BODY = orjson.dumps(message(KIM, "hello"))
RIGHT = Signatures([SECRET]).sign(BODY)
SPACED = BODY.replace(b'":', b'": ')
UNSIGNED = {
    "missing": (BODY, ()),
    "empty": (BODY, ("",)),
    "wrong key": (BODY, (Signatures(["another-secret-99"]).sign(BODY),)),
    "another body's": (BODY, (Signatures([SECRET]).sign(BODY + b" "),)),
    "truncated": (BODY, (RIGHT[:-1],)),
    "half": (BODY, (RIGHT[:39],)),
    "longer": (BODY, (RIGHT + "0",)),
    "without its prefix": (BODY, (RIGHT.removeprefix("sha256="),)),
    "another prefix": (BODY, (RIGHT.replace("sha256", "sha1"),)),
    "prefix alone": (BODY, ("sha256=",)),
    "upper case": (BODY, (RIGHT.upper(),)),
    "not ASCII": (BODY, ("sha256=" + "é" * 64,)),
    "twice": (BODY, (RIGHT, RIGHT)),
    "two in one": (BODY, (f"{RIGHT},{RIGHT}",)),
    "written anew": (SPACED, (RIGHT,)),
    "one byte more": (BODY + b"\n", (RIGHT,)),
    "empty key": (BODY, (Signatures([""]).sign(BODY),)),
    "the setting as a whole": (BODY, (Signatures([f"{NEXT},{SECRET}"]).sign(BODY),)),
    "empty body": (b"", (RIGHT,)),
    "no JSON": (b"{", ()),
}


@shared
@pytest.mark.parametrize("case", UNSIGNED)
async def test_what_is_not_signed_does_nothing(case: str, here: Here) -> None:
    before = stored(here)
    body, signatures = UNSIGNED[case]
    assert await post(here, body, *signatures) == 401
    assert stored(here) == before


@shared
@pytest.mark.parametrize("secret", [NEXT, SECRET])
async def test_each_key_verifies_while_keys_change(secret: str, here: Here) -> None:
    before = await at_rest(here)
    # written as nobody's writer of JSON does: what counts are the bytes
    body = b'{ "body":"hi" ,"id":"%b",\n"from":"%b"}' % (
        secrets.token_hex(8).encode(),
        KIM.encode(),
    )
    assert (await deliver(here.http, here.url, body, secret=secret))[0] == 200
    await settled(here.http, here.url, done=before + 1)


@shared
async def test_what_was_seen_has_no_effect(here: Here) -> None:
    before = await at_rest(here)
    body = message("491599@c.us", "once")
    for _ in range(3):
        assert await deliver(here.http, here.url, body) == (200, {"status": "accepted"})
        await settled(here.http, here.url, done=before + 1)
    # the same id in another's name is another message, and another's answer
    assert (await deliver(here.http, here.url, body | {"from": "491598@c.us"}))[0] == 200
    await settled(here.http, here.url, done=before + 2)
    await at_rest(here)
    assert [len(here.bridge.texts(f"49159{n}@c.us")) for n in (9, 8)] == [1, 1]


@shared
@pytest.mark.parametrize("seconds", [-86_500, -(10**9), 400])
async def test_what_is_not_current_has_no_effect(seconds: int, here: Here) -> None:
    before = stored(here)
    body = message(KIM, "old", timestamp=max(0, int(time.time()) + seconds))
    assert await deliver(here.http, here.url, body) == (200, {"status": "accepted"})
    assert stored(here) == before


@shared
@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{}", {"content-type": "text/plain"}, 415),
        (b"{}", {"content-type": "application/x-www-form-urlencoded"}, 415),
        (b"{", {}, 400),
        (b"\xff\xfe", {}, 400),
        (b"[]", {}, 422),
        (b"{}", {}, 422),
        (orjson.dumps(in_group(KIM, "x", sender=None)), {}, 422),
        (orjson.dumps(message(KIM, "", type="image", mediaBase64="A" * 300_000)), {}, 413),
    ],
)
async def test_what_cannot_be_taken_is_refused(
    body: bytes, headers: dict[str, str], status: int, here: Here
) -> None:
    before = stored(here)
    found, problem = await deliver(here.http, here.url, body, **headers)
    assert found == status
    assert problem["status"] == status
    assert stored(here) == before


@shared
async def test_what_cannot_be_read_is_answered_politely_and_not_run(here: Here) -> None:
    await at_rest(here)
    conversations, sender = count(here.folder)[0], "491577@c.us"
    begun = time.time() // 60
    large = {"type": "image", "mediaBase64": "A" * 4096}
    for more in (
        {"type": "poll_creation"},
        {"type": "video"},
        large,
        {"type": "image"},
        {"type": "chat"},
    ):
        assert (await deliver(here.http, here.url, message(sender, "", **more)))[0] == 200
    minutes = 1 + time.time() // 60 - begun
    await at_rest(here)
    told = Counter(here.bridge.texts(sender))
    # two have asked for this sentence, which is told once in a minute of the clock
    assert 1 <= told.pop("I can read text, pictures, audio and documents.") <= min(minutes, 2)
    assert told == {
        "This file is too large; at most 0.0 MB are taken.": 1,
        "Your file did not come through; please send it again.": 1,
    }
    assert count(here.folder)[0] == conversations


@shared
@pytest.mark.parametrize(
    ("mode", "word", "challenge", "status"),
    [
        ("subscribe", "verify-me", "1158201444", 200),
        ("subscribe", "verify-m", "1158201444", 403),
        ("subscribe", "", "1158201444", 403),
        ("subscribe", "é", "1158201444", 403),
        ("unsubscribe", "verify-me", "1158201444", 403),
        ("subscribe", "verify-me", "<script>", 403),
        ("subscribe", "verify-me", "", 403),
    ],
)
async def test_the_address_is_verified_by_its_word(
    mode: str, word: str, challenge: str, status: int, here: Here
) -> None:
    query = {"hub.mode": mode, "hub.verify_token": word, "hub.challenge": challenge}
    async with here.http.get(here.url + PATH, params=query) as answer:
        assert answer.status == status
        if status == 200:
            assert await answer.text() == challenge
            assert answer.content_type == "text/plain"


@shared
async def test_an_operator_sends_with_a_key_alone(here: Here) -> None:
    url, body = f"{here.url}/whatsapp/send", {"to": "491555", "message": "Your order is ready."}
    for headers in ({}, {"authorization": "Bearer wrong-key-000000000"}, {HEADER: RIGHT}):
        async with here.http.post(url, json=body, headers=headers) as answer:
            assert answer.status == 401
        async with here.http.get(f"{here.url}/whatsapp/status", headers=headers) as answer:
            assert answer.status == 401
    own = {"authorization": f"Bearer {KEY}", "idempotency-key": "order-7"}
    ids = set()
    for _ in range(3):
        async with here.http.post(url, json=body, headers=own) as answer:
            assert answer.status == 202
            ids.add((await answer.json())["id"])
    assert len(ids) == 1
    while not here.bridge.texts("491555@c.us"):
        await here.bridge.until(len(here.bridge.delivered) + 1)
    # never another's text under the same key, nor fragments of a longer one
    longer = "\n\n".join(["word " * 700] * 3)
    for other in (body | {"message": longer}, body | {"to": "491556"}):
        async with here.http.post(url, json=other, headers=own) as answer:
            assert answer.status == 422
            assert (await answer.json())["detail"].startswith("This Idempotency-Key came with")
    assert (await status_of(here.http, here.url))["sends"].get("pending", 0) == 0
    assert here.bridge.texts("491555@c.us") == ["Your order is ready."]
    refused: tuple[Any, ...] = (
        {},
        {"to": "kim", "message": "x"},
        {"to": "491555", "message": " "},
        [],
    )
    for wrong in refused:
        async with here.http.post(url, json=wrong, headers=own) as answer:
            assert answer.status == 422


async def test_without_a_secret_the_channel_is_closed(tmp_path: Path) -> None:
    async with served(settings_for(tmp_path)) as app, aiohttp.ClientSession() as http:
        for secret in (SECRET, ""):
            status, problem = await deliver(http, app.url, message(KIM, "x"), secret=secret)
            assert (status, problem["detail"]) == (404, "WhatsApp is not set up here.")
        assert count(tmp_path) == (0, 0, 0)
