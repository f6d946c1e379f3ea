"""The page's panel of connected accounts, and the routes on which an account is connected.

The principal comes from the guard alone; the states of accounts come from Composio each time. A
caller of whom nothing is kept has none. The way goes from the app's own link to Composio's site
and back; see ``docs/adr/0023-connecting-is-finished-where-it-began.md``.
"""

import hmac
import secrets
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from itsdangerous import BadSignature
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from cmw_agent.core.errors import NotFoundError, UserError
from cmw_agent.identity.principals import Identities, Principal
from cmw_agent.language.request_language import request_language
from cmw_agent.tools.composio.accounts import Toolkit
from cmw_agent.tools.composio.connecting import (
    ConnectionAttempt,
    ConnectionBrowser,
    ConnectionOrigin,
    ConnectionService,
)
from cmw_agent.tools.composio.connections import UnknownToolkitError
from cmw_agent.web.api.connecting_pages import ConnectingPages
from cmw_agent.web.api.endpoint import body, cookie_principal, endpoint, guarded, text
from cmw_agent.web.security.guard import PRINCIPAL
from cmw_agent.web.security.visitor_cookie import cookie_name, cookies, set_cookie

if TYPE_CHECKING:
    from cmw_agent.tools.mcp.accounts import McpAccount, McpAccounts

COOKIE = "cmw_connecting"
SERVER = "mcp:"  # begins the slug of a server; see `cmw_agent.tools.mcp.accounts`
STATE_SECONDS = 900  # from Composio's site and back


