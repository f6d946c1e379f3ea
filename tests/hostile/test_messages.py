"""Requests that no page sends are refused before they cost anything, and are never stored."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import orjson
import pytest
import pytest_asyncio

from tests.doubles.openai_server import OpenAIDouble
from tests.harness import API, WAIT, Browser, Event, Served, Tab, served, settings_for, texts
from tests.logbook import Logbook, error_id, logbook
from tests.rows import count, messages, rows

pytestmark = pytest.mark.asyncio(loop_scope="module")

MEGABYTE = 1_048_576
LONGEST = 32_000  # characters, as the setting has it by default
TURNS = ("send", "chat")
RLO, LRI, RLM, ALM = "\u202e", "\u2066", "\u200f", "\u061c"


@dataclass
class House:
    app: Served
    folder: Path
    book: Logbook
    printed: "Printed"

    def check_sound(self) -> None:
        """Nothing reached the server's last resort, and nothing was printed past the log."""
        assert self.book.unhandled == []
        assert "Traceback" not in self.book.text
        assert self.printed() == ""


class Printed:
    """What was written to the process's own output and error streams."""

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self._capture = capture

    def __call__(self) -> str:
        return "".join(self._capture.readouterr())


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def app(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Served, Path]]:
    folder = tmp_path_factory.mktemp("hostile")
    async with (
        OpenAIDouble() as endpoint,
        served(settings_for(folder, openai_base_url=endpoint.base_url)) as made,
    ):
        yield made, folder


@pytest_asyncio.fixture(loop_scope="module")
async def house(
    app: tuple[Served, Path], capfd: pytest.CaptureFixture[str]
) -> AsyncIterator[House]:
    with logbook() as book:
        yield House(*app, book, Printed(capfd))


@pytest_asyncio.fixture(loop_scope="module")
async def tab(house: House) -> AsyncIterator[Tab]:
    async with Browser(house.app.url) as browser:
        yield await browser.open()


def inputs(name: str, text: object, key: object = "") -> list[Any]:
    return [text, key, "", None] if name == "send" else [text]


async def posted(tab: Tab, body: bytes, path: str = "queue/join") -> tuple[int, str]:
    """Send these bytes; return the status and what was said."""
    headers = {"content-type": "application/json"}
    url, data = f"{tab.url}{API}/{path}", BytesIO(body)
    async with tab.http.post(url, data=data, headers=headers) as answer:
        return answer.status, await answer.text()


def joining(tab: Tab, name: str, **changes: Any) -> dict[str, Any]:
    body = {
        "data": inputs(name, "hi"),
        "fn_index": tab.function(name),
        "session_hash": tab.hash,
        "event_data": None,
        "trigger_id": None,
    }
    return {**body, **changes}


# -- too much ---------------------------------------------------------------------


@pytest.mark.parametrize("name", TURNS)
async def test_a_megabyte_is_refused_before_it_is_read(house: House, tab: Tab, name: str) -> None:
    before = count(house.folder)
    data = inputs(name, "x" * MEGABYTE)
    status, said = await posted(tab, orjson.dumps(joining(tab, name, data=data)))
    assert status == 413
    assert "262,144 bytes" in said
    # Not even JSON: nobody has looked into it.
    assert (await posted(tab, b"{" * MEGABYTE))[0] == 413
    assert count(house.folder) == before
    house.check_sound()


async def test_a_megabyte_that_hides_its_length_is_refused(house: House, tab: Tab) -> None:
    sent = 0

    async def parts() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(64):
            sent += 16_384
            yield b"x" * 16_384

    url, headers = f"{tab.url}{API}/queue/join", {"content-type": "application/json"}
    async with tab.http.post(url, data=parts(), headers=headers) as answer:
        assert answer.status == 413
    house.check_sound()


@pytest.mark.parametrize("name", TURNS)
async def test_a_message_that_is_too_long_is_told_the_limit(
    house: House, tab: Tab, name: str
) -> None:
    before = count(house.folder)
    event = await tab.run(name, inputs(name, "x" * (LONGEST + 1)))
    assert event.error is not None
    assert "32,001 characters, at most 32,000" in event.error
    assert count(house.folder) == before
    event = await tab.run(name, inputs(name, "x" * LONGEST))
    assert event.error is None
    house.check_sound()


# -- not text ---------------------------------------------------------------------


@pytest.mark.parametrize("name", TURNS)
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        (" \t\r\n\u00a0\u2003", "empty"),
        (RLO + LRI, "empty"),
        ("a\0b", "control characters"),
        ("a\x1b[31mb", "control characters"),
        ("a\x85b", "control characters"),
        (None, "must be text"),
        (5, "must be text"),
        (True, "must be text"),
        (["a"], "must be text"),
        ({"text": "a", "files": []}, "must be text"),
    ],
)
async def test_what_is_no_message_is_refused_in_plain_words(
    house: House, tab: Tab, name: str, text: object, said: str
) -> None:
    before = count(house.folder)
    event = await tab.run(name, inputs(name, text))
    assert event.error is not None
    assert said in event.error
    assert len(house.book.naming(error_id(event.error))) == 1
    assert event.values == []
    assert count(house.folder) == before
    house.check_sound()


