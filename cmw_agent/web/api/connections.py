"""The page's panel of accounts, and the way on which an account is connected.

Whose accounts comes from the guard alone; how they stand is asked of Composio each time. A
caller of whom nothing is kept has none. The way goes from the app's own link to Composio's site
and back; see ``docs/adr/0023-connecting-is-finished-where-it-began.md``.
"""

import hmac
import logging
import secrets
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any
from urllib.parse import urlencode

from itsdangerous import BadSignature
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from cmw_agent.core.errors import NotFoundError, UserError, frames
from cmw_agent.identity.principals import Identities, Principal
from cmw_agent.observability.observers import request_of
from cmw_agent.tools.composio.accounts import Toolkit
from cmw_agent.tools.composio.connecting import Attempt, Connecting, Place, Visiting
from cmw_agent.tools.composio.connections import UnknownToolkitError
from cmw_agent.web.api import connecting_pages as pages
from cmw_agent.web.api.endpoint import body, guarded, text
from cmw_agent.web.security.guard import PRINCIPAL
from cmw_agent.web.security.visitor_cookie import cookie_name, cookies, set_cookie

COOKIE = "cmw_connecting"
STATE_SECONDS = 900  # from Composio's site and back

log = logging.getLogger(__name__)


class ConnectionRoutes:
    """See the module's text.

    Args:
        connecting: Returns the process's connections, or None where none are configured.
        identities: Signs what browsers hold and what Composio sends back.
    """

    def __init__(self, connecting: Callable[[], Connecting | None], identities: Identities) -> None:
        self._connecting = connecting
        self._states = identities.signer("connecting.state")
        self._browsers = identities.signer("connecting.browser")
        self._onward = identities.signer("connecting.onward")

    def routes(self) -> list[Route]:
        """Return the routes, for the app's own router."""
        answered = partial(guarded, about="connections")
        return [
            Route("/connections", answered(self.listed, nobody=lambda: self._answer(kept=False))),
            Route("/connections/link", answered(self.link), methods=["POST"]),
            Route("/connections/disconnect", answered(self.disconnect), methods=["POST"]),
            Route("/connections/connect", _paged(self.connect)),
            Route("/connected", _paged(self.connected)),
            Route("/connected/{state}", _paged(self.connected)),
        ]

    async def listed(self, request: Request, principal: Principal) -> Response:
        """How each toolkit stands for the one who asks."""
        connecting = self._connecting()
        if not principal.is_kept:
            return self._answer(kept=False)
        if connecting is None:
            return self._answer(kept=True)
        found = await connecting.toolkits(principal)
        return self._answer(*map(_item, found), kept=True)

    async def link(self, request: Request, principal: Principal) -> Response:
        """An address of the app's own where the one who asks connects an account."""
        connecting = self._for(principal)
        toolkit = text(await body(request), "toolkit")
        url = await connecting.offer(principal, Place(str(request.base_url)), toolkit)
        return JSONResponse({"url": url})

    async def disconnect(self, request: Request, principal: Principal) -> Response:
        """Delete the account of the one who asks."""
        connecting = self._for(principal)
        toolkit = text(await body(request), "toolkit")
        return JSONResponse({"disconnected": await connecting.disconnect(principal, toolkit)})

    async def connect(self, request: Request) -> Response:
        """Begin a connection in the browser that follows an offered link.

        The link of a chat elsewhere proves nothing of the browser: it is asked first, by a page
        whose way on works in this browser alone.
        """
        connecting, ticket = self._connecting(), request.query_params.get("ticket", "")
        if connecting is None:
            raise NotFoundError
        visiting = self._visiting(request, secrets.token_urlsafe(32))
        found = await connecting.attempt(ticket, visiting)
        held = visiting.secrets[0]
        if not found.is_page and not self._goes_on(request, ticket, held):
            answer: Response = self._asked(connecting, found, ticket, held)
        else:
            state = self._states.sign(ticket).decode()
            back = f"{request.base_url}connected/{state}"
            address = await connecting.begin(visiting, ticket, back)
            answer = RedirectResponse(address, 303)
        value = self._browsers.sign(held).decode()
        cookie = set_cookie(request.scope, COOKIE, value, STATE_SECONDS, embedded=False)
        answer.headers.append("set-cookie", cookie)
        return answer

    async def connected(self, request: Request) -> Response:
        """Finish a connection in the browser that began it; others finish and learn nothing."""
        connecting, state = self._connecting(), request.path_params.get("state")
        if state is None or connecting is None:
            return pages.back()
        try:
            ticket = self._states.unsign(state, max_age=STATE_SECONDS).decode()
        except (BadSignature, UnicodeError):
            raise NotFoundError from None
        found, code = await connecting.finish(self._visiting(request), ticket)
        name = connecting.title(found.stored.toolkit)
        if code is None:
            return pages.connected(name)
        return pages.confirming(name, found.stored.place or "", code)

    def _asked(self, connecting: Connecting, found: Attempt, ticket: str, held: str) -> Response:
        go = self._onward.get_signature(f"{ticket}|{held}").decode()
        onward = f"connect?{urlencode({'ticket': ticket, 'go': go})}"
        name = connecting.title(found.stored.toolkit)
        return pages.warning(name, found.stored.place or "", onward)

    def _goes_on(self, request: Request, ticket: str, held: str) -> bool:
        wanted = self._onward.get_signature(f"{ticket}|{held}")
        return hmac.compare_digest(request.query_params.get("go", "").encode(), wanted)

    def _visiting(self, request: Request, *new: str) -> Visiting:
        """Return the browser that asks, with `new` secrets where it has no earlier ones."""
        principal = request.scope.get(PRINCIPAL)
        found = []
        for value in cookies(request.headers, cookie_name(request.scope, COOKIE)):
            try:
                found.append(self._browsers.unsign(value, max_age=2 * STATE_SECONDS).decode())
            except (BadSignature, UnicodeError):
                continue
        known = principal if isinstance(principal, Principal) else None
        return Visiting(known, tuple(found) or new)

    def _for(self, principal: Principal) -> Connecting:
        connecting = self._connecting()
        if connecting is None:
            raise UnknownToolkitError
        if not principal.is_kept:
            raise NotFoundError
        return connecting

    def _answer(self, *toolkits: dict[str, Any], kept: bool) -> Response:
        offered = self._connecting() is not None
        return JSONResponse({"offered": offered, "kept": kept, "toolkits": toolkits})


def _paged(
    answer: Callable[[Request], Awaitable[Response]],
) -> Callable[[Request], Awaitable[Response]]:
    """Return the endpoint that lets `answer` answer, and tells of failures on a page."""

    async def endpoint(request: Request) -> Response:
        try:
            return await answer(request)
        except NotFoundError:
            return pages.gone()
        except UserError as error:
            return pages.refused(str(error), error.status)
        except Exception as error:  # noqa: BLE001 (told to the user, named in the log)
            told = UserError()
            log.error(  # noqa: TRY400 (its text is not for the log)
                "connecting failed error_id=%s request=%s cause=%s",
                told.error_id,
                request_of(request.scope),
                frames(error),
            )
            return pages.refused(str(told), told.status)

    return endpoint


def _item(toolkit: Toolkit) -> dict[str, Any]:
    return {
        "slug": toolkit.slug,
        "name": toolkit.name,
        "state": toolkit.state,
        "needs_account": toolkit.needs_account,
    }
