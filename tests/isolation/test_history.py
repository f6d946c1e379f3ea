"""Isolation: the routes of the conversation list reach the principal's own conversations alone."""

import asyncio
import contextlib
import html
import re
import sqlite3
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from memory.engine.database import SqliteDatabase
from tests.contract.test_memory_owners import VARIANTS
from tests.doubles.openai_server import OpenAIDouble
from tests.harness import Browser, Tab, canary, last_text, served, settings_for, texts
from tests.rows import rows
from tests.service import wait_until

POSTS = ("rename", "arrange", "delete", "restore", "select", "fork")
NO_REQUEST = ("surrogate", "huge")  # refused before anybody looks at what they name
NOBODY = "v" + "0" * 32
SCRIPT = "<script>alert(1)</script>"


async def get(browser: Browser, path: str, **params: str) -> tuple[int, bytes]:
    async with browser.http.get(f"{browser.url}/{path}", params=params) as answer:
        return answer.status, await answer.read()


async def post(browser: Browser, path: str, body: Any) -> tuple[int, bytes]:
    async with browser.http.post(f"{browser.url}/{path}", json=body) as answer:
        return answer.status, await answer.read()


async def listed(browser: Browser, **params: str) -> list[dict[str, str]]:
    status, body = await get(browser, "history", **params)
    assert status == 200
    found: list[dict[str, str]] = orjson.loads(body)["conversations"]
    return found


async def chatted(browser: Browser, *said: str) -> tuple[Tab, str]:
    """A tab with a conversation; its id."""
    tab = await browser.open()
    for text in said:
        assert (await tab.send(text)).error is None
    return tab, (await listed(browser))[0]["id"]


async def test_a_list_is_ones_own_newest_first_and_paged(tmp_path: Path) -> None:
    async with (
        served(settings_for(tmp_path)) as app,
        Browser(app.url) as alice,
        Browser(app.url) as bob,
    ):
        await chatted(bob, "bob's own")
        tab = await alice.open()
        for n in range(32):
            assert (await tab.send(f"count to 1, {n}")).error is None
            await tab.run("new_chat", [])
        status, body = await get(alice, "history")
        page = orjson.loads(body)
        assert status == 200
        assert [c["title"] for c in page["conversations"]] == [
            f"count to 1, {n}" for n in range(31, 1, -1)
        ]
        rest = await listed(alice, before=page["next"])
        assert [c["title"] for c in rest] == ["count to 1, 1", "count to 1, 0"]
        for nonsense in ("", "x", "~", "2026-01-01T00:00:00~x", "9" * 500):
            assert (await get(alice, "history", before=nonsense))[0] == 400


async def test_another_s_conversation_is_one_that_is_not_there(tmp_path: Path) -> None:
    secret = canary()
    async with (
        served(settings_for(tmp_path)) as app,
        Browser(app.url) as alice,
        Browser(app.url) as bob,
    ):
        tab, hers = await chatted(alice, secret)
        await chatted(bob, "bob's own")
        before = rows(tmp_path, "SELECT * FROM agent_sessions ORDER BY session_id")
        for variant in (v for name, v in VARIANTS.items() if name not in NO_REQUEST):
            wanted = variant(hers)
            answers = {await get(bob, "history/export", id=wanted)}
            answers.add(await get(bob, "history/versions", id=wanted))
            answers.add(await get(bob, "history/answer", id=wanted, seq="2"))
            answers.add(await get(bob, "history/export", id=wanted, versions="all"))
            for name in (*POSTS, "rating"):
                sent = {"id": wanted, "title": "mine", "seq": 1}
                answers.add(await post(bob, f"history/{name}", sent))
            assert answers <= {
                (404, b'{"detail":"This conversation was not found."}'),
                (422, b""),
            }, wanted[:40]
        assert rows(tmp_path, "SELECT * FROM agent_sessions ORDER BY session_id") == before
        for path in ("history", "history/everything"):
            assert secret.encode() not in (await get(bob, path))[1]
        assert orjson.loads((await get(bob, "history/search", q=secret))[1]) == {"found": []}
        assert orjson.loads((await post(bob, "history/forget", {"sure": True}))[1])["deleted"] == 1
        assert texts((await tab.open()).value) == []  # her page begins anew, her chat is kept
        assert [c["id"] for c in await listed(alice)] == [hers]