class ConnectionRoutes:
    """The routes of connections.

    Args:
        connecting: Returns the process's connections, or None where none are configured.
        identities: Signs what browsers hold and what Composio sends back.
        servers: Returns users' accounts at MCP servers, or None where none are configured.
    """

    def __init__(
        self,
        connecting: Callable[[], ConnectionService | None],
        identities: Identities,
        servers: "Callable[[], McpAccounts | None]" = lambda: None,
    ) -> None:
        self._connecting = connecting
        self._servers = servers
        self._states = identities.signer("connecting.state")
        self._browsers = identities.signer("connecting.browser")
        self._onward = identities.signer("connecting.onward")

    def routes(self) -> list[Route]:
        """Return the routes, for the app's own router."""
        answered = partial(guarded, about="connections")
        paged = partial(endpoint, about="connecting", render_error=_error_page)
        signing_in = partial(endpoint, about="connecting", render_error=_sign_in_error_page)
        return [
            Route("/connections", answered(self.listed, nobody=lambda _: self._answer(kept=False))),
            Route("/connections/link", answered(self.link), methods=["POST"]),
            Route("/connections/disconnect", answered(self.disconnect), methods=["POST"]),
            Route("/connections/choose", answered(self.choose), methods=["POST"]),
            Route("/connections/connect", paged(self.connect)),
            Route("/connections/signed-in", signing_in(self.signed_in)),
            Route("/connected", paged(self.connected)),
            Route("/connected/{state}", paged(self.connected)),
        ]

    async def listed(self, request: Request, principal: Principal) -> Response:
        """How each toolkit stands for the one who asks."""
        connecting, servers = self._connecting(), self._servers()
        if not principal.is_stored:
            return self._answer(kept=False)
        found = await servers.accounts(principal) if servers is not None else []
        toolkits = await connecting.toolkits(principal) if connecting is not None else []
        return self._answer(*map(_item, toolkits), *map(_server_item, found), kept=True)

    async def link(self, request: Request, principal: Principal) -> Response:
        """An address of the app's own where the one who asks connects an account."""
        toolkit = text(await body(request), "toolkit")
        if (servers := self._servers()) is not None and toolkit.startswith(SERVER):
            back = f"{request.base_url}connections/signed-in"
            return JSONResponse({"url": await servers.link(principal, toolkit, back)})
        connecting = self._connecting_for(principal)
        url = await connecting.offer(principal, ConnectionOrigin(str(request.base_url)), toolkit)
        return JSONResponse({"url": url})

    async def disconnect(self, request: Request, principal: Principal) -> Response:
        """Delete the accounts of the one who asks at a toolkit, or the one of them that is named."""
        content = await body(request)
        if "account" in content:
            account = text(content, "account")
            await self._connecting_for(principal).disconnect_one(principal, account)
            return JSONResponse({"disconnected": True})
        toolkit = text(content, "toolkit")
        if (servers := self._servers()) is not None and toolkit.startswith(SERVER):
            return JSONResponse({"disconnected": await servers.disconnect(principal, toolkit)})
        connecting = self._connecting_for(principal)
        return JSONResponse({"disconnected": await connecting.disconnect(principal, toolkit)})

    async def choose(self, request: Request, principal: Principal) -> Response:
        """Have the tools of the one who asks run on one of their accounts."""
        account = text(await body(request), "account")
        await self._connecting_for(principal).choose(principal, account)
        return JSONResponse({})

    async def connect(self, request: Request) -> Response:
        """Begin a connection in the browser that follows an offered link.

        The link of a chat elsewhere proves nothing of the browser: it is asked first, by a page
        whose way on works in this browser alone.
        """
        connecting, ticket = self._connecting(), request.query_params.get("ticket", "")
        if connecting is None:
            raise NotFoundError
        visiting = self._visiting(request, secrets.token_urlsafe(32))
        attempt = await connecting.attempt(ticket, visiting)
        secret = visiting.secrets[0]
        if not attempt.is_page and not self._is_confirmed(request, ticket, secret):
            response: Response = self._warning_page(request, connecting, attempt, ticket, secret)
        else:
            state = self._states.sign(ticket).decode()
            back = f"{request.base_url}connected/{state}"
            address = await connecting.begin(visiting, ticket, back)
            response = RedirectResponse(address, 303)
        value = self._browsers.sign(secret).decode()
        cookie = set_cookie(request.scope, COOKIE, value, STATE_SECONDS, embedded=False)
        response.headers.append("set-cookie", cookie)
        return response

    async def connected(self, request: Request) -> Response:
        """Finish a connection in the browser that began it; others finish and learn nothing."""
        connecting, state = self._connecting(), request.path_params.get("state")
        if state is None or connecting is None:
            return _pages(request).back()
        try:
            ticket = self._states.unsign(state, max_age=STATE_SECONDS).decode()
        except (BadSignature, UnicodeError):
            raise NotFoundError from None
        attempt, code = await connecting.finish(self._visiting(request), ticket)
        name = connecting.title(attempt.stored.toolkit)
        if code is None:
            return _pages(request).connected(name)
        return _pages(request).confirming(name, attempt.stored.place or "", code)

    async def signed_in(self, request: Request) -> Response:
        """Finish a sign-in at an MCP server, in the browser of the one who began it."""
        servers, principal = self._servers(), cookie_principal(request)
        if servers is None or principal is None:
            raise NotFoundError
        name = await servers.finish(principal, dict(request.query_params))
        return _pages(request).connected(name)

    def _warning_page(
        self,
        request: Request,
        connecting: ConnectionService,
        attempt: ConnectionAttempt,
        ticket: str,
        secret: str,
    ) -> Response:
        go = self._onward.get_signature(f"{ticket}|{secret}").decode()
        onward = f"connect?{urlencode({'ticket': ticket, 'go': go})}"
        name = connecting.title(attempt.stored.toolkit)
        return _pages(request).warning(name, attempt.stored.place or "", onward)

    def _is_confirmed(self, request: Request, ticket: str, secret: str) -> bool:
        expected = self._onward.get_signature(f"{ticket}|{secret}")
        return hmac.compare_digest(request.query_params.get("go", "").encode(), expected)

    def _visiting(self, request: Request, *new: str) -> ConnectionBrowser:
        """Return the browser that asks, with `new` secrets where it has no earlier ones."""
        principal = request.scope.get(PRINCIPAL)
        secrets_sent = []
        for value in cookies(request.headers, cookie_name(request.scope, COOKIE)):
            try:
                secrets_sent.append(
                    self._browsers.unsign(value, max_age=2 * STATE_SECONDS).decode()
                )
            except (BadSignature, UnicodeError):
                continue
        sender = principal if isinstance(principal, Principal) else None
        return ConnectionBrowser(sender, tuple(secrets_sent) or new)

    def _connecting_for(self, principal: Principal) -> ConnectionService:
        connecting = self._connecting()
        if connecting is None:
            raise UnknownToolkitError
        if not principal.is_stored:
            raise NotFoundError
        return connecting

    def _answer(self, *toolkits: dict[str, Any], kept: bool) -> Response:
        servers = self._servers()
        offered = self._connecting() is not None or servers is not None
        takes_own = kept and servers is not None and servers.takes_own
        return JSONResponse(
            {"offered": offered, "kept": kept, "toolkits": toolkits, "takes_own": takes_own}
        )


def _pages(request: Request) -> ConnectingPages:
    return ConnectingPages(request_language(request.scope))


def _error_page(request: Request, error: UserError) -> Response:
    if isinstance(error, NotFoundError):
        return _pages(request).gone()
    return _pages(request).refused(str(error), error.status)


def _sign_in_error_page(request: Request, error: UserError) -> Response:
    if isinstance(error, NotFoundError):
        return _pages(request).no_sign_in()
    return _error_page(request, error)


def _item(toolkit: Toolkit) -> dict[str, Any]:
    return {
        "slug": toolkit.slug,
        "name": toolkit.name,
        "state": toolkit.state,
        "needs_account": toolkit.needs_account,
        "accounts": [
            {
                "id": account.connection_id,
                "label": account.label,
                "state": account.state,
                "used": account.is_used,
            }
            for account in toolkit.accounts
        ],
    }


def _server_item(account: "McpAccount") -> dict[str, Any]:
    return {
        "slug": account.slug,
        "name": account.name,
        "state": account.state,
        "needs_account": account.needs_account,
        "shared": account.is_shared,
        "own": account.is_own,
        "left_out": account.left_out,
    }
