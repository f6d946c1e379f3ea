"""The tripwire looks at files that leave: no download has another user's canary."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp
import pytest
import pytest_asyncio

from cmw_agent.identity import channel_principals
from cmw_agent.identity.canaries import Canaries
from tests.doubles.mcp_server import McpDouble, mcp_double
from tests.doubles.openai_server import OpenAIDouble
from tests.harness import WAIT, Browser, served, settings_for
from tests.isolation.test_files import put
from tests.isolation.test_files_in_chat import ask as attached
from tests.isolation.test_history import chatted, get, post
from tests.isolation.test_shares import shared
from tests.mcp.house import tables
from tests.metrics import breaches
from tests.rest import KEYS, SHOP, Client, client

pytestmark = pytest.mark.asyncio(loop_scope="module")

FOREIGN = Canaries(("s" * 32,)).of("somebody else")
CONTENT = f"before {FOREIGN} after".encode()
EXPORTS = ("md", "json", "html", "zip", "dataset")


@dataclass(slots=True)
class Stage:
    """An app in which the conversation and the files of one user hold another's canary."""

    browser: Browser
    rest: Client
    server: McpDouble
    conversation: str
    file_id: str
    rest_file_id: str
    share: str

    async def breaches(self) -> float:
        return await breaches(self.browser.url)

    async def got(self, path: str, **headers: str) -> tuple[int, bytes, bool]:
        """Return the status, the bytes and whether they came to their end."""
        is_rest, content = path.startswith("/api/"), b""
        if is_rest:
            headers |= {"Authorization": f"Bearer {SHOP}"}
        http = self.rest.http if is_rest else self.browser.http
        async with (
            asyncio.timeout(WAIT),
            http.get(f"{self.browser.url}{path}", headers=headers) as answer,
        ):
            try:
                async for piece in answer.content.iter_any():
                    content += piece
            except aiohttp.ClientPayloadError:
                return answer.status, content, False
        return answer.status, content, True


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def there(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    folder = tmp_path_factory.mktemp("app")
    async with OpenAIDouble() as endpoint, mcp_double() as server:
        server.resources = {"house://left": f"left {FOREIGN}", "house://own": "own"}
        (folder / "agents.toml").write_text(tables({"name": "house", "url": server.url}))
        settings = settings_for(
            folder,
            openai_base_url=endpoint.base_url,
            model="fixed",
            api_keys=KEYS,
            shares="link",
            tripwire=True,
        )
        async with (
            served(settings) as app,
            Browser(app.url) as browser,
            client(app.url, SHOP) as rest,
        ):
            tab, conversation = await chatted(browser, f"I found {FOREIGN}.")
            _, file = await put(browser, CONTENT)
            await attached(tab, "see", file["id"])
            shown = (await shared(browser, conversation, files=True))["id"]
            await rest.say(f"I found {FOREIGN}.", "mine")
            owner = channel_principals.client("shop", "assistant", "mine")
            rest_file = await app.application.runtime.files.add(owner, "a.txt", "", body())
            yield Stage(
                *(browser, rest, server, conversation, file["id"], rest_file.file_id, shown)
            )


async def body() -> AsyncIterator[bytes]:
    yield CONTENT


async def stopped(there: Stage, path: str, **headers: str) -> bytes:
    """Return what comes of a path that must be stopped, and be counted once."""
    before = await there.breaches()
    status, content, is_whole = await there.got(path, **headers)
    assert status == 500 or not is_whole
    assert FOREIGN.encode() not in content
    assert await there.breaches() == before + 1
    return content


@pytest.mark.parametrize("form", EXPORTS)
async def test_an_export_ends_before_another_users_canary(there: Stage, form: str) -> None:
    await stopped(there, f"/history/export?id={there.conversation}&format={form}")
    await stopped(there, f"/api/chat/assistant/sessions/mine/export?format={form}")


@pytest.mark.parametrize("form", ["json", "zip", "dataset"])
async def test_the_export_of_everything_ends_before_another_users_canary(
    there: Stage, form: str
) -> None:
    await stopped(there, f"/history/everything?format={form}")


async def test_a_file_with_another_users_canary_is_not_sent_nor_any_part_of_it(
    there: Stage,
) -> None:
    sent = [
        f"/files/{there.file_id}",
        f"/api/chat/assistant/sessions/mine/files/{there.rest_file_id}",
        f"/share/{there.share}/files/1",
    ]
    for path in sent:
        assert b"something of another user" in await stopped(there, path)
        assert b"something of another user" in await stopped(there, path, Range="bytes=10-20")


async def test_a_shared_page_with_a_users_canary_is_not_shown(there: Stage) -> None:
    assert b"something of another user" in await stopped(there, f"/share/{there.share}")


async def test_an_export_as_a_reply_with_another_users_canary_is_not_given(there: Stage) -> None:
    before = await there.breaches()
    reply = await there.rest.say("/export", "mine")
    assert FOREIGN.encode() not in reply.body
    assert await there.breaches() == before + 1


async def test_a_resource_of_a_server_with_another_users_canary_is_not_given(
    there: Stage,
) -> None:
    before = await there.breaches()
    wanted = {"server": "house", "key": "house://own"}
    assert (await post(there.browser, "servers/resource", wanted))[0] == 200
    status, content = await post(
        there.browser, "servers/resource", {**wanted, "key": "house://left"}
    )
    assert status == 500
    assert b"something of another user" in content
    assert await there.breaches() == before + 1


async def test_downloads_without_canaries_come_to_their_end(there: Stage) -> None:
    async with Browser(there.browser.url) as other:
        _, conversation = await chatted(other, "Nothing of anybody.")
        _, file = await put(other, b"nothing of anybody")
        status, content = await get(other, f"files/{file['id']}")
        assert (status, content) == (200, b"nothing of anybody")
        for form in EXPORTS:
            status, content = await get(other, "history/export", id=conversation, format=form)
            assert status == 200
            assert content