async def test_a_list_has_sections_of_ones_own(tmp_path: Path) -> None:
    async with (
        served(settings_for(tmp_path)) as app,
        Browser(app.url) as alice,
        Browser(app.url) as bob,
    ):
        await chatted(bob, "bob's own")
        tab, hers = await chatted(alice, "hers")
        await tab.run("new_chat", [])
        await tab.send("another")
        changed = {"id": hers, "pinned": True, "folder": " My\nwork "}
        status, body = await post(alice, "history/arrange", changed)
        item = orjson.loads(body)
        assert (status, item["pinned"], item["folder"]) == (200, True, "My work")
        shown = orjson.loads((await get(alice, "history"))[1])
        assert [c["title"] for c in shown["conversations"]] == ["another"]
        assert [c["title"] for c in shown["arranged"]["conversations"]] == ["hers"]
        assert shown["naming"] is False
        assert (await post(alice, "history/arrange", {"id": hers, "archived": True}))[0] == 200
        assert await listed(alice, section="arranged") == []
        assert [c["title"] for c in await listed(alice, section="archived")] == ["hers"]
        assert await listed(bob, section="archived") == []
        found = orjson.loads((await get(alice, "history/search", q="hers"))[1])["found"]
        assert [(hit["archived"], hit["folder"]) for hit in found] == [(True, "My work")]
        assert (await get(alice, "history", section="everything"))[0] == 400
        for wrong in ({"pinned": "yes"}, {"archived": 1}, {"folder": 5}):
            assert (await post(alice, "history/arrange", {"id": hers, **wrong}))[0] == 400, wrong
        status, _ = await post(alice, "history/arrange", {"id": hers, "folder": "a\0b"})
        assert status == 422


async def test_who_proves_nothing_has_no_history(tmp_path: Path) -> None:
    async with (
        served(settings_for(tmp_path)) as app,
        Browser(app.url, cookies=False) as nobody,
        Browser(app.url) as alice,
    ):
        _, hers = await chatted(alice, "hello")
        assert await listed(nobody) == []
        for path in ("search", "export", "everything", "versions", "answer"):
            assert (await get(nobody, f"history/{path}", id=hers, q="hello", seq="2"))[0] == 404
        for name in (*POSTS, "rating", "forget"):
            sent = {"id": hers, "sure": True, "seq": 1}
            assert (await post(nobody, f"history/{name}", sent))[0] == 404


async def test_a_page_of_another_site_changes_nothing(tmp_path: Path) -> None:
    async with served(settings_for(tmp_path)) as app, Browser(app.url) as alice:
        _, hers = await chatted(alice, "hello")
        for headers in ({"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}):
            for name in (*POSTS, "rating", "forget"):
                async with alice.http.post(
                    f"{app.url}/history/{name}",
                    json={"id": hers, "title": "x", "sure": True},
                    headers=headers,
                ) as answer:
                    assert answer.status == 403
        assert [c["title"] for c in await listed(alice)] == ["hello"]


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"", 400), (b"[]", 400), (b'{"id":1}', 400), (b"{}", 400), (b"{" + b" " * 9_000 + b"}", 413)],
)
async def test_a_request_that_is_none_is_refused(tmp_path: Path, body: bytes, status: int) -> None:
    async with served(settings_for(tmp_path)) as app, Browser(app.url) as alice:
        await chatted(alice, "hello")
        declared = {"content-type": "application/json"}
        for name in POSTS:
            url = f"{app.url}/history/{name}"
            async with alice.http.post(url, data=body, headers=declared) as answer:
                assert answer.status == status
                assert orjson.loads(await answer.read())["detail"]
        url = f"{app.url}/history/forget"
        async with alice.http.post(url, data=b"{}", headers=declared) as answer:
            assert answer.status == 422
        assert len(await listed(alice)) == 1


async def test_a_deletion_stops_the_answer_and_can_be_taken_back(tmp_path: Path) -> None:
    async with (
        OpenAIDouble() as endpoint,
        served(settings_for(tmp_path, openai_base_url=endpoint.base_url, model="gated-1")) as app,
        Browser(app.url) as alice,
    ):
        tab = await alice.open()
        running = asyncio.create_task(tab.send("one two three"))
        await endpoint.wait_held()
        [item] = await listed(alice)
        assert (await post(alice, "history/delete", {"id": item["id"]}))[0] == 200
        await running
        assert await listed(alice) == []
        assert (await get(alice, "history/export", id=item["id"]))[0] == 404
        assert texts((await tab.run("open_page", [])).value) == []
        assert (await post(alice, "history/restore", {"id": item["id"]}))[0] == 200
        _, body = await get(alice, "history/export", id=item["id"], format="json")
        assert [m["status"] for m in orjson.loads(body)["messages"]] == ["complete", "interrupted"]


