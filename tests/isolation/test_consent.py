"""Consent at sign-in: a visitor's data moves to the account only by the person's decision."""

import base64
import json
import re
import time
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
import pytest_asyncio
from itsdangerous import TimestampSigner
from starlette.types import Receive, Scope, Send

from cmw_agent.identity.principals import Identities, Principal
from cmw_agent.tools.composio.accounts import ConnectionUser
from cmw_agent.web.security.guard import PRINCIPAL
from tests.accounts import connected
from tests.harness import Browser, Tab, canary, last_text
from tests.isolation import provider as idp
from tests.isolation.provider import (
    CONSENT,
    consent_page,
    cookie,
    listed_digest,
    send_consent,
    set_cookie,
    sign_in,
    sign_in_to_consent,
    sign_out,
)
from tests.isolation.test_login import KEY, conversation, listed, proven, with_accounts
from tests.isolation.test_schedules import EVERY_TASK
from tests.isolation.test_tools import asked as waits
from tests.isolation.test_tools import create
from tests.isolation.toolhouse import AppWithTools, app_with_tools, settle_approval
from tests.isolation.world import AppWithModel, app_with_model
from tests.rows import rows
from tests.scheduled import FakeClock, RecordingObserver, run_due, scheduler_of

pytestmark = pytest.mark.asyncio(loop_scope="module")
SHOP = "<b>Shop</b> & pay"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def there() -> AsyncIterator[str]:
    async with idp.provider() as address:
        yield address


def everything(folder: Path) -> dict[str, Any]:
    tables = ("sessions", "messages", "turns", "files", "schedules", "logins")
    return {name: rows(folder, f"SELECT * FROM agent_{name}") for name in tables}  # noqa: S608


async def refused(here: AppWithModel, browser: Browser, status: int, choice: str = "move") -> None:
    """The choice is refused, and nothing has changed."""
    folder, identity = here.database.parent, cookie(browser)
    before = everything(folder)
    found, content = await send_consent(browser, choice, "0" * 64)
    assert (found, sorted(content)) == (status, ["detail"])
    assert everything(folder) == before
    assert cookie(browser) == identity


# -- what is asked ---------------------------------------------------------------------------


async def test_before_the_choice_nothing_moves_and_nobody_is_signed_in(
    tmp_path: Path, there: str
) -> None:
    async with app_with_model(tmp_path, **with_accounts(there)) as here, Browser(here.url) as alice:
        tab = await alice.open()
        await tab.send(SHOP)
        await tab.send(f"/schedule {FakeClock().far}: pay")
        before, identity = everything(tmp_path), cookie(alice)
        page = await sign_in_to_consent(alice, "1", "/?c=abc")
        assert everything(tmp_path) == before
        assert cookie(alice) == identity
        assert await listed(alice) == [SHOP]
        assert "<strong><bdi>alice</bdi></strong>" in page
        assert "<bdi>&lt;b&gt;Shop&lt;/b&gt; &amp; pay</bdi>" in page
        assert SHOP not in page
        assert "1 conversation<" in page
        assert "1 recurring task will not move" in page
        # Looking again, and going back to the chat, decides nothing.
        assert listed_digest(await consent_page(alice)) == listed_digest(page)
        assert (await (await alice.open()).send("still here")).error is None
        assert everything(tmp_path)["logins"] == []


async def test_a_visitor_with_nothing_is_not_asked(tmp_path: Path, there: str) -> None:
    async with (
        app_with_model(tmp_path, **with_accounts(there)) as here,
        Browser(here.url) as alice,
        Browser(here.url) as bob,
    ):
        await alice.open()
        await (await bob.open()).send("another's")
        # Without a sign-in that waits there is no such question.
        for browser in (alice, bob):
            async with browser.http.get(here.url + CONSENT, allow_redirects=False) as answer:
                assert (answer.status, answer.headers["location"]) == (303, "/")
        assert await sign_in(alice, "1", "/?c=abc", choice="none") == "/?c=abc"
        assert proven(alice).name == "alice"


