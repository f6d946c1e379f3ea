"""Connects accounts: a connection is finished in the browser that began it, and then used.

A link to Composio is a bearer link: whoever follows it connects their own account to the user for
whom it was made. Therefore nobody receives one. Users receive a link of the app, which works once
and for a quarter of an hour; see ``docs/adr/0023-connecting-is-finished-where-it-began.md``.
"""

import hmac
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

from cmw_agent.core.errors import NotFoundError, UserError
from cmw_agent.core.events import ToolAccount
from cmw_agent.core.store_errors import mapped_store_errors
from cmw_agent.identity.principals import Principal
from cmw_agent.language import wording
from cmw_agent.tools.composio.accounts import ConnectionUser, Toolkit
from cmw_agent.tools.composio.catalog import ConnectedTool
from cmw_agent.tools.composio.connections import Connections
from cmw_agent.tools.composio.own_accounts import OwnAccounts, UsedAccount, account_of
from cmw_agent.tools.composio.tool_calls import NotConnectedError, ToolOutcome
from cmw_agent.tools.search import ToolIndex
from memory.connections import ConnectionStore, StoredConnection

PAGE_KINDS = frozenset({"visitor", "account"})  # principals that a browser proves to the app
TICKET = re.compile(r"[A-Za-z0-9_-]{43}")
CODE = re.compile(r"[a-z2-9]{4}-[a-z2-9]{4}")
CODE_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"  # without characters that look alike
WRONG_CODE = wording(
    "This code is wrong, was used or is too old. Use `/connect NAME` to get a new link, and follow "
    "it to its end."
)


class UnknownCodeError(UserError):
    """No connection of this user waits for the code."""

    status = 404
    sentence = WRONG_CODE


@dataclass(frozen=True, slots=True)
class ConnectionOrigin:
    """Where a user asks for a connection: on the page, or in a chat elsewhere.

    Args:
        base_url: URL of the app as the user reaches it; links on the page are relative to it.
        description: Describes the chat to whoever follows the link; None on the page.
    """

    base_url: str
    description: str | None = None


@dataclass(frozen=True, slots=True)
class ConnectionBrowser:
    """A browser that follows a link of the app, or returns from Composio's site.

    Args:
        principal: The principal that the browser proves, or None.
        secrets: Secrets that only this browser received when it followed links.
    """

    principal: Principal | None
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def is_of(self, owner: str) -> bool:
        """Return whether the browser proves that its principal is `owner`."""
        return self.principal is not None and hmac.compare_digest(self.principal.id, owner)


@dataclass(frozen=True, slots=True)
class ConnectionAttempt:
    """A connection that is not finished, and its owner's id."""

    owner: str
    stored: StoredConnection

    @property
    def is_page(self) -> bool:
        """Whether the connection was asked for on the page, where the browser proves its owner."""
        return self.stored.place is None


