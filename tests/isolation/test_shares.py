"""Isolation: through a link its snapshot is read, and nothing of the owner is reached."""

import asyncio
import json
import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest
import pytest_asyncio

from cmw_agent.identity.channel_principals import SHARE_ID, new_share_id, share
from tests import papers
from tests.harness import Browser, canary, served, settings_for
from tests.isolation import provider as idp
from tests.isolation.provider import (
    listed_digest,
    send_consent,
    sign_in,
    sign_in_to_consent,
)
from tests.isolation.test_files import put
from tests.isolation.test_history import chatted, get, listed, post
from tests.isolation.test_login import with_accounts
from tests.isolation.wire import ask
from tests.rest import BANK, KEYS, client
from tests.rows import rows, sound

pytestmark = pytest.mark.asyncio(loop_scope="module")
TABLES = ("agent_shares", "agent_share_snapshots", "agent_share_messages", "agent_share_files")
NOT_FOUND = b'{"detail":"Not Found"}'


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def there() -> AsyncIterator[str]:
    async with idp.provider() as address:
        yield address


async def shared(browser: Browser, conversation: str, **changes: Any) -> dict[str, Any]:
    """Share a conversation; return the item."""
    body = {"conversation": conversation, "days": 7, "files": False, **changes}
    status, content = await post(browser, "shares/create", body)
    assert status == 200, content
    item: dict[str, Any] = orjson.loads(content)
    assert SHARE_ID.fullmatch(item["id"])
    assert item["path"] == f"share/{item['id']}"
    return item


async def links(browser: Browser) -> list[str]:
    status, content = await get(browser, "shares")
    assert status == 200
    return [item["id"] for item in orjson.loads(content)["shares"]]


def kept(folder: Path) -> dict[str, list[Any]]:
    return {table: rows(folder, f"SELECT * FROM {table}") for table in TABLES}  # noqa: S608


def change(folder: Path, statement: str, *values: str) -> None:
    """Change the database behind the app's back."""
    with closing(sqlite3.connect(folder / "chat.db")) as connection:
        assert connection.execute(statement, values).rowcount == 1
        connection.commit()


async def test_whoever_has_the_link_reads_the_snapshot_and_nothing_that_came_later(
    tmp_path: Path,
) -> None:
    first, later = canary(), canary()
    async with (
        served(settings_for(tmp_path, shares="link")) as app,
        Browser(app.url) as alice,
        Browser(app.url, cookies=False) as nobody,
    ):
        tab, conversation = await chatted(alice, first)
        item = await shared(alice, conversation)
        await tab.send(later)
        await post(alice, "history/rename", {"id": conversation, "title": later})
        answer = await ask(app.url, "GET", f"/share/{item['id']}")
        page = answer.body.decode()
        assert answer.status == 200
        assert first in page
        assert later not in page
        (owner,) = {row["owner_id"] for row in rows(tmp_path, "SELECT * FROM agent_sessions")}
        seen = page + repr(answer.headers)
        for secret in (owner, conversation, share(item["id"]).id, tab.hash):
            assert secret not in seen
        assert "set-cookie" not in answer.headers
        assert answer.headers["cache-control"] == "private, no-store"
        assert answer.headers["x-robots-tag"] == "noindex, nofollow"
        assert answer.headers["referrer-policy"] == "same-origin"
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; ")
        # Diagrams are measured with a style of their own; it can load nothing.
        assert "unsafe" not in policy.replace("; style-src 'unsafe-inline';", "")
        # The link's principal is nobody whom another route knows.
        for path in (f"history?c={item['id']}", "history", "files/1"):
            assert first.encode() not in (await get(nobody, path))[1]


