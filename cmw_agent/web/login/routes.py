"""Accounts by OpenID Connect: the routes to sign in and out, and what the page shows of it.

What a sign-in needs until its callback stands in a short-lived signed cookie, bound to the
visitor who began it; the process keeps nothing. See
``docs/adr/0008-accounts-by-openid-connect.md``.
"""

import base64
import hmac
import html
import logging
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass

import orjson
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from cmw_agent.core.errors import UserError, frames
from cmw_agent.identity.principals import Identities, Principal
from cmw_agent.web.api.endpoint import cookie_principal, home
from cmw_agent.web.login.accounts import Accounts
from cmw_agent.web.login.consent import ConsentRoutes
from cmw_agent.web.login.oidc import Provider, Secrets, SignInError
from cmw_agent.web.security.guard import NOT_FOUND
from cmw_agent.web.security.visitor_cookie import Visitors, cookie_name, cookies, set_cookie

log = logging.getLogger(__name__)

COOKIE = "cmw_login"
COOKIE_SECONDS = 600  # from the link to the callback
NEXT_CHARS = 512
REFUSED = "The sign-in was cancelled or refused; please try again."
ERROR_PAGE = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>Not signed in</title>'
    '<h1>Not signed in</h1><p role="alert">{sentence}</p><p><a href="{home}">Back to the chat</a></p>'
)


@dataclass(frozen=True, slots=True)
class LoginAttempt:
    """A sign-in that has begun: by whom, its secrets, and where it leads."""

    visitor: str | None
    state: str
    nonce: str
    verifier: str
    path: str

    @property
    def secrets(self) -> Secrets:
        """What the provider's answer must fit."""
        return Secrets(self.state, self.nonce, self.verifier)


class LoginRoutes:
    """See the module's text.

    Args:
        provider: Where people sign in; None answers every route as if it were not there.
        identities: Signs the cookie of a sign-in.
        visitors: Writes the cookie that says who asks.
        accounts: Begins and ends logins.
        consent: Asks what becomes of the visitor's conversations.
        embedded: Whether pages of other sites may frame this one.
    """

    def __init__(
        self,
        provider: Provider | None,
        identities: Identities,
        visitors: Visitors,
        accounts: Accounts,
        consent: ConsentRoutes,
        *,
        embedded: bool,
    ) -> None:
        self._provider = provider
        self._identities = identities
        self._visitors = visitors
        self._accounts = accounts
        self._consent = consent
        self._embedded = embedded

    def routes(self) -> list[Route]:
        """Return the routes, for the app's own router."""
        return [
            Route("/login", self._answered(self._login)),
            Route("/login/callback", self._answered(self._callback)),
            Route("/logout", self._answered(self._logout), methods=["POST"]),
            *self._consent.routes(),
        ]

    def _answered(
        self, answer: Callable[[Request, Provider], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            if self._provider is None:
                return JSONResponse({"detail": NOT_FOUND}, 404)
            try:
                return await answer(request, self._provider)
            except UserError as error:
                log.info("told error_id=%s kind=%s", error.error_id, type(error).__name__)
                told = error
            except Exception as error:  # noqa: BLE001 (told to the user, named in the log)
                told = UserError()
                log.error("sign-in failed error_id=%s cause=%s", told.error_id, frames(error))  # noqa: TRY400
            if request.method == "POST":
                return JSONResponse({"detail": str(told)}, told.status)
            page = ERROR_PAGE.format(
                sentence=html.escape(str(told)), home=html.escape(home(request))
            )
            return HTMLResponse(page, told.status)

        return endpoint

    async def _login(self, request: Request, provider: Provider) -> Response:
        path = local_path(request.query_params.get("next"), home(request))
        asker = cookie_principal(request)
        if asker is not None and asker.kind == "account":
            return RedirectResponse(path, 303)
        begun = LoginAttempt(
            visitor=asker.id if asker else None,
            state=secrets.token_urlsafe(32),
            nonce=secrets.token_urlsafe(32),
            verifier=secrets.token_urlsafe(48),
            path=path,
        )
        there = await provider.sign_in_address(_callback_address(request), begun.secrets)
        answer = RedirectResponse(there, 303)
        written = self._identities.sign_state(_packed(begun))
        self._set(request, answer, written, COOKIE_SECONDS)
        return answer

    async def _callback(self, request: Request, provider: Provider) -> Response:
        visitor = cookie_principal(request)
        begun = self._begun(request, visitor)
        code = request.query_params.get("code")
        if not code or "error" in request.query_params:
            raise SignInError(REFUSED)
        account = await provider.account(_callback_address(request), code, begun.secrets)
        if visitor is not None and not (await self._accounts.holdings(visitor)).is_empty:
            answer = self._consent.ask(request, account, visitor, begun.path)
        else:
            await self._accounts.sign_in(account, visitor, None)
            answer = RedirectResponse(begun.path, 303)
            self._become(request, answer, account)
        self._set(request, answer, "", 0)
        return answer

    def _begun(self, request: Request, visitor: Principal | None) -> LoginAttempt:
        """Return the sign-in that this request ends; another's is none.

        Raises:
            SignInError: This browser, as this visitor, has begun no such sign-in.
        """
        state = request.query_params.get("state", "").encode()
        for cookie in cookies(request.headers, cookie_name(request.scope, COOKIE)):
            packed = self._identities.verify_state(cookie, COOKIE_SECONDS)
            begun = _unpacked(packed) if packed is not None else None
            if begun is None or not hmac.compare_digest(begun.state.encode(), state):
                continue
            if begun.visitor != (visitor.id if visitor else None):
                break
            return begun
        raise SignInError

    async def _logout(self, request: Request, provider: Provider) -> Response:
        answer = JSONResponse({})  # asked by the page's script, which loads the page anew
        account = cookie_principal(request)
        if account is not None and account.kind == "account":
            await self._accounts.sign_out(account)
            self._become(request, answer, self._identities.new_visitor())
        return answer

    def _become(self, request: Request, answer: Response, principal: Principal) -> None:
        answer.headers.append("set-cookie", self._visitors.cookie_for(request.scope, principal))

    def _set(self, request: Request, answer: Response, value: str, seconds: int) -> None:
        written = set_cookie(request.scope, COOKIE, value, seconds, embedded=self._embedded)
        answer.headers.append("set-cookie", written)


def local_path(wanted: str | None, otherwise: str) -> str:
    """Return `wanted` if it is a path on this site, however a browser reads it, or `otherwise`."""
    # Browsers take a backslash for a slash, pass over control characters, and leave the site
    # at two slashes.
    is_local = (
        wanted is not None
        and len(wanted) <= NEXT_CHARS
        and wanted.startswith("/")
        and not wanted.startswith("//")
        and "\\" not in wanted
        and wanted.isascii()
        and wanted.isprintable()
    )
    return wanted if wanted is not None and is_local else otherwise


def _callback_address(request: Request) -> str:
    return f"{request.base_url}login/callback"


def _packed(begun: LoginAttempt) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(asdict(begun))).decode()


def _unpacked(packed: str) -> LoginAttempt:
    return LoginAttempt(**orjson.loads(base64.urlsafe_b64decode(packed)))
