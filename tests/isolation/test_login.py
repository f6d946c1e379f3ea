"""Accounts: a sign-in proves one person, transfers what is theirs, and ends at sign-out."""

import asyncio
import base64
import re
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import aiohttp
import orjson
import pytest
import pytest_asyncio

from cmw_agent.config.settings import Settings
from cmw_agent.identity.principals import Identities, Principal, new_login
from cmw_agent.web.login.routes import local_path
from memory.engine.database import open_database
from memory.logins import Logins
from tests.harness import WAIT, Browser, RefusedError, Tab, canary, last_text, served, settings_for
from tests.isolation import provider as idp
from tests.isolation.provider import (
    CLIENT,
    Claims,
    Forger,
    begin_sign_in,
    cookie,
    forging,
    open_callback,
    query_of,
    set_cookie,
    sign_in,
    sign_in_at_provider,
    sign_out,
)
from tests.isolation.world import AppWithModel, Following, app_with_model
from tests.ports import free_port
from tests.rows import rows

pytestmark = pytest.mark.asyncio(loop_scope="module")
SIGNED_OUT = "You are signed out"
KEY = "s" * 32


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def there() -> AsyncIterator[str]:
    async with idp.provider() as address:
        yield address


def with_accounts(there: str) -> dict[str, Any]:
    return {
        "openid_provider_url": there,
        "oauth_client_id": CLIENT,
        "oauth_client_secret": "not-told-to-anyone",
    }


def settings_of(folder: Path, there: str, **changes: str) -> Settings:
    return settings_for(folder, **with_accounts(there), **changes)


def proven(browser: Browser, key: str = KEY) -> Principal:
    """Return whom the browser's cookie proves."""
    found = Identities((key,)).verify(cookie(browser), "cookie")
    assert found is not None
    return found


async def conversation(browser: Browser, tab: Tab) -> str:
    async with browser.http.get(f"{browser.url}/history") as answer:
        return str((await answer.json())["conversations"][0]["id"])


async def listed(browser: Browser) -> list[str]:
    async with browser.http.get(f"{browser.url}/history") as answer:
        return [item["title"] for item in (await answer.json())["conversations"]]


def told(page: str) -> None:
    """A page for people: one sentence and an id."""
    assert re.search(r"\(error [0-9a-f]{8}\)", page), page
    assert "Traceback" not in page


# -- who signs in, and what becomes theirs ---------------------------------------------------


async def test_two_users_sign_in_and_each_sees_only_their_own(tmp_path: Path, there: str) -> None:
    secrets = {"1": canary(), "2": canary()}
    async with (
        app_with_model(tmp_path, **with_accounts(there)) as here,
        Browser(here.url) as alice,
        Browser(here.url) as bob,
    ):
        ids = {}
        for browser, subject in ((alice, "1"), (bob, "2")):
            await browser.open()
            assert await sign_in(browser, subject) == "/"
            tab = await browser.open()
            await tab.send(secrets[subject])
            ids[subject] = await conversation(browser, tab)
        for browser, own, other in ((alice, "1", "2"), (bob, "2", "1")):
            assert await listed(browser) == [secrets[own]]
            tab = browser.tab(query=f"?c={ids[other]}")
            shown = await tab.open()
            assert secrets[other] not in str(shown.values)
            assert secrets[other].encode() not in tab.received
        owners = {row["owner_id"] for row in here.rows()["agent_messages"]}
        assert owners == {proven(alice).id, proven(bob).id}
        assert {proven(alice).name, proven(bob).name} == {"alice", "bob"}


