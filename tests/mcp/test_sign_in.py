"""Sign-in at MCP servers by OAuth: each user's tokens are theirs, encrypted, revocable, and gone with them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from cmw_agent.identity.sealing import Sealer
from cmw_agent.tools.mcp.sign_ins import MAX_OF_OWNER, MAX_RUNNING
from tests.doubles.oauth_server import OAuthDouble, approve, oauth_double
from tests.harness import Browser, Served, Tab, last_text
from tests.isolation.toolhouse import owner_of
from tests.logbook import logbook
from tests.mcp.house import app_with_servers
from tests.rows import rows
from tests.service import wait_until

WHOAMI = "do wiki_whoami {}"
NOT_HERE = "is not a valid tool"


@contextlib.asynccontextmanager
async def two(folder: Path, **changes: Any) -> AsyncIterator[tuple[Served, OAuthDouble, Tab, Tab]]:
    """Serve the app with a server at which users sign in, and two visitors' pages."""
    async with contextlib.AsyncExitStack() as stack:
        oauth = await stack.enter_async_context(oauth_double())
        table = {"name": "wiki", "url": oauth.mcp.url, "auth": "oauth"}
        app, _ = await stack.enter_async_context(app_with_servers(folder, table, **changes))
        tabs = [await (await stack.enter_async_context(Browser(app.url))).open() for _ in range(2)]
        yield app, oauth, tabs[0], tabs[1]


def everything_in(folder: Path) -> bytes:
    """Return the bytes of all files."""
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


async def begin(tab: Tab) -> str:
    """Press Connect on the page; return the address at which the user signs in."""
    async with tab.http.post(f"{tab.url}/connections/link", json={"toolkit": "mcp:wiki"}) as answer:
        assert answer.status == 200, await answer.text()
        return str((await answer.json())["url"])


async def come_back(tab: Tab, address: str) -> tuple[int, str]:
    """Come back to the app in a tab's browser."""
    async with tab.http.get(address) as answer:
        return answer.status, await answer.text()


async def sign_in(tab: Tab, login: str) -> None:
    status, page = await come_back(tab, await approve(await begin(tab), login))
    assert (status, "wiki is connected" in page) == (200, True)


async def state(tab: Tab) -> str:
    async with tab.http.get(f"{tab.url}/connections") as answer:
        (found,) = (await answer.json())["toolkits"]
        return str(found["state"])


async def said(tab: Tab, text: str) -> str:
    return last_text((await tab.send(text)).value)


async def disconnect(tab: Tab) -> Any:
    body = {"toolkit": "mcp:wiki"}
    async with tab.http.post(f"{tab.url}/connections/disconnect", json=body) as answer:
        return (await answer.json())["disconnected"]


async def test_two_users_with_two_accounts_use_each_their_own(tmp_path: Path) -> None:
    async with two(tmp_path) as (_, oauth, alice, bob):
        assert NOT_HERE in await said(alice, WHOAMI)
        await sign_in(alice, "alice")
        assert NOT_HERE in await said(bob, WHOAMI)
        assert (await state(alice), await state(bob)) == ("connected", "none")
        await sign_in(bob, "bob")
        for _ in range(2):
            assert "you are alice" in await said(alice, WHOAMI)
            assert "you are bob" in await said(bob, WHOAMI)
        tokens = {session.token for session in oauth.mcp.sessions.values()}
        assert len(tokens) == 2


async def test_no_token_is_in_the_database_in_the_log_or_on_a_page(tmp_path: Path) -> None:
    with logbook() as book:
        async with two(tmp_path, log_level="DEBUG") as (app, oauth, alice, bob):
            await sign_in(alice, "alice")
            await said(alice, WHOAMI)
            await state(alice)
            tokens = oauth.secrets
            assert len(tokens) == 2
            runtime = app.application.runtime
            assert not [one for one in tokens if one in repr(runtime.services.mcp)]
            received = bytes(alice.received + bob.received).decode()
    stored = everything_in(tmp_path)
    for token in tokens:
        assert token.encode() not in stored
        assert token not in book.text
        assert token not in received
    (row,) = rows(tmp_path, "SELECT * FROM agent_mcp_servers")
    assert row["sealed"]


