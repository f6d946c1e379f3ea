"""Grants: the tokens of a user's sign-in at an MCP server, sealed in the database."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from mcp.client.auth import OAuthClientProvider
from mcp.shared.auth import (
    OAuthClientInformationFull,
    OAuthClientMetadata,
    OAuthMetadata,
    OAuthToken,
    ProtectedResourceMetadata,
)
from pydantic import AnyUrl, BaseModel, ValidationError

from cmw_agent.config.mcp_servers import McpServer
from cmw_agent.core.store_errors import mapped_store_errors
from cmw_agent.identity.sealing import MCP_GRANT, Sealer
from memory.mcp_servers import McpServerStore


class Grant(BaseModel):
    """What is kept of a sign-in.

    Attributes:
        url: The server's address when it was made: tokens never go to another one.
        redirect_uri: The app's address to which the browser came back.
        client: The app's registration at the authorization server.
        tokens: The user's tokens.
        expires_at: Seconds since the epoch at which the access token ends.
        server: What the authorization server says of itself.
        resource: What the MCP server says of itself.
    """

    url: str
    redirect_uri: str
    client: OAuthClientInformationFull | None = None
    tokens: OAuthToken | None = None
    expires_at: float | None = None
    server: OAuthMetadata | None = None
    resource: ProtectedResourceMetadata | None = None


@dataclass(frozen=True, slots=True)
class Grants:
    """The grants of all owners.

    Attributes:
        store: Stores them.
        sealer: Encrypts them.
    """

    store: McpServerStore
    sealer: Sealer

    async def find(self, owner: str, server: McpServer) -> Grant | None:
        """Return an owner's grant at a server; None where there is none that can be used.

        Raises:
            UserError: The database failed.
        """
        with mapped_store_errors():
            stored = await self.store.find(owner, server.name)
        if stored is None or stored.sealed is None:
            return None
        text = self.sealer.unseal(owner, f"{MCP_GRANT}.{server.name}", stored.sealed)
        if text is None:
            return None
        try:
            grant = Grant.model_validate_json(text)
        except ValidationError:
            return None
        return grant if grant.url == server.url and grant.tokens is not None else None

    async def keep(self, owner: str, server: McpServer, grant: Grant) -> None:
        """Store an owner's grant, in place of an earlier one.

        Raises:
            UserError: The database failed.
        """
        with mapped_store_errors():
            await self.store.seal(owner, server.name, self._sealed(owner, server, grant))

    async def renew(self, owner: str, server: McpServer, grant: Grant) -> None:
        """Replace an owner's grant; one that was signed out of, or has moved, does not come back.

        Raises:
            UserError: The database failed.
        """
        with mapped_store_errors():
            await self.store.renew(owner, server.name, self._sealed(owner, server, grant))

    async def drop(self, owner: str, server: McpServer) -> bool:
        """Delete an owner's grant; return whether there was one. A server of their own stays.

        Raises:
            UserError: The database failed.
        """
        with mapped_store_errors():
            if server.is_own:
                return await self.store.unseal(owner, server.name)
            return await self.store.drop(owner, server.name)

    def _sealed(self, owner: str, server: McpServer, grant: Grant) -> str:
        text = grant.model_dump_json(exclude_none=True)
        return self.sealer.seal(owner, f"{MCP_GRANT}.{server.name}", text)


class GrantStorage:
    """Keeps what the SDK's provider learns, of one owner at one server (its `TokenStorage`).

    Args:
        grants: The grants of all owners.
        owner: The owner.
        server: The server.
        grant: What is known.
        renews: Whether it was stored before.
        clock: Seconds since the epoch.
    """

    def __init__(
        self,
        grants: Grants,
        owner: str,
        server: McpServer,
        grant: Grant,
        *,
        renews: bool,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = grants.renew if renews else grants.keep
        self._owner = owner
        self._server = server
        self._clock = clock
        self.grant = grant
        self.provider: OAuthClientProvider | None = None

    async def get_tokens(self) -> OAuthToken | None:
        """Return the tokens."""
        return self.grant.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        """Store new tokens, and what the provider has found out to get them."""
        seconds = tokens.expires_in
        context = self.provider.context if self.provider is not None else None
        self.grant = self.grant.model_copy(
            update={
                "tokens": tokens,
                "expires_at": self._clock() + seconds if seconds is not None else None,
                "server": context.oauth_metadata if context is not None else None,
                "resource": context.protected_resource_metadata if context is not None else None,
            }
        )
        await self._store(self._owner, self._server, self.grant)

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        """Return the app's registration."""
        return self.grant.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        """Note the app's registration; it is stored with the tokens."""
        self.grant = self.grant.model_copy(update={"client": client_info})


def metadata_of(redirect_uri: str) -> OAuthClientMetadata:
    """Return what the app registers itself as at authorization servers."""
    return OAuthClientMetadata(
        client_name="CMW Agent",
        redirect_uris=[AnyUrl(redirect_uri)],
        grant_types=["authorization_code", "refresh_token"],
        response_types=["code"],
        token_endpoint_auth_method="none",  # noqa: S106 (a method's name)
    )


def provider_of(storage: GrantStorage, url: str) -> OAuthClientProvider:
    """Return what signs the requests of one owner to a server, and renews the tokens.

    It asks nobody to sign in: where the grant is worth nothing any more, the request fails.
    """
    grant = storage.grant
    provider = OAuthClientProvider(url, metadata_of(grant.redirect_uri), storage)
    storage.provider = provider
    context = provider.context
    context.token_expiry_time = grant.expires_at
    context.oauth_metadata = grant.server
    context.protected_resource_metadata = grant.resource
    if grant.resource is not None and grant.resource.authorization_servers:
        context.auth_server_url = str(grant.resource.authorization_servers[0])
    return provider
