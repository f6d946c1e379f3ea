"""Isolation 48: a website's visitors reach their own messages, from that site's pages alone."""

import asyncio
import gzip
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp
import orjson
import pytest
import pytest_asyncio
from itsdangerous import TimestampSigner
from yarl import URL

from cmw_agent.channels.embed.page import WIDGET
from cmw_agent.identity.principals import Identities
from cmw_agent.identity.widget_tokens import WidgetTokens, WidgetVisitor
from cmw_agent.tools.approvals import Decision
from tests.harness import WAIT, Browser, canary
from tests.isolation.storm import CANARY, canaries
from tests.isolation.wire import ask
from tests.isolation.world import AppWithModel, app_with_model, unstored
from tests.service import wait_until

shared = pytest.mark.asyncio(loop_scope="module")

SHOP, BLOG, EVIL = "https://shop.example", "https://blog.example:8443", "https://evil.example"
AGENTS = f"""
[[agents]]
id = "shop"
name = 'Shop "<b>" & more'
allowed_origins = ["{SHOP}", "{BLOG}"]
[[agents]]
id = "other"
allowed_origins = ["{SHOP}"]
"""
FOREIGN = (
    EVIL,
    "null",
    "http://shop.example",
    "https://shop.example:444",
    "https://shop.example.evil.example",
    "https://evil.example#https://shop.example",
    "https://SHOP.example",
    "https://shop.example/",
    "*",
    "",
    f"{SHOP}, {EVIL}",
    f"{SHOP} {EVIL}",
)


