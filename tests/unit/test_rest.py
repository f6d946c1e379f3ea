"""The REST interface: requests, responses and errors."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from yarl import URL

from cmw_agent.chat.commands import BEGUN, FORGOTTEN, NOTHING
from cmw_agent.conversations.cursors import NO_PLACE, ZONELESS
from tests.isolation.world import AppWithModel, app_with_model, unstored
from tests.rest import KEYS, SHOP, Client, client
from tests.scheduled import FakeClock, RecordingObserver, run_due, scheduler_of
from tests.service import wait_until

shared = pytest.mark.asyncio(loop_scope="module")
EVENTS = "text/event-stream"
MESSAGE, SESSIONS = "/api/chat/assistant/message", "/api/chat/assistant/sessions"
KEYED = {"Authorization": f"Bearer {SHOP}"}
LONG = 10**30 + 1


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[AppWithModel]:
    async with app_with_model(tmp_path_factory.mktemp("rest"), "memory", api_keys=KEYS) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def shop(here: AppWithModel) -> AsyncIterator[Client]:
    async with client(here.url) as made:
        yield made


@shared
async def test_a_message_is_answered_and_remembered(shop: Client) -> None:
    first = await shop.say("My name is Alice", "remembered")
    assert first.status == 200
    assert first.json == {
        "response": "Hello, Alice!",
        "session_id": "remembered",
        "metadata": {
            "status": "complete",
            "tokens": first.json["metadata"]["tokens"],
            "tools": [],
            "finish_reason": "stop",
        },
    }
    assert (await shop.say("What is my name?", "remembered")).json["response"] == (
        "Your name is Alice."
    )


@shared
async def test_a_message_without_a_session_gets_one_of_its_own(shop: Client) -> None:
    replies = [await shop.say("My name is Alice"), await shop.say("What is my name?")]
    ids = [reply.json["session_id"] for reply in replies]
    assert len(set(ids)) == 2
    assert all(len(each) == 32 for each in ids)
    assert replies[1].json["response"] == "I don't know your name yet."
    assert (await shop.say("What is my name?", ids[0])).json["response"] == "Your name is Alice."


@shared
async def test_an_answer_comes_as_events(shop: Client) -> None:
    reply = await shop.say("My name is Alice", "streamed", Accept=EVENTS)
    assert reply.headers["Content-Type"].startswith(EVENTS)
    names = [name for name, _ in reply.events]
    assert names[0] == "started"
    assert names[-1] == "done"
    assert set(names[1:-1]) == {"delta"}
    told = "".join(data["text"] for name, data in reply.events if name == "delta")
    done = reply.events[-1][1]
    assert told == done["response"] == "Hello, Alice!"
    assert done["session_id"] == "streamed"
    assert done["metadata"]["status"] == "complete"


@shared
async def test_a_repeated_request_is_answered_once(here: AppWithModel, shop: Client) -> None:
    asked = len(here.endpoint.requests)
    first = await shop.say("My name is Ada", "repeated", Idempotency_Key="k1")
    again = await shop.say("My name is Ada", "repeated", Idempotency_Key="k1")
    streamed = await shop.say("My name is Ada", "repeated", Idempotency_Key="k1", Accept=EVENTS)
    assert again.json == first.json
    assert streamed.events[-1][1]["response"] == first.json["response"]
    assert len(here.endpoint.requests) == asked + 1
    history = (await shop.at("repeated")).json
    assert [item["content"] for item in history["messages"]] == ["My name is Ada", "Hello, Ada!"]


@shared
async def test_ten_requests_of_one_name_at_once_ask_the_model_once(
    here: AppWithModel, shop: Client
) -> None:
    asked = len(here.endpoint.requests)
    replies = await asyncio.gather(
        *(shop.say("My name is Eve", "at-once", Idempotency_Key="k") for _ in range(10))
    )
    assert {(reply.status, reply.json["response"]) for reply in replies} == {(200, "Hello, Eve!")}
    assert len(here.endpoint.requests) == asked + 1
    assert len((await shop.at("at-once")).json["messages"]) == 2


@shared
async def test_a_repeated_request_without_a_session_finds_the_one_that_was_made(
    shop: Client,
) -> None:
    first = await shop.say("My name is Ida", Idempotency_Key="nameless")
    again = await shop.say("My name is Ida", Idempotency_Key="nameless")
    assert first.json == again.json


@shared
@pytest.mark.parametrize("accept", ["application/json", EVENTS])
async def test_one_name_for_two_messages_is_refused(accept: str, shop: Client) -> None:
    session = f"reused-{accept[:4]}"
    await shop.say("My name is Ada", session, Idempotency_Key="k1")
    reply = await shop.say("What is my name?", session, Idempotency_Key="k1", Accept=accept)
    assert reply.status == 422
    assert "another message" in reply.json["detail"]
    assert len((await shop.at(session)).json["messages"]) == 2


@shared
async def test_sessions_are_listed_a_page_at_a_time(shop: Client) -> None:
    async with client(shop.url, agent="assistant") as mine:
        for n in range(3):
            await mine.say("Hello", f"listed-{n}")
        path = "/api/chat/assistant/sessions?limit=2"
        page = (await mine.ask("GET", path)).json
        assert [item["session_id"] for item in page["sessions"]] == ["listed-2", "listed-1"]
        older = (await mine.ask("GET", f"{path}&before={page['next']}")).json
        assert older["sessions"][0]["session_id"] == "listed-0"
        assert older["sessions"][0]["message_count"] == 2


@shared
@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("2026-01-01T00:00:00~a", ZONELESS),
        ("2026-01-01~a", ZONELESS),
        ("2026-01-01T00:00:00+00:00~a", NO_PLACE),  # whose plus sign came as a space
        ("yesterday", NO_PLACE),
    ],
)
async def test_a_place_that_no_list_has_given_is_refused(
    place: str, told: str, shop: Client
) -> None:
    address = URL(f"{shop.url}{SESSIONS}?before={place}", encoded=True)
    async with shop.http.get(address, headers=KEYED) as answer:
        assert (answer.status, (await answer.json(content_type=None))["detail"]) == (422, told)


@shared
async def test_history_is_read_a_page_at_a_time(shop: Client) -> None:
    for text in ("My name is Alice", "What is my name?"):
        await shop.say(text, "paged")
    newest = (await shop.at("paged", "?limit=3")).json
    assert [item["role"] for item in newest["messages"]] == ["assistant", "user", "assistant"]
    older = (await shop.at("paged", f"?limit=3&before={newest['next']}")).json
    assert [item["content"] for item in older["messages"]] == ["My name is Alice"]
    assert older["next"] is None
    assert set(newest["messages"][0]) == {
        *("seq", "role", "content", "status", "created_at", "model", "tokens", "tools"),
        *("finish_reason", "notice", "sources", "pictures", "thinking", "thinking_seconds"),
        *("parent", "versions", "shown", "files", "rating", "rating_reason", "rating_comment"),
    }


@shared
async def test_a_session_to_come_has_an_id_and_no_row(here: AppWithModel, shop: Client) -> None:
    before = here.rows()
    path = "/api/chat/assistant/sessions"
    made = await shop.ask("POST", path, {})
    named = await shop.ask("POST", path, {"session_id": "to-come"})
    assert (made.status, named.status) == (201, 201)
    assert named.json == {"session_id": "to-come", "agent_id": "assistant"}
    assert len(made.json["session_id"]) > 20
    assert here.rows() == before


@shared
@pytest.mark.parametrize("by", ["route", "command"])
async def test_an_ended_conversation_is_read_and_another_one_begins(by: str, shop: Client) -> None:
    session = f"ended-by-{by}"
    await shop.say("My name is Alice", session)
    if by == "route":
        assert (await shop.at(session, "/end", "POST")).status == 204
    else:
        reply = await shop.say("/new", session)
        assert (reply.status, reply.json["response"]) == (200, BEGUN)
    ended = (await shop.at(session)).json
    assert (ended["status"], len(ended["messages"])) == ("ended", 2)
    reply = await shop.say("What is my name?", session)
    assert reply.json["response"] == "I don't know your name yet."
    assert (await shop.at(session)).json["conversation_id"] != ended["conversation_id"]
    earlier = await shop.at(session, f"?conversation={ended['conversation_id']}")
    assert earlier.json["messages"] == ended["messages"]


async def test_a_task_that_ran_in_an_ended_conversation_does_not_bring_it_back(
    tmp_path: Path,
) -> None:
    async with app_with_model(tmp_path, api_keys=KEYS) as here, client(here.url) as shop:
        hands, heard = FakeClock(), RecordingObserver()
        scheduler = scheduler_of(here.app.application.runtime, hands, heard)
        await shop.say(f"/schedule {hands.far}: the task", "s")
        await shop.say("/new", "s")
        await shop.say("second", "s")
        hands.jump()
        await run_due(scheduler)
        assert heard.outcomes == ["complete"]
        current = (await shop.at("s")).json
        assert [item["content"] for item in current["messages"]] == ["second", "You said: second"]
        assert b"second" in (await shop.at("s", "/export")).body
        assert (await shop.at("s", "/end", "POST")).status == 204
        assert (await shop.at("s")).json == {**current, "status": "ended"}
        await shop.say("third", "s")
        assert [item["content"] for item in here.endpoint.requests[-1].messages[1:]] == ["third"]


async def test_a_number_of_any_length_is_told_in_full(tmp_path: Path) -> None:
    call = f'tool:calculate:{{"expression": "1", "x": [{LONG}, -{LONG}, 12]}}'
    async with app_with_model(tmp_path, call, api_keys=KEYS) as here, client(here.url) as shop:
        reply = await shop.say("Hello", "long", Accept=EVENTS)
        (told,) = [data["arguments"] for name, data in reply.events if name == "tool"]
        assert told["x"] == [str(LONG), f"-{LONG}", 12]
        assert reply.events[-1][0] == "done"
        (kept,) = (await shop.at("long")).json["messages"][-1]["tools"]
        assert kept["arguments"] == told
        for ending in ("md", "json", "html"):
            assert str(LONG).encode() in (await shop.at("long", f"/export?format={ending}")).body


@shared
async def test_everything_of_a_session_goes_when_its_user_says_so(
    here: AppWithModel, shop: Client
) -> None:
    await shop.say("My name is Gone", "gone")
    reply = await shop.say("/forget everything", "gone", Accept=EVENTS)
    assert [name for name, _ in reply.events] == ["delta", "done"]
    assert reply.events[-1][1]["response"] == FORGOTTEN
    assert (await shop.say("/forget everything", "gone")).json["response"] == NOTHING
    assert "Gone" not in str(here.rows())
    assert (await shop.at("gone")).status == 404


@shared
async def test_a_deleted_session_is_gone_and_deleting_it_again_is_harmless(
    here: AppWithModel, shop: Client
) -> None:
    await shop.say("My name is Lost", "lost")
    assert [(await shop.at("lost", method="DELETE")).status for _ in range(2)] == [204, 204]
    assert "Lost" not in str(here.rows())
    reply = await shop.say("What is my name?", "lost")
    assert reply.json["response"] == "I don't know your name yet."


@shared
@pytest.mark.parametrize(
    ("ending", "media_type"),
    [("md", "text/markdown"), ("json", "application/json"), ("html", "text/html")],
)
async def test_a_conversation_is_saved_as_a_file(
    ending: str, media_type: str, shop: Client
) -> None:
    await shop.say("My name is <b>", "saved")
    reply = await shop.at("saved", f"/export?format={ending}")
    assert reply.headers["Content-Type"].startswith(media_type)
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert reply.headers["Content-Disposition"] == (f'attachment; filename="conversation.{ending}"')
    assert (b"&lt;b&gt;" if ending == "html" else b"<b>") in reply.body


@shared
async def test_metadata_is_kept_and_no_model_sees_it(here: AppWithModel, shop: Client) -> None:
    path = "/api/chat/assistant/message"
    for value in ("purple", "orange"):
        content = {"message": "Hello", "session_id": "about", "metadata": {"colour": value}}
        assert (await shop.ask("POST", path, content)).status == 200
        assert (await shop.at("about")).json["metadata"] == {"colour": value}
    assert not here.endpoint.matching("purple")
    assert "purple" not in str([request.body for request in here.endpoint.requests])


@shared
async def test_a_repeated_request_keeps_nothing_of_its_metadata(shop: Client) -> None:
    path = "/api/chat/assistant/message"

    async def say(name: str, kept: dict[str, str]) -> Any:
        content = {"message": name, "session_id": "kept", "metadata": kept}
        assert (await shop.ask("POST", path, content, Idempotency_Key=name)).status == 200
        return (await shop.at("kept")).json["metadata"]

    for name in ("first", "second", "third"):
        assert await say(name, {"of": name}) == {"of": name}
    for name in ("second", "third", "first"):
        for kept in ({"of": name}, {"of": "nobody"}, {}):
            assert await say(name, kept) == {"of": "third"}


WRONG: tuple[Any, ...] = (
    {},
    [],
    None,
    "text",
    {"message": ""},
    {"message": 1},
    {"message": "a\0b"},
    {"message": " "},
    {"message": "\ud800"},
    {"message": "x" * 40_000},
    {"message": "Hello", "unknown": 1},
    {"message": "Hello", "\ud800": 1},
    {"message": "Hello", "session_id": ""},
    {"message": "Hello", "session_id": "a b"},
    {"message": "Hello", "session_id": "a/b"},
    {"message": "Hello", "session_id": "one\n"},
    {"message": "Hello", "session_id": "x" * 129},
    {"message": "Hello", "session_id": 1},
    {"message": "Hello", "metadata": {"a": {}}},
    {"message": "Hello", "metadata": {"a": "x" * 513}},
    {"message": "Hello", "metadata": {"a": "\0"}},
    {"message": "Hello", "metadata": {"": "x"}},
    {"message": "Hello", "metadata": {str(n): n for n in range(17)}},
)


@shared
@pytest.mark.parametrize("content", WRONG, ids=range(len(WRONG)))
async def test_what_is_no_message_is_refused_by_a_problem_document(
    content: Any, here: AppWithModel, shop: Client
) -> None:
    before = here.rows()
    reply = await shop.ask("POST", MESSAGE, content)
    assert reply.status == 422
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert set(reply.json) == {"type", "title", "status", "detail", "error_id"}
    assert reply.json["status"] == 422
    assert here.rows() == before


@shared
async def test_each_failure_has_its_status_and_leaves_no_trace(
    here: AppWithModel, shop: Client
) -> None:
    await shop.say("Hello", "failing")
    before, asked = here.rows(), here.endpoint.request_count

    async def status(method: str, path: str, content: Any = None) -> int:
        reply = await shop.ask(method, f"/api/chat/{path}", content)
        assert reply.headers["Content-Type"] == "application/problem+json"
        assert reply.json["status"] == reply.status
        return reply.status

    hello = {"message": "Hello"}
    assert await status("POST", "nobody/message", hello) == 404
    assert await status("GET", "nobody/sessions") == 404
    assert await status("DELETE", "nobody/sessions/a") == 404
    assert await status("GET", "assistant/sessions/never") == 404
    assert await status("POST", "assistant/sessions/never/end") == 404
    assert await status("GET", "assistant/sessions/never/export") == 404
    assert await status("GET", "assistant/sessions?limit=0") == 422
    assert await status("GET", "assistant/sessions?before=yesterday") == 422
    assert await status("GET", "assistant/sessions?before=0001-01-01T00:00%2B23:59~a") == 422
    assert await status("GET", "assistant/sessions/failing/export?format=pdf") == 422
    assert await status("GET", "assistant/sessions/failing?conversation=other") == 404
    settled = {"call": "never", "answer": "approved"}
    assert await status("POST", "assistant/sessions/failing/approvals", settled) == 404
    assert here.rows() == before
    assert here.endpoint.request_count == asked
    assert here.app.application.runtime.running_turns == 0


async def test_too_many_messages_are_told_when_to_go_on(tmp_path: Path) -> None:
    async with (
        app_with_model(tmp_path, api_keys=KEYS, turns_per_minute=1) as here,
        client(here.url) as shop,
    ):
        assert (await shop.say("one", "busy")).status == 200
        reply = await shop.say("two", "busy")
        assert reply.status == 429
        assert 1 <= int(reply.headers["Retry-After"]) <= 60
        assert (await shop.say("three", "another")).status == 200


async def test_a_busy_session_and_a_full_process_say_so(tmp_path: Path) -> None:
    async with (
        app_with_model(tmp_path, "hang", api_keys=KEYS, max_turns=2) as here,
        client(here.url) as shop,
    ):
        running = [asyncio.create_task(shop.say("one", "first"))]
        await wait_until(lambda: len(here.endpoint.requests) == 1)
        busy = await shop.say("two", "first")
        assert (busy.status, busy.json["title"]) == (409, "Conflict")
        running.append(asyncio.create_task(shop.say("one", "second")))
        await wait_until(lambda: len(here.endpoint.requests) == 2)
        full = await shop.say("one", "third")
        assert (full.status, full.headers["Retry-After"]) == (503, "5")
        for task in running:
            task.cancel()
        await asyncio.wait(running)


async def test_an_answer_that_is_being_written_ends_with_its_conversation(tmp_path: Path) -> None:
    async with app_with_model(tmp_path, "hang", api_keys=KEYS) as here, client(here.url) as shop:
        running = [
            asyncio.create_task(shop.say("one", session, Accept=EVENTS))
            for session in ("ends", "goes-on")
        ]
        await wait_until(lambda: here.endpoint.request_count == 2)
        assert (await shop.at("ends", "/end", "POST")).status == 204
        name, told = (await running[0]).events[-1]
        assert (name, told["metadata"]["status"]) == ("done", "interrupted")
        ended = (await shop.at("ends")).json
        assert (ended["status"], ended["messages"][0]["content"]) == ("ended", "one")
        assert here.app.application.runtime.running_turns == 1
        running[1].cancel()
        await asyncio.wait(running)


async def test_a_stream_that_its_reader_leaves_stops_the_answer(tmp_path: Path) -> None:
    async with app_with_model(tmp_path, "hang", api_keys=KEYS) as here, client(here.url) as shop:
        reading = asyncio.create_task(shop.say("one", "left", Accept=EVENTS))
        await wait_until(lambda: len(here.endpoint.requests) == 1)
        reading.cancel()
        await asyncio.wait([reading])
        await wait_until(lambda: here.rows()["agent_turns"][0]["state"] == "interrupted")


async def test_a_failing_model_is_told_as_a_failing_gateway(tmp_path: Path) -> None:
    async with (
        app_with_model(tmp_path, "fail-401", api_keys=KEYS) as here,
        client(here.url) as shop,
    ):
        reply = await shop.say("Hello", "failed", Idempotency_Key="k")
        assert reply.status == 502
        streamed = await shop.say("Hello", "other", Accept=EVENTS)
        name, told = streamed.events[-1]
        assert (streamed.status, name, told["status"]) == (200, "error", 502)
        asked = len(here.endpoint.requests)
        assert (await shop.say("Hello", "failed", Idempotency_Key="k")).status == 502
        assert len(here.endpoint.requests) == asked


async def test_without_keys_the_interface_is_closed(tmp_path: Path) -> None:
    async with app_with_model(tmp_path) as here, client(here.url) as shop:
        reply = await shop.say("Hello", "closed")
        assert reply.status == 401
        assert "closed" in reply.json["detail"]
        assert reply.headers["WWW-Authenticate"] == "Bearer"
        assert (await shop.ask("GET", "/v1/models")).status == 401


@shared
async def test_the_description_is_open_and_names_every_route(here: AppWithModel) -> None:
    async with client(here.url, None) as nobody:
        document = (await nobody.ask("GET", "/api/openapi.json")).json
        assert document["openapi"].startswith("3.0")
        text = json.dumps(document)
        assert '"type": "null"' not in text
        assert '"const"' not in text
        page = await nobody.ask("GET", "/api/docs")
        assert b"http" not in page.body  # nothing comes from elsewhere
        for name in ("swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png"):
            assert f"docs/{name}".encode() in page.body
            assert (await nobody.ask("GET", f"/api/docs/{name}")).status == 200
        for name in ("index.html", "..", "%2e%2e", "swagger-ui.css%00"):
            assert (await nobody.ask("GET", f"/api/docs/{name}")).status == 404
    for path, item in document["paths"].items():
        for operation in item.values():
            assert operation["security"] == [{"key": []}], path
            assert "4XX" in operation["responses"]


async def test_what_an_answer_has_told_its_session_s_history_has(tmp_path: Path) -> None:
    async with app_with_model(tmp_path, "gated-0", api_keys=KEYS) as here, client(here.url) as shop:
        answering = asyncio.create_task(shop.say("hello", "s"))
        await here.endpoint.wait_held("hello")
        async with unstored(here, "hello"):
            reading = asyncio.create_task(shop.at("s"))
            # who does not wait for it has an answer by then
            await asyncio.wait({reading}, timeout=1)
        assert (await answering).json["response"] == "You said: hello"
        assert (await reading).json["messages"][-1]["content"] == "You said: hello"


@shared
async def test_an_answer_is_rated_with_a_reason_and_a_comment(shop: Client) -> None:
    await shop.say("Hello", "rated")
    path = f"{SESSIONS}/rated"
    rate = f"{path}/messages/2/rate"
    why = {"rating": "dislike", "reason": "unsafe", "comment": "No helmet."}
    assert (await shop.ask("POST", rate, why)).status == 204
    answer = (await shop.ask("GET", path)).json["messages"][1]
    assert (answer["rating"], answer["rating_reason"], answer["rating_comment"]) == tuple(
        why.values()
    )
    for wrong in ({}, {"rating": "like", "reason": "unsafe"}, {"rating": "like", "comment": 1}):
        assert (await shop.ask("POST", rate, wrong)).status == 422, wrong
    for other in (f"{path}/messages/1/rate", f"{SESSIONS}/none/messages/2/rate"):
        assert (await shop.ask("POST", other, why)).status == 404
    assert (await shop.ask("POST", rate, {"rating": None})).status == 204
    answer = (await shop.ask("GET", path)).json["messages"][1]
    assert (answer["rating"], answer["rating_reason"], answer["rating_comment"]) == (None,) * 3