async def test_everything_of_mine_goes_and_nothing_of_others(tmp_path: Path) -> None:
    async with (
        served(settings_for(tmp_path)) as app,
        Browser(app.url) as alice,
        Browser(app.url) as bob,
    ):
        await chatted(alice, "hello")
        tab, his = await chatted(bob, "bob's own")
        for deleted in (1, 0):
            status, body = await post(alice, "history/forget", {"sure": True})
            assert (status, orjson.loads(body)["deleted"]) == (200, deleted)
        assert await listed(alice) == []
        assert [c["id"] for c in await listed(bob)] == [his]
        assert last_text((await tab.send("My name is Bob")).value).startswith("Hello, Bob!")
        found = rows(tmp_path, "SELECT DISTINCT session_id FROM agent_messages")
        assert [row["session_id"] for row in found] == [his]


async def test_a_conversation_is_saved_whole_and_runs_nothing(tmp_path: Path) -> None:
    async with served(settings_for(tmp_path)) as app, Browser(app.url) as alice:
        _, hers = await chatted(alice, f"Say {SCRIPT}", "What is 2 + 3?")
        await post(alice, "history/rename", {"id": hers, "title": f'{SCRIPT} "/../x'})
        files = {}
        for ending in ("md", "json", "html"):
            async with alice.http.get(
                f"{app.url}/history/export", params={"id": hers, "format": ending}
            ) as answer:
                assert answer.status == 200
                named = answer.headers["content-disposition"]
                assert re.fullmatch(r"attachment; filename\*=UTF-8''[\w%.-]+", named)
                assert "%2F" not in named
                assert answer.headers["x-content-type-options"] == "nosniff"
                assert answer.headers["cache-control"] == "no-store"
                files[ending] = await answer.text()
        data = orjson.loads(files["json"])
        assert [m["role"] for m in data["messages"]] == ["user", "assistant"] * 2
        assert data["messages"][3]["tool_calls"][0]["name"] == "calculate"
        assert SCRIPT not in files["html"]
        assert html.escape(SCRIPT) in files["html"]
        assert "default-src 'none'" in files["html"]
        assert f"Say {SCRIPT}" in files["md"]
        assert (await get(alice, "history/export", id=hers, format="exe"))[0] == 422
        _, everything = await get(alice, "history/everything")
        assert orjson.loads(everything)["conversations"] == [data]


async def test_an_answer_is_rated_by_its_owner_where_the_page_shows_it(tmp_path: Path) -> None:
    async with (
        served(settings_for(tmp_path)) as app,
        Browser(app.url) as alice,
        Browser(app.url) as bob,
    ):
        tab, hers = await chatted(alice, "hello", "What is 2 + 3?")
        his, _ = await chatted(bob, "hello")

        async def given() -> list[tuple[int, str]]:
            found = rows(
                tmp_path, "SELECT seq, feedback FROM agent_messages WHERE feedback IS NOT NULL"
            )
            return [(row["seq"], row["feedback"]) for row in found]

        async def rate(tab: Tab, seq: Any, rating: Any) -> str | None:
            return (await tab.run("rate", [seq, rating])).error

        assert await rate(tab, "4", "like") is None
        assert await given() == [(4, "like")]
        assert await rate(tab, "4", "dislike") is None
        assert await given() == [(4, "dislike")]
        assert await rate(tab, "4", "") is None
        assert await given() == []
        for seq in ("1", "4", "99", "-1", None, 4, [4], {"a": 1}, True, "4 ", "²"):
            await rate(his, seq, "like")
            await rate(tab, seq if seq != "4" else "3", "like")
            await rate(tab, "4", {"no": "rating"})
        assert await given() == []
        assert await rate(tab, "2", "like") is None
        reloaded = await alice.tab(query=f"?c={hers}").open()
        for shown in (reloaded.value, (await tab.run("redraw", [])).value):
            rated = {part["metadata"]["seq"]: part["metadata"].get("rating") for part in shown}
            assert rated == {1: None, 2: "like", 3: None, 4: None}


