"""Isolation: only the owner of a tool call can approve or deny it."""

import asyncio
import contextlib
import re
import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
import pytest

from cmw_agent.chat.approval_registry import ApprovalRegistry
from cmw_agent.tools.approvals import Decision
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
    conversation: str

    async def waiting(self, conversation: str | None = None) -> list[dict[str, Any]]:
        wanted = quote(self.conversation if conversation is None else conversation, safe="")
        url = f"{self.browser.url}/approvals?c={wanted}"
        async with self.browser.http.get(url) as answer:
            assert answer.status == 200
            found: list[dict[str, Any]] = orjson.loads(await answer.read())["waiting"]
            return found

    async def id(self, number: int = 0) -> str:
        """The approval's id that the page is given for the call that waits at this place."""
        waiting = await self.waiting()
        return str(waiting[number]["call"])

    async def settle(self, call: str, **body: Any) -> tuple[int, bytes]:
        sent = {"conversation": self.conversation, "call": call, **APPROVED, **body}
        return await raw(self.browser, orjson.dumps(sent))


async def raw(browser: Browser, body: bytes, **headers: str) -> tuple[int, bytes]:
    url = f"{browser.url}/approvals"
    sent = {"content-type": "application/json", **headers}
    async with browser.http.post(url, data=body, headers=sent) as answer:
        return answer.status, await answer.read()


async def chat(folder: Path, browser: Browser) -> Chat:
    word = canary()
    tab = await browser.open()
    assert (await tab.send(word)).error is None
    [row] = rows(folder, "SELECT * FROM agent_sessions WHERE title = ?", f"{word}")
    return Chat(browser, row["owner_id"], row["session_id"])


@contextlib.asynccontextmanager
async def people(folder: Path) -> AsyncIterator[tuple[ApprovalRegistry, Chat, Chat]]:
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
    approvals: ApprovalRegistry,
    chat: Chat,
    call: str = "call-1",
    name: str = "ASANA_CREATE_TASK",
    arguments: Mapping[str, Any] | None = None,
) -> AsyncIterator["asyncio.Task[Decision]"]:
    """A call that waits, and what is decided about it."""
    given = {"name": "Buy milk", "count": 2} if arguments is None else arguments
    before = len(approvals)
    task = asyncio.create_task(approvals.ask(chat.owner, chat.conversation, call, name, given))
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
        assert [(item["name"], item["arguments"]) for item in seen] == [
            ("ASANA_CREATE_TASK", {"name": "Buy milk", "count": 2}),
            ("ASANA_DELETE_TASK", {}),
        ]
        one, two = (item["call"] for item in seen)
        assert all(0 < item["seconds"] <= 300 for item in seen)
        assert await alice.settle(one, always=True) == (200, b"{}")
        async with asyncio.timeout(WAIT):
            decided = await first
        assert decided == Decision("approved", {"name": "Buy milk", "count": 2}, always=True)
        assert [item["call"] for item in await alice.waiting()] == [two]
        assert await alice.settle(two, answer="denied", always=True) == (200, b"{}")
        async with asyncio.timeout(WAIT):
            assert await second == Decision("denied", {}, always=False)
        assert await alice.waiting() == []


async def test_edited_arguments_arrive(tmp_path: Path) -> None:
    edited = {"name": "Buy <b>bread</b>", "count": [1, {"a": None}], "more": 2**60 + 1}
    async with people(tmp_path) as (approvals, alice, _), asking(approvals, alice) as asked:
        assert (await alice.settle(await alice.id(), arguments=edited))[0] == 200
        async with asyncio.timeout(WAIT):
            assert await asked == Decision("approved", edited)


async def test_another_s_question_is_one_that_is_not_there(tmp_path: Path) -> None:
    async with people(tmp_path) as (approvals, alice, bob), asking(approvals, alice) as asked:
        other = await chat(tmp_path, alice.browser)
        assert other.owner == alice.owner
        assert other.conversation != alice.conversation
        nobody, call = secrets.token_urlsafe(16), await alice.id()
        random, _, digest = call.partition(".")
        # Another principal; another conversation of the same one; what never was.
        refused = {
            await bob.settle(call, conversation=alice.conversation),
            await bob.settle(call),
            await bob.settle(call, conversation=alice.conversation, owner=alice.owner),
            await bob.settle(call, conversation=alice.conversation, arguments={"name": "mine"}),
            await other.settle(call),
            await alice.settle("call-1"),
            await alice.settle(random),
            await alice.settle(digest),
            await alice.settle(f"{random}.{'0' * 64}"),
            await alice.settle(f"{'0' * 32}.{digest}"),
            await alice.settle(f"{call} "),
            await alice.settle(call.upper()),
            await alice.settle(""),
            await alice.settle(call, conversation=nobody),
            await alice.settle(call, conversation=f"{alice.conversation} "),
            await alice.settle(call, conversation=alice.conversation.swapcase()),
        }
        assert refused == {GONE}
        for conversation in (alice.conversation, nobody, "", "\0", "x" * 5_000):
            assert await bob.waiting(conversation) == []
        assert await other.waiting() == []
        assert not asked.done()
        assert [item["call"] for item in await alice.waiting()] == [call]