async def test_what_a_visitor_wrote_moves_once_and_only_theirs(tmp_path: Path, there: str) -> None:
    mine, hers = canary(), canary()
    async with (
        app_with_model(tmp_path, **with_accounts(there)) as here,
        Browser(here.url) as alice,
        Browser(here.url) as stranger,
        Browser(here.url) as at_work,
    ):
        for browser, text in ((alice, mine), (stranger, hers)):
            await (await browser.open()).send(text)
        visitor, other = proven(alice).id, proven(stranger).id
        await sign_in(alice, "1")
        account = proven(alice).id
        owners = [row["owner_id"] for row in here.rows()["agent_sessions"]]
        assert sorted(owners) == sorted([account, other])
        for table in here.rows().values():
            assert visitor not in {row["owner_id"] for row in table}
        assert await listed(alice) == [mine]
        assert await listed(stranger) == [hers]
        await at_work.open()
        await sign_in(at_work, "1")
        assert proven(at_work).id == account
        assert await listed(at_work) == [mine]
        await sign_out(at_work)
        await at_work.open()
        assert await listed(at_work) == []
        assert await listed(alice) == [mine]


async def test_the_cookie_rotates_and_the_old_one_reaches_nothing_of_the_account(
    tmp_path: Path, there: str
) -> None:
    secret = canary()
    async with (
        app_with_model(tmp_path, **with_accounts(there)) as here,
        Browser(here.url) as alice,
        Browser(here.url) as thief,
    ):
        tab = await alice.open()
        await tab.send(secret)
        kept = await conversation(alice, tab)
        old = cookie(alice)
        await sign_in(alice, "1")
        assert cookie(alice) != old
        assert cookie(alice, "cmw_login") == ""
        set_cookie(thief, old)
        again = thief.tab(session_hash=tab.hash, query=f"?c={kept}")
        shown = await again.open()
        assert secret not in str(shown.values)
        assert secret.encode() not in again.received
        assert await listed(thief) == []


async def test_a_running_answer_is_stopped_and_moves_with_its_conversation(
    tmp_path: Path, there: str
) -> None:
    secret, rest = canary(), canary()
    async with (
        app_with_model(tmp_path, "gated-3", **with_accounts(there)) as here,
        Browser(here.url) as alice,
    ):
        tab = await alice.open()
        event = await tab.join("send", [f"{secret} {rest}", "", "", None])
        async with Following(tab, event) as stream:
            await here.endpoint.wait_held(secret)
            await stream.seen(f"You said: {secret}")
            await sign_in(alice, "1")
            assert (await stream.done()).error is not None
        (answer,) = [r for r in here.rows()["agent_messages"] if r["role"] == "assistant"]
        assert (answer["owner_id"], answer["status"]) == (proven(alice).id, "interrupted")
        assert secret in answer["content"]


# -- what is no sign-in ----------------------------------------------------------------------


async def refused(here: AppWithModel, browser: Browser, address: str, status: int = 400) -> None:
    before = cookie(browser)
    found, page = await open_callback(browser, address)
    assert found == status, page
    told(page)
    assert cookie(browser) == before
    assert rows(here.database.parent, "SELECT * FROM agent_logins") == []


@pytest.mark.parametrize("state", ["", "x", "é", None])
async def test_a_wrong_state_signs_nobody_in(state: str | None, tmp_path: Path, there: str) -> None:
    async with app_with_model(tmp_path, **with_accounts(there)) as here, Browser(here.url) as alice:
        await alice.open()
        back = await sign_in_at_provider(await begin_sign_in(alice), "1")
        answer = query_of(back)
        del answer["state"]
        if state is not None:
            answer["state"] = state
        await refused(here, alice, f"{here.url}/login/callback?{urlencode(answer)}")


async def test_a_callback_is_worth_nothing_a_second_time(tmp_path: Path, there: str) -> None:
    async with (
        app_with_model(tmp_path, **with_accounts(there)) as here,
        Browser(here.url) as alice,
        Browser(here.url) as thief,
    ):
        await alice.open()
        back = await sign_in_at_provider(await begin_sign_in(alice), "1")
        before, state = cookie(alice), cookie(alice, "cmw_login")
        assert (await open_callback(alice, back))[0] == 303
        account = cookie(alice)
        for identity, kept in ((account, ""), (account, state), (before, state), (before, "")):
            set_cookie(thief, identity)
            set_cookie(thief, kept, "cmw_login")
            status, page = await open_callback(thief, back)
            assert status == 400
            told(page)
            assert cookie(thief) == identity
        assert len(rows(tmp_path, "SELECT * FROM agent_logins")) == 1


