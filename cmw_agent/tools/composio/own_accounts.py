"""Owners' connected accounts: which one a tool uses, and their deletion here and at Composio."""

import asyncio
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256

from cmw_agent.core.errors import UserError
from cmw_agent.core.events import ToolAccount
from cmw_agent.core.logs import get_logger
from cmw_agent.core.store_errors import mapped_store_errors
from cmw_agent.language import wording
from cmw_agent.tools.composio.accounts import (
    ConnectionState,
    ConnectionUser,
    OwnAccount,
    Toolkit,
    ToolkitAccount,
)
from cmw_agent.tools.composio.connections import Connections
from memory.connections import ConnectionStore, StoredConnection

log = get_logger(__name__)

FORGET_SECONDS = 20.0  # that the deletion of everything waits for Composio
MAX_ACCOUNTS = 5  # of one owner and toolkit
TOO_MANY = wording(
    "You have connected {count} accounts of this app, which is as many as one may have; please "
    "disconnect one first.",
    count=MAX_ACCOUNTS,
)


@dataclass(frozen=True, slots=True)
class UsedAccount:
    """The account that a call uses.

    Attributes:
        own: The account.
        shown: What receipts and approvals say of it.
        is_one_of_several: Whether its owner has further ones of the toolkit.
    """

    own: OwnAccount
    shown: ToolAccount
    is_one_of_several: bool


class UnknownAccountError(UserError):
    """An owner has no such account; it may be another's."""

    status = 404
    sentence = wording("You have connected no such account.")


class OwnAccounts:
    """The accounts of all owners. What counts is what is stored; each call names the owner.

    Args:
        connections: Accounts at Composio.
        store: Stores the owners' connections.
    """

    def __init__(self, connections: Connections, store: ConnectionStore) -> None:
        self._connections = connections
        self._store = store

    async def toolkits(self, owner: str) -> frozenset[str]:
        """Return the slugs of the toolkits of which an owner has an account.

        Raises:
            UserError: The database failed.
        """
        with mapped_store_errors():
            return frozenset(one.toolkit for one in await self._store.connected(owner))

    async def used(
        self, owner: str, toolkit: str, name: str, shown: ToolAccount | None = None
    ) -> UsedAccount | None:
        """Return the account of a toolkit that an owner uses: the one that was chosen last.

        Args:
            owner: The owner.
            toolkit: Slug of the toolkit.
            name: Its name.
            shown: The account that the owner was shown, which is used in its place.

        Returns:
            The account; None where the owner has none.

        Raises:
            UnknownAccountError: The owner has the account no more that they were shown.
            UserError: The database failed.
        """
        with mapped_store_errors():
            connected = await self._store.connected(owner)
        own = [one for one in connected if one.toolkit == toolkit]
        accounts = [
            UsedAccount(account_of(one), ToolAccount(_opaque(one), label), len(own) > 1)
            for one, label in zip(own, _labels(own, name), strict=True)
        ]
        if shown is not None:
            found = [one for one in accounts if one.shown.account_id == shown.account_id]
            if not found:
                raise UnknownAccountError
            return found[0]
        if not own:
            return None
        return accounts[own.index(_used(own)[toolkit])]

    async def check_room(self, owner: str, toolkit: str) -> None:
        """Check that an owner may connect a further account of a toolkit.

        Raises:
            UserError: There are too many, or the database failed.
        """
        with mapped_store_errors():
            connected = await self._store.connected(owner)
        if sum(one.toolkit == toolkit for one in connected) >= MAX_ACCOUNTS:
            raise UserError(TOO_MANY, status=409)

    async def shown(self, owner: str, toolkits: Sequence[Toolkit]) -> list[Toolkit]:
        """Return the toolkits with the accounts that an owner has of each, oldest first.

        Raises:
            UserError: The database failed.
        """
        with mapped_store_errors():
            connected = await self._store.connected(owner)
        used = {one.connection_id for one in _used(connected).values()}
        return [_with_accounts(toolkit, connected, used) for toolkit in toolkits]

    async def choose(self, owner: str, connection_id: str) -> None:
        """Have an owner's tools run on an account from now on.

        Raises:
            UnknownAccountError: The owner has no such account.
            UserError: The database failed.
        """
        with mapped_store_errors():
            if not await self._store.choose(owner, connection_id):
                raise UnknownAccountError

    async def disconnect_one(self, owner: str, connection_id: str) -> None:
        """Delete one account of an owner.

        Raises:
            UnknownAccountError: The owner has no such account.
            UserError: Composio or the database failed.
        """
        with mapped_store_errors():
            connected = await self._store.connected(owner)
        found = next((one for one in connected if one.connection_id == connection_id), None)
        if found is None:
            raise UnknownAccountError
        await self._connections.delete(account_of(found))
        with mapped_store_errors():
            await self._store.drop(owner, connection_id)

    async def disconnect(self, owner: str, toolkit: str) -> bool:
        """Delete all accounts of a toolkit that an owner has; return whether there was one.

        Raises:
            UserError: Composio or the database failed; some accounts may already be deleted.
        """
        with mapped_store_errors():
            stored = await self._store.list_all(owner)
        accounts = [account_of(one) for one in stored if one.toolkit == toolkit and one.account_id]
        deleted = [await self._connections.delete(account) for account in accounts]
        with mapped_store_errors():
            await self._store.remove(owner, toolkit)
        strays = await self._delete_strays(owner, (toolkit,))
        return any(deleted) or strays > 0

    async def forget(self, owner: str) -> None:
        """Delete all accounts of an owner at Composio; see `ConnectionService.forget`.

        Raises:
            UserError: The database failed.
        """
        with mapped_store_errors():
            stored = await self._store.list_all(owner)
        work = [self._connections.delete(account_of(one)) for one in stored if one.account_id]
        results: list[object] = []
        try:
            async with asyncio.timeout(FORGET_SECONDS):
                strays = self._delete_strays(owner)
                results = await asyncio.gather(*work, strays, return_exceptions=True)
        except TimeoutError as error:
            results = [error]
        failed = [result for result in results if isinstance(result, BaseException)]
        if failed:
            cause = type(failed[0]).__name__
            log.error("accounts were left at composio", failures=len(failed), cause=cause)

    async def delete_replaced(self, owner: str, new: StoredConnection) -> None:
        """Delete an owner's accounts whose place a new connection takes, and those without owner.

        It takes the place of those of its toolkit that cannot be used any more, and of one that the
        provider calls the same.
        """
        with suppress(UserError):  # logged already; the panel shows what is left
            connected = await self._store.connected(owner)
            label = next((x.label for x in connected if x.connection_id == new.connection_id), None)
            for one in connected:
                if one.toolkit != new.toolkit or one.connection_id == new.connection_id:
                    continue
                account = account_of(one)
                is_same = label is not None and one.label == label
                if is_same or not await self._connections.is_active(
                    account.user, account.toolkit, account.account_id
                ):
                    await self.disconnect_one(owner, one.connection_id)
            await self._delete_strays(owner, (new.toolkit,))

    async def _delete_strays(self, owner: str, toolkits: Sequence[str] | None = None) -> int:
        """Delete what Composio has of an owner's own user and nobody's connection names.

        What a sign-in has moved from a visitor still is of the visitor's user at Composio, and
        another owner's connection names it.
        """
        found = await self._connections.accounts(ConnectionUser.of_owner(owner), toolkits)
        with mapped_store_errors():
            named = await self._store.named([account.account_id for account in found])
        strays = [account for account in found if account.account_id not in named]
        return sum([await self._connections.delete(account) for account in strays])


