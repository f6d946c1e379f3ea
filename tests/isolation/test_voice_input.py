"""What is said into the microphone is written down for who says it, within limits, and stored nowhere."""

import io
from pathlib import Path

import orjson
import pytest

from cmw_agent.files.voice import MAX_BYTES
from tests.doubles.openai_server import OpenAIDouble
from tests.harness import Browser, served, settings_for
from tests.rows import rows

pytestmark = pytest.mark.asyncio(loop_scope="module")
WEBM = b"\x1aE\xdf\xa3"


async def say(browser: Browser, recording: bytes) -> tuple[int, bytes]:
    """Send a recording as the page does; return the status and the body."""
    headers = {"x-file-name": "recording", "content-type": "audio/webm"}
    address = f"{browser.url}/transcriptions"
    async with browser.http.post(address, data=io.BytesIO(recording), headers=headers) as answer:
        return answer.status, await answer.read()


async def test_a_recording_comes_back_as_words_and_is_stored_nowhere(tmp_path: Path) -> None:
    async with OpenAIDouble() as endpoint:
        settings = settings_for(
            tmp_path,
            openai_base_url=endpoint.base_url,
            model="echo",
            transcription_model="whisper",
            turns_per_minute=5,
        )
        async with (
            served(settings) as app,
            Browser(app.url) as alice,
            Browser(app.url) as bob,
            Browser(app.url, cookies=False) as nobody,
        ):
            await alice.open()
            await bob.open()
            status, content = await say(alice, WEBM + b" spoken words ")
            assert status == 200
            assert orjson.loads(content) == {"text": "recording.webm spoken words"}
            for recording, refused in (
                (b"", 422), (b"\x89PNG\r\n\x1a\n", 422), (b"plain text", 422),
                (WEBM + b"x" * MAX_BYTES, 413),
            ):  # fmt: skip
                assert (await say(alice, recording))[0] == refused, recording[:9]
            status, content = await say(alice, WEBM + b" one more ")
            assert status == 429  # each counts as a message
            assert b"in a minute" in content
            assert (await say(bob, WEBM + b" bob says "))[0] == 200
            assert (await say(nobody, WEBM + b" nobody "))[0] == 404
            assert rows(tmp_path, "SELECT * FROM agent_files") == []
            assert rows(tmp_path, "SELECT * FROM agent_messages") == []


async def test_there_is_no_such_route_where_nothing_writes_recordings_down(tmp_path: Path) -> None:
    async with OpenAIDouble() as endpoint:
        settings = settings_for(tmp_path, openai_base_url=endpoint.base_url, model="echo")
        async with served(settings) as app, Browser(app.url) as alice:
            await alice.open()
            assert (await say(alice, WEBM + b" spoken words "))[0] == 404
        assert not endpoint.requests