async def test_a_sign_in_that_another_visitor_began_signs_nobody_in(
    tmp_path: Path, there: str
) -> None:
    async with (
        app_with_model(tmp_path, **with_accounts(there)) as here,
        Browser(here.url) as alice,
        Browser(here.url) as mallory,
        Browser(here.url) as nobody,
    ):
        await alice.open()
        await mallory.open()
        back = await sign_in_at_provider(await begin_sign_in(mallory), "2")
        await refused(here, alice, back)
        set_cookie(alice, cookie(mallory, "cmw_login"), "cmw_login")
        await refused(here, alice, back)
        set_cookie(nobody, cookie(mallory, "cmw_login"), "cmw_login")
        await refused(here, nobody, back)


async def test_a_forged_or_changed_state_cookie_signs_nobody_in(tmp_path: Path, there: str) -> None:
    async with app_with_model(tmp_path, **with_accounts(there)) as here, Browser(here.url) as alice:
        await alice.open()
        back = await sign_in_at_provider(await begin_sign_in(alice), "1")
        state = cookie(alice, "cmw_login")
        payload, rest = state.split(".", 1)
        changed = orjson.loads(base64.urlsafe_b64decode(payload)) | {"path": "//evil.example"}
        repacked = base64.urlsafe_b64encode(orjson.dumps(changed)).decode()
        for forged in (
            f"{repacked}.{rest}",
            Identities(("x" * 32,)).sign_state(payload),
            Identities((KEY,)).sign(proven(alice), "cookie"),
            state[:-1],
        ):
            set_cookie(alice, forged, "cmw_login")
            await refused(here, alice, back)
        # What proves a sign-in proves no visitor.
        assert Identities((KEY,)).verify(state, "cookie") is None


async def test_a_sign_in_that_was_declined_is_told(tmp_path: Path, there: str) -> None:
    async with app_with_model(tmp_path, **with_accounts(there)) as here, Browser(here.url) as alice:
        await alice.open()
        there_again = await begin_sign_in(alice)
        state = query_of(there_again)["state"]
        query = urlencode({"error": "access_denied", "error_description": "<b>", "state": state})
        status, page = await open_callback(alice, f"{here.url}/login/callback?{query}")
        assert status == 400
        assert "cancelled or refused" in page
        assert "<b>" not in page


def unsigned(claims: Claims) -> str:
    parts = (orjson.dumps({"alg": "none"}), orjson.dumps(claims))
    encoded = [base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts]
    return ".".join([*encoded, ""])


CHANGES: dict[str, Callable[[Claims], Claims]] = {
    "another nonce": idp.random_nonce,
    "no nonce": lambda claims: {k: v for k, v in claims.items() if k != "nonce"},
    "another issuer": lambda claims: {**claims, "iss": "https://evil.example"},
    "another audience": lambda claims: {**claims, "aud": ["other"]},
    "another party": lambda claims: {**claims, "azp": "other"},
    "run out": idp.late,
    "no end": lambda claims: {k: v for k, v in claims.items() if k != "exp"},
    "no subject": lambda claims: {k: v for k, v in claims.items() if k != "sub"},
    "empty subject": lambda claims: {**claims, "sub": ""},
}
WRITERS: dict[str, Callable[[Claims], str]] = {
    "unsigned": unsigned,
    "another key": idp.other_key,
    "no token": lambda _: "",
}


