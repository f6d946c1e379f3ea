"""Parses the request headers that say who asks, by HTTP's grammar and not by Python's.

HTTP knows two characters of white space, space and tab (RFC 9110, OWS). `str.strip` knows some
thirty, no-break space and control characters among them: with it a browser and this server may
disagree about which name or which secret a header holds.
"""

from starlette.datastructures import Headers

WHITE_SPACE = " \t"


def bearer_token(headers: Headers) -> str | None:
    """Return the token of the only `Authorization` header, or None where it holds no bearer token.

    Two such headers are none: a proxy and this server might each believe another one.
    """
    given = headers.getlist("authorization")
    scheme, _, token = given[0].partition(" ") if len(given) == 1 else ("", "", "")
    return token.strip(WHITE_SPACE) or None if scheme.lower() == "bearer" else None


def media_type(headers: Headers) -> str:
    """Return the media type that `Content-Type` names, in lower case and without parameters."""
    return headers.get("content-type", "").partition(";")[0].strip(WHITE_SPACE).lower()
