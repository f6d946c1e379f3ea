"""Isolation 9: another user's id is answered like an id that does not exist."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import pytest_asyncio

from memory.records import new_conversation_id
from tests.harness import API, Browser, Event, RefusedError, Tab, canary, last_text, texts
from tests.isolation.world import AppWithModel, Following, Row, app_with_model

shared = pytest.mark.asyncio(loop_scope="module")

OWN_ID = re.compile(r"[A-Za-z0-9_-]{22}")
VARIANTS = (
    "another's",
    "another's in upper case",
    "another's in lower case",
    "another's without its end",
    "another's and more",
    "another's with a space",
    "another's with a NUL",
    "another's with a quote",
    "another's with a wildcard",
    "../another's",
    "another's twice",
    "another's owner",
    "another's turn",
    "../",
    "..%2f..%2f",
    "1",
    "-1",
    "0",
    "None",
    "null",
    "%",
    "_",
    "*",
    "' OR 1=1 --",
    "{}",
    "[]",
    "x" * 5_000,
    "\N{FULLWIDTH DIGIT ONE}",
    "\N{HEAVY BLACK HEART}",
)


@dataclass(slots=True)
class Case:
    """A's stored conversation, and B's page."""

    here: AppWithModel
    a: Tab
    b: Tab
    conversation_id: str
    owner: str
    turn_id: str
    event_id: str
    secret: str

    def spelt(self, variant: str) -> str:
        """Return the id that a variant stands for, as it stands in a query."""
        mine = self.conversation_id
        known = {
            "another's": mine,
            "another's in upper case": mine.upper(),
            "another's in lower case": mine.lower(),
            "another's without its end": mine[:-1],
            "another's and more": mine + "a",
            "another's with a space": f" {mine}",
            "another's with a NUL": f"{mine}\0",
            "another's with a quote": f"{mine}'",
            "another's with a wildcard": f"{mine[:5]}%",
            "../another's": f"../{mine}",
            "another's owner": self.owner,
            "another's turn": self.turn_id,
        }
        if variant == "another's twice":
            return f"{new_conversation_id()}&c={mine}"
        return quote(known.get(variant, variant), safe="")

    def rows_of_a(self) -> dict[str, list[Row]]:
        return {
            table: [row for row in rows if row["owner_id"] == self.owner]
            for table, rows in self.here.rows().items()
        }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def case(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Case]:
    async with (
        app_with_model(tmp_path_factory.mktemp("ids")) as here,
        Browser(here.url) as mine,
        Browser(here.url) as hers,
    ):
        a, b = await mine.open(), await hers.open()
        secret = canary()
        event = await a.send(secret, key="the-key-of-a")
        (row,) = here.rows()["agent_turns"]
        yield Case(here, a, b, row["session_id"], row["owner_id"], row["turn_id"], event.id, secret)


def shown(event: Event) -> list[Any]:
    """Return everything an event brought, but for the ids that are new each time."""
    text = repr([(m["msg"], m.get("output"), m.get("log"), m.get("success")) for m in event.raw])
    return [OWN_ID.sub("<id>", text.replace(event.id, "<event>")), event.error]


async def opened(case: Case, query: str) -> Event:
    case.b.query = f"?c={query}"
    try:
        return await case.b.run("open_page", [])
    finally:
        case.b.query = ""


@shared
@pytest.mark.parametrize("variant", VARIANTS)
async def test_a_guessed_conversation_opens_like_one_that_is_not_there(
    variant: str, case: Case
) -> None:
    before = case.here.rows()
    wanted = await opened(case, new_conversation_id())
    event = await opened(case, case.spelt(variant))
    assert shown(event) == shown(wanted)
    assert event.value == []
    assert "was not found" in str(event.raw)
    assert case.secret.encode() not in case.b.received
    assert case.here.rows() == before


@shared
async def test_an_empty_id_opens_a_new_chat(case: Case) -> None:
    before = case.here.rows()
    event = await opened(case, "")
    assert event.value == []
    assert event.values[-1][1] not in ("", case.conversation_id)
    assert case.here.rows() == before


@shared
@pytest.mark.parametrize("path", ["usage", "approvals"])
async def test_a_guessed_conversation_tells_as_much_as_one_that_is_not_there(
    path: str, case: Case
) -> None:
    async def asked(query: str) -> tuple[int, bytes]:
        async with case.b.http.get(f"{case.here.url}/{path}?c={query}") as answer:
            return answer.status, await answer.read()

    wanted = await asked(new_conversation_id())
    assert wanted[0] == 200
    for variant in VARIANTS:
        assert await asked(case.spelt(variant)) == wanted, variant


@shared
@pytest.mark.parametrize("name", ["retry", "edit"])
@pytest.mark.parametrize("variant", VARIANTS[:13])
async def test_a_guessed_conversation_is_not_answered_again(
    name: str, variant: str, case: Case
) -> None:
    data = {"retry": [""], "edit": ["1", "overwritten"]}[name]
    before = case.here.rows()
    got = []
    for query in (new_conversation_id(), case.spelt(variant)):
        async with Browser(case.here.url) as browser:
            tab = await browser.open()
            # A session that has left the process takes the conversation from the query.
            tab.hash, tab.query = "fresh", f"?c={query}"
            got.append(shown(await tab.run(name, data)))
            assert case.secret.encode() not in tab.received
    assert re.sub("[0-9a-f]{8}", "", str(got[0])) == re.sub("[0-9a-f]{8}", "", str(got[1]))
    assert case.here.rows() == before


@shared
@pytest.mark.parametrize("name", ["send", "chat"])
@pytest.mark.parametrize("variant", VARIANTS[:13])
async def test_a_message_to_a_guessed_conversation_begins_ones_own(
    name: str, variant: str, case: Case
) -> None:
    before = case.rows_of_a()
    text = canary()
    async with Browser(case.here.url) as browser:
        tab = await browser.open()
        tab.hash, tab.query = "fresh", f"?c={case.spelt(variant)}"
        event = await tab.run(name, [text, "the-key-of-a", "", None] if name == "send" else [text])
        answer = event.value if name == "chat" else last_text(event.value)
        assert answer == f"You said: {text}"
        if name == "send":
            assert texts(event.value, "user") == [text]
        assert case.secret.encode() not in tab.received
    assert case.rows_of_a() == before
    stored = [row for row in case.here.rows()["agent_messages"] if text in row["content"]]
    assert len(stored) == 2
    assert {row["session_id"] for row in stored} != {case.conversation_id}
    assert {row["owner_id"] for row in stored} != {case.owner}
    # What the model was sent holds nothing of A either.
    (request,) = case.here.endpoint.matching(text)
    assert case.secret not in str(request.body)


@shared
async def test_anothers_idempotency_key_repeats_nothing(case: Case) -> None:
    before = case.rows_of_a()
    text = canary()
    event = await case.b.send(text, key="the-key-of-a")
    assert last_text(event.value) == f"You said: {text}"
    assert case.secret.encode() not in case.b.received
    assert case.rows_of_a() == before


@shared
async def test_a_guessed_event_is_cancelled_like_one_that_is_not_there(case: Case) -> None:
    async def cancel(event_id: object) -> tuple[int, bytes]:
        body = {"session_hash": case.b.hash, "fn_index": 0, "event_id": event_id}
        async with case.b.http.post(f"{case.here.url}{API}/cancel", json=body) as answer:
            return answer.status, await answer.read()

    wanted = await cancel("0" * 32)
    assert wanted == (404, b'{"detail":"Not Found"}')
    # A's event has run and waits to be read, so it could still be cancelled.
    mine = await case.a.join("open_page", [])
    guessed = (mine, mine.upper(), mine[:-1], mine + "0", "", "../", "*", 0, 1, -1, True, None)
    for event_id in (*guessed, [mine], {"id": mine}, 1.5, "\0", "\N{HEAVY BLACK HEART}"):
        assert await cancel(event_id) == wanted, event_id
    async with Following(case.a, mine) as stream:
        event = await stream.done()
    assert event.error is None
    assert len(event.values[-1]) == 4


@shared
async def test_a_guessed_function_runs_nothing(case: Case) -> None:
    before = case.here.rows()
    indices: tuple[Any, ...] = (-1, 10_000, 10**30, None, "0", "send", 0.0, True, [], {}, "../", "")
    for index in indices:
        with pytest.raises(RefusedError) as refused:
            await case.b.join("send", ["x", "", "", None], fn_index=index)
        assert refused.value.status in (400, 404, 422), index
    assert case.here.rows() == before


@shared
async def test_a_guessed_trigger_or_event_id_in_a_message_changes_nothing(case: Case) -> None:
    before = case.rows_of_a()
    for extra in (
        {"event_id": case.event_id},
        {"trigger_id": 10_000},
        {"event_data": {"session_hash": "x", "session_id": case.conversation_id}},
        {
            "session_id": case.conversation_id,
            "owner": case.owner,
            "conversation_id": case.conversation_id,
        },
        {"simple_format": True, "batched": True, "oauth_token": case.owner},
    ):
        text = canary()
        event = await case.b.run("send", [text, "", "", None], **extra)
        assert event.id != case.event_id
        assert last_text(event.value) == f"You said: {text}"
    assert case.secret.encode() not in case.b.received
    assert case.rows_of_a() == before


async def test_the_owner_opens_her_conversation_by_its_id(tmp_path: Path) -> None:
    # Without this invariant, the ones above would also hold for an app that opens nothing.
    async with app_with_model(tmp_path) as here, Browser(here.url) as browser:
        tab = await browser.open()
        secret = canary()
        await tab.send(secret)
        (row,) = here.rows()["agent_sessions"]
        other = await browser.open(query=f"?c={row['session_id']}")
        assert secret.encode() in other.received
