"""Recognises visitors by cookie or header and writes the cookie for a browser.

The cookie's attributes depend on how the page is reached. Plain http (a laptop)
takes ``SameSite=Lax``; https adds ``Secure`` and the ``__Host-`` prefix; a page that
stands in a frame of another site (a Space) needs ``SameSite=None; Partitioned``
(CHIPS), or browsers drop it.

Browsers take a cookie whose name begins with ``__Host-`` from this host alone, over
https, for all paths. They compare names as bytes, and so does `cookies`: a name that
differs by any character is another cookie, which a sibling host may have set. Another
port of this host may set ours, and on plain http any sibling host may.
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


@dataclass(frozen=True, slots=True)
class Visit:
    """Who a request proves to come from, and by what; all None when by nothing."""

    principal: Principal | None = None
    medium: Literal["cookie", "header"] | None = None
    token: str | None = None


class Visitors:
    """Reads and writes the visitor's token.

    Args:
        identities: Signs and verifies.
        embedded: Whether pages of other sites may frame this one.
    """

    def __init__(self, identities: Identities, *, embedded: bool) -> None:
        self._identities = identities
        self._embedded = embedded

    def recognise(self, scope: Scope, headers: Headers) -> Visit:
        """Return who sends this request.

        The header goes first: only this site's own script can set it, and it sets
        it only where the browser had refused the cookie.
        """
        token = headers.get(HEADER)
        if token is not None:
            principal = self._identities.verify(token, "header")
            if principal is not None:
                return Visit(principal, "header", token)
        for candidate in cookies(headers, cookie_name(scope, COOKIE)):
            principal = self._identities.verify(candidate, "cookie")
            if principal is not None:
                return Visit(principal, "cookie", candidate)
        return Visit()

    def cookie_for(self, scope: Scope, visit: Visit) -> str | None:
        """Return a ``Set-Cookie`` value for this visit, or None when none is due.

        One is due when nobody was recognised, and when the cookie is over a week
        old or signed by a retired key: then the same visitor gets a fresh one.
        """
        if visit.medium == "header":
            return None
        if visit.principal is None:
            return self.cookie_of(scope, self._identities.new_visitor())
        if visit.token is not None and self._identities.needs_renewal(visit.token, "cookie"):
            return self.cookie_of(scope, visit.principal)
        return None

    def cookie_of(self, scope: Scope, principal: Principal) -> str:
        """Return a ``Set-Cookie`` value that makes the browser this visitor or account."""
        value = self._identities.sign(principal, "cookie")
        seconds = ACCOUNT_SECONDS if principal.kind == "account" else TOKEN_SECONDS
        return set_cookie(scope, COOKIE, value, seconds, embedded=self._embedded)


def set_cookie(scope: Scope, name: str, value: str, seconds: int, *, embedded: bool) -> str:
    """Return a ``Set-Cookie`` value for a cookie that no script can read."""
    parts = [f"{cookie_name(scope, name)}={value}", "Path=/", f"Max-Age={seconds}", "HttpOnly"]
    if not _is_https(scope):
        parts.append("SameSite=Lax")
    elif embedded:
        parts += ["Secure", "SameSite=None", "Partitioned"]
    else:
        parts += ["Secure", "SameSite=Lax"]
    return "; ".join(parts)


def cookie_name(scope: Scope, name: str) -> str:
    """Return the name under which the cookie `name` goes over this connection."""
    return f"__Host-{name}" if _is_https(scope) else name


def _is_https(scope: Scope) -> bool:
    return bool(scope.get("scheme") == "https")


def cookies(headers: Headers, name: str) -> list[str]:
    """Return the values of all cookies of exactly this name, in the order in which they came.

    Space and tab around a pair are no part of it (RFC 6265, section 5.2); all else is.
    """
    # Not Starlette's parser: it keeps one cookie of a name, and a page on a sibling
    # host could then hide the real one behind one of its own.
    found = []
    for line in headers.getlist("cookie"):
        for part in line.split(";"):
            key, _, value = part.strip(WHITE_SPACE).partition("=")
            if key == name and value:
                found.append(_unquoted(value))
    return found[:8]


def _unquoted(value: str) -> str:
    if value.startswith('"'):
        try:
            return next(iter(SimpleCookie(f"a={value}").values())).value
        except (CookieError, StopIteration):
            return value
    return value
