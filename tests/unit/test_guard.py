"""The guard as an ASGI app, with requests of every kind."""

import re
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from itsdangerous import TimestampSigner
from starlette.types import Message, Receive, Scope, Send

from cmw_agent.identity.principals import Identities, Principal, page_name
from cmw_agent.limits.budgets import Budgets
from cmw_agent.web.security.guard import (
    OTHER_PRINCIPAL,
    PAGE,
    PRINCIPAL,
    Guard,
    GuardPolicy,
)
from cmw_agent.web.security.route_allowlist import API
from tests.harness import Browser, Tab, canary, last_text, settings_for
from tests.isolation.world import app_with_model

KEY, OLD_KEY = "k" * 32, "o" * 32
JOIN, CANCEL, DATA = f"{API}/queue/join", f"{API}/cancel", f"{API}/queue/data"
BEAT = f"{API}/heartbeat/"
BOUND = re.compile(r"[0-9a-f]{64}")
HOST = "chat.example"
EMBEDDED = GuardPolicy(frame_ancestors="'self' https://huggingface.co")
SECURITY = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=()",
}

Headers = Iterable[tuple[str, str]]


@dataclass(slots=True)
class Behind:
    """The app behind the guard: remembers what reached it and answers with `headers`."""

    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    scopes: list[Scope] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        if scope["type"] != "http":
            return
        self.bodies.append((await receive())["body"] if scope["method"] == "POST" else b"")
        await send({"type": "http.response.start", "status": 200, "headers": self.headers})
        await send({"type": "http.response.body", "body": b"ok"})

    def who(self) -> Principal | None:
        """Return who the last request came from, in the guard's word."""
        found = self.scopes[-1][PRINCIPAL]
        assert found is None or isinstance(found, Principal)
        return found

    @property
    def body(self) -> Any:
        """The last request's body."""
        return orjson.loads(self.bodies[-1])


@dataclass(frozen=True, slots=True)
class Reply:
    """What the client gets."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    read: int  # how many pieces of the body the guard has asked for

    def header(self, name: str) -> str | None:
        """Return the only header of this name, or None."""
        found = [value for key, value in self.headers if key == name]
        assert len(found) <= 1, f"{name} twice"
        return found[0] if found else None

    @property
    def cookie(self) -> str | None:
        """The cookie that is set, as it would come back."""
        written = self.header("set-cookie")
        return written.partition(";")[0] if written else None


class Site:
    """A guard with an app behind it."""

    def __init__(
        self, *keys: str, policy: GuardPolicy | None = None, answers: Headers = ()
    ) -> None:
        self.behind = Behind([(k.encode(), v.encode()) for k, v in answers])
        self.identities = Identities(keys or (KEY,))
        budgets = Budgets.of(settings_for(Path()))
        self.guard = Guard(self.behind, self.identities, policy or GuardPolicy(), budgets=budgets)

    async def ask(
        self,
        method: str,
        path: str,
        *headers: tuple[str, str],
        body: bytes | list[bytes] = b"",
        query: str = "",
        scheme: str = "http",
        peer: str | None = "192.0.2.1",
        raw_path: bytes | None = b"",
    ) -> Reply:
        """Send one request; a list of bodies is sent in pieces, without a length."""
        pieces = [body] if isinstance(body, bytes) else list(body)
        sent: list[Message] = []
        read = 0
        lines = [("host", HOST), *headers]
        if method == "POST" and "content-type" not in dict(headers):
            lines.append(("content-type", "application/json"))
        if isinstance(body, bytes) and body and "content-length" not in dict(headers):
            lines.append(("content-length", str(len(body))))
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode() if raw_path == b"" else raw_path,
            "query_string": query.encode(),
            "scheme": scheme,
            "client": (peer, 1234) if peer else None,
            "headers": [(k.encode(), v.encode("latin-1")) for k, v in lines],
        }

        async def receive() -> Message:
            nonlocal read
            read += 1
            if read > len(pieces):
                return {"type": "http.disconnect"}
            more = read < len(pieces)
            return {"type": "http.request", "body": pieces[read - 1], "more_body": more}

        async def send(message: Message) -> None:
            sent.append(message)

        await self.guard(scope, receive, send)
        start = sent[0]
        answered = [(k.decode(), v.decode("latin-1")) for k, v in start["headers"]]
        whole = b"".join(message.get("body", b"") for message in sent[1:])
        return Reply(start["status"], answered, whole, read)

    async def join(
        self, *headers: tuple[str, str], session_hash: object = "abc", **options: Any
    ) -> Reply:
        """Send an event under a session hash."""
        content = {"session_hash": session_hash, "data": [], "fn_index": 0}
        return await self.ask("POST", JOIN, *headers, body=orjson.dumps(content), **options)

    @property
    def reached(self) -> int:
        """How many requests have reached the app."""
        return len(self.behind.scopes)


@pytest.fixture
def site() -> Site:
    return Site()


def signed(key: str, visitor: str, *, age: int = 0, medium: str = "cookie") -> str:
    """Return a visitor's token as it was signed `age` seconds ago."""

    class Earlier(TimestampSigner):
        def get_timestamp(self) -> int:
            return int(time.time()) - age

    signer = Earlier(key, salt=f"cmw.visitor.{medium}", digest_method=sha256, key_derivation="hmac")
    return signer.sign(visitor).decode()


