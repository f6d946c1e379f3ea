"""The provider's description of itself (OpenID Connect Discovery 1.0)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from cmw_agent.web.login.sign_in import SetupError, logged

PATH: Final = "/.well-known/openid-configuration"
REQUIRED: Final = ("authorization_endpoint", "token_endpoint", "jwks_uri")
OPTIONAL: Final = ("userinfo_endpoint",)
BASIC, POST, NONE = "client_secret_basic", "client_secret_post", "none"
# Entra's addresses for accounts of any tenant; the issuer of each token names its tenant.
TENANT: Final = "{tenantid}"
SHARED: Final = ("common", "organizations", "consumers")
TENANT_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Metadata:
    """What is used of the discovery document.

    Attributes:
        issuer: The issuer; with `TENANT` in it where each token names a tenant.
        authorization_endpoint, token_endpoint, jwks_uri: Addresses.
        userinfo_endpoint: Address, or None.
        auth_methods: How the app may authenticate at the token endpoint.
    """

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None
    auth_methods: tuple[str, ...]

    @property
    def has_tenants(self) -> bool:
        """Whether users of many organisations sign in here."""
        return TENANT in self.issuer

    def issuer_of(self, claims: Mapping[str, Any]) -> str:
        """Return the issuer that a token with these claims must have.

        Raises:
            ValueError: The token names no tenant where the issuer needs one.
        """
        if not self.has_tenants:
            return self.issuer
        tenant = claims.get("tid")
        if not isinstance(tenant, str) or not TENANT_ID.fullmatch(tenant):
            raise ValueError("no tenant")
        return self.issuer.replace(TENANT, tenant)

    def auth_method(self, *, has_secret: bool) -> str:
        """Return how the app authenticates at the token endpoint.

        Raises:
            SetupError: The provider offers no way that the app knows.
        """
        if not has_secret:
            return NONE
        for method in (BASIC, POST):
            if method in self.auth_methods:
                return method
        raise logged(
            SetupError(),
            "the provider takes a client secret neither by HTTP Basic nor in the form; allow "
            "client_secret_basic or client_secret_post for this client there",
        )


def metadata_of(document: Mapping[str, Any], address: str) -> Metadata:
    """Return what a discovery document says, after it was checked.

    Args:
        document: The document.
        address: The setting `OPENID_PROVIDER_URL`.

    Raises:
        SetupError: It is not that provider's, or lacks something.
    """
    issuer = document.get("issuer")
    # Another issuer's users could otherwise pass for this one's.
    if not isinstance(issuer, str) or not _is_issuer(issuer, address):
        raise logged(
            SetupError(),
            "the provider names another issuer than OPENID_PROVIDER_URL; set it to the issuer in "
            f"{address}{PATH}",
        )
    scheme = address.partition("//")[0]
    values = {name: document.get(name) for name in (*REQUIRED, *OPTIONAL)}
    for name, value in values.items():
        is_absent = value is None and name in OPTIONAL
        if not is_absent and not (isinstance(value, str) and value.startswith(scheme)):
            raise logged(SetupError(), f"{address}{PATH} has no {name} that begins with {scheme}//")
    methods = document.get("token_endpoint_auth_methods_supported")
    known = methods if isinstance(methods, list) else [BASIC]  # the default of the specification
    named = tuple(method for method in known if isinstance(method, str))
    return Metadata(issuer=issuer, **values, auth_methods=named)  # type: ignore[arg-type]


def _is_issuer(issuer: str, address: str) -> bool:
    if issuer.rstrip("/") == address:
        return True
    if TENANT not in issuer:
        return False
    return any(issuer.replace(TENANT, name).rstrip("/") == address for name in SHARED)
