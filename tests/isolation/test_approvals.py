"""A question before a tool runs is its owner's to answer, whatever is sent."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
import pytest

from cmw_agent.approvals import Approvals, Decision
from tests.harness import WAIT, Browser, canary, served, settings_for
from tests.rows import rows
from tests.service import until

GONE = (
    404,
    b'{"detail":"This question is not open any more; please look at the conversation."}',
)
APPROVED = {"answer": "approved", "arguments": None, "always": False}


@dataclass(frozen=True, slots=True)
class Chat:
    """A browser's stored conversation."""

    browser: Browser
    owner: str
    id: str

    async def waiting(self, conversation: str | None = None) -> list[dict[str, Any]]:
        wanted = quote(self.id if conversation is None else conversation, safe="")
        url = f"{self.browser.url}/approvals?c={wanted}"
        async with self.browser.http.get(url) as answer:
            assert answer.status == 200
            found: list[dict[str, Any]] = orjson.loads(await answer.read())["waiting"]
            return found

    async def settle(self, call: str, **body: Any) -> tuple[int, bytes]:
        sent = {"conversation": self.id, "call": call, **APPROVED, **body}
        return await raw(self.browser, orjson.dumps(sent))


async def raw(browser: Browser, body: bytes, **headers: str) -> tuple[int, bytes]:
    url = f"{browser.url}/approvals"
    async with browser.http.post(url, data=body, headers=headers) as answer:
        return answer.status, await answer.read()


async def chat(folder: Path, browser: Browser) -> Chat:
    word = canary()
    tab = await browser.open()
    assert (await tab.send(word)).error is None
    [row] = rows(folder, "SELECT * FROM agent_sessions WHERE title = ?", f"{word}")
    return Chat(browser, row["owner_id"], row["session_id"])


@contextlib.asynccontextmanager
async def people(folder: Path) -> AsyncIterator[tuple[Approvals, Chat, Chat]]:
    """What waits, and two with a conversation each."""
    async with (
        served(settings_for(folder)) as app,
        Browser(app.url) as alice,
        Browser(app.url) as bob,
    ):
        approvals = app.application.runtime.approvals
        yield approvals, await chat(folder, alice), await chat(folder, bob)


@contextlib.asynccontextmanager
async def asking(
    approvals: Approvals,
    chat: Chat,
    call: str = "call-1",
    name: str = "ASANA_CREATE_TASK",
    arguments: Mapping[str, Any] | None = None,
) -> AsyncIterator["asyncio.Task[Decision]"]:
    """A call that waits, and what is decided about it."""
    given = {"name": "Buy milk", "count": 2} if arguments is None else arguments
    before = len(approvals)
    task = asyncio.create_task(approvals.ask(chat.owner, chat.id, call, name, given))
    await until(lambda: len(approvals) > before)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_the_owner_sees_and_settles(tmp_path: Path) -> None:
    async with (
        people(tmp_path) as (approvals, alice, _),
        asking(approvals, alice) as first,
        asking(approvals, alice, "call-2", "ASANA_DELETE_TASK", {}) as second,
    ):
        seen = await alice.waiting()
        assert [(item["call"], item["name"], item["arguments"]) for item in seen] == [
            ("call-1", "ASANA_CREATE_TASK", {"name": "Buy milk", "count": 2}),
            ("call-2", "ASANA_DELETE_TASK", {}),
        ]
        assert all(0 < item["seconds"] <= 300 for item in seen)
        assert await alice.settle("call-1", always=True) == (200, b"{}")
        async with asyncio.timeout(WAIT):
            decided = await first
        assert decided == Decision("approved", {"name": "Buy milk", "count": 2}, always=True)
        assert [item["call"] for item in await alice.waiting()] == ["call-2"]
        assert await alice.settle("call-2", answer="denied", always=True) == (200, b"{}")
        async with asyncio.timeout(WAIT):
            assert await second == Decision("denied", {}, always=False)
        assert await alice.waiting() == []


async def test_edited_arguments_arrive(tmp_path: Path) -> None:
    edited = {"name": "Buy <b>bread</b>", "count": [1, {"a": None}], "more": 2**60 + 1}
    async with people(tmp_path) as (approvals, alice, _), asking(approvals, alice) as asked:
        assert (await alice.settle("call-1", arguments=edited))[0] == 200
        async with asyncio.timeout(WAIT):
            assert await asked == Decision("approved", edited)