def visitor(number: int = 0) -> str:
    return f"v{number:032x}"


# -- the cookie -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scheme", "policy", "name", "attributes"),
    [
        ("http", GuardPolicy(), "cmw_visitor", ["SameSite=Lax"]),
        ("http", EMBEDDED, "cmw_visitor", ["SameSite=Lax"]),
        ("https", GuardPolicy(), "__Host-cmw_visitor", ["Secure", "SameSite=Lax"]),
        (
            "https",
            EMBEDDED,
            "__Host-cmw_visitor",
            ["Secure", "SameSite=None", "Partitioned"],
        ),
    ],
)
async def test_the_cookie_s_attributes_fit_the_way_the_page_is_reached(
    scheme: str, policy: GuardPolicy, name: str, attributes: list[str]
) -> None:
    written = (await Site(policy=policy).ask("GET", "/", scheme=scheme)).header("set-cookie")
    assert written is not None
    pair, *rest = written.split("; ")
    assert pair.startswith(f"{name}=v")
    assert rest == ["Path=/", f"Max-Age={400 * 86_400}", "HttpOnly", *attributes]


async def test_only_page_and_configuration_set_a_cookie(site: Site) -> None:
    given = {
        path: (await site.ask("GET", path)).cookie is not None
        for path in ("/", "/config", "/visitor", "/healthz", "/assets/a.js", "/nowhere")
    }
    assert given == {**dict.fromkeys(given, False), "/": True, "/config": True}
    assert (await site.join()).cookie is None


async def test_no_two_newcomers_are_the_same(site: Site) -> None:
    given = {(await site.ask("GET", "/")).cookie for _ in range(20)}
    assert len(given) == 20


async def test_a_newcomer_is_nobody_until_the_cookie_comes_back(site: Site) -> None:
    reply = await site.ask("GET", "/")
    assert site.behind.who() is None
    again = await site.ask("GET", "/", ("cookie", str(reply.cookie)))
    assert again.cookie is None
    who = site.behind.who()
    assert who is not None
    assert who.kind == "visitor"
    assert who.id in str(reply.cookie)


async def test_a_cookie_of_http_counts_for_nothing_on_https(site: Site) -> None:
    plain = str((await site.ask("GET", "/")).cookie)
    assert (await site.ask("GET", "/", ("cookie", plain), scheme="https")).cookie is not None
    assert site.behind.who() is None


FORGERIES: dict[str, Callable[[str], str]] = {
    "cut": lambda token: token[:-1],
    "longer": lambda token: token + "A",
    "of another": lambda token: token.replace(visitor(), visitor(1)),
    "in upper case": lambda token: token.upper(),
    "unsigned": lambda _: visitor(),
    "without a time": lambda token: visitor() + ".." + token.rpartition(".")[2],
    "empty": lambda _: "",
    "dots": lambda _: "." * 5_000,
    "not ASCII": lambda token: "\xff" + token,
    "torn": lambda token: token.replace(".", ";"),
}


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_a_forged_cookie_proves_nobody(forgery: str, site: Site) -> None:
    token = site.identities.sign(Principal(visitor(), "visitor"), "cookie")
    reply = await site.ask("GET", "/", ("cookie", f"cmw_visitor={FORGERIES[forgery](token)}"))
    assert site.behind.who() is None
    assert visitor() not in str(reply.cookie)
    assert reply.cookie is not None


