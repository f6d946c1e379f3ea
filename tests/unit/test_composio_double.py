"""Composio's double, tested with Composio's own client."""

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

from tests.doubles.composio_server import Composio, Drop, Reply, composio_server

if TYPE_CHECKING:  # its import takes seconds, in each process that collects the tests
    from composio_client import AsyncComposio


@pytest.fixture
async def composio() -> AsyncIterator[Composio]:
    async with composio_server() as double:
        yield double


@pytest.fixture
async def client(composio: Composio) -> "AsyncIterator[AsyncComposio]":
    async with client_of(composio) as opened:
        yield opened


def client_of(composio: Composio, key: str | None = None) -> "AsyncComposio":
    from composio_client import AsyncComposio, ProjectAuth

    # Strict: an answer that is not as the client's own models have it fails.
    return AsyncComposio(
        auth=ProjectAuth(key or composio.key),
        base_url=composio.url,
        max_retries=0,
        timeout=20,
        _strict_response_validation=True,
    )


async def test_every_answer_is_as_the_clients_models_have_it(
    composio: Composio, client: "AsyncComposio"
) -> None:
    tools = await client.tools.list(toolkit_slug="asana", limit=100)
    assert next(tool.slug for tool in tools.items) == "ASANA_GET_TASKS"
    assert (await client.auth_configs.list(toolkit_slug="asana")).items == []
    made = await client.auth_configs.create(
        toolkit={"slug": "asana"}, auth_config={"type": "use_composio_managed_auth"}
    )
    (config,) = (await client.auth_configs.list(toolkit_slug="asana")).items
    assert config.id == made.auth_config.id
    link = await client.link.create(auth_config_id=config.id, user_id="one")
    assert link.redirect_url.startswith("https://connect.composio.dev/link/lk_")
    (account,) = (await client.connected_accounts.list(user_ids=["one"])).items
    assert (account.id, account.status) == (link.connected_account_id, "INITIATED")
    assert (await client.connected_accounts.retrieve(account.id)).user_id == "one"
    assert (await client.connected_accounts.delete(account.id)).success
    assert composio.accounts == {}


async def test_a_wrong_key_is_refused(composio: Composio) -> None:
    import composio_client

    async with client_of(composio, "ck-wrong") as stranger:
        with pytest.raises(composio_client.AuthenticationError):
            await stranger.tools.list(toolkit_slug="asana")


async def test_users_have_accounts_and_tasks_of_their_own(
    composio: Composio, client: "AsyncComposio"
) -> None:
    for user in ("one", "two"):
        composio.add_account(user)
        await client.tools.execute(
            "ASANA_CREATE_TASK", user_id=user, arguments={"name": f"of {user}"}
        )
    said = await client.tools.execute("ASANA_GET_TASKS", user_id="one", arguments={})
    assert (said.successful, said.data) == (True, {"tasks": ["of one"]})
    assert composio.tasks == {"one": ["of one"], "two": ["of two"]}
    listed = await client.connected_accounts.list(user_ids=["two"], statuses=["ACTIVE"])
    assert [account.user_id for account in listed.items] == ["two"]


async def test_a_link_makes_an_account_only_when_it_is_completed(
    composio: Composio, client: "AsyncComposio"
) -> None:
    import composio_client

    config = await client.auth_configs.create(toolkit={"slug": "asana"})
    links = {
        (await client.link.create(auth_config_id=config.auth_config.id, user_id="one")).redirect_url
        for _ in range(5)
    }
    assert len(links) == 5
    with pytest.raises(composio_client.NotFoundError, match="No connected account"):
        await client.tools.execute("ASANA_GET_TASKS", user_id="one", arguments={})
    composio.connect("one")
    assert (await client.tools.execute("ASANA_GET_TASKS", user_id="one", arguments={})).successful
    with pytest.raises(LookupError):
        composio.connect("two")


async def test_not_connected_is_told_in_each_of_its_ways(
    composio: Composio, client: "AsyncComposio"
) -> None:
    import composio_client

    composio.refusal = "400"
    with pytest.raises(composio_client.BadRequestError, match="No connected account"):
        await client.tools.execute("ASANA_GET_TASKS", user_id="one", arguments={})
    composio.refusal = "unsuccessful"
    said = await client.tools.execute("ASANA_GET_TASKS", user_id="one", arguments={})
    assert not said.successful
    assert "No connected account" in str(said.error)


async def test_lists_come_in_pages(composio: Composio, client: "AsyncComposio") -> None:
    composio.add_toolkit("big", 45)
    composio.page_size = 20
    slugs: list[str] = []
    page = await client.tools.list(toolkit_slug="big")
    slugs += [tool.slug for tool in page.items]
    while page.next_cursor:
        page = await client.tools.list(toolkit_slug="big", cursor=page.next_cursor)
        slugs += [tool.slug for tool in page.items]
    assert slugs == [f"BIG_ACTION_{number}" for number in range(45)]
    assert len(composio.to("GET /tools")) == 3


async def test_the_next_answer_can_be_told_in_advance(
    composio: Composio, client: "AsyncComposio"
) -> None:
    import composio_client

    composio.answer("GET /tools", Reply(503, {"error": {"message": "busy"}}))
    with pytest.raises(composio_client.InternalServerError, match="busy"):
        await client.tools.list(toolkit_slug="asana")
    composio.answer("GET /tools", Drop())
    with pytest.raises(composio_client.APIConnectionError):
        await client.tools.list(toolkit_slug="asana")
    assert (await client.tools.list(toolkit_slug="asana")).items


async def test_a_held_call_is_answered_when_it_is_released(
    composio: Composio, client: "AsyncComposio"
) -> None:
    held = composio.hold("GET /tools")
    asking = asyncio.create_task(client.tools.list(toolkit_slug="asana"))
    await composio.until(lambda: len(composio.calls) == 1)
    assert (await client.tools.list(toolkit_slug="asana")).items
    assert not asking.done()
    held.release()
    assert (await asking).items


async def test_a_request_is_recorded_with_those_whom_it_names(
    composio: Composio, client: "AsyncComposio"
) -> None:
    await client.connected_accounts.list(user_ids=["one", "two"])
    await client.tools.with_raw_response.execute("X", user_id="three", arguments={"user_id": "4"})
    listed, run = composio.calls
    assert (listed.route, listed.user_ids) == ("GET /connected_accounts", ["one", "two"])
    assert (run.route, run.user_ids) == ("POST /tools/execute/X", ["three"])
    assert run.headers["x-api-key"] == composio.key
