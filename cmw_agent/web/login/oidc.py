"""OpenID Connect client: the authorization code flow with PKCE.

Only the provider's discovery document is cached.
"""

import time
from typing import Any

import httpx2
from authlib.integrations.base_client.errors import OAuthError
from authlib.integrations.httpx_client import AsyncOAuth2Client
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from cmw_agent.config.settings import Settings
from cmw_agent.core.errors import UserError, describe_exception
from cmw_agent.core.logs import get_logger
from cmw_agent.identity.principals import Principal, new_login
from cmw_agent.web.login.sign_in import ProviderDownError, Secrets, SignInError

log = get_logger(__name__)

DISCOVERY = "/.well-known/openid-configuration"
METADATA_SECONDS = 3600.0  # the discovery document is cached; keys are fetched at each sign-in
TIMEOUT_SECONDS = 10.0
CLOCK_SKEW_SECONDS = 60
MAX_SUBJECT_CHARS = 255  # OpenID Connect Core 1.0, section 2
# No "none", and no shared secret: the provider alone can sign with these.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
GROUP_CLAIMS = ("groups", "roles")
ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri")


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
        self._metadata: tuple[float, dict[str, Any]] | None = None
        # Once: reading the certificates blocks the event loop for tens of ms.
        self._ssl_context = httpx2.create_ssl_context()

    async def sign_in_address(self, redirect_uri: str, sign_in: Secrets) -> str:
        """Return the provider's URL at which the browser signs in.

        Args:
            redirect_uri: The URL of this app's callback.
            sign_in: The secrets of this sign-in.

        Raises:
            ProviderDownError: The discovery document cannot be read.
        """
        async with self._client(redirect_uri) as client:
            metadata = await self._read_metadata(client)
            address, _ = client.create_authorization_url(
                metadata["authorization_endpoint"],
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
            SignInError: The provider refuses the code, or its ID token is not for this sign-in.
        """
        async with self._client(redirect_uri) as client:
            metadata = await self._read_metadata(client)
            try:
                tokens = await client.fetch_token(
                    metadata["token_endpoint"], code=code, code_verifier=sign_in.verifier
                )
                keys = await _fetch_json(client, metadata["jwks_uri"])
                return self._verify(metadata["issuer"], tokens["id_token"], keys, sign_in.nonce)
            except (OAuthError, JoseError, LookupError, TypeError, ValueError) as error:
                raise _logged(SignInError(), error) from None
            except httpx2.HTTPError as error:
                raise _logged(ProviderDownError(), error) from None

    def _client(self, redirect_uri: str) -> AsyncOAuth2Client:
        return AsyncOAuth2Client(
            client_id=self._client_id,
            client_secret=self._secret,
            token_endpoint_auth_method="client_secret_basic" if self._secret else "none",
            scope=self._scopes,
            redirect_uri=redirect_uri,
            code_challenge_method="S256",
            timeout=TIMEOUT_SECONDS,
            verify=self._ssl_context,
        )

    async def _read_metadata(self, client: AsyncOAuth2Client) -> dict[str, Any]:
        """Return the discovery document, cached for `METADATA_SECONDS`."""
        now = time.monotonic()
        if self._metadata is not None and now - self._metadata[0] < METADATA_SECONDS:
            return self._metadata[1]
        try:
            metadata = await _fetch_json(client, self._address + DISCOVERY)
            _check_metadata(metadata, self._address)
        except (httpx2.HTTPError, LookupError, TypeError, AttributeError, ValueError) as error:
            raise _logged(ProviderDownError(), error) from None
        self._metadata = now, metadata
        return metadata

    def _verify(self, issuer: str, id_token: str, keys: dict[str, Any], nonce: str) -> Principal:
        token = jwt.decode(id_token, KeySet.import_key_set(keys), algorithms=ALGORITHMS)  # type: ignore[arg-type]
        claims = token.claims
        jwt.JWTClaimsRegistry(
            leeway=CLOCK_SKEW_SECONDS,
            iss={"essential": True, "value": issuer},
            aud={"essential": True, "value": self._client_id},
            exp={"essential": True},
            sub={"essential": True},
            nonce={"essential": True, "value": nonce},
        ).validate(claims)
        authorized_party = claims.get("azp", self._client_id)
        subject, name = claims["sub"], claims.get("preferred_username")
        if authorized_party != self._client_id or not 0 < len(subject) <= MAX_SUBJECT_CHARS:
            raise ValueError
        return new_login(issuer, subject, name if isinstance(name, str) else None, _groups(claims))


def _groups(claims: dict[str, Any]) -> list[str]:
    """Return the groups and roles that a token names, without duplicates."""
    groups: list[str] = []
    for claim in GROUP_CLAIMS:
        names = claims.get(claim)
        if isinstance(names, list):
            groups += [name for name in names if isinstance(name, str)]
    return list(dict.fromkeys(groups))


def _check_metadata(metadata: dict[str, Any], address: str) -> None:
    # Another issuer's users could otherwise pass for this one's.
    if metadata["issuer"].rstrip("/") != address:
        raise ValueError
    scheme = address.partition("//")[0]
    if not all(metadata[name].startswith(scheme) for name in ENDPOINTS):
        raise ValueError


async def _fetch_json(client: AsyncOAuth2Client, address: str) -> dict[str, Any]:
    response = await client.request("GET", address, withhold_token=True)
    response.raise_for_status()
    content = response.json()
    if not isinstance(content, dict):
        raise TypeError
    return content


def _logged(user_error: UserError, cause: BaseException) -> UserError:
    """Log `cause` under the id of `user_error`, and return `user_error`."""
    log.warning("sign-in failed", error_id=user_error.error_id, cause=describe_exception(cause))
    return user_error
