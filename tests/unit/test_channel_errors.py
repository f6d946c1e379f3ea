"""Errors of the REST interface and of `/v1`, in each interface's own form."""

import asyncio
import json
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from pydantic import SecretStr
from starlette.types import Message, Receive, Scope, Send
from yarl import URL

from cmw_agent.channels.app import _render_early, _UnexpectedErrors
from cmw_agent.channels.common.api_keys import NOT_DECLARED, Keys
from cmw_agent.channels.common.body_limits import FORM_TYPES, BoundedBodies
from cmw_agent.channels.common.turn_streams import EVENTS
from cmw_agent.channels.rest.dependencies import NOT_JSON
from cmw_agent.channels.whatsapp.refusals import Refusals
from cmw_agent.config.validators import ApiKey
from cmw_agent.limits.budgets import Budgets
from tests.harness import settings_for
from tests.isolation.world import AppWithModel, app_with_model
from tests.rest import KEYS, SHOP, Client, Reply, client

shared = pytest.mark.asyncio(loop_scope="module")
MESSAGE, V1 = "/api/chat/assistant/message", "/v1/chat/completions"
JSON = "application/json"
SITE, PAGE_KEY = "https://shop.example", "p" * 32
KEYED = {"Authorization": f"Bearer {SHOP}"}
BODIES: dict[str, dict[str, Any]] = {
    MESSAGE: {"message": "Hello"},
    V1: {"model": "assistant", "messages": [{"role": "user", "content": "Hello"}]},
}

both = pytest.mark.parametrize("path", BODIES)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[AppWithModel]:
    keys = f"{KEYS},shop:{PAGE_KEY}:{SITE}"
    async with app_with_model(
        tmp_path_factory.mktemp("errors"), api_keys=keys, log_level="ERROR"
    ) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def shop(here: AppWithModel) -> AsyncIterator[Client]:
    async with client(here.url) as made:
        yield made


def told(reply: Reply, path: str) -> str:
    """Return the sentence of an error, which has the form of the interface at `path`."""
    if path.startswith("/v1"):
        assert reply.headers["Content-Type"] == JSON
        assert set(reply.json) == {"error"}
        error = reply.json["error"]
        assert set(error) == {"message", "type", "code", "param"}
        return str(error["message"]).partition(" (error ")[0]
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert reply.json["status"] == reply.status
    return str(reply.json["detail"])


async def sent(shop: Client, path: str, body: bytes, kind: str | None) -> Reply:
    headers = KEYED if kind is None else {**KEYED, "Content-Type": kind}
    skipped = ["Content-Type"] if kind is None else []
    async with shop.http.post(
        f"{shop.url}{path}", data=body, headers=headers, skip_auto_headers=skipped
    ) as answer:
        return Reply(answer.status, await answer.read(), dict(answer.headers))


UNREAD: tuple[tuple[str | None, bytes, int, str], ...] = (
    *((kind, b"", 415, NOT_DECLARED) for kind in ("text/plain", None, "application/xml", "json")),
    ("application/x-www-form-urlencoded", b"message=Hello", 415, NOT_DECLARED),
    ("multipart/form-data; boundary=x", b"--x--", 415, NOT_DECLARED),
    ("text/json", b"", 415, NOT_DECLARED),
    (JSON, b"{", 400, NOT_JSON),
    (JSON, b'{"message": "Hello"', 400, NOT_JSON),
    (JSON, b"Hello", 400, NOT_JSON),
    (JSON, b'{"message": "\xff"}', 400, NOT_JSON),
    (JSON, b"[" * 100_000, 400, NOT_JSON),
)


@shared
@both
@pytest.mark.parametrize(("kind", "body", "status", "sentence"), UNREAD, ids=range(len(UNREAD)))
async def test_a_body_that_cannot_be_read_is_told_so_and_leaves_no_trace(
    kind: str | None,
    body: bytes,
    status: int,
    sentence: str,
    path: str,
    here: AppWithModel,
    shop: Client,
) -> None:
    before, asked = here.rows(), here.endpoint.request_count
    reply = await sent(shop, path, body or json.dumps(BODIES[path]).encode(), kind)
    assert (reply.status, told(reply, path)) == (status, sentence)
    assert here.rows() == before
    assert here.endpoint.request_count == asked