@pytest.mark.parametrize("name", ["", "admin", "e" + "0" * 32, "v0", "V" + "0" * 32])
async def test_a_signed_name_that_is_no_visitor_s_proves_nobody(name: str, site: Site) -> None:
    await site.ask("GET", "/", ("cookie", f"cmw_visitor={signed(KEY, name)}"))
    assert site.behind.who() is None


async def test_only_visitors_carry_tokens(site: Site) -> None:
    with pytest.raises(ValueError, match="only visitors"):
        site.identities.sign(site.identities.ephemeral("abc", "192.0.2.1"), "cookie")


# -- keys and ages ------------------------------------------------------------------------


async def test_a_cookie_of_the_old_key_counts_and_is_renewed_with_the_new_one() -> None:
    site = Site(KEY, OLD_KEY)
    reply = await site.ask("GET", "/", ("cookie", f"cmw_visitor={signed(OLD_KEY, visitor())}"))
    assert site.behind.who() == Principal(visitor(), "visitor")
    assert reply.cookie is not None
    alone = Site(KEY)
    again = await alone.ask("GET", "/", ("cookie", reply.cookie))
    assert alone.behind.who() == Principal(visitor(), "visitor")
    assert again.cookie is None


async def test_a_cookie_of_a_removed_key_proves_nobody(site: Site) -> None:
    reply = await site.ask("GET", "/", ("cookie", f"cmw_visitor={signed(OLD_KEY, visitor())}"))
    assert site.behind.who() is None
    assert reply.cookie is not None
    assert visitor() not in reply.cookie


DAY = 86_400


@pytest.mark.parametrize(
    ("age", "known", "renewed"),
    [(0, True, False), (6 * DAY, True, False), (8 * DAY, True, True), (401 * DAY, False, True)],
)
async def test_a_cookie_is_renewed_after_a_week_and_dead_after_400_days(
    age: int, known: bool, renewed: bool, site: Site
) -> None:
    cookie = f"cmw_visitor={signed(KEY, visitor(), age=age)}"
    reply = await site.ask("GET", "/", ("cookie", cookie))
    assert (site.behind.who() is not None) is known
    assert (reply.cookie is not None) is renewed
    assert (visitor() in str(reply.cookie)) is (known and renewed)


async def test_an_event_never_changes_who_asks(site: Site) -> None:
    old = f"cmw_visitor={signed(KEY, visitor(), age=8 * DAY)}"
    reply = await site.join(("cookie", old))
    assert reply.cookie is None
    assert site.behind.who() == Principal(visitor(), "visitor")


# -- several tokens -----------------------------------------------------------------------


async def test_among_cookies_of_one_name_the_first_that_proves_somebody_counts(
    site: Site,
) -> None:
    first, second = signed(KEY, visitor(1)), signed(KEY, visitor(2))
    for cookies in (
        [f"cmw_visitor=planted; cmw_visitor={first}; cmw_visitor={second}"],
        ["cmw_visitor=planted", f"a=b; cmw_visitor={first}", f"cmw_visitor={second}"],
        [f'cmw_visitor="{first}"; x'],
        [
            f"cmw_visitorx={second}; xcmw_visitor={second}; CMW_VISITOR={second}; cmw_visitor={first}"
        ],
        [f"  cmw_visitor = {second} ; cmw_visitor={first}"],
    ):
        await site.ask("GET", "/", *(("cookie", line) for line in cookies))
        assert site.behind.who() == Principal(visitor(1), "visitor"), cookies


async def test_planted_cookies_cost_a_bounded_number_of_checks(site: Site) -> None:
    planted = "cmw_visitor=planted; " * 8 + f"cmw_visitor={signed(KEY, visitor())}"
    await site.ask("GET", "/", ("cookie", planted))
    assert site.behind.who() is None


