"""What a provider says of a user: a name, a verified e-mail address, groups."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

GROUP_CLAIMS: Final = ("groups", "roles")
NAME: Final = "preferred_username"
TRUE: Final = (True, 1, "1", "true", "True")


@dataclass(frozen=True, slots=True)
class UserClaims:
    """What a provider says of a user, as far as it is used.

    Attributes:
        name: The user name, or None.
        email: The e-mail address in small letters, where the provider has verified it.
        groups: Groups and roles, without duplicates.
    """

    name: str | None
    email: str | None
    groups: tuple[str, ...]


def is_whole(claims: Mapping[str, Any]) -> bool:
    """Return whether an ID token alone says all that the provider can say."""
    has_groups = any(claim in claims for claim in GROUP_CLAIMS)
    return NAME in claims and "email" in claims and has_groups


def merged(claims: Mapping[str, Any], userinfo: Mapping[str, Any]) -> dict[str, Any]:
    """Return the claims of an ID token, and what the userinfo endpoint adds to them.

    An address and whether it was verified come from the same place.
    """
    added = dict(userinfo)
    if "email" in claims:
        added.pop("email_verified", None)
        added.pop("xms_edov", None)
    return {**added, **claims}


def user_claims(claims: Mapping[str, Any]) -> UserClaims:
    """Return what claims say of a user; values of wrong types are left out."""
    name = claims.get(NAME)
    groups: list[str] = []
    for claim in GROUP_CLAIMS:
        names = claims.get(claim)
        if isinstance(names, list):
            groups += [group for group in names if isinstance(group, str)]
    return UserClaims(
        name if isinstance(name, str) else None, _email(claims), tuple(dict.fromkeys(groups))
    )


def _email(claims: Mapping[str, Any]) -> str | None:
    # Entra says it by `xms_edov`, where the operator has asked for that claim; some providers
    # send the truth as a text. An address that nobody has verified may be anybody's.
    is_verified = any(claims.get(claim) in TRUE for claim in ("email_verified", "xms_edov"))
    email = claims.get("email")
    return email.lower() if is_verified and isinstance(email, str) and "@" in email else None