@shared
@both
@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "Application/JSON"])
async def test_a_body_that_is_said_to_be_json_is_read(kind: str, path: str, shop: Client) -> None:
    reply = await sent(shop, path, json.dumps(BODIES[path]).encode(), kind)
    assert reply.status == 200


WRONG: tuple[tuple[str, dict[str, Any], str], ...] = (
    (MESSAGE, {"message": "Hello", "metadata": {"a": {}}}, "metadata.a"),
    (MESSAGE, {"message": "Hello", "metadata": {"a": [], "b": {}}}, "metadata.a, metadata.b"),
    (MESSAGE, {"message": 1}, "message"),
    (MESSAGE, {}, "message"),
    (MESSAGE, {"message": "Hello", "other": 1}, "other"),
    (V1, {"model": "assistant", "messages": [{"role": "user", "content": 1}]}, "messages.0.content"),
    (V1, {"model": "assistant", "messages": [{"role": "user", "content": [{"text": "x"}]}]},
     "messages.0.content.0.type"),
    (V1, {"messages": [{}]}, "messages.0.role, model"),
)  # fmt: skip


@shared
@pytest.mark.parametrize(("path", "content", "named"), WRONG, ids=range(len(WRONG)))
async def test_a_field_that_is_wrong_is_named_once_as_its_sender_knows_it(
    path: str, content: dict[str, Any], named: str, shop: Client
) -> None:
    reply = await shop.ask("POST", path, content)
    assert told(reply, path) == f"The request is not what this address takes ({named})."


ONE = "/api/chat/assistant/sessions/a"
OTHER_METHODS: tuple[tuple[str, str, str], ...] = (
    ("PUT", MESSAGE, "POST, OPTIONS"),
    ("GET", MESSAGE, "POST, OPTIONS"),
    ("HEAD", MESSAGE, "POST, OPTIONS"),
    ("PUT", ONE, "GET, PATCH, DELETE, OPTIONS"),
    ("HEAD", ONE, "GET, PATCH, DELETE, OPTIONS"),
    ("HEAD", "/api/chat/assistant/sessions", "GET, POST, OPTIONS"),
    ("POST", "/api/openapi.json", "GET"),
    ("GET", V1, "POST, OPTIONS"),
    ("POST", "/v1/models", "GET, OPTIONS"),
    ("HEAD", "/v1/models", "GET, OPTIONS"),
    ("DELETE", "/v1/models/assistant", "GET, OPTIONS"),
    ("PUT", "/embed/assistant/message", "POST, OPTIONS"),
    ("HEAD", "/widget.js", "GET"),
    ("DELETE", "/whatsapp/status", "GET"),
)


@shared
@pytest.mark.parametrize("key", [SHOP, None])
@pytest.mark.parametrize(("method", "path", "allowed"), OTHER_METHODS)
async def test_an_address_says_which_methods_it_takes(
    method: str, path: str, allowed: str, key: str | None, here: AppWithModel
) -> None:
    async with client(here.url, key) as each:
        reply = await each.ask(method, path)
    assert (reply.status, reply.headers["Allow"]) == (405, allowed)
    if method != "HEAD":
        named = " or ".join(name for name in allowed.split(", ") if name != "OPTIONS")
        assert told(reply, path) == f"Please use {named} at this address."


UNKNOWN = {
    "/api/": ("", "chat", "chat/assistant", "chat/assistant/message/", "chat//message",
              "chat/assistant/sessions/a/none", "chat/assistant%2Fmessage", "none", "docs/"),
    "/v1/": ("", "models/", "engines", "models%2Fassistant", "chat/completions/", "chat%2Fcompletions"),
    "/": ("none", "embed", "embed/assistant/none", "metrics/none", "whatsapp", "v1", "api"),
}  # fmt: skip


