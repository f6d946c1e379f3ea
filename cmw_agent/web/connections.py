"""The page's panel of accounts: what one has connected, connects and disconnects.

Whose accounts comes from the guard alone; how they stand is asked of Composio each time. A
caller of whom nothing is kept has none.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from cmw_agent.errors import NotFound
from cmw_agent.identity import Principal
from cmw_agent.tools.composio import Connections, ConnectionUser, Toolkit, UnknownToolkit
from cmw_agent.web.guarded import body, guarded, text

# Whoever sends a browser here proves nothing by it, so that it says nothing of any account.
CONNECTED_PAGE = (
    '<!doctype html><html lang="en"><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width"><meta name="color-scheme" '
    'content="light dark"><title>Back to the chat</title>'
    '<body style="font: 1.05rem/1.5 system-ui, sans-serif; margin: 15vh auto; padding: 0 1rem; '
    'max-width: 30rem; text-align: center"><p>You can close this tab and go back to your chat.</p>'
)


class ConnectionRoutes:
    """See the module's text.

    Args:
        connections: Returns the process's connections, or None where none are configured.
    """

    def __init__(self, connections: Callable[[], Connections | None]) -> None:
        self._connections = connections

    def routes(self) -> list[Route]:
        """Return the routes, for the app's own router."""
        answered = partial(guarded, about="connections")
        return [
            Route("/connections", answered(self.listed, nobody=lambda: self._answer(kept=False))),
            Route("/connections/link", answered(self.link), methods=["POST"]),
            Route("/connections/disconnect", answered(self.disconnect), methods=["POST"]),
            Route("/connected", self.connected),
        ]

    async def listed(self, request: Request, principal: Principal) -> Response:
        """How each toolkit stands for the one who asks."""
        connections = self._connections()
        if not principal.is_kept:
            return self._answer(kept=False)
        if connections is None:
            return self._answer(kept=True)
        found = await connections.toolkits(ConnectionUser.of(principal))
        return self._answer(*map(_item, found), kept=True)

    async def link(self, request: Request, principal: Principal) -> Response:
        """An address where the one who asks connects an account."""
        connections, user = self._for(principal)
        toolkit = text(await body(request), "toolkit")
        url = await connections.link(user, toolkit, f"{request.base_url}connected")
        return JSONResponse({"url": url})

    async def disconnect(self, request: Request, principal: Principal) -> Response:
        """Delete the account of the one who asks."""
        connections, user = self._for(principal)
        toolkit = text(await body(request), "toolkit")
        return JSONResponse({"disconnected": await connections.disconnect(user, toolkit)})

    async def connected(self, request: Request) -> Response:
        """Where Composio sends a browser afterwards: the same page, whatever came of it."""
        return HTMLResponse(CONNECTED_PAGE)

    def _for(self, principal: Principal) -> tuple[Connections, ConnectionUser]:
        connections = self._connections()
        if connections is None:
            raise UnknownToolkit
        if not principal.is_kept:
            raise NotFound
        return connections, ConnectionUser.of(principal)

    def _answer(self, *toolkits: dict[str, Any], kept: bool) -> Response:
        offered = self._connections() is not None
        return JSONResponse({"offered": offered, "kept": kept, "toolkits": toolkits})


def _item(toolkit: Toolkit) -> dict[str, Any]:
    return {
        "slug": toolkit.slug,
        "name": toolkit.name,
        "state": toolkit.state,
        "needs_account": toolkit.needs_account,
    }
