"""Finds a proxy that hides the address of the page from the app, and says what to configure."""

from collections.abc import Set as AbstractSet
from html import escape
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import Scope

from cmw_agent.core.logs import get_logger
from cmw_agent.core.origins import same_origin
from cmw_agent.language import wording
from cmw_agent.language.request_language import request_language

log = get_logger(__name__)

HOST: Final = wording(
    "A proxy in front of this app hides under which name you have reached it, so that messages and "
    "links may fail. Its operator must hand on the Host header (nginx: proxy_set_header Host "
    "$http_host), or send X-Forwarded-Host and set CMW_TRUST_PROXY."
)
SCHEME: Final = wording(
    "A proxy in front of this app hides that this page came by another scheme, so that messages and "
    "links may fail. Its operator must send X-Forwarded-Proto and set CMW_TRUST_PROXY."
)
PREFIX: Final = wording(
    "A proxy in front of this app hides below which path you have reached it, so that signing in and "
    "links may fail. Its operator must set CMW_ROOT_PATH to this path."
)
KEPT_PREFIX: Final = wording(
    "A proxy in front of this app sends X-Forwarded-Prefix and leaves that path in the address. "
    "Its operator must set CMW_ROOT_PATH to this path."
)
LOG_CHARS = 100  # of an address
PAGE = (
    '<!doctype html><html lang="{tag}" dir="{direction}"><meta charset="utf-8">'
    '<title>{status}</title><p role="alert">{sentence}</p></html>'
)


class ProxyMistakes:
    """Compares the address that a page was opened at with the one that the app sees.

    Each kind of mistake is logged once for a process: every page would log it.

    Args:
        origins: Further origins whose pages may send requests; these need not match.
    """

    def __init__(self, origins: AbstractSet[str]) -> None:
        self._origins = origins
        self._logged: set[str] = set()

    def sentence(self, request: Request, opened_at: str) -> str | None:
        """Return what the operator must change; None where nothing is wrong.

        Args:
            request: A request of the page's script.
            opened_at: The address of the page's folder, as the browser has it.
        """
        found = self._mistake(request, opened_at)
        if found is not None:
            self.log(found, opened_at, str(request.base_url))
        return found

    def log(self, sentence: str, opened_at: str, seen: str) -> None:
        """Log a mistake, unless it was logged before."""
        if sentence not in self._logged:
            self._logged.add(sentence)
            log.warning("%s", sentence, page=opened_at[:LOG_CHARS], seen=seen[:LOG_CHARS])

    def _mistake(self, request: Request, opened_at: str) -> str | None:
        try:
            address = urlsplit(opened_at)
        except ValueError:
            return None
        if address.scheme not in ("http", "https"):
            return None
        origin, seen = f"{address.scheme}://{address.netloc}", request.base_url
        if origin not in self._origins and not same_origin(origin, seen.scheme, seen.netloc):
            is_host = same_origin(origin, address.scheme, seen.netloc)
            return SCHEME if is_host else HOST
        return None if address.path == seen.path else PREFIX


def mistake_response(scope: Scope, sentence: str, status: int) -> Response:
    """Return a mistake as a page to a browser that opens one, and as JSON to all else."""
    language = request_language(scope)
    text = language.translate(sentence)
    if "text/html" not in Headers(scope=scope).get("accept", ""):
        return JSONResponse({"detail": text}, status)
    page = PAGE.format(
        tag=language.tag, direction=language.direction, status=status, sentence=escape(text)
    )
    return HTMLResponse(page, status)


def keeps_prefix(scope: Scope) -> bool:
    """Return whether a request's path begins with the prefix that its proxies say they took off."""
    root: str = scope.get("root_path", "")
    return bool(root) and scope["path"].startswith(f"{root}/")