@pytest.mark.parametrize("fault", [None, *CHANGES, *WRITERS, "changed after signing"])
async def test_only_what_the_provider_signed_for_this_sign_in_counts(
    fault: str | None, tmp_path: Path, there: str
) -> None:
    async with (
        forging(there) as (address, forger),
        app_with_model(tmp_path, **with_accounts(address)) as here,
        Browser(here.url) as alice,
    ):
        await alice.open()
        _break(forger, fault)
        asked = await begin_sign_in(alice)
        back = await sign_in_at_provider(asked.replace(address, there), "1")
        if fault is not None:
            await refused(here, alice, back)
            return
        # Without this, the others would also be refused by an app that signs nobody in.
        assert (await open_callback(alice, back))[0] == 303
        assert proven(alice).name == "alice"
        query = query_of(asked)
        assert query["code_challenge_method"] == "S256"
        assert len(query["code_challenge"]) == 43
        assert len(forger.posted[0]["code_verifier"]) >= 43


def _break(forger: Forger, fault: str | None) -> None:
    if fault in CHANGES:
        forger.change = CHANGES[fault]
    elif fault in WRITERS:
        forger.write = WRITERS[fault]
    elif fault is not None:

        def changed(claims: Claims) -> str:
            head, _, tail = forger.signed(claims).split(".")
            body = base64.urlsafe_b64encode(orjson.dumps({**claims, "sub": "3"})).decode()
            return f"{head}.{body.rstrip('=')}.{tail}"

        forger.write = changed


EVIL = (
    "//evil.example", "https://evil.example", "/\\evil.example", "\\\\evil.example", "evil.example",
    "/\t/evil.example", "\t//evil.example", "/\n/evil.example", " //evil.example", "///evil.example",
    "javascript:alert(1)", "/%0d%0aset-cookie:x\r\nset-cookie: x=1", "/é", "", "/" * 600,
    "http:/evil.example", "@evil.example", "/x" * 300,
)  # fmt: skip


async def test_a_sign_in_leads_to_this_site_alone(tmp_path: Path, there: str) -> None:
    for path in EVIL:
        assert local_path(path, "/here/") == "/here/", path
    assert local_path(None, "/here/") == "/here/"
    assert local_path("/?c=abc", "/here/") == "/?c=abc"
    async with app_with_model(tmp_path, **with_accounts(there)) as here, Browser(here.url) as alice:
        await alice.open()
        for path in ("//evil.example", "https://evil.example", "/?c=abc"):
            led = await sign_in(alice, "1", path)
            assert led == ("/?c=abc" if "=" in path else "/")
            # Who is signed in is led on at once, and there alone as well.
            assert await begin_sign_in(alice, path) == led
            await sign_out(alice)


async def test_a_provider_that_is_down_is_told_with_an_id(tmp_path: Path, there: str) -> None:
    gone = f"http://127.0.0.1:{free_port()}"
    async with app_with_model(tmp_path, **with_accounts(gone)) as here, Browser(here.url) as alice:
        await alice.open()
        await refused(here, alice, f"{here.url}/login", 502)
        assert last_text((await (await alice.open()).send("hello")).value) == "You said: hello"


async def test_a_provider_that_breaks_down_in_mid_sign_in_is_told_with_an_id(
    tmp_path: Path, there: str
) -> None:
    async with (
        forging(there) as (address, forger),
        app_with_model(tmp_path, **with_accounts(address)) as here,
        Browser(here.url) as alice,
    ):
        await alice.open()
        asked = await begin_sign_in(alice)
        back = await sign_in_at_provider(asked.replace(address, there), "1")
        forger.upstream = f"http://127.0.0.1:{free_port()}"
        await refused(here, alice, back, 502)


async def test_a_provider_that_says_it_is_another_is_not_believed(
    tmp_path: Path, there: str
) -> None:
    async with (
        forging(there) as (address, forger),
        app_with_model(tmp_path, **with_accounts(address)) as here,
        Browser(here.url) as alice,
    ):
        forger.host = "evil.example"
        await alice.open()
        await refused(here, alice, f"{here.url}/login", 502)
        forger.host = None
        assert await begin_sign_in(alice)