@dataclass(slots=True)
class Answer:
    """What came: status, headers, bytes."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def told(self) -> dict[str, Any]:
        """The document without what differs each time."""
        return {name: value for name, value in self.json.items() if name != "error_id"}

    def events(self) -> list[tuple[str, Any]]:
        found = re.findall(rb"event: (.*)\ndata: (.*)\n\n", self.body)
        return [(name.decode(), orjson.loads(data)) for name, data in found]

    @property
    def answer(self) -> str:
        name, data = self.events()[-1]
        assert name == "done", self.body
        return str(data["response"])


@dataclass(slots=True)
class Widget:
    """A widget of one visitor at one site, as the script speaks."""

    url: str
    http: aiohttp.ClientSession
    origin: str | None = SHOP
    agent: str = "shop"
    token: str = ""
    session_id: str = ""
    extra: dict[str, str] = field(default_factory=dict)
    received: bytearray = field(default_factory=bytearray)

    async def send(self, method: str, path: str, body: Any = None) -> Answer:
        headers = dict(self.extra)
        if self.origin is not None:
            headers["origin"] = self.origin
        if self.token:
            headers["authorization"] = f"Bearer {self.token}"
        address = f"{self.url}/embed/{self.agent}{path}"
        async with self.http.request(method, address, json=body, headers=headers) as answer:
            content = await answer.read()
            self.received += content
            assert "set-cookie" not in answer.headers
            assert "access-control-allow-credentials" not in answer.headers
            return Answer(answer.status, answer.headers, content)

    async def visit(self, **more: Any) -> Self:
        known = {"token": self.token} if self.token else {}
        found = await self.send("POST", "/visit", {**known, **more})
        assert found.status == 200, found.body
        self.token, self.session_id = found.json["token"], found.json["session_id"]
        return self

    async def say(self, text: str, key: str = "k") -> Answer:
        return await self.send("POST", "/message", {"message": text, "key": key})

    async def history(self) -> list[str]:
        found = await self.send("GET", "/messages")
        assert found.status == 200, found.body
        return [message["content"] for message in found.json["messages"]]

    def like(self, **changes: Any) -> "Widget":
        values = {"origin": self.origin, "agent": self.agent, "token": self.token}
        return Widget(self.url, self.http, **{**values, **changes})


REQUESTS: tuple[tuple[str, str, Any], ...] = (
    ("GET", "/messages", None),
    ("DELETE", "/messages", None),
    ("POST", "/message", {"message": "hello", "key": "foreign"}),
    ("POST", "/message", {"again": True, "key": "foreign"}),
    ("POST", "/message", {"follow": True}),
    ("POST", "/approvals", {"call": "call-1", "answer": "approved"}),
)
VISIT: tuple[str, str, Any] = ("POST", "/visit", {})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[AppWithModel]:
    folder = tmp_path_factory.mktemp("embed")
    (folder / "agents.toml").write_text(AGENTS)
    async with app_with_model(folder) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield session


def identities(here: AppWithModel) -> Identities:
    found = here.app.application.guard._identities
    assert isinstance(found, Identities)
    return found


def owner_of(here: AppWithModel, widget: Widget) -> str:
    known = WidgetTokens(identities(here)).verify(widget.token)
    assert known is not None
    return known.principal.id


async def visitor(
    here: AppWithModel, http: aiohttp.ClientSession, **options: Any
) -> tuple[Widget, str]:
    """Return a visitor who has said a secret, and the secret."""
    widget, secret = await Widget(here.url, http, **options).visit(), canary()
    assert (await widget.say(secret)).answer == f"You said: {secret}"
    return widget, secret


async def refused(here: AppWithModel, widget: Widget, status: int) -> list[dict[str, Any]]:
    """Send everything; all must be refused alike, with nothing read and nothing changed."""
    before, asked = here.rows(), here.endpoint.request_count
    told = []
    for method, path, body in REQUESTS:
        found = await widget.send(method, path, body)
        assert found.status == status, (method, path, found.body)
        told.append(found.told)
    assert not canaries(widget.received.decode())
    assert here.rows() == before
    assert here.endpoint.request_count == asked
    return told


# -- the site -----------------------------------------------------------------------------------


@shared
@pytest.mark.parametrize("origin", FOREIGN)
async def test_a_page_of_a_foreign_origin_is_refused_with_a_stolen_token_too(
    origin: str, here: AppWithModel, http: aiohttp.ClientSession
) -> None:
    victim, _ = await visitor(here, http)
    thief = victim.like(origin=origin)
    await refused(here, thief, 403)
    for method, path, body in (*REQUESTS, VISIT, ("OPTIONS", "/message", None)):
        found = await thief.send(method, path, body)
        assert found.status == 403
        assert "access-control-allow-origin" not in found.headers
        assert found.headers["vary"] == "Origin"


@shared
async def test_a_caller_that_names_no_origin_is_refused(
    here: AppWithModel, http: aiohttp.ClientSession
) -> None:
    victim, _ = await visitor(here, http)
    await refused(here, victim.like(origin=None), 403)
    assert (await victim.like(origin=None).send(*VISIT)).status == 403


@shared
async def test_a_request_of_two_origins_is_refused(here: AppWithModel) -> None:
    raw = f"{SHOP}\r\norigin: {EVIL}"
    body = b"{}"
    headers = {"origin": raw, "content-type": "application/json"}
    assert (await ask(here.url, "POST", "/embed/shop/visit", headers, body)).status == 403


@shared
async def test_an_agent_that_is_not_there_and_one_for_no_site_are_told_alike(
    here: AppWithModel, http: aiohttp.ClientSession
) -> None:
    for request in (*REQUESTS, VISIT):
        told = [
            (found.status, found.told)
            for agent in ("assistant", "no-such-agent", "other")
            for found in [await Widget(here.url, http, BLOG, agent).send(*request)]
        ]
        assert told[0] == told[1] == told[2]
        assert told[0][0] == 403


@shared
async def test_a_preflight_is_answered_for_the_agent_s_own_sites(
    here: AppWithModel, http: aiohttp.ClientSession
) -> None:
    for path in ("/visit", "/message", "/messages", "/approvals"):
        found = await Widget(here.url, http, BLOG).send("OPTIONS", path)
        assert found.status == 204
        assert found.headers["access-control-allow-origin"] == BLOG
        assert found.headers["access-control-allow-headers"] == "authorization, content-type"
        assert (await Widget(here.url, http, BLOG, "other").send("OPTIONS", path)).status == 403


@shared
async def test_what_a_site_may_read_it_may_read_also_when_it_is_refused(
    here: AppWithModel, http: aiohttp.ClientSession
) -> None:
    widget, _ = await visitor(here, http)
    too_large = {"message": "x" * 300_000, "key": "k"}
    for body, status in (({"message": ""}, 422), ({"nothing": 1}, 422), (too_large, 413)):
        found = await widget.send("POST", "/message", body)
        assert found.status == status
        assert found.headers["access-control-allow-origin"] == SHOP
        assert found.json["detail"]


@shared
async def test_a_form_of_a_foreign_page_changes_nothing(
    here: AppWithModel, http: aiohttp.ClientSession
) -> None:
    headers = {"origin": SHOP, "content-type": "text/plain"}  # needs no preflight
    async with http.post(f"{here.url}/embed/shop/visit", data="{}", headers=headers) as answer:
        assert answer.status == 415
        assert answer.headers["access-control-allow-origin"] == SHOP


# -- the visitor --------------------------------------------------------------------------------


class Old(TimestampSigner):
    """Signs as if it were 1970."""

    def get_timestamp(self) -> int:
        return 0


def forgeries(here: AppWithModel, token: str) -> dict[str, str]:
    signer = identities(here).signer("widget")
    old = Old(
        signer.secret_keys, salt=signer.salt, digest_method=signer.digest_method,
        key_derivation="hmac",
    )  # fmt: skip
    foreign = WidgetTokens(Identities(("another key, of another app",)))
    known = WidgetTokens(identities(here)).verify(token)
    assert known is not None
    text = f"{known.principal.id}|{known.agent_id}|{known.origin}"
    return {
        "none": "",
        "garbage": "garbage",
        "cut": token[:-1],
        "longer": token + "A",
        "unsigned": text,
        "of another app": foreign.sign(known),
        "old": old.sign(text).decode(),
        "for another purpose": identities(here).signer("embed.frame").sign(text).decode(),
        "of the page": identities(here).sign(identities(here).new_visitor(), "header"),
        "in another case": token.upper(),
    }


@shared
async def test_a_forged_or_old_token_proves_nobody_and_all_are_told_alike(
    here: AppWithModel, http: aiohttp.ClientSession
) -> None:
    victim, _ = await visitor(here, http)
    told = []
    for forged in forgeries(here, victim.token).values():
        thief = victim.like(token=forged)
        told.append(await refused(here, thief, 401))
        await thief.visit()
        assert owner_of(here, thief) != owner_of(here, victim)
        assert await thief.history() == []
    assert all(each == told[0] for each in told)


@shared
async def test_a_token_is_worth_nothing_at_another_site_or_agent(
    here: AppWithModel, http: aiohttp.ClientSession
) -> None:
    victim, secret = await visitor(here, http)
    told = []
    for place in ({"origin": BLOG}, {"agent": "other"}):
        elsewhere = victim.like(**place)
        told.append(await refused(here, elsewhere, 401))
        await elsewhere.visit()
        assert owner_of(here, elsewhere) != owner_of(here, victim)
    assert told[0] == told[1]
    assert await victim.history() == [secret, f"You said: {secret}"]


@shared
async def test_a_token_ends_with_its_site_s_permission(
    here: AppWithModel, http: aiohttp.ClientSession
) -> None:
    tokens = WidgetTokens(identities(here))
    once = tokens.new("shop", EVIL)
    await refused(here, Widget(here.url, http, EVIL, token=tokens.sign(once)), 403)


@shared
async def test_a_visit_proves_the_same_visitor_again_and_stores_nothing(
    here: AppWithModel, http: aiohttp.ClientSession
) -> None:
    widget, secret = await visitor(here, http)
    before, owner, session_id = here.rows(), owner_of(here, widget), widget.session_id
    await widget.visit()
    await Widget(here.url, http).visit()
    assert (owner_of(here, widget), widget.session_id) == (owner, session_id)
    assert here.rows() == before
    assert await widget.history() == [secret, f"You said: {secret}"]


@shared
async def test_two_proofs_at_once_are_none(here: AppWithModel, http: aiohttp.ClientSession) -> None:
    widget, _ = await visitor(here, http)
    other, _ = await visitor(here, http)
    where = urlsplit(here.url)
    for first, second in ((widget, other), (widget, widget)):
        reader, writer = await asyncio.open_connection(where.hostname, where.port)
        lines = (
            "GET /embed/shop/messages HTTP/1.1",
            f"host: {where.netloc}",
            f"origin: {SHOP}",
            f"authorization: Bearer {first.token}",
            f"authorization: Bearer {second.token}",
        )
        writer.write("\r\n".join((*lines, "connection: close", "", "")).encode())
        found = await asyncio.wait_for(reader.read(), WAIT)
        writer.close()
        assert found.startswith(b"HTTP/1.1 401 ")
        assert not canaries(found.decode())


@shared
async def test_who_follows_nothing_makes_nothing(
    here: AppWithModel, http: aiohttp.ClientSession
) -> None:
    widget = await Widget(here.url, http).visit()
    before = here.sessions()
    assert (await widget.send("POST", "/message", {"follow": True})).status == 404
    assert here.sessions() == before


@shared
async def test_one_address_has_one_spelling(
    here: AppWithModel, http: aiohttp.ClientSession
) -> None:
    widget, secret = await visitor(here, http)
    for slash in ("%2f", "%2F"):
        headers = {"origin": SHOP, "authorization": f"Bearer {widget.token}"}
        address = URL(f"{here.url}/embed/shop{slash}messages", encoded=True)
        async with http.get(address, headers=headers) as answer:
            assert answer.status == 404
            assert secret.encode() not in await answer.read()


@shared
async def test_the_page_s_cookie_gives_nothing_here_and_a_token_nothing_there(
    here: AppWithModel,
) -> None:
    async with Browser(here.url) as browser:
        tab = await browser.open()
        secret = canary()
        await tab.send(secret)
        bare = Widget(here.url, browser.http)
        assert (await bare.say("hello")).status == 401  # the cookie goes along
        await bare.visit()
        assert await bare.history() == []
        mine = canary()
        assert (await bare.say(mine)).answer == f"You said: {mine}"
        assert owner_of(here, bare).startswith("w")
        assert secret.encode() not in bare.received
        async with browser.http.get(f"{here.url}/history") as answer:
            assert mine.encode() not in await answer.read()
    async with aiohttp.ClientSession() as stranger:
        headers = {"authorization": f"Bearer {bare.token}", "x-cmw-visitor": bare.token}
        async with stranger.get(f"{here.url}/history", headers=headers) as answer:
            assert mine.encode() not in await answer.read()


# -- what a visitor does --------------------------------------------------------------------------


async def test_what_an_answer_has_told_is_there_after_a_reload(tmp_path: Path) -> None:
    (tmp_path / "agents.toml").write_text(AGENTS)
    async with app_with_model(tmp_path, "gated-0") as held, aiohttp.ClientSession() as http:
        widget = await Widget(held.url, http).visit()
        answering = asyncio.create_task(widget.say("hello"))
        await held.endpoint.wait_held("hello")
        async with unstored(held, "hello"):
            reading = asyncio.create_task(widget.history())
            # who does not wait for it has an answer by then
            await asyncio.wait({reading}, timeout=1)
        await answering
        assert await reading == ["hello", "You said: hello"]


@shared
async def test_the_same_key_is_one_message_and_one_answer(
    here: AppWithModel, http: aiohttp.ClientSession
) -> None:
    widget, secret = await visitor(here, http)
    asked = here.endpoint.request_count
    both = await asyncio.gather(widget.say("twice", "key"), widget.say("twice", "key"))
    assert [found.answer for found in (*both, await widget.say("twice", "key"))] == [
        "You said: twice"
    ] * 3
    assert here.endpoint.request_count == asked + 1
    assert await widget.history() == [secret, f"You said: {secret}", "twice", "You said: twice"]
    found = await widget.send("POST", "/message", {"again": True, "key": "anew"})
    assert found.answer == "You said: twice"
    assert await widget.history() == [secret, f"You said: {secret}", "twice", "You said: twice"]


@shared
async def test_a_new_conversation_begins_without_the_old_one(
    here: AppWithModel, http: aiohttp.ClientSession
) -> None:
    for begin in ("by the button", "by /new"):
        widget, secret = await visitor(here, http)
        first = widget.session_id
        if begin == "by /new":
            left = (await widget.say("/new", "n")).json
            assert "new one" in left["left"]
            assert left["session_id"] != first
        await widget.visit(new=begin == "by the button")
        assert widget.session_id != first
        assert await widget.history() == []
        started = (await widget.say("hello")).events()[0]
        assert started[1]["session_id"] == widget.session_id
        assert secret not in str(here.endpoint.requests[-1].messages)


@shared
@pytest.mark.parametrize("way", ["DELETE", "/forget everything"])
async def test_clearing_deletes_all_of_one_s_own_and_nothing_else(
    way: str, here: AppWithModel, http: aiohttp.ClientSession
) -> None:
    widget, _ = await visitor(here, http)
    await widget.visit(new=True)
    await widget.say("a second conversation")
    others = [(await visitor(here, http))[0], (await visitor(here, http, origin=BLOG))[0]]
    mine = owner_of(here, widget)
    before = here.rows(but=[mine])
    if way == "DELETE":
        assert (await widget.send("DELETE", "/messages")).json == {"deleted": 2}
    else:
        assert "deleted" in (await widget.say(way, "f")).json["left"]
    assert here.rows() == before
    assert await widget.history() == []
    assert all([await other.history() for other in others])


@shared
async def test_a_call_that_waits_is_shown_to_and_answered_by_its_own_visitor(
    here: AppWithModel, http: aiohttp.ClientSession
) -> None:
    widget, _ = await visitor(here, http)
    others = [await Widget(here.url, http).visit(), (await visitor(here, http))[0]]
    approvals = here.app.application.runtime.approvals
    arguments = {"title": "Buy milk", "number": 12345678901234567890}
    waits = approvals.ask(
        owner_of(here, widget), widget.session_id, "call-1", "ASANA_CREATE_TASK", arguments
    )
    waiting = asyncio.create_task(waits)
    await wait_until(lambda: len(approvals) > 0)
    (shown,) = (await widget.send("GET", "/messages")).json["waiting"]
    word = {"call": shown["call"], "answer": "approved"}
    unknown = (await widget.send("POST", "/approvals", {**word, "call": "call-1"})).told
    for other in others:
        found = await other.send("POST", "/approvals", word)
        assert (found.status, found.told) == (404, unknown)
        assert (await other.send("GET", "/messages")).json["waiting"] == []
    assert shown["name"] == "ASANA_CREATE_TASK"
    assert orjson.loads(shown["arguments"]) == arguments
    assert not waiting.done()
    assert (await widget.send("POST", "/approvals", word)).json == {}
    assert await waiting == Decision("approved", arguments)


@shared
@pytest.mark.parametrize("by", ["visit", "/new"])
async def test_a_call_that_waits_is_denied_with_the_end_of_its_conversation(
    by: str, here: AppWithModel, http: aiohttp.ClientSession
) -> None:
    widget, _ = await visitor(here, http)
    approvals = here.app.application.runtime.approvals
    waits = approvals.ask(owner_of(here, widget), widget.session_id, "call-1", "TOOL", {"a": 1})
    waiting = asyncio.create_task(waits)
    await wait_until(lambda: len(approvals) > 0)
    if by == "visit":
        await widget.visit(new=True)
    else:
        assert (await widget.say(by, "n")).status == 200
    async with asyncio.timeout(WAIT):
        assert await waiting == Decision("denied", {"a": 1})


# -- where conversations come from ----------------------------------------------------------------


def described(here: AppWithModel, widget: Widget) -> list[tuple[Any, ...]]:
    mine = owner_of(here, widget)
    names = ("agent_id", "channel", "website_domain", "ip_address")
    rows = here.rows()["agent_sessions"]
    return [tuple(row[n] for n in names) for row in rows if row["owner_id"] == mine]


FORGED = {
    "x-forwarded-for": "203.0.113.7",
    "x-forwarded-host": "evil.example",
    "x-real-ip": "203.0.113.7",
    "forwarded": "for=203.0.113.7;host=evil.example",
    "referer": "https://evil.example/",
}


@shared
async def test_site_and_address_are_what_the_server_has_seen(
    here: AppWithModel, http: aiohttp.ClientSession
) -> None:
    for origin, domain in ((SHOP, "shop.example"), (BLOG, "blog.example")):
        widget = await Widget(here.url, http, origin, extra=FORGED).visit()
        await widget.say("hello")
        assert described(here, widget) == [("shop", "embed", domain, "127.0.0.1")]
        told = {"message": "hello", "key": "x", "website_domain": "evil.example"}
        assert (await widget.send("POST", "/message", told)).status == 422


async def test_a_proxy_that_is_trusted_names_the_address(tmp_path: Path) -> None:
    (tmp_path / "agents.toml").write_text(AGENTS)
    async with (
        app_with_model(tmp_path, trust_proxy="127.0.0.1", turns_per_minute=2) as here,
        aiohttp.ClientSession() as http,
    ):
        widget = await Widget(here.url, http, extra=FORGED).visit()
        await widget.say("one", "1")
        await widget.say("two", "2")
        assert described(here, widget) == [("shop", "embed", "shop.example", "203.0.113.7")]
        found = await widget.say("three", "3")
        assert found.status == 429
        assert 0 < int(found.headers["retry-after"]) <= 60
        assert found.headers["access-control-expose-headers"] == "Retry-After"
        assert "please go on in" in found.json["detail"]
        other = await Widget(here.url, http).visit()
        assert (await other.say("one")).answer == "You said: one"


# -- the chat's own page ----------------------------------------------------------------------------

STAMP = re.compile(r'data-frame="([^"]+)"')


async def own_page(
    here: AppWithModel, http: aiohttp.ClientSession, referer: str = "", agent: str = "shop"
) -> Widget:
    """Return the widget of the chat's own page, as a browser in a frame of a site fetches it."""
    headers = {"referer": referer} if referer else {}
    async with http.get(f"{here.url}/embed/{agent}", headers=headers) as answer:
        assert answer.status == 200
        found = STAMP.search(await answer.text())
    assert found is not None
    return Widget(here.url, http, here.url, agent, extra={"x-cmw-frame": found[1]})


