"""Allowed host names, and the page's own origin."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from cmw_agent.core.origins import same_origin
from cmw_agent.server.build import build_app
from cmw_agent.web.security.allowed_hosts import AllowedHosts
from tests.harness import settings_for

LOOPBACK = ("localhost", "localhost:7860", "127.0.0.1:7860", "127.8.8.8", "[::1]:7860", "LOCALHOST")
REBOUND = (
    "evil.example",
    "evil.example:7860",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "evil.example#127.0.0.1",
    "127.0.0.1@evil.example",
    "evil.example/127.0.0.1",
    "0.0.0.0:7860",
    "192.168.1.5",
    "127.0.0.1:x",
    "[",
    "",
)


def hosts(tmp_path: Path, **changes: Any) -> AllowedHosts:
    return AllowedHosts.of(settings_for(tmp_path, **changes))


async def test_a_laptop_answers_under_its_own_names_alone(tmp_path: Path) -> None:
    app = build_app(settings_for(tmp_path)).asgi
    transport = httpx.ASGITransport(app, client=("127.0.0.1", 5))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as browser:
        for host in LOOPBACK:
            assert (await browser.get("/healthz", headers={"host": host})).status_code == 200, host
        for host in REBOUND:
            for path in ("/", "/healthz", "/api/docs", "/no-such"):
                answer = await browser.get(path, headers={"host": host})
                assert answer.status_code == 421, (host, path)
                assert "CMW_ALLOWED_HOSTS" in answer.text
                assert "set-cookie" not in answer.headers


async def test_a_forwarded_host_does_not_pass_for_a_laptop_s_own(tmp_path: Path) -> None:
    app = build_app(settings_for(tmp_path)).asgi
    transport = httpx.ASGITransport(app, client=("127.0.0.1", 5))
    async with httpx.AsyncClient(transport=transport, base_url="http://evil.example") as browser:
        answer = await browser.get("/", headers={"x-forwarded-host": "localhost"})
        assert answer.status_code == 421


def test_listed_names_are_added_to_this_machine_s_and_to_addresses(tmp_path: Path) -> None:
    found = hosts(
        tmp_path,
        allowed_hosts="chat.example, *.b.example",
        allowed_origins="https://friend.example:8443",
    )
    for host in ("chat.example:443", "Chat.Example.", "a.b.example", "x.a.b.example",
                 "friend.example", "10.1.2.3:7860", "[fd00::1]", *LOOPBACK):  # fmt: skip
        assert found.allow(host), host
    for name in ("evil.example", "b.example", "evil-b.example", "chat.example.evil.example"):
        assert not found.allow(name), name
    assert not found.allow("")
    assert not found.allow(None)


def test_a_space_answers_under_its_own_names(tmp_path: Path) -> None:
    found = hosts(tmp_path, host="0.0.0.0", space_id="me/chat", space_host="me-chat.hf.space")
    assert found.allow("me-chat.hf.space")
    assert found.allow("10.1.2.3:7860")
    assert not found.allow("evil.example")


@pytest.mark.parametrize(
    "changes", [{"host": "0.0.0.0"}, {"host": "::"}, {"trust_proxy": "1"}, {"allowed_hosts": "*"}]
)
def test_where_names_are_a_proxy_s_matter_none_is_refused(
    changes: dict[str, str], tmp_path: Path
) -> None:
    assert hosts(tmp_path, **changes).allow("chat.example")


@pytest.mark.parametrize(
    ("origin", "scheme", "host", "same"),
    [
        ("https://chat.example", "https", "chat.example", True),
        ("https://chat.example", "https", "chat.example:443", True),
        ("http://chat.example:80", "http", "chat.example", True),
        ("https://chat.example:8443", "https", "chat.example:8443", True),
        ("http://chat.example", "https", "chat.example", False),
        ("https://chat.example", "http", "chat.example", False),
        ("https://chat.example:8443", "https", "chat.example", False),
        ("http://chat.example:443", "http", "chat.example", False),
        ("https://chat.example.evil.example", "https", "chat.example", False),
        ("null", "https", "chat.example", False),
        ("https://", "https", "", False),
        ("", "https", "", False),
        ("https://chat.example", "https", None, False),
    ],
)
def test_an_origin_is_scheme_host_and_port(
    origin: str, scheme: str, host: str | None, same: bool
) -> None:
    assert same_origin(origin, scheme, host) is same
