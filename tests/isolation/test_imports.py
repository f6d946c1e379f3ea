"""Isolation: what is imported belongs to the importer alone, whatever the file says."""

import asyncio
import io
import json
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.harness import Browser, served, settings_for
from tests.isolation.test_files_in_chat import attach
from tests.isolation.test_history import SCRIPT, chatted, get, listed, post
from tests.logbook import logbook
from tests.rest import BANK, KEYS, SHOP, client
from tests.rows import count, rows, sound
from tests.service import wait_until


def tree(question: str = "Which zebra?", **more: Any) -> dict[str, Any]:
    """A conversation of ChatGPT's."""

    def node(key: str, parent: str | None, role: str, text: str) -> dict[str, Any]:
        content = {"content_type": "text", "parts": [text]}
        message = {"author": {"role": role}, "create_time": 1_700_000_000, "content": content}
        return {"id": key, "parent": parent, "message": message}

    nodes = (node("a", None, "user", question), node("b", "a", "assistant", "The striped one."))
    mapping = {each["id"]: each for each in nodes}
    return {
        "title": SCRIPT,
        "create_time": 1_700_000_000,
        "update_time": 1_700_000_100,
        "current_node": "b",
        "mapping": mapping,
    } | more


async def imported(browser: Browser, content: Any) -> tuple[int, list[dict[str, Any]]]:
    """Import a file; return the status and the lines of the answer."""
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    url = f"{browser.url}/history/import"
    async with browser.http.post(url, data=data, headers={"x-file-name": "x"}) as answer:
        return answer.status, [json.loads(line) for line in (await answer.text()).splitlines()]


async def result(browser: Browser, content: Any) -> dict[str, Any]:
    status, lines = await imported(browser, content)
    assert status == 200, lines
    assert lines[-1]["done"] is True
    return lines[-1]


async def test_an_import_is_listed_found_and_continued_by_its_importer_alone(
    tmp_path: Path,
) -> None:
    async with (
        served(settings_for(tmp_path)) as app,
        Browser(app.url) as alice,
        Browser(app.url) as bob,
    ):
        await bob.open()
        await alice.open()
        done = await result(alice, [tree()])
        assert done["sentence"] == "1 conversation from ChatGPT was imported."
        (item,) = await listed(alice)
        assert (item["title"], item["at"]) == (SCRIPT, "2023-11-14T22:15:00+00:00")
        assert await listed(bob) == []
        found = json.loads((await get(alice, "history/search", q="zebra"))[1])["found"]
        assert [hit["id"] for hit in found] == [item["id"]]
        assert json.loads((await get(bob, "history/search", q="zebra"))[1])["found"] == []
        (row,) = rows(tmp_path, "SELECT message_count, last_seq FROM agent_sessions")
        assert (row["message_count"], row["last_seq"]) == (2, 2)
        again = await alice.open(query=f"?c={item['id']}")
        assert (await again.send("and then?")).error is None
        assert len(await listed(alice)) == 1
        assert (await get(bob, "history/export", id=item["id"]))[0] == 404
    assert sound(tmp_path)


async def test_ids_and_owners_in_a_file_reach_nothing(tmp_path: Path) -> None:
    async with (
        served(settings_for(tmp_path)) as app,
        Browser(app.url) as alice,
        Browser(app.url) as bob,
    ):
        _, hers = await chatted(alice, "Alice's own")
        _, his = await chatted(bob, "Bob's own")
        (row,) = rows(
            tmp_path, "SELECT owner_id, session_id FROM agent_sessions WHERE session_id = ?", hers
        )
        before = rows(tmp_path, "SELECT * FROM agent_messages WHERE session_id = ?", hers)
        for name in ("id", "conversation_id", "session_id", "user_id", "owner_id", "owner"):
            for value in (hers, row["owner_id"]):
                await result(bob, tree(title=f"{name} {value}", **{name: value}))
        own = {
            "id": hers,
            "owner_id": row["owner_id"],
            "agent": "another",
            "title": "t",
            "started_at": "2020-01-01",
            "messages": [
                {"seq": 1, "role": "user", "content": "x", "session_id": hers},
                {"seq": 2, "role": "assistant", "content": "y", "pictures": [{"id": "0" * 32}]},
            ],
        }
        await result(bob, own)
        assert rows(tmp_path, "SELECT * FROM agent_messages WHERE session_id = ?", hers) == before
        assert [item["id"] for item in await listed(alice)] == [hers]
        his_ids = [item["id"] for item in await listed(bob)]
        assert len(his_ids) == 12  # `id` and `conversation_id` name the same one
        assert his in his_ids
        agents = rows(tmp_path, "SELECT DISTINCT agent_id FROM agent_sessions")
        assert [each["agent_id"] for each in agents] == ["assistant"]