async def test_what_is_left_stays_the_visitor_s_and_never_becomes_the_account_s(
    tmp_path: Path, there: str
) -> None:
    secret = canary()
    async with (
        app_with_model(tmp_path, **with_accounts(there)) as here,
        Browser(here.url) as alice,
        Browser(here.url) as writer,
    ):
        tab = await alice.open()
        await tab.send(secret)
        await tab.send(f"/schedule {FakeClock().far}: pay")
        kept, old, before = await conversation(alice, tab), cookie(alice), everything(tmp_path)
        # The path names the visitor's conversation; the account is led to none.
        assert await sign_in(alice, "1", f"/?c={kept}", choice="leave") == "/"
        assert proven(alice).name == "alice"
        after = everything(tmp_path)
        assert len(after.pop("logins")) == 1
        # Its page was closed with the sign-in, as by its visitor.
        assert {k: v for k, v in before.items() if k not in ("logins", "sessions")} == {
            k: v for k, v in after.items() if k != "sessions"
        }
        assert await listed(alice) == []
        again = alice.tab(session_hash=tab.hash, query=f"?c={kept}")
        await again.open()
        assert secret.encode() not in again.received
        async with alice.http.get(f"{here.url}{CONSENT}", allow_redirects=False) as answer:
            assert answer.status == 303
        set_cookie(writer, old)
        assert await listed(writer) == [secret]
        await sign_out(alice)
        await alice.open()
        await sign_in(alice, "1", choice="none")
        assert await listed(alice) == []


async def test_what_has_come_since_the_list_was_shown_moves_nothing(
    tmp_path: Path, there: str
) -> None:
    """The writer of a planted visitor goes on writing while the other reads the list."""
    async with (
        app_with_model(tmp_path, **with_accounts(there)) as here,
        Browser(here.url) as alice,
        Browser(here.url) as mallory,
    ):
        await (await alice.open()).send("harmless")
        set_cookie(mallory, cookie(alice))
        seen = listed_digest(await sign_in_to_consent(alice, "1"))
        await (await mallory.open()).send("planted")
        before, identity = everything(tmp_path), cookie(alice)
        status, content = await send_consent(alice, "move", seen)
        assert status == 409
        assert "look at it again" in content["detail"]
        assert everything(tmp_path)["messages"] == before["messages"]
        assert everything(tmp_path)["logins"] == []
        assert cookie(alice) == identity
        page = await consent_page(alice)
        assert "planted" in page
        assert (await send_consent(alice, "move", listed_digest(page)))[0] == 200
        assert sorted(await listed(alice)) == ["harmless", "planted"]
        assert await listed(mallory) == []
        # Whoever planted the visitor writes on as that visitor, and reaches nothing.
        await (await mallory.open()).send("once more")
        assert sorted(await listed(alice)) == ["harmless", "planted"]


# -- what never moves ------------------------------------------------------------------------


async def allowed(house: AppWithTools, tab: Tab, name: str) -> str:
    """Let the visitor's conversation create tasks without asking; return its id."""
    running, found, call = await waits(house, tab, create(name))
    assert await settle_approval(tab, found, call, "approved", always=True) == 200
    await running
    return found


async def test_neither_tasks_nor_permissions_reach_the_connected_accounts_of_who_signs_in(
    tmp_path: Path, there: str
) -> None:
    async with (
        app_with_tools(tmp_path, **with_accounts(there)) as house,
        Browser(house.app.url) as alice,
    ):
        # Somebody else was here first.
        tab, clock, heard = await alice.open(), FakeClock(), RecordingObserver()
        await house.connect(tab)
        planted = await allowed(house, tab, "one")
        await tab.send(f"/schedule {clock.far}: {create('stolen')}")
        assert len(rows(tmp_path, EVERY_TASK)) == 1
        await sign_in(alice, "1", f"/?c={planted}")
        assert rows(tmp_path, EVERY_TASK) == []
        account = ConnectionUser.of(proven(alice)).value
        await connected(house.app, house.composio, proven(alice).id)
        clock.jump()
        await run_due(scheduler_of(house.app.application.runtime, clock, heard))
        assert heard.outcomes == []
        # The conversation is hers now, and asks again.
        tab = await alice.open(query=f"?c={planted}")
        running, found, call = await waits(house, tab, create("stolen"))
        assert found == planted
        assert await settle_approval(tab, found, call, "denied") == 200
        await running
        assert house.composio.tasks.get(account, []) == []


