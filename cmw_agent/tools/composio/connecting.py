"""Connects accounts: each connection is finished where it was begun, and only such ones are used.

A link to Composio is a bearer link: whoever follows it connects an account of theirs to the user
it was made for. So nobody is handed one. Users get a link of the app's own, which works once, for
a quarter of an hour; see ``docs/adr/0023-connecting-is-finished-where-it-began.md``.
"""

import hmac
import re
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

from cmw_agent.core.errors import NotFoundError, UserError
from cmw_agent.core.store_errors import mapped_store_errors
from cmw_agent.identity.principals import Principal
from cmw_agent.tools.composio.catalog import ConnectedTool
from cmw_agent.tools.composio.connections import (
    Connections,
    ConnectionUser,
    NotConnectedError,
    Toolkit,
    ToolOutcome,
)
from memory.connections import ConnectionStore, StoredConnection

PAGE_KINDS = frozenset({"visitor", "account"})  # whose browser proves them to the app
TICKET = re.compile(r"[A-Za-z0-9_-]{43}")
CODE = re.compile(r"[a-z2-9]{4}-[a-z2-9]{4}")
SIGNS = "abcdefghjkmnpqrstuvwxyz23456789"  # without those that look alike
WRONG_CODE = (
    "This code is wrong, was used or is too old. Use `/connect NAME` to get a new link, and follow "
    "it to its end."
)


class UnknownCodeError(UserError):
    """No connection of this user waits for that code."""

    status = 404
    sentence = WRONG_CODE


@dataclass(frozen=True, slots=True)
class Place:
    """Where a connection is asked for.

    Args:
        base_url: Of the app, as the user reaches it; links on the page need none.
        description: What a stranger is to be told of it; None on the page.
    """

    base_url: str
    description: str | None = None


@dataclass(frozen=True, slots=True)
class Visiting:
    """The browser that follows a link or comes back.

    Args:
        principal: Whom it proves to the app; None where it proves nobody.
        secrets: What it alone was given when it followed links.
    """

    principal: Principal | None
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def is_of(self, owner: str) -> bool:
        """Whether it proves this owner."""
        return self.principal is not None and hmac.compare_digest(self.principal.id, owner)


@dataclass(frozen=True, slots=True)
class Attempt:
    """An open link, and whose it is."""

    owner: str
    stored: StoredConnection

    @property
    def is_page(self) -> bool:
        """Whether it was asked for on the page, where the browser itself proves its owner."""
        return self.stored.place is None


