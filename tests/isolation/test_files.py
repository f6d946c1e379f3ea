"""Isolation: files are served to their owner alone."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson

from cmw_agent.identity.principals import Principal
from memory.records import ConversationOrigin, NewTurn
from tests import papers
from tests.harness import Browser, canary, served, settings_for
from tests.rows import rows


async def put(
    browser: Browser, content: bytes, name: str = "a.txt", **headers: str
) -> tuple[int, Any]:
    async with browser.http.post(
        f"{browser.url}/files", data=content, headers={"x-file-name": quote(name), **headers}
    ) as answer:
        return answer.status, orjson.loads(await answer.read())


async def got(browser: Browser, file_id: str) -> tuple[int, bytes, Any]:
    async with browser.http.get(f"{browser.url}/files/{file_id}") as answer:
        return answer.status, await answer.read(), answer.headers


async def dropped(browser: Browser, file_id: str) -> tuple[int, bytes]:
    async with browser.http.post(f"{browser.url}/files/remove", json={"id": file_id}) as answer:
        return answer.status, await answer.read()


async def test_another_s_file_is_one_that_is_not_there(tmp_path: Path) -> None:
    secret = canary().encode()
    async with (
        served(settings_for(tmp_path)) as app,
        Browser(app.url) as alice,
        Browser(app.url) as bob,
        Browser(app.url, cookies=False) as nobody,
    ):
        await alice.open()
        await bob.open()
        status, hers = await put(alice, secret, "geheim ä.txt")
        assert status == 200
        assert hers["name"] == "geheim ä.txt"
        absent = await got(bob, "0" * 32)
        for wanted in (hers["id"], hers["id"].upper(), "..%2f" + hers["id"], "remove", "x"):
            for other in (bob, nobody):
                assert (
                    (await got(other, wanted))[:2] == absent[:2] == (404, b'{"detail":"Not Found"}')
                )
        assert await dropped(bob, hers["id"]) == await dropped(bob, "0" * 32)
        status, content, headers = await got(alice, hers["id"])
        assert (status, content) == (200, secret)
        assert headers["content-disposition"] == "attachment; filename*=UTF-8''geheim%20%C3%A4.txt"
        assert headers["content-type"] == "application/octet-stream"
        assert "nosniff" in headers.getall("x-content-type-options")
        assert "sandbox; default-src 'none'" in headers.getall("content-security-policy")
        assert headers["cache-control"] == "no-store"
        assert (await dropped(alice, hers["id"]))[0] == 200
        assert papers.kept(tmp_path) == []


async def test_equal_bytes_of_two_users_stay_apart(tmp_path: Path) -> None:
    async with (
        served(settings_for(tmp_path)) as app,
        Browser(app.url) as alice,
        Browser(app.url) as bob,
    ):
        await alice.open()
        await bob.open()
        (_, hers), (_, his) = await put(alice, b"same"), await put(bob, b"same")
        assert hers["id"] != his["id"]
        assert len(papers.kept(tmp_path)) == 2
        before = rows(tmp_path, "SELECT * FROM agent_files WHERE file_id = ?", his["id"])
        async with alice.http.post(f"{alice.url}/history/forget", json={"sure": True}) as answer:
            assert answer.status == 200
        assert [path.name for path in papers.kept(tmp_path)] == [his["id"]]
        assert rows(tmp_path, "SELECT * FROM agent_files") == before
        assert (await got(bob, his["id"]))[:2] == (200, b"same")


async def test_a_caller_that_proves_nothing_keeps_no_files(tmp_path: Path) -> None:
    async with (
        served(settings_for(tmp_path)) as app,
        Browser(app.url, cookies=False) as nobody,
        Browser(app.url) as alice,
    ):
        assert (await put(nobody, b"text"))[0] == 403
        await alice.open()
        assert (await put(alice, b"text", origin="https://other.example"))[0] == 403
        assert papers.kept(tmp_path) == []


async def test_a_model_is_shown_what_the_owner_attached_alone(tmp_path: Path) -> None:
    alice, bob = Principal("v" + "a" * 32, "visitor"), Principal("v" + "b" * 32, "visitor")

    async def body(content: bytes) -> Any:
        yield content

    async with served(settings_for(tmp_path)) as app:
        runtime = app.application.runtime
        files, memory = runtime.files, runtime.memory
        text = await files.add(alice, "a.txt", "", body(b"needle"))
        image = await files.add(alice, "a.png", "", body(papers.picture()))
        ticket = await memory.begin_turn(
            alice.id,
            NewTurn(
                "s1",
                "look",
                key="k",
                origin=ConversationOrigin(),
                files=[text.file_id, image.file_id],
            ),
        )
        parts = (await files.contents(alice, "s1", [ticket.user_seq], chars=100))[ticket.user_seq]
        assert {"type": "text", "text": "[File: a.txt]\nneedle"} in parts
        assert any(
            part["type"] == "image_url"
            and part["image_url"]["url"].startswith("data:image/png;base64,")
            for part in parts
        )
        assert await files.contents(bob, "s1", [ticket.user_seq], chars=100) == {}