async def test_the_header_s_token_goes_before_the_cookie(site: Site) -> None:
    reply = await site.ask(
        "GET",
        "/",
        ("cookie", f"cmw_visitor={signed(KEY, visitor(1))}"),
        ("x-cmw-visitor", signed(KEY, visitor(2), medium="header")),
    )
    assert site.behind.who() == Principal(visitor(2), "visitor")
    assert reply.cookie is None


async def test_a_header_that_proves_nobody_leaves_it_to_the_cookie(site: Site) -> None:
    await site.ask(
        "GET", "/", ("cookie", f"cmw_visitor={signed(KEY, visitor(1))}"), ("x-cmw-visitor", "?")
    )
    assert site.behind.who() == Principal(visitor(1), "visitor")


async def test_the_token_of_one_medium_counts_for_nothing_in_the_other(site: Site) -> None:
    await site.ask("GET", "/", ("x-cmw-visitor", signed(KEY, visitor(), medium="cookie")))
    assert site.behind.who() is None
    await site.ask("GET", "/", ("cookie", f"cmw_visitor={signed(KEY, visitor(), medium='header')}"))
    assert site.behind.who() is None


# -- the session hash -----------------------------------------------------------------------


async def bound(site: Site, *headers: tuple[str, str], **options: Any) -> str:
    """Return the session hash that the app gets for the client's."""
    assert (await site.join(*headers, **options)).status == 200
    return str(site.behind.body["session_hash"])


async def test_the_same_hash_of_two_visitors_becomes_two_keys(site: Site) -> None:
    one, two = (("cookie", f"cmw_visitor={signed(KEY, visitor(n))}") for n in (1, 2))
    keys = [await bound(site, cookie) for cookie in (one, two, one)]
    assert keys[0] == keys[2] != keys[1]
    assert all(BOUND.fullmatch(key) for key in keys)


async def test_one_visitor_has_one_key_in_body_query_and_path(site: Site) -> None:
    cookie = ("cookie", f"cmw_visitor={signed(KEY, visitor())}")
    key = await bound(site, cookie)
    await site.ask("POST", CANCEL, cookie, body=b'{"session_hash":"abc","event_id":"x"}')
    assert site.behind.body["session_hash"] == key
    await site.ask("GET", DATA, cookie, query="a=1&session_hash=abc&b=%C3%A9")
    assert site.behind.scopes[-1]["query_string"] == f"a=1&b=%C3%A9&session_hash={key}".encode()
    await site.ask("GET", BEAT + "abc", cookie)
    assert site.behind.scopes[-1]["path"] == BEAT + key
    assert site.behind.scopes[-1]["raw_path"] == (BEAT + key).encode()


async def test_two_deployments_bind_apart() -> None:
    cookie = ("cookie", f"cmw_visitor={signed(KEY, visitor())}")
    assert await bound(Site(KEY), cookie) == await bound(Site(KEY), cookie)
    other = ("cookie", f"cmw_visitor={signed(OLD_KEY, visitor())}")
    assert await bound(Site(KEY), cookie) != await bound(Site(OLD_KEY), other)


async def test_principal_and_hash_cannot_run_into_each_other(site: Site) -> None:
    # Were they joined without a mark between them, these two would give one key.
    keys = {
        site.identities.session_key(Principal("v1", "visitor"), "2abc").value,
        site.identities.session_key(Principal("v12", "visitor"), "abc").value,
        site.identities.ephemeral("2abc", "192.0.2.1").id,
        site.identities.ephemeral("abc", "192.0.2.12").id,
    }
    assert len(keys) == 4


MALFORMED: tuple[object, ...] = (
    None, "", "a" * 129, "a b", "a/b", "../abc", "abc\0", "abc\n", "é", "a%20b", 0, 7, 1.5,
    True, [], ["abc"], {}, {"a": "abc"},
)  # fmt: skip


@pytest.mark.parametrize("session_hash", MALFORMED, ids=repr)
async def test_a_body_without_a_proper_hash_is_refused(session_hash: object, site: Site) -> None:
    reply = await site.join(session_hash=session_hash)
    assert reply.status == 400
    assert "reload the page" in orjson.loads(reply.body)["detail"]
    assert not site.reached