@pytest.mark.parametrize("trusted", [False, True])
async def test_with_nobody_there_no_permission_of_a_user_holds(
    trusted: bool, tmp_path: Path
) -> None:
    changes = {"trusted_tools": "ASANA_CREATE_TASK"} if trusted else {}
    async with app_with_tools(tmp_path, **changes) as house, Browser(house.app.url) as alice:
        tab, clock, heard = await alice.open(), FakeClock(), RecordingObserver()
        user = house.user_of(tab)
        await house.connect(tab)
        if trusted:
            await tab.send(create("one"))
        else:
            await allowed(house, tab, "one")
        assert "tools said" in last_text((await tab.send(create("two"))).value)
        await tab.send(f"/schedule {clock.far}: {create('unattended')}")
        clock.jump()
        await run_due(scheduler_of(house.app.application.runtime, clock, heard))
        assert heard.outcomes == ["complete"]
        # What the operator trusts runs; what the user has allowed waits for the user.
        assert house.composio.tasks[user] == ["one", "two", *(["unattended"] if trusted else [])]
        assert ("denied this call" in house.endpoint.requests[-1].tool_results[0]) is not trusted
        if not trusted:  # attended, it still holds
            await tab.send(create("three"))
            assert house.composio.tasks[user] == ["one", "two", "three"]


# -- the choice is made once, by the one who was asked -----------------------------------------


async def test_a_choice_counts_once_and_not_after_signing_out(tmp_path: Path, there: str) -> None:
    async with (
        app_with_model(tmp_path, **with_accounts(there)) as here,
        Browser(here.url) as alice,
        Browser(here.url) as thief,
    ):
        await (await alice.open()).send("mine")
        page = await sign_in_to_consent(alice, "1")
        old, waiting = cookie(alice), cookie(alice, "cmw_consent")
        assert (await send_consent(alice, "move", listed_digest(page)))[0] == 200
        assert cookie(alice, "cmw_consent") == ""
        account, before = cookie(alice), everything(tmp_path)
        for _ in range(2):
            for identity in (old, account, ""):
                set_cookie(thief, identity)
                set_cookie(thief, waiting, "cmw_consent")
                for choice in ("move", "leave"):
                    status, _ = await send_consent(thief, choice, listed_digest(page))
                    assert status in (400, 401, 404)
                assert cookie(thief) == identity
            assert everything(tmp_path)["messages"] == before["messages"]
            assert len(everything(tmp_path)["logins"]) == 1
            await sign_out(alice)
        assert await listed(alice) == []


async def test_another_visitor_cannot_make_the_choice(tmp_path: Path, there: str) -> None:
    async with (
        app_with_model(tmp_path, **with_accounts(there)) as here,
        Browser(here.url) as alice,
        Browser(here.url) as mallory,
        Browser(here.url, cookies=False) as nobody,
    ):
        await (await alice.open()).send("mine")
        await (await mallory.open()).send("planted")
        await sign_in_to_consent(mallory, "2")
        await refused(here, alice, 400)
        # Mallory's sign-in in Alice's browser: it would make her chats Mallory's.
        set_cookie(alice, cookie(mallory, "cmw_consent"), "cmw_consent")
        for choice in ("move", "leave"):
            await refused(here, alice, 400, choice)
        sent = {"headers": {"cookie": f"cmw_consent={cookie(mallory, 'cmw_consent')}"}}
        assert (await send_consent(nobody, "leave", "x", **sent))[0] == 404
        # Nor can a token that a script can send.
        token = Identities((KEY,)).sign(proven(mallory), "header")
        sent = {"headers": {"x-cmw-visitor": token}}
        assert (await send_consent(mallory, "leave", "x", **sent))[0] == 400
        assert everything(tmp_path)["logins"] == []


def earlier(text: bytes, age: int) -> str:
    """A token of a sign-in that was asked `age` seconds ago."""

    class Earlier(TimestampSigner):
        def get_timestamp(self) -> int:
            return int(time.time()) - age

    signer = Earlier(KEY, salt="cmw.login.consent", digest_method=sha256, key_derivation="hmac")
    return signer.sign(text).decode()