async def test_every_link_that_shows_nothing_gets_the_same_answer(tmp_path: Path) -> None:
    async with (
        served(settings_for(tmp_path, shares="link")) as app,
        Browser(app.url) as alice,
        Browser(app.url) as bob,
    ):
        await bob.open()
        ids = {"guessed": new_share_id(), "malformed": "x" * 31, "no id": "a.b"}
        for name in ("revoked", "expired", "deleted", "forgotten"):
            _, conversation = await chatted(alice, f"about {name}")
            ids[name] = (await shared(alice, conversation))["id"]
            assert (await ask(app.url, "GET", f"/share/{ids[name]}")).status == 200
            if name == "revoked":
                assert (await post(alice, "shares/revoke", {"id": ids[name]}))[0] == 200
            elif name == "expired":
                reader = share(ids[name]).id
                change(
                    tmp_path,
                    "UPDATE agent_share_snapshots SET expires_at = '2020-01-01 00:00:00'"
                    " WHERE reader_id = ?",
                    reader,
                )
            elif name == "deleted":
                assert (await post(alice, "history/delete", {"id": conversation}))[0] == 200
            else:
                assert (await post(alice, "history/forget", {"sure": True}))[0] == 200
        pages, files, copies = {}, {}, {}
        for name, share_id in ids.items():
            pages[name] = await ask(app.url, "GET", f"/share/{share_id}")
            files[name] = await ask(app.url, "GET", f"/share/{share_id}/files/1")
            copies[name] = await post(bob, f"share/{share_id}/continue", {})
        for answers in (pages, files, copies):
            assert all(answer == answers["guessed"] for answer in answers.values()), answers
        assert pages["guessed"].status == files["guessed"].status == copies["guessed"][0] == 404
        assert await listed(bob) == []


async def test_another_s_links_are_ones_that_are_not_there(tmp_path: Path) -> None:
    async with (
        served(settings_for(tmp_path, shares="link")) as app,
        Browser(app.url) as alice,
        Browser(app.url) as bob,
        Browser(app.url, cookies=False) as nobody,
    ):
        _, hers = await chatted(alice, "hers")
        await chatted(bob, "his")
        item = await shared(alice, hers)
        before = kept(tmp_path)
        assert await links(bob) == []
        assert orjson.loads((await get(bob, "shares", c=hers))[1])["shares"] == []
        for browser in (bob, nobody):
            absent = await post(browser, "shares/revoke", {"id": new_share_id()})
            assert absent[0] == 404
            assert await post(browser, "shares/revoke", {"id": item["id"]}) == absent
            bodies = [{"conversation": c, "days": None} for c in (hers, "x" * 22)]
            answers = [await post(browser, "shares/create", body) for body in bodies]
            assert answers[0] == answers[1]
            assert answers[0][0] == 404
        assert kept(tmp_path) == before
        assert await links(alice) == [item["id"]]


async def test_what_is_no_request_for_a_link_makes_none(tmp_path: Path) -> None:
    async with served(settings_for(tmp_path, shares="link")) as app, Browser(app.url) as alice:
        _, conversation = await chatted(alice, "hers")
        bodies: list[Any] = [
            {},
            {"conversation": 1},
            {"conversation": conversation, "days": 0},
            {"conversation": conversation, "days": 366},
            {"conversation": conversation, "days": True},
            {"conversation": conversation, "days": "7"},
            {"conversation": conversation, "days": 1.5},
            [],
        ]
        for body in bodies:
            assert (await post(alice, "shares/create", body))[0] in (400, 422), body
        assert kept(tmp_path)["agent_shares"] == []
        # A cookie is free: so is no number of copies.
        statuses = [
            (await post(alice, "shares/create", {"conversation": conversation, "days": 1}))[0]
            for _ in range(40)
        ]
        assert statuses.count(200) < 40
        assert set(statuses) == {200, 429}


