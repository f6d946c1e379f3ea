"""Isolation: an agent that the caller may not use does not exist for them, in every channel."""

import contextlib
import json
import re
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from cmw_agent.chat.dependencies import AgentRemovedError
from cmw_agent.core.errors import StartupError
from cmw_agent.web.security.route_allowlist import CHANNEL_ROUTES, OPEN_ROUTES
from tests.harness import Browser, Event, Tab, canary, last_text, served
from tests.isolation import provider as idp
from tests.isolation.provider import (
    CLIENT,
    Forger,
    begin_sign_in,
    forging,
    open_callback,
    sign_in_at_provider,
    sign_out,
)
from tests.isolation.test_imports import imported, tree
from tests.isolation.test_tools import asked as asked_before
from tests.isolation.toolhouse import app_with_tools, settle_approval
from tests.isolation.world import AppWithModel, app_with_model
from tests.phones import whatsapp_settings
from tests.rest import Client, Reply, client
from tests.rows import rows
from tests.scheduled import FakeClock, RecordingObserver, run_due, scheduler_of

shared = pytest.mark.asyncio(loop_scope="module")

SITE, OTHER = "https://shop.example", "https://other.example"
GONE = AgentRemovedError.sentence
FAR = FakeClock().far
RESTRICTED = {"members", "staff", "desk"}  # not for everyone
AGENTS = f"""
[[agents]]
id = "open"
name = "Open to all"
allowed_origins = ["{SITE}"]
[[agents]]
id = "members"
name = "Members only"
access = "signed-in"
allowed_origins = ["{SITE}"]
[[agents]]
id = "staff"
name = "Staff only"
access = ["alice", "group:staff"]
allowed_origins = ["{SITE}"]
[[agents]]
id = "desk"
name = "Desk of the shop"
access = "site"
allowed_origins = ["{SITE}"]
"""
# each key reaches these agents, and is for these kinds of requests
REACH = {
    "all": {"assistant", "open"},
    "crm": {"staff", "open"},
    "page": {"open"},
    "chat": {"assistant", "open"},
    "look": {"assistant", "open"},
    "post": {"assistant", "open"},
}
SECRETS = {name: name * 8 for name in REACH}
ORIGINS = {"page": SITE}
KEYS = ",".join(
    f"{name}:{secret}" + (f":{ORIGINS[name]}" if name in ORIGINS else "")
    for name, secret in SECRETS.items()
)
SCOPES = "crm=@staff+open+desk,chat=v1,look=read,post=whatsapp"
FOR = {
    "all": {"agents", "v1", "whatsapp", "read"},
    "crm": {"agents", "v1", "whatsapp", "read"},
    "page": {"agents", "read"},
    "chat": {"v1"},
    "look": {"read"},
    "post": {"whatsapp"},
}
CHAT = "/api/chat/{agent_id}"
ONE = f"{CHAT}/sessions/{{session_id}}"
# every route that a key opens: its scope, and a body that it takes
KEYED: dict[tuple[str, str], tuple[str, Any]] = {
    ("POST", f"{CHAT}/message"): ("agents", {"message": "Hello", "session_id": "mine"}),
    ("GET", f"{CHAT}/sessions"): ("read", None),
    ("POST", f"{CHAT}/sessions"): ("agents", {}),
    ("GET", ONE): ("read", None),
    ("PATCH", ONE): ("agents", {"pinned": True}),
    ("DELETE", ONE): ("agents", None),
    ("POST", f"{ONE}/end"): ("agents", None),
    ("GET", f"{ONE}/export"): ("read", None),
    ("GET", f"{ONE}/files/{{file_id}}"): ("read", None),
    ("GET", f"{ONE}/approvals"): ("agents", None),
    ("POST", f"{ONE}/approvals"): ("agents", {"call": "call_1", "answer": "denied"}),
    ("POST", f"{ONE}/import"): ("agents", {}),
    ("GET", f"{ONE}/shares"): ("read", None),
    ("POST", f"{ONE}/shares"): ("agents", {}),
    ("DELETE", f"{ONE}/shares/{{share_id}}"): ("agents", None),
    ("POST", f"{ONE}/messages/{{seq}}/retry"): ("agents", None),
    ("POST", f"{ONE}/messages/{{seq}}/edit"): ("agents", {"message": "Hello"}),
    ("POST", f"{ONE}/messages/{{seq}}/select"): ("agents", None),
    ("POST", f"{ONE}/messages/{{seq}}/fork"): ("agents", None),
    ("POST", f"{ONE}/messages/{{seq}}/rate"): ("agents", {"rating": "like"}),
    ("POST", "/v1/chat/completions"): (
        "v1",
        {"model": "open", "messages": [{"role": "user", "content": "Hello"}]},
    ),
    ("GET", "/v1/models"): ("v1", None),
    ("POST", "/v1/responses"): ("v1", {"model": "open", "input": "Hello"}),
    ("POST", "/v1/embeddings"): ("v1", {"model": "m", "input": "Hello"}),
    ("POST", "/v1/audio/transcriptions"): ("v1", None),
    ("GET", "/v1/models/{model_id:path}"): ("v1", None),
    ("POST", "/whatsapp/send"): ("whatsapp", {"to": "491511234567", "message": "Hello"}),
    ("GET", "/whatsapp/status"): ("whatsapp", None),
}
# no key that a site's pages show to everybody opens these
SECRET = {("GET", f"{CHAT}/sessions"), ("POST", f"{ONE}/import")}
KEYLESS = {  # known by nothing, by a signature, or by a widget's token
    ("GET", "/api/openapi.json"),
    ("GET", "/api/docs"),
    ("GET", "/api/docs/{name}"),
    ("GET", "/widget.js"),
    ("GET", "/whatsapp/incoming"),
    ("POST", "/whatsapp/incoming"),
    ("POST", "/whatsapp/incoming/{token}"),
    # closed here; `tests/mcp/test_server.py` tries its keys and whom its agents are for
    *((method, "/mcp") for method in ("GET", "POST", "DELETE")),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[AppWithModel]:
    folder = tmp_path_factory.mktemp("agents")
    (folder / "agents.toml").write_text(AGENTS, encoding="utf-8")
    async with app_with_model(folder, api_keys=KEYS, key_scopes=SCOPES) as made:
        yield made


@contextlib.asynccontextmanager
async def holding(here: AppWithModel, name: str) -> AsyncIterator[Client]:
    async with client(here.url, SECRETS[name], origin=ORIGINS.get(name)) as made:
        yield made


async def asked(each: Client, method: str, template: str, agent: str, body: Any) -> Reply:
    path = template.replace("{agent_id}", agent).replace("{session_id}", "mine")
    path = (
        path.replace("{model_id:path}", agent).replace("{seq}", "1").replace("{share_id}", "0" * 32)
    )
    return await each.ask(method, path, body)


def plain(reply: Reply) -> tuple[int, bytes, dict[str, str]]:
    """Return all of a reply that could tell two apart, but for what is new each time."""
    changing = {"Date", "X-Request-ID"}
    body = re.sub(rb'"error_id":"[0-9a-f]{8}"', b"", reply.body)
    return reply.status, body, {k: v for k, v in reply.headers.items() if k not in changing}


def test_every_route_of_the_channels_is_judged_here() -> None:
    judged = {*KEYED, *KEYLESS}
    for route in CHANNEL_ROUTES:
        if route.method != "OPTIONS" and not route.template.startswith("/embed/"):
            assert (route.method, route.template) in judged, route
    named = {
        (route.method, route.template) for route in OPEN_ROUTES if "agent_id" in route.template
    }
    assert named == {(route.method, route.template) for route in CHANNEL_ROUTES} & named


# -- keys ------------------------------------------------------------------------------------


@shared
@pytest.mark.parametrize("name", REACH)
async def test_a_key_finds_no_agent_beyond_its_reach_on_any_route(
    name: str, here: AppWithModel
) -> None:
    async with holding(here, name) as each:
        for (method, template), (scope, body) in KEYED.items():
            if "{agent_id}" not in template:
                continue
            nobody = await asked(each, method, template, "nobody", body)
            is_refused = name == "page" and (method, template) in SECRET
            assert nobody.status == (403 if is_refused else 404)
            for agent in {"assistant", "open", *RESTRICTED}:
                reply = await asked(each, method, template, agent, body)
                if agent not in REACH[name] or scope not in FOR[name]:
                    assert plain(reply) == plain(nobody), (method, template, agent)
                elif template.endswith("/message"):
                    assert reply.status == 200, (method, template, agent, reply.body)
    for row in here.rows()["agent_sessions"]:
        assert row["agent_id"] not in {"members", "desk"}


@shared
@pytest.mark.parametrize("name", REACH)
async def test_what_a_key_is_not_for_is_not_there(name: str, here: AppWithModel) -> None:
    async with holding(here, name) as each:
        for (method, template), (scope, body) in KEYED.items():
            reply = await asked(each, method, template, "open", body)
            if scope in FOR[name]:
                told = str(reply.json) if reply.body else ""
                assert "There is nothing at this address" not in told, (method, template)
                assert reply.body != b'{"detail":"Not Found"}'
                continue
            missing = await each.ask(method, f"/{template.split('/')[1]}/nowhere", body)
            assert (reply.status, reply.body) == (404, missing.body), (method, template)


@shared
@pytest.mark.parametrize("name", ["all", "crm", "chat"])
async def test_openai_s_clients_are_shown_what_their_key_reaches_alone(
    name: str, here: AppWithModel
) -> None:
    async with holding(here, name) as each:
        listed = {item["id"] for item in (await each.ask("GET", "/v1/models")).json["data"]}
        assert listed - {"echo"} == REACH[name]
        assert ("echo" in listed) is ("assistant" in REACH[name])  # whose model it is

        async def complete(model: str, **headers: str) -> Reply:
            told = [{"role": "system", "content": "x"}, {"role": "user", "content": "Hello"}]
            body = {"model": model, "messages": told}
            return await each.ask("POST", "/v1/chat/completions", body, **headers)

        for headers in ({}, {"X_Session_Id": "openai"}):
            nobody = await complete("nobody", **headers)
            for model in {"echo", "assistant", "open", *RESTRICTED}:
                reply = await complete(model, **headers)
                if model in listed:
                    assert reply.status == 200, (model, reply.body)
                else:
                    told = {**reply.json["error"], "message": ""}
                    assert told == {**nobody.json["error"], "message": ""}
                    assert reply.status == nobody.status == 404


@shared
async def test_a_website_s_key_works_from_its_pages_at_its_agents_alone(here: AppWithModel) -> None:
    body = {"model": "open", "messages": [{"role": "user", "content": "Hello"}]}
    before = here.rows()
    async with client(here.url, SECRETS["page"]) as bare:
        for origin in (None, OTHER, "null", here.url, f"{SITE}.evil.example"):
            headers = {} if origin is None else {"Origin": origin}
            for agent in ("open", "assistant", "staff", "nobody"):
                message = f"/api/chat/{agent}/message"
                refused = await bare.ask("POST", message, {"message": "x"}, **headers)
                assert refused.status == 403, (origin, agent)
            closed = await bare.ask("POST", "/v1/chat/completions", body, **headers)
            missing = await bare.ask("POST", "/v1/nowhere", body, **headers)
            assert (closed.status, closed.body) == (404, missing.body)
    assert here.rows() == before
    async with holding(here, "page") as page:
        assert (await page.ask("POST", "/api/chat/open/message", {"message": "x"})).status == 200
        instructed = await page.ask("POST", "/v1/chat/completions", body)
        assert instructed.status == 404


# -- websites --------------------------------------------------------------------------------

EMBED_BODIES: dict[tuple[str, str], Any] = {
    ("GET", "/embed/{agent_id}"): None,
    ("POST", "/embed/{agent_id}/visit"): {},
    ("GET", "/embed/{agent_id}/messages"): None,
    ("DELETE", "/embed/{agent_id}/messages"): None,
    ("POST", "/embed/{agent_id}/message"): {"message": "Hello", "key": "k"},
    ("POST", "/embed/{agent_id}/approvals"): {"call": "call_1", "answer": "denied"},
    ("OPTIONS", "/embed/{agent_id}/visit"): None,
    ("OPTIONS", "/embed/{agent_id}/messages"): None,
    ("OPTIONS", "/embed/{agent_id}/message"): None,
    ("OPTIONS", "/embed/{agent_id}/approvals"): None,
}


@shared
async def test_a_website_finds_no_agent_that_its_visitors_may_not_use(here: AppWithModel) -> None:
    routes = {(r.method, r.template) for r in CHANNEL_ROUTES if r.template.startswith("/embed/")}
    assert routes == set(EMBED_BODIES)
    async with client(here.url, None) as page:
        visit = await page.ask("POST", "/embed/open/visit", {}, Origin=SITE)
        token = f"Bearer {visit.json['token']}"

        def told(reply: Reply) -> tuple[int, Any]:
            known = reply.json if reply.body else {}
            return reply.status, {k: v for k, v in known.items() if k != "error_id"}

        for (method, template), body in EMBED_BODIES.items():
            for headers in (
                {"Origin": SITE, "Referer": f"{SITE}/"},
                {"Origin": SITE, "Authorization": token},
                {},
            ):
                paths = {a: template.replace("{agent_id}", a) for a in ("nobody", *RESTRICTED)}
                nobody = await page.ask(method, paths["nobody"], body, **headers)
                assert nobody.status in (403, 404)
                for agent in ("members", "staff"):
                    reply = await page.ask(method, paths[agent], body, **headers)
                    assert told(reply) == told(nobody), (method, template, agent, headers)


@shared
async def test_an_agent_of_a_site_is_reached_by_that_site_s_widget_alone(
    here: AppWithModel,
) -> None:
    async with client(here.url, None) as page:
        visit = await page.ask("POST", "/embed/desk/visit", {}, Origin=SITE)
        assert visit.json["agent"] == {"name": "Desk of the shop"}
        text, token = canary(), f"Bearer {visit.json['token']}"
        said = {"message": text, "key": "k"}
        own = {"Origin": SITE, "Authorization": token}
        answered = await page.ask("POST", "/embed/desk/message", said, **own)
        assert answered.events[-1][1]["response"] == f"You said: {text}"
        elsewhere = await page.ask("POST", "/embed/desk/message", said, **own | {"Origin": OTHER})
        assert elsewhere.status == 403
        # The chat as a page: in a frame of the site, and nowhere else.
        nobody = await page.ask("GET", "/embed/nobody")
        for referer in (None, f"{OTHER}/x", f"{here.url}/embed/desk"):
            headers = {} if referer is None else {"Referer": referer}
            refused = await page.ask("GET", "/embed/desk", **headers)
            assert (refused.status, refused.body) == (404, nobody.body)
        framed = await page.ask("GET", "/embed/desk", Referer=f"{SITE}/help")
        assert framed.status == 200
        stamp = framed.body.decode().split('data-frame="')[1].split('"')[0]
        in_frame = {"Origin": here.url, "X-Cmw-Frame": stamp}
        assert (await page.ask("POST", "/embed/desk/visit", {}, **in_frame)).status == 200
        loose = (await page.ask("GET", "/embed/open")).body.decode()
        stamp = loose.split('data-frame="')[1].split('"')[0]
        in_frame = {"Origin": here.url, "X-Cmw-Frame": stamp}
        assert (await page.ask("POST", "/embed/desk/visit", {}, **in_frame)).status == 403


async def test_whatsapp_has_an_agent_for_everyone_or_the_app_does_not_start(
    tmp_path: Path,
) -> None:
    (tmp_path / "agents.toml").write_text(AGENTS, encoding="utf-8")
    for agent in (*RESTRICTED, "nobody"):
        with pytest.raises(StartupError) as told:
            async with served(whatsapp_settings(tmp_path, whatsapp_agent=agent)):
                pass
        expected = "CMW_WHATSAPP_AGENT must be the id of an agent that is for everyone"
        assert str(told.value) == expected
    async with served(whatsapp_settings(tmp_path, whatsapp_agent="open")):
        pass


# -- the page --------------------------------------------------------------------------------


def told_of(event: Event) -> str:
    """Return what an event was refused with, without what is new each time."""
    assert event.error is not None, event.values
    return event.error.split(" (error ")[0]


async def conversation(browser: Browser) -> str:
    async with browser.http.get(f"{browser.url}/history") as answer:
        return str((await answer.json())["conversations"][0]["id"])


async def agents_of(browser: Browser) -> list[str]:
    async with browser.http.get(f"{browser.url}/history") as answer:
        return [item["id"] for item in (await answer.json())["agents"]]


def move(folder: Path, conversation_id: str, agent: str) -> None:
    """Let a stored conversation be an agent's."""
    with contextlib.closing(sqlite3.connect(folder / "chat.db")) as connection:
        connection.execute(
            "UPDATE agent_sessions SET agent_id = ? WHERE session_id = ?", (agent, conversation_id)
        )
        connection.commit()


async def every_turn(tab: Tab) -> list[str]:
    """Ask for a turn in each way that the page and programs have; return how each was refused."""
    return [
        told_of(await tab.send("Hello")),
        told_of(await tab.run("retry", [""])),
        told_of(await tab.run("edit", ["1", "Other"])),
        told_of(await tab.run("chat", ["Hello"])),
        told_of(await tab.send("/help")),
    ]


@shared
async def test_a_visitor_sees_and_opens_no_agent_that_is_for_others(here: AppWithModel) -> None:
    async with Browser(here.url) as browser:
        assert await agents_of(browser) in ([], ["assistant", "open"])
        for agent in ("open", *RESTRICTED, "nobody"):
            tab = browser.tab(query=f"?agent={agent}")
            opened = await tab.open()
            assert opened.error is None
            for name in (b"Members only", b"Staff only", b"Desk of the shop", b"members"):
                assert name not in tab.received
            assert b"Open to all" in tab.received
            await tab.send("Hello")
            stored = [r for r in here.rows()["agent_sessions"] if r["channel"] == "web"]
            newest = max(stored, key=lambda row: row["started_at"])
            assert newest["agent_id"] == ("open" if agent == "open" else "assistant")
        assert await agents_of(browser) == ["assistant", "open"]


@shared
async def test_a_conversation_of_an_agent_that_one_may_not_use_does_not_go_on(
    here: AppWithModel,
) -> None:
    folder = here.database.parent
    async with Browser(here.url) as browser:
        tab, text = await browser.open(), canary()
        await tab.send(text)
        mine = await conversation(browser)
        refusals = {}
        for agent in ("nobody", *RESTRICTED):
            move(folder, mine, agent)
            before = here.rows()["agent_messages"], len(here.endpoint.requests)
            again = browser.tab(query=f"?c={mine}")
            opened = await again.open()
            assert text in str(opened.values)  # what one has written is one's own
            model = opened.values[-1][2]
            refusals[agent] = [model, *await every_turn(again)]
            assert (here.rows()["agent_messages"], len(here.endpoint.requests)) == before
        assert all(found == refusals["nobody"] for found in refusals.values())
        # The open page, which has used the agent until now.
        asked = len(here.endpoint.requests)
        assert refusals["nobody"][1] in last_text((await tab.send("Hello")).value)
        assert len(here.endpoint.requests) == asked
        move(folder, mine, "open")
        assert last_text((await tab.send("Hello")).value) == "You said: Hello"


# -- accounts --------------------------------------------------------------------------------


@dataclass(slots=True)
class House:
    """The app with accounts, whose provider says what the test lets it say."""

    world: AppWithModel
    forger: Forger
    provider: str

    @property
    def url(self) -> str:
        return self.world.url

    async def sign_in(self, browser: Browser, subject: str, **claims: Any) -> None:
        """Sign in as a user of whom the provider's token says `claims`."""
        await sign_in(browser, self.forger, self.provider, subject, **claims)

    async def talk(self, browser: Browser, agent: str) -> Tab:
        """Begin a conversation with an agent that answers."""
        tab = browser.tab(query=f"?agent={agent}")
        await tab.open()
        assert last_text((await tab.send("Hello")).value) == "You said: Hello"
        return tab

    def agent_of(self, conversation_id: str) -> str:
        """Return the agent of a stored conversation."""
        found = self.world.rows()["agent_sessions"]
        return next(str(r["agent_id"]) for r in found if r["session_id"] == conversation_id)


async def sign_in(
    browser: Browser, forger: Forger, provider: str, subject: str, **claims: Any
) -> None:
    """Sign in as a user of whom the token of `provider`, which `forger` writes, says `claims`."""
    forger.change = lambda found: {**found, **claims}
    await browser.open()
    there = (await begin_sign_in(browser)).replace(provider, forger.upstream)
    status, led = await open_callback(browser, await sign_in_at_provider(there, subject))
    assert status == 303, led


@contextlib.asynccontextmanager
async def accounts(folder: Path, agents: str) -> AsyncIterator[tuple[dict[str, Any], Forger, str]]:
    """Give the settings of an app with accounts, and who writes the tokens."""
    (folder / "agents.toml").write_text(agents, encoding="utf-8")
    async with idp.provider() as upstream, forging(upstream) as (address, forger):
        settings = {
            "openid_provider_url": address,
            "oauth_client_id": CLIENT,
            "oauth_client_secret": "not-told-to-anyone",
        }
        yield settings, forger, address


@contextlib.asynccontextmanager
async def house(folder: Path, agents: str = AGENTS, **changes: Any) -> AsyncIterator[House]:
    async with (
        accounts(folder, agents) as (settings, forger, address),
        app_with_model(folder, **settings, **changes) as here,
    ):
        yield House(here, forger, address)


async def test_signed_in_users_are_shown_and_answered_by_what_is_for_them(tmp_path: Path) -> None:
    async with (
        house(tmp_path) as here,
        Browser(here.url) as visitor,
        Browser(here.url) as bob,
        Browser(here.url) as alice,
        Browser(here.url) as cleaner,
        Browser(here.url) as colleague,
    ):
        await visitor.open()
        await here.sign_in(bob, "2")
        await here.sign_in(alice, "1")
        # Names that look like the group's, and claims of a wrong form.
        odd = {"groups": "staff", "roles": {"staff": True}, "preferred_username": "group:staff"}
        await here.sign_in(cleaner, "3", **odd)
        await here.sign_in(colleague, "4", roles=[7, "staff", None])
        everybody = ["assistant", "open"]
        for browser, more in (
            (visitor, []),
            (bob, ["members"]),
            (cleaner, ["members"]),
            (alice, ["members", "staff"]),
            (colleague, ["members", "staff"]),
        ):
            assert await agents_of(browser) == everybody + more
            for agent in ("members", "staff", "desk"):
                tab = await here.talk(browser, agent)
                stored = here.agent_of(await conversation(browser))
                assert stored == (agent if agent in more else "assistant"), (more, agent)
                assert b"Staff only" not in tab.received  # the page itself is everybody's


async def test_who_loses_a_group_is_refused_at_the_next_action_and_gets_it_back(
    tmp_path: Path,
) -> None:
    async with (
        house(tmp_path) as here,
        Browser(here.url) as bob,
        Browser(here.url) as elsewhere,
        Browser(here.url) as later,
    ):
        await here.sign_in(bob, "2", groups=["staff"])
        with_task = await here.talk(bob, "staff")
        assert "Scheduled" in last_text((await with_task.send(f"/schedule {FAR}: report")).value)
        tab = await here.talk(bob, "staff")
        mine = await conversation(bob)
        clock, heard = FakeClock(), RecordingObserver()
        runtime = here.world.app.application.runtime
        scheduler = scheduler_of(runtime, clock, heard)
        clock.jump()
        await run_due(scheduler)
        assert heard.outcomes == ["complete"]
        await here.sign_in(elsewhere, "2", groups=["cleaners"])
        assert await sign_out(elsewhere) == 200  # what it said of the user holds here still
        assert await agents_of(bob) == ["assistant", "open", "members"]
        before = here.world.rows()["agent_messages"], len(here.world.endpoint.requests)
        refused = await every_turn(tab)
        assert set(refused) == {GONE}
        clock.advance(days=1)
        await run_due(scheduler)
        assert heard.outcomes == ["complete", "failed"]
        assert (here.world.rows()["agent_messages"], len(here.world.endpoint.requests)) == before
        # A new chat is begun with an agent that they may use; the old one can still be read.
        await tab.run("new_chat", [])
        await tab.send("Hello")
        assert here.agent_of(await conversation(bob)) == "assistant"
        reading = bob.tab(query=f"?c={mine}")
        assert "You said: Hello" in str((await reading.open()).values)
        await here.sign_in(later, "2", groups=["staff"])
        assert last_text((await reading.send("Again")).value) == "You said: Again"


async def test_after_signing_out_everywhere_tasks_of_a_closed_agent_do_not_run(
    tmp_path: Path,
) -> None:
    async with house(tmp_path) as here, Browser(here.url) as alice:
        await here.sign_in(alice, "1")
        for agent in ("open", "members"):
            tab = await here.talk(alice, agent)
            await tab.send(f"/schedule {FAR}: report of {agent}")
        assert await sign_out(alice) == 200
        clock, heard = FakeClock(), RecordingObserver()
        clock.jump()
        await run_due(scheduler_of(here.world.app.application.runtime, clock, heard))
        assert sorted(heard.outcomes) == ["complete", "failed"]
        assert here.world.endpoint.matching("report of open")
        assert not here.world.endpoint.matching("report of members")


async def test_where_nothing_is_for_visitors_they_are_told_to_sign_in(tmp_path: Path) -> None:
    closed = '[[agents]]\nid = "assistant"\naccess = "signed-in"\n'
    async with house(tmp_path, closed) as here, Browser(here.url) as browser:
        tab = browser.tab()
        opened = await tab.open()
        assert "please sign in" in str(opened.raw)
        assert told_of(await tab.send("Hello")) == GONE
        status, (line,) = await imported(browser, [tree()])
        assert (status, "please sign in" in line["detail"]) == (403, True)
        assert here.world.rows()["agent_messages"] == []
        await here.sign_in(browser, "2")
        await here.talk(browser, "assistant")


async def test_who_lost_the_agent_while_a_call_waited_approves_nothing(tmp_path: Path) -> None:
    async with (
        accounts(tmp_path, AGENTS) as (settings, forger, address),
        app_with_tools(tmp_path, **settings) as there,
        Browser(there.app.url) as bob,
    ):
        await sign_in(bob, forger, address, "2", groups=["staff"])
        tab = bob.tab(query="?agent=staff")
        await tab.open()
        for groups in (["staff"], []):
            task = json.dumps({"when": FAR, "task": f"report of {len(groups)}"})
            running, open_chat, call = await asked_before(there, tab, f"do schedule_task {task}")
            async with Browser(there.app.url) as another:
                await sign_in(another, forger, address, "2", groups=groups)
            assert await settle_approval(tab, open_chat, call, "approved") == 200
            await running
            tasks = [row["text"] for row in rows(tmp_path, "SELECT * FROM agent_schedules")]
            assert tasks == ["report of 1"]