@pytest.mark.parametrize("name", TURNS)
@pytest.mark.parametrize("text", [rb'"\ud83d"', rb'"a\udc00b"', b'"\xff\xfe"', b'"\xed\xa0\xbd"'])
async def test_what_is_no_unicode_is_refused(
    house: House, tab: Tab, name: str, text: bytes
) -> None:
    before = count(house.folder)
    body = orjson.dumps(joining(tab, name)).replace(b'"hi"', text)
    status, said = await posted(tab, body)
    assert (status, orjson.loads(said)) == (
        400,
        {"detail": "The request is not valid JSON in UTF-8."},
    )
    assert count(house.folder) == before
    house.check_sound()


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (f"  {RLO}abc{RLM}\r\ndef{ALM}\rghi ", "abc\ndef\nghi"),
        ("e\u0301", "é"),
        ("a\tb 🙂 語", "a\tb 🙂 語"),
        ("'; DROP TABLE agent_messages; --", "'; DROP TABLE agent_messages; --"),
    ],
)
async def test_what_is_odd_but_text_is_stored_in_one_form(
    house: House, tab: Tab, sent: str, kept: str
) -> None:
    event = await tab.send(sent)
    assert event.error is None
    assert texts(event.value, "user") == [kept]
    assert messages(house.folder, kept[:3])[0]["content"] == kept
    house.check_sound()


# -- not the page's requests ------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'"x"', b"7", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 40_000],
)
@pytest.mark.parametrize("path", ["queue/join", "cancel"])
async def test_what_is_no_json_object_is_refused(
    house: House, tab: Tab, path: str, body: bytes
) -> None:
    status, said = await posted(tab, body, path)
    assert status == 400
    assert orjson.loads(said)["detail"]
    house.check_sound()


NO_EVENT: list[object] = [None, "5", -1, 9999, 2**40, 10**30, 1.5, True, [5], {}, "send"]


@pytest.mark.parametrize("index", NO_EVENT)
async def test_an_unknown_event_is_refused(house: House, tab: Tab, index: object) -> None:
    body = orjson.dumps(joining(tab, "send", fn_index="INDEX"))
    # 10**30 fits no JSON writer of ours.
    written = str(index).encode() if type(index) is int else orjson.dumps(index)
    status, said = await posted(tab, body.replace(b'"INDEX"', written))
    assert 400 <= status < 500
    assert orjson.loads(said)["detail"] == "This event is not known; please reload the page."
    house.check_sound()


async def test_an_event_of_the_browser_alone_is_none_of_the_servers(house: House, tab: Tab) -> None:
    async with tab.http.get(f"{tab.url}/config") as answer:
        config = await answer.json()
    here = {tab.function(name) for name in ("open_page", "new_chat", "stop", "retry", "edit")}
    here |= {tab.function(name) for name in (*TURNS, "send_1")}  # the last: "Continue"
    for dependency in config["dependencies"]:
        if dependency["id"] not in here:
            status, said = await posted(
                tab, orjson.dumps(joining(tab, "send", fn_index=dependency["id"]))
            )
            assert status in (404, 422), (dependency, said)
    house.check_sound()


@pytest.mark.parametrize("name", TURNS)
@pytest.mark.parametrize(
    "data", [None, "hi", 5, {}, {"0": "hi", "1": ""}, [], ["hi", "", "x"], [[[["hi"]]]] * 3]
)
async def test_the_wrong_number_of_inputs_is_refused(
    house: House, tab: Tab, name: str, data: object
) -> None:
    before = count(house.folder)
    status, said = await posted(tab, orjson.dumps(joining(tab, name, data=data)))
    assert status == 422
    assert orjson.loads(said)["detail"] == "The event's inputs are not those that it takes."
    assert count(house.folder) == before
    house.check_sound()


@pytest.mark.parametrize(
    "hash_sent", [None, "", 5, True, ["a"], {}, "../x", "a b", "ä", "a\0", "x" * 129]
)
async def test_what_is_no_session_hash_is_refused(
    house: House, tab: Tab, hash_sent: object
) -> None:
    status, said = await posted(tab, orjson.dumps(joining(tab, "send", session_hash=hash_sent)))
    assert status == 400
    assert "reload the page" in orjson.loads(said)["detail"]
    house.check_sound()


