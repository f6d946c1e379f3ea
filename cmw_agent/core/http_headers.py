"""Parses request headers by HTTP's grammar, whose white space differs from Python's.

HTTP has two white-space characters, space and tab (RFC 9110, OWS). `str.strip` removes about
thirty, among them no-break space and control characters: with it, a browser or proxy and this
server may read different names or secrets from the same header.
"""

from starlette.datastructures import Headers

WHITE_SPACE = " \t"
TAB = "x-cmw-tab"  # the name that a page gives itself, another one each time it is loaded
MAX_TAB_CHARS = 64


def bearer_token(headers: Headers) -> str | None:
    """Return the bearer token of the `Authorization` header, or None.

    A request with two such headers has no token: a proxy and this server might each use another
    one.
    """
    values = headers.getlist("authorization")
    scheme, _, token = values[0].partition(" ") if len(values) == 1 else ("", "", "")
    return token.strip(WHITE_SPACE) or None if scheme.lower() == "bearer" else None


def tab_of(headers: Headers) -> str | None:
    """Return the name that the page which sends the request gives itself; None without one.

    It is no proof of anything: it only keeps a page from being told what it has done itself.
    """
    tab = headers.get(TAB, "")
    return tab if 0 < len(tab) <= MAX_TAB_CHARS else None


def media_type(headers: Headers) -> str:
    """Return the media type of `Content-Type`, in lower case and without parameters."""
    return headers.get("content-type", "").partition(";")[0].strip(WHITE_SPACE).lower()