async def test_everything_that_is_exported_is_imported_with_its_files_by_another(
    tmp_path: Path,
) -> None:
    async with (
        served(settings_for(tmp_path)) as app,
        Browser(app.url) as alice,
        Browser(app.url) as bob,
    ):
        tab = await alice.open()
        name = "../../etc/passwd \N{SNOWMAN}.txt"
        file = await attach(tab, alice, b"the bytes of a file", name)
        await tab.run("send", ["look at it", "", json.dumps([file]), None])
        await tab.send("and another")
        _, archive = await get(alice, "history/everything", format="zip", thinking="1")
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            assert opened.testzip() is None
            names = opened.namelist()
            account = json.loads(opened.read("account.json"))
        assert names[:2] == ["account.json", "conversations.jsonl"]
        assert all(".." not in each and each.count("/") <= 1 for each in names)
        assert (account["format"], account["version"]) == ("cmw-agent-export", 1)
        await bob.open()
        done = await result(bob, archive)
        texts = [
            [
                (each["seq"], each["role"], each["content"])
                for each in rows(
                    tmp_path,
                    "SELECT m.* FROM agent_messages m JOIN agent_sessions USING (session_id) "
                    "WHERE session_id = ? ORDER BY seq",
                    (await listed(browser))[0]["id"],
                )
            ]
            for browser in (alice, bob)
        ]
        assert texts[0] == texts[1]
        stored = rows(tmp_path, "SELECT * FROM agent_files ORDER BY created_at")
        assert (done["files"], done["files_left_out"], len(names)) == (1, 0, 3)
        assert len(stored) == 2
        assert len({each["owner_id"] for each in stored}) == 2
        assert {each["seq"] for each in stored} == {1}
        status, content = await get(bob, f"files/{stored[1]['file_id']}")
        assert (status, content) == (200, b"the bytes of a file")
        assert (await get(alice, f"files/{stored[1]['file_id']}"))[0] == 404
        (one,) = await listed(bob)
        _, single = await get(bob, "history/export", id=one["id"], format="zip")
        with zipfile.ZipFile(io.BytesIO(single)) as opened:
            assert len(opened.namelist()) == 3
        assert (await get(alice, "history/export", id=one["id"], format="zip"))[0] == 404
        # Nothing of Alice's goes with what Bob deletes.
        status, body = await post(bob, "history/forget", {"sure": True})
        assert (status, json.loads(body)["deleted"]) == (200, 1)
        assert (await get(alice, f"files/{file}"))[0] == 200


async def test_messages_of_files_alone_are_exported_and_imported(tmp_path: Path) -> None:
    async with (
        served(settings_for(tmp_path)) as app,
        Browser(app.url) as alice,
        Browser(app.url) as bob,
        Browser(app.url) as carol,
    ):
        tab = await alice.open()
        file = await attach(tab, alice, b"the bytes of a file", "notes.txt")
        await tab.run("send", ["", "", json.dumps([file]), None])
        (hers,) = await listed(alice)
        _, archive = await get(alice, "history/export", id=hers["id"], format="zip")
        _, text = await get(alice, "history/export", id=hers["id"], format="json")
        first, answer = json.loads(text)["messages"]
        assert first["content"] == "", first
        wholes = ((bob, archive, 1), (carol, text, 0))
        for browser, content, files in wholes:
            await browser.open()
            done = await result(browser, content)
            assert (done["imported"], done["files"]) == (1, files)
            (item,) = await listed(browser)
            assert item["title"] == "notes.txt"
            _, again = await get(browser, "history/export", id=item["id"], format="json")
            told = [(each["role"], each["content"]) for each in json.loads(again)["messages"]]
            assert told[1] == ("assistant", answer["content"])
            assert told[0] == ("user", "")
            markdown = (await get(browser, "history/export", id=item["id"], format="md"))[1]
            shown = "*File: notes.txt*" if files else "*A message of files alone.*"
            assert shown in markdown.decode()
    assert sound(tmp_path)


async def test_who_proves_nothing_imports_nothing(tmp_path: Path) -> None:
    async with served(settings_for(tmp_path)) as app, Browser(app.url) as nobody:
        nobody.http.cookie_jar.clear()
        status, lines = await imported(nobody, [tree()])
        assert status == 403
        assert "kept" in lines[0]["detail"]
        assert count(tmp_path) == (0, 0, 0)


async def test_a_file_that_cannot_be_read_is_a_sentence_and_stores_nothing(
    tmp_path: Path,
) -> None:
    settings = settings_for(tmp_path, max_import_mb=1)
    async with served(settings) as app, Browser(app.url) as alice:
        await alice.open()
        for content, wanted in (
            (b"", 422),
            (b"no JSON", 422),
            (b'{"a": [1', 422),
            (b"PK\x03\x04", 422),
            (b"[" * 100_000, 422),
            (b"x" * 1_000_001, 413),
        ):
            status, lines = await imported(alice, content)
            assert status == wanted, content[:20]
            assert lines[0]["detail"].count("(error ") == 1
        assert count(tmp_path) == (0, 0, 0)
        assert app.application.runtime.budgets.used("imports") == 0
        assert list((tmp_path / "imports").iterdir()) == []