async def test_without_a_provider_there_are_no_accounts(tmp_path: Path, there: str) -> None:
    async with served(settings_of(tmp_path, there)) as app, Browser(app.url) as alice:
        await alice.open()
        await sign_in(alice, "1")
        token = cookie(alice)
    async with app_with_model(tmp_path) as here, Browser(here.url) as alice:
        set_cookie(alice, token)
        for method, path in (
            *(("GET", "/login"), ("GET", "/login/callback"), ("POST", "/logout")),
            *(("GET", "/login/consent"), ("POST", "/login/consent")),
        ):
            declared = {"cookie": "x=1", "content-type": "application/json"}
            headers = {} if method == "GET" else declared
            async with (
                aiohttp.ClientSession() as plain,
                plain.request(method, here.url + path, headers=headers) as answer,
            ):
                assert (answer.status, await answer.json()) == (404, {"detail": "Not Found"})
        await alice.open()
        assert proven(alice).kind == "visitor"


# -- signing out -----------------------------------------------------------------------------


async def test_after_sign_out_the_old_cookie_is_dead(tmp_path: Path, there: str) -> None:
    secret = canary()
    async with (
        app_with_model(tmp_path, **with_accounts(there)) as here,
        Browser(here.url) as alice,
        Browser(here.url) as thief,
    ):
        await alice.open()
        await sign_in(alice, "1")
        tab = await alice.open()
        await tab.send(secret)
        kept, old = await conversation(alice, tab), cookie(alice)
        set_cookie(thief, old)
        stolen = thief.tab(session_hash=tab.hash, query=f"?c={kept}")
        await stolen.open()
        assert secret.encode() in stolen.received
        assert await sign_out(alice) == 200
        assert proven(alice).kind == "visitor"
        with pytest.raises(RefusedError, match=SIGNED_OUT):
            await stolen.join("send", ["once more", "", "", None])
        assert await listed(thief) == []
        await alice.open()
        assert await listed(alice) == []
        # Its browser becomes a new visitor with the next page.
        await thief.open()
        assert proven(thief).kind == "visitor"
        assert await listed(thief) == []


async def test_sign_out_ends_an_open_stream_within_two_seconds(tmp_path: Path, there: str) -> None:
    secret, rest = canary(), canary()
    async with (
        app_with_model(tmp_path, "gated-3", **with_accounts(there)) as here,
        Browser(here.url) as alice,
        Browser(here.url) as at_work,
    ):
        for browser in (alice, at_work):
            await browser.open()
            await sign_in(browser, "1")
        other = await at_work.open()
        tab = await alice.open()
        event = await tab.join("send", [f"{secret} {rest}", "", "", None])
        async with Following(tab, event) as stream:
            await here.endpoint.wait_held(secret)
            await stream.seen(f"You said: {secret}")
            shown = tab.received.count(rest.encode())  # in her own question
            began = time.monotonic()
            assert await sign_out(alice) == 200
            done = await stream.done()
            await _ended(tab)
            assert time.monotonic() - began < 2
        assert "reload the page" in str(done.error)
        here.endpoint.release(secret)
        assert tab.received.count(rest.encode()) == shown
        (answer,) = [r for r in here.rows()["agent_messages"] if r["role"] == "assistant"]
        assert (answer["status"], answer["content"]) == ("interrupted", f"You said: {secret} ")
        # Another sign-in of the same account goes on.
        assert other._heartbeat is not None
        assert not other._heartbeat.done()
        assert await listed(at_work)


async def _ended(tab: Tab) -> None:
    assert tab._heartbeat is not None
    async with asyncio.timeout(WAIT):
        await tab._heartbeat


async def test_sign_out_takes_effect_on_another_replica_within_two_seconds(
    tmp_path: Path, there: str
) -> None:
    async with (
        served(settings_of(tmp_path, there)) as one,
        served(settings_of(tmp_path, there)) as two,
        Browser(one.url) as alice,
        Browser(two.url) as roaming,
    ):
        await alice.open()
        await sign_in(alice, "1")
        set_cookie(roaming, cookie(alice))
        tab = await roaming.open()
        assert (await tab.send("hello")).error is None
        await sign_out(alice)
        began = time.monotonic()
        with pytest.raises(RefusedError, match=SIGNED_OUT):
            async with asyncio.timeout(WAIT):
                while True:
                    is_late = time.monotonic() - began >= 2
                    await tab.run("stop", [])
                    assert not is_late
                    await asyncio.sleep(0.1)


