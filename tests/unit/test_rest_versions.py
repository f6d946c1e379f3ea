"""The REST interface: answers given again, edited messages, versions and forks."""

import asyncio
import io
import json
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.isolation.world import AppWithModel, app_with_model
from tests.rest import BANK, KEYS, Client, Reply, client

shared = pytest.mark.asyncio(loop_scope="module")
EVENTS = "text/event-stream"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[AppWithModel]:
    async with app_with_model(tmp_path_factory.mktemp("versions"), "memory", api_keys=KEYS) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def shop(here: AppWithModel) -> AsyncIterator[Client]:
    async with client(here.url) as made:
        yield made


async def change(
    who: Client, session: str, seq: object, what: str, content: Any = None, **headers: str
) -> Reply:
    """Send a request about a message of a session."""
    path = f"/api/chat/assistant/sessions/{session}/messages/{seq}/{what}"
    return await who.ask("POST", path, content, **headers)


async def shown(who: Client, session: str, query: str = "") -> list[tuple[int, str]]:
    reply = (await who.at(session, query)).json
    return [(item["seq"], item["content"]) for item in reply["messages"]]


async def named(shop: Client, session: str) -> None:
    """A conversation of two exchanges: the second one depends on the first."""
    await shop.say("My name is Alice", session)
    await shop.say("What is my name?", session)


@shared
async def test_an_edited_message_is_answered_on_a_path_of_its_own(shop: Client) -> None:
    await named(shop, "edited")
    reply = await change(shop, "edited", 1, "edit", {"message": "My name is Bella"})
    assert (reply.status, reply.json["response"]) == (200, "Hello, Bella!")
    assert await shown(shop, "edited") == [(5, "My name is Bella"), (6, "Hello, Bella!")]
    await shop.say("What is my name?", "edited")
    assert (await shown(shop, "edited"))[-1] == (8, "Your name is Bella.")
    first = (await shop.at("edited")).json["messages"][0]
    assert (first["parent"], first["versions"], first["shown"]) == (None, [1, 5], True)
    assert (await change(shop, "edited", 1, "select")).status == 204
    assert (await shown(shop, "edited"))[-1] == (4, "Your name is Alice.")
    # The model sees what is shown.
    assert (await shop.say("What is my name?", "edited")).json["response"] == "Your name is Alice."


@shared
async def test_an_answer_is_given_again_in_events_too(shop: Client) -> None:
    await named(shop, "again")
    reply = await change(shop, "again", 4, "retry", Accept=EVENTS)
    assert [name for name, _ in reply.events][:1] == ["started"]
    assert reply.events[-1][1]["response"] == "Your name is Alice."
    reply = await change(shop, "again", 2, "retry")
    assert reply.json["response"] == "Hello, Alice!"
    assert await shown(shop, "again") == [(1, "My name is Alice"), (6, "Hello, Alice!")]
    answer = (await shop.at("again")).json["messages"][1]
    assert (answer["parent"], answer["versions"]) == (1, [2, 6])


@shared
async def test_all_versions_are_read_and_saved_on_request(shop: Client) -> None:
    await named(shop, "all")
    await change(shop, "all", 3, "edit", {"message": "Who am I?"})
    messages = (await shop.at("all", "?versions=all")).json["messages"]
    assert [(m["seq"], m["parent"], m["shown"]) for m in messages] == [
        (1, None, True),
        (2, 1, True),
        (3, 2, False),
        (4, 3, False),
        (5, 2, True),
        (6, 5, True),
    ]
    older = (await shop.at("all", "?versions=all&limit=2&before=5")).json
    assert ([m["seq"] for m in older["messages"]], older["next"]) == ([3, 4], 3)
    path = json.loads((await shop.at("all", "/export?format=json")).body)
    assert [m["seq"] for m in path["messages"]] == [1, 2, 5, 6]
    assert "parent_seq" not in path["messages"][0]
    saved = json.loads((await shop.at("all", "/export?format=json&versions=all")).body)
    assert [(m["seq"], m["parent_seq"], m["shown"]) for m in saved["messages"]] == [
        (m["seq"], m["parent"], m["shown"]) for m in messages
    ]
    archive = (await shop.at("all", "/export?format=zip&versions=all")).body
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        in_archive = json.loads(opened.read("conversations.jsonl"))["messages"]
    assert [m | {"files": []} for m in saved["messages"]] == [m | {"files": []} for m in in_archive]
    for form in ("md", "html"):
        text = (await shop.at("all", f"/export?format={form}&versions=all")).body.decode()
        assert "You (message 3, after message 2, not shown)" in text
        assert "You (message 5, after message 2)" in text
    assert (await shop.at("all", "?versions=some")).status == 422