async def test_a_second_visitor_continues_with_a_copy_of_their_own(tmp_path: Path) -> None:
    asked, hers, his = canary(), canary(), canary()
    async with (
        served(settings_for(tmp_path, shares="link")) as app,
        Browser(app.url) as alice,
        Browser(app.url) as bob,
        Browser(app.url, cookies=False) as nobody,
    ):
        tab, conversation = await chatted(alice, asked)
        item = await shared(alice, conversation)
        path = f"share/{item['id']}/continue"
        assert (await post(nobody, path, {}))[0] == 403
        # Who has never opened the chat becomes a visitor there first, as the page's script does.
        async with bob.http.head(f"{app.url}/") as answer:
            assert "set-cookie" in answer.headers
        status, content = await post(bob, path, {})
        assert status == 200
        copy = orjson.loads(content)["conversation"]
        assert [entry["id"] for entry in await listed(bob)] == [copy]
        other = bob.tab(query=f"?c={copy}")
        opened = await other.open()
        assert asked in repr(opened.values)
        assert (await other.send(his)).error is None
        await tab.send(hers)
        assert await links(bob) == []
        assert hers.encode() not in bytes(other.received)
        assert his.encode() not in bytes(tab.received)
        by_owner = {
            text: {row["owner_id"] for row in rows(tmp_path, WITH, text)}
            for text in (asked, hers, his)
        }
        assert len(by_owner[asked]) == 2
        assert by_owner[hers].isdisjoint(by_owner[his])
        assert (await post(alice, "history/forget", {"sure": True}))[0] == 200
        assert [entry["id"] for entry in await listed(bob)] == [copy]
        assert sound(tmp_path)


WITH = "SELECT owner_id FROM agent_messages WHERE role = 'user' AND content = ?"


async def test_a_shared_file_says_what_models_were_not_given_of_it(tmp_path: Path) -> None:
    async with (
        served(settings_for(tmp_path, shares="link")) as app,
        Browser(app.url) as alice,
    ):
        tab = await alice.open()
        text = "Договор поставки от 3 мая".encode("cp1251")
        ids = [
            (await put(alice, data, name))[1]["id"]
            for data, name in ((text, "old.txt"), (b"plain words", "new.txt"))
        ]
        await tab.run("send", ["look", "", json.dumps(ids), None])
        (entry,) = await listed(alice)
        full = await shared(alice, entry["id"], files=True)
        async with alice.http.get(
            f"{app.url}/share/{full['id']}", headers={"accept-language": "en"}
        ) as answer:
            page = await answer.text()
        note = '<p class="notice">It was read as Windows-1251, which was guessed.</p>'
        assert page.count(note) == 1
        assert f"old.txt</a>{note}" in page
        async with alice.http.get(
            f"{app.url}/share/{full['id']}", headers={"accept-language": "ru"}
        ) as answer:
            assert "кодировке Windows-1251" in await answer.text()


async def test_files_are_shared_by_choice_and_live_as_long_as_the_link(tmp_path: Path) -> None:
    secret = canary().encode()
    async with (
        served(settings_for(tmp_path, shares="link")) as app,
        Browser(app.url) as alice,
        Browser(app.url) as bob,
    ):
        tab = await alice.open()
        ids = [
            (await put(alice, data, name))[1]["id"]
            for data, name in (
                (secret, 'a"b<i>.txt'),
                (papers.picture(), "p.png"),
            )
        ]
        await tab.run("send", ["look", "", json.dumps(ids), None])
        (entry,) = await listed(alice)
        bare = await shared(alice, entry["id"])
        full = await shared(alice, entry["id"], files=True)
        page = (await ask(app.url, "GET", f"/share/{bare['id']}")).body.decode()
        assert "Files of this chat are not part of the copy." in page
        assert "/files/" not in page
        assert (await ask(app.url, "GET", f"/share/{bare['id']}/files/1")).status == 404
        page = (await ask(app.url, "GET", f"/share/{full['id']}")).body.decode()
        numbers = re.findall(rf"/share/{full['id']}/files/(\d+)", page)
        assert sorted(numbers) == ["1", "2"]
        assert "a&#34;b&lt;i&gt;.txt" in page
        assert all(file_id not in page for file_id in ids)
        await bob.open()
        status, content = await post(bob, f"share/{full['id']}/continue", {})
        assert status == 200, content
        # What its owner deletes for good, the link has no more; the copy of the other has.
        found = [await ask(app.url, "GET", f"/share/{full['id']}/files/{n}") for n in numbers]
        assert secret in [answer.body for answer in found]
        for answer in found:
            assert answer.headers["content-disposition"].startswith("attachment;")
            async with bob.http.get(f"{app.url}/share/{full['id']}/files/1") as got:
                policies = got.headers.getall("content-security-policy")
                assert "sandbox; default-src 'none'" in policies
        for wanted in ("0", "3", "01x", "-1", "1" * 30, "%31%00"):
            target = f"/share/{full['id']}/files/{wanted}"
            assert (await ask(app.url, "GET", target)).status == 404, wanted
        assert len(papers.stored_files(tmp_path)) == 9  # each picture has a small one
        assert (await post(alice, "shares/revoke", {"id": full["id"]}))[0] == 200
        assert len(papers.stored_files(tmp_path)) == 6
        await shared(alice, entry["id"], files=True)
        assert (await post(alice, "history/forget", {"sure": True}))[0] == 200
        assert len(papers.stored_files(tmp_path)) == 3
        copies = rows(tmp_path, "SELECT * FROM agent_files ORDER BY kind")
        assert {row["file_id"] for row in copies}.isdisjoint(ids)
        assert len({row["owner_id"] for row in copies}) == 1
        texts = [row["text"] for row in copies]
        assert secret.decode() in texts
        for row in copies:
            assert (await get(bob, f"files/{row['file_id']}"))[0] == 200