async def test_a_row_that_is_moved_to_another_owner_opens_for_nobody(tmp_path: Path) -> None:
    async with two(tmp_path) as (app, _, alice, bob):
        await sign_in(alice, "alice")
        sealed = rows(tmp_path, "SELECT sealed FROM agent_mcp_servers")[0]["sealed"]
        clients = app.application.runtime.services.mcp
        assert clients is not None
        await clients.accounts._grants.store.seal(owner_of(app, bob), "wiki", sealed)
        assert (await state(alice), await state(bob)) == ("connected", "none")
        assert NOT_HERE in await said(bob, WHOAMI)


async def test_who_comes_back_with_another_s_state_finds_nothing(tmp_path: Path) -> None:
    async with two(tmp_path) as (_, oauth, alice, bob):
        back = await approve(await begin(alice), "alice")
        guessed = back.replace("state=", "state=x")
        # The victim was led to the address of the attacker's sign-in: nothing is connected to them.
        status, page = await come_back(bob, back)
        assert (status, await come_back(bob, guessed)) == (404, (404, page))
        assert "sign in again in the settings" in page
        assert await state(bob) == "none"
        # Without a cookie, too.
        async with contextlib.AsyncExitStack() as stack:
            other = await (await stack.enter_async_context(Browser(bob.url))).open()
            assert (await come_back(other, back))[0] == 404
        assert len(oauth.codes) == 1  # nobody has exchanged it
        assert (await come_back(alice, back))[0] == 200
        assert (await come_back(alice, back))[0] == 404  # once alone
        assert "you are alice" in await said(alice, WHOAMI)


async def test_a_sign_in_on_its_way_ends_by_its_own_user_alone(tmp_path: Path) -> None:
    async with two(tmp_path) as (_, _, alice, bob):
        first = await begin(alice)
        # The first of them makes room for the last.
        latest = [await begin(bob) for _ in range(MAX_OF_OWNER + 1)][-1]
        async with bob.http.post(f"{bob.url}/history/forget", json={"sure": True}) as answer:
            assert answer.status == 200
        assert (await come_back(bob, await approve(latest, "bob")))[0] == 404
        assert (await come_back(alice, await approve(first, "alice")))[0] == 200
        assert "you are alice" in await said(alice, WHOAMI)


async def test_who_refuses_is_not_signed_in(tmp_path: Path) -> None:
    async with two(tmp_path) as (_, _, alice, _):
        query = parse_qs(urlsplit(await begin(alice)).query)
        back = f"{query['redirect_uri'][0]}?error=access_denied&state={query['state'][0]}"
        status, page = await come_back(alice, back)
        assert (status, "You have not signed in there" in page) == (409, True)
        assert await state(alice) == "none"


async def test_who_signs_out_has_no_token_here_and_none_there(tmp_path: Path) -> None:
    async with two(tmp_path) as (_, oauth, alice, bob):
        await sign_in(alice, "alice")
        await sign_in(bob, "bob")
        await said(alice, WHOAMI)
        assert await disconnect(alice)
        assert not await disconnect(alice)
        assert oauth.requests.count("/revoke") == 1
        assert set(oauth.refresh_tokens.values()) == {"bob"}
        assert await state(alice) == "none"
        assert "you are" not in await said(alice, WHOAMI)
        assert "you are bob" in await said(bob, WHOAMI)


async def test_who_is_forgotten_has_no_token(tmp_path: Path) -> None:
    async with two(tmp_path) as (app, _, alice, bob):
        await sign_in(alice, "alice")
        await sign_in(bob, "bob")
        await said(alice, WHOAMI)
        async with alice.http.post(f"{alice.url}/history/forget", json={"sure": True}) as answer:
            assert answer.status == 200
        (row,) = rows(tmp_path, "SELECT owner_id FROM agent_mcp_servers")
        assert row["owner_id"] == owner_of(app, bob)
        assert "you are" not in await said(alice, WHOAMI)
        assert "you are bob" in await said(bob, WHOAMI)


async def test_an_access_token_that_has_ended_is_renewed_and_kept(tmp_path: Path) -> None:
    async with two(tmp_path) as (_, oauth, alice, _):
        oauth.expires_in = -10
        await sign_in(alice, "alice")
        before = rows(tmp_path, "SELECT sealed FROM agent_mcp_servers")
        assert oauth.mcp.logins is not None
        oauth.mcp.logins.clear()  # the first token is worth nothing any more
        oauth.expires_in = 3600
        assert "you are alice" in await said(alice, WHOAMI)
        assert rows(tmp_path, "SELECT sealed FROM agent_mcp_servers") != before
        assert oauth.requests.count("/token") == 2
        assert oauth.requests.count("/register") == 1


