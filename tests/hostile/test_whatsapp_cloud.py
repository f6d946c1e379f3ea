"""WhatsApp: files are fetched from Meta's hosts alone; a bridge may get answers in the response."""

import asyncio
import io
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from PIL import Image

from tests.doubles.openai_server import OpenAIDouble
from tests.doubles.whatsapp_cloud import Cloud, whatsapp_cloud
from tests.harness import served
from tests.phones import (
    cloud_body,
    cloud_message,
    cloud_settings,
    deliver,
    message,
    settled,
    whatsapp_settings,
)
from tests.rows import count, rows
from tests.service import wait_until

KIM = "491511"


def picture() -> bytes:
    """A small PNG."""
    out = io.BytesIO()
    Image.new("RGB", (4, 4), "red").save(out, "PNG")
    return out.getvalue()


def receipts(cloud: Cloud) -> dict[str, dict[str, Any]]:
    """The read receipts, by the message's id."""
    return {item["message_id"]: item for item in cloud.read}


async def test_texts_and_files_are_answered_where_they_came_from(tmp_path: Path) -> None:
    async with whatsapp_cloud() as cloud, OpenAIDouble() as endpoint:
        cloud.files = {"77": picture(), "78": b"OggS spoken words", "79": b"written words"}
        model = {"openai_base_url": endpoint.base_url, "model": "echo"}
        settings = cloud_settings(tmp_path, cloud, **model)
        async with served(settings) as app, aiohttp.ClientSession() as http:
            asked = cloud_message(KIM, body="**hi**")
            seen = cloud_message(KIM, "image", id="77", mime_type="image/png")
            heard = cloud_message(KIM, "audio", id="78", voice=True)
            read = cloud_message(KIM, "document", id="79", filename="../a.txt", caption="look")
            delivered = cloud_body({"id": "wamid.s", "status": "sent"}, statuses=[{}])
            assert (await deliver(http, app.url, delivered))[0] == 422
            # what nobody can read keeps none of the others back
            body = cloud_body(asked, {"id": "wamid.o"}, seen, heard, read)
            assert (await deliver(http, app.url, body))[0] == 200
            assert (await deliver(http, app.url, cloud_body(statuses=[{"id": "x"}])))[0] == 200
            await cloud.until(4)
            assert [item["text"]["body"] for item in cloud.sent] == [
                "You said: *hi*",
                "You said: (picture)",
                "You said: (recording)[File: recording]\nrecording.ogg spoken words",
                "You said: look[File: a.txt]\nwritten words",
            ]
            assert {item["to"] for item in cloud.sent} == {KIM}
            # sent beside the answers, and perhaps after them
            ids = {item["id"] for item in (asked, seen, heard, read)}
            await wait_until(lambda: receipts(cloud).keys() >= ids)
            assert receipts(cloud)[asked["id"]]["typing_indicator"] == {"type": "text"}
            shown = str(endpoint.requests[-1].messages)
            for part in ("data:image/png;base64,", "spoken words", "written words"):
                assert part in shown, part
            files = rows(tmp_path, "SELECT * FROM agent_files ORDER BY seq")
            assert [file["kind"] for file in files] == ["image", "audio", "document"]
            assert [file["seq"] for file in files] == [3, 5, 7]


async def test_a_file_is_fetched_from_meta_alone(tmp_path: Path) -> None:
    asked: list[str] = []

    async def note(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(body=picture())

    other = web.Application()
    other.router.add_get("/{path:.*}", note)
    runner = web.AppRunner(other, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    elsewhere = f"127.0.0.1:{runner.addresses[0][1]}/a"
    try:
        async with whatsapp_cloud() as cloud, aiohttp.ClientSession() as http:
            cloud.media_urls = {
                "1": f"http://{elsewhere}",
                "2": f"{cloud.url.replace('//', '//lookaside.fbsbx.com@')}/bytes/2",
                "3": f"{cloud.url}@{elsewhere}",
                "4": "http://lookaside.fbsbx.com/a",
                "5": "https://lookaside.fbsbx.com.example/a",
                "6": "file:///etc/passwd",
                "7": "",
            }
            cloud.files = dict.fromkeys(cloud.media_urls, picture())
            async with served(cloud_settings(tmp_path, cloud)) as app:
                images = [cloud_message(KIM, "image", id=name) for name in cloud.media_urls]
                assert (await deliver(http, app.url, cloud_body(*images)))[0] == 200
                await cloud.until(len(images))
            assert all("could not be fetched" in item["text"]["body"] for item in cloud.sent)
            assert cloud.fetched == list(cloud.media_urls)
    finally:
        await runner.cleanup()
    assert asked == []
    assert count(tmp_path) == (0, 0, 0)


async def test_a_file_that_is_too_large_is_not_kept(tmp_path: Path) -> None:
    async with whatsapp_cloud() as cloud, aiohttp.ClientSession() as http:
        cloud.files["77"] = picture() + b"x" * 5_000
        async with served(cloud_settings(tmp_path, cloud, max_file_bytes=4_096)) as app:
            body = cloud_body(cloud_message(KIM, "image", id="77"))
            assert (await deliver(http, app.url, body))[0] == 200
            await cloud.until(1)
        assert "too large" in cloud.sent[0]["text"]["body"]
        assert count(tmp_path) == (0, 0, 0)


async def test_a_bridge_may_get_its_answer_in_the_reply(tmp_path: Path) -> None:
    settings = whatsapp_settings(tmp_path, whatsapp_inline=True)
    async with served(settings) as app, aiohttp.ClientSession() as http:
        body = message("491511@c.us", "My name is Alice")
        found = await asyncio.gather(*(deliver(http, app.url, body) for _ in range(3)))
        replies = sorted((content["reply"] for _, content in found), key=str)
        assert replies[1:] == [None, None]
        assert "Alice" in replies[0]
        old = message("491511@c.us", "x", timestamp=5)
        assert (await deliver(http, app.url, old))[1] == {"reply": None}
        video = message("491511@c.us", "", type="video")
        assert "text, pictures" in (await deliver(http, app.url, video))[1]["reply"]
        await settled(http, app.url, done=2)
        assert rows(tmp_path, "SELECT * FROM channel_sends") == []


async def test_too_many_messages_are_told_of_once_in_a_while(tmp_path: Path) -> None:
    settings = whatsapp_settings(tmp_path, whatsapp_inline=True, turns_per_minute=1)
    async with served(settings) as app, aiohttp.ClientSession() as http:
        said = [
            (await deliver(http, app.url, message("491511@c.us", "hi")))[1]["reply"]
            for _ in range(4)
        ]
        assert said[0] is not None
        told = [text for text in said[1:] if text is not None]
        # the clock may pass from one minute to the next meanwhile
        assert 1 <= len(told) <= 2
        assert all(text.startswith("You have sent 1 message in a minute") for text in told)
