"""The OpenID provider as a client sees it: where to sign in, and who has signed in.

Authorization code flow with PKCE. Nothing is kept but the provider's own description.
"""

import logging
import time
from dataclasses import dataclass
from typing import Any

import httpx2
from authlib.integrations.base_client.errors import OAuthError
from authlib.integrations.httpx_client import AsyncOAuth2Client
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from cmw_agent.config.settings import Settings
from cmw_agent.core.errors import UserError, frames
from cmw_agent.identity.principals import Principal, new_login

log = logging.getLogger(__name__)

DISCOVERY = "/.well-known/openid-configuration"
KEEP_SECONDS = 3600.0  # the provider's description; its keys are asked for at each sign-in
WAIT_SECONDS = 10.0
CLOCK_SECONDS = 60  # by which two machines' clocks may differ
SUBJECT_CHARS = 255  # at most, as OpenID Connect says
# No "none", and no shared secret: the provider alone can sign with these.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
GROUP_CLAIMS = ("groups", "roles")
ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri")


class SignInError(UserError):
    """The sign-in did not prove who it is."""

    status = 400
    sentence = "The sign-in could not be verified; please try again."


class ProviderDownError(UserError):
    """The provider cannot be reached, or does not answer as one."""

    status = 502
    sentence = "The sign-in service cannot be reached right now; please try again in a moment."


@dataclass(frozen=True, slots=True)
class Secrets:
    """What ties an answer of the provider to the one request that it answers."""

    state: str
    nonce: str
    verifier: str


class Provider:
    """The configured provider.

    Args:
        settings: Their provider and client id must be set.
    """

    def __init__(self, settings: Settings) -> None:
        self._address = str(settings.openid_provider_url)
        self._client_id = str(settings.oauth_client_id)
        secret = settings.oauth_client_secret
        self._secret = secret.get_secret_value() if secret else None
        self._scopes = settings.oauth_scopes
        self._description: tuple[float, dict[str, Any]] | None = None
        # Once: reading the certificates takes tens of ms, in which nothing else would run.
        self._trusted = httpx2.create_ssl_context()

    async def sign_in_address(self, redirect_uri: str, known: Secrets) -> str:
        """Return where to send the browser to sign in.

        Raises:
            ProviderDownError: The provider does not say where.
        """
        async with self._client(redirect_uri) as client:
            found = await self._described(client)
            address, _ = client.create_authorization_url(
                found["authorization_endpoint"],
                state=known.state,
                nonce=known.nonce,
                code_verifier=known.verifier,
            )
            return str(address)

    async def account(self, redirect_uri: str, code: str, known: Secrets) -> Principal:
        """Return the account that `code` stands for, with a new login.

        Raises:
            ProviderDownError: The provider cannot be reached.
            SignInError: It refuses the code, or what it signed is not for this sign-in.
        """
        async with self._client(redirect_uri) as client:
            found = await self._described(client)
            try:
                tokens = await client.fetch_token(
                    found["token_endpoint"], code=code, code_verifier=known.verifier
                )
                keys = await _fetched(client, found["jwks_uri"])
                return self._verified(found["issuer"], tokens["id_token"], keys, known.nonce)
            except (OAuthError, JoseError, LookupError, TypeError, ValueError) as error:
                raise _told(SignInError(), error) from None
            except httpx2.HTTPError as error:
                raise _told(ProviderDownError(), error) from None

    def _client(self, redirect_uri: str) -> AsyncOAuth2Client:
        return AsyncOAuth2Client(
            client_id=self._client_id,
            client_secret=self._secret,
            token_endpoint_auth_method="client_secret_basic" if self._secret else "none",
            scope=self._scopes,
            redirect_uri=redirect_uri,
            code_challenge_method="S256",
            timeout=WAIT_SECONDS,
            verify=self._trusted,
        )

    async def _described(self, client: AsyncOAuth2Client) -> dict[str, Any]:
        now = time.monotonic()
        if self._description is not None and now - self._description[0] < KEEP_SECONDS:
            return self._description[1]
        try:
            found = await _fetched(client, self._address + DISCOVERY)
            _check_description(found, self._address)
        except (httpx2.HTTPError, LookupError, TypeError, AttributeError, ValueError) as error:
            raise _told(ProviderDownError(), error) from None
        self._description = now, found
        return found

    def _verified(self, issuer: str, id_token: str, keys: dict[str, Any], nonce: str) -> Principal:
        token = jwt.decode(id_token, KeySet.import_key_set(keys), algorithms=ALGORITHMS)  # type: ignore[arg-type]
        claims = token.claims
        jwt.JWTClaimsRegistry(
            leeway=CLOCK_SECONDS,
            iss={"essential": True, "value": issuer},
            aud={"essential": True, "value": self._client_id},
            exp={"essential": True},
            sub={"essential": True},
            nonce={"essential": True, "value": nonce},
        ).validate(claims)
        party = claims.get("azp", self._client_id)
        subject, name = claims["sub"], claims.get("preferred_username")
        if party != self._client_id or not 0 < len(subject) <= SUBJECT_CHARS:
            raise ValueError
        return new_login(issuer, subject, name if isinstance(name, str) else None, _groups(claims))


def _groups(claims: dict[str, Any]) -> list[str]:
    """Return the groups and roles that a token names, each once."""
    found: list[str] = []
    for claim in GROUP_CLAIMS:
        named = claims.get(claim)
        if isinstance(named, list):
            found += [name for name in named if isinstance(name, str)]
    return list(dict.fromkeys(found))


def _check_description(found: dict[str, Any], address: str) -> None:
    # Another issuer's users could otherwise pass for this one's.
    if found["issuer"].rstrip("/") != address:
        raise ValueError
    scheme = address.partition("//")[0]
    if not all(found[name].startswith(scheme) for name in ENDPOINTS):
        raise ValueError


async def _fetched(client: AsyncOAuth2Client, address: str) -> dict[str, Any]:
    answer = await client.request("GET", address, withhold_token=True)
    answer.raise_for_status()
    found = answer.json()
    if not isinstance(found, dict):
        raise TypeError
    return found


def _told(told: UserError, error: BaseException) -> UserError:
    log.warning("sign-in failed error_id=%s cause=%s", told.error_id, frames(error))
    return told
