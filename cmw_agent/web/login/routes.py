"""The routes to sign in by OpenID Connect, and to sign out.

The state of a sign-in is in a short-lived signed cookie, bound to the visitor who began it; the
server stores nothing until the callback. See ``docs/adr/0008-accounts-by-openid-connect.md``.
"""

import base64
import hmac
import html
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import orjson
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from cmw_agent.core.errors import UserError
from cmw_agent.core.logs import get_logger
from cmw_agent.identity.principals import Identities, Principal
from cmw_agent.language import wording
from cmw_agent.language.request_language import request_language
from cmw_agent.web.api.endpoint import cookie_principal, endpoint, home
from cmw_agent.web.login.accounts import Accounts
from cmw_agent.web.login.consent import ConsentRoutes
from cmw_agent.web.login.sign_in import Secrets, SignInError, refusal
from cmw_agent.web.security.guard import NOT_FOUND
from cmw_agent.web.security.visitor_cookie import VisitorTokens, cookie_name, cookies, set_cookie

if TYPE_CHECKING:
    from cmw_agent.web.login.oidc import Provider

log = get_logger(__name__)

COOKIE = "cmw_login"
COOKIE_SECONDS = 600  # from the link to the callback
MAX_NEXT_CHARS = 512
DECLINED = ("access_denied", "login_required", "consent_required", "interaction_required")
REFUSED = wording("The sign-in was cancelled or refused; please try again.")
ERROR_PAGE = (
    '<!doctype html><html lang="{tag}"><meta charset="utf-8"><title>{title}</title>'
    '<h1>{title}</h1><p role="alert">{sentence}</p><p><a href="{home}">{back}</a></p>'
)


@dataclass(frozen=True, slots=True)
class LoginAttempt:
    """A sign-in that has begun; the content of the cookie.

    Attributes:
        visitor: The id of the visitor who began it, if the browser has a cookie.
        state: The OAuth state.
        nonce: The nonce that the ID token must name.
        verifier: The PKCE code verifier.
        path: Where the browser goes after the sign-in.
    """

    visitor: str | None
    state: str
    nonce: str
    verifier: str
    path: str

    @property
    def secrets(self) -> Secrets:
        """The values that the provider's response must match."""
        return Secrets(self.state, self.nonce, self.verifier)