async def test_who_proves_nothing_answers_nothing(tmp_path: Path) -> None:
    async with people(tmp_path) as (approvals, alice, _), asking(approvals, alice) as asked:
        async with Browser(alice.browser.url, cookies=False) as nobody:
            call = await alice.id()
            body = {"conversation": alice.conversation, "call": call, **APPROVED}
            assert (await raw(nobody, orjson.dumps(body)))[0] == 404
            async with nobody.http.get(f"{nobody.url}/approvals?c={alice.conversation}") as answer:
                assert answer.status == 404
        assert not asked.done()


async def test_a_question_is_answered_once(tmp_path: Path) -> None:
    async with people(tmp_path) as (approvals, alice, _), asking(approvals, alice) as asked:
        call = await alice.id()
        answers = await asyncio.gather(alice.settle(call), alice.settle(call, answer="denied"))
        assert sorted(answers) == [(200, b"{}"), GONE]
        assert await alice.settle(call) == GONE
        async with asyncio.timeout(WAIT):
            await asked
        assert await alice.settle(call, arguments={"name": "later"}) == GONE


async def test_a_question_whose_asker_has_gone_is_closed(tmp_path: Path) -> None:
    async with people(tmp_path) as (approvals, alice, _):
        async with asking(approvals, alice):
            call = await alice.id()
        assert await alice.waiting() == []
        assert await alice.settle(call) == GONE


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
        sent = body.replace(b'"C"', f'"{alice.conversation}"'.encode())
        sent = sent.replace(b"call-1", (await alice.id()).encode())
        answered, content = await raw(alice.browser, sent)
        assert answered == status
        assert orjson.loads(content)["detail"]
        assert not asked.done()


async def test_a_page_of_another_site_decides_nothing(tmp_path: Path) -> None:
    async with people(tmp_path) as (approvals, alice, _), asking(approvals, alice) as asked:
        call = await alice.id()
        body = orjson.dumps({"conversation": alice.conversation, "call": call, **APPROVED})
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
        assert (await alice.settle(item["call"]))[0] == 200
        async with asyncio.timeout(WAIT):
            assert (await asked).arguments == arguments


# -- endpoints whose ids repeat ---------------------------------------------------------------------


async def test_a_card_of_an_earlier_call_decides_no_later_one_of_the_same_id(
    tmp_path: Path,
) -> None:
    harmless, harmful = {"name": "Buy milk"}, {"name": "Everything"}
    async with people(tmp_path) as (approvals, alice, _):
        async with asking(approvals, alice, "call_0", "ASANA_CREATE_TASK", harmless):
            [stale] = await alice.waiting()
        async with asking(approvals, alice, "call_0", "ASANA_DELETE_TASK", harmful) as asked:
            assert await alice.settle(stale["call"]) == GONE
            assert await alice.settle(stale["call"], arguments=harmful) == GONE
            assert await alice.settle("call_0") == GONE
            assert not asked.done()
        # Nor one that asks the very same: it is a new question.
        async with asking(approvals, alice, "call_0", "ASANA_CREATE_TASK", harmless) as asked:
            assert await alice.settle(stale["call"]) == GONE
            assert not asked.done()


async def test_two_calls_of_one_id_wait_side_by_side_and_each_is_decided_alone(
    tmp_path: Path,
) -> None:
    async with (
        people(tmp_path) as (approvals, alice, _),
        asking(approvals, alice, "call_0", "ASANA_CREATE_TASK", {"name": "a"}) as first,
        asking(approvals, alice, "call_0", "ASANA_DELETE_TASK", {"name": "b"}) as second,
    ):
        one, two = await alice.waiting()
        assert (one["name"], two["name"]) == ("ASANA_CREATE_TASK", "ASANA_DELETE_TASK")
        assert await alice.settle(two["call"], answer="denied") == (200, b"{}")
        async with asyncio.timeout(WAIT):
            assert await second == Decision("denied", {"name": "b"})
        assert not first.done()
        assert await alice.settle(one["call"]) == (200, b"{}")
        async with asyncio.timeout(WAIT):
            assert await first == Decision("approved", {"name": "a"})


async def test_the_id_holds_a_digest_of_all_that_is_shown(tmp_path: Path) -> None:
    calls: list[tuple[str, Mapping[str, Any]]] = [
        ("one", {"a": 1, "b": {"c": [1, 2]}}),
        ("one", {"b": {"c": [1, 2]}, "a": 1}),  # the same in another order
        ("two", {"a": 1, "b": {"c": [1, 2]}}),
        ("one", {"a": "1", "b": {"c": [1, 2]}}),
        ("one", {"a": 1, "b": {"c": [2, 1]}}),
        ("one", {"a": 1, "b": {"c": [1, 2]}, "d": None}),
    ]
    async with people(tmp_path) as (approvals, alice, bob):
        digests, randoms = [], set()
        for chat in (alice, bob):
            for name, arguments in calls:
                async with asking(approvals, chat, "call_0", name, arguments):
                    random, _, digest = (await chat.id()).partition(".")
                    assert re.fullmatch("[0-9a-f]{32}", random)
                    assert re.fullmatch("[0-9a-f]{64}", digest)
                    randoms.add(random)
                    digests.append(digest)
        assert len(randoms) == len(digests) == 12
        assert digests[0] == digests[1]
        assert digests[6] == digests[7]
        assert len(set(digests)) == 10