class Connecting:
    """The accounts of every user, as far as their owners have finished connecting them.

    Args:
        connections: Asks Composio.
        store: Knows which connections are finished and which are on their way.
    """

    def __init__(self, connections: Connections, store: ConnectionStore) -> None:
        self._connections = connections
        self._store = store

    async def tools(self, toolkits: Sequence[str]) -> tuple[ConnectedTool, ...]:
        """Return the tools of `toolkits`, which are shared by all users."""
        return await self._connections.tools(toolkits)

    def title(self, toolkit: str) -> str:
        """Return what people call a toolkit."""
        return self._connections.title(toolkit)

    async def toolkits(self, principal: Principal) -> list[Toolkit]:
        """Return how each configured toolkit stands for a principal.

        Raises:
            UserError: Composio or the database could not be asked.
        """
        with mapped_store_errors():
            accounts = await self._store.connected(principal.id)
            waiting = await self._store.waiting(principal.id)
        found = await self._connections.toolkits(ConnectionUser.of(principal), accounts)
        return [
            replace(toolkit, state="waiting")
            if toolkit.state == "none" and toolkit.slug in waiting
            else toolkit
            for toolkit in found
        ]

    async def run(
        self, principal: Principal, tool: ConnectedTool, arguments: Mapping[str, Any]
    ) -> ToolOutcome:
        """Run a tool on the account that its user has finished connecting, once.

        Raises:
            NotConnectedError: There is none; whatever Composio has besides is not used.
        """
        account: str | None = None
        if tool.needs_account:
            with mapped_store_errors():
                account = (await self._store.connected(principal.id)).get(tool.toolkit)
            if account is None:
                raise NotConnectedError(tool.toolkit)
        return await self._connections.run(
            ConnectionUser.of(principal), tool, arguments, account_id=account
        )

    async def offer(self, principal: Principal, place: Place, toolkit: str) -> str:
        """Return a link of the app's own at which a principal connects an account.

        Raises:
            UnknownToolkitError: `toolkit` is not configured.
            UserError: The database could not be asked.
        """
        self._connections.check(toolkit)
        ConnectionUser.of(principal)
        ticket = secrets.token_urlsafe(32)
        with mapped_store_errors():
            await self._store.offer(principal.id, ticket, toolkit, place.description)
        path = f"connections/connect?ticket={ticket}"
        return path if place.description is None else f"{place.base_url}/{path}"

    async def attempt(self, ticket: str, visiting: Visiting) -> Attempt:
        """Return the open link of a ticket, for whoever may follow it.

        Raises:
            NotFoundError: There is none, its time is up, or it is another browser's.
        """
        found = await self.known(ticket)
        if found is None or (found.is_page and not visiting.is_of(found.owner)):
            raise NotFoundError
        return found

    async def known(self, ticket: str) -> Attempt | None:
        """Return the open link of a ticket, whoever asks; None where there is none."""
        if not TICKET.fullmatch(ticket):
            return None
        with mapped_store_errors():
            owner = await self._store.whose(ticket)
            stored = await self._store.find(owner, ticket) if owner is not None else None
        return Attempt(owner, stored) if owner is not None and stored is not None else None

    async def begin(self, visiting: Visiting, ticket: str, back: str) -> str:
        """Return the address on Composio's site to which a browser goes on, once.

        Args:
            visiting: Who follows the link; its first secret is the one to come back with.
            ticket: The link's.
            back: Where Composio sends the browser afterwards.

        Raises:
            NotFoundError: As `attempt`; or the link was followed before.
            UserError: Composio failed.
        """
        found = await self.attempt(ticket, visiting)
        if found.stored.state != "offered":
            raise NotFoundError
        user = ConnectionUser.of_owner(found.owner)
        address, account = await self._connections.link(user, found.stored.toolkit, back)
        with mapped_store_errors():
            secret = digest(visiting.secrets[0])
            begun = await self._store.begin(found.owner, ticket, secret, account)
        if not begun:
            raise NotFoundError
        return address

    async def finish(self, visiting: Visiting, ticket: str) -> tuple[Attempt, str | None]:
        """Take a browser back that has been at Composio's site; once.

        Args:
            visiting: Who comes back.
            ticket: Of the link that it followed, as our own signature proves.

        Returns:
            The link, and the code that its owner is to write in the channel where it was asked
            for; None on the page, where the connection is finished now.

        Raises:
            NotFoundError: Another browser comes back, or the link was not begun. What was connected
                by such a visit is deleted at Composio and never used.
            UserError: The account is not there; nothing was connected.
        """
        found = await self.known(ticket)
        if found is None or found.stored.state != "begun":
            raise NotFoundError
        begun = found.stored
        mine = not found.is_page or visiting.is_of(found.owner)
        if not mine or begun.browser not in [digest(secret) for secret in visiting.secrets]:
            await self._give_up(found)
            raise NotFoundError
        user, account = ConnectionUser.of_owner(found.owner), begun.account_id or ""
        if not await self._connections.is_active(user, begun.toolkit, account):
            await self._give_up(found)
            raise UserError("The account was not connected; please begin again.", status=409)
        if found.is_page:
            with mapped_store_errors():
                if not await self._store.finish(found.owner, begun):
                    raise NotFoundError
            await self._clear(user, begun.toolkit, account)
            return found, None
        code = "".join(secrets.choice(SIGNS) for _ in range(8))
        code = f"{code[:4]}-{code[4:]}"
        with mapped_store_errors():
            if not await self._store.await_code(found.owner, ticket, digest(code)):
                raise NotFoundError
        return found, code

    async def confirm(self, principal: Principal, code: str) -> str:
        """Finish the connection that waits for this code; return its toolkit.

        Raises:
            UnknownCodeError: None of this principal's waits for it.
        """
        with mapped_store_errors():
            found = await self._store.confirm(principal.id, digest(code))
        if found is None:
            raise UnknownCodeError
        await self._clear(ConnectionUser.of(principal), found.toolkit, found.account_id)
        return found.toolkit

    async def disconnect(self, principal: Principal, toolkit: str) -> bool:
        """Delete every account of `toolkit` that a principal has; whether there was one.

        Raises:
            UnknownToolkitError: `toolkit` is not configured.
            UserError: Composio or the database failed; some accounts may be gone already.
        """
        found = await self._connections.disconnect(ConnectionUser.of(principal), toolkit)
        with mapped_store_errors():
            await self._store.remove(principal.id, toolkit)
        return found

    async def _clear(self, user: ConnectionUser, toolkit: str, but: str | None) -> None:
        """Delete what Composio has of a toolkit besides the account that counts now."""
        with suppress(UserError):  # named in the log; whatever is left is used by nobody
            await self._connections.disconnect(user, toolkit, but=but)

    async def _give_up(self, found: Attempt) -> None:
        user = ConnectionUser.of_owner(found.owner)
        with mapped_store_errors():
            await self._store.drop(found.owner, found.stored.connection_id)
        await self._connections.delete(user, found.stored.toolkit, found.stored.account_id or "")


def digest(secret: str) -> str:
    """Return what is kept of a secret: nobody who reads the table can use it."""
    return sha256(f"cmw.connecting\0{secret}".encode()).hexdigest()