@pytest.mark.parametrize(
    "query",
    [
        "", "session_hash", "session_hash=", "session_hash=a%20b", "session_hash=%00",
        "session_hash=" + "a" * 129, "session_hash=abc&session_hash=abc",
        "session_hash=abc&session_hash=other", "session%5Fhash=abc&session_hash=other",
        "session_hash[]=abc", "Session_hash=abc", " session_hash=abc", "session_hash=%ff",
        "session_hash=abc%0d%0ax", "&".join(["session_hash=abc", *["a=b"] * 60]),
    ],
)  # fmt: skip
async def test_a_query_without_one_proper_hash_is_refused(query: str, site: Site) -> None:
    assert (await site.ask("GET", DATA, query=query)).status == 400
    assert not site.reached


async def test_a_query_that_is_no_ascii_is_refused(site: Site) -> None:
    assert (await site.ask("GET", DATA, query="session_hash=abc&c=é")).status == 400
    assert not site.reached


@pytest.mark.parametrize("tail", ["a b", "a" * 129, "%2e", "é", "a\0", "a;b", "a=b", ".", ".."])
async def test_a_path_without_a_proper_hash_is_refused(tail: str, site: Site) -> None:
    assert (await site.ask("GET", BEAT + tail)).status == 400
    assert not site.reached


async def test_the_last_of_two_hashes_in_a_body_is_the_one_that_is_bound(site: Site) -> None:
    await site.ask("POST", JOIN, body=b'{"session_hash":"one","session_hash":"two","data":[]}')
    assert site.behind.bodies[-1].count(b"session_hash") == 1
    alone = await bound(site, session_hash="two")
    await site.ask("POST", JOIN, body=b'{"session_hash":"one","session_hash":"two","data":[]}')
    assert site.behind.body["session_hash"] == alone


async def test_the_app_is_told_the_new_length_and_one_only(site: Site) -> None:
    body = [b'{"session_hash":', b'"abc"}']
    await site.ask("POST", JOIN, ("transfer-encoding", "chunked"), body=body)
    headers = dict(site.behind.scopes[-1]["headers"])
    assert headers[b"content-length"] == str(len(site.behind.bodies[-1])).encode()
    assert b"transfer-encoding" not in headers
    assert headers[b"content-type"] == b"application/json"


# -- who proves nothing ---------------------------------------------------------------------


async def test_callers_without_proof_stay_apart_by_hash_and_by_address(site: Site) -> None:
    seen = []
    for peer, session_hash in (
        ("192.0.2.1", "abc"),
        ("192.0.2.2", "abc"),
        ("192.0.2.1", "abd"),
        ("192.0.2.1", "abc"),
        (None, "abc"),
    ):
        key = await bound(site, session_hash=session_hash, peer=peer)
        who = site.behind.who()
        assert who is not None
        assert who.kind == "ephemeral"
        assert not who.is_stored
        seen.append((who.id, key))
    assert seen[0] == seen[3]  # so that it can follow its own stream
    assert len(set(seen)) == 4


async def test_callers_without_proof_write_nothing_that_stays(tmp_path: Path) -> None:
    # Both say the same hash; one comes from another address of this machine.
    async with (
        app_with_model(tmp_path) as here,
        Browser(here.url, cookies=False) as browser,
        from_address("127.0.0.2") as elsewhere,
    ):
        one = await browser.open(session_hash="guessed")
        two = Tab(here.url, elsewhere, session_hash="guessed")
        await two.open()
        said = [canary(), canary()]
        for tab, text in zip((one, two), said, strict=True):
            assert last_text((await tab.send(text)).value) == f"You said: {text}"
        assert said[1].encode() not in one.received
        assert said[0].encode() not in two.received
        again = await one.run("open_page", [])
        assert said[1] not in str(again.values)
        await two.close()
        assert not any(here.rows().values())
    assert not holding(tmp_path, said)


def holding(folder: Path, texts: list[str]) -> list[str]:
    """Return the names of the files that hold one of the texts."""
    return [
        file.name
        for file in folder.iterdir()
        if any(text.encode() in file.read_bytes() for text in texts)
    ]


def from_address(address: str) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        cookie_jar=aiohttp.DummyCookieJar(),
        connector=aiohttp.TCPConnector(limit=0, local_addr=(address, 0)),
    )


# -- other sites ----------------------------------------------------------------------------