@shared
@pytest.mark.parametrize("below", UNKNOWN)
async def test_addresses_that_are_not_there_are_told_alike_in_their_interface_s_form(
    below: str, here: AppWithModel
) -> None:
    found = set()
    for key in (SHOP, None, "wrong"):
        async with client(here.url, key) as each:
            for rest in UNKNOWN[below]:
                for method in ("GET", "POST", "DELETE", "PUT"):
                    address = URL(f"{here.url}{below}{rest}", encoded=True)
                    async with each.http.request(method, address) as answer:
                        kind = answer.headers["Content-Type"]
                        found.add((answer.status, kind, await answer.read()))
    ((status, kind, body),) = found
    assert status == 404
    if below == "/":
        assert (kind, json.loads(body)) == (JSON, {"detail": "Not Found"})
    else:
        sentence = told(Reply(status, body, {"Content-Type": kind}), below)
        assert sentence == "There is nothing at this address; /api/docs lists what there is."


@shared
@both
@pytest.mark.parametrize("origin", [SITE, "https://evil.example", None])
async def test_what_is_refused_before_it_is_read_has_its_interface_s_form(
    origin: str | None, path: str, here: AppWithModel
) -> None:
    headers = {} if origin is None else {"Origin": origin}
    async with client(here.url, PAGE_KEY) as page:
        reply = await page.ask("POST", path, {"message": "x" * 300_000}, **headers)
    assert reply.status == 413
    assert told(reply, path).startswith("The request is too large")
    readable = origin if origin == SITE else None
    assert reply.headers.get("Access-Control-Allow-Origin") == readable


@shared
@both
@pytest.mark.parametrize("origin", [SITE, "https://evil.example", None])
@pytest.mark.parametrize("kind", sorted(FORM_TYPES))
async def test_a_form_that_is_refused_can_be_read_by_the_pages_that_read_all_else(
    kind: str, origin: str | None, path: str, here: AppWithModel
) -> None:
    headers = {"Content-Type": kind} | ({} if origin is None else {"Origin": origin})
    async with client(here.url, PAGE_KEY) as page:
        reply = await page.ask("POST", path, BODIES[path], **headers)
    assert (reply.status, told(reply, path)) == (415, NOT_DECLARED)
    readable = origin if origin == SITE else None
    assert reply.headers.get("Access-Control-Allow-Origin") == readable
    assert reply.headers["Vary"] == "Origin"


@pytest.mark.parametrize("path", BODIES)
async def test_a_body_that_does_not_come_is_told_of_in_its_interface_s_form(path: str) -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    async def behind(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError

    budgets = Budgets.of(settings_for(Path()))
    bodies = BoundedBodies(behind, lambda _: 100, budgets=budgets, small=100, small_seconds=0)
    scope: Scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "query_string": b"",
        "headers": [],
    }
    await bodies(scope, receive, send)
    headers = {"Content-Type": dict(sent[0]["headers"])[b"content-type"].decode()}
    reply = Reply(sent[0]["status"], sent[1]["body"], headers)
    assert (reply.status, told(reply, path)) == (408, "The request took too long to come.")


@shared
@both
async def test_what_nobody_foresaw_has_its_interface_s_form(path: str) -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError

    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    keys = Keys([ApiKey("shop", SecretStr(PAGE_KEY), frozenset({SITE}))])
    scope = {
        "type": "http",
        "path": path,
        "query_string": b"",
        "headers": [(b"origin", SITE.encode())],
    }
    await _UnexpectedErrors(broken, partial(_render_early, keys, Refusals()))(scope, receive, send)
    headers = {name.decode().title(): value.decode() for name, value in sent[0]["headers"]}
    reply = Reply(sent[0]["status"], sent[1]["body"], headers)
    assert reply.status == 500
    assert told(reply, path) == "Something went wrong on our side; please try again."
    assert headers["Access-Control-Allow-Origin"] == SITE


@shared
@both
async def test_events_are_not_held_back_by_a_proxy(
    path: str, here: AppWithModel, shop: Client
) -> None:
    content = BODIES[path] | ({"stream": True} if path == V1 else {})
    reply = await shop.ask("POST", path, content, Accept=EVENTS)
    assert reply.headers["Content-Type"].startswith(EVENTS)
    assert reply.headers["x-accel-buffering"] == "no"
