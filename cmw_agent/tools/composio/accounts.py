"""Connected accounts as Composio describes them: whose they are, and their state."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal, Self

from cmw_agent.identity.principals import Principal

USER = re.compile(r"cmw-[0-9a-f]{48}")
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
class Toolkit:
    """A toolkit and its state for one user.

    Attributes:
        needs_account: False if all of its tools work without an account.
    """

    slug: str
    name: str
    state: ConnectionState
    needs_account: bool


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
        if not principal.is_kept or not principal.id:
            raise ValueError("an ephemeral visitor has no connections")
        return cls.of_owner(principal.id)

    def __str__(self) -> str:
        return self.value


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


def belongs_to(account: object, user: ConnectionUser, toolkit: str) -> bool:
    """Return whether an account of Composio's API is one of `toolkit` and of `user`."""
    return (
        isinstance(account, dict)
        and account.get("user_id") == user.value
        and toolkit_slug(account) == toolkit
    )