STATEFUL = [("POST", JOIN), ("POST", CANCEL), ("GET", DATA), ("GET", BEAT + "abc")]
FOREIGN = [
    [("origin", "https://evil.example")],
    [("origin", "null")],
    [("origin", "")],
    [("origin", HOST)],
    [("origin", f"http://{HOST}:8443")],
    [("origin", f"http://{HOST}.evil.example")],
    [("origin", f"http://{HOST}@evil.example")],
    [("origin", f"http://evil.example/{HOST}")],
    [("origin", f"http://evil.example#{HOST}")],
    [("origin", f"http://sub.{HOST}")],
    [("origin", "http://[")],
    [("origin", "http://[::1")],
    [("origin", "http://\xff")],
    [("sec-fetch-site", "cross-site")],
    [("sec-fetch-site", "same-site")],
    [("sec-fetch-site", "CROSS-SITE")],
    [("sec-fetch-site", "")],
    [("origin", "https://evil.example"), ("sec-fetch-site", "same-origin")],
]


async def visit(site: Site, method: str, path: str, *headers: tuple[str, str]) -> Reply:
    """Ask for a stateful route with a proper session hash."""
    body = b'{"session_hash":"abc","data":[],"fn_index":0}' if method == "POST" else b""
    return await site.ask(method, path, *headers, body=body, query="session_hash=abc")


@pytest.mark.parametrize(("method", "path"), STATEFUL)
@pytest.mark.parametrize("headers", FOREIGN, ids=repr)
async def test_another_site_s_page_can_do_nothing(
    method: str, path: str, headers: list[tuple[str, str]], site: Site
) -> None:
    cookie = ("cookie", f"cmw_visitor={signed(KEY, visitor())}")
    reply = await visit(site, method, path, *headers, cookie)
    assert reply.status == 403
    assert not site.reached
    assert not [name for name, _ in reply.headers if name.startswith("access-control")]


@pytest.mark.parametrize(("method", "path"), STATEFUL)
@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("origin", f"http://{HOST}")],
        [("sec-fetch-site", "same-origin")],
        [("sec-fetch-site", "none")],
        [("origin", "https://friend.example:8443"), ("sec-fetch-site", "cross-site")],
    ],
    ids=repr,
)
async def test_the_page_itself_and_allowed_sites_are_let_through(
    method: str, path: str, headers: list[tuple[str, str]]
) -> None:
    site = Site(policy=GuardPolicy(allowed_origins=frozenset({"https://friend.example:8443"})))
    assert (await visit(site, method, path, *headers)).status == 200
    assert site.reached == 1


async def test_no_answer_lets_another_site_read_it() -> None:
    site = Site(
        answers=[
            ("Access-Control-Allow-Origin", "https://evil.example"),
            ("access-control-allow-credentials", "true"),
            ("ACCESS-CONTROL-EXPOSE-HEADERS", "*"),
            ("x-kept", "yes"),
        ]
    )
    reply = await site.ask("GET", "/", ("origin", "https://evil.example"))
    assert reply.status == 200
    assert reply.header("x-kept") == "yes"
    assert not [name for name, _ in reply.headers if name.lower().startswith("access-control")]


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("slash", ["%2f", "%2F"])
async def test_an_encoded_slash_parts_nothing(slash: str, method: str, site: Site) -> None:
    for path in ("/embed/shop/messages", "/embed/shop/message", "/static/a/b", "/healthz"):
        head, _, tail = path.rpartition("/")
        spelled = f"{head}{slash}{tail}".encode()
        assert (await site.ask(method, path, raw_path=spelled)).status == 404
    assert site.reached == 0
    assert (await site.ask("GET", "/static/a b%", raw_path=b"/static/a%20b%25")).status == 200
    assert (await site.ask("GET", "/static/a", raw_path=None)).status == 200


# -- bodies ---------------------------------------------------------------------------------

SMALL = GuardPolicy(max_body=1_000)


def of_size(size: int) -> bytes:
    empty = b'{"session_hash":"abc","data":""}'
    return empty[:-2] + b"x" * (size - len(empty)) + empty[-2:]


async def test_a_body_of_just_the_allowed_size_is_taken() -> None:
    for body in (of_size(1_000), [of_size(1_000)[:500], of_size(1_000)[500:]]):
        site = Site(policy=SMALL)
        assert (await site.ask("POST", JOIN, body=body)).status == 200