async def test_another_s_question_is_one_that_is_not_there(tmp_path: Path) -> None:
    async with people(tmp_path) as (approvals, alice, bob), asking(approvals, alice) as asked:
        other = await chat(tmp_path, alice.browser)
        assert other.owner == alice.owner
        assert other.id != alice.id
        nobody = secrets.token_urlsafe(16)
        # Another principal; another conversation of the same one; what never was.
        refused = {
            await bob.settle("call-1", conversation=alice.id),
            await bob.settle("call-1"),
            await bob.settle("call-1", conversation=alice.id, owner=alice.owner),
            await bob.settle("call-1", conversation=alice.id, arguments={"name": "mine"}),
            await other.settle("call-1"),
            await alice.settle("call-2"),
            await alice.settle("CALL-1"),
            await alice.settle(""),
            await alice.settle("call-1", conversation=nobody),
            await alice.settle("call-1", conversation=f"{alice.id} "),
            await alice.settle("call-1", conversation=alice.id.swapcase()),
        }
        assert refused == {GONE}
        for conversation in (alice.id, nobody, "", "\0", "x" * 5_000):
            assert await bob.waiting(conversation) == []
        assert await other.waiting() == []
        assert not asked.done()
        assert [item["call"] for item in await alice.waiting()] == ["call-1"]


async def test_who_proves_nothing_answers_nothing(tmp_path: Path) -> None:
    async with people(tmp_path) as (approvals, alice, _), asking(approvals, alice) as asked:
        async with Browser(alice.browser.url, cookies=False) as nobody:
            body = {"conversation": alice.id, "call": "call-1", **APPROVED}
            assert (await raw(nobody, orjson.dumps(body)))[0] == 404
            async with nobody.http.get(f"{nobody.url}/approvals?c={alice.id}") as answer:
                assert answer.status == 404
        assert not asked.done()


async def test_a_question_is_answered_once(tmp_path: Path) -> None:
    async with people(tmp_path) as (approvals, alice, _), asking(approvals, alice) as asked:
        answers = await asyncio.gather(
            alice.settle("call-1"), alice.settle("call-1", answer="denied")
        )
        assert sorted(answers) == [(200, b"{}"), GONE]
        assert await alice.settle("call-1") == GONE
        async with asyncio.timeout(WAIT):
            await asked
        assert await alice.settle("call-1", arguments={"name": "later"}) == GONE


async def test_a_question_whose_asker_has_gone_is_closed(tmp_path: Path) -> None:
    async with people(tmp_path) as (approvals, alice, _):
        async with asking(approvals, alice):
            pass
        assert await alice.waiting() == []
        assert await alice.settle("call-1") == GONE


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"[]", 400),
        (b'"x"', 400),
        (b"{}", 400),
        (b'{"conversation":"C","call":1,"answer":"approved"}', 400),
        (b'{"conversation":["C"],"call":"call-1","answer":"approved"}', 400),
        (b'{"conversation":"C","call":"call-1"}', 400),
        (b'{"conversation":"C","call":"call-1","answer":"expired"}', 400),
        (b'{"conversation":"C","call":"call-1","answer":["approved"]}', 400),
        (b'{"conversation":"C","call":"call-1","answer":"approved","arguments":[]}', 400),
        (b'{"conversation":"C","call":"call-1","answer":"approved","arguments":"{}"}', 400),
        (b'{"conversation":"C","call":"call-1","answer":"approved","always":1}', 400),
        (b'{"conversation":"C","call":"call-1","answer":"approved","x":"\\ud800"}', 400),
        (b'{"conversation":"C","call":"call-1","answer":"approved"' + b" " * 65_536 + b"}", 413),
    ],
)
async def test_a_request_that_is_none_decides_nothing(
    tmp_path: Path, body: bytes, status: int
) -> None:
    async with people(tmp_path) as (approvals, alice, _), asking(approvals, alice) as asked:
        answered, content = await raw(alice.browser, body.replace(b'"C"', f'"{alice.id}"'.encode()))
        assert answered == status
        assert orjson.loads(content)["detail"]
        assert not asked.done()


async def test_a_page_of_another_site_decides_nothing(tmp_path: Path) -> None:
    async with people(tmp_path) as (approvals, alice, _), asking(approvals, alice) as asked:
        body = orjson.dumps({"conversation": alice.id, "call": "call-1", **APPROVED})
        assert (await raw(alice.browser, body, origin="https://evil.example"))[0] == 403
        assert not asked.done()


async def test_what_is_shown_is_what_will_be_sent(tmp_path: Path) -> None:
    long = 1_201_234_567_890_123_457  # a browser would round it
    arguments = {"gid": long, "deep": {"gid": long}, "huge": 10**30, "broken": "a\ud800b\0"}
    async with (
        people(tmp_path) as (approvals, alice, _),
        asking(approvals, alice, arguments=arguments) as asked,
    ):
        [item] = await alice.waiting()
        assert item["texts"]["gid"] == str(long)
        assert item["texts"]["huge"] == str(10**30)
        assert str(long) in item["texts"]["deep"]
        assert item["arguments"]["broken"] == "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}"
        assert set(item["texts"]) == {"gid", "deep", "huge"}
        assert (await alice.settle("call-1"))[0] == 200
        async with asyncio.timeout(WAIT):
            assert (await asked).arguments == arguments
