"""Isolation 7: every route is listed as open or closed, and closed routes answer 404."""

import re
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

import pytest
import pytest_asyncio

from cmw_agent.server.build import Application
from cmw_agent.web.security.closed_routes import CLOSED_ROUTES
from cmw_agent.web.security.route_allowlist import API, OPEN_ROUTES, RouteTable
from tests.isolation.wire import Answer, ask
from tests.isolation.world import AppWithModel, app_with_model

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")
OPEN_TEMPLATES = {route.template for route in OPEN_ROUTES}
SAMPLES = {"session_hash": "abc", "api_name": "send", "event_id": "0" * 32, "path": "a/b.js"}

shared = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[AppWithModel]:
    async with app_with_model(tmp_path_factory.mktemp("routes"), mcp_server="on") as made:
        yield made


def routes(owner: Any, prefix: str = "") -> Iterator[str]:
    """Return the path templates of an app, of what is mounted in it and of its routers."""
    for route in owner.routes:
        inner = getattr(route, "original_router", route)
        if getattr(inner, "routes", None):
            yield from routes(inner, prefix + getattr(route, "path", ""))
        else:
            yield prefix + route.path


def offered(application: Application) -> set[str]:
    apps = (application.gradio, application.own, application.channels)
    return {template for app in apps for template in routes(app)}


def example(template: str) -> str:
    """Return a path that the template matches."""
    return re.sub(r"{([a-z_]+)(?::path)?}", lambda m: SAMPLES.get(m.group(1), "x"), template)


def unjudged(found: Iterable[str]) -> set[str]:
    return set(found) - OPEN_TEMPLATES - CLOSED_ROUTES


@shared
async def test_every_route_is_judged(here: AppWithModel) -> None:
    found = offered(here.app.application)
    assert len(found) > 60  # the walk has reached Gradio's routers
    assert not unjudged(found)


@shared
async def test_a_route_that_an_upgrade_brings_is_noticed(here: AppWithModel) -> None:
    assert unjudged({*offered(here.app.application), f"{API}/brand-new"}) == {f"{API}/brand-new"}


@shared
async def test_nothing_is_judged_that_is_not_there(here: AppWithModel) -> None:
    assert not (OPEN_TEMPLATES | CLOSED_ROUTES) - offered(here.app.application)


def test_no_route_is_open_and_closed() -> None:
    assert not OPEN_TEMPLATES & CLOSED_ROUTES
    assert len({(route.method, route.template) for route in OPEN_ROUTES}) == len(OPEN_ROUTES)


def test_no_open_pattern_lets_a_closed_route_through() -> None:
    table = RouteTable()
    for template in CLOSED_ROUTES:
        for path in (example(template), template):
            assert all(table.find(method, path) is None for method in METHODS), path


def test_routes_that_carry_a_session_name_where() -> None:
    carried = {route.template: route.identity for route in OPEN_ROUTES if route.identity != "none"}
    assert carried == {
        f"{API}/queue/join": "body",
        f"{API}/cancel": "body",
        f"{API}/queue/data": "query",
        f"{API}/heartbeat/{{session_hash}}": "path",
    }


async def unknown(here: AppWithModel, method: str) -> Answer:
    answer = await ask(here.url, method, "/no-such-route")
    assert answer.status == 404
    assert answer.body == (b"" if method == "HEAD" else b'{"detail":"Not Found"}')
    return answer


@shared
@pytest.mark.parametrize("method", METHODS)
async def test_a_closed_route_answers_like_one_that_does_not_exist(
    method: str, here: AppWithModel
) -> None:
    wanted = await unknown(here, method)
    for template in sorted(CLOSED_ROUTES):
        body = b"{}" if method in ("POST", "PUT", "PATCH") else b""
        assert await ask(here.url, method, example(template), body=body) == wanted, template