async def test_a_grant_that_was_revoked_there_costs_one_sentence(tmp_path: Path) -> None:
    async with two(tmp_path) as (_, oauth, alice, _):
        await sign_in(alice, "alice")
        assert "you are alice" in await said(alice, WHOAMI)
        assert oauth.mcp.logins is not None
        oauth.mcp.logins.clear()
        oauth.refresh_tokens.clear()
        assert "sign in at wiki in the settings" in await said(alice, WHOAMI)
        await sign_in(alice, "alice")
        assert "you are alice" in await said(alice, WHOAMI)


@pytest.mark.parametrize(
    "metadata",
    [
        {"authorization_servers": ["http://169.254.169.254"]},
        {"token_endpoint": "http://169.254.169.254/token"},
        {"issuer": "https://another.example.com"},
        {"registration_endpoint": "http://[fe80::1]/register"},
    ],
)
async def test_a_server_that_leads_elsewhere_gets_no_sign_in(
    tmp_path: Path, metadata: dict[str, Any]
) -> None:
    async with two(tmp_path) as (_, oauth, alice, _):
        oauth.metadata = metadata
        body = {"toolkit": "mcp:wiki"}
        async with alice.http.post(f"{alice.url}/connections/link", json=body) as answer:
            content = await answer.json()
            status = answer.status
        if status == 200:  # what is wrong shows at the exchange
            status, _ = await come_back(alice, await approve(content["url"], "alice"))
        assert status == 502
        assert await state(alice) == "none"


async def test_no_script_is_an_address_for_signing_in(tmp_path: Path) -> None:
    async with two(tmp_path) as (_, oauth, alice, _):
        oauth.metadata = {"authorization_endpoint": "javascript:alert(1)"}
        assert (await begin(alice)).startswith(oauth.issuer)


async def test_a_server_without_sign_in_and_an_unknown_one_offer_none(tmp_path: Path) -> None:
    async with two(tmp_path) as (_, oauth, alice, _):
        oauth.mcp.logins = None
        for slug, status in (("mcp:wiki", 409), ("mcp:other", 404), ("asana", 404)):
            body = {"toolkit": slug}
            async with alice.http.post(f"{alice.url}/connections/link", json=body) as answer:
                assert answer.status == status
                is_told = "This server was not found." in await answer.text()
                assert is_told == (slug == "mcp:other")


def test_what_is_sealed_opens_for_its_owner_and_purpose_alone() -> None:
    sealer = Sealer(["new" * 8, "old" * 8])
    old = Sealer(["old" * 8]).seal("a", "p", "hush")
    assert sealer.unseal("a", "p", old) == "hush"
    assert Sealer(["new" * 8]).unseal("a", "p", old) is None
    assert sealer.unseal("b", "p", old) is None
    assert sealer.unseal("a", "q", old) is None
    assert sealer.unseal("a", "p", old[:-4] + "AAAA") is None
    assert sealer.unseal("a", "p", "rubbish") is None
    assert "hush" not in old
    assert sealer.seal("a", "p", "hush") != sealer.seal("a", "p", "hush")
    with pytest.raises(ValueError, match="owner"):
        sealer.seal("", "p", "hush")


async def test_who_begins_again_and_again_keeps_nobody_else_from_signing_in(tmp_path: Path) -> None:
    reached = 0

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal reached
        reached += 1
        with contextlib.suppress(ConnectionError):
            while await reader.read(1_000):
                pass
        writer.close()

    async def link(tab: Tab) -> int:
        body = {"toolkit": "mcp:wiki"}
        async with tab.http.post(f"{tab.url}/connections/link", json=body) as answer:
            return answer.status

    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(await asyncio.start_server(silent, "127.0.0.1", 0))
        port = server.sockets[0].getsockname()[1]
        table = {"name": "wiki", "url": f"http://127.0.0.1:{port}/mcp", "auth": "oauth"}
        app, _ = await stack.enter_async_context(app_with_servers(tmp_path, table))
        tabs = [await (await stack.enter_async_context(Browser(app.url))).open() for _ in range(2)]
        waiting = [asyncio.create_task(link(tabs[0])) for _ in range(MAX_RUNNING)]
        await wait_until(lambda: reached == MAX_RUNNING)
        assert await link(tabs[0]) == 503
        waiting.append(asyncio.create_task(link(tabs[1])))
        await wait_until(lambda: reached == MAX_RUNNING + 1)
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
