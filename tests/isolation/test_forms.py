"""No HTML form can change anything: routes that change need declared JSON or a named file."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio

from cmw_agent.web.security.closed_routes import CLOSED_ROUTES
from cmw_agent.web.security.route_allowlist import OPEN_ROUTES, Route
from tests.harness import Browser
from tests.isolation.test_routes import example
from tests.isolation.wire import ask
from tests.isolation.world import AppWithModel, app_with_model

pytestmark = pytest.mark.asyncio(loop_scope="module")

# What a form, or a page's script without a question to the server, can declare.
FORMS = (
    "text/plain",
    "text/plain; charset=utf-8",
    "Text/Plain;application/json",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
)
SAFE = {"GET", "HEAD", "OPTIONS"}
# Judged one by one: what each takes, and what tells its caller from a form in a message.
JUDGED = {
    **dict.fromkeys(
        (
            "/history/rename",
            "/history/arrange",
            "/history/delete",
            "/history/restore",
            "/history/forget",
            "/history/import/dismiss",
            "/history/select",
            "/history/fork",
            "/history/rating",
            "/consents",
            "/files/remove",
            "/prompts/create",
            "/prompts/update",
            "/prompts/delete",
            "/servers/prompt",
            "/servers/resource",
            "/servers/add",
            "/servers/remove",
            "/shares/create",
            "/shares/revoke",
            "/schedules/cancel",
            "/share/{share_id}/continue",
            "/connections/link",
            "/connections/disconnect",
            "/connections/choose",
            "/approvals",
            "/login/consent",
            "/logout",
            "/gradio_api/queue/join",
            "/gradio_api/cancel",
        ),
        "json",
    ),
    "/files": "file",
    "/transcriptions": "file",
    "/history/import": "file",
    **dict.fromkeys(
        (
            "/api/chat/{agent_id}/message",
            "/api/chat/{agent_id}/sessions",
            "/api/chat/{agent_id}/sessions/{session_id}/end",
            "/api/chat/{agent_id}/sessions/{session_id}/import",
            "/api/chat/{agent_id}/sessions/{session_id}/approvals",
            "/api/chat/{agent_id}/sessions/{session_id}/shares",
            "/api/chat/{agent_id}/sessions/{session_id}/messages/{seq}/retry",
            "/api/chat/{agent_id}/sessions/{session_id}/messages/{seq}/edit",
            "/api/chat/{agent_id}/sessions/{session_id}/messages/{seq}/select",
            "/api/chat/{agent_id}/sessions/{session_id}/messages/{seq}/fork",
            "/api/chat/{agent_id}/sessions/{session_id}/messages/{seq}/rate",
            "/mcp",
            "/v1/chat/completions",
            "/v1/responses",
            "/v1/embeddings",
            "/v1/audio/transcriptions",
            "/whatsapp/send",
        ),
        "key",
    ),
    **dict.fromkeys(
        (
            "/embed/{agent_id}/visit",
            "/embed/{agent_id}/message",
            "/embed/{agent_id}/approvals",
        ),
        "token",
    ),
    "/whatsapp/incoming": "signature",
    "/whatsapp/incoming/{token}": "signature",
}
GRADIO_S_OWN = {("POST", "/login")}  # the app's is a GET alone, and the guard closes this one
PATCHES = {"/api/chat/{agent_id}/sessions/{session_id}"}
DELETES = {
    "/api/chat/{agent_id}/sessions/{session_id}",
    "/api/chat/{agent_id}/sessions/{session_id}/shares/{share_id}",
    "/embed/{agent_id}/messages",
    "/mcp",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[AppWithModel]:
    async with app_with_model(tmp_path_factory.mktemp("forms"), mcp_server="on") as made:
        yield made


def changing(owner: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Return method and template of each route of an app that is no mere reading."""
    for route in owner.routes:
        inner = getattr(route, "original_router", route)
        if getattr(inner, "routes", None):
            yield from changing(inner, prefix + getattr(route, "path", ""))
            continue
        for method in (getattr(route, "methods", None) or {"GET"}) - SAFE:
            yield method, prefix + route.path


async def test_every_route_that_may_change_something_is_judged(here: AppWithModel) -> None:
    application = here.app.application
    apps = (application.own, application.gradio, application.channels)
    found = {pair for app in apps for pair in changing(app) if pair[1] not in CLOSED_ROUTES}
    assert found >= GRADIO_S_OWN
    found -= GRADIO_S_OWN
    assert (await ask(here.url, "POST", "/login", body=b"a=b")).status == 404
    judged = {("POST", path) for path in JUDGED} | {("DELETE", path) for path in DELETES}
    judged |= {("PATCH", path) for path in PATCHES}
    assert found == judged
    assert {(r.method, r.template) for r in OPEN_ROUTES if r.changes} == judged


async def test_a_new_route_takes_json_alone_unless_it_says_otherwise() -> None:
    assert Route("POST", "/new").is_form("text/plain", None)
    assert Route("PUT", "/new").is_form("", "x")
    for route in OPEN_ROUTES:
        if route.method == "POST":
            wanted = JUDGED[route.template]
            assert route.takes == ("file" if wanted == "file" else "json"), route
            assert (route.access == "own") == (wanted in ("key", "token", "signature")), route


@pytest.mark.parametrize("declared", FORMS)
async def test_a_form_is_refused_at_every_address(declared: str, here: AppWithModel) -> None:
    for template in JUDGED:
        answer = await ask(
            here.url,
            "POST",
            example(template),
            {"content-type": declared, "origin": here.url, "sec-fetch-site": "same-origin"},
            body=b'{"sure": true, "a": "="}',
        )
        assert answer.status == 415, template


async def test_the_page_s_routes_refuse_what_declares_nothing(here: AppWithModel) -> None:
    for template, wanted in JUDGED.items():
        if wanted in ("json", "file"):
            answer = await ask(here.url, "POST", example(template), {}, body=b'{"sure": true}')
            assert answer.status == 415, template


@pytest.mark.parametrize("space", ["\xa0", "\x85"])
async def test_what_is_json_by_python_s_white_space_alone_is_not_declared(
    space: str, here: AppWithModel
) -> None:
    for template in ("/history/forget", "/login/consent", "/gradio_api/queue/join"):
        for declared in (f"application/json{space}", f"{space}application/json;x"):
            sent = {"content-type": declared}
            answer = await ask(here.url, "POST", example(template), sent, body=b"{}")
            assert answer.status == 415, template


async def test_a_form_that_says_sure_deletes_nothing(here: AppWithModel) -> None:
    async with Browser(here.url) as alice:
        tab = await alice.open()
        await tab.send("mine")
        for declared in FORMS:
            async with alice.http.post(
                f"{here.url}/history/forget",
                data=b'{"sure":true,"x":"="}',
                headers={"content-type": declared, "origin": here.url},
            ) as answer:
                assert answer.status == 415
        async with alice.http.get(f"{here.url}/history") as answer:
            assert len((await answer.json())["conversations"]) == 1


async def test_reading_changes_nothing_at_an_address_that_changes_something(
    here: AppWithModel,
) -> None:
    readable = {route.template for route in OPEN_ROUTES if route.method == "GET"}
    for template in JUDGED:
        if template not in readable:
            assert (await ask(here.url, "GET", example(template))).status in (404, 405), template