@shared
@pytest.mark.parametrize("method", METHODS)
async def test_an_open_route_takes_its_own_method_alone(method: str, here: AppWithModel) -> None:
    wanted = await unknown(here, method)
    taken = {r.template for r in OPEN_ROUTES if r.method == ("GET" if method == "HEAD" else method)}
    for route in OPEN_ROUTES:
        if route.template in taken:
            continue
        found = await ask(here.url, method, example(route.template))
        if route.access == "page":
            assert found == wanted, route
        else:  # a channel's addresses are described to everybody, and so are their methods
            methods = {other.method for other in OPEN_ROUTES if other.template == route.template}
            assert found.status == 405, route
            assert set(found.headers["allow"].split(", ")) == methods, route
            assert "set-cookie" not in found.headers, route


TRICKS = (
    "//gradio_api/run/send",
    "/gradio_api//run/send",
    "/gradio_api/./run/send",
    "/./gradio_api/run/send",
    "/gradio_api/queue/../run/send",
    "/gradio_api/run/send/",
    "/gradio_api%2Frun%2Fsend",
    "/gradio_api/run%2Fsend",
    "/gradio_api/%72un/send",
    "/%67radio_api/run/send",
    "/gradio_api/run/send%00",
    "/gradio_api/run/send%0a",
    "/gradio_api/RUN/send",
    "/Gradio_Api/run/send",
    "/gradio_api/queue/join/",
    "/gradio_api/queue//join",
    "/gradio_api/queue/join%2F",
    "/gradio_api/queue/join%20",
    "/gradio_api/queue/join%0a",
    "/gradio_api/queue/join;a",
    "/gradio_api/QUEUE/JOIN",
    "/gradio_api/heartbeat/",
    "/gradio_api/heartbeat/a/b",
    "/gradio_api/heartbeat",
    "/gradio_api/file=/etc/passwd",
    "/gradio_api/file%3D/etc/passwd",
    "/gradio_api/file/etc/passwd",
    "/file=/etc/passwd",
    "/config/",
    "/CONFIG",
    "/config%00",
    "/config%0a",
    "/config%2f",
    "/healthz/",
    "/visitor/",
    "//config",
    "/%2e%2e/config",
    "/%2e/config",
    "*",
    "http://127.0.0.1/gradio_api/run/send",
)


@shared
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_no_spelling_of_a_path_gets_through(method: str, here: AppWithModel) -> None:
    wanted = await unknown(here, method)
    for target in TRICKS:
        answer = await ask(here.url, method, target, body=b"{}" if method == "POST" else b"")
        assert answer == wanted, target


FILES = (
    "/assets/../gradio_api/info/",
    "/assets/../../config",
    "/assets/..%2f..%2froutes.py",
    "/assets/%2e%2e/%2e%2e/routes.py",
    "/assets/....//....//routes.py",
    "/assets//etc/passwd",
    "/assets/%2Fetc%2Fpasswd",
    "/assets/..%5c..%5croutes.py",
    "/assets/%00",
    "/static/../../../routes.py",
    "/static/..%2f..%2froutes.py",
    "/static//etc/passwd",
    "/static/%2e%2e%2f%2e%2e%2froutes.py",
)


@shared
async def test_the_page_s_files_give_no_other_file(here: AppWithModel) -> None:
    for target in FILES:
        answer = await ask(here.url, "GET", target)
        assert answer.status in (403, 404), target
        assert b"root:" not in answer.body
        assert b"import" not in answer.body


@shared
async def test_what_is_open_answers(here: AppWithModel) -> None:
    # Without this invariant, the ones above would also hold for an app that does nothing at all.
    files = ("/first.js", "/page.js", "/page.css", "/sw.js", "/offline.html", "/manifest.json")
    for path in ("/", "/config", "/healthz", "/readyz", "/visitor", "/theme.css", *files):
        assert (await ask(here.url, "GET", path)).status == 200, path
        assert (await ask(here.url, "HEAD", path)).status in (200, 405), path
