"""Serves the app below a path of its host, such as ``/chat``; see ADR 54.

The path comes from `CMW_ROOT_PATH`, or from the `X-Forwarded-Prefix` of trusted proxies. Behind
`RootPath` it is ASGI's `root_path`, and `path` is the path below it.
"""

from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from cmw_agent.web.security.route_allowlist import FIRST_PARTS


class RootPath:
    """ASGI middleware that takes the app's own path off each request's.

    Args:
        app: The app behind it.
        configured: The setting `CMW_ROOT_PATH`. A request's path may begin with it or not, since
            some proxies take it off. With an empty one the scope's `root_path` holds, which
            `ProxyHeaders` sets; that prefix is never taken off: a client whose header reaches
            the app could otherwise hide a path from the rules of its proxy.
    """

    def __init__(self, app: ASGIApp, configured: str) -> None:
        self._app = app
        self._configured = configured

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._configured or scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        root = self._configured
        if scope["path"] == root:  # links of the page are relative to its folder
            query = scope["query_string"].decode("latin-1")
            address = f"{root}/?{query}" if query else f"{root}/"
            await RedirectResponse(address, 308)(scope, receive, send)
            return
        below = {**scope, "root_path": root}
        # An encoded spelling of the path is another path: rules of a proxy may not know it.
        raw: bytes = scope.get("raw_path") or scope["path"].encode()
        if raw.startswith(f"{root}/".encode()):
            below |= {"path": scope["path"].removeprefix(root), "raw_path": raw[len(root) :]}
        await self._app(below, receive, send)


def hides_route(root: str) -> bool:
    """Return whether a root path begins as a route of the app does, which would be ambiguous."""
    return root.split("/")[1] in FIRST_PARTS if root else False
