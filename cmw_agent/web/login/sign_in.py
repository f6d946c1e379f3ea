"""Values and errors of a sign-in, without the OpenID Connect client and its libraries."""

from dataclasses import dataclass

from cmw_agent.core.errors import UserError


class SignInError(UserError):
    """The provider's response does not prove an identity for this sign-in."""

    status = 400
    sentence = "The sign-in could not be verified; please try again."


class ProviderDownError(UserError):
    """The provider cannot be reached, or does not respond as an OpenID provider."""

    status = 502
    sentence = "The sign-in service cannot be reached right now; please try again in a moment."


@dataclass(frozen=True, slots=True)
class Secrets:
    """Random values that bind the provider's response to one sign-in of one browser."""

    state: str
    nonce: str
    verifier: str