async def followed(tab: Tab, event: Event) -> None:
    async with asyncio.timeout(WAIT):
        async for _ in tab.follow(event):
            pass


@pytest.mark.parametrize(
    "extra",
    [
        {"unknown": {"a": [1]}},
        {"event_id": "abc"},
        {"trigger_id": "x"},
        {"trigger_id": 10**15},
        {"event_data": "x"},
        {"event_data": [1]},
        {"event_data": {"index": 1}},
        {"request": {"username": "admin", "session_hash": "other"}},
        {"username": "admin"},
        {"batched": True, "simple_format": True},
    ],
)
async def test_fields_that_nobody_asked_for_change_nothing(
    house: House, tab: Tab, extra: dict[str, Any]
) -> None:
    status, said = await posted(tab, orjson.dumps(joining(tab, "send", **extra)))
    assert status == 200
    event = Event(orjson.loads(said)["event_id"])
    await followed(tab, event)
    assert event.error is None
    assert texts(event.value, "user") == ["hi"]
    house.check_sound()


EDITS: list[object] = [
    None,
    "x",
    5,
    [1],
    {},
    {"index": 0},
    {"value": "x"},
    *(
        {"index": index, "value": "x", "previous_value": "y"}
        for index in (None, [], {"a": 1}, -1, 10**12, "0", [[0]], True, 0.0)
    ),
    *({"index": 0, "value": value, "previous_value": 7} for value in (None, "", 5, ["x"], "a\0b")),
]


@pytest.mark.parametrize("data", EDITS)
async def test_an_edit_that_makes_no_sense_changes_nothing(
    house: House, tab: Tab, data: object
) -> None:
    question = f"edit me {tab.hash}"
    await tab.send(question)
    status, said = await posted(tab, orjson.dumps(joining(tab, "edit", data=[], event_data=data)))
    assert status in (200, 400, 422), said
    if status == 200:
        event = Event(orjson.loads(said)["event_id"])
        await followed(tab, event)
        assert "Something went wrong" not in (event.error or "")
    stored = [m["content"] for m in messages(house.folder, question) if not m["superseded"]]
    assert stored[0] == question
    house.check_sound()


@pytest.mark.parametrize(
    "query",
    ["?c=", "?c=%00", "?c=%ff%fe", "?c=../../etc", "?c=a&c=b", "?c[]=1", f"?c={'x' * 9000}"],
)
@pytest.mark.parametrize("name", ["open_page", "send", "chat"])
async def test_a_conversation_that_cannot_be_is_not_found(
    house: House, tab: Tab, query: str, name: str
) -> None:
    async with Browser(house.app.url) as browser:
        other = browser.tab(query=query)
        opened = await other.open()
        assert opened.error is None
        assert opened.value == []
        if name != "open_page":
            event = await other.run(name, inputs(name, "hi"))
            assert event.error is None
    house.check_sound()


@pytest.mark.parametrize("key", [None, 5, [], {}, "x" * 101, "", "\u202e"])
async def test_a_key_that_is_none_is_replaced(house: House, tab: Tab, key: object) -> None:
    event = await tab.run("send", ["hi", key, "", None])
    assert event.error is None
    assert rows(house.folder, "SELECT * FROM agent_turns WHERE length(idempotency_key) < 1") == []
    house.check_sound()


async def test_a_key_that_cannot_be_stored_is_refused(house: House, tab: Tab) -> None:
    before = count(house.folder)
    event = await tab.run("send", ["hi", "k\0", "", None])
    assert event.error is not None
    assert "cannot be stored" in event.error
    assert count(house.folder) == before
    house.check_sound()


@pytest.mark.parametrize(
    "path",
    [
        "queue/data",
        "queue/data?session_hash=",
        "queue/data?session_hash=a&session_hash=b",
        "queue/data?session_hash=%00",
        "queue/data?session_hash=%ff",
        "queue/data?" + "&".join(f"a{n}=1" for n in range(60)),
        "heartbeat/%00",
        "heartbeat/a%20b",
        "heartbeat/" + "x" * 200,
    ],
)
async def test_a_stream_without_a_session_is_refused(house: House, tab: Tab, path: str) -> None:
    async with tab.http.get(f"{tab.url}{API}/{path}") as answer:
        assert answer.status in (400, 404)
        assert (await answer.json())["detail"]
    house.check_sound()


@pytest.mark.parametrize("event", [None, "", "x", 5, [], {}, "\0", "a" * 5000])
async def test_an_event_that_is_not_there_cannot_be_cancelled(
    house: House, tab: Tab, event: object
) -> None:
    body = {"session_hash": tab.hash, "fn_index": 1, "event_id": event}
    status, said = await posted(tab, orjson.dumps(body), "cancel")
    assert (status, orjson.loads(said)) == (404, {"detail": "Not Found"})
    house.check_sound()
