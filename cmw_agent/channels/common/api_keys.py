"""API keys: which key a request bears, what it reaches, and which pages may send it.

No cookie plays any part. A page of another site may send a key only from an origin that stands
beside that key in the settings.
"""

import hmac
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from hashlib import sha256
from typing import Literal

from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from cmw_agent.channels.common.late_answers import answer_in_time
from cmw_agent.channels.common.problems import UnknownAddressError
from cmw_agent.config.validators import ApiKey
from cmw_agent.core.errors import UserError
from cmw_agent.core.http_headers import bearer_token, media_type
from cmw_agent.core.origins import same_origin
from cmw_agent.language import Language, wording
from cmw_agent.language.request_language import request_language

KEY = "cmw.api_key"
RETRY_SECONDS = "5"  # after which a busy or restarting process is worth another request
CLOSED = wording("The REST interface is closed: this app's settings name no key.")
NO_KEY = wording("This request needs a key: send it as Authorization: Bearer KEY.")
UNKNOWN = wording("This key is not known here.")
PUBLIC = wording("This key is known to the visitors of a website; use one that has no origin.")
NO_ORIGIN = wording("This key may not be used by pages of this origin.")
PAGES_ONLY = wording("This key may be used by pages of its own origins alone.")
NOT_DECLARED = wording("Send the body as JSON, with Content-Type: application/json.")
JSON_KIND = re.compile(r"application/[^/]+\+json")
PREFLIGHT_SECONDS = "600"

RouteHandler = Callable[[Request], Awaitable[Response]]
ErrorRenderer = Callable[[Exception, Language], Response]


class UnauthorizedError(UserError):
    """The request proves nothing."""

    status = 401


KeyScope = Literal["agents", "v1", "whatsapp", "read"]
PAGES: frozenset[KeyScope] = frozenset({"agents", "read"})  # what a website's pages may be for


class Keys:
    """Finds the key that a request bears.

    Args:
        keys: Those of the settings, each with what it reaches.
        patience: Seconds after which a JSON answer begins with white space; 0 for never.
    """

    def __init__(self, keys: Sequence[ApiKey], patience: float = 0) -> None:
        self.patience = patience
        self._digests = [(_digest(item.key.get_secret_value()), item) for item in keys]
        self._origins = frozenset[str]().union(*(item.origins for item in keys))

    def of(self, request: Request, scope: KeyScope) -> ApiKey:
        """Return the key that `request` bears; of its origins the one that asks.

        Raises:
            UnauthorizedError: It bears no valid key, or more than one, or the settings have none.
            UserError: It comes from a page whose origin does not stand beside the key, or from no
                page although it is a key for pages.
            UnknownAddressError: The key is not for such requests; the address seems not to exist.
        """
        if not self._digests:
            raise UnauthorizedError(CLOSED)
        secret = bearer_token(request.headers)
        if secret is None:
            raise UnauthorizedError(NO_KEY)
        sent, key = _digest(secret), None
        for digest, item in self._digests:  # all of them: so the time does not show which one it is
            if hmac.compare_digest(digest, sent):
                key = item
        if key is None:
            raise UnauthorizedError(UNKNOWN)
        if scope not in key.scopes or (key.origins and scope not in PAGES):
            raise UnknownAddressError
        return _at_origin(key, request)

    def knows(self, request: Request, scope: KeyScope) -> bool:
        """Whether `request` bears a key for such requests; see `of`."""
        try:
            self.of(request, scope)
        except UserError:
            return False
        return True

    def readable(self, origin: str | None) -> dict[str, str]:
        """Return the headers that let a page read a response made before a key is checked.

        Pages of any key's origins may: it holds nothing of anybody.
        """
        return readable_by(origin) if origin is not None and origin in self._origins else {}

    def preflight(self, request: Request) -> Response:
        """Answer a browser that asks whether a page may send a request (WHATWG Fetch, CORS)."""
        origin = request.headers.get("origin", "")
        headers = {"Vary": "Origin"}
        if origin in self._origins:
            headers |= {
                "Access-Control-Allow-Origin": origin,
                "Access-Control-Allow-Methods": "GET, POST, PATCH, DELETE",
                "Access-Control-Allow-Headers": (
                    "Authorization, Content-Type, Accept, Idempotency-Key, X-Session-Id, X-Model-Key"
                ),
                "Access-Control-Max-Age": PREFLIGHT_SECONDS,
            }
        return Response(status_code=204, headers=headers)