async def test_a_rating_has_a_reason_and_a_comment_of_its_owner_s(tmp_path: Path) -> None:
    why = {"rating": "dislike", "reason": "not_right", "comment": " 2 + 3 is 5 "}
    async with (
        served(settings_for(tmp_path)) as app,
        Browser(app.url) as alice,
        Browser(app.url) as bob,
    ):
        tab, hers = await chatted(alice, "hello")
        await chatted(bob, "hello")
        rate = {"id": hers, "seq": 2}
        assert (await post(bob, "history/rating", rate | why))[0] == 404
        for wrong in (
            {"rating": "love"},
            {"rating": "dislike", "reason": "boring"},
            {"rating": "like", "reason": "not_right"},
            {"rating": None, "comment": "why"},
            {"rating": "like", "comment": 5},
            {"rating": "like", "comment": "x" * 2_001},
        ):
            assert (await post(alice, "history/rating", rate | wrong))[0] == 422, wrong
        assert (await post(alice, "history/rating", {"id": hers, "seq": "two"} | why))[0] == 400
        assert (await post(alice, "history/rating", {"id": hers, "seq": 1} | why))[0] == 404
        assert (await post(alice, "history/rating", rate | why))[0] == 200
        # The page's own event comes again, as when a line was cut.
        assert (await tab.run("rate", ["2", "dislike"])).error is None
        _, details = await get(alice, "history/answer", id=hers, seq="2")
        shown = orjson.loads(details)
        assert (shown["rating"], shown["reason"], shown["comment"]) == (
            "dislike",
            "not_right",
            "2 + 3 is 5",
        )
        _, saved = await get(alice, "history/export", id=hers, format="json")
        answer = orjson.loads(saved)["messages"][1]
        assert (answer["feedback_reason"], answer["feedback_comment"]) == (
            "not_right",
            "2 + 3 is 5",
        )


async def test_a_rating_outlives_the_page_that_gave_it(tmp_path: Path) -> None:
    async with served(settings_for(tmp_path)) as app, Browser(app.url) as alice:
        tab, _ = await chatted(alice, "hello")
        runtime = app.application.runtime
        database = runtime.services.database
        assert isinstance(database, SqliteDatabase)
        waiting = database._writer._waiting
        with contextlib.closing(
            sqlite3.connect(tmp_path / "chat.db", isolation_level=None)
        ) as other:
            other.execute("BEGIN IMMEDIATE")
            # stands in front of the rating, which so has not begun when the page goes
            first = asyncio.create_task(runtime.memory.mark_inactive(NOBODY, "none"))
            await asyncio.sleep(0)
            await wait_until(lambda: not waiting)
            await tab.join("rate", ["2", "like"])
            await wait_until(lambda: len(waiting) == 1)
            (rating,) = waiting
            await tab.close()
            await wait_until(lambda: not len(runtime.registry) or rating not in waiting)
            other.execute("ROLLBACK")
        await first
        found = "SELECT * FROM agent_messages WHERE feedback = 'like'"
        await wait_until(lambda: len(rows(tmp_path, found)) == 1)


async def test_a_long_conversation_shows_its_end_and_then_more(tmp_path: Path) -> None:
    async with served(settings_for(tmp_path)) as app, Browser(app.url) as alice:
        tab, hers = await chatted(alice, *(f"count to 1, {n}" for n in range(55)))
        tab = alice.tab(query=f"?c={hers}")
        shown: list[int] = []
        event = await tab.open()
        assert event.values[-1][1] == f"{hers}+"
        shown.append(len(event.value))
        for _ in range(3):
            event = await tab.run("earlier", [])
            shown.append(len(event.value))
        assert shown == [40, 80, 110, 110]
        assert texts(event.value)[0] == "count to 1, 0"
        assert event.values[-1][1] == hers
        event = await tab.send("count to 1, 55")  # what is far above is put away again
        assert len(event.value) == 42
        assert event.values[-1][1] == f"{hers}+"
        event = await tab.run("edit", ["111", "count to 2"])
        assert texts(event.value)[-2:] == ["count to 2", "1, 2."]


async def test_a_caller_without_the_page_is_asked_for_nothing_of_it(tmp_path: Path) -> None:
    async with served(settings_for(tmp_path)) as app, aiohttp.ClientSession() as plain:
        async with plain.get(f"{app.url}/page.js") as answer:
            assert answer.status == 200
            assert answer.headers["content-type"].startswith("text/javascript")
        async with plain.get(f"{app.url}/history/") as answer:
            assert answer.status == 404


async def test_a_closed_page_leaves_its_conversation_inactive_until_it_goes_on(
    tmp_path: Path,
) -> None:
    def status() -> list[str]:
        return [row["status"] for row in rows(tmp_path, "SELECT status FROM agent_sessions")]

    async with served(settings_for(tmp_path)) as app, Browser(app.url) as alice:
        tab, hers = await chatted(alice, "hello")
        second = alice.tab(query=f"?c={hers}")
        await second.open()
        assert status() == ["active"]
        await tab.close()
        await wait_until(lambda: len(app.application.runtime.registry) == 1)
        assert status() == ["active"]  # the other tab still shows it
        await second.close()
        await wait_until(lambda: status() == ["inactive"])
        third = alice.tab(query=f"?c={hers}")
        await third.open()
        await third.send("back again")
        assert status() == ["active"]
