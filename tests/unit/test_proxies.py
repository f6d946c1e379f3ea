"""Forwarding headers count only as far as trusted proxies have written them."""

import pytest
from starlette.types import Message, Receive, Scope, Send

from cmw_agent.web.security.proxy_headers import ProxyHeaders, TrustedProxies

Headers = list[tuple[str, str]]
PEER = "10.0.0.9"
CLIENT = "198.51.100.7"


async def seen(trusted: str, headers: Headers, peer: str | None = PEER) -> Scope:
    """Return the scope that the app behind gets."""
    found: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        found.append(scope)

    async def receive() -> Message:
        raise AssertionError

    async def send(message: Message) -> None:
        raise AssertionError

    scope = {
        "type": "http",
        "scheme": "http",
        "client": (peer, 1234) if peer else None,
        "headers": [
            (k.encode(), v.encode("latin-1")) for k, v in [("host", "inside:7860"), *headers]
        ],
    }
    await ProxyHeaders(app, TrustedProxies.of(trusted))(scope, receive, send)
    return found[0]


async def client(trusted: str, *forwarded: str, peer: str = PEER) -> str:
    scope = await seen(trusted, [("x-forwarded-for", line) for line in forwarded], peer)
    return str(scope["client"][0])


@pytest.mark.parametrize("forged", ["6.6.6.6", "6.6.6.6, 7.7.7.7", "127.0.0.1", "x", "", ", ,"])
@pytest.mark.parametrize("trusted", ["1", "10.0.0.0/8", "10.0.0.9"])
async def test_the_address_is_what_the_proxy_appended_whatever_the_client_sent_before(
    trusted: str, forged: str
) -> None:
    assert await client(trusted, f"{forged}, {CLIENT}") == CLIENT
    assert await client(trusted, forged, CLIENT) == CLIENT  # in a header line of its own


async def test_as_many_entries_are_passed_as_there_are_proxies() -> None:
    assert await client("2", f"6.6.6.6, {CLIENT}, 203.0.113.1") == CLIENT
    assert await client("3", f"6.6.6.6, {CLIENT}, 203.0.113.1, 10.1.1.1") == CLIENT


async def test_trusted_networks_are_passed_from_the_right_as_far_as_they_go() -> None:
    trusted = "10.0.0.0/8,203.0.113.1,fd00::/8"
    assert await client(trusted, f"6.6.6.6, {CLIENT}, 203.0.113.1, 10.2.3.4, fd00::1") == CLIENT
    assert await client(trusted, f"10.9.9.9, {CLIENT}, 10.1.1.1") == CLIENT
    assert await client(trusted, f"6.6.6.6, {CLIENT}, ::ffff:10.1.1.1") == CLIENT


@pytest.mark.parametrize("trusted", ["", "192.0.2.0/24"])
async def test_nobody_else_is_believed_in_anything(trusted: str) -> None:
    headers = [
        ("x-forwarded-for", "6.6.6.6"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "evil.example"),
    ]
    scope = await seen(trusted, headers)
    assert scope["client"][0] == PEER
    assert scope["scheme"] == "http"
    assert dict(scope["headers"])[b"host"] == b"inside:7860"


async def test_without_the_header_the_client_is_whoever_is_connected() -> None:
    for trusted in ("1", "2", "10.0.0.0/8"):
        assert await client(trusted) == PEER
    assert await client("2", CLIENT) == CLIENT  # by the nearer of two proxies, past the other
    assert (await seen("1", [], None))["client"] is None


@pytest.mark.parametrize("entry", ["unknown", "_hidden", "1.2.3", "10.0.0.1.evil.example", "\xfc"])
async def test_what_is_no_address_is_never_one(entry: str) -> None:
    assert await client("1", entry) == PEER
    assert await client("10.0.0.0/8", f"{entry}, 10.1.1.1") == "10.1.1.1"


@pytest.mark.parametrize(
    ("entry", "address"),
    [
        ("198.51.100.7:5123", CLIENT),
        ("[2001:db8::1]:5123", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("2001:DB8:0::1", "2001:db8::1"),
    ],
)
async def test_an_address_may_be_written_with_its_port(entry: str, address: str) -> None:
    assert await client("1", f"6.6.6.6, {entry}") == address


async def test_scheme_and_host_are_what_the_outermost_trusted_proxy_wrote() -> None:
    headers = [
        ("x-forwarded-for", f"6.6.6.6, {CLIENT}, 10.1.1.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "evil.example, chat.example:8443, inside"),
    ]
    for trusted in ("2", "10.0.0.0/8"):
        scope = await seen(trusted, headers)
        assert scope["scheme"] == "https"
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        assert hosts == [b"chat.example:8443"]


@pytest.mark.parametrize("host", ["", "a b", "a/b", "user@host", "a\r\nx: y", "[::1", "x" * 300])
async def test_a_forwarded_host_that_is_none_changes_nothing(host: str) -> None:
    scope = await seen("1", [("x-forwarded-host", host), ("x-forwarded-proto", "javascript")])
    assert dict(scope["headers"])[b"host"] == b"inside:7860"
    assert scope["scheme"] == "http"
