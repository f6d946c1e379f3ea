"""Values and errors of a sign-in, without the OpenID Connect client and its libraries."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cmw_agent.core.errors import UserError, describe_exception
from cmw_agent.core.logs import get_logger
from cmw_agent.language import wording

log = get_logger(__name__)

# What the operator must change, by the error of the token endpoint (RFC 6749, section 5.2) or of
# the authorization response (section 4.1.2.1).
ADVICE: Final[Mapping[str, str]] = {
    "invalid_client": "the provider refuses OAUTH_CLIENT_ID or OAUTH_CLIENT_SECRET; compare both with "
    "the client's page there, and whether the secret has expired",
    "unauthorized_client": "the provider does not let this client sign users in by the authorization "
    "code flow; allow it there",
    "unsupported_response_type": "the provider does not let this client use response_type=code; "
    "allow it there",
    "unsupported_grant_type": "the provider does not let this client use the authorization code; "
    "allow it there",
    "invalid_scope": "the provider does not know a scope of OAUTH_SCOPES, or this client may not ask "
    "for it",
    "redirect_uri_mismatch": "the provider does not know this app's callback; register "
    "…/login/callback there, with the address under which people reach the app",
    "invalid_request": "the provider does not understand the request; register …/login/callback "
    "there, with the address under which people reach the app",
}


class SignInError(UserError):
    """The provider's response does not prove an identity for this sign-in."""

    status = 400
    sentence = wording("The sign-in could not be verified; please try again.")


class ClockError(SignInError):
    """The provider's token is not valid at the time of this machine's clock."""

    sentence = wording(
        "The sign-in came too late or too early by this server's clock. Please try again; if it "
        "fails again, tell whoever runs this site."
    )


class ProviderDownError(UserError):
    """The provider cannot be reached, or does not respond as an OpenID provider."""

    status = 502
    sentence = wording(
        "The sign-in service cannot be reached right now; please try again in a moment."
    )


class SetupError(UserError):
    """Sign-in cannot work until the operator changes something here or at the provider."""

    status = 502
    sentence = wording(
        "Signing in is not set up rightly on this site. Trying again will not help; please tell "
        "whoever runs it."
    )


def logged(user_error: UserError, advice: str, cause: BaseException | None = None) -> UserError:
    """Log why a sign-in failed under the error's id, and return the error.

    Args:
        user_error: What the visitor gets.
        advice: What is wrong, and what the operator must change; without tokens and secrets.
        cause: What was raised; its type and place are logged.
    """
    log.warning(
        "sign-in failed: %s",
        advice,
        error_id=user_error.error_id,
        cause=describe_exception(cause) if cause is not None else "-",
    )
    return user_error


def refusal(code: str | None) -> UserError:
    """Return the error for a provider's refusal, and log what the operator must change.

    Args:
        code: The provider's error code.
    """
    if code is not None and code in ADVICE:
        return logged(SetupError(), f"{code}: {ADVICE[code]}")
    if code == "invalid_grant":
        advice = "invalid_grant: the code is used or expired, or was for another callback address"
        return logged(SignInError(), advice)
    return logged(SignInError(), "the provider refuses the sign-in")


@dataclass(frozen=True, slots=True)
class Secrets:
    """Random values that bind the provider's response to one sign-in of one browser."""

    state: str
    nonce: str
    verifier: str