async def test_a_body_declared_too_large_is_refused_unread() -> None:
    site = Site(policy=SMALL)
    reply = await site.ask("POST", JOIN, body=of_size(1_001))
    assert (reply.status, reply.read, site.reached) == (413, 0, 0)


async def test_a_body_that_grows_too_large_is_refused_as_soon_as_it_is() -> None:
    site = Site(policy=SMALL)
    reply = await site.ask("POST", JOIN, body=[b"x" * 600] * 1_000)
    assert (reply.status, reply.read, site.reached) == (413, 2, 0)


@pytest.mark.parametrize("length", ["-1", "1e3", "abc", "+1", "0x10", "1,1", "\xb2", " "])
async def test_a_length_that_is_no_number_is_refused_unread(length: str) -> None:
    site = Site(policy=SMALL)
    body = b'{"session_hash":"abc"}'
    reply = await site.ask("POST", JOIN, ("content-length", length), body=body)
    assert (reply.status, reply.read, site.reached) == (413, 0, 0)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"x", b"{", b"null", b"[]", b"0", b'"abc"', b"true", b'["session_hash"]',
        b"\xff\xfe{}", b'{"session_hash":"\xff"}', b"\xef\xbb\xbf{}", b"session_hash=abc",
        b'{"session_hash":"abc","data":NaN}', b'{"session_hash":"abc"}{}', b"{'session_hash':'abc'}",
        b'{"session_hash":"\\ud800"}', b"[" * 100_000,
        b'{"session_hash":"abc","data":' + b"[" * 1_000 + b"]" * 1_000 + b"}",
        b'{"session_hash":"abc","data":' + b'{"a":' * 1_000 + b"1" + b"}" * 1_000 + b"}",
        b'{"session_hash":"abc","data":' + b"[" * 400 + b"]" * 400 + b"}",
    ],
    ids=lambda body: f"{len(body)} of {body[:40]!r}",
)  # fmt: skip
async def test_a_body_that_is_no_json_object_is_refused(body: bytes, site: Site) -> None:
    for path in (JOIN, CANCEL):
        reply = await site.ask("POST", path, body=body)
        assert reply.status == 400
        assert orjson.loads(reply.body)["detail"]
    assert not site.reached


async def test_a_client_that_leaves_in_the_middle_reaches_nothing(site: Site) -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": JOIN, "query_string": b""}
    scope |= {"scheme": "http", "headers": [(b"content-type", b"application/json")]}
    await site.guard(scope, receive, send)
    assert sent[0]["status"] == 400
    assert not site.reached


# -- every answer -----------------------------------------------------------------------------


async def every_kind_of_answer(site: Site) -> AsyncIterator[Reply]:
    yield await site.ask("GET", "/")
    yield await site.ask("HEAD", "/")
    yield await site.ask("GET", "/assets/a.js")
    yield await site.join()
    yield await site.ask("GET", DATA, query="session_hash=abc")
    yield await site.ask("GET", BEAT + "abc")
    yield await site.ask("GET", "/nowhere")
    yield await site.ask("DELETE", "/")
    yield await site.ask("OPTIONS", JOIN)
    yield await site.join(session_hash=None)
    yield await site.join(("origin", "https://evil.example"))
    yield await site.ask("POST", JOIN, ("content-length", "9" * 12))
    yield await site.ask("POST", JOIN, body=b"x")


async def test_every_answer_carries_the_security_headers() -> None:
    site = Site(answers=[("cache-control", "public, max-age=99"), ("content-type", "text/html")])
    statuses = set()
    async for reply in every_kind_of_answer(site):
        statuses.add(reply.status)
        for name, value in SECURITY.items():
            assert reply.header(name) == value
        policy = reply.header("content-security-policy")
        assert policy is not None
        for part in ("default-src 'self'", "object-src 'none'", "frame-ancestors 'self'"):
            assert part in policy.split("; ")
        assert reply.header("cache-control") is not None
    assert statuses == {200, 400, 403, 404, 413}


