"""Isolation: saved prompts are their owner's alone, and go with everything of theirs."""

import io
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import pytest_asyncio

from tests.harness import Browser, canary, served, settings_for
from tests.isolation import provider as idp
from tests.isolation.provider import send_consent, sign_in_to_consent
from tests.isolation.test_history import get, post
from tests.isolation.test_login import with_accounts
from tests.rows import rows

pytestmark = pytest.mark.asyncio(loop_scope="module")
EVERY_PROMPT = "SELECT * FROM agent_prompts"
NOT_FOUND = b'{"detail":"Not Found"}'


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def there() -> AsyncIterator[str]:
    async with idp.provider() as address:
        yield address


async def created(browser: Browser, name: str, text: str) -> str:
    status, content = await post(browser, "prompts/create", {"name": name, "text": text})
    assert status == 200, content
    return str(orjson.loads(content)["id"])


async def listed(browser: Browser) -> list[dict[str, Any]]:
    status, content = await get(browser, "prompts")
    assert status == 200
    prompts: list[dict[str, Any]] = orjson.loads(content)["prompts"]
    return prompts


async def test_a_prompt_is_listed_changed_and_deleted_by_its_owner_alone(tmp_path: Path) -> None:
    secret = canary()
    async with (
        served(settings_for(tmp_path)) as app,
        Browser(app.url) as alice,
        Browser(app.url) as bob,
        Browser(app.url, cookies=False) as nobody,
    ):
        await alice.open()
        await bob.open()
        prompt_id = await created(alice, "hers", secret)
        assert await listed(alice) == [{"id": prompt_id, "name": "hers", "text": secret}]
        assert await listed(bob) == []
        assert secret.encode() not in (await get(nobody, "prompts"))[1]
        before = rows(tmp_path, EVERY_PROMPT)
        for tried in (prompt_id, prompt_id.upper(), "0" * 32, "", "../", "x" * 300):
            change = {"id": tried, "name": "his", "text": "his"}
            assert (await post(bob, "prompts/update", change))[0] == 404, tried
            assert (await post(bob, "prompts/delete", {"id": tried}))[0] == 404, tried
        answers = {
            (await post(bob, "prompts/delete", {"id": tried}))[1] for tried in (prompt_id, "0" * 32)
        }
        assert len(answers) == 1
        for path in ("prompts/create", "prompts/update", "prompts/delete"):
            body = {"id": prompt_id, "name": "nobody's", "text": "nobody's"}
            assert (await post(nobody, path, body))[0] == 404, path
        assert rows(tmp_path, EVERY_PROMPT) == before
        change = {"id": prompt_id, "name": "now", "text": "other words"}
        assert (await post(alice, "prompts/update", change))[0] == 200
        assert await listed(alice) == [{"id": prompt_id, "name": "now", "text": "other words"}]
        assert (await post(alice, "prompts/delete", {"id": prompt_id}))[0] == 200
        assert await listed(alice) == []


async def test_what_is_no_prompt_is_refused_with_a_sentence(tmp_path: Path) -> None:
    async with served(settings_for(tmp_path)) as app, Browser(app.url) as alice:
        await alice.open()
        for body, status in (
            ({"name": " ", "text": "text"}, 422),
            ({"name": "n" * 61, "text": "text"}, 422),
            ({"name": "name", "text": "\n"}, 422),
            ({"name": "name", "text": "x" * 8_001}, 422),
            ({"name": "name", "text": "a\0b"}, 422),
            ({"name": "name"}, 400),
            ({"name": ["name"], "text": 7}, 400),
            ({"name": "name", "text": "x" * 140_000}, 413),
        ):
            answer = await post(alice, "prompts/create", body)
            assert answer[0] == status, (body, answer)
        assert rows(tmp_path, EVERY_PROMPT) == []
        await created(alice, "n" * 60, "\N{GRINNING FACE}" * 8_000)


async def test_prompts_are_in_the_archive_and_go_with_everything(tmp_path: Path) -> None:
    secret = canary()
    async with (
        served(settings_for(tmp_path)) as app,
        Browser(app.url) as alice,
        Browser(app.url) as bob,
    ):
        await alice.open()
        await bob.open()
        await created(alice, "hers", secret)
        await created(bob, "his", "his own")
        _, content = await get(alice, "history/everything", format="zip")
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            prompts = orjson.loads(archive.read("prompts.json"))
        assert prompts == [{"name": "hers", "text": secret}]
        assert (await post(alice, "history/forget", {"sure": True}))[0] == 200
        assert await listed(alice) == []
        assert [row["name"] for row in rows(tmp_path, EVERY_PROMPT)] == ["his"]


async def test_prompts_follow_a_visitor_who_signs_in_and_says_so(
    tmp_path: Path, there: str
) -> None:
    settings = settings_for(tmp_path, **with_accounts(there))
    async with served(settings) as app, Browser(app.url) as alice:
        await alice.open()
        await created(alice, "hers", "words")
        page = await sign_in_to_consent(alice, "1")
        assert "1 saved prompt would move too." in page
        assert (await send_consent(alice, "move"))[0] == 200
        await alice.open()
        assert [item["name"] for item in await listed(alice)] == ["hers"]


async def test_the_page_is_told_the_commands_that_can_be_used_here(tmp_path: Path) -> None:
    async with served(settings_for(tmp_path)) as app, Browser(app.url) as alice:
        await alice.open()
        commands = orjson.loads((await get(alice, "prompts"))[1])["commands"]
        names = [command["usage"].split()[0] for command in commands]
        assert "/help" in names
        assert "/schedule" in names
        assert "/connect" not in names
        assert all(command["help"] for command in commands)