async def test_shared_files_count_against_the_quota_of_who_shares_and_who_continues(
    tmp_path: Path,
) -> None:
    settings = settings_for(tmp_path, shares="link", file_quota_bytes=2_500)
    async with (
        served(settings) as app,
        Browser(app.url) as alice,
        Browser(app.url) as bob,
    ):
        tab = await alice.open()
        _, uploaded = await put(alice, b"x" * 500)
        await tab.run("send", ["look", "", json.dumps([uploaded["id"]]), None])
        (entry,) = await listed(alice)
        first = await shared(alice, entry["id"], files=True)
        body = {"conversation": entry["id"], "days": 1, "files": True}
        status, content = await post(alice, "shares/create", body)
        assert status == 413
        assert b"Your files take" in content
        await bob.open()
        for _ in range(2):
            assert (await put(bob, b"y" * 500))[0] == 200
        assert (await post(bob, f"share/{first['id']}/continue", {}))[0] == 413
        assert await listed(bob) == []
        assert len(papers.stored_files(tmp_path)) == 4


async def test_where_there_are_no_shares_there_are_no_routes(tmp_path: Path) -> None:
    async with served(settings_for(tmp_path)) as app, Browser(app.url) as alice:
        _, conversation = await chatted(alice, "hers")
        assert orjson.loads((await get(alice, "history"))[1])["shares"] is False
        for path in ("shares", f"share/{'x' * 32}", f"share/{'x' * 32}/files/1"):
            assert await get(alice, path) == (404, NOT_FOUND)
        for path in ("shares/create", "shares/revoke", f"share/{'x' * 32}/continue"):
            body = {"conversation": conversation, "days": 1}
            assert await post(alice, path, body) == (404, NOT_FOUND)


async def test_for_accounts_alone_a_link_asks_for_a_sign_in(tmp_path: Path, there: str) -> None:
    asked = canary()
    settings = settings_for(tmp_path, shares="accounts", **with_accounts(there))
    async with (
        served(settings) as app,
        Browser(app.url) as alice,
        Browser(app.url) as bob,
    ):
        _, conversation = await chatted(alice, asked)
        item = await shared(alice, conversation)
        await bob.open()
        for share_id in (item["id"], new_share_id()):
            async with bob.http.get(f"{app.url}/share/{share_id}", allow_redirects=False) as answer:
                assert answer.status == 303
                assert answer.headers["location"] == f"/login?next=%2Fshare%2F{share_id}"
            assert (await get(bob, f"share/{share_id}/files/1"))[0] == 401
            assert (await post(bob, f"share/{share_id}/continue", {}))[0] == 401
        await sign_in(bob, "1")
        status, page = await get(bob, f"share/{item['id']}")
        assert status == 200
        assert asked.encode() in page
        assert (await post(bob, f"share/{item['id']}/continue", {}))[0] == 200


