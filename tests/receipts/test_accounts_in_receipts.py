"""Receipts and approvals name the account that a call uses, and its owner alone reads that."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from cmw_agent.identity import channel_principals
from memory.receipts import broken
from tests.accounts import connected
from tests.harness import Tab, last_text
from tests.isolation.test_moved_connections import LIST, post
from tests.isolation.test_several_accounts import Two, shown
from tests.isolation.test_tools import asked
from tests.isolation.toolhouse import (
    app_with_tools,
    new_visitor,
    pending_approvals,
    settle_approval,
)
from tests.mcp.test_sign_in import WHOAMI, said, sign_in
from tests.mcp.test_sign_in import two as two_at_server
from tests.receipts.test_context_receipts import receipts
from tests.rest import KEYS, SHOP, client
from tests.service import wait_until

# As it was written before.
OLD = {
    "version": 1,
    "conversation": "cccccccccccccccccccccc",
    "question": 1,
    "answer": 2,
    "agent": "assistant",
    "messages": [1],
    "files": [],
    "tools_offered": 1,
    "status": "complete",
    "tools_used": [
        {
            "name": "calculate",
            "arguments_sha256": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "result_sha256": "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
            "ok": True,
        }
    ],
    "previous": None,
    "hash": "6cd6e47910e244961f8f27b94becb22b6103239b2773e03fcc4aab87368de321",
}
CREATE = 'do ASANA_CREATE_TASK {"name": "Buy milk"}'


@contextlib.asynccontextmanager
async def two(folder: Path, **changes: Any) -> AsyncIterator[Two]:
    async with contextlib.AsyncExitStack() as stack:
        house = await stack.enter_async_context(app_with_tools(folder, **changes))
        yield Two(house, await new_visitor(stack, house), await new_visitor(stack, house))


async def get(tab: Tab, path: str, **params: str) -> bytes:
    async with tab.http.get(f"{tab.url}/{path}", params=params) as answer:
        assert answer.status == 200
        return await answer.read()


async def conversation(tab: Tab) -> str:
    listed = json.loads(await get(tab, "history"))["conversations"]
    return str(listed[0]["id"])


async def saved(tab: Tab) -> list[dict[str, Any]]:
    """Return the receipts of a tab's conversation, as its page saves them."""
    body = await get(tab, "history/export", id=await conversation(tab), format="receipts")
    found = receipts(body)
    assert broken(found) == []
    return found


async def accounts(tab: Tab) -> list[str | None]:
    """Return the accounts of all calls of a tab's conversation, by its receipts."""
    return [call.get("account") for receipt in await saved(tab) for call in receipt["tools_used"]]


async def details(tab: Tab, seq: int) -> dict[str, Any]:
    body = await get(tab, "history/answer", id=await conversation(tab), seq=str(seq))
    found: dict[str, Any] = json.loads(body)
    return found


async def choose(tab: Tab, label: str) -> None:
    (found,) = (one for one in await shown(tab) if one["label"] == label)
    assert (await post(tab, "connections/choose", {"account": found["id"]}))[0] == 200


async def test_a_receipt_names_the_account_of_each_call_by_an_id_that_opens_nothing(
    tmp_path: Path,
) -> None:
    async with two(tmp_path, approval="none") as they:
        ours = [await they.connect(they.alice, f"{name}@example.com") for name in ("work", "home")]
        await said(they.alice, LIST)
        await choose(they.alice, "work@example.com")
        await said(they.alice, LIST)
        await said(they.alice, 'do calculate {"expression": "1"}')
        home, work, none = await accounts(they.alice)
        assert none is None
        assert home != work
        assert None not in (home, work)
        seen = await details(they.alice, 2)
        assert seen["tools"][0]["account"] == {"id": home, "label": "home@example.com"}
        assert seen["seen"]["tools_used"][0]["account"] == home
        text = json.dumps(await saved(they.alice))
        for secret in (*ours, *(one["id"] for one in await shown(they.alice)), "@example.com"):
            assert secret not in text
        # What somebody else connects is another account, and the receipt of a failure names it, too.
        await they.connect(they.bob, "work@example.com")
        await said(they.bob, 'do ASANA_DELETE_TASK {"name": "none"}')
        (own,) = await accounts(they.bob)
        assert own not in (None, home, work)


async def test_a_receipt_names_the_session_at_a_server(tmp_path: Path) -> None:
    async with two_at_server(tmp_path) as (_, _, alice, bob):
        for tab, login in ((alice, "alice"), (bob, "bob")):
            await sign_in(tab, login)
            assert login in await said(tab, WHOAMI)
        await said(alice, WHOAMI)
        first, second = await accounts(alice)
        (other,) = await accounts(bob)
        assert first == second is not None
        assert other not in (first, None)
        assert (await details(alice, 2))["tools"][0]["account"] == {"id": first, "label": "wiki"}


async def test_an_approval_names_the_account_where_there_are_several(tmp_path: Path) -> None:
    async with two(tmp_path) as they:
        for label, named in (("work", None), ("home", "home@example.com")):
            await they.connect(they.alice, f"{label}@example.com")
            running, conversation, call = await asked(they.house, they.alice, CREATE)
            (card,) = await pending_approvals(they.alice, conversation)
            assert card["account"] == named
            assert await settle_approval(they.alice, conversation, call, "denied") == 200
            await running
        assert await accounts(they.alice) == [None, None], "no call was made"


async def test_a_call_is_made_with_the_account_that_was_shown_or_not_at_all(
    tmp_path: Path,
) -> None:
    async with two(tmp_path) as they:
        await they.connect(they.alice, "work@example.com")
        home = await they.connect(they.alice, "home@example.com")
        running, conversation, call = await asked(they.house, they.alice, CREATE)
        await choose(they.alice, "work@example.com")
        assert await settle_approval(they.alice, conversation, call, "approved") == 200
        await running
        await choose(they.alice, "home@example.com")
        running, conversation, call = await asked(they.house, they.alice, CREATE)
        (own,) = (one for one in await shown(they.alice) if one["used"])
        await post(they.alice, "connections/disconnect", {"account": own["id"]})
        assert await settle_approval(they.alice, conversation, call, "approved") == 200
        assert "You have connected no such account." in last_text((await running).value)
        made = they.house.composio.to("POST /tools/execute")
        assert [one.body["connected_account_id"] for one in made] == [home]
        first, second = await accounts(they.alice)
        assert (first is None, second) == (False, None)


async def test_by_rest_an_approval_names_the_account_too(tmp_path: Path) -> None:
    async with (
        app_with_tools(tmp_path, api_keys=KEYS) as house,
        client(house.app.url, SHOP) as shop,
    ):
        owner = channel_principals.client("shop", "assistant", "buyer")
        for _ in range(2):
            await connected(house.app, house.composio, owner.id)
        running = asyncio.create_task(shop.say(CREATE, "buyer", Accept="text/event-stream"))
        await wait_until(lambda: len(house.app.application.runtime.approvals) == 1)
        (card,) = (await shop.at("buyer", "/approvals")).json["waiting"]
        assert card["account"] == "Asana 2"
        decision = {"call": card["call"], "answer": "denied"}
        path = "/api/chat/assistant/sessions/buyer/approvals"
        assert (await shop.ask("POST", path, decision)).status == 204
        await running


def test_receipts_of_before_accounts_were_named_hold() -> None:
    assert broken([OLD]) == []
    assert broken([{**OLD, "tools_used": []}]) != []
