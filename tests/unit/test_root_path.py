"""The app below a path of its host: what it answers there, and which addresses it gives out."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp

from cmw_agent.config.settings import SettingsError
from cmw_agent.server.build import build_app
from tests.harness import settings_for

ROOT = "/team/chat"
PEER = "10.0.0.9"
HTTPS = {"x-forwarded-proto": "https"}


def app(folder: Path, **changes: Any) -> ASGIApp:
    return build_app(settings_for(folder, trust_proxy=PEER, **changes)).asgi


def client(asgi: ASGIApp, peer: str = PEER) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(asgi, client=(peer, 5))
    return httpx.AsyncClient(transport=transport, base_url="http://chat.example")


async def test_each_address_answers_with_the_path_and_without(tmp_path: Path) -> None:
    async with client(app(tmp_path, root_path=ROOT)) as http:
        for path in ("/", "/healthz", "/page.js", "/manifest.json", "/gradio_api/app_id"):
            below, bare = await http.get(ROOT + path), await http.get(path)
            assert (below.status_code, bare.status_code) == (200, 200), path


async def test_the_path_without_its_slash_leads_to_the_page(tmp_path: Path) -> None:
    async with client(app(tmp_path, root_path=ROOT)) as http:
        answer = await http.get(f"{ROOT}?c=abc&agent=x")
        assert answer.status_code == 308
        assert answer.headers["location"] == f"{ROOT}/?c=abc&agent=x"


@pytest.mark.parametrize(
    "path", ["/team/chatter/healthz", "/team/healthz", "/team/%63hat/healthz", f"{ROOT}{ROOT}/"]
)
async def test_another_path_is_no_address_of_the_app(tmp_path: Path, path: str) -> None:
    async with client(app(tmp_path, root_path=ROOT)) as http:
        assert (await http.get(path)).status_code == 404


async def test_gradio_and_programs_are_told_addresses_below_the_path(tmp_path: Path) -> None:
    async with client(app(tmp_path, root_path=ROOT)) as http:
        for path in (f"{ROOT}/config", "/config"):
            assert (await http.get(path)).json()["root"] == f"http://chat.example{ROOT}"
        description = (await http.get(f"{ROOT}/api/openapi.json")).json()
        assert description["servers"] == [{"url": ROOT}]


async def test_the_cookie_is_the_path_s_own(tmp_path: Path) -> None:
    async with client(app(tmp_path, root_path=ROOT)) as http:
        plain = (await http.get(f"{ROOT}/")).headers["set-cookie"]
        assert plain.startswith("cmw_visitor=")
        assert f"Path={ROOT}/;" in plain
        safe = (await http.get(f"{ROOT}/", headers=HTTPS)).headers["set-cookie"]
        # Browsers take such a cookie for all paths alone: its name tells two apps' apart.
        assert safe.startswith("__Host-cmw_visitor_team_chat=")
        assert "Path=/;" in safe


async def test_a_trusted_proxy_s_prefix_holds_where_no_path_is_set(tmp_path: Path) -> None:
    async with client(app(tmp_path)) as http:
        for lines, root in (
            ([ROOT], ROOT),
            (["/team/"], "/team"),
            (["/evil", "/team"], "/team"),  # the client's own stands left of the proxy's
        ):
            headers = [("x-forwarded-prefix", line) for line in lines]
            config = (await http.get("/config", headers=headers)).json()
            assert config["root"] == f"http://chat.example{root}"


async def test_two_trusted_proxies_each_take_off_a_part(tmp_path: Path) -> None:
    asgi = build_app(settings_for(tmp_path, trust_proxy="2")).asgi
    async with client(asgi) as http:
        headers = [("x-forwarded-prefix", "/evil, /team"), ("x-forwarded-prefix", "/chat")]
        config = (await http.get("/config", headers=headers)).json()
        assert config["root"] == f"http://chat.example{ROOT}"


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "/",
        "//evil.example",
        "/a//b",
        "/..",
        "/a/./b",
        "/a b",
        "/%2e",
        "/v1",
        "/share/x",
        "/é",
        "x",
    ],
)
async def test_a_prefix_that_is_no_path_is_none(tmp_path: Path, prefix: str) -> None:
    async with client(app(tmp_path)) as http:
        headers = {"x-forwarded-prefix": prefix.encode("latin-1")}
        config = (await http.get("/config", headers=headers)).json()  # type: ignore[arg-type]
        assert config["root"] == "http://chat.example"


async def test_nobody_else_s_prefix_is_believed(tmp_path: Path) -> None:
    headers = {"x-forwarded-prefix": ROOT}
    async with client(app(tmp_path), "192.0.2.1") as http:
        config = (await http.get("/config", headers=headers)).json()
        assert config["root"] == "http://chat.example"
    async with client(app(tmp_path / "other", root_path="/chat")) as http:
        config = (await http.get("/config", headers=headers)).json()
        assert config["root"] == "http://chat.example/chat"


async def test_a_header_s_prefix_is_never_taken_off_the_path(tmp_path: Path) -> None:
    # Or a client whose header a proxy hands on would hide paths from the proxy's rules.
    async with client(app(tmp_path)) as http:
        answer = await http.get("/x/healthz", headers={"x-forwarded-prefix": "/x"})
        assert answer.status_code == 404
        assert "CMW_ROOT_PATH" in answer.json()["detail"]


@pytest.mark.parametrize("root", ["/v1", "/share/team", "/embed", "/gradio_api"])
def test_a_path_that_begins_as_a_route_does_stops_the_start(tmp_path: Path, root: str) -> None:
    with pytest.raises(SettingsError, match="CMW_ROOT_PATH must begin as no route"):
        build_app(settings_for(tmp_path, root_path=root))


@pytest.mark.parametrize(
    ("opened_at", "headers", "named"),
    [
        ("http://chat.example/team/chat/", {}, None),
        ("http://chat.example:80/team/chat/", {}, None),
        ("https://chat.example/team/chat/", HTTPS, None),
        ("https://other.example/team/chat/", {}, None),  # an allowed origin
        ("http://third.example/team/chat/", {}, "Host"),
        ("https://chat.example/team/chat/", {}, "X-Forwarded-Proto"),
        ("http://chat.example/elsewhere/", {}, "CMW_ROOT_PATH"),
        ("", {}, None),
        ("about:blank", {}, None),
        ("http://[", {}, None),
    ],
)
async def test_a_page_that_was_opened_elsewhere_is_told_what_to_configure(
    tmp_path: Path, opened_at: str, headers: dict[str, str], named: str | None
) -> None:
    origins = frozenset({"https://other.example"})
    async with client(app(tmp_path, root_path=ROOT, allowed_origins=origins)) as http:
        answer = await http.get(f"{ROOT}/visitor", params={"at": opened_at}, headers=headers)
        mistake = answer.json()["mistake"]
        assert mistake is None if named is None else named in mistake