@shared
async def test_the_page_is_for_the_frames_of_the_agent_s_sites_alone(
    here: AppWithModel, http: aiohttp.ClientSession
) -> None:
    for agent, status, wanted in (
        ("shop", 200, f"{BLOG} {SHOP}"),
        ("other", 200, SHOP),
        ("assistant", 200, "'none'"),
        ("no-such-agent", 404, "'none'"),
    ):
        async with http.get(f"{here.url}/embed/{agent}") as answer:
            assert answer.status == status
            policy = answer.headers["content-security-policy"]
            assert policy.rpartition("; frame-ancestors ")[2] == wanted
            assert len(answer.headers.getall("content-security-policy")) == 1
            assert "x-frame-options" not in answer.headers
            assert "unsafe" not in policy
            assert "set-cookie" not in answer.headers
            assert "<b>" not in await answer.text()


@shared
async def test_on_the_own_page_the_site_is_the_one_that_the_browser_named(
    here: AppWithModel, http: aiohttp.ClientSession
) -> None:
    for referer, domain in (
        (f"{SHOP}/a?b", "shop.example"),
        (f"{BLOG}/", "blog.example"),
        (f"{EVIL}/", None),
        (f"{EVIL}/{SHOP}", None),
        ("https://shop.example@evil.example/", None),
        ("", None),
    ):
        widget = await (await own_page(here, http, referer)).visit()
        await widget.say("hello")
        assert described(here, widget) == [("shop", "embed", domain, "127.0.0.1")], referer
        # a browser names no origin where a page reads from its own
        reading = widget.like(origin=None)
        reading.extra = {**widget.extra, "sec-fetch-site": "same-origin"}
        assert await reading.history() == ["hello", "You said: hello"]
        reading.extra["sec-fetch-site"] = "cross-site"
        assert (await reading.send("GET", "/messages")).status == 403


