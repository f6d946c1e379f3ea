"""Accounts at Composio: lists, links, reads and deletes them, and tells their state."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Literal, Self

from cmw_agent.core.logs import get_logger
from cmw_agent.identity.principals import Principal
from cmw_agent.tools.composio.client import ComposioClient, ComposioError

log = get_logger(__name__)

LINK = re.compile(r"https://connect\.composio\.dev/link/[A-Za-z0-9_~-]+(\?[A-Za-z0-9_~.=&%-]*)?")
ACCOUNT = re.compile(r"[A-Za-z0-9_-]{1,200}")
USER = re.compile(r"cmw-[0-9a-f]{48}")
MAX_LABEL = 100  # characters
LABELS = (
    "alias",
    "email",
    "user_email",
    "username",
    "login",
    "shop",
    "site_name",
    "subdomain",
    "domain",
)
ConnectionState = Literal["connected", "waiting", "expired", "none"]
STATES: Mapping[str, ConnectionState] = {
    "ACTIVE": "connected",
    "INITIALIZING": "waiting",
    "INITIATED": "waiting",
    "EXPIRED": "expired",
    "FAILED": "expired",
    "INACTIVE": "expired",
    "REVOKED": "expired",
}
BEST_FIRST: tuple[ConnectionState, ...] = ("connected", "waiting", "expired")


@dataclass(frozen=True, slots=True)
class ToolkitAccount:
    """One of a user's accounts of a toolkit, as the panel of connections shows it.

    Attributes:
        connection_id: Names it in requests of its owner.
        label: What the provider calls it, or the toolkit's name with its number.
        is_used: Whether tools run on it.
    """

    connection_id: str
    label: str
    state: ConnectionState
    is_used: bool


@dataclass(frozen=True, slots=True)
class Toolkit:
    """A toolkit and its state for one user.

    Attributes:
        needs_account: False if all of its tools work without an account.
        states: The state of each of the user's accounts, by Composio's id.
        accounts: The user's accounts.
    """

    slug: str
    name: str
    state: ConnectionState
    needs_account: bool
    states: Mapping[str, ConnectionState] = field(default_factory=dict)
    accounts: tuple[ToolkitAccount, ...] = ()


@dataclass(frozen=True, slots=True)
class ConnectionUser:
    """The opaque user id by which Composio knows a principal.

    It is a digest of the principal's id alone and of no key, so that it is the same on each
    replica and survives a change of keys. There is no default.
    """

    value: str

    def __post_init__(self) -> None:
        """Reject a value that `of` or `of_owner` did not make."""
        if not USER.fullmatch(self.value):
            raise ValueError("a connection's user is derived from a principal")

    @classmethod
    def of_owner(cls, owner: str) -> Self:
        """Return the user of the principal with this id, which must not be an ephemeral one."""
        return cls("cmw-" + sha256(f"cmw.composio\0{owner}".encode()).hexdigest()[:48])

    @classmethod
    def of(cls, principal: Principal) -> Self:
        """Return the user of `principal`.

        Raises:
            ValueError: It is ephemeral: nothing of it is stored, so it cannot own an account.
        """
        if not principal.is_stored or not principal.id:
            raise ValueError("an ephemeral visitor has no connections")
        return cls.of_owner(principal.id)

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class OwnAccount:
    """An account that the app has stored of an owner.

    Attributes:
        user: The user at Composio for whom it was connected: the owner's own, or that of the
            visitor from whom it came at a sign-in.
        toolkit: Slug of its toolkit.
        account_id: Composio's id.
    """

    user: ConnectionUser
    toolkit: str
    account_id: str

    def is_in(self, account: Mapping[str, Any]) -> bool:
        """Return whether an item of Composio's API is this account."""
        return account.get("id") == self.account_id and belongs_to(account, self.user, self.toolkit)


def toolkit_state(accounts: Sequence[Mapping[str, Any]], toolkit: str) -> ConnectionState:
    """Return the best state among the accounts of `toolkit`; "none" if there is no account.

    Args:
        accounts: As Composio's API gives them.
        toolkit: Slug of the toolkit.
    """
    states = {
        "expired" if account.get("is_disabled") else STATES.get(str(account.get("status")))
        for account in accounts
        if toolkit_slug(account) == toolkit
    }
    return next((state for state in BEST_FIRST if state in states), "none")


def toolkit_slug(item: Mapping[str, Any]) -> str:
    """Return the toolkit's slug that an item of Composio's API names; empty if none."""
    toolkit = item.get("toolkit")
    return str(toolkit.get("slug")).lower() if isinstance(toolkit, dict) else ""


