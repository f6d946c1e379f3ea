"""The guard: establishes the principal of a request before Gradio sees it.

A pure ASGI middleware in front of the whole app. It gives each browser a signed visitor cookie,
replaces every inbound Gradio session hash by a key bound to the principal, answers 404 on every
route that is not on the allow-list, checks the origin of requests that change something and
refuses those that a form could have sent, limits body sizes and sets the security headers. It
keeps no state of its own, so that all replicas with the same secret key decide alike.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from cmw_agent.channels.common.api_keys import NOT_DECLARED
from cmw_agent.channels.common.problems import (
    UnknownAddressError,
    WrongMethodError,
    error_response_at,
)
from cmw_agent.core.errors import MalformedSessionError, MissingSessionError, UserError
from cmw_agent.core.http_headers import media_type
from cmw_agent.core.origins import same_origin
from cmw_agent.core.random_ids import RandomIdPool
from cmw_agent.identity.principals import CLIENT_HASH, Identities, Principal, page_name
from cmw_agent.language import wording
from cmw_agent.language.request_language import request_language
from cmw_agent.limits.budgets import Budgets
from cmw_agent.observability.observers import REQUEST
from cmw_agent.web.security.allowed_hosts import REFUSED, AllowedHosts
from cmw_agent.web.security.page_bodies import PageBodies
from cmw_agent.web.security.proxy_mistakes import (
    KEPT_PREFIX,
    ProxyMistakes,
    keeps_prefix,
    mistake_response,
)
from cmw_agent.web.security.response_headers import ResponseHeaders
from cmw_agent.web.security.route_allowlist import FILE_NAME, RouteTable
from cmw_agent.web.security.session_binding import (
    GuardedRequest,
    RequestRejectedError,
    bind_body,
    bind_path,
    bind_query,
)
from cmw_agent.web.security.visitor_cookie import Authentication, VisitorTokens

PRINCIPAL = "cmw.principal"  # the scope's key of the request's `Principal`, or None
NOT_FOUND = "Not Found"
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
CROSS_SITE = wording("This request came from another site.")
OTHER_SCHEME = wording(
    "This page was opened over another scheme than the one that this request seems to have come "
    "by. Behind a proxy that ends https, set CMW_TRUST_PROXY."
)
NO_NAME = wording("A file is sent with its name in the header {name}.", name=FILE_NAME)
SIGNED_OUT = wording("You are signed out; please reload the page.")
PAGE = "x-cmw-page"  # whose page sends the request: its `page_name`
OTHER_PRINCIPAL = wording(
    "This browser is somebody else now: its cookie was deleted, or you have signed in or out; "
    "please copy what you have written and reload the page."
)


@dataclass(frozen=True, slots=True)
class GuardPolicy:
    """The guard's settings of a deployment.

    `frame_ancestors` are the CSP sources that may frame the page, `microphone` says whether the
    page may ask for the microphone, `allowed_origins` are further origins (``https://host[:port]``) that may change state, `hosts` are the names that a Host
    header may have, `max_body` is the largest body in bytes.
    """

    frame_ancestors: str = "'self'"
    microphone: bool = False
    allowed_origins: frozenset[str] = frozenset()
    hosts: AllowedHosts = field(default_factory=AllowedHosts)
    max_body: int = 262_144


class Guard:
    """ASGI middleware that lets through only requests of known routes, hosts and principals.

    Args:
        app: The app behind it, which reads the principal at ``scope["cmw.principal"]``.
        identities: Verifies tokens and derives session keys.
        policy: The settings of the deployment.
        is_live: Returns whether an account's login has not ended; without it accounts are refused.
        budgets: Limits new visitors, and the bytes of bodies that are being received.
    """

    def __init__(
        self,
        app: ASGIApp,
        identities: Identities,
        policy: GuardPolicy,
        is_live: Callable[[Principal], Awaitable[bool]] | None = None,
        *,
        budgets: Budgets,
    ) -> None:
        self._app = app
        self._is_live = is_live
        self._identities = identities
        self._visitors = VisitorTokens(identities, embedded=policy.frame_ancestors != "'self'")
        self._policy = policy
        self._budgets = budgets
        self._bodies = PageBodies(budgets, policy.max_body)
        self._routes = RouteTable()
        self._request_ids = RandomIdPool()
        self._mistakes = ProxyMistakes(policy.allowed_origins)
        self._response_headers = ResponseHeaders(
            policy.frame_ancestors, microphone=policy.microphone
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # the app has no WebSockets
            await send({"type": "websocket.close", "code": 1008})
            return
        request_id = self._request_ids.hex(8)
        headers = Headers(scope=scope)
        if not self._policy.hosts.allow(headers.get("host")):
            self._mistakes.log(REFUSED, headers.get("host", ""), "-")
            misdirected = mistake_response(scope, REFUSED, 421)
            await self._respond(misdirected, scope, receive, send, request_id)
            return
        route = self._routes.find(scope["method"], scope["path"])
        # No channel answers HEAD.
        is_head = route is not None and route.access == "own" and scope["method"] == "HEAD"
        if route is None or is_head or _has_encoded_slash(scope, route.slashes_after):
            await self._respond(self._no_route(scope), scope, receive, send, request_id)
            return
        scope = {**scope, REQUEST: request_id}
        request = GuardedRequest(scope, receive, route, headers)
        send_with_headers = self._response_headers.wrap(send, scope, request_id, request)
        if route.access == "own":
            # Its channel refuses forms, so that other sites' pages can read why.
            await self._app(scope, receive, send_with_headers)
            return
        if route.is_form(media_type(headers), headers.get(FILE_NAME)):
            sentence = NO_NAME if route.takes == "file" else NOT_DECLARED
            refusal = JSONResponse({"detail": request_language(scope).translate(sentence)}, 415)
            await self._respond(refusal, scope, receive, send, request_id)
            return
        try:
            self._check_origin(request)
            await self._authenticate(request)
        except RequestRejectedError as rejection:
            response = rejection.response(request_language(scope))
            await self._respond(response, scope, receive, send, request_id)
            return
        await self._app(request.scope, request.receive, send_with_headers)

    def _no_route(self, scope: Scope) -> Response:
        """Return the response where no open route matches: the same for everybody."""
        path = scope["path"]
        if keeps_prefix(scope):
            self._mistakes.log(KEPT_PREFIX, scope["root_path"], path)
            return mistake_response(scope, KEPT_PREFIX, 404)
        methods = [] if _has_encoded_slash(scope) else self._channel_methods(path)
        if methods:
            names = " or ".join(method for method in methods if method != "OPTIONS")
            response = error_response_at(
                path,
                WrongMethodError(wording("Please use {names} at this address.", names=names)),
                request_language(scope),
            )
            response.headers["Allow"] = ", ".join(methods)
            return response
        return error_response_at(path, UnknownAddressError(), request_language(scope))

    def _channel_methods(self, path: str) -> list[str]:
        """Return the methods of a channel's path; an empty list for every other path."""
        routes = ((method, self._routes.find(method, path)) for method in METHODS)
        return [method for method, route in routes if route is not None and route.access == "own"]

    async def _respond(
        self, response: Response, scope: Scope, receive: Receive, send: Send, request_id: str
    ) -> None:
        await response(scope, receive, self._response_headers.wrap(send, scope, request_id))

    def _check_origin(self, request: GuardedRequest) -> None:
        # A request that a foreign page makes with this browser's cookie. Browsers
        # say so; other clients send neither header and carry no foreign cookie.
        if request.route.method == "GET" and request.route.identity == "none":
            return
        origin = request.headers.get("origin")
        if origin is not None:
            host, scheme = request.headers.get("host"), request.scope["scheme"]
            if same_origin(origin, scheme, host) or origin in self._policy.allowed_origins:
                return
            other_scheme = "http" if scheme == "https" else "https"
            is_scheme = same_origin(origin, other_scheme, host)
            raise RequestRejectedError(403, OTHER_SCHEME if is_scheme else CROSS_SITE)
        if request.headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            raise RequestRejectedError(403, CROSS_SITE)

    async def _authenticate(self, request: GuardedRequest) -> None:
        """Set the request's principal, bind its session hash, and renew the visitor's cookie."""
        authentication = self._visitors.authenticate(request.scope, request.headers)
        request.principal = authentication.principal
        await self._bind_session(request)
        # Last, since a body may take long to arrive, and its sender may sign out meanwhile.
        if not await self._is_signed_in(request.principal):
            if request.route.identity != "none" or request.route.method != "GET":
                raise RequestRejectedError(401, SIGNED_OUT)
            request.principal, authentication = None, Authentication()
        opened_by = request.headers.get(PAGE)
        if opened_by is not None and opened_by != page_name(request.principal):
            raise RequestRejectedError(401, OTHER_PRINCIPAL)
        # Only here: a cookie set while a page is open would change its principal.
        opens_page = request.route.template in ("/", "/config")
        is_known = authentication.principal is not None
        if opens_page and (is_known or admit_new_visitor(self._budgets, request.scope)):
            request.cookie = self._visitors.renewed_cookie(request.scope, authentication)
        request.scope = {**request.scope, PRINCIPAL: request.principal}

    async def _is_signed_in(self, principal: Principal | None) -> bool:
        """Return whether the principal is no account, or an account whose login is live."""
        if principal is None or principal.kind != "account":
            return True
        if self._is_live is None:
            return False
        try:
            return await self._is_live(principal)
        except UserError as error:
            raise RequestRejectedError(error.status, error.report) from None

    async def _bind_session(self, request: GuardedRequest) -> None:
        def bind(client_hash: object) -> str:
            return self._bind(request, client_hash)

        if request.route.identity == "body":
            try:
                body = await self._bodies.read(request.scope, request.receive)
            except UserError as error:
                raise _rejection(error) from None
            bind_body(request, body, bind)
        elif request.route.identity == "query":
            bind_query(request, bind)
        elif request.route.identity == "path":
            bind_path(request, bind)

    def _bind(self, request: GuardedRequest, client_hash: object) -> str:
        """Set the request's session key, and the principal where no token proved one.

        Returns:
            The session key, 64 hex digits.

        Raises:
            RequestRejectedError: `client_hash` is absent or malformed.
        """
        if client_hash is None or client_hash == "":
            raise RequestRejectedError(400, MissingSessionError.sentence)
        if not isinstance(client_hash, str) or not CLIENT_HASH.fullmatch(client_hash):
            raise RequestRejectedError(400, MalformedSessionError.sentence)
        if request.principal is None:
            peer = request.scope.get("client")
            request.principal = self._identities.ephemeral(client_hash, peer[0] if peer else "")
        request.key = self._identities.session_key(request.principal, client_hash)
        return request.key.value


def admit_new_visitor(budgets: Budgets, scope: Scope) -> bool:
    """Count a new visitor, and return whether the request's network address may have one more.

    Where it may not, the page still works, for an ephemeral visitor of whom nothing is stored.
    """
    peer = scope.get("client")
    try:
        budgets.spend("new_cookies", None, peer[0] if peer else None)
    except UserError:
        return False
    return True


def _rejection(error: UserError) -> RequestRejectedError:
    headers = {} if error.retry_after is None else {"retry-after": str(error.retry_after)}
    return RequestRejectedError(error.status, error.sentence, headers)


def _has_encoded_slash(scope: Scope, allowed_after: str = "") -> bool:
    """Return whether a path has an encoded slash elsewhere than behind `allowed_after`."""
    # Decoded, it would read as a path separator, and one address would match two routes.
    raw: bytes = scope.get("raw_path") or b""
    if allowed_after and raw.startswith(allowed_after.encode()):
        return False
    return b"%" in raw and b"%2f" in raw.lower()