class LoginRoutes:
    """The routes ``/login``, ``/login/callback`` and ``/logout``, and the consent page's.

    Args:
        provider: The OpenID provider; None answers 404 on every route.
        identities: Signs the cookie of a sign-in.
        visitors: Writes the visitor cookie.
        accounts: Begins and ends logins.
        consent: The consent page, for visitors who have conversations.
        embedded: Whether pages of other sites may frame this one.
    """

    def __init__(
        self,
        provider: "Provider | None",
        identities: Identities,
        visitors: VisitorTokens,
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
        """Return the routes of sign-in and sign-out."""
        return [
            Route("/login", self._endpoint(self._login)),
            Route("/login/callback", self._endpoint(self._callback)),
            Route("/logout", self._endpoint(self._logout), methods=["POST"]),
            *self._consent.routes(),
        ]

    def _endpoint(
        self, handler: Callable[[Request, "Provider"], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """Return an endpoint that runs `handler` and turns its errors into responses."""

        async def handle(request: Request) -> Response:
            if self._provider is None:
                return JSONResponse({"detail": NOT_FOUND}, 404)
            return await handler(request, self._provider)

        return endpoint(handle, "sign-in", _error_response)

    async def _login(self, request: Request, provider: "Provider") -> Response:
        path = local_path(request.query_params.get("next"), home(request))
        principal = cookie_principal(request)
        if principal is not None and principal.kind == "account":
            return RedirectResponse(path, 303)
        attempt = LoginAttempt(
            visitor=principal.id if principal else None,
            state=secrets.token_urlsafe(32),
            nonce=secrets.token_urlsafe(32),
            verifier=secrets.token_urlsafe(48),
            path=path,
        )
        address = await provider.sign_in_address(_callback_address(request), attempt.secrets)
        response = RedirectResponse(address, 303)
        self._set_cookie(
            request, response, self._identities.sign_state(_pack(attempt)), COOKIE_SECONDS
        )
        return response

    async def _callback(self, request: Request, provider: "Provider") -> Response:
        visitor = cookie_principal(request)
        attempt = self._attempt(request, visitor)
        code = request.query_params.get("code")
        refused = request.query_params.get("error")
        if refused is not None and refused not in DECLINED:
            raise refusal(refused)
        if not code or refused is not None:
            raise SignInError(REFUSED)
        account = await provider.account(_callback_address(request), code, attempt.secrets)
        if visitor is not None and not (await self._accounts.holdings(visitor)).is_empty:
            response = self._consent.ask(request, account, visitor, attempt.path)
        else:
            await self._accounts.sign_in(account, visitor, None)
            response = RedirectResponse(attempt.path, 303)
            self._set_principal(request, response, account)
        self._set_cookie(request, response, "", 0)
        return response

    def _attempt(self, request: Request, visitor: Principal | None) -> LoginAttempt:
        """Return the sign-in that this callback completes.

        Raises:
            SignInError: This browser, as this visitor, has begun no sign-in with this state.
        """
        state = request.query_params.get("state", "").encode()
        for cookie in cookies(request.headers, cookie_name(request.scope, COOKIE)):
            packed = self._identities.verify_state(cookie, COOKIE_SECONDS)
            attempt = _unpack(packed) if packed is not None else None
            if attempt is None or not hmac.compare_digest(attempt.state.encode(), state):
                continue
            if attempt.visitor != (visitor.id if visitor else None):
                break
            return attempt
        raise SignInError

    async def _logout(self, request: Request, provider: "Provider") -> Response:
        response = JSONResponse({})  # the page's script asks, and loads the page again
        account = cookie_principal(request)
        if account is not None and account.kind == "account":
            await self._accounts.sign_out(account)
            self._set_principal(request, response, self._identities.new_visitor())
        return response

    def _set_principal(self, request: Request, response: Response, principal: Principal) -> None:
        response.headers.append("set-cookie", self._visitors.cookie_for(request.scope, principal))

    def _set_cookie(self, request: Request, response: Response, value: str, seconds: int) -> None:
        cookie = set_cookie(request.scope, COOKIE, value, seconds, embedded=self._embedded)
        response.headers.append("set-cookie", cookie)


def local_path(path: str | None, default: str) -> str:
    """Return `path` if every browser reads it as a path on this site, else `default`."""
    # Browsers read a backslash as a slash, skip control characters, and leave the site at two
    # slashes.
    is_local = (
        path is not None
        and len(path) <= MAX_NEXT_CHARS
        and path.startswith("/")
        and not path.startswith("//")
        and "\\" not in path
        and path.isascii()
        and path.isprintable()
    )
    return path if path is not None and is_local else default


def _error_response(request: Request, error: UserError) -> Response:
    """Return an error page, or JSON to the script that signs out."""
    log.info("sign-in refused", error_id=error.error_id, kind=type(error).__name__)
    if request.method == "POST":
        return JSONResponse({"detail": str(error)}, error.status)
    language = request_language(request.scope)
    page = ERROR_PAGE.format(
        tag=language.tag,
        title=html.escape(language.gettext("Not signed in")),
        sentence=html.escape(language.translate(str(error))),
        home=html.escape(home(request)),
        back=html.escape(language.gettext("Back to the chat")),
    )
    return HTMLResponse(page, error.status)


def _callback_address(request: Request) -> str:
    return f"{request.base_url}login/callback"


def _pack(attempt: LoginAttempt) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(asdict(attempt))).decode()


def _unpack(packed: str) -> LoginAttempt:
    return LoginAttempt(**orjson.loads(base64.urlsafe_b64decode(packed)))