async def test_at_a_sign_in_the_links_are_named_and_move_with_their_chats(
    tmp_path: Path, there: str
) -> None:
    settings = settings_for(tmp_path, shares="link", **with_accounts(there))
    async with served(settings) as app, Browser(app.url) as alice:
        _, kept_chat = await chatted(alice, "to be moved")
        _, deleted_chat = await chatted(alice, "to be deleted")
        item = await shared(alice, kept_chat)
        await shared(alice, deleted_chat)
        assert (await post(alice, "history/delete", {"id": deleted_chat}))[0] == 200
        page = await sign_in_to_consent(alice, "1")
        assert "1 link to shared copies of these chats would move too" in page
        assert (await send_consent(alice, "move", listed_digest(page)))[0] == 200
        assert await links(alice) == [item["id"]]
        assert (await ask(app.url, "GET", f"/share/{item['id']}")).status == 200
        assert (await post(alice, "shares/revoke", {"id": item["id"]}))[0] == 200


async def test_a_key_shares_its_own_sessions_alone(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, shares="link", api_keys=KEYS)
    async with (
        served(settings) as app,
        client(app.url) as shop,
        client(app.url, BANK) as bank,
    ):
        said = canary()
        await shop.say(said, "s1")
        await bank.say("other", "s1")
        path = "/api/chat/assistant/sessions/{}/shares"
        made = await shop.ask("POST", path.format("s1"), {"days": None})
        assert made.status == 201
        item = made.json
        assert item["url"] == f"{app.url}/share/{item['share_id']}"
        assert item["expires_at"] is None
        page = await ask(app.url, "GET", f"/share/{item['share_id']}")
        assert said.encode() in page.body
        assert (await shop.ask("GET", path.format("s1"))).json == {"shares": [item]}
        assert (await bank.ask("GET", path.format("s1"))).json == {"shares": []}
        assert (await shop.ask("GET", path.format("s2"))).json == {"shares": []}
        one = f"{path.format('s1')}/{item['share_id']}"
        none = f"{path.format('s1')}/{new_share_id()}"
        refused = [await bank.ask("DELETE", each) for each in (one, none)]
        assert [reply.status for reply in refused] == [404, 404]
        details = [reply.json["detail"] for reply in refused]
        assert details[0] == details[1]
        assert (await shop.ask("POST", path.format("s2"), {})).status == 404
        assert (await shop.ask("POST", path.format("s1"), {"days": 0})).status == 422
        assert (await shop.ask("DELETE", one)).status == 204
        assert (await ask(app.url, "GET", f"/share/{item['share_id']}")).status == 404


async def test_a_long_snapshot_is_shown_in_pages(tmp_path: Path) -> None:
    async with served(settings_for(tmp_path, shares="link")) as app, Browser(app.url) as alice:
        tab, conversation = await chatted(alice, "message 0")
        for number in range(1, 25):
            await tab.send(f"message {number}")
        item = await shared(alice, conversation)
        seen, target, pages = "", f"/share/{item['id']}", 0
        while target:
            page = (await ask(app.url, "GET", target)).body.decode()
            seen, pages = seen + page, pages + 1
            following = re.search(r'href="([^"]+\?from=\d+)">Show more', page)
            target = following[1] if following else ""
        assert pages == 2
        assert [int(n) for n in re.findall(r'id="m(\d+)"', seen)] == list(range(1, 51))
        for strange in ("0", "x", "-1", "9" * 40, "1000000"):
            answer = await ask(app.url, "GET", f"/share/{item['id']}?from={strange}")
            assert answer.status == 200


async def test_many_readers_at_once_are_all_answered(tmp_path: Path) -> None:
    async with served(settings_for(tmp_path, shares="link")) as app, Browser(app.url) as alice:
        _, conversation = await chatted(alice, "read by many")
        item = await shared(alice, conversation)
        target = f"/share/{item['id']}"
        answers = await asyncio.gather(*(ask(app.url, "GET", target) for _ in range(40)))
        assert {answer.status for answer in answers} == {200}
        assert app.application.runtime.budgets.used("share_reads") == 0
