"""Several accounts of one app: their owner alone sees, chooses and disconnects each."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cmw_agent.tools.composio.own_accounts import MAX_ACCOUNTS
from tests.accounts import follow, last_link, visit
from tests.harness import Tab
from tests.isolation.test_moved_connections import LIST, MISSING, post
from tests.isolation.toolhouse import AppWithTools, app_with_tools, new_visitor
from tests.mcp.test_sign_in import said

UNKNOWN = "You have connected no such account."


@dataclass(frozen=True, slots=True)
class Two:
    """Two visitors of an app with tools."""

    house: AppWithTools
    alice: Tab
    bob: Tab

    async def connect(self, tab: Tab, email: str | None = None) -> str:
        """Connect an account as the page does; return Composio's id."""
        status, content = await post(tab, "connections/link", {"toolkit": "asana"})
        assert status == 200, content
        await follow(tab, content["url"])
        double, link = self.house.composio, last_link(self.house.composio)
        account = double.connect(link.body["user_id"])
        double.accounts[account].email = email
        assert (await visit(tab, link.body["callback_url"]))[0] == 200
        return account

    async def used(self, tab: Tab) -> str:
        """Run a tool; return the account that it ran on."""
        assert "The tools said" in await said(tab, LIST)
        return str(self.house.composio.to("POST /tools/execute")[-1].body["connected_account_id"])


@contextlib.asynccontextmanager
async def two(folder: Path) -> AsyncIterator[Two]:
    async with contextlib.AsyncExitStack() as stack:
        house = await stack.enter_async_context(app_with_tools(folder, approval="none"))
        yield Two(house, await new_visitor(stack, house), await new_visitor(stack, house))


async def shown(tab: Tab) -> list[dict[str, Any]]:
    async with tab.http.get(f"{tab.url}/connections") as answer:
        (toolkit,) = (await answer.json())["toolkits"]
        accounts: list[dict[str, Any]] = toolkit["accounts"]
        return accounts


async def test_tools_run_on_the_account_that_was_chosen(tmp_path: Path) -> None:
    async with two(tmp_path) as they:
        first = await they.connect(they.alice, "work@example.com")
        second = await they.connect(they.alice)
        assert await they.used(they.alice) == second
        found = await shown(they.alice)
        assert [(one["label"], one["used"]) for one in found] == [
            ("work@example.com", False),
            ("Asana 2", True),
        ]
        assert await post(they.alice, "connections/choose", {"account": found[0]["id"]}) == (
            200,
            {},
        )
        assert await they.used(they.alice) == first
        # Disconnected alone: the other is used then.
        body = {"account": found[0]["id"]}
        assert await post(they.alice, "connections/disconnect", body) == (
            200,
            {"disconnected": True},
        )
        assert list(they.house.composio.accounts) == [second]
        assert await they.used(they.alice) == second
        body = {"toolkit": "asana"}
        await post(they.alice, "connections/disconnect", body)
        assert they.house.composio.accounts == {}
        assert MISSING in await said(they.alice, LIST)


async def test_another_s_account_is_one_that_is_not_there(tmp_path: Path) -> None:
    async with two(tmp_path) as they:
        kept = [await they.connect(they.alice) for _ in range(2)]
        own = await they.connect(they.bob)
        before = await shown(they.alice)
        for path in ("choose", "disconnect"):
            for account in (before[0]["id"], kept[0], "none", "", "\0"):
                status, content = await post(they.bob, f"connections/{path}", {"account": account})
                assert (status, content["detail"].startswith(UNKNOWN)) == (404, True)
        assert await shown(they.alice) == before
        assert await they.used(they.alice) == kept[1]
        assert await they.used(they.bob) == own
        assert set(they.house.composio.accounts) == {*kept, own}


async def test_a_new_account_takes_the_place_of_one_that_is_the_same_or_of_no_use(
    tmp_path: Path,
) -> None:
    async with two(tmp_path) as they:
        same = await they.connect(they.alice, "a@example.com")
        expired = await they.connect(they.alice, "b@example.com")
        other = await they.connect(they.alice, "c@example.com")
        they.house.composio.accounts[expired].status = "EXPIRED"
        new = await they.connect(they.alice, "a@example.com")
        assert [one["label"] for one in await shown(they.alice)] == [
            "c@example.com",
            "a@example.com",
        ]
        assert set(they.house.composio.accounts) == {other, new}
        assert same not in they.house.composio.accounts
        assert await they.used(they.alice) == new


async def test_an_owner_has_so_many_accounts_of_an_app_and_no_more(tmp_path: Path) -> None:
    async with two(tmp_path) as they:
        for _ in range(MAX_ACCOUNTS):
            await they.connect(they.alice)
        status, content = await post(they.alice, "connections/link", {"toolkit": "asana"})
        assert (status, "disconnect one first" in content["detail"]) == (409, True)
        await they.connect(they.bob)