async def test_a_login_outlives_a_restart_and_a_change_of_keys_and_so_does_its_end(
    tmp_path: Path, there: str
) -> None:
    async with (
        served(settings_of(tmp_path, there)) as app,
        Browser(app.url) as alice,
        Browser(app.url) as bob,
    ):
        await alice.open()
        await sign_in(alice, "1")
        await (await alice.open()).send("mine")
        await bob.open()
        await sign_in(bob, "2")
        live, account = cookie(alice), proven(alice).id
        dead = cookie(bob)
        await sign_out(bob)
    rotated = settings_of(tmp_path, there, secret_key=f"{'n' * 32},{KEY}")
    async with served(rotated) as app, Browser(app.url) as alice, Browser(app.url) as bob:
        set_cookie(alice, live)
        set_cookie(bob, dead)
        assert await listed(alice) == ["mine"]
        assert await listed(bob) == []
        await alice.open()
        assert cookie(alice) != live
        assert proven(alice, "n" * 32).id == account
        await bob.open()
        assert proven(bob, "n" * 32).kind == "visitor"
        await sign_out(alice)
        await alice.open()
        await sign_in(alice, "1")
        assert proven(alice, "n" * 32).id == account


async def test_an_account_whose_login_was_ended_is_refused_at_its_next_action(
    tmp_path: Path, there: str
) -> None:
    async with (
        app_with_model(tmp_path, admins=frozenset({"root"}), **with_accounts(there)) as here,
        Browser(here.url) as root,
    ):
        await root.open()
        await sign_in(root, "3")
        tab = await root.open()
        assert (await tab.send("hello")).error is None
        account = proven(root)
        database = open_database(f"sqlite:///{here.database}")
        assert await Logins(database).end(account.id, str(account.login))
        await database.dispose()
        await asyncio.sleep(1.1)
        with pytest.raises(RefusedError, match=SIGNED_OUT) as stopped:
            await tab.join("send", ["once more", "", "", None])
        assert stopped.value.status == 401
        async with root.http.post(f"{root.url}/history/forget", json={"sure": True}) as answer:
            assert answer.status == 401
        assert len(here.rows()["agent_sessions"]) == 1


async def test_another_site_and_a_plain_link_sign_nobody_out(tmp_path: Path, there: str) -> None:
    async with app_with_model(tmp_path, **with_accounts(there)) as here, Browser(here.url) as alice:
        await alice.open()
        await sign_in(alice, "1")
        before = cookie(alice)
        assert await sign_out(alice, origin="https://evil.example") == 403
        assert await sign_out(alice, **{"sec-fetch-site": "cross-site"}) == 403
        async with alice.http.get(f"{here.url}/logout") as answer:
            assert answer.status == 404
        assert cookie(alice) == before
        await (await alice.open()).send("still here")
        assert await listed(alice) == ["still here"]


# -- names and tokens ------------------------------------------------------------------------


async def test_the_name_of_an_admin_comes_from_the_signed_token_alone(
    tmp_path: Path, there: str
) -> None:
    found = {}
    async with app_with_model(tmp_path, **with_accounts(there), admins="root") as here:
        for subject in ("1", "3", "4"):
            async with Browser(here.url) as browser:
                await browser.open()
                await sign_in(browser, subject)
                async with browser.http.get(f"{here.url}/admin/statistics") as answer:
                    found[subject] = answer.status
                name = base64.urlsafe_b64encode(b"root").decode().rstrip("=")
                head, login, rest = cookie(browser).split(":", 2)
                forged = f"{head}:{login}:{name}.{rest.split('.', 1)[1]}"
                if subject != "3":
                    assert Identities((KEY,)).verify(forged, "cookie") is None
                else:
                    await sign_out(browser)
                    async with browser.http.get(f"{here.url}/admin/statistics") as answer:
                        assert answer.status == 404
    # User 1 calls herself "root", which is no user name; user 4 has none.
    assert found == {"1": 404, "3": 200, "4": 404}


