"""Each answer has a receipt of what the model saw: chained, without any text, and its owner's alone."""

import json
from pathlib import Path
from typing import Any

import pytest

from memory.receipts import broken, digest, sealed
from tests.harness import Browser, canary
from tests.isolation.world import app_with_model
from tests.rest import BANK, KEYS, SHOP, client
from tests.unit.test_commands import run as command

Receipt = dict[str, Any]


async def get(browser: Browser, path: str, **params: str) -> tuple[int, bytes]:
    async with browser.http.get(f"{browser.url}/{path}", params=params) as answer:
        return answer.status, await answer.read()


async def conversation_of(browser: Browser) -> str:
    _, body = await get(browser, "history")
    return str(json.loads(body)["conversations"][0]["id"])


def receipts(body: bytes) -> list[Receipt]:
    return [json.loads(line) for line in body.splitlines()]


async def saved(browser: Browser) -> list[Receipt]:
    """Return the receipts of the newest conversation, as its page saves them."""
    wanted = await conversation_of(browser)
    status, body = await get(browser, "history/export", id=wanted, format="receipts")
    assert status == 200
    return receipts(body)


async def test_a_receipt_names_what_the_model_was_given_and_follows_the_one_before(
    tmp_path: Path,
) -> None:
    words = [canary() for _ in range(3)]
    async with app_with_model(tmp_path) as here, Browser(here.url) as browser:
        tab = await browser.open()
        for word in words:
            await tab.send(word)
        found = await saved(browser)
    assert [each["messages"] for each in found] == [[1], [1, 2, 3], [1, 2, 3, 4, 5]]
    assert [each["answer"] for each in found] == [2, 4, 6]
    assert [each["status"] for each in found] == ["complete"] * 3
    assert {each["model"] for each in found} == {"echo"}
    assert found[0]["messages_sha256"] == digest([["user", words[0]]])
    assert found[1]["answer_sha256"] == digest(f"You said: {words[1]}")
    assert [each["previous"] for each in found] == [None, found[0]["hash"], found[1]["hash"]]
    assert broken(found) == []
    assert not any(word in json.dumps(found) for word in words)


async def test_a_further_version_of_an_answer_has_a_receipt_of_its_own(tmp_path: Path) -> None:
    async with app_with_model(tmp_path) as here, Browser(here.url) as browser:
        tab = await browser.open()
        await tab.send("one")
        await tab.run("retry", [""])
        found = await saved(browser)
    assert [each["answer"] for each in found] == [2, 3]
    assert found[0]["messages_sha256"] == found[1]["messages_sha256"]
    assert broken(found) == []


async def test_a_fork_has_receipts_that_follow_each_other(tmp_path: Path) -> None:
    async with app_with_model(tmp_path) as here, Browser(here.url) as browser:
        tab = await browser.open()
        await tab.send("one")
        await tab.run("retry", [""])
        original = await saved(browser)
        wanted = {"id": await conversation_of(browser), "seq": original[1]["answer"]}
        async with browser.http.post(f"{browser.url}/history/fork", json=wanted) as answer:
            assert answer.status == 200
        found = await saved(browser)
    assert [each["copy_of"] for each in found] == [original[1]["hash"]]
    assert broken(found) == []


async def test_details_show_a_receipt_to_its_owner_and_to_nobody_else(tmp_path: Path) -> None:
    async with (
        app_with_model(tmp_path) as here,
        Browser(here.url) as alice,
        Browser(here.url) as bob,
    ):
        await (await alice.open()).send("hers")
        await (await bob.open()).send("his")
        wanted = await conversation_of(alice)
        _, body = await get(alice, "history/answer", id=wanted, seq="2")
        assert json.loads(body)["seen"]["messages"] == [1]
        unknown = await get(bob, "history/export", id="x" * 22, format="receipts")
        assert unknown[0] == 404
        assert await get(bob, "history/export", id=wanted, format="receipts") == unknown


async def test_a_key_saves_the_receipts_of_its_own_sessions_alone(tmp_path: Path) -> None:
    async with (
        app_with_model(tmp_path, api_keys=KEYS) as here,
        client(here.url, SHOP) as shop,
        client(here.url, BANK) as bank,
    ):
        await shop.say("hers", "one")
        saved_ = await shop.at("one", "/export?format=receipts")
        assert broken(receipts(saved_.body)) == []
        assert len(receipts(saved_.body)) == 1
        assert (await bank.at("one", "/export?format=receipts")).status == 404


async def test_a_command_asks_no_model_and_has_no_receipt(tmp_path: Path) -> None:
    async with app_with_model(tmp_path) as here, Browser(here.url) as browser:
        tab = await browser.open()
        await tab.send("one")
        await tab.send("/help")
        await tab.send("two")
        found = await saved(browser)
    assert [each["answer"] for each in found] == [2, 6]
    assert broken(found) == []


async def test_after_everything_was_deleted_a_receipt_says_what_was_erased_where(
    tmp_path: Path,
) -> None:
    async with (
        app_with_model(tmp_path) as here,
        Browser(here.url) as alice,
        Browser(here.url) as bob,
    ):
        await (await alice.open()).send("hers")
        await (await bob.open()).send("his")
        async with alice.http.post(f"{here.url}/history/forget", json={"sure": True}) as answer:
            told = await answer.json()
        assert [row["content"] for row in here.rows()["agent_messages"]] == [
            "his",
            "You said: his",
        ]
    receipt = told["receipt"]
    assert told["deleted"] == 1
    assert receipt["erased"] == {"agent_sessions": 1, "agent_messages": 2, "agent_turns": 1}
    assert receipt["left"] == {}
    assert broken([receipt]) == []


# -- verifying --------------------------------------------------------------------------------


def chain() -> list[Receipt]:
    found: list[Receipt] = []
    for number in range(3):
        previous = found[-1]["hash"] if found else None
        found.append(sealed({"version": 1, "answer": number}, previous))
    return found


def lines(some: list[Receipt]) -> str:
    return "".join(f"{json.dumps(each)}\n" for each in some)


async def test_receipts_that_hold_are_told_from_others(tmp_path: Path) -> None:
    whole = chain()
    changed = [whole[0], {**whole[1], "answer": 7}, whole[2]]
    (tmp_path / "r").write_text(lines(whole))
    done = await command(tmp_path, "receipts", "verify", "r")
    assert (done.code, done.err) == (0, "")
    assert done.out == f"3 receipts hold; the last one is {whole[2]['hash']}\n"
    for some, said in (
        (changed, "receipt 2 was changed"),
        (whole[:1] + whole[2:], "receipt 2 does not follow"),
        (whole[::-1], "receipt 1 does not follow"),
        (whole[1:], "receipt 1 does not follow"),
    ):
        (tmp_path / "r").write_text(lines(some))
        done = await command(tmp_path, "receipts", "verify", "r")
        assert (done.code, done.err) == (1, "")
        assert said in done.out


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"version": 1', "line 1: no JSON"),
        (b'{"version": 2}\n', "line 1: no receipt of version 1"),
        (b"[]\n", "line 1: no receipt"),
        (b"\xff\n", "cannot be read"),
        (None, "cannot be read"),
    ],
)
async def test_what_is_no_file_of_receipts_is_told_in_one_line(
    content: bytes | None, said: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / "r").write_bytes(content)
    done = await command(tmp_path, "receipts", "verify", "r")
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert len(done.err.splitlines()) == 1


def test_the_same_content_has_the_same_hash_whatever_its_order() -> None:
    assert digest({"a": 1, "b": "é\ud800"}) == digest({"b": "é\ud800", "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})
