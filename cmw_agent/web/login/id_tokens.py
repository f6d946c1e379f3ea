"""Verifies ID tokens (OpenID Connect Core 1.0, section 3.1.3.7)."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson
from joserfc import jwt
from joserfc.errors import (
    BadSignatureError,
    ExpiredTokenError,
    InvalidClaimError,
    JoseError,
    SecurityWarning,
)
from joserfc.jwk import JWKRegistry, Key
from joserfc.util import urlsafe_b64decode

from cmw_agent.core.errors import UserError
from cmw_agent.web.login.discovery import Metadata
from cmw_agent.web.login.sign_in import ClockError, SetupError, SignInError, logged

CLOCK_SKEW_SECONDS: Final = 180
MAX_SUBJECT_CHARS: Final = 255  # OpenID Connect Core 1.0, section 2
MAX_KEYS: Final = 100
# No "none", and no shared secret: the provider alone can sign with these.
KEY_TYPES: Final[Mapping[str, str]] = {
    **{f"{kind}{bits}": "RSA" for kind in ("RS", "PS") for bits in (256, 384, 512)},
    **{f"ES{bits}": "EC" for bits in (256, 384, 512)},
    "EdDSA": "OKP",
    "Ed25519": "OKP",
}
ALGORITHMS: Final = tuple(KEY_TYPES)


def verified_claims(
    token: object, metadata: Metadata, keys: Mapping[str, Any], client_id: str, nonce: str
) -> dict[str, Any]:
    """Return the claims of an ID token that the provider has signed for this sign-in.

    Args:
        token: The token as the provider sent it.
        metadata: The provider's.
        keys: The provider's key set (RFC 7517).
        client_id: The setting `OAUTH_CLIENT_ID`.
        nonce: The nonce of this sign-in.

    Raises:
        ClockError: It is not valid now.
        SetupError: It is for another client, or signed in a way that the app does not know.
        SignInError: It does not count.
    """
    if not isinstance(token, str):
        raise logged(
            SetupError(status=400), "the provider sent no id_token; OAUTH_SCOPES must hold openid"
        )
    try:
        claims = _signed_claims(token, keys)
        issuer = metadata.issuer_of(claims)
        _registry(issuer, client_id, nonce).validate(claims)
        _check_party(claims, client_id)
    except ExpiredTokenError as error:
        raise _clock(error) from None
    except InvalidClaimError as error:
        if error.claim in ("iat", "nbf"):
            raise _clock(error) from None
        advice = f"the id token's {error.claim} is not that of this app"
        if error.claim == "aud":
            raise logged(
                SetupError(status=400), f"{advice}; check OAUTH_CLIENT_ID", error
            ) from None
        raise logged(SignInError(), advice, error) from None
    except (JoseError, LookupError, TypeError, ValueError) as error:
        raise logged(SignInError(), "the id token cannot be verified", error) from None
    return claims


def _registry(issuer: str, client_id: str, nonce: str) -> jwt.JWTClaimsRegistry:
    return jwt.JWTClaimsRegistry(
        leeway=CLOCK_SKEW_SECONDS,
        iss={"essential": True, "value": issuer},
        aud={"essential": True, "value": client_id},
        exp={"essential": True},
        sub={"essential": True},
        nonce={"essential": True, "value": nonce},
    )


def _clock(error: JoseError) -> UserError:
    advice = (
        f"the id token is expired or not valid yet by more than {CLOCK_SKEW_SECONDS} s; set this "
        "machine's clock, or the provider's, by NTP"
    )
    return logged(ClockError(), advice, error)


def _check_party(claims: Mapping[str, Any], client_id: str) -> None:
    if claims.get("azp", client_id) != client_id:
        raise ValueError("azp")
    if not 0 < len(claims["sub"]) <= MAX_SUBJECT_CHARS:
        raise ValueError("sub")


def _signed_claims(token: str, keys: Mapping[str, Any]) -> dict[str, Any]:
    header = orjson.loads(urlsafe_b64decode(token.partition(".")[0].encode()))
    algorithm, key_id = header.get("alg"), header.get("kid")
    if algorithm not in KEY_TYPES:
        raise logged(
            SetupError(status=400),
            "the id token is signed by an algorithm that is not accepted; let the provider use one of "
            f"{', '.join(ALGORITHMS)} for this client",
        )
    for key in _fitting_keys(keys, algorithm, key_id):
        try:
            with warnings.catch_warnings():
                # joserfc calls EdDSA's older name deprecated; providers use it.
                warnings.simplefilter("ignore", SecurityWarning)
                return dict(jwt.decode(token, key, algorithms=list(ALGORITHMS)).claims)
        except BadSignatureError:
            continue
    raise BadSignatureError


def _fitting_keys(keys: Mapping[str, Any], algorithm: str, key_id: object) -> Sequence[Key]:
    """Return the published keys that may have signed a token; those of an unknown kind are skipped."""
    found: list[Key] = []
    published = keys.get("keys")
    for item in published[:MAX_KEYS] if isinstance(published, list) else ():
        if not isinstance(item, dict) or item.get("kty") != KEY_TYPES[algorithm]:
            continue
        if item.get("use", "sig") != "sig" or item.get("alg", algorithm) != algorithm:
            continue
        if key_id is not None and item.get("kid", key_id) != key_id:
            continue
        try:
            found.append(JWKRegistry.import_key(item))
        except (JoseError, LookupError, TypeError, ValueError):
            continue
    return found