async def test_a_part_that_fails_leaves_the_rest_and_says_so(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, max_message_chars=1_000)
    async with served(settings) as app, Browser(app.url) as alice:
        await alice.open()
        data = json.dumps([tree(), tree("x" * 1_001, title="Long"), {}, tree(title="b")])[
            :-1
        ].encode()
        done = await result(alice, data + b', {"mapping": ')
        assert (done["imported"], done["refused"], done["is_complete"]) == (2, 2, False)
        assert done["sentence"] == (
            "2 of 4 conversations from ChatGPT were imported; 2 were not: 1 has a message longer "
            "than 1,000 characters (“Long”); 1 has a form that is not known. The rest was not read: "
            "The file ends in the middle of its JSON."
        )
        assert len(await listed(alice)) == 2


async def test_a_second_import_at_once_is_refused_and_one_that_is_left_gives_its_place_back(
    tmp_path: Path,
) -> None:
    async with (
        served(settings_for(tmp_path)) as app,
        Browser(app.url) as alice,
        Browser(app.url) as bob,
    ):
        await alice.open()
        await bob.open()
        budgets = app.application.runtime.budgets
        held = asyncio.Event()

        async def slow() -> Any:
            yield b"["
            await held.wait()

        url, headers = f"{alice.url}/history/import", {"x-file-name": "x"}
        first = asyncio.create_task(alice.http.post(url, data=slow(), headers=headers))
        await wait_until(lambda: budgets.used("imports") == 1)
        async with alice.http.post(url, data=b"[]", headers=headers) as second:
            assert second.status == 429
            assert "retry-after" in second.headers
        assert (await result(bob, [tree()]))["imported"] == 1
        first.cancel()
        await wait_until(lambda: budgets.used("imports") == 0)
        assert (await result(alice, [tree()]))["imported"] == 1


async def test_a_key_imports_into_its_own_session_and_the_open_conversation_stays(
    tmp_path: Path,
) -> None:
    settings = settings_for(tmp_path, api_keys=KEYS)
    async with (
        served(settings) as app,
        client(app.url, SHOP) as shop,
        client(app.url, BANK) as bank,
    ):
        path = "/api/chat/assistant/sessions/one/import"
        await shop.say("hello", "one")
        headers = {"Authorization": f"Bearer {SHOP}", "Content-Type": "application/json"}
        data = json.dumps([tree(title="one"), tree(title="two")])
        async with shop.http.post(f"{app.url}{path}", data=data, headers=headers) as answer:
            assert answer.status == 200
            lines = (await answer.text()).splitlines()
        assert json.loads(lines[-1])["imported"] == 2
        sessions = (await shop.ask("GET", "/api/chat/assistant/sessions")).json["sessions"]
        assert [item["session_id"] for item in sessions] == ["one"] * 3
        assert (await bank.ask("GET", "/api/chat/assistant/sessions")).json["sessions"] == []
        old = sessions[-1]["conversation_id"]
        history = await shop.at("one", f"?conversation={old}")
        assert [item["content"] for item in history.json["messages"]] == [
            "Which zebra?",
            "The striped one.",
        ]
        assert (await bank.at("one", f"?conversation={old}")).status == 404
        current = (await shop.at("one")).json["messages"]
        assert current[0]["content"] == "hello"
        archive = await shop.at("one", f"/export?format=zip&conversation={old}")
        assert zipfile.ZipFile(io.BytesIO(archive.body)).testzip() is None
        for wrong, status in (("no JSON", 422), ("", 422)):
            async with shop.http.post(f"{app.url}{path}", data=wrong, headers=headers) as answer:
                assert answer.status == status
                assert answer.headers["content-type"] == "application/problem+json"
        form = {**headers, "Content-Type": "text/plain"}
        async with shop.http.post(f"{app.url}{path}", data=data, headers=form) as answer:
            assert answer.status == 415
        other = {**headers, "Authorization": "Bearer " + "z" * 32}
        async with shop.http.post(f"{app.url}{path}", data=data, headers=other) as answer:
            assert answer.status == 401


async def test_a_program_that_leaves_in_mid_upload_is_no_error_of_the_app(tmp_path: Path) -> None:
    with logbook() as book:
        async with served(settings_for(tmp_path, api_keys=KEYS)) as app:
            address, budgets = urlsplit(app.url), app.application.runtime.budgets
            _, writer = await asyncio.open_connection(address.hostname, address.port)
            head = (
                "POST /api/chat/assistant/sessions/one/import HTTP/1.1",
                f"Host: {address.netloc}",
                f"Authorization: Bearer {SHOP}",
                "Content-Type: application/json",
                "Content-Length: 1000",
            )
            writer.write("\r\n".join(head).encode() + b"\r\n\r\n[{")
            await wait_until(lambda: budgets.used("imports") == 1)
            writer.transport.abort()
            await wait_until(lambda: budgets.used("imports") == 0)
        assert "channel failed" not in book.text
