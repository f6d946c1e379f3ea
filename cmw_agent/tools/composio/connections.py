"""What users connect: each has accounts of their own, all go through one Composio client.

The project's key reaches every user's accounts, so that every request names the user it is
made for, and nothing is changed before it has been read whose it is. See
``docs/adr/0011-tools-of-each-user-through-one-client.md``.
"""

import asyncio
import json
import logging
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal, Self

from cmw_agent.config.settings import Settings
from cmw_agent.core.errors import UserError, frames
from cmw_agent.core.sanitize import mended
from cmw_agent.identity.principals import Principal
from cmw_agent.tools.composio.catalog import (
    SECONDS,
    Catalog,
    ComposioClient,
    ComposioError,
    ConnectedTool,
    open_wire,
)

MAX_RESULT = 20_000  # characters of a tool's result
LINK = re.compile(r"https://connect\.composio\.dev/link/[A-Za-z0-9_~-]+(\?[A-Za-z0-9_~.=&%-]*)?")
USER = re.compile(r"cmw-[0-9a-f]{48}")
ACCOUNT = re.compile(r"[A-Za-z0-9_-]{1,200}")
# What would name somebody or their credentials, where a tool has no parameter of that name.
RESERVED = frozenset(
    {
        "user_id",
        "entity_id",
        "connected_account_id",
        "custom_auth_params",
        "custom_connection_data",
    }
)
NOT_CONNECTED = re.compile(r"ConnectedAccount_?NotFound|No_?Active_?Connection", re.IGNORECASE)
MAYBE_NOT_CONNECTED = re.compile(
    r"\b(no|not|without|missing|inactive|expired)\b.{0,60}\bconnect(ed|ion)|"
    r"\bconnect(ed account|ion)s?\b.{0,60}\b(no|not|missing|inactive|expired)\b",
    re.IGNORECASE | re.DOTALL,
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

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Toolkit:
    """One toolkit as it stands for one user.

    `needs_account` is False where all of its tools work without an account.
    """

    slug: str
    name: str
    state: ConnectionState
    needs_account: bool


@dataclass(frozen=True, slots=True)
class ToolOutcome:
    """What a tool gave, as text for the model; `ok` is False where it failed."""

    text: str
    ok: bool


@dataclass(frozen=True, slots=True)
class ConnectionUser:
    """Whose accounts: an opaque id, the only one of a principal that Composio gets to know.

    It rests on the principal's id alone and on no key, so that it is the same on each replica
    and outlives a change of keys. There is no default.
    """

    value: str

    def __post_init__(self) -> None:
        """Refuse anything but what `of` makes."""
        if not USER.fullmatch(self.value):
            raise ValueError("a connection's user is derived from a principal")

    @classmethod
    def of_owner(cls, owner: str) -> Self:
        """Return the user whom the principal of this id is; one of whom something is kept."""
        return cls("cmw-" + sha256(f"cmw.composio\0{owner}".encode()).hexdigest()[:48])

    @classmethod
    def of(cls, principal: Principal) -> Self:
        """Return the user whom `principal` is.

        Raises:
            ValueError: It is ephemeral: nothing of it is kept, so nothing could be its own.
        """
        if not principal.is_kept or not principal.id:
            raise ValueError("an ephemeral visitor has no connections")
        return cls.of_owner(principal.id)

    def __str__(self) -> str:
        return self.value


class NotConnectedError(Exception):
    """The user has no active account of `toolkit`, and is to be offered a link."""

    def __init__(self, toolkit: str) -> None:
        super().__init__(toolkit)
        self.toolkit = toolkit


class ConnectionsError(UserError):
    """Composio failed; what exactly is in the log under the error's id."""

    status = 502
    sentence = "The service that connects accounts did not answer as it should; please try again."


class UnknownToolkitError(UserError):
    """No toolkit of that name can be connected here."""

    status = 404
    sentence = "No app of that name can be connected here."


class Connections:
    """Every user's connections: one object for the process, which keeps nothing of anybody.

    Args:
        wire: Asks Composio.
        toolkits: Slugs of what can be connected.
        clock: Seconds that never go back.
    """

    def __init__(
        self,
        wire: ComposioClient,
        toolkits: Sequence[str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wire = wire
        self._slugs = tuple(toolkits)
        self._catalog = Catalog(self._items, self._slugs, clock)
        self._making = {slug: asyncio.Lock() for slug in self._slugs}

    async def tools(self, toolkits: Sequence[str]) -> tuple[ConnectedTool, ...]:
        """Return the tools of `toolkits`, important ones first; they are shared by all users.

        What is not configured, and what cannot be read right now, has none.
        """
        return await self._catalog.tools(toolkits)

    async def load(self) -> None:
        """Fetch the tools that are due, so that the first user need not wait for them."""
        await self._catalog.load()

    async def close(self) -> None:
        """End what goes on in the background."""
        await self._catalog.close()

    async def toolkits(self, user: ConnectionUser, connected: Mapping[str, str]) -> list[Toolkit]:
        """Return how each configured toolkit stands for `user`, as Composio says now.

        Args:
            user: Whose accounts.
            connected: Ids of the accounts that count, by toolkit; whatever other accounts
                Composio has of this user is left out.

        Raises:
            ConnectionsError: Composio could not be asked.
        """
        with _told("reading the state"):
            listed = await self._accounts(user, self._slugs)
        accounts = [item for item in listed if connected.get(_slug(item)) == item.get("id")]
        await self._catalog.tools(self._slugs)  # for their names
        return [
            Toolkit(
                slug, self._catalog.title(slug), _state(accounts, slug), self._needs_account(slug)
            )
            for slug in self._slugs
        ]

    async def link(self, user: ConnectionUser, toolkit: str, callback_url: str) -> tuple[str, str]:
        """Return an address on Composio's own site where `user` connects an account, and its id.

        Args:
            user: Whose account it will be.
            toolkit: One of those configured.
            callback_url: Where Composio sends the browser afterwards. That it comes proves
                nothing: `toolkits` says whether an account is there.

        Raises:
            UnknownToolkitError: `toolkit` is not configured.
            ConnectionsError: Composio failed, or gave an address that is not its own.
        """
        self.check(toolkit)
        with _told("making a link"):
            link = await self._wire.ask(
                self._wire.client.link.with_raw_response.create,
                auth_config_id=await self._auth_config(toolkit),
                user_id=user.value,
                callback_url=callback_url,
            )
            address = link.get("redirect_url") if isinstance(link, dict) else None
            if not isinstance(address, str) or not LINK.fullmatch(address):
                raise ComposioError("foreign_link")
            account = link.get("connected_account_id")
            if not isinstance(account, str) or not ACCOUNT.fullmatch(account):
                raise ComposioError("malformed")
            return address, account

    async def is_active(self, user: ConnectionUser, toolkit: str, account_id: str) -> bool:
        """Whether an account is there, is this user's, and can be used.

        Raises:
            ConnectionsError: Composio could not be asked.
        """
        accounts = self._wire.client.connected_accounts.with_raw_response
        with _told("reading an account"):
            try:
                account = await self._wire.ask(accounts.retrieve, account_id, tries=2)
            except ComposioError as failure:
                if failure.status_code == 404:
                    return False
                raise
        return _is(account, user, toolkit) and _state([account], toolkit) == "connected"

    async def delete(self, user: ConnectionUser, toolkit: str, account_id: str) -> None:
        """Delete one account, if it is this user's.

        Raises:
            ConnectionsError: Composio failed.
        """
        with _told("deleting an account"):
            await self._delete(user, toolkit, account_id)

    async def disconnect(
        self, user: ConnectionUser, toolkit: str, *, but: str | None = None
    ) -> bool:
        """Delete every account of `toolkit` that `user` has; return whether there was one.

        The account of the id `but` stays.

        Raises:
            UnknownToolkitError: `toolkit` is not configured.
            ConnectionsError: Composio failed; some accounts may be gone already.
        """
        self.check(toolkit)
        found = False
        with _told("disconnecting"):
            for account in await self._accounts(user, (toolkit,)):
                if but is None or account.get("id") != but:
                    found = await self._delete(user, toolkit, str(account.get("id") or "")) or found
        return found

    async def run(
        self,
        user: ConnectionUser,
        tool: ConnectedTool,
        arguments: Mapping[str, Any],
        *,
        account_id: str | None,
    ) -> ToolOutcome:
        """Run `tool` on an account of `user`, once: a failed call is never tried again.

        Args:
            user: Whose account; nothing in `arguments` can change that.
            account_id: Which account, and no other one of this user; None for a tool that
                needs none.
            tool: One that `tools` gave.
            arguments: What the model wants, as the tool's schema describes it.

        Raises:
            NotConnectedError: The user has no active account of the tool's toolkit.
        """
        sent = _permitted(tool, arguments)
        if sent is None:
            return ToolOutcome(f"{tool.slug} was not run: its arguments cannot be sent.", ok=False)
        named = {"connected_account_id": account_id}
        on_account: dict[str, Any] = named if account_id is not None else {}
        try:
            answer = await self._wire.ask(
                self._wire.client.tools.with_raw_response.execute,
                tool.slug,
                user_id=user.value,
                version="latest",
                arguments=sent,
                **on_account,
            )
            return ToolOutcome(_result(answer), ok=True)
        except ComposioError as failure:
            return await self._failed(user, tool, account_id, failure)

    async def _failed(
        self, user: ConnectionUser, tool: ConnectedTool, account_id: str | None, why: ComposioError
    ) -> ToolOutcome:
        log.info("tool %s failed: %s, status %s", tool.slug, why.kind, why.status_code)
        if NOT_CONNECTED.search(why.slug):
            raise NotConnectedError(tool.toolkit)
        # A service may say such words of something else: what counts is whether an account
        # is there.
        if MAYBE_NOT_CONNECTED.search(why.message) and not await self._may_have(
            user, tool.toolkit, account_id
        ):
            raise NotConnectedError(tool.toolkit)
        return ToolOutcome(_text(f"{tool.slug} failed: {why.explained}"), ok=False)

    async def _may_have(self, user: ConnectionUser, toolkit: str, account_id: str | None) -> bool:
        if account_id is None:
            return True  # the tool needs none, so that it says such words of something else
        try:
            listed = await self._accounts(user, (toolkit,))
            accounts = [item for item in listed if item.get("id") == account_id]
            return _state(accounts, toolkit) == "connected"
        except ComposioError:
            return True

    async def _accounts(
        self, user: ConnectionUser, toolkits: Sequence[str]
    ) -> list[dict[str, Any]]:
        listed = await self._wire.pages(
            self._wire.client.connected_accounts.with_raw_response.list,
            user_ids=[user.value],
            toolkit_slugs=list(toolkits),
        )
        own = [account for account in listed if account.get("user_id") == user.value]
        if len(own) < len(listed):
            log.error("%d accounts of others were listed and left out", len(listed) - len(own))
        return own

    async def _delete(self, user: ConnectionUser, toolkit: str, account_id: str) -> bool:
        accounts = self._wire.client.connected_accounts.with_raw_response
        try:
            account = await self._wire.ask(accounts.retrieve, account_id, tries=2)
            # The list may be old or wrong, and deleting cannot be undone.
            if not _is(account, user, toolkit):
                log.error("an account that is not the user's was left alone")
                return False
            await self._wire.ask(accounts.delete, account_id)
        except ComposioError as failure:
            if failure.status_code != 404:  # else gone meanwhile
                raise
        return True

    async def _auth_config(self, toolkit: str) -> str:
        if found := await self._find_auth_config(toolkit):
            return found
        async with self._making[toolkit]:
            if found := await self._find_auth_config(toolkit):
                return found
            made = await self._wire.ask(
                self._wire.client.auth_configs.with_raw_response.create,
                toolkit={"slug": toolkit},
                auth_config={"type": "use_composio_managed_auth"},
            )
        config = made.get("auth_config") if isinstance(made, dict) else None
        if not isinstance(config, dict) or not isinstance(config.get("id"), str):
            raise ComposioError("malformed")
        return str(config["id"])

    async def _find_auth_config(self, toolkit: str) -> str | None:
        listed = await self._wire.pages(
            self._wire.client.auth_configs.with_raw_response.list, toolkit_slug=toolkit
        )
        usable = [
            config
            for config in listed
            if _slug(config) == toolkit and config.get("status", "ENABLED") == "ENABLED"
        ]
        newest = max(usable, key=lambda config: str(config.get("created_at")), default={})
        return newest.get("id")

    async def _items(self, toolkit: str) -> list[dict[str, Any]]:
        with _told(f"reading the tools of {toolkit}"):
            return await self._wire.pages(
                self._wire.client.tools.with_raw_response.list,
                toolkit_slug=toolkit,
                toolkit_versions="latest",
            )

    def _needs_account(self, toolkit: str) -> bool:
        return self._catalog.needs_account(toolkit)

    def title(self, toolkit: str) -> str:
        """Return what people call a toolkit; its slug where it is not configured any more."""
        return self._catalog.title(toolkit) if toolkit in self._slugs else toolkit

    def check(self, toolkit: str) -> None:
        """Raise `UnknownToolkitError` for one that is not configured."""
        if toolkit not in self._slugs:
            raise UnknownToolkitError


@asynccontextmanager
async def open_connections(
    settings: Settings,
    *,
    seconds: float = SECONDS,
    clock: Callable[[], float] = time.monotonic,
) -> AsyncIterator[Connections]:
    """Open the process's connections: once, for as long as its event loop runs.

    Args:
        settings: With `settings.connections`.
        seconds: How long one call of Composio may take.
        clock: Seconds that never go back.

    Raises:
        ValueError: The settings have no key.
    """
    if settings.composio_api_key is None:
        raise ValueError("connections need a key")
    key = settings.composio_api_key.get_secret_value()
    async with open_wire(settings.composio_base_url, key, seconds) as wire:
        connections = Connections(wire, settings.toolkits, clock)
        try:
            yield connections
        finally:
            await connections.close()


@contextmanager
def _told(doing: str) -> Iterator[None]:
    """Tell a user of a `ComposioError` in a sentence, and the log in detail."""
    try:
        yield
    except ComposioError as failure:
        error = ConnectionsError()
        log.warning(
            "%s failed: %s %r (error %s) %s",
            doing,
            failure.kind,
            failure.slug[:80],
            error.error_id,
            frames(failure),
        )
        raise error from failure


def _state(accounts: Sequence[Mapping[str, Any]], toolkit: str) -> ConnectionState:
    found = {
        "expired" if account.get("is_disabled") else STATES.get(str(account.get("status")))
        for account in accounts
        if _slug(account) == toolkit
    }
    return next((state for state in BEST_FIRST if state in found), "none")


def _slug(item: Mapping[str, Any]) -> str:
    toolkit = item.get("toolkit")
    return str(toolkit.get("slug")).lower() if isinstance(toolkit, dict) else ""


def _is(account: object, user: ConnectionUser, toolkit: str) -> bool:
    return (
        isinstance(account, dict)
        and account.get("user_id") == user.value
        and _slug(account) == toolkit
    )


def _permitted(tool: ConnectedTool, arguments: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the arguments as they may be sent; None where JSON cannot carry them as they are."""
    declared = tool.schema["function"]["parameters"].get("properties", {})
    kept = {
        name: value for name, value in arguments.items() if name not in RESERVED or name in declared
    }
    # An action with other arguments than were shown is not run at all.
    return kept if mended(kept) == kept else None


def _result(answer: object) -> str:
    if not isinstance(answer, dict):
        raise ComposioError("malformed")
    if answer.get("successful") is not True:
        raise ComposioError(
            "unsuccessful", message=_text(answer.get("error") or answer.get("data"))
        )
    return _text(answer.get("data"))


def _text(value: object) -> str:
    value = mended(value)
    if not isinstance(value, str):
        value = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return value if len(value) <= MAX_RESULT else value[: MAX_RESULT - 7] + " […cut]"