@shared
@pytest.mark.parametrize("what", ["retry", "edit"])
async def test_a_repeated_change_is_made_once(here: AppWithModel, shop: Client, what: str) -> None:
    session = f"once-{what}"
    await named(shop, session)
    asked = len(here.endpoint.requests)
    content = {"message": "My name is Ada"} if what == "edit" else None
    first = await change(shop, session, 1, what, content, Idempotency_Key="k1")
    again = await change(shop, session, 1, what, content, Idempotency_Key="k1")
    assert (first.status, again.json) == (200, first.json)
    assert len(here.endpoint.requests) == asked + 1
    # Also when another version is shown since.
    await change(shop, session, 4, "select")
    again = await change(shop, session, 1, what, content, Idempotency_Key="k1")
    assert again.json == first.json
    assert len(here.endpoint.requests) == asked + 1


@shared
async def test_one_name_for_two_changes_is_refused(here: AppWithModel, shop: Client) -> None:
    await named(shop, "reused")
    await change(shop, "reused", 4, "retry", Idempotency_Key="k1")
    before, asked = here.rows(), len(here.endpoint.requests)
    for seq, what, content in ((1, "edit", {"message": "x"}), (2, "retry", None)):
        reply = await change(shop, "reused", seq, what, content, Idempotency_Key="k1")
        assert reply.status == 422
        assert "another message" in reply.json["detail"]
    assert len(here.endpoint.requests) == asked
    assert here.rows()["agent_messages"] == before["agent_messages"]


@shared
async def test_a_fork_goes_on_in_its_session_and_leaves_the_other_as_it_was(shop: Client) -> None:
    await named(shop, "forked")
    first = (await shop.at("forked")).json["conversation_id"]
    reply = await change(shop, "forked", 1, "fork")
    assert reply.status == 201
    fork = reply.json["conversation_id"]
    assert fork != first
    assert await shown(shop, "forked") == [(1, "My name is Alice"), (2, "Hello, Alice!")]
    assert (await shop.say("What is my name?", "forked")).json["response"] == "Your name is Alice."
    assert len(await shown(shop, "forked", f"?conversation={first}")) == 4
    assert (await shop.at("forked")).json["conversation_id"] == fork


@shared
@pytest.mark.parametrize(
    ("seq", "what", "status", "sentence"),
    [
        (3, "edit", 409, "please show that version first"),
        (4, "retry", 409, "please show that version first"),
        (4, "fork", 409, "please show that version first"),
        (5, "edit", 422, "Only your own messages can be edited."),
        (99, "edit", 404, "not found"),
        (99, "retry", 404, "not found"),
        (99, "select", 404, "not found"),
        (99, "fork", 404, "not found"),
        (0, "select", 422, "not what this address takes"),
        (2**31, "edit", 422, "not what this address takes"),
        ("x", "fork", 422, "not what this address takes"),
    ],
)
async def test_what_cannot_be_changed_loses_nothing(
    here: AppWithModel, shop: Client, seq: object, what: str, status: int, sentence: str
) -> None:
    session = f"refused-{seq}-{what}"
    await named(shop, session)
    await change(shop, session, 2, "retry")
    before = here.rows()["agent_messages"]
    content = {"message": "My name is Eve"} if what == "edit" else None
    reply = await change(shop, session, seq, what, content)
    assert reply.status == status
    assert sentence in reply.json["detail"]
    assert here.rows()["agent_messages"] == before


@shared
async def test_another_s_message_is_one_that_is_not_there(here: AppWithModel, shop: Client) -> None:
    await named(shop, "hers")
    before = here.rows()
    async with client(here.url, BANK) as bank:
        for what in ("retry", "edit", "select", "fork"):
            content = {"message": "mine"} if what == "edit" else None
            theirs = await change(bank, "hers", 1, what, content)
            nobodys = await change(bank, "never-there", 1, what, content)
            assert theirs.status == 404
            assert theirs.body == nobodys.body
    assert here.rows() == before


@shared
async def test_an_ended_conversation_is_not_answered_again(shop: Client) -> None:
    await named(shop, "ended")
    await shop.at("ended", "/end", "POST")
    for what, content in (("retry", None), ("edit", {"message": "x"})):
        assert (await change(shop, "ended", 1, what, content)).status == 404
    assert len(await shown(shop, "ended")) == 4


async def test_while_an_answer_is_written_nothing_else_is_changed(tmp_path: Path) -> None:
    async with (
        app_with_model(tmp_path, "gated-0", api_keys=KEYS) as here,
        client(here.url) as shop,
        asyncio.TaskGroup() as group,
    ):
        running = group.create_task(shop.say("Hello", "busy"))
        await here.endpoint.wait_held("Hello")
        before = here.rows()["agent_messages"]
        for what in ("retry", "edit", "select", "fork"):
            content = {"message": "mine"} if what == "edit" else None
            reply = await change(shop, "busy", 1, what, content)
            assert reply.status == 409
            assert "An answer is still being written" in reply.json["detail"]
        assert here.rows()["agent_messages"] == before
        assert here.endpoint.release("Hello") == 1
        assert (await running).status == 200