async def test_a_forged_or_old_question_signs_nobody_in(tmp_path: Path, there: str) -> None:
    async with app_with_model(tmp_path, **with_accounts(there)) as here, Browser(here.url) as alice:
        await (await alice.open()).send("mine")
        await sign_in_to_consent(alice, "1")
        waiting = cookie(alice, "cmw_consent")
        payload, rest = waiting.split(".", 1)
        fields = orjson.loads(base64.urlsafe_b64decode(payload))
        changed = base64.urlsafe_b64encode(orjson.dumps({**fields, "account": "a" + "0" * 32}))
        for forged in (
            f"{changed.decode()}.{rest}",
            waiting[:-1],
            earlier(payload.encode(), 601),
            Identities((KEY,)).sign_state(payload),  # what begins a sign-in
            Identities((KEY,)).sign(proven(alice), "cookie"),
            Identities(("x" * 32,)).signer("login.consent").sign(payload).decode(),
            "",
        ):
            set_cookie(alice, forged, "cmw_consent")
            await refused(here, alice, 400)
        # What waits for a choice proves nobody, and is no sign-in that has begun.
        identities = Identities((KEY,))
        assert identities.verify(waiting, "cookie") is None
        assert identities.verify_state(waiting, 600) is None
        set_cookie(alice, earlier(payload.encode(), 590), "cmw_consent")
        assert (await send_consent(alice, "move"))[0] == 200
        assert await listed(alice) == ["mine"]


async def test_another_site_and_a_form_cannot_make_the_choice(tmp_path: Path, there: str) -> None:
    async with app_with_model(tmp_path, **with_accounts(there)) as here, Browser(here.url) as alice:
        await (await alice.open()).send("mine")
        page = await sign_in_to_consent(alice, "1")
        choice = json.dumps({"choice": "move", "shown": listed_digest(page)})
        for headers in ({"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}):
            assert (await send_consent(alice, "move", listed_digest(page), headers=headers))[
                0
            ] == 403
        for kind in ("text/plain", "application/x-www-form-urlencoded", "application/json\xa0", ""):
            headers = {"content-type": kind}
            async with alice.http.post(
                here.url + CONSENT, data=choice.encode(), headers=headers
            ) as answer:
                assert answer.status == 415, kind
        for body in (b"", b"[]", b'{"choice":"x"}', b'{"choice":"move"}', b'{"choice":["move"]}'):
            headers = {"content-type": "application/json"}
            async with alice.http.post(here.url + CONSENT, data=body, headers=headers) as answer:
                assert answer.status == 400, body
        assert everything(tmp_path)["logins"] == []
        assert await listed(alice) == ["mine"]


async def test_the_choice_is_declared_as_json_also_where_no_guard_has_looked(
    tmp_path: Path, there: str
) -> None:
    async with app_with_model(tmp_path, **with_accounts(there)) as here:
        own, visitor = here.app.application.own, Principal("v" + "0" * 32, "visitor")

        async def known(scope: Scope, receive: Receive, send: Send) -> None:
            await own({**scope, PRINCIPAL: visitor}, receive, send)

        transport = httpx.ASGITransport(known)
        async with httpx.AsyncClient(transport=transport, base_url=here.url) as browser:
            for kind, status in (("text/plain", 415), ("", 415), ("application/json", 400)):
                answer = await browser.post(
                    CONSENT, content=b'{"choice":"leave"}', headers={"content-type": kind}
                )
                assert answer.status_code == status, kind


async def test_the_question_s_cookie_is_hidden_from_scripts_and_short_lived(
    tmp_path: Path, there: str
) -> None:
    async with app_with_model(tmp_path, **with_accounts(there)) as here, Browser(here.url) as alice:
        await (await alice.open()).send("mine")
        back = await idp.sign_in_at_provider(await idp.begin_sign_in(alice), "1")
        async with alice.http.get(back, allow_redirects=False) as answer:
            written = answer.headers.getall("set-cookie")
        (found,) = [line for line in written if line.startswith("cmw_consent=")]
        assert re.search(r"Path=/; Max-Age=600; HttpOnly; SameSite=Lax$", found)
        assert not [line for line in written if line.startswith("cmw_visitor=")]
