"""Consent at sign-in: what a visitor has moves to an account only where the person says so.

Whoever signs in may not be who chatted in this browser before. Between the provider's answer and
the decision the browser stays the visitor, and the server keeps nothing: a signed cookie of ten
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
from cmw_agent.web.api.endpoint import body, cookie_principal, guarded, home, text
from cmw_agent.web.login.accounts import Accounts, LoginUsedError
from cmw_agent.web.login.consent_page import consent_page
from cmw_agent.web.security.guard import NOT_FOUND
from cmw_agent.web.security.visitor_cookie import Visitors, cookie_name, cookies, set_cookie

COOKIE = "cmw_consent"
COOKIE_SECONDS = 600  # from the provider's answer to the decision
PATH = "/login/consent"


@dataclass(frozen=True, slots=True)
class Pending:
    """A sign-in that waits for its decision: of whom, as which account, and where it leads.

    `groups` are those of the account's that some agent is for: a cookie has no room for all.
    """

    visitor: str
    account: str
    login: str
    name: str | None
    groups: list[str]
    path: str

    @property
    def principal(self) -> Principal:
        """The account that signs in."""
        groups = frozenset(self.groups)
        return Principal(self.account, "account", login=self.login, name=self.name, groups=groups)


class ConsentRoutes:
    """Shows what would move, and completes the sign-in with what the person decides.

    Args:
        identities: Signs the cookie of a sign-in that waits.
        visitors: Writes the cookie that says who asks.
        accounts: Begins logins.
        embedded: Whether pages of other sites may frame this one.
        is_open: Whether people can sign in at all; without that there is no such page.
    """

    def __init__(
        self,
        identities: Identities,
        visitors: Visitors,
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
        """Return the routes, for the app's own router."""
        by_method = {
            "GET": guarded(self.page, "consent", nobody=_nobody),
            "POST": guarded(self.decide, "consent", nobody=_nobody),
        }

        async def endpoint(request: Request) -> Response:
            if not self._is_open:
                return _nobody()
            return await by_method["POST" if request.method == "POST" else "GET"](request)

        return [Route(PATH, endpoint, methods=list(by_method))]

    def ask(self, request: Request, account: Principal, visitor: Principal, path: str) -> Response:
        """Lead the browser to the decision, before which it stays the visitor."""
        groups = self._accounts.groups_that_count(account)
        pending = Pending(visitor.id, account.id, str(account.login), account.name, groups, path)
        packed = base64.urlsafe_b64encode(orjson.dumps(asdict(pending)))
        answer = RedirectResponse(home(request) + PATH[1:], 303)
        self._set(request, answer, self._signer.sign(packed).decode(), COOKIE_SECONDS)
        return answer

    async def page(self, request: Request, principal: Principal) -> Response:
        """List what would move."""
        pending = self._pending(request, principal)
        if pending is None:
            return RedirectResponse(home(request), 303)
        found = await self._accounts.holdings(principal)
        return HTMLResponse(consent_page(found, pending.name, home(request)))

    async def decide(self, request: Request, principal: Principal) -> Response:
        """Complete the sign-in, with or without what was listed."""
        if media_type(request.headers) != "application/json":
            raise InvalidMessageError("The request must be application/json.", status=415)
        content = await body(request)
        choice = content.get("choice")
        if choice not in ("move", "leave"):
            raise InvalidMessageError("The conversations are either moved or left.", status=400)
        digest = text(content, "shown") if choice == "move" else None
        pending = self._pending(request, principal)
        if pending is None:
            raise LoginUsedError
        await self._accounts.sign_in(pending.principal, principal, digest)
        # The path may name a conversation, which is the account's only when it has moved.
        answer = JSONResponse({"next": pending.path if choice == "move" else home(request)})
        become = self._visitors.cookie_for(request.scope, pending.principal)
        answer.headers.append("set-cookie", become)
        self._set(request, answer, "", 0)
        return answer

    def _pending(self, request: Request, principal: Principal) -> Pending | None:
        """Return the sign-in of this very visitor that waits, if any."""
        if cookie_principal(request) != principal:
            return None
        for cookie in cookies(request.headers, cookie_name(request.scope, COOKIE)):
            try:
                packed = self._signer.unsign(cookie, max_age=COOKIE_SECONDS)
            except BadSignature:
                continue
            pending = Pending(**orjson.loads(base64.urlsafe_b64decode(packed)))
            if pending.visitor == principal.id:
                return pending
        return None

    def _set(self, request: Request, answer: Response, value: str, seconds: int) -> None:
        written = set_cookie(request.scope, COOKIE, value, seconds, embedded=self._embedded)
        answer.headers.append("set-cookie", written)


def _nobody() -> Response:
    return JSONResponse({"detail": NOT_FOUND}, 404)