def _at_origin(key: ApiKey, request: Request) -> ApiKey:
    origins = request.headers.getlist("origin")
    origin = ", ".join(origins) if origins else None
    if not key.origins:
        if origin is not None and not _is_own(origin, request):
            raise UserError(NO_ORIGIN, status=403)
        return key
    if origin not in key.origins:
        raise UserError(PAGES_ONLY if origin is None else NO_ORIGIN, status=403)
    return replace(key, origins=frozenset({origin}))


def keyed(keys: Keys, render_error: ErrorRenderer, scope: KeyScope) -> type[APIRoute]:
    """Return a class of routes that answer holders of a key for `scope` alone.

    The key is checked before anything else of the request, and the endpoint finds it at
    ``scope["cmw.api_key"]``. `render_error` writes what was raised as a response.
    """

    class KeyedRoute(APIRoute):
        def get_route_handler(self) -> RouteHandler:  # type: ignore[override]
            handle, takes_json = super().get_route_handler(), self.body_field is not None

            def render(request: Request, error: Exception) -> Response:
                return render_error(error, request_language(request.scope))

            async def work(request: Request) -> Response:
                try:
                    return await handle(request)
                except (UserError, RequestValidationError, HTTPException) as error:
                    return render(request, error)

            async def handler(request: Request) -> Response:
                key: ApiKey | None = None
                try:
                    key = keys.of(request, scope)
                    request.scope[KEY] = key
                    if takes_json:
                        await _must_be_declared(request)
                    response = await answer_in_time(
                        request, work(request), keys.patience, partial(render, request)
                    )
                except (UserError, RequestValidationError, HTTPException) as error:
                    response = render(request, error)
                if response.status_code == 503:
                    response.headers.setdefault("Retry-After", RETRY_SECONDS)
                response.headers["Vary"] = "Origin"
                origin = request.headers.get("origin", "")
                if key is not None and origin in key.origins:
                    response.headers.update(readable_by(origin))
                return response

            return handler

    return KeyedRoute


def readable_by(origin: str) -> dict[str, str]:
    """Return the headers that let pages of `origin` read an answer."""
    return {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Expose-Headers": "Retry-After, X-Session-Id",
        "Cross-Origin-Resource-Policy": "cross-origin",
    }


def key_of(request: Request) -> ApiKey:
    """Return the request's key, which `keyed` has checked.

    Raises:
        UnauthorizedError: The route is not one of `keyed`.
    """
    key = request.scope.get(KEY)
    if not isinstance(key, ApiKey):
        raise UnauthorizedError(NO_KEY)
    return key


def must_be_secret(key: ApiKey) -> None:
    """Let only keys pass that no website's visitors have.

    A key with an origin is in that site's pages: every reader can send it, with that `Origin`
    too. It reaches the sessions whose ids one knows, and nothing else.

    Raises:
        UserError: Pages may use this key.
    """
    if key.origins:
        raise UserError(PUBLIC, status=403)


async def _must_be_declared(request: Request) -> None:
    """Let only bodies pass that are said to be JSON: a page may send others to everybody.

    Raises:
        UserError: This one is something else.
    """
    content_type = media_type(request.headers)
    is_json = content_type == "application/json" or JSON_KIND.fullmatch(content_type)
    if not is_json and await request.body():
        raise UserError(NOT_DECLARED, status=415)


def _is_own(origin: str, request: Request) -> bool:
    # The page that describes the interface; it sends what its reader types in.
    return same_origin(origin, request.url.scheme, request.headers.get("host"))


def _digest(secret: str) -> bytes:
    return sha256(secret.encode("utf-8", "surrogatepass")).digest()
