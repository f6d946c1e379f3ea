"""Connects accounts of users, as a browser does, or by writing the rows directly."""

import re
import secrets
from typing import Protocol

import aiohttp

from cmw_agent.tools.composio.accounts import ConnectionUser
from cmw_agent.tools.composio.connecting import digest
from memory.connections import ConnectionStore
from tests.doubles.composio_server import Call, Composio
from tests.harness import Served

TICKET = re.compile(r"connections/connect\?ticket=[A-Za-z0-9_-]{43}")
COMPOSIO = re.compile(r"https://connect\.composio\.dev/link/lk_[\w-]+")


class HasBrowser(Protocol):
    """A tab or browser of the tests."""

    @property
    def http(self) -> aiohttp.ClientSession: ...

    @property
    def url(self) -> str: ...


async def connected(app: Served, double: Composio, owner: str, toolkit: str = "asana") -> str:
    """Store a connected account of an owner, without a browser; return its id."""
    database = app.application.runtime.services.database
    assert database is not None
    user = ConnectionUser.of_owner(owner)
    account = double.add_account(user.value, toolkit)
    store, ticket = ConnectionStore(database), secrets.token_urlsafe(32)
    await store.offer(owner, ticket, toolkit, user.value)
    assert await store.begin(owner, ticket, digest("a browser"), account)
    connection = await store.find(owner, ticket)
    assert connection is not None
    assert await store.finish(owner, connection)
    return account


async def visit(browser: HasBrowser, address: str) -> tuple[int, str, str]:
    """Open an address; return the HTTP status, the page and the Location header."""
    url = address if address.startswith("http") else f"{browser.url}/{address}"
    async with browser.http.get(url, allow_redirects=False) as answer:
        return answer.status, await answer.text(), answer.headers.get("location", "")


async def follow(browser: HasBrowser, link: str) -> str:
    """Open a connect link of the app; return the address on Composio's site that it redirects to."""
    assert TICKET.search(link), link
    status, page, address = await visit(browser, link)
    assert status == 303, page
    assert COMPOSIO.fullmatch(address), address
    return address


def last_link(double: Composio) -> Call:
    """Return the newest request for a link."""
    return double.to("POST /connected_accounts/link")[-1]


async def finish(browser: HasBrowser, double: Composio, call: Call | None = None) -> int:
    """Connect at Composio's site and return to the app, by the newest link or the one of `call`.

    Returns:
        The HTTP status of the callback.
    """
    link = call or last_link(double)
    double.connect(link.body["user_id"])
    return (await visit(browser, link.body["callback_url"]))[0]