@shared
async def test_the_own_page_s_visitors_are_others_than_the_sites(
    here: AppWithModel, http: aiohttp.ClientSession
) -> None:
    framed = await (await own_page(here, http, f"{SHOP}/")).visit()
    await framed.say("in a frame")
    alone = await own_page(here, http)
    alone.token = framed.token
    await refused(here, alone, 401)
    await refused(here, framed.like(origin=SHOP), 401)
    at_site, _ = await visitor(here, http)
    framed.token = at_site.token
    await refused(here, framed, 401)


@shared
async def test_our_own_origin_is_worth_nothing_without_the_page_s_proof(
    here: AppWithModel, http: aiohttp.ClientSession
) -> None:
    widget = await (await own_page(here, http)).visit()
    stamp = widget.extra["x-cmw-frame"]
    other = (await own_page(here, http, agent="other")).extra["x-cmw-frame"]
    signed = identities(here).signer("widget").sign("shop|").decode()
    for wrong in ("", "shop|", stamp[:-1], other, signed):
        thief = widget.like()
        thief.extra = {"x-cmw-frame": wrong}
        await refused(here, thief, 403)
        assert (await thief.send(*VISIT)).status == 403


# -- the script -------------------------------------------------------------------------------------


@shared
async def test_the_script_is_small_and_loads_anywhere(
    here: AppWithModel, http: aiohttp.ClientSession
) -> None:
    assert len(gzip.compress(WIDGET.read_bytes(), 9)) < 15_000
    async with http.get(f"{here.url}/widget.js") as answer:
        assert await answer.read() == WIDGET.read_bytes()
        headers = answer.headers
        assert headers["content-encoding"] == "gzip"
        assert int(headers["content-length"]) < 15_000
        assert headers["cross-origin-resource-policy"] == "cross-origin"
        assert headers["cache-control"] == "no-cache"
        assert headers["content-type"].startswith("text/javascript")
    same = {"if-none-match": headers["etag"]}
    async with http.get(f"{here.url}/widget.js", headers=same) as answer:
        assert (answer.status, await answer.read()) == (304, b"")