async def test_https_is_asked_for_from_then_on_where_it_was_used() -> None:
    site = Site()
    for path in ("/", "/no-such", "/widget.js", "/history"):
        for scheme, wanted in (("https", "max-age=31536000"), ("http", None)):
            reply = await site.ask("GET", path, scheme=scheme)
            assert reply.header("strict-transport-security") == wanted, path


@pytest.mark.parametrize(
    ("scheme", "origin"), [("https", f"http://{HOST}"), ("http", f"https://{HOST}")]
)
async def test_the_same_host_over_another_scheme_is_another_origin(
    scheme: str, origin: str, site: Site
) -> None:
    reply = await site.ask("POST", "/history/forget", ("origin", origin), body=b"{}", scheme=scheme)
    assert reply.status == 403
    assert b"CMW_TRUST_PROXY" in reply.body
    assert not site.reached


async def test_no_picture_form_or_frame_of_the_page_reaches_an_address(site: Site) -> None:
    policy = (await site.ask("GET", "/")).header("content-security-policy") or ""
    parts = dict(part.split(" ", 1) for part in policy.split("; "))
    assert parts["img-src"] == "data: blob:"
    assert parts["media-src"] == "blob:"
    assert parts["form-action"] == parts["frame-src"] == parts["object-src"] == "'none'"


async def test_only_files_that_are_everybody_s_may_be_kept_by_a_cache() -> None:
    site = Site(answers=[("cache-control", "public, max-age=99")])
    async for reply in every_kind_of_answer(site):
        kept = reply.header("cache-control") != "no-store"
        assert not kept or (reply.status == 200 and reply.cookie is None)
    for path in (JOIN, CANCEL):
        assert (await visit(site, "POST", path)).header("cache-control") == "no-store"
    for path in (DATA, BEAT + "abc", "/", "/config", "/visitor"):
        assert (await visit(site, "GET", path)).header("cache-control") == "no-store"


async def test_the_frame_s_policy_is_the_deployment_s() -> None:
    reply = await Site(policy=EMBEDDED).ask("GET", "/nowhere")
    policy = str(reply.header("content-security-policy"))
    assert policy.endswith("; frame-ancestors 'self' https://huggingface.co")


async def test_a_web_socket_is_closed_at_once(site: Site) -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await site.guard({"type": "websocket", "path": "/", "headers": []}, receive, send)
    assert sent == [{"type": "websocket.close", "code": 1008}]
    assert not site.reached


async def test_another_address_of_this_machine_is_another_caller(tmp_path: Path) -> None:
    # Without this invariant, the one on callers without proof would not say what it seems to.
    async with (
        app_with_model(tmp_path) as here,
        from_address("127.0.0.2") as elsewhere,
        Browser(here.url, cookies=False) as browser,
    ):
        one, two = Tab(here.url, elsewhere, session_hash="x"), browser.tab(session_hash="x")
        await two.open()
        await one.open()
        assert len(here.owners()) == 2
        await one.close()


# -- whose page sends a request ----------------------------------------------------------


async def test_a_request_of_a_page_that_somebody_else_opened_reaches_nothing(site: Site) -> None:
    hers, his = (Principal(visitor(number), "visitor") for number in (1, 2))
    cookie = ("cookie", f"cmw_visitor={site.identities.sign(hers, 'cookie')}")
    pages = {name: page_name(name) or "" for name in (hers, his)}
    assert (await site.join(cookie, (PAGE, pages[hers]))).status == 200
    reached = site.reached
    for headers in ([cookie, (PAGE, pages[his])], [(PAGE, pages[hers])], [cookie, (PAGE, "")]):
        for method, path in (("GET", "/history"), ("POST", "/history/forget"), ("GET", "/usage")):
            assert (await site.ask(method, path, *headers)).status == 401
        refused = await site.join(*headers)
        assert refused.status == 401
        assert OTHER_PRINCIPAL.encode() in refused.body
    assert site.reached == reached


def test_the_name_of_a_pages_user_is_no_id_and_nobody_elses() -> None:
    principals = [Principal(visitor(number), "visitor") for number in range(3)]
    names = {page_name(principal) for principal in principals}
    assert len(names) == 3
    assert not names & {principal.id for principal in principals}
    assert page_name(None) is page_name(Principal("e" + "0" * 32, "ephemeral")) is None
