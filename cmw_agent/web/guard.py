"""The guard: settles who asks before Gradio sees a request.

A pure ASGI middleware in front of the whole app. It gives each browser a signed
visitor cookie, binds every inbound Gradio session hash to the principal that sends
it, answers 404 on every route that the page does not need, checks the origin of
requests that change something and that no form has sent them, caps bodies and sets
the security headers. Channels check keys, origins, forms and bodies themselves. It keeps
no state of its own, so every replica that shares the secret key decides alike.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode

import orjson
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cmw_agent.budgets import Budgets
from cmw_agent.channels.keys import NOT_DECLARED
from cmw_agent.channels.problems import UnknownAddress, WrongMethod, told_at
from cmw_agent.errors import UserError
from cmw_agent.headers import media_type
from cmw_agent.identity import CLIENT_HASH, Identities, Principal, SessionKey
from cmw_agent.names import Names
from cmw_agent.observers import REQUEST
from cmw_agent.origins import same_origin
from cmw_agent.web.hosts import REFUSED, AllowedHosts
from cmw_agent.web.page_bodies import PageBodies
from cmw_agent.web.routes import FILE_NAME, Route, RouteTable
from cmw_agent.web.visitors import Visit, Visitors

log = logging.getLogger(__name__)

PRINCIPAL = "cmw.principal"
NOT_FOUND = "Not Found"
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
CROSS_SITE = "This request came from another site."
OTHER_SCHEME = (
    "This page was opened over another scheme than the one that this request seems to have come "
    "by. Behind a proxy that ends https, set CMW_TRUST_PROXY."
)
NO_NAME = f"A file is sent with its name in the header {FILE_NAME}."
HSTS = (b"strict-transport-security", b"max-age=31536000")
SIGNED_OUT = "You are signed out; please reload the page."

CONTENT_SECURITY_POLICY = (
    "default-src 'self'; "
    # Gradio starts from inline scripts and compiles its event listeners' `js`.
    "script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; "
    # No images by address: a model's Markdown could send the chat away in one, or ask this app
    # for something. The page's script fetches the pictures that users attach.
    "img-src data: blob:; media-src blob:; font-src 'self' data:; frame-src 'none'; "
    "connect-src 'self'; worker-src 'self' blob:; object-src 'none'; "
    "base-uri 'self'; form-action 'none'; frame-ancestors {ancestors}"
)


@dataclass(frozen=True, slots=True)
class GuardPolicy:
    """What differs between deployments.

    `frame_ancestors` are CSP sources, `allowed_origins` are further origins
    (``https://host[:port]``) that may change state, `hosts` are the names that a Host header
    may have, `max_body` is in bytes.
    """

    frame_ancestors: str = "'self'"
    allowed_origins: frozenset[str] = frozenset()
    hosts: AllowedHosts = field(default_factory=AllowedHosts)
    max_body: int = 262_144


class _Refused(Exception):
    """The request is answered here, with `status` and a sentence."""

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        self.response = JSONResponse({"detail": detail}, status, headers)


@dataclass(slots=True)
class _Call:
    """One request on its way through the guard."""

    scope: Scope
    receive: Receive
    route: Route
    headers: Headers
    principal: Principal | None = None
    key: SessionKey | None = None
    cookie: str | None = field(default=None, repr=False)


class Guard:
    """ASGI middleware that wraps the app; see the module's text.

    Args:
        app: The app behind it, which finds the principal at ``scope["cmw.principal"]``.
        identities: Verifies tokens and derives session keys.
        policy: What differs between deployments.
        is_live: Whether an account's login has not ended; without it no account is known.
        budgets: Bounds new visitors, and the bytes of bodies that come.
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
        self._visitors = Visitors(identities, embedded=policy.frame_ancestors != "'self'")
        self._policy = policy
        self._budgets = budgets
        self._bodies = PageBodies(budgets, policy.max_body)
        self._routes = RouteTable()
        self._names = Names()
        self._headers = [
            (
                b"content-security-policy",
                CONTENT_SECURITY_POLICY.format(ancestors=policy.frame_ancestors).encode("latin-1"),
            ),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"same-origin"),
            (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=()"),
            (b"cross-origin-resource-policy", b"same-origin"),
            (b"cross-origin-opener-policy", b"same-origin"),
        ]
        self._own_headers = [*self._headers, (b"cache-control", b"no-store")]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # the app has no WebSockets
            await send({"type": "websocket.close", "code": 1008})
            return
        request = self._names.hex(8)
        headers = Headers(scope=scope)
        if not self._policy.hosts.allow(headers.get("host")):
            await self._finish(
                JSONResponse({"detail": REFUSED}, 421), scope, receive, send, request
            )
            return
        route = self._routes.find(scope["method"], scope["path"])
        # No channel answers HEAD.
        is_head = route is not None and route.access == "own" and scope["method"] == "HEAD"
        if route is None or is_head or _has_encoded_slash(scope):
            await self._finish(self._closed(scope), scope, receive, send, request)
            return
        scope = {**scope, REQUEST: request}
        call = _Call(scope, receive, route, headers)
        if route.access == "own":  # of forms too: pages of other sites may read what is refused
            await self._app(scope, receive, self._secured(send, scope, request, call))
            return
        if route.is_form(media_type(headers), headers.get(FILE_NAME)):
            sentence = NO_NAME if route.takes == "file" else NOT_DECLARED
            refusal = JSONResponse({"detail": sentence}, 415)
            await self._finish(refusal, scope, receive, send, request)
            return
        try:
            self._check_origin(call)
            await self._identify(call)
        except _Refused as refused:
            await self._finish(refused.response, scope, receive, send, request)
            return
        await self._app(call.scope, call.receive, self._secured(send, scope, request, call))

    def _closed(self, scope: Scope) -> Response:
        """Tell that there is no such route: the same to everybody, whoever they are."""
        path = scope["path"]
        found = [] if _has_encoded_slash(scope) else self._methods(path)
        if found:
            methods = " or ".join(method for method in found if method != "OPTIONS")
            response = told_at(path, WrongMethod(f"Please use {methods} at this address."))
            response.headers["Allow"] = ", ".join(found)
            return response
        return told_at(path, UnknownAddress())

    def _methods(self, path: str) -> list[str]:
        """Return the methods of a channel's address; none where it is the page's, or nobody's."""
        routes = ((method, self._routes.find(method, path)) for method in METHODS)
        return [method for method, route in routes if route is not None and route.access == "own"]

    async def _finish(
        self, response: Response, scope: Scope, receive: Receive, send: Send, request: str
    ) -> None:
        await response(scope, receive, self._secured(send, scope, request))

    # -- who asks -----------------------------------------------------------------

    def _check_origin(self, call: _Call) -> None:
        # A request that a foreign page makes with this browser's cookie. Browsers
        # say so; other clients send neither header and carry no foreign cookie.
        if call.route.method == "GET" and call.route.identity == "none":
            return
        origin = call.headers.get("origin")
        if origin is not None:
            host, scheme = call.headers.get("host"), call.scope["scheme"]
            if same_origin(origin, scheme, host) or origin in self._policy.allowed_origins:
                return
            other = "http" if scheme == "https" else "https"
            is_scheme = same_origin(origin, other, host)
            raise _Refused(403, OTHER_SCHEME if is_scheme else CROSS_SITE)
        if call.headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            raise _Refused(403, CROSS_SITE)

    async def _identify(self, call: _Call) -> None:
        visit = self._visitors.recognise(call.scope, call.headers)
        call.principal = visit.principal
        if call.route.identity == "body":
            await self._bind_body(call)
        elif call.route.identity == "query":
            self._bind_query(call)
        elif call.route.identity == "path":
            self._bind_path(call)
        # Last, since a body may be long in coming, and its sender signed out meanwhile.
        if not await self._is_signed_in(call.principal):
            if call.route.identity != "none" or call.route.method != "GET":
                raise _Refused(401, SIGNED_OUT)
            call.principal, visit = None, Visit()
        # Only here: a cookie set halfway through a visit would change who asks.
        is_begin = call.route.template in ("/", "/config")
        if is_begin and (visit.principal is not None or may_be_new(self._budgets, call.scope)):
            call.cookie = self._visitors.cookie_for(call.scope, visit)
        call.scope = {**call.scope, PRINCIPAL: call.principal}

    async def _is_signed_in(self, principal: Principal | None) -> bool:
        if principal is None or principal.kind != "account":
            return True
        if self._is_live is None:
            return False
        try:
            return await self._is_live(principal)
        except UserError as error:
            raise _Refused(error.status, str(error)) from None

    def _bind(self, call: _Call, client_hash: object) -> str:
        if client_hash is None or client_hash == "":
            raise _Refused(400, "This request names no session; please reload the page.")
        if not isinstance(client_hash, str) or not CLIENT_HASH.fullmatch(client_hash):
            raise _Refused(400, "This session is not valid; please reload the page.")
        if call.principal is None:
            peer = call.scope.get("client")
            call.principal = self._identities.ephemeral(client_hash, peer[0] if peer else "")
        call.key = self._identities.session_key(call.principal, client_hash)
        return call.key.value

    async def _bind_body(self, call: _Call) -> None:
        try:
            body = await self._bodies.read(call.scope, call.receive)
        except UserError as error:
            raise _told(error) from None
        try:
            content: Any = orjson.loads(body)
        except orjson.JSONDecodeError:
            raise _Refused(400, "The request is not valid JSON in UTF-8.") from None
        if not isinstance(content, dict):
            raise _Refused(400, "The request must be a JSON object.")
        content["session_hash"] = self._bind(call, content.get("session_hash"))
        try:
            bound = orjson.dumps(content)
        except orjson.JSONEncodeError:  # orjson reads deeper nesting than it writes
            raise _Refused(400, "The request is nested too deeply.") from None
        self._replace_body(call, bound)

    @staticmethod
    def _replace_body(call: _Call, body: bytes) -> None:
        headers = MutableHeaders(raw=list(call.scope["headers"]))
        headers["content-length"] = str(len(body))
        headers["content-type"] = "application/json"
        del headers["transfer-encoding"]
        call.scope = {**call.scope, "headers": headers.raw}
        original, pending = call.receive, [body]

        async def receive() -> Message:
            if pending:
                return {"type": "http.request", "body": pending.pop(), "more_body": False}
            return await original()

        call.receive = receive

    def _bind_query(self, call: _Call) -> None:
        try:
            query = parse_qsl(call.scope["query_string"].decode("ascii"), True, max_num_fields=50)
        except ValueError:
            raise _Refused(400, "The request's query is not valid.") from None
        hashes = [value for name, value in query if name == "session_hash"]
        bound = self._bind(call, hashes[0] if len(hashes) == 1 else None)
        kept = [(name, value) for name, value in query if name != "session_hash"]
        encoded = urlencode([*kept, ("session_hash", bound)]).encode("ascii")
        call.scope = {**call.scope, "query_string": encoded}

    def _bind_path(self, call: _Call) -> None:
        head, _, client_hash = call.scope["path"].rpartition("/")
        path = f"{head}/{self._bind(call, client_hash)}"
        call.scope = {**call.scope, "path": path, "raw_path": path.encode("ascii")}

    # -- the answer ---------------------------------------------------------------

    def _secured(self, send: Send, scope: Scope, request: str, call: _Call | None = None) -> Send:
        is_https = scope.get("scheme") == "https"

        async def secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = self._response_headers(message, call)
                headers.append((b"x-request-id", request.encode("ascii")))
                if is_https:
                    headers.append(HSTS)
                message = {**message, "headers": headers}
                _log_answer(message["status"], request, call)
            await send(message)

        return secured

    def _response_headers(self, message: Message, call: _Call | None) -> list[tuple[bytes, bytes]]:
        given = message.get("headers", [])
        if call is not None and call.route.access == "own":
            # These answer other sites' pages, by headers of their own; the rest is as everywhere.
            names = {name.lower() for name, _ in given}
            return [*given, *(item for item in self._own_headers if item[0] not in names)]
        # Gradio reflects any Origin with credentials; no other site may read from here.
        headers = [
            (name, value)
            for name, value in given
            if not name.lower().startswith(b"access-control-") and name.lower() != b"cache-control"
        ]
        headers.extend(self._headers)
        whole = call is not None and message["status"] < 300
        caching = call.route.caching if call is not None and whole else "no-store"
        headers.append((b"cache-control", caching.encode("ascii")))
        if call is not None and call.cookie is not None:
            headers.append((b"set-cookie", call.cookie.encode("latin-1")))
        return headers


def may_be_new(budgets: Budgets, scope: Scope) -> bool:
    """Count a new visitor; whether there may be one more from the request's network address.

    Where there may not, the page still works, for an ephemeral visitor of whom nothing is kept.
    """
    peer = scope.get("client")
    try:
        budgets.spend("new_cookies", None, peer[0] if peer else None)
    except UserError:
        return False
    return True


def _told(error: UserError) -> _Refused:
    wait = {} if error.retry_after is None else {"retry-after": str(error.retry_after)}
    return _Refused(error.status, error.sentence, wait)


def _has_encoded_slash(scope: Scope) -> bool:
    # In the decoded path it reads as one that parts names, and one address would have two routes.
    raw: bytes = scope.get("raw_path") or b""
    return b"%" in raw and b"%2f" in raw.lower()


def _log_answer(status: int, request: str, call: _Call | None) -> None:
    level = logging.INFO if status >= 500 else logging.DEBUG
    if not log.isEnabledFor(level):
        return
    # The route's template: the path of a heartbeat holds a session hash.
    route = f"{call.route.method} {call.route.template}" if call is not None else "closed"
    principal = call.principal.log_name if call is not None and call.principal is not None else "-"
    line = "answered route=%s status=%d request=%s principal=%s"
    log.log(level, line, route, status, request, principal)
