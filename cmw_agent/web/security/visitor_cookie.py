"""Reads a visitor's token from a cookie or header, and writes the visitor cookie.

The cookie's attributes depend on how the page is reached. Plain http (a laptop) uses
``SameSite=Lax``; https adds ``Secure`` and the ``__Host-`` prefix; a page in a frame of another
site (a Space) needs ``SameSite=None; Partitioned`` (CHIPS), or browsers drop the cookie.

Browsers accept a cookie whose name begins with ``__Host-`` from this host alone, over https, for
all paths. They compare names as bytes, and so does `cookies`: a name that differs by any
character is another cookie, which a sibling host may have set. Another port of this host can set
our cookie, and on plain http any sibling host can.
"""

from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Literal

from starlette.datastructures import Headers
from starlette.types import Scope

from cmw_agent.core.http_headers import WHITE_SPACE
from cmw_agent.identity.principals import ACCOUNT_SECONDS, TOKEN_SECONDS, Identities, Principal

COOKIE = "cmw_visitor"
HEADER = "x-cmw-visitor"
MAX_CANDIDATES = 8  # cookies of one name that are read


@dataclass(frozen=True, slots=True)
class Authentication:
    """The principal that a request's token proves, and the token; all None without a valid one."""

    principal: Principal | None = None
    medium: Literal["cookie", "header"] | None = None
    token: str | None = None


class VisitorTokens:
    """Verifies the tokens of visitors and accounts, and writes their cookie.

    Args:
        identities: Signs and verifies tokens.
        embedded: Whether pages of other sites may frame this one.
    """

    def __init__(self, identities: Identities, *, embedded: bool) -> None:
        self._identities = identities
        self._embedded = embedded

    def authenticate(self, scope: Scope, headers: Headers) -> Authentication:
        """Return the principal of a request by its visitor token.

        The header takes precedence: only this site's own script can set it, and does so only
        where the browser has refused the cookie.
        """
        token = headers.get(HEADER)
        if token is not None:
            principal = self._identities.verify(token, "header")
            if principal is not None:
                return Authentication(principal, "header", token)
        for candidate in cookies(headers, cookie_name(scope, COOKIE)):
            principal = self._identities.verify(candidate, "cookie")
            if principal is not None:
                return Authentication(principal, "cookie", candidate)
        return Authentication()

    def renewed_cookie(self, scope: Scope, authentication: Authentication) -> str | None:
        """Return the ``Set-Cookie`` value that a request needs, or None.

        A request without a valid token gets a new visitor. A cookie that is over a week old, or
        signed by a retired key, is renewed for the same principal.
        """
        if authentication.medium == "header":
            return None
        if authentication.principal is None:
            return self.cookie_for(scope, self._identities.new_visitor())
        token = authentication.token
        if token is not None and self._identities.needs_renewal(token, "cookie"):
            return self.cookie_for(scope, authentication.principal)
        return None

    def cookie_for(self, scope: Scope, principal: Principal) -> str:
        """Return the ``Set-Cookie`` value that makes the browser this visitor or account."""
        value = self._identities.sign(principal, "cookie")
        seconds = ACCOUNT_SECONDS if principal.kind == "account" else TOKEN_SECONDS
        return set_cookie(scope, COOKIE, value, seconds, embedded=self._embedded)


def set_cookie(scope: Scope, name: str, value: str, seconds: int, *, embedded: bool) -> str:
    """Return a ``Set-Cookie`` value for a cookie that no script can read.

    Args:
        scope: The request's; its scheme decides on name and attributes.
        name: Without the prefix ``__Host-``.
        value: As it is sent.
        seconds: The cookie's Max-Age.
        embedded: Whether pages of other sites may frame this one.
    """
    path = "/" if _is_https(scope) else f"{_root(scope)}/"
    parts = [
        f"{cookie_name(scope, name)}={value}",
        f"Path={path}",
        f"Max-Age={seconds}",
        "HttpOnly",
    ]
    if not _is_https(scope):
        parts.append("SameSite=Lax")
    elif embedded:
        parts += ["Secure", "SameSite=None", "Partitioned"]
    else:
        parts += ["Secure", "SameSite=Lax"]
    return "; ".join(parts)


def cookie_name(scope: Scope, name: str) -> str:
    """Return the cookie's name on this connection: with the prefix ``__Host-`` on https.

    Such a cookie is for all paths of the host, so the name of an app below a path holds that
    path: two apps of one host would overwrite each other's cookie. On http the cookie has a path.
    """
    return f"__Host-{name}{_root(scope).replace('/', '_')}" if _is_https(scope) else name


def _root(scope: Scope) -> str:
    return str(scope.get("root_path", ""))


def _is_https(scope: Scope) -> bool:
    return bool(scope.get("scheme") == "https")


def cookies(headers: Headers, name: str) -> list[str]:
    """Return the values of the cookies of exactly this name, in the order of the headers.

    Space and tab around a pair are not part of it (RFC 6265, section 5.2); everything else is.
    At most `MAX_CANDIDATES` are returned.
    """
    # Not Starlette's parser: it keeps one cookie of a name, and a page on a sibling
    # host could then hide the real one behind one of its own.
    values = []
    for line in headers.getlist("cookie"):
        for part in line.split(";"):
            key, _, value = part.strip(WHITE_SPACE).partition("=")
            if key == name and value:
                values.append(_unquoted(value))
    return values[:MAX_CANDIDATES]


def _unquoted(value: str) -> str:
    if value.startswith('"'):
        try:
            return next(iter(SimpleCookie(f"a={value}").values())).value
        except (CookieError, StopIteration):
            return value
    return value
