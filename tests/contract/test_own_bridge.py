"""The bridge of the folder `bridge` and the app: a message in, an answer out."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from tests.doubles.openai_server import OpenAIDouble
from tests.doubles.own_bridge import MAX_FILE_BYTES, TOKEN_OF_BRIDGE, OwnBridge, own_bridge
from tests.harness import served
from tests.phones import GROUP, SECRET, in_group, message, settled, whatsapp_settings
from tests.ports import free_port

KIM, LEE = "491511000001@c.us", "491522000002@c.us"


@dataclass(slots=True)
class Here:
    """A bridge's place, and the app's: each can come and go."""

    folder: Path
    endpoint: OpenAIDouble
    bridge_port: int
    app_port: int

    @contextlib.asynccontextmanager
    async def app(self) -> AsyncIterator[str]:
        """Serve the app where the bridge expects it."""
        settings = whatsapp_settings(
            self.folder / "app",
            whatsapp_bridge_url=f"http://127.0.0.1:{self.bridge_port}",
            whatsapp_bridge_token=TOKEN_OF_BRIDGE,
            whatsapp_groups="addressed",
            openai_base_url=self.endpoint.base_url,
            model="echo",
            max_file_bytes=MAX_FILE_BYTES,
        )
        async with served(settings, port=self.app_port) as app:
            yield app.url

    def bridge(
        self, *, is_linked: bool = False
    ) -> contextlib.AbstractAsyncContextManager[OwnBridge]:
        """Run the bridge."""
        app_url = f"http://127.0.0.1:{self.app_port}"
        folder = self.folder / "bridge"
        return own_bridge(folder, app_url, self.bridge_port, SECRET, is_linked=is_linked)


@contextlib.asynccontextmanager
async def here(folder: Path) -> AsyncIterator[Here]:
    (folder / "app").mkdir()
    async with OpenAIDouble() as endpoint:
        yield Here(folder, endpoint, free_port(), free_port())


async def test_what_people_write_is_answered_on_their_phones(tmp_path: Path) -> None:
    async with here(tmp_path) as at, at.app() as url, at.bridge() as bridge:
        await bridge.command("scan")
        picture = message(
            KIM, "", type="image", mimetype="image/png", body="/9j/small", size=MAX_FILE_BYTES + 1
        )
        note = message(
            LEE, "", type="document", mimetype="text/plain", filename="a.txt", caption="look"
        )
        place = message(LEE, "", type="location", lat=52.5, lng=13.4, loc="Berlin")
        await bridge.command("receive", message(KIM, "hello"))
        await bridge.until("sent", KIM, "You said: hello")
        await bridge.until("seen", KIM)
        await bridge.until("typing", f"start {KIM}")
        await bridge.command("file", note["id"], "data:text/plain;base64,d3JpdHRlbiB3b3Jkcw==")
        await bridge.command("receive", note)
        await bridge.until("sent", LEE, "You said: look[File: a.txt]\nwritten words")
        await bridge.command("receive", place)
        await bridge.until("sent", LEE, "You said: Location: Berlin, 52.5, 13.4")
        await bridge.command("receive", picture)
        await bridge.until("sent", KIM, "This file is too large; at most 0.0 MB are taken.")
        await bridge.command("receive", in_group(KIM, "dinner at eight?"))
        await bridge.command(
            "receive", in_group(LEE, "@99887766 what now", mentionedJidList=["99887766@lid"])
        )
        await bridge.until("sent", GROUP, "You said: what now")
        async with aiohttp.ClientSession() as http:
            status = await settled(http, url, done=5, sends={"sent": 5})
        assert status["bridge_is_well"] is True
        sent = [event for event in bridge.events if event[0] == "sent"]
        assert len(sent) == 5


async def test_a_message_outlives_a_bridge_that_is_killed_while_the_app_is_away(
    tmp_path: Path,
) -> None:
    async with here(tmp_path) as at:
        async with at.bridge() as bridge:
            await bridge.command("scan")
            hello = message(KIM, "hello")
            await bridge.command("receive", hello)
            await bridge.until_waiting(1)
            await bridge.kill()
        async with at.bridge(is_linked=True) as bridge, at.app() as url:
            await bridge.command("connect")
            await bridge.until("sent", KIM, "You said: hello")
            await bridge.command("receive", hello)
            await bridge.command("receive", message(KIM, "again"))
            await bridge.until("sent", KIM, "You said: again")
            async with aiohttp.ClientSession() as http:
                await settled(http, url, done=2, sends={"sent": 2})