async def test_an_identity_that_a_header_claims_is_not_believed(tmp_path: Path, there: str) -> None:
    secret = canary()
    names = (
        "x-forwarded-user",
        "x-remote-user",
        "x-auth-request-user",
        "remote-user",
        "authorization",
    )
    async with (
        app_with_model(tmp_path, **with_accounts(there)) as here,
        Browser(here.url) as alice,
        Browser(here.url, cookies=False) as thief,
    ):
        await alice.open()
        await sign_in(alice, "1")
        await (await alice.open()).send(secret)
        values = (cookie(alice), "alice", proven(alice).id)
        for name in (*names, "x-cmw-visitor"):
            for value in values:
                async with thief.http.get(f"{here.url}/history", headers={name: value}) as answer:
                    assert (await answer.json())["conversations"] == [], name


async def test_an_account_s_token_is_for_cookies_alone() -> None:
    identities = Identities((KEY,))
    account = new_login("https://id.example", "1", "ålice: 'x'")
    assert identities.verify(identities.sign(account, "cookie"), "cookie") == account
    again = identities.verify(identities.sign(account, "cookie"), "cookie")
    assert again is not None
    assert (again.login, again.name) == (account.login, account.name)
    assert identities.verify(identities.sign(account, "cookie"), "header") is None
    with pytest.raises(ValueError, match="cookies"):
        identities.sign(account, "header")
    with pytest.raises(ValueError, match="cookies"):
        identities.sign(Principal(account.id, "account"), "cookie")


async def test_an_account_is_one_provider_s_one_user() -> None:
    one = new_login("https://id.example", "1", "alice")
    assert re.fullmatch("a[0-9a-f]{32}", one.id)
    assert one == new_login("https://id.example", "1", "renamed")
    assert one.login != new_login("https://id.example", "1", "alice").login
    for issuer, subject in (("https://id.example", "2"), ("https://id2.example", "1")):
        assert new_login(issuer, subject, "alice") != one
    assert new_login("https://id.example1", "", None) != one
    for name in ("", "a" * 201, "al\nice", "root\u202e"):
        assert new_login("https://id.example", "1", name).name is None


async def test_the_cookie_of_a_sign_in_is_hidden_from_scripts_and_short_lived(
    tmp_path: Path, there: str
) -> None:
    async with app_with_model(tmp_path, **with_accounts(there)) as here, Browser(here.url) as alice:
        await alice.open()
        async with alice.http.get(f"{here.url}/login", allow_redirects=False) as answer:
            (written,) = answer.headers.getall("set-cookie")
            assert urlsplit(answer.headers["location"]).netloc == urlsplit(there).netloc
            assert answer.headers["cache-control"] == "no-store"
    assert "HttpOnly" in written
    assert "SameSite=Lax" in written
    assert "Max-Age=600" in written


async def test_an_import_ends_with_the_login_that_began_it(tmp_path: Path, there: str) -> None:
    message = {"role": "user", "content": "x"}
    values = [
        {"title": str(n), "started_at": "2020-01-01", "messages": [message]} for n in range(5_000)
    ]
    async with (
        served(settings_of(tmp_path, there)) as app,
        Browser(app.url) as alice,
    ):
        await alice.open()
        await sign_in(alice, "alice")
        principal = proven(alice)
        url, data = f"{alice.url}/history/import", orjson.dumps(values)
        async with alice.http.post(url, data=data, headers={"x-file-name": "x"}) as answer:
            assert answer.status == 200
            await anext(aiter(answer.content))
            await sign_out(alice)
        state = app.application.runtime.imports.state(principal)
        assert state is not None
        assert "You signed in or out meanwhile" in state["result"]["sentence"]
        assert app.application.runtime.budgets.used("imports") == 0
