"""Consent at sign-in: a visitor's data moves to an account only where the person agrees.

Whoever signs in may not be who chatted in this browser before. Between the provider's response and
the decision the browser stays the visitor, and the server stores nothing: a signed cookie of ten
minutes, bound to that visitor, names the account. See ``docs/adr/0022-consent-at-sign-in.md``.
"""

import base64
from dataclasses import asdict, dataclass

import orjson
from itsdangerous import BadSignature
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from cmw_agent.core.errors import InvalidMessageError
from cmw_agent.core.http_headers import media_type
from cmw_agent.identity.principals import Identities, Principal
from cmw_agent.language import wording
from cmw_agent.language.request_language import request_language
from cmw_agent.web.api.endpoint import body, cookie_principal, guarded, home, text
from cmw_agent.web.login.accounts import Accounts, LoginUsedError
from cmw_agent.web.login.consent_page import consent_page
from cmw_agent.web.security.guard import NOT_FOUND
from cmw_agent.web.security.visitor_cookie import VisitorTokens, cookie_name, cookies, set_cookie

COOKIE = "cmw_consent"
COOKIE_SECONDS = 600  # from the provider's response to the decision
PATH = "/login/consent"


@dataclass(frozen=True, slots=True)
class PendingSignIn:
    """A sign-in that waits for the person's decision; the content of the cookie.

    Attributes:
        visitor: The id of the visitor who signs in.
        account: The id of the account.
        login: The id of the login that is to begin.
        name: The account's user name, if the provider gave one.
        names: What lists may call the account; of its groups those that some list names: a cookie
            has no room for all.
        path: Where the browser goes after the sign-in.
    """

    visitor: str
    account: str
    login: str
    name: str | None
    names: list[str]
    path: str

    @property
    def principal(self) -> Principal:
        """The account that signs in."""
        names = frozenset(self.names)
        return Principal(self.account, "account", login=self.login, name=self.name, names=names)


class ConsentRoutes:
    """The routes of the consent page: shows what would move, and takes the decision.

    Args:
        identities: Signs the cookie of a pending sign-in.
        visitors: Writes the visitor cookie.
        accounts: Begins logins.
        embedded: Whether pages of other sites may frame this one.
        is_open: Whether sign-in is configured; otherwise the routes answer 404.
    """

    def __init__(
        self,
        identities: Identities,
        visitors: VisitorTokens,
        accounts: Accounts,
        *,
        embedded: bool,
        is_open: bool,
    ) -> None:
        self._signer = identities.signer("login.consent")
        self._visitors = visitors
        self._accounts = accounts
        self._embedded = embedded
        self._is_open = is_open

    def routes(self) -> list[Route]:
        """Return the routes of the consent page."""
        by_method = {
            "GET": guarded(self.page, "consent", nobody=_not_found),
            "POST": guarded(self.decide, "consent", nobody=_not_found),
        }

        async def endpoint(request: Request) -> Response:
            if not self._is_open:
                return _not_found(request)
            return await by_method["POST" if request.method == "POST" else "GET"](request)

        return [Route(PATH, endpoint, methods=list(by_method))]

    def ask(self, request: Request, account: Principal, visitor: Principal, path: str) -> Response:
        """Return the redirect to the consent page; until the decision the browser stays the visitor.

        Args:
            request: The provider's callback.
            account: The account that signs in.
            visitor: The browser's principal.
            path: Where the browser goes after the sign-in.
        """
        names = self._accounts.names_that_count(account)
        pending = PendingSignIn(
            visitor.id, account.id, str(account.login), account.name, names, path
        )
        packed = base64.urlsafe_b64encode(orjson.dumps(asdict(pending)))
        response = RedirectResponse(home(request) + PATH[1:], 303)
        self._set_cookie(request, response, self._signer.sign(packed).decode(), COOKIE_SECONDS)
        return response

    async def page(self, request: Request, principal: Principal) -> Response:
        """Return the page that lists the visitor's data."""
        pending = self._pending(request, principal)
        if pending is None:
            return RedirectResponse(home(request), 303)
        holdings = await self._accounts.holdings(principal)
        document = consent_page(
            holdings,
            self._accounts.connected_names(holdings),
            pending.name,
            home(request),
            request_language(request.scope),
        )
        return HTMLResponse(document)

    async def decide(self, request: Request, principal: Principal) -> Response:
        """Complete the sign-in, and transfer the listed data where the choice is ``move``.

        Raises:
            UserError: The request is malformed, no sign-in is pending, or the list has changed.
        """
        if media_type(request.headers) != "application/json":
            raise InvalidMessageError(wording("The request must be application/json."), status=415)
        content = await body(request)
        choice = content.get("choice")
        if choice not in ("move", "leave"):
            raise InvalidMessageError(
                wording("The conversations are either moved or left."), status=400
            )
        digest = text(content, "shown") if choice == "move" else None
        pending = self._pending(request, principal)
        if pending is None:
            raise LoginUsedError
        await self._accounts.sign_in(pending.principal, principal, digest)
        # The path may name a conversation, which is the account's only when it has moved.
        response = JSONResponse({"next": pending.path if choice == "move" else home(request)})
        cookie = self._visitors.cookie_for(request.scope, pending.principal)
        response.headers.append("set-cookie", cookie)
        self._set_cookie(request, response, "", 0)
        return response

    def _pending(self, request: Request, principal: Principal) -> PendingSignIn | None:
        """Return the pending sign-in of this visitor, if any."""
        if cookie_principal(request) != principal:
            return None
        for cookie in cookies(request.headers, cookie_name(request.scope, COOKIE)):
            try:
                packed = self._signer.unsign(cookie, max_age=COOKIE_SECONDS)
            except BadSignature:
                continue
            pending = PendingSignIn(**orjson.loads(base64.urlsafe_b64decode(packed)))
            if pending.visitor == principal.id:
                return pending
        return None

    def _set_cookie(self, request: Request, response: Response, value: str, seconds: int) -> None:
        cookie = set_cookie(request.scope, COOKIE, value, seconds, embedded=self._embedded)
        response.headers.append("set-cookie", cookie)


def _not_found(_: Request) -> Response:
    return JSONResponse({"detail": NOT_FOUND}, 404)
