"""The language that a request is to be answered in."""

from typing import Final

from starlette.requests import HTTPConnection
from starlette.types import Scope

from cmw_agent.language.language import Language
from cmw_agent.language.languages import languages

HEADER: Final = "x-cmw-language"  # the language that the page which asks is drawn in
COOKIE: Final = "cmw_language"  # the user's choice
QUERY: Final = "lang"  # the choice where the browser refuses cookies, and in links


def request_language(scope: Scope) -> Language:
    """Return the language for a request: of its page, of its address, chosen, or as the browser says."""
    request = HTTPConnection(scope)
    return languages().choose(
        request.headers.get("accept-language"),
        request.headers.get(HEADER),
        request.query_params.get(QUERY),
        request.cookies.get(COOKIE),
    )