@shared
async def test_what_draws_answers_loads_anywhere_and_nothing_else_of_the_page_does(
    here: AppWithModel, http: aiohttp.ClientSession
) -> None:
    headers = {"origin": EVIL, "sec-fetch-site": "cross-site", "sec-fetch-mode": "cors"}
    for name in ("text.js", "math.js", "code.js", "mermaid.js"):
        async with http.get(f"{here.url}/built/{name}", headers=headers) as answer:
            assert answer.status == 200
            assert answer.headers.getall("access-control-allow-origin") == ["*"]
            assert answer.headers.getall("cross-origin-resource-policy") == ["cross-origin"]
            assert "access-control-allow-credentials" not in answer.headers
            assert "set-cookie" not in answer.headers
            assert answer.headers["content-type"].startswith("text/javascript")
    for path in ("page.js", "first.js", "visitor", "history", "config", "healthz"):
        async with http.get(f"{here.url}/{path}", headers=headers) as answer:
            assert "access-control-allow-origin" not in answer.headers, path
            assert answer.headers["cross-origin-resource-policy"] == "same-origin", path


def test_the_script_makes_no_markup_and_hears_no_window() -> None:
    written = WIDGET.read_text(encoding="utf-8")
    for word in (
        *("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "DOMParser", "eval("),
        *("Function(", "srcdoc", "postMessage", 'Listener("message"', "onmessage", "cookie ="),
    ):
        assert word not in written, word


# -- many sites at once -------------------------------------------------------------------------------

SITES, VISITORS = 100, 3


async def _stay(widget: Widget, said: list[str]) -> list[str]:
    await widget.visit()
    for number, text in enumerate(said):
        assert (await widget.say(text, f"k{number}")).answer == f"You said: {text}"
    return await widget.history()


async def test_three_visitors_of_each_of_a_hundred_sites_get_their_own_words_alone(
    tmp_path: Path,
) -> None:
    origins = [f"https://site-{number}.example" for number in range(SITES)]
    listed = ", ".join(f'"{origin}"' for origin in origins)
    (tmp_path / "agents.toml").write_text(
        f'[[agents]]\nid = "shop"\nallowed_origins = [{listed}]\n'
    )
    async with (
        app_with_model(tmp_path) as here,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http,
    ):
        crowd = [Widget(here.url, http, origin) for origin in origins for _ in range(VISITORS)]
        said = [[canary()] for _ in crowd]
        seen = await asyncio.gather(*map(_stay, crowd, said))
        for widget, mine, shown in zip(crowd, said, seen, strict=True):
            assert canaries(widget.received.decode()) == set(mine)
            assert [text for text in shown if CANARY.fullmatch(text)] == mine
        rows: dict[str, str] = {}
        for row in (row for table in here.rows().values() for row in table):
            rows[row["owner_id"]] = rows.get(row["owner_id"], "") + repr(row)
        assert len(rows) == SITES * VISITORS
        of_whom = {owner_of(here, w): set(mine) for w, mine in zip(crowd, said, strict=True)}
        assert {owner: canaries(text) for owner, text in rows.items()} == of_whom
        owners = {secret: number for number, mine in enumerate(said) for secret in mine}
        for request in here.endpoint.requests:
            assert len({owners[c] for c in canaries(str(request.messages))}) == 1
        domains = {row["owner_id"]: row["website_domain"] for row in here.rows()["agent_sessions"]}
        for widget in crowd:
            assert f"https://{domains[owner_of(here, widget)]}" == widget.origin


def test_a_token_names_visitor_agent_and_site() -> None:
    tokens = WidgetTokens(Identities(("k" * 32,)))
    made = tokens.new("shop", SHOP)
    assert tokens.verify(tokens.sign(made)) == WidgetVisitor(made.principal, "shop", SHOP)
