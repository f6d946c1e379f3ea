"""Connected accounts of all users, and the calls of their tools, through one Composio client.

The project's key reaches every user's accounts. Every request therefore names its user, and
an account is changed only after reading that it belongs to that user. See
``docs/adr/0011-tools-of-each-user-through-one-client.md``.
"""

import time
from collections.abc import (
    AsyncIterator,
    Callable,
    Collection,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, contextmanager
from types import MappingProxyType
from typing import Any

from cmw_agent.config.settings import Settings
from cmw_agent.core.errors import UserError, describe_exception
from cmw_agent.core.logs import get_logger
from cmw_agent.language import wording
from cmw_agent.tools.composio.accounts import (
    ConnectedAccounts,
    ConnectionUser,
    OwnAccount,
    Toolkit,
    toolkit_slug,
    toolkit_state,
)
from cmw_agent.tools.composio.auth_configs import AuthConfigs
from cmw_agent.tools.composio.catalog import Catalog, ConnectedTool
from cmw_agent.tools.composio.client import SECONDS, ComposioClient, ComposioError, open_client
from cmw_agent.tools.composio.tool_calls import (
    MAYBE_NOT_CONNECTED,
    NOT_CONNECTED,
    NotConnectedError,
    ToolOutcome,
    as_text,
    permitted_arguments,
    result_text,
)
from cmw_agent.tools.search import ToolIndex

log = get_logger(__name__)

LATEST = "latest"
NONE: Mapping[str, str] = MappingProxyType({})


class ConnectionsError(UserError):
    """Composio failed; the log has the details under the error's id."""

    status = 502
    sentence = wording(
        "The service that connects accounts did not answer as it should; please try again."
    )


class UnknownToolkitError(UserError):
    """No toolkit of that name is configured."""

    status = 404
    sentence = wording("No app of that name can be connected here.")


class Connections:
    """Reads, connects, deletes and uses accounts at Composio. One object serves the process.

    It stores no user data.

    Args:
        client: Client of Composio's API.
        toolkits: Slugs of the configured toolkits.
        clock: Monotonic clock, in seconds.
        versions: Versions of toolkits; others have their latest.
        auth_configs: Ids of toolkits' auth configs; others are found or made.
    """

    def __init__(
        self,
        client: ComposioClient,
        toolkits: Sequence[str],
        clock: Callable[[], float] = time.monotonic,
        *,
        versions: Mapping[str, str] = NONE,
        auth_configs: Mapping[str, str] = NONE,
    ) -> None:
        self._client = client
        self._versions = versions
        self._slugs = tuple(toolkits)
        self._catalog = Catalog(self._tool_items, self._slugs, clock)
        self._auth_configs = AuthConfigs(client, self._slugs, auth_configs)
        self._accounts = ConnectedAccounts(client)

    async def tools(self, toolkits: Sequence[str]) -> tuple[ConnectedTool, ...]:
        """Return the tools of `toolkits`, important ones first; they are shared by all users.

        A toolkit that is not configured, or cannot be read now, contributes none.
        """
        return await self._catalog.tools(toolkits)

    @property
    def index(self) -> ToolIndex:
        """The index of all tools that were fetched."""
        return self._catalog.index

    async def load(self) -> None:
        """Fetch the tools that are due, so that the first user need not wait for them."""
        await self._catalog.load()

    async def close(self) -> None:
        """Cancel the background fetches."""
        await self._catalog.close()

    async def toolkits(
        self, user: ConnectionUser, connected: Collection[OwnAccount]
    ) -> list[Toolkit]:
        """Return each configured toolkit with its current state for an owner.

        Args:
            user: The owner's own user.
            connected: The accounts that the owner has finished connecting; Composio's others are
                ignored.

        Raises:
            ConnectionsError: Composio failed.
        """
        with _user_errors("reading the state"):
            listed = await self._accounts.list_of(user, self._slugs, connected)
        accounts = [item for item in listed if any(one.is_in(item) for one in connected)]
        await self._catalog.tools(self._slugs)  # loads their names
        return [
            Toolkit(
                slug,
                self._catalog.title(slug),
                toolkit_state(accounts, slug),
                self._catalog.needs_account(slug),
                {item["id"]: toolkit_state([item], slug) for item in accounts},
            )
            for slug in self._slugs
        ]

    async def link(self, user: ConnectionUser, toolkit: str, callback_url: str) -> tuple[str, str]:
        """Create a link on Composio's site at which `user` connects an account.

        Args:
            user: Owner of the new account.
            toolkit: One of the configured toolkits.
            callback_url: Where Composio sends the browser afterwards. Its arrival proves nothing:
                `is_active` tells whether the account is connected.

        Returns:
            The URL, and the id of the new account.

        Raises:
            UnknownToolkitError: `toolkit` is not configured.
            ConnectionsError: Composio failed, or gave a URL that is not its own.
        """
        self.check(toolkit)
        with _user_errors("making a link"):
            auth_config_id = await self._auth_configs.id_of(toolkit)
            return await self._accounts.new_link(user, auth_config_id, callback_url)

    async def is_active(self, user: ConnectionUser, toolkit: str, account_id: str) -> bool:
        """Return whether an account exists, belongs to `user` and can be used.

        Raises:
            ConnectionsError: Composio failed.
        """
        with _user_errors("reading an account"):
            return await self._accounts.is_active(user, toolkit, account_id)

    async def label(self, account: OwnAccount) -> str | None:
        """Return what the provider calls an account; None where it or Composio does not say."""
        try:
            return await self._accounts.label(account)
        except ComposioError as error:
            log.info("an account has no label", kind=error.kind)
            return None

    async def delete(self, account: OwnAccount) -> bool:
        """Delete an account if it belongs to its user; return whether it did.

        Raises:
            ConnectionsError: Composio failed.
        """
        with _user_errors("deleting an account"):
            return await self._accounts.delete(account.user, account.toolkit, account.account_id)

    async def accounts(
        self, user: ConnectionUser, toolkits: Sequence[str] | None = None
    ) -> list[OwnAccount]:
        """Return all accounts that Composio says are of `user`, those that nobody finished as well.

        Args:
            user: Whose accounts they are.
            toolkits: Slugs of their toolkits; None for all configured ones.

        Raises:
            ConnectionsError: Composio failed.
        """
        with _user_errors("listing accounts"):
            listed = await self._accounts.list_of(user, toolkits or self._slugs, ())
        return [OwnAccount(user, toolkit_slug(item), str(item.get("id") or "")) for item in listed]

    async def run(
        self,
        user: ConnectionUser,
        tool: ConnectedTool,
        arguments: Mapping[str, Any],
        *,
        account_id: str | None,
    ) -> ToolOutcome:
        """Run `tool` on an account of `user`, once: a failed call is never retried.

        Args:
            user: Owner of the account; nothing in `arguments` can change it.
            tool: One of those that `tools` returned.
            arguments: From the model, by the tool's schema.
            account_id: The account to use; None for a tool that needs none.

        Raises:
            NotConnectedError: The user has no active account of the tool's toolkit.
        """
        permitted = permitted_arguments(tool, arguments)
        if permitted is None:
            return ToolOutcome(f"{tool.slug} was not run: its arguments cannot be sent.", ok=False)
        account: dict[str, Any] = {}
        if account_id is not None:
            account["connected_account_id"] = account_id
        try:
            answer = await self._client.call(
                self._client.client.tools.with_raw_response.execute,
                tool.slug,
                user_id=user.value,
                version=self._versions.get(tool.toolkit, LATEST),
                arguments=permitted,
                **account,
            )
            return ToolOutcome(result_text(answer), ok=True)
        except ComposioError as error:
            return await self._failed(user, tool, account_id, error)

    async def _failed(
        self, user: ConnectionUser, tool: ConnectedTool, account_id: str | None, why: ComposioError
    ) -> ToolOutcome:
        log.info("a tool failed", tool=tool.slug, kind=why.kind, status=why.status_code)
        if NOT_CONNECTED.search(why.slug):
            raise NotConnectedError(tool.toolkit)
        # A tool's own error may contain similar words, so the account itself is checked.
        if MAYBE_NOT_CONNECTED.search(why.message) and not await self._may_have(
            user, tool.toolkit, account_id
        ):
            raise NotConnectedError(tool.toolkit)
        return ToolOutcome(as_text(f"{tool.slug} failed: {why.explained}"), ok=False)

    async def _may_have(self, user: ConnectionUser, toolkit: str, account_id: str | None) -> bool:
        if account_id is None:
            return True  # the tool needs no account, so its error is about something else
        try:
            own = OwnAccount(user, toolkit, account_id)
            listed = await self._accounts.list_of(user, (toolkit,), (own,))
            accounts = [item for item in listed if own.is_in(item)]
            return toolkit_state(accounts, toolkit) == "connected"
        except ComposioError:
            return True

    async def _tool_items(self, toolkit: str) -> list[dict[str, Any]]:
        with _user_errors(f"reading the tools of {toolkit}"):
            return await self._client.list_all(
                self._client.client.tools.with_raw_response.list,
                toolkit_slug=toolkit,
                toolkit_versions=self._versions.get(toolkit, LATEST),
            )

    def title(self, toolkit: str) -> str:
        """Return the display name of a toolkit; its slug if it is no longer configured."""
        return self._catalog.title(toolkit) if toolkit in self._slugs else toolkit

    def check(self, toolkit: str) -> None:
        """Check that a toolkit is configured.

        Raises:
            UnknownToolkitError: It is not.
        """
        if toolkit not in self._slugs:
            raise UnknownToolkitError


@asynccontextmanager
async def open_connections(
    settings: Settings,
    *,
    seconds: float = SECONDS,
    clock: Callable[[], float] = time.monotonic,
) -> AsyncIterator[Connections]:
    """Yield the process's `Connections`, and close them at the end.

    Args:
        settings: With a key of Composio.
        seconds: Time-out of one call of Composio.
        clock: Monotonic clock, in seconds.

    Raises:
        ValueError: The settings have no key.
    """
    if settings.composio_api_key is None:
        raise ValueError("connections need a key")
    key = settings.composio_api_key.get_secret_value()
    async with open_client(settings.composio_base_url, key, seconds) as client:
        connections = Connections(
            client,
            settings.toolkits,
            clock,
            versions=dict(settings.toolkit_versions),
            auth_configs=dict(settings.auth_configs),
        )
        try:
            yield connections
        finally:
            await connections.close()


@contextmanager
def _user_errors(action: str) -> Iterator[None]:
    """Raise a `ComposioError` as `ConnectionsError`, and log its details."""
    try:
        yield
    except ComposioError as composio_error:
        error = ConnectionsError()
        log.warning(
            "composio failed",
            action=action,
            kind=composio_error.kind,
            slug=repr(composio_error.slug[:80]),
            error_id=error.error_id,
            cause=describe_exception(composio_error),
        )
        raise error from composio_error
