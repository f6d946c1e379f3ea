"""Sets the security headers of every response, and logs its status."""

import logging

from starlette.types import Message, Scope, Send

from cmw_agent.core.logs import get_logger
from cmw_agent.web.security.session_binding import GuardedRequest

log = get_logger(__name__)

POLICY = b"content-security-policy"
RESOURCE_POLICY = b"cross-origin-resource-policy"
# A script of a module is fetched by CORS.
FOR_ALL_SITES = [(b"access-control-allow-origin", b"*"), (RESOURCE_POLICY, b"cross-origin")]
HSTS = (b"strict-transport-security", b"max-age=31536000")
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


class ResponseHeaders:
    """Adds the guard's headers to responses.

    Args:
        frame_ancestors: The CSP sources that may frame the page.
        microphone: Whether the page may ask for the microphone.
    """

    def __init__(self, frame_ancestors: str, *, microphone: bool) -> None:
        hears = "self" if microphone else ""
        self._headers = [
            (
                POLICY,
                CONTENT_SECURITY_POLICY.format(ancestors=frame_ancestors).encode("latin-1"),
            ),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"same-origin"),
            (
                b"permissions-policy",
                f"camera=(), geolocation=(), microphone=({hears}), payment=()".encode("ascii"),
            ),
            (RESOURCE_POLICY, b"same-origin"),
            (b"cross-origin-opener-policy", b"same-origin"),
        ]
        self._channel_headers = [*self._headers, (b"cache-control", b"no-store")]

    def wrap(
        self, send: Send, scope: Scope, request_id: str, request: GuardedRequest | None = None
    ) -> Send:
        """Return a `send` that adds the headers to the response and logs its status.

        Args:
            send: ASGI's, of the request.
            scope: ASGI's, of the request.
            request_id: The value of ``X-Request-Id``, ASCII.
            request: None where no open route was found for the request.
        """
        is_https = scope.get("scheme") == "https"

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = self._headers_for(message, request)
                headers.append((b"x-request-id", request_id.encode("ascii")))
                if is_https:
                    headers.append(HSTS)
                message = {**message, "headers": headers}
                _log_response(message["status"], request_id, request)
            await send(message)

        return send_with_headers

    def _headers_for(
        self, message: Message, request: GuardedRequest | None
    ) -> list[tuple[bytes, bytes]]:
        app_headers = message.get("headers", [])
        if request is not None and request.route.access == "own":
            # Channels answer other sites' pages and set headers for that: theirs take precedence.
            names = {name.lower() for name, _ in app_headers}
            return [*app_headers, *(item for item in self._channel_headers if item[0] not in names)]
        # Gradio reflects any Origin with credentials; no other site may read from here.
        headers = [
            (name, value)
            for name, value in app_headers
            if not name.lower().startswith(b"access-control-") and name.lower() != b"cache-control"
        ]
        has_policy = any(name.lower() == POLICY for name, _ in headers)
        keeps_policy = request is not None and request.route.own_policy and has_policy
        for_all_sites = request is not None and request.route.for_all_sites
        replaced = {POLICY} if keeps_policy else {RESOURCE_POLICY} if for_all_sites else set()
        headers.extend(item for item in self._headers if item[0] not in replaced)
        headers.extend(FOR_ALL_SITES if for_all_sites else ())
        is_success = message["status"] < 300
        caching = request.route.caching if request is not None and is_success else "no-store"
        headers.append((b"cache-control", caching.encode("ascii")))
        if request is not None and request.cookie is not None:
            headers.append((b"set-cookie", request.cookie.encode("latin-1")))
        return headers


def _log_response(status: int, request_id: str, request: GuardedRequest | None) -> None:
    level = logging.INFO if status >= 500 else logging.DEBUG
    if not log.isEnabledFor(level):
        return
    # The route's template: the path of a heartbeat holds a session hash.
    route = f"{request.route.method} {request.route.template}" if request is not None else "closed"
    principal = (
        request.principal.log_name if request is not None and request.principal is not None else "-"
    )
    log.log(level, "answered", route=route, status=status, request=request_id, principal=principal)