def label_of(account: Mapping[str, Any]) -> str | None:
    """Return what the provider calls an account of Composio's API; None where it does not say."""
    state = account.get("state")
    fields = [account.get("data"), state.get("val") if isinstance(state, dict) else None]
    named = [{"alias": account.get("alias")}, *(one for one in fields if isinstance(one, dict))]
    for name in LABELS:
        for values in named:
            value = values.get(name)
            if isinstance(value, str) and value.strip() and value.isprintable():
                return value.strip()[:MAX_LABEL]
    return None


def belongs_to(account: object, user: ConnectionUser, toolkit: str) -> bool:
    """Return whether an account of Composio's API is one of `toolkit` and of `user`.

    An account that names no user counts as theirs: its id comes from what the app has stored of this
    user, or from a list of their accounts.
    """
    return (
        isinstance(account, dict)
        and account.get("user_id", user.value) == user.value
        and toolkit_slug(account) == toolkit
    )


class ConnectedAccounts:
    """Lists, links, reads and deletes the accounts of users. Each method raises `ComposioError`.

    Args:
        client: Client of Composio's API.
    """

    def __init__(self, client: ComposioClient) -> None:
        self._client = client

    async def list_of(
        self, user: ConnectionUser, toolkits: Sequence[str], known: Collection[OwnAccount]
    ) -> list[dict[str, Any]]:
        """Return the accounts of an owner, as Composio's API gives them.

        Args:
            user: The owner's own user.
            toolkits: Slugs of their toolkits.
            known: Accounts that the app has stored of the owner, whose users are asked for, too. Of
                the owner's own user others are listed as well, if they name it.
        """
        users = {user.value, *(one.user.value for one in known)}
        listed = await self._client.list_all(
            self._client.client.connected_accounts.with_raw_response.list,
            user_ids=sorted(users),
            toolkit_slugs=list(toolkits),
        )
        own = [
            account
            for account in listed
            if account.get("user_id") == user.value or any(one.is_in(account) for one in known)
        ]
        if strange := sum(account.get("user_id", user.value) not in users for account in listed):
            log.error("accounts of others were listed and left out", count=strange)
        return own

    async def new_link(
        self, user: ConnectionUser, auth_config_id: str, callback_url: str
    ) -> tuple[str, str]:
        """Create a link at which `user` connects an account; see `Connections.link`."""
        link = await self._client.call(
            self._client.client.link.with_raw_response.create,
            auth_config_id=auth_config_id,
            user_id=user.value,
            callback_url=callback_url,
        )
        url = link.get("redirect_url") if isinstance(link, dict) else None
        if not isinstance(url, str) or not LINK.fullmatch(url):
            raise ComposioError("foreign_link")
        account_id = link.get("connected_account_id")
        if not isinstance(account_id, str) or not ACCOUNT.fullmatch(account_id):
            raise ComposioError("malformed")
        return url, account_id

    async def is_active(self, user: ConnectionUser, toolkit: str, account_id: str) -> bool:
        """Return whether an account exists, belongs to `user` and can be used."""
        accounts = self._client.client.connected_accounts.with_raw_response
        try:
            account = await self._client.call(accounts.retrieve, account_id, tries=2)
        except ComposioError as error:
            if error.status_code == 404:
                return False
            raise
        if not belongs_to(account, user, toolkit):
            return False
        return toolkit_state([account], toolkit) == "connected"

    async def label(self, account: OwnAccount) -> str | None:
        """Return what the provider calls an account of its user; None where it does not say."""
        accounts = self._client.client.connected_accounts.with_raw_response
        found = await self._client.call(accounts.retrieve, account.account_id, tries=2)
        return label_of(found) if account.is_in(found) else None

    async def delete(self, user: ConnectionUser, toolkit: str, account_id: str) -> bool:
        """Delete an account if it belongs to `user`; return False if it does not."""
        accounts = self._client.client.connected_accounts.with_raw_response
        try:
            account = await self._client.call(accounts.retrieve, account_id, tries=2)
            # Read again: a list may be outdated or wrong, and deleting cannot be undone.
            if not belongs_to(account, user, toolkit):
                log.error("an account that is not the user's was left alone")
                return False
            await self._client.call(accounts.delete, account_id)
        except ComposioError as error:
            if error.status_code != 404:  # 404: deleted meanwhile
                raise
        return True
