"""OpenID Connect client: the authorization code flow with PKCE.

Only the provider's discovery document is cached.
"""

import base64
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote_plus

import httpx2
from authlib.integrations.base_client.errors import OAuthError
from authlib.integrations.httpx_client import AsyncOAuth2Client

from cmw_agent.config.settings import Settings
from cmw_agent.core.errors import UserError
from cmw_agent.identity.principals import Principal, new_login
from cmw_agent.web.login import claims as claim_readers
from cmw_agent.web.login.discovery import BASIC, NONE, PATH, Metadata, metadata_of
from cmw_agent.web.login.id_tokens import verified_claims
from cmw_agent.web.login.sign_in import (
    ProviderDownError,
    Secrets,
    SetupError,
    SignInError,
    logged,
    refusal,
)

METADATA_SECONDS = 3600.0  # the discovery document is cached; keys are fetched at each sign-in
TIMEOUT_SECONDS = 10.0


class Provider:
    """The configured OpenID provider.

    Args:
        settings: With the provider's URL and the client id set.
    """

    def __init__(self, settings: Settings) -> None:
        self._address = str(settings.openid_provider_url)
        self._client_id = str(settings.oauth_client_id)
        secret = settings.oauth_client_secret
        self._secret = secret.get_secret_value() if secret else None
        self._scopes = settings.oauth_scopes
        self._metadata: tuple[float, Metadata] | None = None
        # Once: reading the certificates blocks the event loop for tens of ms.
        self._ssl_context = httpx2.create_ssl_context()

    async def sign_in_address(self, redirect_uri: str, sign_in: Secrets) -> str:
        """Return the provider's URL at which the browser signs in.

        Args:
            redirect_uri: The URL of this app's callback.
            sign_in: The secrets of this sign-in.

        Raises:
            ProviderDownError: The discovery document cannot be read.
            SetupError: It is another provider's.
        """
        async with self._client(redirect_uri) as client:
            metadata = await self._read_metadata(client)
            address, _ = client.create_authorization_url(
                metadata.authorization_endpoint,
                state=sign_in.state,
                nonce=sign_in.nonce,
                code_verifier=sign_in.verifier,
            )
            return str(address)

    async def account(self, redirect_uri: str, code: str, sign_in: Secrets) -> Principal:
        """Exchange an authorization code for an account, with a new login.

        Args:
            redirect_uri: The URL of this app's callback.
            code: The authorization code of the callback.
            sign_in: The secrets of this sign-in.

        Raises:
            ProviderDownError: The provider cannot be reached.
            SetupError: The operator must change something.
            SignInError: The provider refuses the code, or its ID token is not for this sign-in.
        """
        async with self._client(redirect_uri) as client:
            metadata = await self._read_metadata(client)
            try:
                tokens = await self._tokens(client, metadata, code, sign_in.verifier)
                keys = await _fetch_json(client, metadata.jwks_uri)
            except OAuthError as error:
                raise refusal(error.error) from None
            except httpx2.HTTPError as error:
                advice = "the provider's token or key address cannot be reached, or fails"
                raise logged(ProviderDownError(), advice, error) from None
            except (LookupError, TypeError, ValueError) as error:
                advice = "the provider's token or key address answers with something else than JSON"
                raise logged(SignInError(), advice, error) from None
            claims = verified_claims(
                tokens.get("id_token"), metadata, keys, self._client_id, sign_in.nonce
            )
            userinfo = await self._with_userinfo(client, metadata, claims, tokens)
        return _account(metadata, claims, userinfo)

    async def _tokens(
        self, client: AsyncOAuth2Client, metadata: Metadata, code: str, verifier: str
    ) -> Mapping[str, Any]:
        method = metadata.auth_method(has_secret=self._secret is not None)
        client.token_endpoint_auth_method = _basic if method == BASIC else method
        tokens = await client.fetch_token(
            metadata.token_endpoint, code=code, code_verifier=verifier
        )
        return dict(tokens)

    async def _with_userinfo(
        self,
        client: AsyncOAuth2Client,
        metadata: Metadata,
        claims: dict[str, Any],
        tokens: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Return the claims with what the userinfo endpoint adds; without it where it fails."""
        if metadata.userinfo_endpoint is None or claim_readers.is_whole(claims):
            return claims
        try:
            bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
            userinfo = await _fetch_json(client, metadata.userinfo_endpoint, bearer)
            _check_subject(userinfo, claims["sub"])
        except (httpx2.HTTPError, LookupError, TypeError, ValueError) as error:
            logged(
                UserError(),
                "the provider's userinfo cannot be read: this user has no further name, address and "
                "groups; the sign-in goes on",
                error,
            )
            return claims
        return claim_readers.merged(claims, userinfo)

    def _client(self, redirect_uri: str) -> AsyncOAuth2Client:
        return AsyncOAuth2Client(
            client_id=self._client_id,
            client_secret=self._secret,
            token_endpoint_auth_method=NONE,  # until the discovery document is known
            scope=self._scopes,
            redirect_uri=redirect_uri,
            code_challenge_method="S256",
            timeout=TIMEOUT_SECONDS,
            verify=self._ssl_context,
        )

    async def _read_metadata(self, client: AsyncOAuth2Client) -> Metadata:
        """Return the discovery document, cached for `METADATA_SECONDS`."""
        now = time.monotonic()
        if self._metadata is not None and now - self._metadata[0] < METADATA_SECONDS:
            return self._metadata[1]
        address = self._address + PATH
        try:
            document = await _fetch_json(client, address)
        except httpx2.HTTPStatusError as error:
            status = error.response.status_code
            if status >= httpx2.codes.INTERNAL_SERVER_ERROR:
                raise logged(ProviderDownError(), f"{address} answers {status}", error) from None
            advice = f"{address} answers {status}; OPENID_PROVIDER_URL must be the issuer's address"
            raise logged(SetupError(), advice, error) from None
        except httpx2.HTTPError as error:
            raise logged(ProviderDownError(), f"{address} cannot be reached", error) from None
        except (TypeError, ValueError) as error:
            advice = f"{address} is no JSON; OPENID_PROVIDER_URL must be the issuer's address"
            raise logged(SetupError(), advice, error) from None
        metadata = metadata_of(document, self._address)
        self._metadata = now, metadata
        return metadata


def _check_subject(userinfo: Mapping[str, Any], subject: str) -> None:
    if userinfo.get("sub") != subject:  # OpenID Connect Core 1.0, section 5.3.2
        raise ValueError("sub")


def _account(
    metadata: Metadata, claims: Mapping[str, Any], userinfo: Mapping[str, Any]
) -> Principal:
    issuer, user = metadata.issuer_of(claims), claim_readers.user_claims(userinfo)
    # Each tenant's administrators choose its users' names and roles: they say something in
    # front of the tenant's own id alone.
    tenant = f"{claims['tid']}/" if metadata.has_tenants else ""
    return new_login(
        issuer,
        claims["sub"],
        user.name,
        [tenant + group for group in user.groups],
        email=user.email,
        trusts_name=not metadata.has_tenants,
    )


def _basic(
    client: Any, _method: str, uri: str, headers: dict[str, str], body: str
) -> tuple[str, dict[str, str], str]:
    """Authenticate a token request by HTTP Basic, with both parts form-encoded (RFC 6749, 2.3.1)."""
    text = f"{quote_plus(client.client_id)}:{quote_plus(client.client_secret)}"
    headers["Authorization"] = f"Basic {base64.b64encode(text.encode()).decode()}"
    return uri, headers, body


async def _fetch_json(
    client: AsyncOAuth2Client, address: str, headers: Mapping[str, str] | None = None
) -> dict[str, Any]:
    response = await client.request("GET", address, withhold_token=True, headers=headers)
    response.raise_for_status()
    content = response.json()
    if not isinstance(content, dict):
        raise TypeError
    return content