def _used(connected: Sequence[StoredConnection]) -> dict[str, StoredConnection]:
    """Return the connection of each toolkit that is used: the one that was chosen last."""
    return {one.toolkit: one for one in sorted(connected, key=_chosen_at)}


def _with_accounts(
    toolkit: Toolkit, connected: Sequence[StoredConnection], used: Collection[str]
) -> Toolkit:
    own = [one for one in connected if one.toolkit == toolkit.slug]
    accounts = tuple(
        ToolkitAccount(
            one.connection_id,
            label,
            toolkit.states.get(one.account_id or "", "none"),
            one.connection_id in used,
        )
        for one, label in zip(own, _labels(own, toolkit.name), strict=True)
    )
    state: ConnectionState = next((one.state for one in accounts if one.is_used), "none")
    return replace(toolkit, state=state, accounts=accounts)


def _labels(own: Sequence[StoredConnection], name: str) -> list[str]:
    """Return what an owner's accounts of a toolkit are called."""
    return [
        one.label or (f"{name} {number}" if number > 1 else name)
        for number, one in enumerate(own, 1)
    ]


def _opaque(stored: StoredConnection) -> str:
    """Return an id by which nobody can do anything with a connection, other than with its own."""
    return sha256(f"cmw.account\0{stored.connection_id}".encode()).hexdigest()[:16]


def _chosen_at(stored: StoredConnection) -> float:
    return stored.chosen_at.timestamp() if stored.chosen_at is not None else 0.0


def account_of(stored: StoredConnection) -> OwnAccount:
    """Return the account of a stored connection."""
    user = ConnectionUser(stored.user_id)
    return OwnAccount(user, stored.toolkit, stored.account_id or "")
