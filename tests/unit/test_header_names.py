"""Headers and cookies whose names only resemble the app's are ignored."""

import sys

import pytest
from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.requests import Request

from cmw_agent.channels.common.api_keys import Keys, UnauthorizedError
from cmw_agent.config.validators import ApiKey
from cmw_agent.identity.principals import Identities, Principal
from cmw_agent.observability.metrics import Metrics
from cmw_agent.observability.metrics_route import MetricsRoute
from cmw_agent.web.login.routes import COOKIE as LOGIN
from cmw_agent.web.security.visitor_cookie import COOKIE as VISITOR
from cmw_agent.web.security.visitor_cookie import cookies
from tests.unit.test_guard import Site

NAMES = (VISITOR, f"__Host-{VISITOR}", f"__Host-{LOGIN}")
# Every character that Python strips, as a byte of its own and in UTF-8, and the control characters.
SPACES = [chr(code) for code in range(sys.maxunicode + 1) if chr(code).isspace()]
STRANGE = sorted(
    {
        *(space for space in SPACES if ord(space) < 256),
        *(space.encode().decode("latin-1") for space in SPACES),
        *(chr(code) for code in [*range(32), *range(127, 160)]),
    }
    - {" ", "\t"}
)


def request(*headers: tuple[str, str]) -> Request:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    return Request({"type": "http", "headers": raw, "client": ("192.0.2.1", 1)})


def found(name: str, line: str) -> list[str]:
    return cookies(Headers(raw=[(b"cookie", line.encode("latin-1"))]), name)


@pytest.mark.parametrize("name", NAMES)
def test_a_cookie_whose_name_is_not_exactly_ours_is_another_s(name: str) -> None:
    assert "\xa0" in STRANGE
    for strange in STRANGE:
        for other in (strange + name, name + strange, f"{name[:3]}{strange}{name[3:]}"):
            assert found(name, f"{other}=x") == [], ascii(other)
            assert found(name, f"a=b; {other}=x; {name}=y") == ["y"], ascii(other)
    for other in (name.upper(), name.title(), name[1:], f"={name}", name.replace("_", "-")):
        assert found(name, f"{other}=x") == [], other
    # The white space of HTTP stands around a pair.
    assert found(name, f"a=b;{name}=x;\t {name}=y \t; c=d") == ["x", "y"]


async def test_a_sibling_host_s_cookie_names_no_visitor() -> None:
    site = Site()
    for scheme, name in (("http", VISITOR), ("https", f"__Host-{VISITOR}")):
        planted = site.identities.sign(Principal("v" + "0" * 32, "visitor"), "cookie")
        own = Principal("v" + "1" * 32, "visitor")
        for strange in STRANGE:
            line = f"{strange}{name}={planted}; {name}={site.identities.sign(own, 'cookie')}"
            await site.ask("GET", "/", ("cookie", line), scheme=scheme)
            assert site.behind.who() == own, ascii(strange)
            await site.ask("GET", "/", ("cookie", f"{strange}{name}={planted}"), scheme=scheme)
            assert site.behind.who() is None, ascii(strange)


def test_a_bearer_token_is_taken_as_it_was_sent() -> None:
    key = ApiKey("crm", SecretStr("k" * 32), frozenset())
    keys = Keys([key])
    route = MetricsRoute(Metrics(5), SecretStr("k" * 32), lambda: pytest.fail("not asked for"))
    for sent in (f"Bearer {'k' * 32}", f"bearer  {'k' * 32}\t"):
        asked = request(("authorization", sent))
        assert keys.of(asked, "agents") is key
        assert route._has_token(asked)
    for strange in STRANGE:
        for sent in (f"Bearer {strange}{'k' * 32}", f"Bearer {'k' * 32}{strange}"):
            asked = request(("authorization", sent))
            with pytest.raises(UnauthorizedError):
                keys.of(asked, "agents")
            assert not route._has_token(asked), ascii(sent)
        asked = request(("authorization", f"Bearer{strange}{'k' * 32}"))
        with pytest.raises(UnauthorizedError):
            keys.of(asked, "agents")
    twice = request(*[("authorization", f"Bearer {'k' * 32}")] * 2)
    with pytest.raises(UnauthorizedError):
        keys.of(twice, "agents")
    assert not route._has_token(twice)


def test_a_token_with_strange_characters_around_it_proves_nobody() -> None:
    identities = Identities(("s" * 32,))
    visitor = Principal("v" + "0" * 32, "visitor")
    for medium in ("cookie", "header"):
        token = identities.sign(visitor, medium)
        assert identities.verify(token, medium) == visitor
        for strange in STRANGE:
            assert identities.verify(strange + token, medium) is None, ascii(strange)