class ConnectionService:
    """Connects accounts, and runs tools on the accounts that their owners finished connecting.

    Args:
        connections: Accounts and tools at Composio.
        store: Stores which connections are finished, and which have been begun.
    """

    def __init__(self, connections: Connections, store: ConnectionStore) -> None:
        self._connections = connections
        self._store = store
        self._accounts = OwnAccounts(connections, store)

    async def tools(self, toolkits: Sequence[str]) -> tuple[ConnectedTool, ...]:
        """Return the tools of `toolkits`, which are shared by all users."""
        return await self._connections.tools(toolkits)

    @property
    def index(self) -> ToolIndex:
        """The index of all tools that were fetched."""
        return self._connections.index

    async def connected(self, principal: Principal) -> frozenset[str]:
        """Return the slugs of the toolkits of which a principal has finished connecting an account.

        Raises:
            UserError: The database failed.
        """
        if not principal.is_stored:
            return frozenset()
        return await self._accounts.toolkits(principal.id)

    def title(self, toolkit: str) -> str:
        """Return the display name of a toolkit."""
        return self._connections.title(toolkit)

    async def toolkits(self, principal: Principal) -> list[Toolkit]:
        """Return each configured toolkit with its state for a principal.

        Raises:
            UserError: Composio or the database failed.
        """
        with mapped_store_errors():
            accounts = [account_of(one) for one in await self._store.connected(principal.id)]
            waiting = await self._store.waiting(principal.id)
        listed = await self._connections.toolkits(ConnectionUser.of(principal), accounts)
        toolkits = await self._accounts.shown(principal.id, listed)
        return [
            replace(toolkit, state="waiting")
            if toolkit.state == "none" and toolkit.slug in waiting
            else toolkit
            for toolkit in toolkits
        ]

    async def account(
        self, principal: Principal, tool: ConnectedTool, shown: ToolAccount | None = None
    ) -> UsedAccount | None:
        """Return the account on which a tool runs for a principal; None for a tool that needs none.

        Args:
            principal: Owner of the account.
            tool: The tool.
            shown: The account that the principal was shown, if one was.

        Raises:
            NotConnectedError: There is none; unfinished accounts at Composio are not used.
            UnknownAccountError: The principal has the account no more that they were shown.
            UserError: The database failed.
        """
        if not tool.needs_account:
            return None
        title = self._connections.title(tool.toolkit)
        account = await self._accounts.used(principal.id, tool.toolkit, title, shown)
        if account is None:
            raise NotConnectedError(tool.toolkit)
        return account

    async def run(
        self,
        principal: Principal,
        tool: ConnectedTool,
        arguments: Mapping[str, Any],
        used: UsedAccount | None,
    ) -> ToolOutcome:
        """Run a tool on an account of a principal's, as `account` returns it, once.

        Raises:
            NotConnectedError: The account cannot be used any more.
        """
        user = ConnectionUser.of(principal) if used is None else used.own.user
        account_id = None if used is None else used.own.account_id
        return await self._connections.run(user, tool, arguments, account_id=account_id)

    async def offer(self, principal: Principal, origin: ConnectionOrigin, toolkit: str) -> str:
        """Return a link of the app at which a principal connects an account.

        Args:
            principal: Owner of the new account.
            origin: Where the principal asks for the connection.
            toolkit: Slug of the toolkit.

        Raises:
            UnknownToolkitError: `toolkit` is not configured.
            UserError: The database failed.
        """
        self._connections.check(toolkit)
        user, ticket = ConnectionUser.of(principal).value, secrets.token_urlsafe(32)
        await self._accounts.check_room(principal.id, toolkit)
        with mapped_store_errors():
            await self._store.offer(principal.id, ticket, toolkit, user, origin.description)
        path = f"connections/connect?ticket={ticket}"
        return path if origin.description is None else f"{origin.base_url}/{path}"

    async def attempt(self, ticket: str, visiting: ConnectionBrowser) -> ConnectionAttempt:
        """Return the unfinished connection of a ticket, if this browser may follow its link.

        Raises:
            NotFoundError: There is none, it has expired, or its owner is someone else.
        """
        attempt = await self._find(ticket)
        if attempt is None or (attempt.is_page and not visiting.is_of(attempt.owner)):
            raise NotFoundError
        return attempt

    async def _find(self, ticket: str) -> ConnectionAttempt | None:
        """Return the unfinished connection of a ticket, for any browser; None if there is none."""
        if not TICKET.fullmatch(ticket):
            return None
        with mapped_store_errors():
            owner = await self._store.link_owner(ticket)
            stored = await self._store.find(owner, ticket) if owner is not None else None
        return (
            ConnectionAttempt(owner, stored) if owner is not None and stored is not None else None
        )

    async def begin(self, visiting: ConnectionBrowser, ticket: str, back: str) -> str:
        """Return the URL on Composio's site to which the browser is sent; works once per ticket.

        Args:
            visiting: The browser that follows the link; it must return with its first secret.
            ticket: From the link.
            back: URL to which Composio sends the browser afterwards.

        Raises:
            NotFoundError: As `attempt`; or the link was followed before.
            UserError: Composio failed.
        """
        attempt = await self.attempt(ticket, visiting)
        if attempt.stored.state != "offered":
            raise NotFoundError
        user = ConnectionUser(attempt.stored.user_id)
        url, account_id = await self._connections.link(user, attempt.stored.toolkit, back)
        with mapped_store_errors():
            secret = digest(visiting.secrets[0])
            is_begun = await self._store.begin(attempt.owner, ticket, secret, account_id)
        if not is_begun:
            raise NotFoundError
        return url

    async def finish(
        self, visiting: ConnectionBrowser, ticket: str
    ) -> tuple[ConnectionAttempt, str | None]:
        """Handle the return of a browser from Composio's site; works once per ticket.

        Args:
            visiting: The browser that returns.
            ticket: Of the link that it followed; the caller has checked its signature.

        Returns:
            The connection, and the code that its owner must send in the chat where they asked
            for it; None on the page, where the connection is finished now.

        Raises:
            NotFoundError: Another browser returns, or the link was not followed. The account that
                such a visit connected is deleted at Composio and never used.
            UserError: The account does not exist or is not active.
        """
        attempt = await self._find(ticket)
        if attempt is None or attempt.stored.state != "begun":
            raise NotFoundError
        connection = attempt.stored
        is_owner = not attempt.is_page or visiting.is_of(attempt.owner)
        digests = [digest(secret) for secret in visiting.secrets]
        if not is_owner or connection.browser not in digests:
            await self._discard(attempt)
            raise NotFoundError
        account = account_of(connection)
        if not await self._connections.is_active(account.user, account.toolkit, account.account_id):
            await self._discard(attempt)
            raise UserError(
                wording("The account was not connected; please begin again."), status=409
            )
        label = await self._connections.label(account)
        if attempt.is_page:
            with mapped_store_errors():
                if not await self._store.finish(attempt.owner, connection, label):
                    raise NotFoundError
            await self._accounts.delete_replaced(attempt.owner, connection)
            return attempt, None
        code = "".join(secrets.choice(CODE_ALPHABET) for _ in range(8))
        code = f"{code[:4]}-{code[4:]}"
        with mapped_store_errors():
            if not await self._store.await_code(attempt.owner, ticket, digest(code), label):
                raise NotFoundError
        return attempt, code

    async def confirm(self, principal: Principal, code: str) -> str:
        """Finish the connection that waits for this code; return the slug of its toolkit.

        Raises:
            UnknownCodeError: No connection of this principal waits for it.
        """
        with mapped_store_errors():
            connection = await self._store.confirm(principal.id, digest(code))
        if connection is None:
            raise UnknownCodeError
        await self._accounts.delete_replaced(principal.id, connection)
        return connection.toolkit

    async def disconnect(self, principal: Principal, toolkit: str) -> bool:
        """Delete all accounts of `toolkit` that a principal has; return whether there was one.

        Raises:
            UnknownToolkitError: `toolkit` is not configured.
            UserError: Composio or the database failed; some accounts may already be deleted.
        """
        self._connections.check(toolkit)
        return await self._accounts.disconnect(principal.id, toolkit)

    async def disconnect_one(self, principal: Principal, connection_id: str) -> None:
        """Delete one account of a principal.

        Raises:
            UnknownAccountError: The principal has no such account.
            UserError: Composio or the database failed.
        """
        await self._accounts.disconnect_one(principal.id, connection_id)

    async def choose(self, principal: Principal, connection_id: str) -> None:
        """Have a principal's tools run on an account from now on.

        Raises:
            UnknownAccountError: The principal has no such account.
            UserError: The database failed.
        """
        await self._accounts.choose(principal.id, connection_id)

    async def forget(self, principal: Principal) -> None:
        """Delete all accounts of a principal at Composio, before what is stored of them is deleted.

        Where Composio fails, accounts are left there, which nobody can use; the log says so.

        Raises:
            UserError: The database failed.
        """
        if principal.is_stored:
            await self._accounts.forget(principal.id)

    async def _discard(self, attempt: ConnectionAttempt) -> None:
        with mapped_store_errors():
            await self._store.drop(attempt.owner, attempt.stored.connection_id)
        await self._connections.delete(account_of(attempt.stored))


def digest(secret: str) -> str:
    """Return the digest under which a secret is stored, useless to whoever reads the table."""
    return sha256(f"cmw.connecting\0{secret}".encode()).hexdigest()
